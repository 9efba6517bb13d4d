//! What a request may bring: parameters of path and query, and a body as a form or as JSON.
//!
//! What is written here is what every client should send. The service takes more: a number or a bool
//! as text, a list as one text, names that it does not know.

use omnizap_contract::PortType;
use serde_json::{Map, Value as Json, json};

use super::{About, schema};
use crate::pipeline::config::PipelineFile;
use crate::pipeline::graph::{Graph, Source as From};
use crate::pipeline::request::{Field, Source, UnknownFields};

/// The smallest picture, for examples: one pixel as PNG.
const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// What a run takes.
pub(super) struct Request {
    pub(super) parameters: Vec<Json>,
    pub(super) body: Option<Json>,
}

impl Request {
    pub(super) fn of(graph: &Graph, about: &About) -> Self {
        let file = &graph.file;
        let is_query = |field: &&Field| place(file, field) == Source::Query;
        let is_path = |field: &&Field| field.source == Source::Path;
        let of_path = file.request.iter().filter(is_path);
        let of_query = file.request.iter().filter(is_query);
        let parameters = of_path.chain(of_query);
        let parameters = parameters.map(|field| parameter(graph, field));
        let in_body: Vec<&Field> = file
            .request
            .iter()
            .filter(|field| place(file, field) == Source::Body)
            .collect();
        Self {
            parameters: parameters.collect(),
            body: (!in_body.is_empty()).then(|| body(graph, &in_body, about)),
        }
    }
}

/// Where a client should put a field. Where a route has no body as a rule, that is the query, but
/// for files, which cannot come there.
pub(super) fn place(file: &PipelineFile, field: &Field) -> Source {
    let route = file.route.as_ref();
    let reads_query = route.is_some_and(|route| route.get_ref().reads_query());
    match field.source {
        Source::Body if reads_query && field.ty != PortType::Bytes => Source::Query,
        source => source,
    }
}

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As a part of a form, or a value of a path or query.
    Text,
    /// As a member of a JSON object.
    Json,
}

fn parameter(graph: &Graph, field: &Field) -> Json {
    let is_path = field.source == Source::Path;
    let mut parameter = json!({
        "name": field.name.get_ref(),
        "in": if is_path { "path" } else { "query" },
        "required": is_path || field.required,
    });
    let description = described(graph, field, Form::Text);
    if !description.is_empty() {
        parameter["description"] = description.into();
    }
    let mut schema = value(field, Form::Text);
    if is_path && field.ty == PortType::Text {
        schema["minLength"] = 1.into();
    }
    if field.ty == PortType::Json {
        parameter["content"] = json!({ "application/json": { "schema": schema } });
        return parameter;
    }
    parameter["schema"] = schema;
    if field.ty == PortType::TextList || field.each.is_some() {
        parameter["style"] = "form".into();
        parameter["explode"] = true.into();
    }
    parameter
}

fn body(graph: &Graph, fields: &[&Field], about: &About) -> Json {
    let limits = &graph.file.limits;
    let parts = limits.max_fields.unwrap_or(usize::MAX);
    let parts = parts.min(about.max_fields);
    let object = |form: Form| {
        let each = fields.iter();
        let properties: Map<String, Json> = each
            .map(|field| {
                let mut schema = value(field, form);
                // Each of them is a part of the form.
                if form == Form::Text && field.each.is_some_and(|most| most > parts) {
                    schema["maxItems"] = parts.into();
                }
                let description = described(graph, field, form);
                if !description.is_empty() {
                    schema["description"] = description.into();
                }
                (field.name.get_ref().clone(), schema)
            })
            .collect();
        // A file of any name need not have that of the field.
        let is_named = |field: &&&Field| form == Form::Json || !field.any_name;
        let required = fields.iter().filter(|field| field.required);
        let required = required.filter(is_named);
        let required: Vec<&str> = required
            .map(|field| field.name.get_ref().as_str())
            .collect();
        let mut object = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            object["required"] = required.into();
        }
        if limits.unknown_fields == UnknownFields::Refuse {
            object["additionalProperties"] = false.into();
        }
        let any_name = fields.iter().find(|field| field.any_name);
        // Texts of other names are no mistake, unless they are refused.
        if let (Some(field), Form::Text, UnknownFields::Refuse) =
            (any_name, form, limits.unknown_fields)
        {
            object["additionalProperties"] = one_value(field, form);
        }
        let one_of = graph.file.one_of.iter().map(|name| name.get_ref().as_str());
        let one_of: Vec<&str> = one_of.collect();
        let is_here = |name: &&str| fields.iter().any(|field| field.name.get_ref() == name);
        if !one_of.is_empty() && one_of.iter().all(is_here) {
            let each = one_of.iter().map(|name| json!({ "required": [name] }));
            object["oneOf"] = each.collect();
        }
        object
    };
    let mut form = json!({ "schema": object(Form::Text) });
    let encoding: Map<String, Json> = fields.iter().filter_map(|field| encoding(field)).collect();
    if !encoding.is_empty() {
        form["encoding"] = Json::Object(encoding);
    }
    let mut whole = json!({ "schema": object(Form::Json) });
    if let Some(example) = example(fields) {
        whole["example"] = example;
    }
    let most = limits.max_body_bytes.unwrap_or(usize::MAX);
    let most = most.min(about.max_body_bytes);
    let unknown = match limits.unknown_fields {
        UnknownFields::Refuse => "A name that is not here is 422.",
        UnknownFields::Tell => {
            "A name that is not here changes nothing; the answer says it in `X-Unknown-Fields`."
        }
    };
    json!({
        "description": format!(
            "A form, or a JSON object, of at most {} and {parts} fields. A list may be \
             several parts of its name. {unknown}",
            schema::size(most)
        ),
        "required": fields.iter().any(|field| field.required) || !graph.file.one_of.is_empty(),
        "content": { "multipart/form-data": form, "application/json": whole },
    })
}

/// What is sent of a field: one value, or several where it may come so.
fn value(field: &Field, form: Form) -> Json {
    let Some(most) = field.each else {
        return one_value(field, form);
    };
    let mut one = one_value(field, form);
    let default = one.as_object_mut().and_then(|one| one.remove("default"));
    let least = usize::from(field.required);
    let list = json!({
        "type": "array", "items": item(field, form), "minItems": least, "maxItems": most,
    });
    let mut schema = match form {
        Form::Json => json!({ "anyOf": [one, list] }),
        Form::Text => list,
    };
    if let Some(default) = default {
        schema["default"] = default;
    }
    schema
}

/// One of several values.
fn item(field: &Field, form: Form) -> Json {
    let mut field = field.clone();
    // There is none that is nothing.
    field.required = true;
    field.default = None;
    one_value(&field, form)
}

/// What a value of a field looks like.
fn one_value(field: &Field, form: Form) -> Json {
    let mut schema = match field.ty {
        // Former versions of OpenAPI said `byte` and `binary`, and many tools know no other way.
        PortType::Bytes if form == Form::Json => {
            json!({ "type": "string", "format": "byte", "contentEncoding": "base64" })
        }
        PortType::Bytes => json!({
            "type": "string", "format": "binary", "contentMediaType": "application/octet-stream",
        }),
        // As long as the file may be.
        PortType::Text if field.data_url.is_some() => json!({ "type": "string" }),
        PortType::Text => json!({ "type": "string", "maxLength": field.max_chars }),
        PortType::TextList => json!({
            "type": "array", "maxItems": field.max_items,
            "items": { "type": "string", "maxLength": field.item_max_chars },
        }),
        PortType::Number => json!({ "type": "number" }),
        PortType::Integer => json!({ "type": "integer", "format": "int64" }),
        PortType::Bool => json!({ "type": "boolean" }),
        _ => json!({}),
    };
    if let Some(min) = field.min {
        schema["minimum"] = schema::number(min);
    }
    if let Some(max) = field.max {
        schema["maximum"] = schema::number(max);
    }
    // A part of a form is not counted in characters but in bytes.
    if let (Some(max), Form::Text, PortType::Bytes) = (field.max_bytes, form, field.ty) {
        schema["maxLength"] = max.into();
    }
    if field.required && matches!(field.ty, PortType::Text) {
        schema["minLength"] = 1.into();
    }
    if field.required && matches!(field.ty, PortType::TextList) {
        schema["minItems"] = 1.into();
    }
    let is_nullable = form == Form::Json && !field.required && field.default.is_none();
    if is_nullable {
        schema = schema::or_null(schema);
    }
    if let Some(default) = &field.default {
        schema["default"] = default.to_json();
    }
    schema
}

/// What is said of a field: what the first stage that takes it says, and what its type does not.
fn described(graph: &Graph, field: &Field, form: Form) -> String {
    let mut said: Vec<String> = Vec::new();
    if let Some(doc) = doc(graph, field.name.get_ref()) {
        said.push(doc);
    }
    match (field.ty, form) {
        (PortType::Bytes, Form::Json) => said.push("base64, or a data: URL of it".into()),
        (PortType::TextList, Form::Text) => {
            said.push("several of its name, a JSON list, or items between commas".into());
        }
        (PortType::Json, Form::Text) => {
            said.push(format!(
                "JSON as text, of at most {} characters",
                field.max_chars
            ));
        }
        _ => {}
    }
    if field.data_url.is_some() {
        let most = field.max_chars;
        said.push(format!(
            "a text of at most {most} characters, or a file as a data: URL in base64"
        ));
    }
    if let Some(most) = field.each {
        said.push(format!("up to {most} of them, each answered by itself"));
    }
    if field.any_name && form == Form::Text {
        said.push("a file of any name".into());
    }
    if field.ignored {
        said.push("checked, and nothing is made of it".into());
    }
    if field.one_line {
        said.push("one line".into());
    }
    if let Some(max) = field.max_bytes {
        said.push(format!("at most {}", schema::size(max)));
    }
    if !field.accept.is_empty() {
        said.push(format!("declared as {}", field.accept.join(" or ")));
    }
    said.join("; ")
}

/// The line on it of the first stage that takes it.
fn doc(graph: &Graph, name: &str) -> Option<String> {
    let mut ports = graph.request_ports.iter();
    let port = ports.position(|(known, _)| known == name)?;
    let mut inputs = graph.order.iter().flat_map(|index| {
        let node = &graph.nodes[*index];
        node.ports.inputs.iter().zip(&node.inputs)
    });
    let taken = inputs.find(|(_, sources)| sources.contains(&From::Request(port)));
    taken
        .map(|(input, _)| input.doc.to_string())
        .filter(|doc| !doc.is_empty())
}

/// How a part of a form is encoded, where that does not follow from its type.
fn encoding(field: &Field) -> Option<(String, Json)> {
    let content_type = match field.ty {
        PortType::Bytes if !field.accept.is_empty() => field.accept.join(", "),
        PortType::Json => "application/json".to_owned(),
        _ => return None,
    };
    let name = field.name.get_ref().clone();
    Some((name, json!({ "contentType": content_type })))
}

/// A body that passes, where one can be told from the fields alone: what a text means only its
/// stage knows.
fn example(fields: &[&Field]) -> Option<Json> {
    let mut example = Map::new();
    for field in fields {
        let takes_pictures = field.accept.iter().any(|range| {
            let range = range.as_str();
            ["*", "*/*", "image/*", "image/png"].contains(&range)
        });
        let value = match (field.ty, &field.default) {
            (_, Some(default)) => default.to_json(),
            (PortType::Bytes, None) if takes_pictures => PIXEL.into(),
            (_, None) if field.required => return None,
            _ => continue,
        };
        example.insert(field.name.get_ref().clone(), value);
    }
    (!example.is_empty()).then_some(Json::Object(example))
}

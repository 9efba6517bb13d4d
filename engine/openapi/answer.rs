//! What an answer shows: the fields that stages publish, and the settings in force.

use serde_json::{Map, Value as Json, json};

use super::sure::Sure;
use super::{errors, schema};
use crate::pipeline::graph::{Graph, ResponseField, Source};

/// The answer of a run with that body.
pub(super) fn of_run(body: &Json) -> Json {
    let mut answer = errors::ok("what the stages found", body);
    errors::put_run_headers(&mut answer);
    answer
}

/// All the fields that stages publish.
pub(super) fn fields(graph: &Graph, sure: &Sure<'_>) -> Json {
    let fields = graph.response.iter();
    let properties: Map<String, Json> = fields
        .map(|field| (field.name.clone(), of_field(graph, field, sure)))
        .collect();
    let names: Vec<&str> = graph
        .response
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

pub(super) fn of_field(graph: &Graph, field: &ResponseField, sure: &Sure<'_>) -> Json {
    // The latest that is on; where all are off, the field keeps what stands for nothing.
    let (mut schema, doc) = match field.sources.first() {
        Some(source) => of_source(graph, *source),
        None => off(graph, &field.name),
    };
    if !sure.is_filled(field) {
        schema = schema::or(schema, &field.neutral);
    }
    if let (Json::Object(schema), Some(doc)) = (&mut schema, doc) {
        schema.insert("description".into(), doc.into());
    }
    schema
}

fn of_source(graph: &Graph, source: Source) -> (Json, Option<String>) {
    match source {
        Source::Request(port) => {
            let (name, ty) = &graph.request_ports[port];
            let of_upload = graph.file.request.iter().find(|field| {
                let extra = [&field.filename, &field.content_type];
                let mut extra = extra.into_iter().flatten();
                extra.any(|port| port.get_ref() == name)
            });
            let doc = of_upload.map(|field| {
                let what = if field
                    .filename
                    .as_ref()
                    .is_some_and(|it| it.get_ref() == name)
                {
                    "the name"
                } else {
                    "the media type"
                };
                format!("{what} that the upload `{}` declares", field.name.get_ref())
            });
            let schema = schema::of_port(*ty, &omnizap_contract::JsonShape::Any);
            (schema, doc)
        }
        Source::Stage { node, output } => {
            let port = &graph.nodes[node].ports.outputs[output];
            (
                schema::of_port(port.ty, &port.shape),
                Some(port.doc.to_string()),
            )
        }
    }
}

/// What a field would be if a stage that publishes it were on.
fn off(graph: &Graph, name: &str) -> (Json, Option<String>) {
    let mut outputs = graph.nodes.iter().flat_map(|node| &node.ports.outputs);
    let is_it = |publish: &omnizap_contract::Publish| publish.field == name;
    let port = outputs.rfind(|port| port.publish.as_ref().is_some_and(is_it));
    match port {
        Some(port) => {
            let doc = format!("{} (its stage is off)", port.doc);
            (schema::of_port(port.ty, &port.shape), Some(doc))
        }
        None => (json!({}), None),
    }
}

/// The settings of a pipeline.
pub(super) fn of_settings(graph: &Graph) -> Json {
    let mut properties = Map::new();
    properties.insert("ok".into(), json!({ "const": true }));
    for entry in &graph.file.stages {
        let options = entry.kind.spec().options.iter();
        for option in options.filter(|option| !option.is_secret) {
            let Some(name) = &option.public else {
                continue;
            };
            let own = schema::of_option(option);
            let known = properties.insert(name.to_string(), own.clone());
            // Two stages that show something under one name: either may be in force.
            if known.is_some_and(|known| known["type"] != own["type"]) {
                let doc = json!({ "description": own["description"] });
                properties.insert(name.to_string(), doc);
            }
        }
    }
    let features: Vec<&str> = graph
        .file
        .stages
        .iter()
        .filter_map(|entry| entry.kind.spec().feature.as_deref())
        .collect();
    let features_schema = json!({
        "type": "object", "required": features,
        "additionalProperties": { "type": "boolean" },
        "description": "which features work",
    });
    properties.insert("features".into(), features_schema);
    let off = json!({
        "type": "object", "additionalProperties": { "type": "string" },
        "description": "why those do not that do not",
    });
    properties.insert("features_off".into(), off);
    let body = json!({
        "type": "object", "required": ["ok", "features", "features_off"],
        "properties": properties,
    });
    errors::ok("the settings in force", &body)
}

//! The live pipelines as an OpenAPI 3.1 document: every route, what a request may bring, what an
//! answer shows, every error and its status. It is made of the graphs that answer, so that it says
//! what is so and plugins are in it. Pure: graphs in, JSON out.
//!
//! - `request`: fields as parameters and bodies
//! - `answer`: the fields of an answer, and the settings in force
//! - `sure`: which fields of an answer can show what stands for nothing
//! - `errors`: the bodies of errors by status
//! - `own`: what the program answers itself
//! - `sample`: a request by curl
//! - `schema`: types as JSON Schema
//! - `template`: answers and errors that look as the pipeline's file says
//! - `traced`: where the time went, for who asks

mod answer;
mod errors;
mod own;
mod request;
mod sample;
mod schema;
mod sure;
mod template;
mod traced;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value as Json, json};

use crate::pipeline::config::{OwnRoute, PipelineFile, Route};
use crate::pipeline::graph::Graph;

/// What every document has, and what every operation of a group has.
static FRAME: LazyLock<Json> =
    LazyLock::new(|| serde_json::from_str(include_str!("openapi/frame.json")).unwrap_or_default());
/// The version of OpenAPI that documents are written in.
const VERSION: &str = "3.1.0";
/// The group of what pipelines answer.
const PIPELINES: &str = "pipelines";
/// The group of what the program answers.
const SERVICE: &str = "service";
/// The group of what is for administrators.
const ADMINISTRATION: &str = "administration";

/// What a document says beside the pipelines: what holds for the whole service.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Whether clients need a key.
    pub wants_keys: bool,
    /// Whether there are keys of administrators.
    pub wants_admin_keys: bool,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Most fields of a form or a query string.
    pub max_fields: usize,
}

/// Who may ask for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Everybody,
    Clients,
    Administrators,
}

impl Audience {
    /// Whether a request has to bring a key.
    fn wants_key(self, about: &About) -> bool {
        match self {
            Self::Everybody => false,
            Self::Clients => about.wants_keys,
            Self::Administrators => about.wants_keys || about.wants_admin_keys,
        }
    }
}

/// The document of these pipelines.
#[must_use]
pub fn document<'g>(graphs: impl IntoIterator<Item = &'g Graph>, about: &About) -> Json {
    let mut paths = Paths::default();
    for graph in graphs {
        let file = &graph.file;
        if let Some(route) = &file.route {
            paths.add(route.get_ref(), run(graph, about));
        }
        if let Some(route) = &file.settings_route {
            paths.add(route.get_ref(), settings(graph, about));
        }
    }
    for own in OwnRoute::ALL {
        // A pipeline takes the place of what the program would answer there.
        if let Some(operation) = own::operation(own, about) {
            paths.add_own(own.method(), own.path(), operation);
        }
    }
    let mut components = errors::components();
    let (schemes, any) = security_schemes(about);
    if let (Json::Object(components), true) = (&mut components, any) {
        components.insert("securitySchemes".into(), schemes);
    }
    let mut document = FRAME["document"].clone();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["info"]["description"] = description(about).into();
    document["paths"] = paths.into_json();
    document["components"] = components;
    if about.wants_keys {
        document["security"] = security(Audience::Clients, about);
    }
    document
}

fn description(about: &About) -> String {
    let keys = if about.wants_keys {
        "Every request but those of probes brings a key."
    } else {
        "No key is needed, but where an operation says so."
    };
    format!(
        "This document is made from the pipelines that are live and changes with them. {keys} A \
         request body has at most {}, a form and a query string at most {} fields; of a \
         pipeline that sets less, its own limit holds. Every error has the same body, and every \
         answer an `X-Request-Id`, which the log names too. A path that nothing is served at is \
         404, another method is 405 with `Allow`. `HEAD` is answered wherever `GET` is.",
        schema::size(about.max_body_bytes),
        about.max_fields
    )
}

/// The operations of each path.
#[derive(Default)]
struct Paths {
    items: Map<String, Json>,
    /// Each path with its parameters unnamed, and how it is written: two paths that differ in the
    /// names of their parameters alone are one.
    written: HashMap<String, String>,
    names: HashMap<String, usize>,
}

impl Paths {
    fn add(&mut self, route: &Route, operation: Json) {
        let anonymous: Vec<&str> = route.path.split('/').map(unnamed).collect();
        let path = self
            .written
            .entry(anonymous.join("/"))
            .or_insert_with(|| route.path.clone())
            .clone();
        let operation = renamed(operation, &route.path, &path);
        self.insert(&route.method, &path, operation);
    }

    fn add_own(&mut self, method: &str, path: &str, operation: Json) {
        let method_key = method.to_ascii_lowercase();
        let taken = self.items.get(path);
        if taken.is_none_or(|item| item.get(&method_key).is_none()) {
            self.insert(method, path, operation);
        }
    }

    fn insert(&mut self, method: &str, path: &str, mut operation: Json) {
        // Names of operations become names of functions, so no two are alike.
        if let Some(name) = operation["operationId"].as_str().map(str::to_owned) {
            let count = self.names.entry(name.clone()).or_default();
            *count += 1;
            if *count > 1 {
                operation["operationId"] = Json::from(format!("{name}_{count}"));
            }
        }
        let item = self.items.entry(path).or_insert_with(|| json!({}));
        item[method.to_ascii_lowercase()] = operation;
    }

    fn into_json(self) -> Json {
        Json::Object(self.items)
    }
}

fn unnamed(part: &str) -> &str {
    if part.starts_with('{') { "{}" } else { part }
}

/// The operation of a path that stands under another with other names of its parameters.
fn renamed(mut operation: Json, own: &str, written: &str) -> Json {
    if own == written {
        return operation;
    }
    let names = own.split('/').zip(written.split('/'));
    let names: HashMap<&str, &str> = names.filter(|(own, _)| own.starts_with('{')).collect();
    let parameters = operation["parameters"].as_array_mut();
    for parameter in parameters.into_iter().flatten() {
        if parameter["in"] != "path" {
            continue;
        }
        let braced = format!("{{{}}}", parameter["name"].as_str().unwrap_or_default());
        if let Some(name) = names.get(&*braced) {
            parameter["name"] = Json::from(name.trim_matches(['{', '}']));
        }
    }
    operation
}

/// A name as one of a function: letters, digits and underscores.
fn identifier(name: &str) -> String {
    let plain = |char: char| {
        if char.is_ascii_alphanumeric() {
            char
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(plain).collect();
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name
    } else {
        format!("pipeline_{name}")
    }
}

fn audience(file: &PipelineFile) -> Audience {
    if file.is_admin {
        Audience::Administrators
    } else {
        Audience::Clients
    }
}

/// A run of a pipeline.
fn run(graph: &Graph, about: &About) -> Json {
    let file = &graph.file;
    let name = file.name.get_ref();
    let audience = audience(file);
    let request = request::Request::of(graph, about);
    let mut operation = Map::new();
    operation.insert("operationId".into(), identifier(name).into());
    operation.extend(of_group(group(audience)));
    let (summary, more) = described(file);
    operation.insert("summary".into(), summary.into());
    let mut description = format!(
        "{more}The pipeline `{name}`; an answer takes at most {} s.",
        file.deadline.as_secs_f64()
    );
    if let Some(most) = file.limits.max_in_flight {
        description.push_str(&format!(
            " At most {most} requests to it are answered at one time."
        ));
    }
    description.push_str(admins(audience, about));
    operation.insert("description".into(), description.into());
    operation.insert("x-omnizap-pipeline".into(), name.as_str().into());
    let mut parameters = request.parameters;
    parameters.extend(traced::parameters(file));
    operation.insert("parameters".into(), parameters.into());
    if let Some(body) = request.body {
        operation.insert("requestBody".into(), body);
    }
    let mut responses = Map::new();
    responses.insert(
        "200".into(),
        answer::of_run(&traced::with(template::body(graph), file)),
    );
    for status in errors::OF_PIPELINES {
        responses.insert(status.to_string(), errors::reference(status));
    }
    finish(&mut operation, responses, audience, about);
    if let Some(route) = &file.route {
        let has_path = route.get_ref().parameters().next().is_some();
        if has_path {
            operation["responses"]["404"] = errors::reference(404);
        }
    }
    if let Some(Json::Object(responses)) = operation.get_mut("responses") {
        template::put_errors(graph, responses);
        responses.sort_keys();
    }
    if let Some(route) = &file.route {
        let sample = sample::curl(file, route.get_ref(), audience, about);
        let samples = json!([{ "lang": "Shell", "label": "curl", "source": sample }]);
        operation.insert("x-codeSamples".into(), samples);
    }
    Json::Object(operation)
}

/// The settings of a pipeline.
fn settings(graph: &Graph, about: &About) -> Json {
    let file = &graph.file;
    let name = file.name.get_ref();
    let audience = audience(file);
    let mut operation = Map::new();
    let id = format!("{}_settings", identifier(name));
    operation.insert("operationId".into(), id.into());
    operation.extend(of_group(group(audience)));
    let summary = format!("The settings in force of the pipeline `{name}`");
    operation.insert("summary".into(), summary.into());
    let description = format!(
        "Options that its stages make public, what they say of themselves, and which features \
         work.{}",
        admins(audience, about)
    );
    operation.insert("description".into(), description.into());
    operation.insert("x-omnizap-pipeline".into(), name.as_str().into());
    let mut responses = Map::new();
    responses.insert("200".into(), answer::of_settings(graph));
    finish(&mut operation, responses, audience, about);
    if let Some(route) = &file.settings_route {
        let sample = sample::get(&route.get_ref().path, audience, about);
        let samples = json!([{ "lang": "Shell", "label": "curl", "source": sample }]);
        operation.insert("x-codeSamples".into(), samples);
    }
    Json::Object(operation)
}

/// A line on what a pipeline does, and what its file says beside that.
fn described(file: &PipelineFile) -> (String, String) {
    let said = file.description.as_deref().unwrap_or_default().trim();
    let (first, rest) = said.split_once('\n').unwrap_or((said, ""));
    if first.is_empty() {
        let name = file.name.get_ref();
        return (format!("Run the pipeline `{name}`"), String::new());
    }
    let rest = rest.trim();
    let rest = if rest.is_empty() {
        String::new()
    } else {
        format!("{rest}\n\n")
    };
    (first.trim().to_owned(), rest)
}

/// The group of what a pipeline answers.
fn group(audience: Audience) -> &'static str {
    match audience {
        Audience::Administrators => ADMINISTRATION,
        Audience::Everybody | Audience::Clients => PIPELINES,
    }
}

/// What every operation of a group has.
fn of_group(group: &str) -> Map<String, Json> {
    let members = FRAME["operations"][group].as_object();
    members.cloned().unwrap_or_default()
}

fn admins(audience: Audience, about: &About) -> &'static str {
    match audience {
        Audience::Administrators if about.wants_admin_keys => " It wants a key of administrators.",
        Audience::Administrators => {
            " No key of administrators is set: it is answered on a loopback address alone."
        }
        Audience::Everybody | Audience::Clients => "",
    }
}

/// What every operation has: the errors that any request can meet, and who may ask.
fn finish(
    operation: &mut Map<String, Json>,
    mut responses: Map<String, Json>,
    audience: Audience,
    about: &About,
) {
    for status in errors::OF_ALL {
        let own = responses.get(&status.to_string());
        if own.is_none() {
            responses.insert(status.to_string(), errors::reference(status));
        }
    }
    if audience.wants_key(about) {
        responses.insert("401".into(), errors::reference(401));
        operation.insert("security".into(), security(audience, about));
    } else if about.wants_keys {
        operation.insert("security".into(), json!([]));
    }
    let mut sorted: Vec<_> = responses.into_iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    operation.insert("responses".into(), sorted.into_iter().collect());
}

/// What a request has to bring, one of them.
fn security(audience: Audience, about: &About) -> Json {
    let is_admin = audience == Audience::Administrators && about.wants_admin_keys;
    if is_admin {
        json!([{ "adminKey": [] }, { "adminBearer": [] }])
    } else {
        json!([{ "apiKey": [] }, { "bearer": [] }])
    }
}

/// The ways to bring a key, and whether there are any.
fn security_schemes(about: &About) -> (Json, bool) {
    let mut schemes = Map::new();
    let mut add = |alone: &str, bearer: &str, whose: &str| {
        let header = json!({
            "type": "apiKey", "in": "header", "name": "X-Api-Key",
            "description": format!("{whose}, alone in its header"),
        });
        let token = json!({
            "type": "http", "scheme": "bearer",
            "description": format!("{whose}, as `Authorization: Bearer KEY`"),
        });
        schemes.insert(alone.into(), header);
        schemes.insert(bearer.into(), token);
    };
    if about.wants_keys {
        add("apiKey", "bearer", "a key of the service");
    }
    if about.wants_admin_keys {
        add("adminKey", "adminBearer", "a key of its administrators");
    }
    let any = !schemes.is_empty();
    (Json::Object(schemes), any)
}

#[cfg(test)]
mod tests;

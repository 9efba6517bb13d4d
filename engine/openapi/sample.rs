//! A request by curl, as short as it can be: what is required, and nothing else.

use std::fmt::Write as _;

use omnizap_contract::PortType;
use serde_json::{Map, Value as Json};

use super::request::place;
use super::{About, Audience};
use crate::pipeline::config::{PipelineFile, Route};
use crate::pipeline::request::{Field, Source};

/// Where a service is by default; whoever shows the sample may put the real place there.
const SERVER: &str = "http://127.0.0.1:8008";

/// A request to a path that takes nothing.
pub(super) fn get(path: &str, audience: Audience, about: &About) -> String {
    format!("curl{} {}", key(audience, about), quoted(&url(path)))
}

/// The same with another method.
pub(super) fn post(path: &str, audience: Audience, about: &About) -> String {
    let key = key(audience, about);
    format!("curl -X POST{key} {}", quoted(&url(path)))
}

/// A request to a pipeline.
pub(super) fn curl(
    file: &PipelineFile,
    route: &Route,
    audience: Audience,
    about: &About,
) -> String {
    let mut line = String::from("curl");
    let shown: Vec<&Field> = file.request.iter().filter(|field| field.required).collect();
    // A pipeline of files alone is asked with one, required or not.
    let is_file = |field: &&Field| field.ty == PortType::Bytes;
    let files = || file.request.iter().filter(is_file);
    let shown = if shown.is_empty() {
        files().take(1).collect()
    } else {
        shown
    };
    let at = |wanted: Source| {
        let each = shown.iter().copied();
        each.filter(move |field| place(file, field) == wanted)
    };
    let has_query = at(Source::Query).next().is_some();
    if has_query {
        line.push_str(" -G");
    }
    let has_body = at(Source::Body).next().is_some();
    if route.method == "DELETE" || (route.method == "POST" && (has_query || !has_body)) {
        let _ = write!(line, " -X {}", route.method);
    }
    line.push_str(&key(audience, about));
    for field in at(Source::Query) {
        let pair = format!("{}={}", field.name.get_ref(), placeholder(field));
        let _ = write!(line, " --data-urlencode {}", quoted(&pair));
    }
    if at(Source::Body).any(|field| field.ty == PortType::Bytes) {
        for field in at(Source::Body) {
            let value = if field.ty == PortType::Bytes {
                "@picture.png".to_owned()
            } else {
                placeholder(field)
            };
            let part = format!("{}={value}", field.name.get_ref());
            let _ = write!(line, " -F {}", quoted(&part));
        }
    } else if has_body {
        let members: Map<String, Json> = at(Source::Body)
            .map(|field| (field.name.get_ref().clone(), member(field)))
            .collect();
        let body = Json::Object(members).to_string();
        let _ = write!(line, " --json {}", quoted(&body));
    }
    let mut path = route.path.clone();
    for field in at(Source::Path) {
        let name = field.name.get_ref();
        path = path.replace(&format!("{{{name}}}"), &placeholder(field));
    }
    let _ = write!(line, " {}", quoted(&url(&path)));
    line
}

fn url(path: &str) -> String {
    format!("{SERVER}{path}")
}

fn key(audience: Audience, about: &About) -> String {
    if audience.wants_key(about) {
        " -H 'X-Api-Key: KEY'".to_owned()
    } else {
        String::new()
    }
}

/// What stands for a value that only the client knows.
fn placeholder(field: &Field) -> String {
    match member(field) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

fn member(field: &Field) -> Json {
    let least = field.min.or(field.max).unwrap_or(1.0);
    match field.ty {
        PortType::Number | PortType::Integer => super::schema::number(least),
        PortType::Bool => true.into(),
        PortType::Json => Json::Object(Map::new()),
        _ => field.name.get_ref().to_uppercase().into(),
    }
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=@%+,".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_of_a_shell_is_one_whatever_is_in_it() {
        for (text, expected) in [
            ("file=@a.png", "file=@a.png"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(id)", "'$(id)'"),
            ("http://127.0.0.1:8008/a?b", "'http://127.0.0.1:8008/a?b'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}

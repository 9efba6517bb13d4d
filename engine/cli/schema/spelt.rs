//! Values of a file: as TOML writes them, or as a text that spells them, so that they may come from
//! the environment.

use serde_json::{Value as Json, json};

/// A variable of the environment within a text: what it holds is not known here.
const VARIABLE: &str = r"\$\{";
/// A text that spells a bool, as environments do.
const BOOL: &str = r"^\s*([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[TtFfYyNn01]|[Yy][Ee][Ss]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff])\s*$";
const WHOLE: &str = r"^\s*[+-]?[0-9]+\s*$";
const NUMBER: &str = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$";

/// A value, or a text that spells one.
fn or_text(value: Json, form: &str) -> Json {
    let text = json!({ "type": "string", "pattern": format!("{form}|{VARIABLE}") });
    json!({ "anyOf": [value, text] })
}

pub(super) fn bool() -> Json {
    or_text(json!({ "type": "boolean" }), BOOL)
}

pub(super) fn whole(min: i64, max: i64) -> Json {
    let value = json!({ "type": "integer", "minimum": min, "maximum": max });
    or_text(value, WHOLE)
}

pub(super) fn number(min: f64, max: f64) -> Json {
    let value = json!({ "type": "number", "minimum": min, "maximum": max });
    or_text(value, NUMBER)
}

/// Any number, of a key without bounds of its own.
pub(super) fn any_number() -> Json {
    or_text(json!({ "type": "number" }), NUMBER)
}

pub(super) fn any_whole() -> Json {
    or_text(json!({ "type": "integer" }), WHOLE)
}

/// One of these words.
pub(super) fn words(words: &[&str]) -> Json {
    let variable = json!({ "type": "string", "pattern": VARIABLE });
    json!({ "anyOf": [{ "enum": words }, variable] })
}

pub(super) fn text() -> Json {
    json!({ "type": "string" })
}

pub(super) fn texts() -> Json {
    json!({ "type": "array", "items": { "type": "string" } })
}

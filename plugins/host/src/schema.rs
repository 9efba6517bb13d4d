//! The JSON in a descriptor: a stage's options, an input's default.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use omnizap_contract::common::names::suggestion;
use omnizap_contract::{OptionSpec, OptionType, PortType, Value};
use serde_json::{Map, Value as Json};

use crate::error::FileError;

/// Most options of a stage.
const MAX_OPTIONS: usize = 64;
const KEYS: [&str; 7] = ["type", "min", "max", "choices", "default", "doc", "public"];
const TYPES: [&str; 6] = ["bool", "integer", "number", "text", "choice", "text_list"];

/// Reads a stage's option schema; an empty text is no options.
pub(crate) fn read_options(text: &str) -> Result<Vec<OptionSpec>, FileError> {
    let wrong = |message: String| FileError::Descriptor(format!("options_json: {message}"));
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let schema: Map<String, Json> =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if schema.len() > MAX_OPTIONS {
        return Err(wrong(format!(
            "{} options, at most {MAX_OPTIONS} are allowed",
            schema.len()
        )));
    }
    schema
        .into_iter()
        .map(|(name, option)| {
            read_option(&name, &option).map_err(|message| wrong(format!("`{name}`: {message}")))
        })
        .collect()
}

fn read_option(name: &str, option: &Json) -> Result<OptionSpec, String> {
    let option = option.as_object().ok_or("expected an object")?;
    for key in option.keys() {
        if !KEYS.contains(&key.as_str()) {
            let help = suggestion(key, KEYS).unwrap_or_default();
            return Err(format!("unknown key `{key}`: {help}"));
        }
    }
    let text = |key: &str| option.get(key).and_then(Json::as_str);
    let ty = text("type").ok_or("has no \"type\"")?;
    let number = |key: &str, default: f64| match option.get(key) {
        None => Ok(default),
        Some(value) => value.as_f64().ok_or(format!("\"{key}\" is not a number")),
    };
    let integer = |key: &str, default: i64| match option.get(key) {
        None => Ok(default),
        Some(value) => value
            .as_i64()
            .ok_or(format!("\"{key}\" is not a whole number")),
    };
    let ty = match ty {
        "bool" => OptionType::Bool,
        "integer" => OptionType::Integer {
            min: integer("min", i64::MIN)?,
            max: integer("max", i64::MAX)?,
        },
        "number" => OptionType::Number {
            min: number("min", f64::MIN)?,
            max: number("max", f64::MAX)?,
        },
        "text" => OptionType::Text,
        "text_list" => OptionType::TextList,
        "choice" => OptionType::Choice(Cow::Owned(read_choices(option.get("choices"))?)),
        other => {
            let help = suggestion(other, TYPES).unwrap_or_default();
            return Err(format!("unknown type `{other}`: {help}"));
        }
    };
    let is_empty = match &ty {
        OptionType::Integer { min, max } => min > max,
        OptionType::Number { min, max } => min > max,
        OptionType::Choice(choices) => choices.is_empty(),
        OptionType::Bool | OptionType::Text | OptionType::TextList => false,
    };
    if is_empty {
        return Err(
            "no value is allowed: \"min\" is above \"max\", or \"choices\" is empty".into(),
        );
    }
    let doc = text("doc").unwrap_or_default().to_owned();
    let mut spec = OptionSpec::required(name.to_owned(), ty, doc);
    if let Some(default) = option.get("default") {
        // As a value that a file sets: a number is one also where it is written `1`.
        let fitting = spec.ty.fits(default).then(|| spec.ty.coerce(default));
        let fitting = fitting.flatten();
        if fitting.is_none() && !default.is_null() {
            let expected = spec.ty.expectation();
            return Err(format!("\"default\": expected {expected}, found {default}"));
        }
        spec.default = Some(fitting.unwrap_or(Json::Null));
    }
    if let Some(public) = text("public") {
        spec = spec.public(public.to_owned());
    }
    Ok(spec)
}

/// Choices that were read, each kept once and for good.
static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The choices of an option. The contract keeps them as static strings, and a library
/// is never unloaded: so these few bytes are kept for good as well, however often it is read.
fn read_choices(choices: Option<&Json>) -> Result<Vec<&'static str>, String> {
    let choices = choices.and_then(Json::as_array);
    let choices = choices.ok_or("a choice needs \"choices\", a list of strings")?;
    choices
        .iter()
        .map(|choice| {
            let text = choice
                .as_str()
                .ok_or("\"choices\" is not a list of strings")?;
            Ok(keep(text))
        })
        .collect()
}

fn keep(text: &str) -> &'static str {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(text).copied() {
        return known;
    }
    let text: &'static str = text.to_owned().leak();
    kept.insert(text);
    text
}

/// The default of an input port.
pub(crate) fn read_default(port: &str, ty: PortType, text: &str) -> Result<Value, FileError> {
    let wrong = |message: String| {
        FileError::Descriptor(format!("default_json of the input `{port}`: {message}"))
    };
    let json: Json = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let value = ty.value_of(&json);
    value.ok_or_else(|| wrong(format!("{json} is not {ty}, or {ty} can have no default")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{keep, read_options};

    #[test]
    fn a_default_has_the_type_of_its_option_however_it_is_written() {
        let options = read_options(
            r#"{"share": {"type": "number", "min": 0, "default": 100},
                "count": {"type": "integer", "default": 100},
                "unset": {"type": "number", "default": null}}"#,
        );
        let defaults: Vec<_> = options.unwrap().into_iter().map(|o| o.default).collect();
        assert_eq!(
            defaults,
            [Some(json!(100.0)), Some(json!(100)), Some(json!(null))]
        );
        let error = read_options(r#"{"share": {"type": "number", "default": "1"}}"#).unwrap_err();
        assert!(error.to_string().contains("expected a number"), "{error}");
    }

    #[test]
    fn what_is_read_twice_is_kept_once() {
        let [first, second] = ["here"; 2].map(|end| keep(&format!("only-{end}")));
        assert!(std::ptr::eq(first, second));
    }

    #[test]
    fn an_option_that_allows_no_value_is_refused() {
        for option in [
            r#"{"type": "integer", "min": 2, "max": 1}"#,
            r#"{"type": "number", "min": 0.2, "max": 0.1}"#,
            r#"{"type": "choice", "choices": []}"#,
        ] {
            let error = read_options(&format!("{{\"level\": {option}}}")).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("`level`: no value is allowed"), "{said}");
        }
    }
}

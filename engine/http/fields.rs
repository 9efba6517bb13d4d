//! Raw fields to the values of a pipeline's request, each checked against its
//! field's type and bounds. What the client got wrong is named by its field.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use omnizap_contract::{Error, ErrorKind, PortType, Value};
use serde_json::Value as Json;

use super::body::{Raw, RawFields};
use crate::pipeline::interpolate::parse_bool;
use crate::pipeline::request::Field;

/// The values of a request's ports, in their order.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a field that is missing, of another type or out of
/// bounds, [`ErrorKind::UnsupportedType`] for a file of a type that is not accepted.
pub(super) fn values(fields: &[Field], mut raw: RawFields) -> Result<Vec<Option<Value>>, Error> {
    let mut values = Vec::new();
    for field in fields {
        let name = field.name.get_ref();
        let (mut filename, mut content_type) = (None, None);
        let value = match raw.remove(name) {
            None | Some(Raw::Json(Json::Null)) => None,
            Some(Raw::Json(json)) => from_json(field, json)?,
            Some(Raw::Path(part)) => from_text(field, &decoded(field, &part)?)?,
            Some(Raw::Part {
                data,
                filename: given_name,
                content_type: given_type,
            }) => {
                let is_file = field.ty == PortType::Bytes;
                if is_file && let Some(given) = &given_type {
                    check_accepted(field, given)?;
                }
                filename = given_name.filter(|name| !name.is_empty());
                content_type = given_type;
                if is_file {
                    Some(Value::Bytes(data))
                } else {
                    from_text(field, &utf8(field, &data)?)?
                }
            }
        };
        let value = value.or_else(|| field.default.clone());
        if value.is_none() && field.required {
            return Err(invalid(field, "this field is required").with_code("missing_field"));
        }
        values.push(value);
        if field.filename.is_some() {
            values.push(filename.map(Value::from));
        }
        if field.content_type.is_some() {
            values.push(content_type.map(Value::from));
        }
    }
    Ok(values)
}

fn invalid(field: &Field, message: impl std::fmt::Display) -> Error {
    let message = format!("{}: {message}", field.name.get_ref());
    Error::new(ErrorKind::Invalid, message).with_code("invalid_field")
}

fn utf8(field: &Field, data: &Bytes) -> Result<String, Error> {
    // A text cannot be longer in bytes than four times its characters, so an
    // upload in the place of a text is refused before it is copied.
    let longest = match field.ty {
        PortType::TextList => field
            .max_items
            .saturating_mul(field.item_max_chars.saturating_add(4)),
        _ => field.max_chars,
    };
    if data.len() > longest.saturating_mul(4) {
        return Err(invalid(field, format!("longer than {longest} characters")));
    }
    match std::str::from_utf8(data) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(invalid(field, "expected text in UTF-8")),
    }
}

/// A part of a path without its percent-encoding (RFC 3986, section 2.1).
fn decoded(field: &Field, part: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = match *rest {
            [high, low, ..] => digit(high).zip(digit(low)),
            _ => None,
        };
        let Some((high, low)) = byte else {
            return Err(invalid(
                field,
                "a % in the path is not followed by two digits",
            ));
        };
        bytes.push((high * 16 + low) as u8);
        rest = &rest[2..];
    }
    utf8(field, &bytes.into())
}

/// True where a declared media type matches `image/*` or `image/png`.
fn matches_type(pattern: &str, essence: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => essence.starts_with(prefix),
        None => essence == pattern,
    }
}

fn check_accepted(field: &Field, given: &str) -> Result<(), Error> {
    let essence = given
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let accepted = field.accept.is_empty()
        || field
            .accept
            .iter()
            .any(|pattern| matches_type(pattern, &essence));
    if accepted {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UnsupportedType,
        format!(
            "{}: a file of type {essence} is not accepted, expected {}",
            field.name.get_ref(),
            field.accept.join(" or ")
        ),
    )
    .with_code("unsupported_file_type"))
}

/// A field of a form: text, whatever its type. Nothing but blanks counts as absent.
fn from_text(field: &Field, text: &str) -> Result<Option<Value>, Error> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    Ok(Some(match field.ty {
        PortType::Text => Value::from(bounded(field, text)?),
        PortType::TextList => return list_from_text(field, text.trim()),
        PortType::Number => number(field, text.trim().parse().ok(), &quoted(text))?,
        PortType::Integer => integer(field, text.trim().parse().ok(), &quoted(text))?,
        PortType::Bool => Value::from(parse_bool(text).ok_or_else(|| {
            invalid(
                field,
                format!("expected true or false, found {}", quoted(text)),
            )
        })?),
        PortType::Json => {
            let json: Json = serde_json::from_str(text)
                .map_err(|error| invalid(field, format!("not JSON: {error}")))?;
            Value::from(json)
        }
        _ => return Err(invalid(field, "cannot be sent as text")),
    }))
}

fn from_json(field: &Field, json: Json) -> Result<Option<Value>, Error> {
    let shown = kind_of(&json);
    Ok(Some(match (field.ty, json) {
        (PortType::Json, json) => Value::from(json),
        (PortType::Bytes, Json::String(text)) => {
            let data = STANDARD
                .decode(text.as_bytes())
                .map_err(|error| invalid(field, format!("not base64: {error}")))?;
            Value::Bytes(data.into())
        }
        (PortType::Text, Json::String(text)) if text.trim().is_empty() => return Ok(None),
        (PortType::Text, Json::String(text)) => Value::from(bounded(field, &text)?),
        (PortType::TextList, Json::Array(items)) => return list(field, items),
        (PortType::Number, Json::Number(json)) => number(field, json.as_f64(), &json.to_string())?,
        (PortType::Integer, Json::Number(json)) => {
            integer(field, json.as_i64(), &json.to_string())?
        }
        (PortType::Bool, Json::Bool(bool)) => Value::from(bool),
        (
            PortType::Number | PortType::Integer | PortType::Bool | PortType::TextList,
            Json::String(text),
        ) => {
            return from_text(field, &text);
        }
        (ty, _) => {
            let expected = if ty == PortType::Bytes {
                "base64 text".into()
            } else {
                ty.to_string()
            };
            return Err(invalid(
                field,
                format!("expected {expected}, found {shown}"),
            ));
        }
    }))
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a bool",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// Longest piece of a client's text that an error repeats, in characters.
const MAX_ECHO: usize = 40;

fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_ECHO).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    format!("{shown:?}")
}

fn bounded<'t>(field: &Field, text: &'t str) -> Result<&'t str, Error> {
    let chars = text.chars().count();
    if chars > field.max_chars {
        let max = field.max_chars;
        return Err(invalid(
            field,
            format!("{chars} characters, at most {max} are allowed"),
        ));
    }
    Ok(text)
}

fn number(field: &Field, number: Option<f64>, found: &str) -> Result<Value, Error> {
    let number = number.filter(|number| number.is_finite());
    match number.filter(|number| within(field, *number)) {
        Some(number) => Ok(Value::Number(number)),
        None => Err(invalid(
            field,
            format!("expected a number{}, found {found}", bounds(field)),
        )),
    }
}

fn integer(field: &Field, integer: Option<i64>, found: &str) -> Result<Value, Error> {
    match integer.filter(|integer| within(field, *integer as f64)) {
        Some(integer) => Ok(Value::Integer(integer)),
        None => Err(invalid(
            field,
            format!("expected a whole number{}, found {found}", bounds(field)),
        )),
    }
}

fn within(field: &Field, number: f64) -> bool {
    field.min.is_none_or(|min| number >= min) && field.max.is_none_or(|max| number <= max)
}

fn bounds(field: &Field) -> String {
    match (field.min, field.max) {
        (Some(min), Some(max)) => format!(" from {min} to {max}"),
        (Some(min), None) => format!(" of at least {min}"),
        (None, Some(max)) => format!(" of at most {max}"),
        (None, None) => String::new(),
    }
}

/// A list in a form: a JSON list of strings, or items between commas.
fn list_from_text(field: &Field, text: &str) -> Result<Option<Value>, Error> {
    if !text.starts_with('[') {
        return strings(field, text.split(','));
    }
    // Typed, so that nesting is refused at its first bracket, whatever its depth.
    let items: Vec<String> = serde_json::from_str(text)
        .map_err(|error| invalid(field, format!("expected a JSON list of strings: {error}")))?;
    strings(field, items.iter().map(String::as_str))
}

fn list(field: &Field, items: Vec<Json>) -> Result<Option<Value>, Error> {
    let mut texts = Vec::with_capacity(items.len());
    for item in &items {
        let text = item.as_str().ok_or_else(|| {
            invalid(
                field,
                format!("expected a list of strings, found {} in it", kind_of(item)),
            )
        })?;
        texts.push(text);
    }
    strings(field, texts.into_iter())
}

/// Items without the blanks around them; empty ones do not count, and a list of
/// nothing is absent.
fn strings<'t>(
    field: &Field,
    items: impl Iterator<Item = &'t str>,
) -> Result<Option<Value>, Error> {
    let mut list: Vec<Arc<str>> = Vec::new();
    for item in items.map(str::trim).filter(|item| !item.is_empty()) {
        let chars = item.chars().count();
        if chars > field.item_max_chars {
            let max = field.item_max_chars;
            return Err(invalid(
                field,
                format!("an item has {chars} characters, at most {max} are allowed"),
            ));
        }
        if list.len() == field.max_items {
            let max = field.max_items;
            return Err(invalid(field, format!("more than {max} items")));
        }
        list.push(item.into());
    }
    Ok((!list.is_empty()).then(|| Value::from(list)))
}

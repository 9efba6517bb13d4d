//! Raw fields to the values of a pipeline's request, each checked against its
//! field's type and bounds. What the client got wrong is named by its field.

use bytes::Bytes;
use omnizap_contract::{Error, ErrorKind, PortType, Value};
use serde_json::Value as Json;

use super::body::{Raw, RawFields};
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
            None => None,
            Some(Raw::Json(Json::Null)) => field.value_of_null()?,
            Some(Raw::Json(json)) => field.value_of_json(json)?,
            Some(Raw::Path(part)) => field.value_of_text(&decoded(field, &part)?)?,
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
                    field.value_of_text(&utf8(field, &data)?)?
                }
            }
        };
        let value = value.or_else(|| field.default.clone());
        if value.is_none() && field.required {
            return Err(field
                .invalid("this field is required")
                .with_code("missing_field"));
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
        return Err(field.invalid(format!("longer than {longest} characters")));
    }
    match std::str::from_utf8(data) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(field.invalid("expected text in UTF-8")),
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
            return Err(field.invalid("a % in the path is not followed by two digits"));
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

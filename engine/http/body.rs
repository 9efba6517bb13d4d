//! A request's body, read whole within its bounds, then split into raw fields.

use std::collections::{BTreeMap, HashSet};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use omnizap_contract::{Error, ErrorKind};
use warp::http::{HeaderMap, header};

use super::limits::Limits;
use crate::pipeline::request::quoted;

/// What is set aside before a byte has come: a client may say any length.
const INITIAL_CAPACITY: usize = 1 << 20;
/// A body over the limit is read on to this many times the limit, so that the
/// client gets to read the answer instead of a reset connection.
const DRAIN_FACTOR: usize = 4;

/// One field as it came, before its type is looked at.
#[derive(Debug)]
pub(super) enum Raw {
    /// A part of a multipart form.
    Part {
        data: Bytes,
        filename: Option<String>,
        content_type: Option<String>,
    },
    /// A member of a JSON object.
    Json(serde_json::Value),
    /// A value in the query string, still encoded.
    Query(String),
    /// A part of the path, still encoded.
    Path(String),
}

/// Raw fields by name, those of one name in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct RawFields(BTreeMap<String, Vec<Raw>>);

impl RawFields {
    pub(super) fn add(&mut self, name: String, raw: Raw) {
        self.0.entry(name).or_default().push(raw);
    }

    /// Takes those of a name out.
    pub(super) fn take(&mut self, name: &str) -> Vec<Raw> {
        self.0.remove(name).unwrap_or_default()
    }

    /// The names of what is left.
    pub(super) fn into_names(self) -> impl Iterator<Item = String> {
        self.0.into_keys()
    }
}

/// Reads a body whole.
///
/// # Errors
/// [`ErrorKind::TooLarge`] over the limit, [`ErrorKind::Malformed`] where it breaks off.
pub(super) async fn read_body<B: Buf, E>(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, E>>,
    limits: &Limits,
) -> Result<Bytes, Error> {
    let limit = limits.max_body_bytes;
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    let mut body = std::pin::pin!(body);
    let mut collected =
        BytesMut::with_capacity(declared.unwrap_or(0).min(limit).min(INITIAL_CAPACITY));
    let mut seen = 0usize;
    if declared.is_some_and(|declared| declared > limit.saturating_mul(DRAIN_FACTOR)) {
        return Err(too_large(limit));
    }
    while let Some(chunk) = body.next().await {
        let Ok(mut chunk) = chunk else {
            return Err(Error::new(ErrorKind::Malformed, "the body broke off"));
        };
        seen = seen.saturating_add(chunk.remaining());
        if seen > limit {
            collected.clear();
            if seen > limit.saturating_mul(DRAIN_FACTOR) {
                break;
            }
            continue;
        }
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            collected.extend_from_slice(piece);
            let advanced = piece.len();
            chunk.advance(advanced);
        }
    }
    if seen > limit {
        return Err(too_large(limit));
    }
    Ok(collected.freeze())
}

fn too_large(limit: usize) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("the request body is larger than {limit} bytes"),
    )
    .with_code("body_too_large")
}

/// Splits a body into fields by its media type; a JSON object has at most `max_members`.
///
/// # Errors
/// [`ErrorKind::UnsupportedType`] for any media type but `multipart/form-data`
/// and `application/json`, [`ErrorKind::Malformed`] for a body that is not what
/// it says, [`ErrorKind::Invalid`] for too many fields, and for a member that is given twice.
pub(super) async fn split(
    headers: &HeaderMap,
    body: Bytes,
    limits: &Limits,
    max_members: Option<usize>,
) -> Result<RawFields, Error> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.as_str() {
        "multipart/form-data" => split_multipart(content_type, body, limits).await,
        "application/json" => split_json(&body, max_members),
        "" if body.is_empty() => Ok(RawFields::default()),
        "" if body.trim_ascii_start().starts_with(b"{") => split_json(&body, max_members),
        _ => Err(Error::new(
            ErrorKind::UnsupportedType,
            "the request body must be multipart/form-data or application/json",
        )
        .with_code("unsupported_body")),
    }
}

fn split_json(body: &[u8], max_members: Option<usize>) -> Result<RawFields, Error> {
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)
        .map_err(|error| {
            Error::new(
                ErrorKind::Malformed,
                format!("the request body is not a JSON object: {error}"),
            )
            .with_code("malformed_json")
        })?;
    if let Some(max) = max_members.filter(|max| members.len() > *max) {
        let many = format!("the JSON object has more than {max} members");
        return Err(Error::new(ErrorKind::Invalid, many).with_code("too_many_fields"));
    }
    if let Some(name) = repeated_member(body) {
        let twice = format!("{} is given twice in the JSON object", quoted(&name));
        return Err(Error::new(ErrorKind::Invalid, twice).with_code("repeated_field"));
    }
    let mut fields = RawFields::default();
    for (name, value) in members {
        fields.add(name, Raw::Json(value));
    }
    Ok(fields)
}

/// A name that an object has twice at its outermost level, where a parser would keep the last one
/// in silence (RFC 8259, section 4). The text is known to be an object without mistakes.
fn repeated_member(object: &[u8]) -> Option<String> {
    let mut names = HashSet::new();
    let (mut depth, mut is_name) = (0_usize, false);
    let mut at = 0;
    while let Some(byte) = object.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                is_name = depth == 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => is_name = depth == 1,
            b':' => is_name = false,
            b'"' => {
                let end = end_of_string(object, at);
                if is_name {
                    // Two spellings may be one name: "a" and "\u0061".
                    let name: String = serde_json::from_slice(object.get(at..=end)?).ok()?;
                    if let Some(twice) = names.replace(name) {
                        return Some(twice);
                    }
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that begins at a quote ends.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(rest) = text.get(at..) {
        match rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            Some(found) if rest[found] == b'"' => return at + found,
            Some(escape) => at += escape + 2,
            None => break,
        }
    }
    text.len()
}

/// The fields of a query string (`application/x-www-form-urlencoded`): their names, and their
/// values, still encoded.
pub(super) fn query_fields(query: &str) -> impl Iterator<Item = (String, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = decoded(name, true).and_then(|name| String::from_utf8(name).ok());
        // What cannot be read is no name that a pipeline has.
        (decoded.unwrap_or_else(|| name.to_owned()), value)
    })
}

/// Splits a query string into fields.
///
/// # Errors
/// [`ErrorKind::Invalid`] for too many of them.
pub(super) fn split_query(query: &str, limits: &Limits) -> Result<RawFields, Error> {
    let mut fields = RawFields::default();
    for (index, (name, value)) in query_fields(query).enumerate() {
        if index == limits.max_parts {
            let many = format!("the query has more than {} fields", limits.max_parts);
            return Err(Error::new(ErrorKind::Invalid, many).with_code("too_many_fields"));
        }
        fields.add(name, Raw::Query(value.to_owned()));
    }
    Ok(fields)
}

/// A text without its percent-encoding (RFC 3986, section 2.1), and with a blank for each `+`
/// where it is of a query string; `None` where a `%` is not followed by two digits.
pub(super) fn decoded(text: &str, is_query: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let [high, low, after @ ..] = rest else {
                    return None;
                };
                let digit = |byte: u8| char::from(byte).to_digit(16);
                bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
                rest = after;
            }
            b'+' if is_query => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    Some(bytes)
}

async fn split_multipart(
    content_type: &str,
    body: Bytes,
    limits: &Limits,
) -> Result<RawFields, Error> {
    let boundary = multer::parse_boundary(content_type).map_err(|error| malformed(&error))?;
    let whole = stream::once(async { Ok::<_, std::convert::Infallible>(body) });
    let mut form = multer::Multipart::new(whole, boundary);
    let mut fields = RawFields::default();
    let mut parts = 0;
    while let Some(part) = form.next_field().await.map_err(|error| malformed(&error))? {
        parts += 1;
        if parts > limits.max_parts {
            let many = format!("the form has more than {} parts", limits.max_parts);
            return Err(Error::new(ErrorKind::Invalid, many).with_code("too_many_parts"));
        }
        let Some(name) = part.name().map(str::to_owned) else {
            continue;
        };
        let filename = part.file_name().map(str::to_owned);
        let content_type = part.content_type().map(ToString::to_string);
        let data = part.bytes().await.map_err(|error| malformed(&error))?;
        let raw = Raw::Part {
            data,
            filename,
            content_type,
        };
        fields.add(name, raw);
    }
    Ok(fields)
}

fn malformed(error: &multer::Error) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!("the multipart form is malformed: {error}"),
    )
    .with_code("malformed_multipart")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_given_twice_is_found_however_it_is_spelt() {
        for (object, expected) in [
            ("{}", None),
            (r#"{"a": 1, "b": "a", "c": {"a": 2}}"#, None),
            (r#"{"a": [{"b": 1}, "a", "b"], "b": "\",\"a\":"}"#, None),
            (r#"{"a": {"b": 1, "b": 2}}"#, None),
            (r#" { "a" : 1 , "a" : 1 } "#, Some("a")),
            (r#"{"a": {}, "b": [], "\u0061": "x"}"#, Some("a")),
            (r#"{"": 1, "x\"y": 2, "": 3}"#, Some("")),
            (r#"{"a": "\\", "b": 1, "b": 2}"#, Some("b")),
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(object).is_ok());
            assert_eq!(
                repeated_member(object.as_bytes()).as_deref(),
                expected,
                "{object}"
            );
        }
    }

    #[test]
    fn a_query_is_read_as_forms_write_it() {
        let fields = |query: &str| -> Vec<(String, String)> {
            let fields = query_fields(query);
            let text = |value: &str| String::from_utf8(decoded(value, true).unwrap()).unwrap();
            fields.map(|(name, value)| (name, text(value))).collect()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields(""), []);
        assert_eq!(
            fields("&a=b+c&&d%20e=%C3%A9%2B=&f&a=%25"),
            [
                pair("a", "b c"),
                pair("d e", "é+="),
                pair("f", ""),
                pair("a", "%")
            ]
        );
        let (name, _) = query_fields("%zz=1").next().unwrap();
        assert_eq!(name, "%zz", "no name that a pipeline has");
        for bad in ["%", "%a", "%zz", "a%2"] {
            assert_eq!(decoded(bad, true), None, "{bad}");
        }
        assert_eq!(decoded("a+b", false).unwrap(), b"a+b");
    }
}

//! A request's body, read whole within its bounds, then split into raw fields.

use std::collections::HashMap;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use omnizap_contract::{Error, ErrorKind};
use warp::http::{HeaderMap, header};

use super::limits::Limits;

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
    /// A part of the path, still encoded.
    Path(String),
}

/// Raw fields by name; of several of one name the last counts.
pub(super) type RawFields = HashMap<String, Raw>;

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

/// Splits a body into fields by its media type.
///
/// # Errors
/// [`ErrorKind::UnsupportedType`] for any media type but `multipart/form-data`
/// and `application/json`, [`ErrorKind::Malformed`] for a body that is not what
/// it says.
pub(super) async fn split(
    headers: &HeaderMap,
    body: Bytes,
    limits: &Limits,
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
        "application/json" => split_json(&body),
        "" if body.is_empty() => Ok(RawFields::new()),
        "" if body.trim_ascii_start().starts_with(b"{") => split_json(&body),
        _ => Err(Error::new(
            ErrorKind::UnsupportedType,
            "the request body must be multipart/form-data or application/json",
        )
        .with_code("unsupported_body")),
    }
}

fn split_json(body: &[u8]) -> Result<RawFields, Error> {
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)
        .map_err(|error| {
            Error::new(
                ErrorKind::Malformed,
                format!("the request body is not a JSON object: {error}"),
            )
            .with_code("malformed_json")
        })?;
    Ok(members
        .into_iter()
        .map(|(name, value)| (name, Raw::Json(value)))
        .collect())
}

async fn split_multipart(
    content_type: &str,
    body: Bytes,
    limits: &Limits,
) -> Result<RawFields, Error> {
    let boundary = multer::parse_boundary(content_type).map_err(|error| malformed(&error))?;
    let whole = stream::once(async { Ok::<_, std::convert::Infallible>(body) });
    let mut form = multer::Multipart::new(whole, boundary);
    let mut fields = RawFields::new();
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
        fields.insert(name, raw);
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

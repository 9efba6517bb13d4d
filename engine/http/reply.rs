//! JSON answers and errors.

use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::{Error, ErrorKind};
use serde_json::{Value as Json, json};
use warp::http::{HeaderValue, StatusCode, header};

use crate::pipeline::run::StageFailure;

/// The header that carries a request's id, both ways.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// What an answer tells of an error, for who says it in other words.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) detail: String,
    pub(super) code: String,
    pub(super) stage: Option<String>,
    /// What was added to the body.
    pub(super) more: Option<(String, Json)>,
}

/// What a handler answers.
pub(super) type Response = warp::reply::Response;

/// When trying again makes sense after a transient error that does not say so itself.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Room for most errors, and for an answer with all scores of the default labels, in bytes: what grows
/// is copied each time.
const ROOM_OF_ERROR: usize = 512;
const ROOM: usize = 1 << 14;

pub(super) fn json(status: StatusCode, body: &Json) -> Response {
    let room = match status.is_success() {
        true => ROOM,
        false => ROOM_OF_ERROR,
    };
    let mut text = Vec::with_capacity(room);
    // To memory, and of JSON: it cannot fail.
    let _ = serde_json::to_writer(&mut text, body);
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

pub(super) fn ok(body: &Json) -> Response {
    json(StatusCode::OK, body)
}

/// An id for a request whose client gave none.
pub(super) fn new_request_id() -> Arc<str> {
    uuid::Uuid::new_v4().simple().to_string().into()
}

/// The body of every error: `{"detail", "code", "stage", "request_id"}`.
pub(super) fn body_of_error(
    detail: &str,
    code: &str,
    stage: Option<&str>,
    request_id: &str,
) -> Json {
    json!({ "detail": detail, "code": code, "stage": stage, "request_id": request_id })
}

/// The answer to a request that failed.
pub(super) fn failure(failure: &StageFailure, request_id: &str) -> Response {
    failure_with(failure, request_id, None)
}

/// The same, with one field more.
pub(super) fn failure_with(
    failure: &StageFailure,
    request_id: &str,
    more: Option<(&str, Json)>,
) -> Response {
    let error = &failure.error;
    let status =
        StatusCode::from_u16(error.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let stage = failure.stage.as_deref();
    let mut body = body_of_error(error.message(), error.code(), stage, request_id);
    let more = more.map(|(name, value)| (name.to_owned(), value));
    if let Some((name, value)) = &more {
        body[name] = value.clone();
    }
    let mut response = json(status, &body);
    response.extensions_mut().insert(Told {
        detail: error.message().to_owned(),
        code: error.code().to_owned(),
        stage: failure.stage.clone(),
        more,
    });
    if error.kind().is_transient() {
        let after = error.retry_after().unwrap_or(DEFAULT_RETRY_AFTER);
        let seconds = after.as_millis().div_ceil(1000).max(1);
        if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    response
}

/// The answer to a request that no stage has seen.
pub(super) fn error(error: Error, request_id: &str) -> Response {
    failure(&StageFailure { stage: None, error }, request_id)
}

/// An answer with a status that no [`ErrorKind`] has.
pub(super) fn status_error(
    status: StatusCode,
    code: &str,
    detail: String,
    request_id: &str,
) -> Response {
    let error = Error::new(ErrorKind::Malformed, detail).with_code(code.to_owned());
    let mut response = self::error(error, request_id);
    *response.status_mut() = status;
    response
}

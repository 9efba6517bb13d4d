//! Answers and errors as the pipeline's file says that they look.

use std::sync::Arc;
use std::time::Instant;

use omnizap_contract::common::chain::chain;
use serde_json::{Map, Value as Json, json};
use warp::http::{HeaderValue, StatusCode, header};

use super::headers::{SERVER_TIMING, server_timing};
use super::{is_ours, one_line};
use crate::http::reply::{self, Response, Told};
use crate::http::spans::{self, Wanted};
use crate::http::traced::TRACE;
use crate::pipeline::Pipeline;
use crate::pipeline::answer::{of_each, of_error, of_run};
use crate::pipeline::run::{FinishedEach, StageFailure};

/// Most lines of the log on the failed items of one request.
const MAX_LOGGED: usize = 16;

/// The answer of a run.
pub(super) fn answer(
    pipeline: &Pipeline,
    fields: Map<String, Json>,
    request_id: &str,
    told: Option<(&str, Json)>,
) -> Response {
    reply::ok(&with(of_run(&pipeline.graph, fields, request_id), told))
}

/// A body with a field more, where it has fields. What the pipeline itself answers under that name
/// stays.
fn with(mut body: Json, told: Option<(&str, Json)>) -> Json {
    if let (Json::Object(fields), Some((name, value))) = (&mut body, told) {
        fields.entry(name).or_insert(value);
    }
    body
}

/// Logs how the runs of a request ended, and answers it.
pub(super) fn ended_each(
    pipeline: &Pipeline,
    finished: FinishedEach,
    arrived: Instant,
    request_id: &Arc<str>,
    wanted: Wanted,
) -> Response {
    let FinishedEach { result, traces } = finished;
    let (name, request_id) = (pipeline.name(), &**request_id);
    let elapsed = arrived.elapsed();
    let elapsed_ms = elapsed.as_secs_f64() * 1000.0;
    let told = wanted.by_client.then(|| {
        let traces = traces.iter().map(|trace| pipeline.trace_json(trace));
        (TRACE, traces.collect::<Json>())
    });
    let mut response = match result {
        Ok(items) => {
            let failed = items.iter().filter(|item| item.is_err()).count();
            let runs = items.len();
            tracing::info!(
                pipeline = name,
                request_id,
                elapsed_ms,
                runs,
                failed,
                "answered"
            );
            let errors = items.iter().filter_map(|item| item.as_ref().err());
            for failure in errors.take(MAX_LOGGED) {
                log(name, request_id, failure);
            }
            reply::ok(&with(of_each(&pipeline.graph, items, request_id), told))
        }
        Err(failure) => {
            log(name, request_id, &failure);
            reply::failure_with(&failure, request_id, told)
        }
    };
    spans::carry(&mut response, pipeline, &traces, wanted);
    if let Some(timing) = server_timing(std::iter::empty(), elapsed) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    response
}

fn log(pipeline: &str, request_id: &str, failure: &StageFailure) {
    let (stage, code) = (&failure.stage, failure.error.code());
    let why = one_line(&chain(&failure.error));
    if is_ours(&failure.error) {
        tracing::error!(pipeline, request_id, stage, code, "failed: {why}");
    } else {
        tracing::info!(pipeline, request_id, stage, code, "failed: {why}");
    }
}

/// The same response, where it is one of an error in the form that the file says for it. Its headers
/// stay, and so does what was added to its body.
pub(super) fn error(pipeline: &Pipeline, mut response: Response, request_id: &str) -> Response {
    let answer = &pipeline.graph.file.answer;
    if answer.errors.is_empty() {
        return response;
    }
    let Some(told) = response.extensions_mut().remove::<Told>() else {
        return response;
    };
    let status = response.status().as_u16();
    let Some(form) = answer.of_request(status, &told.code) else {
        return response;
    };
    let named = json!({
        "status": status, "code": told.code, "detail": told.detail, "stage": told.stage,
    });
    let body = of_error(form, named, request_id, None);
    let more = told.more.as_ref();
    let body = with(
        body,
        more.map(|(name, value)| (name.as_str(), value.clone())),
    );
    let other = form.status.and_then(|it| StatusCode::from_u16(it).ok());
    let mut shown = reply::json(other.unwrap_or(response.status()), &body);
    let headers = std::mem::take(response.headers_mut());
    for (name, value) in &headers {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            shown.headers_mut().append(name, HeaderValue::clone(value));
        }
    }
    shown
}

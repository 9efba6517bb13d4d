//! The answer to each request: what it is meant for, whether there is a place for it, its run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Buf;
use futures_util::Stream;
use omnizap_contract::common::chain::chain;
use omnizap_contract::common::names::suggestion;
use omnizap_contract::{Error, ErrorKind};
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::body::{Raw, read_body, split};
use super::fields::values;
use super::health;
use super::limits::Limits;
use super::reply::{self, Response};
use crate::live::generation::{Generation, Live, Parameters, Target};
use crate::pipeline::Pipeline;
use crate::pipeline::render;
use crate::pipeline::run::{Finished, StageFailure};
use crate::pipeline::trace::Trace;

/// The server's side of every request.
pub struct Service {
    live: Arc<Live>,
    limits: Limits,
    in_flight: Semaphore,
    shutting_down: AtomicBool,
}

/// What the service answers itself, where no pipeline has the route.
#[derive(Clone, Copy)]
enum Own {
    Health,
    Live,
    Ready,
    Pipelines,
}

const OWN: [(&str, Own); 4] = [
    ("/health", Own::Health),
    ("/health/live", Own::Live),
    ("/health/ready", Own::Ready),
    ("/pipelines", Own::Pipelines),
];

/// What a request is meant for.
enum Meant<'g> {
    Pipeline(&'g Target, Parameters<'g>),
    Own(Own),
}

fn meant<'g>(generation: &'g Generation, method: &str, path: &'g str) -> Option<Meant<'g>> {
    if let Some((target, parameters)) = generation.target(method, path) {
        return Some(Meant::Pipeline(target, parameters));
    }
    let own = OWN.iter().find(|(own, _)| method == "GET" && *own == path);
    own.map(|(_, own)| Meant::Own(*own))
}

impl Service {
    /// A service of the pipelines that are live.
    #[must_use]
    pub fn new(live: Arc<Live>, limits: Limits) -> Self {
        Self {
            live,
            in_flight: Semaphore::new(limits.max_requests_in_flight),
            limits,
            shutting_down: AtomicBool::new(false),
        }
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Says that no further request should come: readiness fails from now on.
    pub fn begin_shutdown(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    /// Finishes what the stages have still under way.
    pub async fn close(&self) {
        self.live.close().await;
    }

    /// Answers a request.
    pub(super) async fn answer<B: Buf, E>(
        &self,
        method: &str,
        path: &str,
        headers: &HeaderMap,
        body: impl Stream<Item = Result<B, E>>,
        request_id: &Arc<str>,
    ) -> Response {
        let generation = self.live.current();
        let path = if path.len() > 1 {
            path.trim_end_matches('/')
        } else {
            path
        };
        let meant = meant(&generation, method, path).or_else(|| {
            // HEAD is answered as GET; the connection leaves the body out.
            (method == "HEAD")
                .then(|| meant(&generation, "GET", path))
                .flatten()
        });
        match meant {
            Some(Meant::Pipeline(Target::Run(pipeline), parameters)) => {
                self.run(pipeline, &parameters, headers, body, request_id)
                    .await
            }
            Some(Meant::Pipeline(Target::Settings(pipeline), _)) => {
                let mut settings = pipeline.settings();
                settings.insert("ok".into(), Json::from(true));
                reply::ok(&Json::Object(settings))
            }
            Some(Meant::Own(Own::Health)) => health::health(generation.pipelines()),
            Some(Meant::Own(Own::Live)) => health::live(),
            Some(Meant::Own(Own::Ready)) => health::ready(
                generation.pipelines(),
                self.shutting_down.load(Ordering::Relaxed),
            ),
            Some(Meant::Own(Own::Pipelines)) => reply::ok(&pipelines(&generation)),
            None => unread(headers, no_route(&generation, method, path, request_id)),
        }
    }

    async fn run<B: Buf, E>(
        &self,
        pipeline: &Pipeline,
        parameters: &Parameters<'_>,
        headers: &HeaderMap,
        body: impl Stream<Item = Result<B, E>>,
        request_id: &Arc<str>,
    ) -> Response {
        let Ok(_place) = self.in_flight.try_acquire() else {
            let limit = self.limits.max_requests_in_flight;
            let busy = format!("{limit} requests are in flight already, try again");
            let busy = reply::error(Error::new(ErrorKind::Busy, busy), request_id);
            return unread(headers, busy);
        };
        let arrived = Instant::now();
        let body = read_body(headers, body, &self.limits);
        let body = match tokio::time::timeout(self.limits.body_timeout, body).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return unread(headers, refuse(pipeline, error, request_id)),
            Err(_) => {
                let late = reply::status_error(
                    StatusCode::REQUEST_TIMEOUT,
                    "body_timeout",
                    "the request body did not arrive in time".into(),
                    request_id,
                );
                return unread(headers, late);
            }
        };
        let fields = split(headers, body, &self.limits).await;
        let values = fields.and_then(|mut raw| {
            // Whatever the body calls by that name.
            let given = parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Raw::Path((*value).to_owned())));
            raw.extend(given);
            values(&pipeline.graph.file.request, raw)
        });
        let values = match values {
            Ok(values) => values,
            Err(error) => return refuse(pipeline, error, request_id),
        };
        let deadline = Instant::now() + pipeline.graph.file.deadline;
        let Finished { result, trace } = pipeline.run(values, request_id.clone(), deadline).await;
        log(pipeline, &result, &trace, arrived, request_id);
        let mut response = match result {
            Ok(fields) => reply::ok(&Json::Object(fields)),
            Err(failure) => reply::failure(&failure, request_id),
        };
        if let Ok(timing) = HeaderValue::from_str(&server_timing(pipeline, &trace)) {
            response.headers_mut().insert("server-timing", timing);
        }
        response
    }
}

/// An answer to a request whose body was not read to its end: the connection cannot
/// carry another request, and the client had better know.
fn unread(headers: &HeaderMap, mut response: Response) -> Response {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .map(HeaderValue::as_bytes);
    let has_body = length.is_some_and(|length| length != b"0")
        || headers.contains_key(header::TRANSFER_ENCODING);
    if has_body {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

fn refuse(pipeline: &Pipeline, error: Error, request_id: &str) -> Response {
    tracing::info!(
        pipeline = pipeline.name(),
        request_id,
        code = error.code(),
        "request refused: {error}"
    );
    reply::error(error, request_id)
}

fn log(
    pipeline: &Pipeline,
    result: &Result<serde_json::Map<String, Json>, StageFailure>,
    trace: &Trace,
    arrived: Instant,
    request_id: &str,
) {
    let pipeline_name = pipeline.name();
    let elapsed_ms = arrived.elapsed().as_secs_f64() * 1000.0;
    match result {
        Ok(_) => tracing::info!(pipeline = pipeline_name, request_id, elapsed_ms, "answered"),
        Err(failure) if failure.error.kind() == ErrorKind::Internal => tracing::error!(
            pipeline = pipeline_name,
            request_id,
            elapsed_ms,
            stage = failure.stage,
            "failed: {}",
            chain(&failure.error)
        ),
        Err(failure) => tracing::info!(
            pipeline = pipeline_name,
            request_id,
            elapsed_ms,
            stage = failure.stage,
            code = failure.error.code(),
            "failed: {}",
            chain(&failure.error)
        ),
    }
    if tracing::enabled!(tracing::Level::DEBUG) {
        tracing::debug!(request_id, trace = %pipeline.trace_json(trace), "trace");
    }
}

/// The trace as a `Server-Timing` header (W3C): how long each stage ran, in milliseconds.
fn server_timing(pipeline: &Pipeline, trace: &Trace) -> String {
    let mut entries: Vec<String> = trace
        .stages
        .iter()
        .filter(|stage| stage.attempts > 0)
        .map(|stage| {
            let name = pipeline.graph.stage_name(stage.node).replace('/', "_");
            format!("{name};dur={:.3}", stage.ran.as_secs_f64() * 1000.0)
        })
        .collect();
    entries.push(format!(
        "total;dur={:.3}",
        trace.total.as_secs_f64() * 1000.0
    ));
    entries.join(", ")
}

fn no_route(generation: &Generation, method: &str, path: &str, request_id: &str) -> Response {
    let own = OWN.iter().map(|(path, _)| *path);
    let mut allowed: Vec<&str> = generation
        .routes()
        .filter(|route| route.matches(path).is_some())
        .map(|route| route.method.as_str())
        .chain(own.clone().filter(|own| *own == path).map(|_| "GET"))
        .collect();
    if allowed.is_empty() {
        let paths = generation.routes().map(|route| route.path.as_str());
        let help = suggestion(path, paths.chain(own)).unwrap_or_default();
        let detail = format!("nothing is served here: {help}");
        return reply::status_error(StatusCode::NOT_FOUND, "not_found", detail, request_id);
    }
    allowed.sort_unstable();
    allowed.dedup();
    let allowed = allowed.join(", ");
    let mut response = reply::status_error(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{method} is not served here, expected {allowed}"),
        request_id,
    );
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

/// `GET /pipelines`: each effective graph, with how often its stages ran.
fn pipelines(generation: &Generation) -> Json {
    let pipelines: Vec<Json> = generation
        .pipelines()
        .map(|pipeline| {
            let mut graph = render::to_json(&pipeline.graph);
            // Options are the operator's: a client sees those only that are public.
            if let Some(stages) = graph["stages"].as_array_mut() {
                for (node, stage) in stages.iter_mut().enumerate() {
                    if let Some(stage) = stage.as_object_mut() {
                        stage.remove("options");
                        stage.insert("counters".into(), pipeline.counters(node));
                    }
                }
            }
            graph
        })
        .collect();
    json!({ "ok": true, "pipelines": pipelines })
}

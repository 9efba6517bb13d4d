//! The answer to each request: what it is meant for, whether there is a place for it, its run.

mod headers;
mod in_flight;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use omnizap_contract::common::chain::chain;
use omnizap_contract::common::names::suggestion;
use omnizap_contract::{Error, ErrorKind};
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};

use self::headers::{SERVER_TIMING, UNKNOWN_FIELDS, server_timing, unknown_fields};
use self::in_flight::InFlight;
use super::body::{
    Coming, UNSUPPORTED_ENCODING, Unread, check_encoding, declares_body, read_body, split,
};
use super::fields::{Sent, takes_query};
use super::health;
use super::limits::Limits;
use super::query::{query_fields, split_query};
use super::raw::{Raw, RawFields};
use super::reply::{self, Response};
use crate::live::generation::{Generation, Live, Parameters, Target};
use crate::pipeline::Pipeline;
use crate::pipeline::config::OwnRoute;
use crate::pipeline::render;
use crate::pipeline::request::UnknownFields;
use crate::pipeline::run::{Finished, StageFailure};
use crate::pipeline::trace::Trace;

/// The server's side of every request.
pub struct Service {
    live: Arc<Live>,
    limits: Limits,
    in_flight: Semaphore,
    /// The same of each pipeline.
    of_pipelines: InFlight,
    shutting_down: AtomicBool,
}

/// A request without its body.
#[derive(Clone, Copy)]
pub(super) struct Head<'r> {
    pub(super) method: &'r str,
    pub(super) path: &'r str,
    /// Without the question mark; empty where there is none.
    pub(super) query: &'r str,
    pub(super) headers: &'r HeaderMap,
    pub(super) request_id: &'r Arc<str>,
}

/// What a request is meant for.
enum Meant<'g> {
    Pipeline(&'g Target, Parameters<'g>),
    Own(OwnRoute),
}

fn meant<'g>(generation: &'g Generation, method: &str, path: &'g str) -> Option<Meant<'g>> {
    if let Some(target) = generation.plain(method, path) {
        return Some(Meant::Pipeline(target, Parameters::new()));
    }
    if method == "GET"
        && let Some(own) = OwnRoute::of(path)
    {
        return Some(Meant::Own(own));
    }
    let (target, parameters) = generation.pattern(method, path)?;
    Some(Meant::Pipeline(target, parameters))
}

impl Service {
    /// A service of the pipelines that are live.
    #[must_use]
    pub fn new(live: Arc<Live>, limits: Limits) -> Self {
        Self {
            live,
            in_flight: Semaphore::new(limits.max_requests_in_flight),
            of_pipelines: InFlight::default(),
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

    /// Answers a request, and may leave its body as it comes.
    pub(super) async fn answer<B: Buf, E>(
        &self,
        mut head: Head<'_>,
        body: &mut Coming<impl Stream<Item = Result<B, E>>>,
    ) -> Response {
        let generation = self.live.current();
        if head.path.len() > 1 {
            head.path = head.path.trim_end_matches('/');
        }
        let (method, path) = (head.method, head.path);
        let meant = meant(&generation, method, path).or_else(|| {
            // HEAD is answered as GET; the connection leaves the body out.
            (method == "HEAD")
                .then(|| meant(&generation, "GET", path))
                .flatten()
        });
        match meant {
            Some(Meant::Pipeline(Target::Run(pipeline), parameters)) => {
                self.run(pipeline, &parameters, head, body).await
            }
            Some(Meant::Pipeline(Target::Settings(pipeline), _)) => {
                let mut settings = pipeline.settings();
                settings.insert("ok".into(), Json::from(true));
                reply::ok(&Json::Object(settings))
            }
            Some(Meant::Own(OwnRoute::Health)) => health::health(generation.pipelines()),
            Some(Meant::Own(OwnRoute::Live)) => health::live(),
            Some(Meant::Own(OwnRoute::Ready)) => health::ready(
                generation.pipelines(),
                self.shutting_down.load(Ordering::Relaxed),
            ),
            Some(Meant::Own(OwnRoute::Pipelines)) => reply::ok(&self.pipelines(&generation)),
            None => no_route(&generation, head),
        }
    }

    async fn run<B: Buf, E>(
        &self,
        pipeline: &Pipeline,
        parameters: &Parameters<'_>,
        head: Head<'_>,
        body: &mut Coming<impl Stream<Item = Result<B, E>>>,
    ) -> Response {
        let own = &pipeline.graph.file.limits;
        let limits = self.limits.within(own);
        let Ok(_place) = self.in_flight.try_acquire() else {
            let limit = self.limits.max_requests_in_flight;
            return busy(head, format!("{limit} requests are in flight already"));
        };
        let own_place = self.of_pipelines.take(pipeline.name(), own.max_in_flight);
        let Some(_own_place) = own_place else {
            let name = pipeline.name().escape_debug();
            let limit = own.max_in_flight.unwrap_or_default();
            let full = format!("the pipeline `{name}` has {limit} requests in flight already");
            return busy(head, full);
        };
        let arrived = Instant::now();
        if head.query.len() > limits.max_query_bytes && takes_query(&pipeline.graph.file) {
            let max = limits.max_query_bytes;
            return reply::status_error(
                StatusCode::URI_TOO_LONG,
                "query_too_long",
                format!("the query string is longer than {max} bytes"),
                head.request_id,
            );
        }
        // Before it is read: what cannot be understood need not come.
        if declares_body(head.headers)
            && let Err(error) = check_encoding(head.headers)
        {
            return refuse(pipeline, error, head.request_id);
        }
        let body = match read_body(head.headers, body, &limits).await {
            Ok(body) => body,
            Err(Unread::Refused(error)) => return refuse(pipeline, error, head.request_id),
            Err(Unread::Late(detail)) => {
                let status = StatusCode::REQUEST_TIMEOUT;
                return reply::status_error(status, "body_timeout", detail, head.request_id);
            }
        };
        let sent = match sorted(pipeline, parameters, head, &body, &limits) {
            Ok(sent) => sent,
            Err(error) => return refuse(pipeline, error, head.request_id),
        };
        let unknown = unknown_fields(sent.unknown());
        let mut response = run_with(pipeline, sent, arrived, head.request_id).await;
        if let Some(unknown) = unknown {
            response.headers_mut().insert(UNKNOWN_FIELDS, unknown);
        }
        response
    }

    /// `GET /pipelines`: each effective graph, with how often its stages ran, and how many requests
    /// it has now.
    fn pipelines(&self, generation: &Generation) -> Json {
        let pipelines = generation.pipelines().map(|pipeline| {
            let mut graph = render::to_json(&pipeline.graph);
            graph["in_flight"] = Json::from(self.of_pipelines.of(pipeline.name()));
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
        });
        json!({ "ok": true, "pipelines": pipelines.collect::<Vec<_>>() })
    }
}

/// The answer to what a request brought.
async fn run_with(
    pipeline: &Pipeline,
    sent: Sent,
    arrived: Instant,
    request_id: &Arc<str>,
) -> Response {
    let file = &pipeline.graph.file;
    let known = match file.limits.unknown_fields {
        UnknownFields::Refuse => sent.check_known(file),
        UnknownFields::Tell => Ok(()),
    };
    let values = match known.and_then(|()| sent.values(&file.request)) {
        Ok(values) => values,
        Err(error) => return refuse(pipeline, error, request_id),
    };
    let deadline = Instant::now() + file.deadline;
    let Finished { result, trace } = pipeline.run(values, request_id.clone(), deadline).await;
    log(pipeline, &result, &trace, arrived, request_id);
    let mut response = match result {
        Ok(fields) => reply::ok(&Json::Object(fields)),
        Err(failure) => reply::failure(&failure, request_id),
    };
    let ran = trace.stages.iter().filter(|stage| stage.attempts > 0);
    let ran = ran.map(|stage| (pipeline.graph.stage_name(stage.node), stage.ran));
    if let Some(timing) = server_timing(ran, trace.total) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    response
}

/// What a request brought for a pipeline, by the pipeline's fields.
fn sorted(
    pipeline: &Pipeline,
    parameters: &Parameters<'_>,
    head: Head<'_>,
    body: &Bytes,
    limits: &Limits,
) -> Result<Sent, Error> {
    let file = &pipeline.graph.file;
    let takes_query = takes_query(file);
    // Clients name a media type with GET too, and send nothing of it.
    let body = if body.is_empty() && takes_query {
        RawFields::default()
    } else {
        split(head.headers, body, limits, file.limits.max_fields)?
    };
    let query = if takes_query {
        split_query(head.query, limits)?
    } else {
        // It is not looked at, but whoever put a field there should learn so.
        let mut query = RawFields::default();
        for (name, _) in query_fields(head.query).take(limits.max_parts) {
            query.add(name, Raw::Query(String::new()));
        }
        query
    };
    Ok(Sent::sort(file, body, query, parameters))
}

fn busy(head: Head<'_>, what: String) -> Response {
    let error = Error::new(ErrorKind::Busy, format!("{what}, try again"));
    reply::error(error, head.request_id)
}

fn refuse(pipeline: &Pipeline, error: Error, request_id: &str) -> Response {
    tracing::info!(
        pipeline = pipeline.name(),
        request_id,
        code = error.code(),
        "request refused: {}",
        one_line(&error)
    );
    let is_encoded = error.code() == UNSUPPORTED_ENCODING;
    let mut response = reply::error(error, request_id);
    if is_encoded {
        let plain = HeaderValue::from_static("identity");
        response
            .headers_mut()
            .insert(header::ACCEPT_ENCODING, plain);
    }
    response
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
        Err(failure) if is_ours(&failure.error) => tracing::error!(
            pipeline = pipeline_name,
            request_id,
            elapsed_ms,
            stage = failure.stage,
            "failed: {}",
            one_line(&chain(&failure.error))
        ),
        Err(failure) => tracing::info!(
            pipeline = pipeline_name,
            request_id,
            elapsed_ms,
            stage = failure.stage,
            code = failure.error.code(),
            "failed: {}",
            one_line(&chain(&failure.error))
        ),
    }
    if tracing::enabled!(tracing::Level::DEBUG) {
        tracing::debug!(request_id, trace = %pipeline.trace_json(trace), "trace");
    }
}

/// True where no request and no wait can mend it.
fn is_ours(error: &Error) -> bool {
    error.kind() == ErrorKind::Internal || error.code() == "misconfigured"
}

/// A message for the log, in which nothing that came from elsewhere can begin a line of its own.
fn one_line(message: &dyn fmt::Display) -> String {
    let mut line = String::new();
    for char in message.to_string().chars() {
        if char.is_control() {
            line.extend(char.escape_debug());
        } else {
            line.push(char);
        }
    }
    line
}

fn no_route(generation: &Generation, head: Head<'_>) -> Response {
    let Head {
        method,
        path,
        request_id,
        ..
    } = head;
    let own = OwnRoute::ALL.map(OwnRoute::path);
    let mut allowed: Vec<&str> = generation
        .routes()
        .filter(|route| route.matches(path).is_some())
        .map(|route| route.method.as_str())
        .chain(OwnRoute::of(path).map(|_| "GET"))
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

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_message_cannot_begin_a_line_of_the_log() {
        let forged = "a\nERROR b\r\u{1b}[2J\u{85}c";
        assert_eq!(one_line(&forged), "a\\nERROR b\\r\\u{1b}[2J\\u{85}c");
        assert_eq!(one_line(&"ação \"x\""), "ação \"x\"");
    }
}

//! The pipelines that are live, and the answer to each request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Buf;
use futures_util::Stream;
use omnizap_contract::{Error, ErrorKind};
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::body::{Raw, read_body, split};
use super::fields::values;
use super::health;
use super::limits::Limits;
use super::reply::{self, Response};
use crate::pipeline::Pipeline;
use crate::pipeline::build::chain;
use crate::pipeline::config::Route;
use crate::pipeline::diagnostic::suggestion;
use crate::pipeline::render;
use crate::pipeline::run::{Finished, StageFailure};
use crate::pipeline::trace::Trace;

/// The server's side of every request. Cheap to share; pipelines can be swapped.
pub struct Service {
    generation: ArcSwap<Generation>,
    limits: Limits,
    in_flight: Semaphore,
    shutting_down: AtomicBool,
}

/// The pipelines of one configuration, and what its routes reach.
struct Generation {
    pipelines: Vec<Arc<Pipeline>>,
    routes: HashMap<Route, Target>,
    /// Those with parameters in their path; no request is meant for two of them.
    patterns: Vec<(Route, Target)>,
}

/// The parameters of a request's path, still encoded.
type Parameters<'r> = Vec<(&'r str, &'r str)>;

#[derive(Clone)]
enum Target {
    Run(Arc<Pipeline>),
    Settings(Arc<Pipeline>),
    Health,
    Live,
    Ready,
    Pipelines,
}

impl Generation {
    fn new(pipelines: Vec<Arc<Pipeline>>) -> Self {
        let (mut routes, mut patterns) = (HashMap::new(), Vec::new());
        let own = [
            ("/health", Target::Health),
            ("/health/live", Target::Live),
            ("/health/ready", Target::Ready),
            ("/pipelines", Target::Pipelines),
        ];
        for (path, target) in own {
            routes.insert(get(path), target);
        }
        // A pipeline may take the place of one of our own routes.
        for pipeline in &pipelines {
            if let Some(route) = &pipeline.graph.file.settings_route {
                routes.insert(route.get_ref().clone(), Target::Settings(pipeline.clone()));
            }
            if let Some(route) = &pipeline.graph.file.route {
                let (route, target) = (route.get_ref().clone(), Target::Run(pipeline.clone()));
                let has_parameters = route.parameters().next().is_some();
                if has_parameters {
                    patterns.push((route, target));
                } else {
                    routes.insert(route, target);
                }
            }
        }
        Self {
            pipelines,
            routes,
            patterns,
        }
    }

    /// What a request is meant for, and what its path says.
    fn target<'r>(&'r self, method: &str, path: &'r str) -> Option<(&'r Target, Parameters<'r>)> {
        let plain = self.routes.get(&Route {
            method: method.into(),
            path: path.into(),
        });
        if let Some(target) = plain {
            return Some((target, Vec::new()));
        }
        let mut of_method = self
            .patterns
            .iter()
            .filter(|(route, _)| route.method == method);
        of_method.find_map(|(route, target)| Some((target, route.matches(path)?)))
    }

    /// Every route.
    fn routes(&self) -> impl Iterator<Item = &Route> {
        let patterns = self.patterns.iter().map(|(route, _)| route);
        self.routes.keys().chain(patterns)
    }

    fn each(&self) -> impl Iterator<Item = &Pipeline> {
        self.pipelines.iter().map(|pipeline| &**pipeline)
    }
}

fn get(path: &str) -> Route {
    Route {
        method: "GET".into(),
        path: path.into(),
    }
}

impl Service {
    /// A service of these pipelines.
    #[must_use]
    pub fn new(pipelines: Vec<Arc<Pipeline>>, limits: Limits) -> Self {
        Self {
            generation: ArcSwap::from_pointee(Generation::new(pipelines)),
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

    /// Puts other pipelines in the place of the live ones and returns those:
    /// requests in flight end on the pipeline that they began on.
    pub fn swap(&self, pipelines: Vec<Arc<Pipeline>>) -> Vec<Arc<Pipeline>> {
        let old = self.generation.swap(Arc::new(Generation::new(pipelines)));
        old.pipelines.clone()
    }

    /// Finishes what the stages have still under way.
    pub async fn close(&self) {
        for pipeline in &self.generation.load_full().pipelines {
            pipeline.close().await;
        }
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
        let generation = self.generation.load_full();
        let path = if path.len() > 1 {
            path.trim_end_matches('/')
        } else {
            path
        };
        let target = generation.target(method, path).or_else(|| {
            // HEAD is answered as GET; the connection leaves the body out.
            (method == "HEAD")
                .then(|| generation.target("GET", path))
                .flatten()
        });
        let (target, parameters) = target.unzip();
        match target {
            Some(Target::Run(pipeline)) => {
                let parameters = parameters.unwrap_or_default();
                self.run(pipeline, &parameters, headers, body, request_id)
                    .await
            }
            Some(Target::Settings(pipeline)) => {
                let mut settings = pipeline.settings();
                settings.insert("ok".into(), Json::from(true));
                reply::ok(&Json::Object(settings))
            }
            Some(Target::Health) => health::health(generation.each()),
            Some(Target::Live) => health::live(),
            Some(Target::Ready) => health::ready(
                generation.each(),
                self.shutting_down.load(Ordering::Relaxed),
            ),
            Some(Target::Pipelines) => reply::ok(&pipelines(&generation)),
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
    let mut allowed: Vec<&str> = generation
        .routes()
        .filter(|route| route.matches(path).is_some())
        .map(|route| route.method.as_str())
        .collect();
    if allowed.is_empty() {
        let paths = generation.routes().map(|route| route.path.as_str());
        let help = suggestion(path, paths).unwrap_or_default();
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
        .each()
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

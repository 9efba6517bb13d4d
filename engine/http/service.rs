//! The answer to each request: what it is meant for, whether there is a place for it, its run.

mod headers;
mod in_flight;
mod templated;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use omnizap_contract::common::chain::chain;
use omnizap_contract::common::names::suggestion;
use omnizap_contract::{Error, ErrorKind};
use serde_json::{Value as Json, json};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, sleep_until};
use warp::http::{HeaderValue, StatusCode, header};

use self::headers::{SERVER_TIMING, UNKNOWN_FIELDS, server_timing, unknown_fields};
use self::in_flight::InFlight;
use super::admin;
use super::body::{
    Bodies, Coming, Held, UNSUPPORTED_ENCODING, Unread, check_encoding, declares_body, read_body,
    says_json, split,
};
use super::connections::{Connections, Seat};
use super::docs;
use super::drain::Drains;
use super::fields::{Runs, Sent, takes_query};
use super::head::Head;
use super::health;
use super::limits::{Limits, open_files};
use super::metrics::{Meters, Timed};
use super::page::{File, Page};
use super::query::{query_fields, split_query};
use super::raw::{Raw, RawFields};
use super::reply::{self, Response};
use super::spans::{self, Begun, Collector, Wanted};
use super::traced::{self, TRACE};
use super::trust::{Access, Trust, is_preflight, let_read, preflight};
use crate::live::generation::{Generation, Live, Parameters, Target};
use crate::openapi::{self, About};
use crate::pipeline::Pipeline;
use crate::pipeline::config::OwnRoute;
use crate::pipeline::request::UnknownFields;
use crate::pipeline::run::{Finished, StageFailure};
use crate::pipeline::trace::Trace;

/// The code of the refusal of a request that the end of the server came before.
const SHUTTING_DOWN: &str = "shutting_down";
/// The longest that a body is waited for once the service is to end.
const MOST_PATIENCE: Duration = Duration::from_secs(10);
/// The longest without a byte of it then; a quarter of the grace where that is shorter.
const STALL_PATIENCE: Duration = Duration::from_secs(2);

/// The server's side of every request.
pub struct Service {
    live: Arc<Live>,
    limits: Limits,
    trust: Trust,
    connections: Arc<Connections>,
    bodies: Arc<Bodies>,
    drains: Arc<Drains>,
    in_flight: Semaphore,
    /// The same of each pipeline.
    of_pipelines: InFlight,
    /// Requests that there was no place for.
    refused: AtomicU64,
    meters: Meters,
    page: Page,
    /// Who collects what became of requests.
    collector: Option<Arc<dyn Collector>>,
    shutting_down: watch::Sender<bool>,
    /// True once the time for requests in flight is over.
    giving_up: watch::Sender<bool>,
}

/// What a request is meant for.
enum Meant<'g> {
    Pipeline(&'g Target, Parameters<'g>),
    Own(OwnRoute),
    /// A file of the page.
    Page(&'g File),
}

fn meant<'g>(
    generation: &'g Generation,
    page: &'g Page,
    method: &str,
    path: &'g str,
) -> Option<Meant<'g>> {
    if let Some(target) = generation.plain(method, path) {
        return Some(Meant::Pipeline(target, Parameters::new()));
    }
    if method == "GET"
        && let Some(file) = page.file(path)
    {
        return Some(Meant::Page(file));
    }
    // Without its files there is no page.
    if let Some(own) = OwnRoute::of(method, path).filter(|own| *own != OwnRoute::Page) {
        return Some(Meant::Own(own));
    }
    let (target, parameters) = generation.pattern(method, path)?;
    Some(Meant::Pipeline(target, parameters))
}

/// Who may ask for it. What there is not is told to nobody who may not ask for anything.
fn access(meant: Option<&Meant<'_>>) -> Access {
    match meant {
        // The page has to be there before it can ask for a key.
        Some(Meant::Page(_)) => Access::Open,
        Some(Meant::Own(own)) if own.is_open() => Access::Open,
        Some(Meant::Own(own)) if own.is_for_admins() => Access::Admin,
        Some(Meant::Pipeline(Target::Run(pipeline) | Target::Settings(pipeline), _))
            if is_for_admins(pipeline) =>
        {
            Access::Admin
        }
        _ => Access::Client,
    }
}

fn is_for_admins(pipeline: &Pipeline) -> bool {
    pipeline.graph.file.is_admin
}

impl Service {
    /// A service of the pipelines that are live. Its limits are made to fit those of the process.
    #[must_use]
    pub fn new(live: Arc<Live>, limits: Limits) -> Self {
        let asked = limits.max_connections;
        let limits = limits.fitting(open_files().unwrap_or(usize::MAX));
        let most = limits.max_connections;
        if most < asked {
            tracing::warn!(
                "{most} connections at one time instead of {asked}: the process may not open files \
                 for more (ulimit -n)"
            );
        }
        Self {
            live,
            trust: Trust::default(),
            connections: Connections::new(limits.max_connections),
            bodies: Bodies::new(limits.max_coming_bodies, limits.max_held_bytes),
            drains: Drains::new(&limits),
            in_flight: Semaphore::new(limits.max_requests_in_flight.min(Semaphore::MAX_PERMITS)),
            of_pipelines: InFlight::default(),
            refused: AtomicU64::new(0),
            meters: Meters::default(),
            page: Page::default(),
            collector: None,
            limits,
            shutting_down: watch::Sender::new(false),
            giving_up: watch::Sender::new(false),
        }
    }

    /// The same for those alone.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// The same with a page for people at `/`.
    #[must_use]
    pub fn with_page(mut self, page: Page) -> Self {
        self.page = page;
        self
    }

    /// The same, and tells what became of requests.
    #[must_use]
    pub fn collected_by(mut self, collector: Arc<dyn Collector>) -> Self {
        self.collector = Some(collector);
        self
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Says that no further request should come: readiness fails from now on.
    pub fn begin_shutdown(&self) {
        self.shutting_down.send_replace(true);
        self.drains.end_soon();
    }

    /// Answers whatever is in flight still that it was not finished.
    pub(super) fn give_up(&self) {
        self.giving_up.send_replace(true);
    }

    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    pub(super) fn drains(&self) -> &Arc<Drains> {
        &self.drains
    }

    /// Tells the operator what nobody can ask for.
    pub(super) fn warn_of_trust(&self, is_loopback: bool) {
        if is_loopback || !self.trust.admin_keys.is_empty() {
            return;
        }
        for pipeline in self.live.current().pipelines() {
            if is_for_admins(pipeline) {
                tracing::warn!(
                    pipeline = pipeline.name(),
                    "its routes are closed: they are for administrators, and no key is set for \
                     them (OMNIZAP_ADMIN_KEYS)"
                );
            }
        }
    }

    /// Finishes what the stages have still under way.
    pub async fn close(&self) {
        self.live.close().await;
    }

    /// Answers a request, and may leave its body as it comes.
    pub(super) async fn answer<B: Buf, E>(
        &self,
        head: Head<'_>,
        body: &mut Coming<impl Stream<Item = Result<B, E>>>,
    ) -> Response {
        let begun = self.collector.as_ref().map(|_| Begun::now());
        let mut timed = self.meters.begin(head.method, begun);
        let mut response = self.answer_page(head, body, &mut timed).await;
        let begun = timed.answered(&response);
        if let (Some(begun), Some(collector)) = (begun, &self.collector) {
            let names = [head.method, &**head.request_id];
            begun.ended(&**collector, names, head.headers, &mut response);
        }
        response
    }

    async fn answer_page<B: Buf, E>(
        &self,
        head: Head<'_>,
        body: &mut Coming<impl Stream<Item = Result<B, E>>>,
        timed: &mut Timed<'_>,
    ) -> Response {
        let page = match self.trust.check_page(&head) {
            Ok(page) => page,
            Err(refused) => return refused.answer(head.request_id),
        };
        let Some(origin) = page else {
            return self.answer_in_time(head, body, timed).await;
        };
        let mut response = if is_preflight(&head) {
            preflight()
        } else {
            self.answer_in_time(head, body, timed).await
        };
        let_read(&mut response, origin);
        response
    }

    /// Answers a request, or says at the end of the server's grace that it was not finished.
    async fn answer_in_time<B: Buf, E>(
        &self,
        head: Head<'_>,
        body: &mut Coming<impl Stream<Item = Result<B, E>>>,
        timed: &mut Timed<'_>,
    ) -> Response {
        tokio::select! {
            biased;
            response = self.answer_known(head, body, timed) => response,
            () = self.gives_up() => {
                let request_id = &**head.request_id;
                tracing::info!(request_id, code = SHUTTING_DOWN, "not finished: the grace ran out");
                reply::error(shutting_down("the request was not finished"), request_id)
            }
        }
    }

    /// Resolves once the time for requests in flight is over.
    async fn gives_up(&self) {
        let mut giving_up = self.giving_up.subscribe();
        // The sender lives as long as this does.
        let _ = giving_up.wait_for(|is_giving_up| *is_giving_up).await;
    }

    /// Answers a request that is of no page that may not ask.
    async fn answer_known<B: Buf, E>(
        &self,
        mut head: Head<'_>,
        body: &mut Coming<impl Stream<Item = Result<B, E>>>,
        timed: &mut Timed<'_>,
    ) -> Response {
        let generation = self.live.current();
        if head.path.len() > 1 {
            head.path = head.path.trim_end_matches('/');
        }
        let (method, path) = (head.method, head.path);
        let meant = meant(&generation, &self.page, method, path).or_else(|| {
            // HEAD is answered as GET; the connection leaves the body out.
            (method == "HEAD")
                .then(|| meant(&generation, &self.page, "GET", path))
                .flatten()
        });
        match &meant {
            Some(Meant::Own(own)) => timed.is_of_program(*own),
            Some(Meant::Page(_)) => timed.is_of_program(OwnRoute::Page),
            Some(Meant::Pipeline(Target::Run(pipeline), _)) => timed.is_of(pipeline, false),
            Some(Meant::Pipeline(Target::Settings(pipeline), _)) => timed.is_of(pipeline, true),
            None => {}
        }
        let access = access(meant.as_ref());
        let checked = self.trust.check_key(head.headers, access, head.is_loopback);
        if let Err(refused) = checked {
            let refused = refused.answer(head.request_id);
            return match meant {
                Some(Meant::Pipeline(Target::Run(pipeline), _)) => {
                    templated::error(pipeline, refused, head.request_id)
                }
                _ => refused,
            };
        }
        match meant {
            Some(Meant::Pipeline(Target::Run(pipeline), parameters)) => {
                let response = self.run(pipeline, &parameters, head, body).await;
                templated::error(pipeline, response, head.request_id)
            }
            Some(Meant::Pipeline(Target::Settings(pipeline), _)) => {
                let mut settings = pipeline.settings();
                settings.insert("ok".into(), Json::from(true));
                reply::ok(&Json::Object(settings))
            }
            Some(Meant::Own(own)) => self.own(own, &generation, head).await,
            Some(Meant::Page(file)) => file.answer(head.headers),
            None => no_route(&generation, &self.page, head),
        }
    }

    /// What the program answers itself.
    async fn own(&self, own: OwnRoute, generation: &Generation, head: Head<'_>) -> Response {
        match own {
            OwnRoute::Health => health::health(generation.pipelines()),
            OwnRoute::Live => health::live(),
            OwnRoute::Ready => health::ready(generation.pipelines(), *self.shutting_down.borrow()),
            OwnRoute::Pipelines => reply::ok(&self.pipelines(generation)),
            OwnRoute::Metrics => {
                let is_ending = *self.shutting_down.borrow();
                let budgets = self.budgets(generation);
                self.meters
                    .scrape(&self.live, generation, &budgets, is_ending, head.headers)
            }
            OwnRoute::OpenApi => {
                let graphs = generation.pipelines().map(|pipeline| &pipeline.graph);
                reply::ok(&openapi::document(graphs, &self.about()))
            }
            OwnRoute::Docs => docs::page(),
            OwnRoute::DocsStyle => docs::style(),
            OwnRoute::DocsScript => docs::script(),
            OwnRoute::AdminPipelines => {
                let in_flight = |name: &str| self.of_pipelines.of(name);
                admin::pipelines(&self.live, generation, &in_flight)
            }
            OwnRoute::AdminReload => tokio::select! {
                answer = admin::reload(&self.live, head.request_id) => answer,
                () = self.patience() => admin::over(head.request_id),
            },
            // Its files are asked for by their paths.
            OwnRoute::Page => no_route(generation, &self.page, head),
        }
    }

    /// What holds for every request, for the document on them.
    fn about(&self) -> About {
        About {
            wants_keys: !self.trust.api_keys.is_empty(),
            wants_admin_keys: !self.trust.admin_keys.is_empty(),
            max_body_bytes: self.limits.max_body_bytes,
            max_fields: self.limits.max_parts,
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
        let (by_client, query) = traced::asks(&pipeline.graph.file, &head);
        let wanted = Wanted {
            by_client,
            by_collector: self.collector.is_some(),
        };
        let head = Head {
            query: query.as_deref().unwrap_or(head.query),
            ..head
        };
        // Of a body that comes in vain nothing need come.
        if self.in_flight.available_permits() == 0 {
            return self.all_taken(head);
        }
        if self
            .of_pipelines
            .is_full(pipeline.name(), own.max_in_flight)
        {
            return self.all_of_pipeline_taken(pipeline, head);
        }
        let arrived = Instant::now();
        if let Some(refused) = pipeline.refuses(arrived + pipeline.graph.file.deadline) {
            return ended(pipeline, refused, arrived, head.request_id, wanted);
        }
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
        let (body, held) = match self.whole_body(head, body, &limits).await {
            Ok(whole) => whole,
            Err(Unread::Refused(error)) => return refuse(pipeline, error, head.request_id),
            Err(Unread::Late(detail)) => {
                let status = StatusCode::REQUEST_TIMEOUT;
                return reply::status_error(status, "body_timeout", detail, head.request_id);
            }
        };
        // A place is taken once the body is there: who sends slowly keeps nobody out.
        let Ok(_place) = self.in_flight.try_acquire() else {
            return self.all_taken(head);
        };
        let own_place = self.of_pipelines.take(pipeline.name(), own.max_in_flight);
        let Some(_own_place) = own_place else {
            return self.all_of_pipeline_taken(pipeline, head);
        };
        // Of JSON values are made, which are as large; of a form they are parts.
        let _held = held.filter(|_| says_json(head.headers));
        let sent = sorted(pipeline, parameters, head, &body, &limits);
        drop(body);
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) => return refuse(pipeline, error, head.request_id),
        };
        let unknown = unknown_fields(sent.unknown());
        let mut response = run_with(pipeline, sent, arrived, head.request_id, wanted).await;
        if let Some(unknown) = unknown {
            response.headers_mut().insert(UNKNOWN_FIELDS, unknown);
        }
        response
    }

    /// The body of a request, where one may come, within the time that there is before the end.
    async fn whole_body<B: Buf, E>(
        &self,
        head: Head<'_>,
        body: &mut Coming<impl Stream<Item = Result<B, E>>>,
        limits: &Limits,
    ) -> Result<(Bytes, Option<Arc<Held>>), Unread> {
        if !head.is_http2 && !declares_body(head.headers) {
            return Ok((Bytes::new(), None));
        }
        let _reading = head.seat.reads();
        let peer = head.seat.peer();
        tokio::select! {
            read = read_body(head.headers, body, limits, &self.bodies, peer) => {
                read.map(|(body, held)| (body, Some(held)))
            }
            () = self.body_patience(head.seat) => {
                Err(Unread::Refused(shutting_down("the request body did not come whole")))
            }
        }
    }

    /// Resolves once bodies are not waited for any more: their pipelines need time too.
    async fn patience(&self) {
        let mut shutting_down = self.shutting_down.subscribe();
        // The sender lives as long as this does.
        let _ = shutting_down
            .wait_for(|is_shutting_down| *is_shutting_down)
            .await;
        sleep((self.limits.shutdown_grace / 2).min(MOST_PATIENCE)).await;
    }

    /// The same for a body, and sooner where none of it comes.
    async fn body_patience(&self, seat: &Seat) {
        let stalls = async {
            let mut shutting_down = self.shutting_down.subscribe();
            // The sender lives as long as this does.
            let _ = shutting_down
                .wait_for(|is_shutting_down| *is_shutting_down)
                .await;
            let begun = tokio::time::Instant::now();
            let longest = (self.limits.shutdown_grace / 4).min(STALL_PATIENCE);
            loop {
                let until = seat.quiet_since().max(begun) + longest;
                if until <= tokio::time::Instant::now() {
                    return;
                }
                sleep_until(until).await;
            }
        };
        tokio::select! {
            () = self.patience() => {}
            () = stalls => {}
        }
    }

    fn all_taken(&self, head: Head<'_>) -> Response {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let limit = self.limits.max_requests_in_flight;
        busy(head, format!("{limit} requests are in flight already"))
    }

    fn all_of_pipeline_taken(&self, pipeline: &Pipeline, head: Head<'_>) -> Response {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let name = pipeline.name().escape_debug();
        let limit = pipeline.graph.file.limits.max_in_flight.unwrap_or_default();
        let full = format!("the pipeline `{name}` has {limit} requests in flight already");
        busy(head, full)
    }

    /// What of each bound is in use.
    fn budgets(&self, generation: &Generation) -> Json {
        let most = self.limits.max_requests_in_flight;
        let now = most.saturating_sub(self.in_flight.available_permits());
        let refused = self.refused.load(Ordering::Relaxed);
        let [coming, bytes] = self.bodies.shown();
        let admission = generation.pipelines().map(|pipeline| {
            let shown = Json::Object(pipeline.admission().to_json());
            (pipeline.name().to_owned(), shown)
        });
        let admission: serde_json::Map<String, Json> = admission.collect();
        json!({
            "admission": admission,
            "connections": self.connections.shown(),
            "requests_in_flight": { "now": now, "most": most, "refused": refused },
            "bodies": coming,
            "body_bytes": bytes,
            "read_on": self.drains.shown(),
        })
    }

    /// `GET /pipelines`: what of each bound is in use, and each effective graph, with how often its
    /// stages ran, and how many requests it has now.
    fn pipelines(&self, generation: &Generation) -> Json {
        let pipelines = generation
            .pipelines()
            .map(|pipeline| admin::shown(pipeline, self.of_pipelines.of(pipeline.name()), false));
        let pipelines: Vec<_> = pipelines.collect();
        json!({ "ok": true, "budgets": self.budgets(generation), "pipelines": pipelines })
    }
}

/// The answer to what a request brought.
async fn run_with(
    pipeline: &Pipeline,
    sent: Sent,
    arrived: Instant,
    request_id: &Arc<str>,
    wanted: Wanted,
) -> Response {
    let file = &pipeline.graph.file;
    let known = match file.limits.unknown_fields {
        UnknownFields::Refuse => sent.check_known(file),
        UnknownFields::Tell => Ok(()),
    };
    let runs = match known.and_then(|()| sent.values(file)) {
        Ok(runs) => runs,
        Err(error) => return refuse(pipeline, error, request_id),
    };
    let deadline = Instant::now() + file.deadline;
    match runs {
        Runs::One(values) => {
            let finished = pipeline.run(values, request_id.clone(), deadline).await;
            ended(pipeline, finished, arrived, request_id, wanted)
        }
        Runs::Each(items) => {
            let finished = pipeline.run_each(items, request_id.clone(), deadline);
            let finished = Box::pin(finished).await;
            templated::ended_each(pipeline, finished, arrived, request_id, wanted)
        }
    }
}

/// Logs how a run ended, and answers it.
fn ended(
    pipeline: &Pipeline,
    Finished { result, trace }: Finished,
    arrived: Instant,
    request_id: &Arc<str>,
    wanted: Wanted,
) -> Response {
    log(pipeline, &result, &trace, arrived, request_id);
    let told = wanted
        .by_client
        .then(|| (TRACE, pipeline.trace_json(&trace)));
    let mut response = match result {
        Ok(fields) => templated::answer(pipeline, fields, request_id, told),
        Err(failure) => reply::failure_with(&failure, request_id, told),
    };
    spans::carry(&mut response, pipeline, [&trace], wanted);
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

/// The error of a request that the end of the server came before.
fn shutting_down(what: &str) -> Error {
    let message = format!("the service is shutting down, and {what} before, try again");
    Error::new(ErrorKind::Unavailable, message).with_code(SHUTTING_DOWN)
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

fn no_route(generation: &Generation, page: &Page, head: Head<'_>) -> Response {
    let Head {
        method,
        path,
        request_id,
        ..
    } = head;
    let is_there = |own: &OwnRoute| *own != OwnRoute::Page;
    let own = OwnRoute::ALL.into_iter().filter(is_there);
    let at_path = own.clone().filter(|own| own.path() == path);
    let own_methods: Vec<&str> = at_path.map(OwnRoute::method).collect();
    let mut allowed: Vec<&str> = generation
        .routes()
        .filter(|route| route.matches(path).is_some())
        .map(|route| route.method.as_str())
        .chain(own_methods)
        .chain(page.file(path).map(|_| "GET"))
        .collect();
    if allowed.is_empty() {
        let paths = generation.routes().map(|route| route.path.as_str());
        let help = suggestion(path, paths.chain(own.map(|own| own.path()))).unwrap_or_default();
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

//! Traces for OpenTelemetry: each request of a pipeline is a span, each of its stages one within it,
//! sent in batches to a collector (OTLP over HTTP, protobuf).
//!
//! The SDK reads the variables that its specification names: where to, in which headers a key goes,
//! which share of traces is kept, how many spans wait. A collector that is away costs nothing but the
//! spans that it does not get; what finds no room to wait is left out.

use std::env;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use async_trait::async_trait;
use bytes::Bytes;
use engine::http::{Collector, RequestSpan, RunSpan, StageSpan};
use engine::metrics::TraceContext;
use engine::pipeline::trace::Outcome;
use omnizap_contract::common::chain::chain;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use reqwest::redirect::Policy;
use tokio::runtime::Handle;

use super::super::Failure;
use super::collected::{ENDPOINTS, is_wanted};

/// How long a collector has to take a batch, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise: what
/// the specification has.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of its answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How long the end of the program waits for spans that are still to be sent.
const LAST_BATCH: Duration = Duration::from_secs(2);
/// What the service is called where nobody says otherwise.
const NAME: &str = "omnizap";

/// Sends spans until it is ended.
pub(super) struct Traces {
    provider: SdkTracerProvider,
    spans: Arc<Spans>,
}

/// Begins to send, where a collector is named.
///
/// # Errors
/// A variable with a value that is none.
pub(super) fn traces() -> Result<Option<Traces>, Failure> {
    if !is_wanted() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender::new()?)
        .build();
    // Its own words repeat the value, in which a password may stand.
    let exporter = exporter.map_err(|_| {
        let [traces, all] = ENDPOINTS;
        Failure::Config(anyhow!(
            "{traces} or {all}: expected where traces are sent to, such as http://localhost:4318, \
             without compression (OTEL_EXPORTER_OTLP_COMPRESSION)"
        ))
    })?;
    let resource = Resource::builder();
    let resource = if is_named() {
        resource
    } else {
        resource.with_service_name(NAME)
    };
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.with_attribute(version).build())
        .with_batch_exporter(exporter)
        .build();
    let spans = Spans {
        tracer: provider.tracer(NAME),
    };
    tracing::info!("traces of requests are sent to the collector that is named");
    let spans = Arc::new(spans);
    Ok(Some(Traces { provider, spans }))
}

/// True where a variable says what the service is called.
fn is_named() -> bool {
    let said = |name| env::var(name).unwrap_or_default();
    let attributes = said("OTEL_RESOURCE_ATTRIBUTES");
    let mut attributes = attributes.split(',');
    !said("OTEL_SERVICE_NAME").is_empty()
        || attributes.any(|one| one.trim_start().starts_with("service.name="))
}

impl Traces {
    /// What takes requests.
    pub(super) fn collector(&self) -> Arc<dyn Collector> {
        self.spans.clone()
    }

    /// Sends what is left, within a bound.
    pub(super) async fn end(self) {
        let provider = self.provider;
        let ending =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_BATCH));
        if !matches!(ending.await, Ok(Ok(()))) {
            tracing::warn!("the last traces of requests were not sent");
        }
    }
}

/// Makes spans of requests.
struct Spans {
    tracer: SdkTracer,
}

impl Collector for Spans {
    fn ended(&self, request: &RequestSpan<'_>) {
        let caller = request.caller.and_then(|caller| context(&caller));
        let parent = caller.map_or_else(Context::new, |caller| {
            Context::new().with_remote_span_context(caller)
        });
        let (method, route) = (request.method.to_owned(), request.route.to_owned());
        let attributes = vec![
            KeyValue::new("http.request.method", method.clone()),
            KeyValue::new("http.route", route.clone()),
            KeyValue::new("http.response.status_code", i64::from(request.status)),
            KeyValue::new("omnizap.pipeline", request.pipeline.to_owned()),
            KeyValue::new("omnizap.request_id", request.request_id.to_owned()),
        ];
        let mut span = SpanBuilder::from_name(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_start_time(request.began)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &parent);
        if request.status >= 500 {
            span.set_attribute(KeyValue::new("error.type", request.status.to_string()));
            span.set_status(Status::error(""));
        }
        if !span.is_recording() {
            return;
        }
        let within = Context::new().with_remote_span_context(span.span_context().clone());
        for run in request.runs {
            for stage in &run.stages {
                self.stage(run, stage, &within);
            }
        }
        span.end_with_timestamp(request.began + request.took);
    }
}

impl Spans {
    fn stage(&self, run: &RunSpan, stage: &StageSpan, request: &Context) {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let StageSpan { name, trace } = stage;
        let (outcome, reason) = trace.outcome.told();
        let mut attributes = vec![
            KeyValue::new("omnizap.outcome", outcome),
            KeyValue::new("omnizap.attempts", i64::from(trace.attempts)),
            KeyValue::new("omnizap.queued_us", micros(trace.queued)),
        ];
        if let Some(reason) = reason {
            attributes.push(KeyValue::new("omnizap.reason", reason.to_owned()));
        }
        let began: SystemTime = run.began + trace.ready;
        let mut span = SpanBuilder::from_name(name.clone())
            .with_kind(SpanKind::Internal)
            .with_start_time(began)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, request);
        if let Outcome::Failed(code) = &trace.outcome {
            span.set_attribute(KeyValue::new("error.type", code.clone()));
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(run.began + trace.end());
    }
}

/// The span of a caller, as the SDK has it.
fn context(caller: &TraceContext<'_>) -> Option<SpanContext> {
    let flags = if caller.is_sampled {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::default()
    };
    let trace = TraceId::from_hex(caller.trace_id).ok()?;
    let span = SpanId::from_hex(caller.parent_id).ok()?;
    Some(SpanContext::new(
        trace,
        span,
        flags,
        true,
        TraceState::default(),
    ))
}

/// Brings batches to the collector. The SDK has a thread of its own that waits for it.
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    /// True where the last batch did not arrive: each change is told once.
    is_failing: Arc<AtomicBool>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Sender {
    fn new() -> Result<Self, Failure> {
        omnizap_models::tls::use_ring();
        let timeout = env::var("OTEL_EXPORTER_OTLP_TIMEOUT").ok();
        let timeout = timeout.and_then(|ms| ms.trim().parse().ok());
        let builder = || {
            reqwest::Client::builder()
                .timeout(timeout.map_or(TIMEOUT, Duration::from_millis))
                // A key must not follow a redirection to wherever.
                .redirect(Policy::none())
        };
        // Over plain http no certificate is looked at, and a slim image has none.
        let client = builder()
            .build()
            .or_else(|_| builder().tls_certs_only([]).build());
        let client = client.map_err(|error| {
            let error = error.without_url();
            Failure::Config(anyhow!("cannot set up HTTPS for traces: {}", chain(&error)))
        })?;
        Ok(Self {
            client,
            runtime: Handle::current(),
            is_failing: Arc::default(),
        })
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let (client, is_failing) = (self.client.clone(), self.is_failing.clone());
        // On the runtime, which the thread that asks has none of.
        let sending = self.runtime.spawn(async move {
            let sent = send(&client, request).await;
            let why = match &sent {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answered {}", answer.status())),
                Err(error) => Some(chain(&**error)),
            };
            match why {
                Some(why) if !is_failing.swap(true, Ordering::Relaxed) => {
                    tracing::warn!("traces do not reach their collector: {why}");
                }
                None if is_failing.swap(false, Ordering::Relaxed) => {
                    tracing::info!("traces reach their collector again");
                }
                _ => {}
            }
            sent
        });
        sending.await?
    }
}

async fn send(
    client: &reqwest::Client,
    request: http::Request<Bytes>,
) -> Result<http::Response<Bytes>, HttpError> {
    let (head, body) = request.into_parts();
    // A user and a password become a header here. Within the address, the client's pool of connections
    // would write them to the log.
    let asked = client.request(head.method, head.uri.to_string());
    let answer = asked.headers(head.headers).body(body).send().await;
    let mut answer = answer.map_err(reqwest::Error::without_url)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            break;
        }
        body.extend_from_slice(&part);
    }
    let made = http::Response::builder().status(status);
    Ok(made.body(body.into())?)
}

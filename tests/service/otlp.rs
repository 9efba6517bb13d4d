//! Traces of requests, as a collector of OpenTelemetry gets them: protobuf over HTTP, read by the
//! definitions of the protocol.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::traces;
use crate::support::http::{Client, read_request};
use crate::support::program::{Server, Settings};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID: &str = "00f067aa0ba902b7";
const ANOTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// How long spans are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came, head and batch.
type Came = Arc<Mutex<Vec<(String, ExportTraceServiceRequest)>>>;

/// A collector that takes all there is.
struct Collector {
    address: SocketAddr,
    came: Came,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let came = Came::default();
        let taken = came.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let taken = taken.clone();
                // Who goes away is none of our business.
                std::thread::spawn(move || take(socket, &taken));
            }
        });
        Self { address, came }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn spans(&self) -> Vec<Span> {
        let came = self.came.lock().unwrap();
        let batches = came.iter().flat_map(|(_, batch)| &batch.resource_spans);
        let scopes = batches.flat_map(|batch| &batch.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// All spans, once one of that name is there.
    #[track_caller]
    fn spans_with(&self, name: &str) -> Vec<Span> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            if spans.iter().any(|span| span.name == name) {
                return spans;
            }
            assert!(begun.elapsed() < PATIENCE, "no {name:?} in {spans:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn take(socket: TcpStream, came: &Came) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    while let Some((head, body)) = read_request(&mut socket)? {
        let batch = ExportTraceServiceRequest::decode(&*body).expect("a batch of spans");
        came.lock().unwrap().push((head, batch));
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        socket.get_mut().write_all(answer)?;
    }
    Ok(())
}

fn classify(client: &mut Client, headers: &[(&str, &str)]) -> u16 {
    traces::classify(client, "/classify", headers).status
}

fn started(environment: &[(&str, &str)]) -> Server {
    let server = Server::start_with(&Settings {
        environment,
        ..Settings::default()
    });
    server.ready();
    server
}

fn said<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    match said(attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_request_and_its_stages_are_spans_of_the_trace_of_its_caller() {
    let collector = Collector::start();
    let server = started(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=stickers"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ]);
    let mut client = server.client();
    // Of no pipeline.
    client.get("/health").fine();
    // The caller keeps none of this one.
    let dropped = format!("00-{ANOTHER_TRACE}-{PARENT_ID}-00");
    assert_eq!(classify(&mut client, &[("Traceparent", &dropped)]), 200);
    let kept = format!("00-{TRACE_ID}-{PARENT_ID}-01");
    let headers = [("Traceparent", &*kept), ("X-Request-Id", "collected")];
    assert_eq!(classify(&mut client, &headers), 200);

    let spans = collector.spans_with("POST /classify");
    let requests: Vec<_> = spans.iter().filter(|span| span.kind == 2).collect();
    let [request] = requests[..] else {
        panic!("one request of a pipeline was kept: {requests:?}");
    };
    assert_eq!(hex(&request.trace_id), TRACE_ID);
    assert_eq!(hex(&request.parent_span_id), PARENT_ID);
    assert_eq!(text(&request.attributes, "http.route"), "/classify");
    assert_eq!(text(&request.attributes, "omnizap.pipeline"), "classify");
    assert_eq!(text(&request.attributes, "omnizap.request_id"), "collected");
    assert_eq!(
        said(&request.attributes, "http.response.status_code"),
        Some(&Value::IntValue(200))
    );
    let stages: Vec<_> = spans.iter().filter(|span| span.kind == 1).collect();
    for stage in &stages {
        assert_eq!(stage.trace_id, request.trace_id);
        assert_eq!(stage.parent_span_id, request.span_id, "{}", stage.name);
        assert!(stage.start_time_unix_nano <= stage.end_time_unix_nano);
        // Two clocks: the one of the request, and the one that says what time it is.
        let slack = 5_000_000;
        assert!(stage.start_time_unix_nano + slack >= request.start_time_unix_nano);
        assert!(stage.end_time_unix_nano <= request.end_time_unix_nano + slack);
    }
    // The same picture came a moment before: what was made of it may be recalled.
    let outcome = |name: &str| {
        let stage = stages.iter().find(|stage| stage.name == name);
        text(&stage.unwrap().attributes, "omnizap.outcome")
    };
    assert_eq!(outcome("hash"), "ran");
    assert!(["ran", "skipped"].contains(&&*outcome("embed")));

    let came = collector.came.lock().unwrap();
    let (head, batch) = &came[0];
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("x-tenant: stickers\r\n"));
    let resource = batch.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), "omnizap");
    assert_eq!(
        text(&resource.attributes, "service.version"),
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn an_error_is_a_span_too_and_the_last_are_sent_at_the_end() {
    let collector = Collector::start();
    let mut server = started(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()),
        ("OTEL_SERVICE_NAME", "stickers"),
        // Longer than the program lives.
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ]);
    let mut client = server.client();
    let answer = client.send("POST", "/feedback", &[], b"no JSON").unwrap();
    assert_eq!(answer.status / 100, 4);
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    let spans = collector.spans();
    let [span] = &spans[..] else {
        panic!("one span: {spans:?}");
    };
    assert_eq!(span.name, "POST /feedback");
    assert!(span.parent_span_id.is_empty(), "a trace of its own");
    let came = collector.came.lock().unwrap();
    let resource = came[0].1.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), "stickers");
}

#[test]
fn a_collector_that_is_away_is_told_once_and_costs_no_answer() {
    // A port where nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let mut server = started(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]);
    let mut client = server.client();
    let words = "traces do not reach their collector";
    for _ in 0..3 {
        assert_eq!(classify(&mut client, &[]), 200);
        server.log_with(words);
        std::thread::sleep(Duration::from_millis(150));
    }
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    let log = server.log();
    assert_eq!(log.matches(words).count(), 1, "{log}");
}

#[test]
fn an_address_that_is_none_ends_the_start_and_is_not_repeated() {
    let data = tempfile::TempDir::new().unwrap();
    let ended = crate::support::program::omnizap(data.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hunter2@[no")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(78));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

//! A stage that counts how it is called (tests/fixtures/plugins/calls.c), in a pipeline, for the
//! tests of batches and threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::pipeline::all::bind_all;
use engine::pipeline::diagnostic::SourceText;
use engine::pipeline::{Pipeline, Registry};
use omnizap_contract::{Error, Value};
use omnizap_host::Limits;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{compile, load_with};

const FILE: &str = "[pipeline]\nname = \"a\"\n[request]\nvalue = { type = \"number\" }\n[[stage]]\nuses = \"test/calls\"\n";

/// What the stage does at these inputs; at any other it gives it back.
pub(super) const WAIT: f64 = -1.0;
pub(super) const BREAK: f64 = -2.0;
pub(super) const PANIC: f64 = -3.0;
pub(super) const INVALID: f64 = -4.0;
pub(super) const NOT_FINITE: f64 = -5.0;
pub(super) const AWAY: f64 = -6.0;
/// And so many milliseconds more: sleeps.
pub(super) const NAP: f64 = 1000.0;

/// How long a request may take, and a test wait.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Calls {
    pipeline: Arc<Pipeline>,
    _folder: Arc<TempDir>,
}

/// What became of a request: its response, or its error.
pub(super) type Answer = Result<Json, Error>;

impl Calls {
    /// The stage with these flags of the ABI and of its source, in a pipeline that computes in
    /// `places`.
    pub(super) async fn new(flags: &[&str], limits: Limits, places: Arc<Semaphore>) -> Self {
        Self::try_new(flags, limits, places).await.unwrap()
    }

    pub(super) async fn try_new(
        flags: &[&str],
        limits: Limits,
        places: Arc<Semaphore>,
    ) -> Result<Self, String> {
        let folder = TempDir::new().unwrap();
        let source = "tests/fixtures/plugins/calls.c";
        let library = compile(source, flags, folder.path(), "calls.so");
        let plugin = load_with(&library, limits).unwrap();
        let registry = Registry::new(plugin.kinds).unwrap();
        let source = SourceText::new("a.toml", FILE);
        let graphs = bind_all(&[source], &registry, &|_| None);
        let graph = graphs.map_err(|mistakes| mistakes.to_string())?.remove(0);
        let pipeline = Pipeline::build(graph, places).await;
        Ok(Self {
            pipeline: Arc::new(pipeline.map_err(|error| error.to_string())?),
            _folder: Arc::new(folder),
        })
    }

    /// A request under way; aborting it is what the server does when its client goes.
    pub(super) fn begin(&self, value: f64) -> JoinHandle<Answer> {
        self.begin_within(value, PATIENCE)
    }

    pub(super) fn begin_within(&self, value: f64, time: Duration) -> JoinHandle<Answer> {
        let pipeline = self.pipeline.clone();
        tokio::spawn(async move {
            let values = pipeline.request_values(|_| Some(Value::Number(value)));
            let deadline = Instant::now() + time;
            let finished = pipeline.run(values, "test".into(), deadline).await;
            let result = finished.result.map(Json::Object);
            result.map_err(|failure| failure.error)
        })
    }

    pub(super) async fn ask(&self, value: f64) -> Answer {
        self.begin(value).await.unwrap()
    }

    /// What `GET /pipelines` shows of the stage.
    pub(super) fn counter(&self, pointer: &str) -> u64 {
        let counters = self.pipeline.counters(0);
        let found = counters.pointer(pointer);
        found.map_or(0, |count| count.as_f64().unwrap() as u64)
    }

    /// Waits until a counter has come to that number.
    pub(super) async fn until(&self, pointer: &str, wanted: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.counter(pointer) != wanted {
            let counters = self.pipeline.counters(0);
            assert!(Instant::now() < deadline, "{pointer}: {counters}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

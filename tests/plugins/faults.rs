//! A stage of a plugin that fails: the request fails with a clear error, nothing else does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::pipeline::all::bind_all;
use engine::pipeline::diagnostic::SourceText;
use engine::pipeline::{Pipeline, Registry};
use omnizap_contract::{Error, Runner, Value};
use omnizap_host::Limits;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::{compile, load_with};

const FILE: &str = "[pipeline]\nname = \"a\"\n[request]\nvalue = { type = \"number\" }\n[[stage]]\nuses = \"test/faulty\"\n";

/// More faults in a row than any test makes.
const PATIENT: Limits = Limits {
    faults_in_a_row: u32::MAX,
    rest: Duration::from_secs(60),
    ..Limits::DEFAULT
};

async fn pipeline(fault: u32, limits: Limits, file: &str) -> (Pipeline, TempDir) {
    let folder = TempDir::new().unwrap();
    let flag = format!("-DFAULT={fault}");
    let source = "tests/fixtures/plugins/faulty.c";
    let library = compile(source, &[&flag], folder.path(), &format!("f{fault}.so"));
    let plugin = load_with(&library, limits).unwrap();
    let registry = Registry::new(plugin.kinds).unwrap();
    let source = SourceText::new("a.toml", file);
    let graph = bind_all(&[source], &registry, &|_| None).unwrap().remove(0);
    let built = Pipeline::build(graph, Arc::new(Semaphore::new(2)))
        .await
        .unwrap();
    (built, folder)
}

async fn ask(pipeline: &Pipeline) -> Result<serde_json::Value, (Option<String>, Error)> {
    let values = pipeline.request_values(|_| Some(Value::Number(4.0)));
    let deadline = Instant::now() + Duration::from_secs(60);
    let finished = pipeline.run(values, "test".into(), deadline).await;
    let result = finished.result.map(serde_json::Value::Object);
    result.map_err(|failure| (failure.stage, failure.error))
}

#[tokio::test]
async fn each_fault_names_plugin_and_stage_and_keeps_the_details_for_the_log() {
    for (fault, log) in [
        (1, "/secret/path"),
        (2, "without a message"),
        (3, "`tensor` has the shape [3], declared is [2]"),
        (4, "NaN"),
        (5, "`number` is text, declared is number"),
        (6, "`text` is not valid UTF-8"),
        (7, "output number 9, and it declares 3"),
        (9, "index out of bounds"),
        (10, "no output `text`"),
    ] {
        let (pipeline, _folder) = pipeline(fault, PATIENT, FILE).await;
        let (stage, error) = ask(&pipeline).await.unwrap_err();
        assert_eq!(stage.as_deref(), Some("test/faulty"), "{fault}");
        assert_eq!((error.kind().status(), error.code()), (500, "plugin_fault"));
        let message = error.message();
        assert!(
            message.contains("test-faulty") && message.contains("test/faulty"),
            "{message}"
        );
        assert!(!message.contains("/secret"), "{message}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(log), "{fault}: {cause}");
    }
}

#[tokio::test]
async fn a_client_reads_what_it_got_wrong() {
    let (pipeline, _folder) = pipeline(8, PATIENT, FILE).await;
    let (_, error) = ask(&pipeline).await.unwrap_err();
    assert_eq!(error.kind().status(), 422);
    assert_eq!(
        error.message(),
        "the picture is too dark: send a lighter one"
    );
}

#[tokio::test]
async fn on_error_skip_skips() {
    let file = format!("{FILE}on_error = \"skip\"\n");
    let (pipeline, _folder) = pipeline(9, PATIENT, &file).await;
    assert_eq!(
        ask(&pipeline).await.unwrap()["number"],
        serde_json::Value::Null
    );
}

#[tokio::test]
async fn a_stage_that_fails_in_a_row_is_stopped_and_readiness_says_so() {
    let (pipeline, _folder) = pipeline(9, Limits::default(), FILE).await;
    for _ in 0..Limits::default().faults_in_a_row {
        assert_eq!(ask(&pipeline).await.unwrap_err().1.kind().status(), 500);
    }
    let (_, error) = ask(&pipeline).await.unwrap_err();
    assert_eq!(
        (error.kind().status(), error.code()),
        (503, "plugin_stopped")
    );
    assert!(error.retry_after().is_some());
    let health = pipeline.runners().next().unwrap().1.observed().health();
    assert!(health.degraded.unwrap().contains("test/faulty"));
}

#[tokio::test]
async fn a_stage_without_run_is_not_built() {
    let folder = TempDir::new().unwrap();
    let library = compile(
        "tests/fixtures/plugins/faulty.c",
        &["-DFAULT=11"],
        folder.path(),
        "f.so",
    );
    let plugin = load_with(&library, PATIENT).unwrap();
    let options = omnizap_contract::Options::default();
    let error = plugin.kinds[0].build(&options).await.err().unwrap();
    assert!(
        error.message().contains("`run` of its stage is NULL"),
        "{error}"
    );
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Every call reaches the plugin, fails, and makes a new instance of 64 KiB.
#[tokio::test]
async fn a_hundred_thousand_faults_leave_memory_flat() {
    for fault in [1, 3, 4, 9] {
        let (pipeline, _folder) = pipeline(fault, PATIENT, FILE).await;
        let (_, runner) = pipeline.runners().next().unwrap();
        let Runner::Async(stage) = runner else {
            panic!("a stage of a plugin has threads of its own");
        };
        let ports: Arc<[omnizap_contract::Input]> =
            pipeline.graph.nodes[0].ports.inputs.clone().into();
        let inputs = omnizap_contract::Inputs::new(ports, vec![Some(Value::Number(1.0))]);
        let call = omnizap_contract::Call {
            request_id: "test".into(),
            deadline: Instant::now() + Duration::from_secs(600),
            cancel: omnizap_contract::Cancel::default(),
        };
        let run = async |calls: u32| {
            for _ in 0..calls {
                stage.run(inputs.clone(), &call).await.unwrap_err();
            }
        };
        run(1_000).await;
        let before = resident();
        run(25_000).await;
        let grown = resident().saturating_sub(before);
        // The rest of the tests runs beside this one: a leak would be 1.6 GB.
        assert!(grown < 256 << 20, "fault {fault}: {grown} bytes more");
        let facts = stage.health().facts;
        let told = facts.value("plugin test/faulty").unwrap();
        assert_eq!(told["faults"], 26_000);
    }
}

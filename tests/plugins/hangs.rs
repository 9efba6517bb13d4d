//! Functions of a plugin that do not return: whoever called them goes on, the log and the stage's
//! health say where the plugin hangs, and nothing else is held up.

mod over_http;

use std::time::{Duration, Instant};

use omnizap_contract::Error;
use omnizap_host::Limits;
use serde_json::json;
use tempfile::TempDir;

use super::trouble::{HARM, PATIENCE, SHORT, Trouble, defaults, write_pipelines};
use crate::support::http::Part;
use crate::support::program::{Server, Settings};

/// Longer than any of the short limits, and shorter than who waited for a hang.
const TIME: Duration = Duration::from_millis(100);

fn status(result: &Result<impl Sized, Error>) -> (u16, &str) {
    result.as_ref().map_or_else(
        |error| (error.kind().status(), error.code()),
        |_| (200, "ok"),
    )
}

#[tokio::test]
async fn what_hangs_before_or_after_calls_is_an_error_that_names_the_function() {
    for (at, hook) in [
        ("INIT", "init"),
        ("CREATE", "create"),
        ("VALIDATE", "validate_config"),
        ("ACTIVATE", "activate"),
        ("DESTROY", "destroy"),
    ] {
        let trouble = Trouble::new("HANG", at, SHORT);
        let said = match trouble.load() {
            Err(error) => error.to_string(),
            Ok(plugin) => {
                let kind = &plugin.kinds[0];
                match kind.check(&defaults(&**kind)) {
                    Err(faults) => faults[0].message.clone(),
                    Ok(()) => {
                        let built = kind.build(&defaults(&**kind)).await;
                        built.err().unwrap().to_string()
                    }
                }
            }
        };
        let wanted = format!("did not return from {hook} within");
        assert!(
            said.contains(&wanted) && said.contains("test-trouble"),
            "{at}: {said}"
        );
        // What has come back after all can be used.
        trouble.let_go();
        let deadline = Instant::now() + PATIENCE;
        while trouble.load().is_err() {
            assert!(Instant::now() < deadline, "{at}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let stage = trouble.stage().await;
        assert_eq!(stage.told("number").await, json!(1.0), "{at}");
    }
}

/// The system's loader is held meanwhile: the tests beside this one that open a library wait too.
#[test]
fn a_constructor_that_hangs_is_named_also_to_who_wants_another_plugin() {
    let (trouble, other) = (
        Trouble::new("HANG", "CONSTRUCTOR", SHORT),
        Trouble::new("NOTHING", "NOWHERE", SHORT),
    );
    let said = trouble.load().err().unwrap().to_string();
    assert!(said.contains("its constructors within 300 ms"), "{said}");
    let bytes = std::fs::read(&other.library).unwrap();
    let hash = omnizap_contract::common::digest::Sha256Hex::of(&bytes);
    let held = trouble.loader.load(&other.library, &hash);
    let held = held.err().unwrap().to_string();
    assert!(
        held.contains("test-trouble has not returned from its constructors"),
        "{held}"
    );
    trouble.let_go();
    let deadline = Instant::now() + PATIENCE;
    while trouble.load().is_err() || other.load().is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_call_that_hangs_is_a_fault_and_its_thread_is_replaced_up_to_a_bound() {
    let limits = Limits {
        max_lost: 6,
        faults_in_a_row: 100,
        ..SHORT
    };
    let trouble = Trouble::new("HANG", "RUN", limits);
    let stage = trouble.stage().await;
    // More than there are threads, and as many as may be lost.
    for round in 1..=3 {
        // Where the machine is busy, one may be over before a thread had time for it.
        while stage.counter("lost") < 2 * round {
            let missing = 2 * round - stage.counter("lost");
            let dropped = stage.counter("dropped");
            let hung = (0..missing).map(|_| stage.ask(HARM, TIME));
            for hung in futures_util::future::join_all(hung).await {
                assert_eq!(status(&hung).0, 504);
            }
            let dropped = stage.counter("dropped") - dropped;
            stage.until("lost", 2 * round - dropped).await;
        }
        assert_eq!(stage.counter("faults"), 2 * round);
        let health = stage.stage.health();
        if round < 3 {
            let degraded = health.degraded.unwrap();
            assert!(degraded.contains("test/trouble"), "{degraded}");
            assert_eq!(health.failing, None);
            assert_eq!(stage.told("number").await, json!(1.0), "others go on");
        }
    }
    let failing = stage.stage.health().failing.unwrap();
    assert!(
        failing.contains("test-trouble") && failing.contains("6 of its calls"),
        "{failing}"
    );
    let refused = stage.ask(1.0, TIME).await;
    assert_eq!(status(&refused), (503, "plugin_lost"));
    assert!(
        stage.counter("threads") <= 8,
        "no more than may be lost, and those that work"
    );
    // They do come back in the end.
    trouble.let_go();
    stage.until("lost", 0).await;
    assert_eq!(stage.stage.health().failing, None);
    assert_eq!(stage.told("number").await, json!(1.0));
}

#[tokio::test]
async fn calls_that_hang_stop_the_stage_as_other_faults_do() {
    let limits = Limits {
        faults_in_a_row: 2,
        rest: Duration::from_secs(600),
        ..SHORT
    };
    let trouble = Trouble::new("HANG", "RUN", limits);
    let stage = trouble.stage().await;
    for lost in 1..=2 {
        assert_eq!(status(&stage.ask(HARM, TIME).await).0, 504);
        stage.until("lost", lost).await;
    }
    let stopped = stage.ask(1.0, PATIENCE).await;
    assert_eq!(status(&stopped), (503, "plugin_stopped"));
    let degraded = stage.stage.health().degraded.unwrap();
    assert!(degraded.contains("is stopped"), "{degraded}");
}

#[tokio::test]
async fn a_call_that_is_late_and_no_more_is_no_fault() {
    let limits = Limits {
        overdue: Duration::from_secs(60),
        ..SHORT
    };
    let trouble = Trouble::new("HANG", "RUN", limits);
    let stage = trouble.stage().await;
    assert_eq!(status(&stage.ask(HARM, TIME).await).0, 504);
    trouble.let_go();
    assert_eq!(stage.told("number").await, json!(1.0));
    assert_eq!((stage.counter("faults"), stage.counter("lost")), (0, 0));
}

#[tokio::test]
async fn what_hangs_at_the_end_holds_up_nobody() {
    for at in ["DEACTIVATE", "DESTROY", "DEINIT"] {
        let trouble = Trouble::new("HANG", at, SHORT);
        let stage = trouble.stage().await;
        assert_eq!(stage.told("number").await, json!(1.0));
        // One is closed, another dropped where nothing may wait.
        stage.stage.close().await;
        let refused = stage.ask(1.0, TIME).await;
        assert_eq!(status(&refused).0, 503, "it is closed");
        drop(stage);
        trouble.loader.close(SHORT.hook_time).await;
    }
}

#[tokio::test]
async fn a_release_that_hangs_holds_up_nobody_who_drops_a_value() {
    let trouble = Trouble::new("HANG", "RELEASE", SHORT);
    let stage = trouble.stage().await;
    let deadline = Instant::now() + PATIENCE;
    while stage.stage.health().failing.is_none() {
        // Dropped here, which may not wait.
        drop(stage.ask(HARM, PATIENCE).await);
        assert!(Instant::now() < deadline, "nobody noticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let failing = stage.stage.health().failing.unwrap();
    assert!(failing.contains("release"), "{failing}");
    trouble.let_go();
    while stage.stage.health().failing.is_some() {
        assert!(Instant::now() < deadline + PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stage.told("number").await, json!(1.0));
}

#[tokio::test]
async fn deinit_is_called_once_the_instances_are_gone() {
    let told = TempDir::new().unwrap();
    let told = told.path().join("deinit");
    let flag = format!("-DTELLS=\"{}\"", told.display());
    let trouble = Trouble::with("NOTHING", "NOWHERE", Limits::DEFAULT, &[&flag]);
    let stage = trouble.stage().await;
    assert_eq!(stage.told("number").await, json!(1.0));
    trouble.loader.close(Duration::from_millis(50)).await;
    assert!(!told.exists(), "an instance is still in use");

    let trouble = Trouble::with("NOTHING", "NOWHERE", Limits::DEFAULT, &[&flag]);
    let stage = trouble.stage().await;
    stage.stage.close().await;
    trouble.loader.close(PATIENCE).await;
    assert!(told.exists());
}

#[test]
fn a_plugin_that_hangs_takes_nothing_from_other_pipelines_nor_from_the_end() {
    let folder = TempDir::new().unwrap();
    let pipelines = write_pipelines("HANG", "RUN", folder.path());
    let mut server = Server::start_with(&Settings {
        pipelines: Some(&pipelines),
        environment: &[("OMNIZAP_SHUTDOWN_GRACE_MS", "2000")],
        ..Settings::default()
    });
    let bad = || {
        let parts = [Part::Text("value", "-1")];
        server.client().post_form("/bad", &parts).status
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..cores + 1).map(|_| scope.spawn(bad)).collect();
        for call in calls {
            assert_eq!(call.join().unwrap(), 504);
        }
    });
    let good = [Part::File {
        name: "file",
        filename: "a.png",
        content_type: "image/png",
        data: b"a",
    }];
    for _ in 0..cores + 1 {
        assert_eq!(server.client().post_form("/good", &good).status, 200);
    }
    let deadline = Instant::now() + PATIENCE;
    let degraded = loop {
        let ready = server.client().get("/health/ready");
        let degraded = ready.json()["degraded"].to_string();
        if degraded.contains("test/trouble") {
            assert_eq!(ready.status, 200, "others are ready: {degraded}");
            break degraded;
        }
        assert!(Instant::now() < deadline, "{degraded}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(degraded.contains("never returned"), "{degraded}");
    let log = server.log_with("has not returned from run");
    assert!(log.contains("test-trouble"), "{log}");
    assert_eq!(server.client().get("/health/live").status, 200);
    server.terminate();
    assert_eq!(server.wait(), Some(0), "{}", server.log());
}

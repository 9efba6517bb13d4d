//! What a plugin does to the whole process: where it ends it, standard error says who did; what it
//! leaves changed on a thread is put back; what it gives is bounded.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use omnizap_host::{ENDED_BY_A_PLUGIN, Limits};
use serde_json::json;
use tempfile::TempDir;

use super::trouble::{HARM, PATIENCE, SHORT, Trouble, defaults, write_pipelines};
use crate::support::http::{Part, begin_form};
use crate::support::program::{Server, Settings, omnizap};

/// As on every Linux that this runs on.
const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

#[test]
fn an_exit_before_any_call_is_code_70_and_a_sentence() {
    for (at, hook) in [
        ("CONSTRUCTOR", "its constructors"),
        ("INIT", "init"),
        ("CREATE", "create"),
    ] {
        let folder = TempDir::new().unwrap();
        let pipelines = write_pipelines("EXIT", at, folder.path());
        let output = omnizap(&folder.path().join("data"))
            .arg("check")
            .arg(pipelines.join("bad.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(ENDED_BY_A_PLUGIN), "{said}");
        for wanted in ["ended by a call of exit", "`test-trouble`", hook] {
            assert!(said.contains(wanted), "{at}: {wanted}: {said}");
        }
    }
}

#[test]
fn a_crash_is_still_a_crash_and_named() {
    for (what, signal) in [("SEGFAULT", SIGSEGV), ("ABORT", SIGABRT)] {
        let folder = TempDir::new().unwrap();
        let pipelines = write_pipelines(what, "VALIDATE", folder.path());
        let output = omnizap(&folder.path().join("data"))
            .arg("check")
            .arg(pipelines.join("bad.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(signal), "{said}");
        for wanted in ["crashed with SIG", "`test-trouble`", "validate_config"] {
            assert!(said.contains(wanted), "{what}: {wanted}: {said}");
        }
    }
}

#[test]
fn an_exit_and_a_crash_in_a_call_name_the_request() {
    for (what, code, said) in [
        ("EXIT", Some(ENDED_BY_A_PLUGIN), "ended by a call of exit"),
        ("SEGFAULT", None, "crashed with SIGSEGV"),
        ("THREAD_SEGFAULT", None, "on a thread of its own"),
    ] {
        let folder = TempDir::new().unwrap();
        let pipelines = write_pipelines(what, "RUN", folder.path());
        let mut server = Server::start_with(&Settings {
            pipelines: Some(&pipelines),
            ..Settings::default()
        });
        let parts = [Part::Text("value", "-1")];
        let _connection = begin_form(server.address, "/bad", &parts).unwrap();
        assert_eq!(server.wait(), code, "{what}");
        // The reader of its output may be a moment behind.
        let deadline = Instant::now() + PATIENCE;
        while !server.log().contains(said) {
            assert!(Instant::now() < deadline, "{}", server.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = server.log();
        assert!(log.contains("`test-trouble`"), "{what}: {log}");
        if what != "THREAD_SEGFAULT" {
            assert!(
                log.contains("`test/trouble`, run, request "),
                "{what}: {log}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_call_leaves_changed_on_its_thread_is_put_back() {
    for (what, output) in [
        ("FILL_MASK", "blocked"),
        ("ROUND_UP", "rounding"),
        ("TRAP", "traps"),
    ] {
        // One thread, so that the next call is on it.
        let limits = Limits {
            computing_calls: 1,
            ..SHORT
        };
        let trouble = Trouble::new(what, "RUN", limits);
        let stage = trouble.stage().await;
        let before = stage.told(output).await;
        stage.ask(HARM, PATIENCE).await.unwrap();
        assert_eq!(stage.told(output).await, before, "{what}");
        assert_eq!(stage.counter("threads"), 1);
    }
}

#[tokio::test]
async fn an_output_is_bounded_as_a_whole() {
    for (what, output) in [("TEXTS", "texts"), ("LABELS", "labels")] {
        let trouble = Trouble::new(what, "RUN", SHORT);
        let stage = trouble.stage().await;
        let error = stage.ask(HARM, PATIENCE).await.unwrap_err();
        assert_eq!(error.code(), "plugin_fault");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            cause.contains(output) && cause.contains("together"),
            "{cause}"
        );
        assert_eq!(stage.told("number").await, json!(1.0));
    }
}

/// The fixture refuses an option of type number that is no number.
#[test]
fn a_default_that_is_written_as_a_whole_number_is_a_number_where_the_option_is() {
    let trouble = Trouble::new("NOTHING", "NOWHERE", SHORT);
    let kind = &trouble.load().unwrap().kinds[0];
    kind.check(&defaults(&**kind)).unwrap();
}

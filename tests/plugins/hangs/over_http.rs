//! Every function of a plugin that may hang, in the real program: at a start, at a reload, in a
//! request and at the end. The service says all along that it lives, other pipelines answer, and it
//! ends in time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::plugins::trouble::{GOOD, HARM, PATIENCE, bad};
use crate::support::http::Part;
use crate::support::program::{Server, Settings, omnizap};

/// A function, what it does for ever, and what its pipeline then answers; nothing where that never
/// answers, for what is called at a load is given up, and the pipeline with it.
type Variant = (&'static str, &'static str, Option<u16>);

/// The last one has a call under way at the end.
static VARIANTS: [Variant; 9] = [
    ("CONSTRUCTOR", "HANG", None),
    ("INIT", "HANG", None),
    ("CREATE", "HANG", None),
    ("VALIDATE", "HANG", None),
    ("ACTIVATE", "HANG", None),
    // What is tried at a load is ended there.
    ("DESTROY", "HANG", None),
    ("DEACTIVATE", "HANG", Some(200)),
    ("RUN", "HANG", Some(504)),
    ("RUN", "SPIN", Some(504)),
];

/// Plugins are not waited for long.
const IMPATIENT: [(&str, &str); 4] = [
    ("OMNIZAP_PLUGIN_HOOK_MS", "500"),
    ("OMNIZAP_PLUGIN_ACTIVATE_MS", "500"),
    ("OMNIZAP_PLUGIN_OVERDUE_MS", "100"),
    ("OMNIZAP_SHUTDOWN_GRACE_MS", "5000"),
];
const GRACE: Duration = Duration::from_secs(5);
/// What the system may take besides, on a machine that does much else.
const SLACK: Duration = Duration::from_secs(3);

/// How often it is asked whether the service lives, and within which it mostly says so, and always.
const SAMPLE: Duration = Duration::from_millis(10);
const MOSTLY: Duration = Duration::from_millis(50);
const ALWAYS: Duration = Duration::from_secs(1);

/// A folder with one pipeline, which is good.
fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let pipelines = folder.path().join("pipelines");
    std::fs::create_dir(&pipelines).unwrap();
    std::fs::write(pipelines.join("good.toml"), GOOD).unwrap();
    (folder, pipelines)
}

/// Puts one beside it that is not.
fn add_bad(folder: &Path, (at, what, _): Variant) {
    let library = folder.join(format!("{at}-{what}"));
    std::fs::create_dir_all(&library).unwrap();
    let text = bad(what, at, &library);
    std::fs::write(folder.join("pipelines/bad.toml"), text).unwrap();
}

fn start(pipelines: &Path, environment: &[(&str, &str)]) -> Server {
    // Not a line for each of many requests.
    let log = [("OMNIZAP_LOG", "info,engine::http=warn")];
    Server::start_with(&Settings {
        pipelines: Some(pipelines),
        environment: &[environment, &log].concat(),
        ..Settings::default()
    })
}

fn good_answers(server: &Server) {
    let file = Part::File {
        name: "file",
        filename: "a.png",
        content_type: "image/png",
        data: b"a",
    };
    server.client().post_form("/good", &[file]).fine();
}

fn bad_answers(server: &Server, status: u16) {
    let answer = server.client().post_json("/bad", &json!({ "value": HARM }));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, status, "{text}: {}", server.log());
}

fn has_bad(server: &Server) -> bool {
    let shown: Json = server.client().get("/pipelines").json();
    let mut pipelines = shown["pipelines"].as_array().unwrap().iter();
    pipelines.any(|one| one["pipeline"] == "bad")
}

/// Tells the service to reload, and gives what it says of that.
#[track_caller]
fn reload(server: &Server) -> String {
    let lines = |log: &str| {
        log.matches("pipelines reloaded").count() + log.matches("nothing reloaded").count()
    };
    let before = server.log();
    server.signal("HUP");
    let begun = Instant::now();
    loop {
        let log = server.log();
        if lines(&log) > lines(&before) {
            return log[before.len()..].to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "no reload: {log}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn ends_in_time(mut server: Server, what: &str) {
    let begun = Instant::now();
    server.terminate();
    assert_eq!(server.wait(), Some(0), "{what}: {}", server.log());
    let took = begun.elapsed();
    assert!(took < GRACE + SLACK, "{what}: {took:?}, {}", server.log());
}

/// Does what may hold up the service, and holds it against what it says meanwhile.
fn unfelt(server: &Server, work: impl FnOnce()) {
    /// Also where the work fails: the others would go on for ever.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    let mut samples = std::thread::scope(|scope| {
        let _ends = Ends(&is_over);
        let sampling = scope.spawn(|| {
            let (mut client, mut samples) = (server.client(), Vec::new());
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                assert_eq!(client.get("/health/live").status, 200);
                samples.push(begun.elapsed());
                std::thread::sleep(SAMPLE);
            }
            samples
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                good_answers(server);
                std::thread::sleep(SAMPLE);
            }
        });
        work();
        is_over.store(true, Ordering::Relaxed);
        sampling.join().unwrap()
    });
    samples.sort_unstable();
    let (median, longest) = (samples[samples.len() / 2], samples[samples.len() - 1]);
    assert!(median < MOSTLY, "{median:?} of {} samples", samples.len());
    assert!(longest < ALWAYS, "{longest:?}");
}

/// Each variant comes with a reload and goes with the next.
fn come_and_go(variants: &[Variant], trial: &str) {
    let (folder, pipelines) = folder();
    let environment = [&IMPATIENT[..], &[("OMNIZAP_PLUGIN_TRIAL", trial)]].concat();
    let server = start(&pipelines, &environment);
    unfelt(&server, || {
        for variant in variants {
            let (at, what, answer) = *variant;
            add_bad(folder.path(), *variant);
            let told = reload(&server);
            assert_eq!(has_bad(&server), answer.is_some(), "{at} {what}: {told}");
            match answer {
                Some(status) => bad_answers(&server, status),
                None => assert!(told.contains("test-trouble"), "{at} {what}: {told}"),
            }
            if variant != &variants[variants.len() - 1] {
                std::fs::remove_file(pipelines.join("bad.toml")).unwrap();
                reload(&server);
                assert!(!has_bad(&server), "{at} {what}");
            }
        }
    });
    ends_in_time(server, trial);
}

#[test]
fn whatever_hangs_at_a_reload_or_in_a_request_is_not_felt_by_others() {
    come_and_go(&VARIANTS, "true");
}

/// A constructor would hold the system's loader, which nothing can be done about in one process.
#[test]
fn nor_is_it_where_nothing_is_tried_before() {
    come_and_go(&VARIANTS[1..], "false");
}

#[test]
fn a_start_with_what_hangs_is_refused_by_name_or_answers_and_ends_in_time() {
    std::thread::scope(|scope| {
        for variant in VARIANTS.iter().copied() {
            scope.spawn(move || {
                let (at, what, answer) = variant;
                let (folder, pipelines) = folder();
                add_bad(folder.path(), variant);
                if let Some(status) = answer {
                    let server = start(&pipelines, &IMPATIENT);
                    good_answers(&server);
                    bad_answers(&server, status);
                    good_answers(&server);
                    ends_in_time(server, at);
                    return;
                }
                let begun = Instant::now();
                let output = omnizap(folder.path())
                    .args(["serve", "--listen", "127.0.0.1:0", "--pipelines"])
                    .arg(&pipelines)
                    .envs(IMPATIENT)
                    .output()
                    .unwrap();
                assert!(begun.elapsed() < PATIENCE, "{at} {what}");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(78), "{at} {what}: {said}");
                assert!(said.contains("test-trouble"), "{at} {what}: {said}");
            });
        }
    });
}

#[test]
fn sigterm_ends_a_service_in_time_whose_reload_waits_for_what_hangs() {
    let rows = [("true", &VARIANTS[..7]), ("false", &VARIANTS[1..7])];
    std::thread::scope(|scope| {
        for (trial, variants) in rows {
            for variant in variants {
                scope.spawn(move || {
                    let (folder, pipelines) = folder();
                    let environment = [
                        // Longer than the test.
                        ("OMNIZAP_PLUGIN_HOOK_MS", "600000"),
                        ("OMNIZAP_PLUGIN_ACTIVATE_MS", "600000"),
                        ("OMNIZAP_SHUTDOWN_GRACE_MS", "5000"),
                        ("OMNIZAP_PLUGIN_TRIAL", trial),
                    ];
                    let server = start(&pipelines, &environment);
                    add_bad(folder.path(), *variant);
                    server.signal("HUP");
                    // It is there by then, mostly; if not, the end is no harder.
                    std::thread::sleep(Duration::from_millis(700));
                    good_answers(&server);
                    ends_in_time(server, variant.0);
                });
            }
        }
    });
}

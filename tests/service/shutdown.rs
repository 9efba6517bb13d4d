//! SIGTERM under load: what was begun is answered, and all that there is ends in order.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::answers::file;
use super::reload::{Files, until};
use crate::support::database::Kind;
use crate::support::http::Client;
use crate::support::program::{Server, Settings, omnizap, picture, setting};

/// Ends of a run in CI, each at a random moment; `OMNIZAP_TERM_ROUNDS=50` makes a long one.
const ROUNDS: u64 = 5;
const CLIENTS: usize = 8;
/// Longest time between the first answers of a round and its signal.
const LONGEST_MS: u64 = 300;
/// What requests and all else have to end, with this many times what either takes.
const GRACE_MS: u64 = 20_000;
const GRACE: Duration = Duration::from_millis(GRACE_MS);
/// SIGTERM.
const TERM: i32 = 15;

#[test]
fn sigterm_loses_no_answer_that_was_begun() {
    const CLIENTS: usize = 32;
    let mut server = Server::start();
    let data = picture("baseline_420.jpg");
    let address = server.address;
    let begun_before = begun(&server);
    let answers = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let data = &data;
                scope.spawn(move || {
                    let mut client = crate::support::http::Client::new(address);
                    client.try_post_form("/classify", &[file(data)])
                })
            })
            .collect();
        // All of them are in the pipeline, few of them are answered.
        let deadline = Instant::now() + Duration::from_secs(30);
        while begun(&server) < begun_before + CLIENTS as u64 {
            assert!(Instant::now() < deadline, "the requests did not arrive");
            std::thread::sleep(Duration::from_millis(1));
        }
        server.terminate();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    for answer in answers {
        assert_eq!(answer.expect("the answer was lost").status, 200);
    }
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "nothing listens any more"
    );
}

/// How many requests the first stage of the pipeline has seen.
fn begun(server: &Server) -> u64 {
    let classify = server.client().pipeline("classify");
    classify["stages"][0]["counters"]["ran"].as_u64().unwrap()
}

#[test]
fn a_reload_swaps_the_pipelines_and_a_mistake_changes_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let toml =
        std::fs::read_to_string(crate::support::program::root().join("pipelines/classify.toml"))
            .unwrap();
    let path = folder.path().join("classify.toml");
    std::fs::write(&path, &toml).unwrap();
    let server = Server::start_with(&crate::support::program::Settings {
        pipelines: Some(folder.path()),
        environment: &[("CLIP_TOP_K", "2")],
        ..Default::default()
    });
    let top_k = || server.client().get("/labels").json()["top_k"].clone();
    assert_eq!(top_k(), 2);
    std::fs::write(&path, toml.replace("uses = \"decode\"", "uses = \"decod\"")).unwrap();
    server.signal("HUP");
    wait_for(|| server.log().contains("nothing reloaded"));
    assert_eq!(top_k(), 2);
    std::fs::write(&path, toml.replace("${CLIP_TOP_K:-5}", "3")).unwrap();
    server.signal("HUP");
    wait_for(|| top_k() == 3);
}

/// How many requests the first stage of any pipeline has seen.
fn all_begun(server: &Server) -> u64 {
    let shown = server.client().get("/pipelines").json();
    let pipelines = shown["pipelines"].as_array().unwrap().iter();
    let ran = pipelines.map(|one| one["stages"][0]["counters"]["ran"].as_u64());
    ran.map(Option::unwrap_or_default).sum()
}

/// One request after the other of a random mix, each on a connection of its own, until none is taken
/// any more. How many were answered.
fn ask(server: &Server, seed: u64, image: &[u8], is_ending: &AtomicBool, answered: &AtomicU64) {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let mut client = Client::new(server.address);
        let headers = [("Content-Type", "application/json")];
        let answer = match random.u8(0..4) {
            0 | 1 => client.try_post_form("/classify", &[file(image)]),
            2 => {
                let hash = format!("{:064x}", random.u64(..));
                let body = json!({ "image_hash": hash, "theme": "a theme" }).to_string();
                client.send("POST", "/feedback", &headers, body.as_bytes())
            }
            _ => client.send("POST", "/twice", &headers, b"{\"value\":4}"),
        };
        match answer {
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                let is_told = is_ending.load(Ordering::SeqCst) && answer.status == 503;
                assert!(is_told || answer.status == 200, "{}: {text}", answer.status);
                answered.fetch_add(1, Ordering::SeqCst);
            }
            // Nothing listens any more, or nobody read what was sent.
            Err(_) if is_ending.load(Ordering::SeqCst) => return,
            Err(error) => panic!("no answer, and no signal yet: {error}"),
        }
    }
}

/// What the database leaves of its log: it is not closed then.
pub(super) fn logs_left(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_log = |name: &String| name.ends_with("-wal") || name.ends_with("-shm");
    names.filter(is_log).collect()
}

#[test]
fn at_a_random_moment_all_that_was_begun_is_answered_and_all_ends_in_order() {
    let rounds = setting("OMNIZAP_TERM_ROUNDS", ROUNDS);
    let seed = setting("OMNIZAP_TERM_SEED", fastrand::u64(..));
    println!("OMNIZAP_TERM_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let image = picture("baseline_420.jpg");
    let files = Files::new();
    for name in ["classify.toml", "feedback.toml"] {
        let text = format!("extends = \"builtin:{}\"\n", name.trim_end_matches(".toml"));
        files.write(name, &text);
    }
    let library = files.plugin("ends", "NOWHERE", "NOTHING");
    files.write("twice.toml", &Files::using(&library, true));
    for round in 0..rounds {
        let seen = files.folder.path().join(format!("seen-{round}"));
        let grace = GRACE_MS.to_string();
        let mut server = Server::start_with(&Settings {
            pipelines: Some(&files.pipelines()),
            environment: &[
                ("OMNIZAP_SHUTDOWN_GRACE_MS", &*grace),
                ("OMNIZAP_TEST_SEEN", seen.to_str().unwrap()),
            ],
            ..Settings::default()
        });
        // Before that a store that is still being opened may refuse feedback.
        server.ready();
        let (is_ending, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let (begun, signalled) = std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let seed = random.u64(..);
                let (server, image) = (&server, &image);
                let (is_ending, answered) = (&is_ending, &answered);
                scope.spawn(move || ask(server, seed, image, is_ending, answered));
            }
            until("answers", || {
                answered.load(Ordering::SeqCst) >= 2 * CLIENTS as u64
            });
            std::thread::sleep(Duration::from_millis(random.u64(0..LONGEST_MS)));
            // Old generations have to end as well.
            for _ in 0..random.u8(0..3) {
                server.signal("HUP");
                std::thread::sleep(Duration::from_millis(random.u64(0..LONGEST_MS)));
            }
            let begun = all_begun(&server);
            is_ending.store(true, Ordering::SeqCst);
            server.terminate();
            (begun, Instant::now())
        });
        let log = || format!("seed {seed}, round {round}:\n{}", server.log());
        // What ran before pipelines were changed is counted anew where their files were.
        let answered = answered.load(Ordering::SeqCst);
        assert!(
            answered >= begun,
            "{begun} begun, {answered} answered, {}",
            log()
        );
        let pid = server.pid();
        let folder = server.data().folder().to_owned();
        assert_eq!(
            server.wait(),
            Some(0),
            "seed {seed}, round {round}:\n{}",
            server.log()
        );
        assert!(signalled.elapsed() < GRACE, "it took too long, {round}");
        if Kind::of_the_suite() == Kind::Sqlite {
            assert_eq!(logs_left(&folder), [""; 0], "seed {seed}, round {round}");
        }
        let seen = std::fs::read_to_string(&seen).unwrap();
        let ended = format!("deinit in {pid}\n");
        assert_eq!(seen.matches(&ended).count(), 1, "{seen}");
    }
}

#[test]
fn labels_that_are_still_embedded_and_kept_are_no_fault_of_the_end() {
    // As many as there may be, each of a text that is not short.
    let labels = (0..256).map(|number| format!("the thing number {number} of many others"));
    let labels = json!(labels.collect::<Vec<_>>()).to_string();
    for pause in [0, 30, 100, 300] {
        let mut server = Server::start_with(&Settings {
            environment: &[("CLIP_DEFAULT_LABELS_JSON", &labels)],
            ..Settings::default()
        });
        std::thread::sleep(Duration::from_millis(pause));
        server.terminate();
        let begun = Instant::now();
        assert_eq!(server.wait(), Some(0), "{}", server.log());
        assert!(begun.elapsed() < GRACE, "after {pause} ms");
        let log = server.log();
        let is_fault = |line: &&str| {
            let is_bad = line.contains(" WARN ") || line.contains(" ERROR ");
            is_bad
                && ["store", "database", "label", "text"]
                    .iter()
                    .any(|of| line.contains(of))
        };
        let faults: Vec<_> = log.lines().filter(is_fault).collect();
        assert!(faults.is_empty(), "after {pause} ms: {log}");
        if Kind::of_the_suite() == Kind::Sqlite {
            assert_eq!(logs_left(server.data().folder()), [""; 0], "{pause}");
        }
    }
}

#[test]
fn a_signal_to_reload_ends_no_service_that_is_still_starting() {
    let files = Files::new();
    let library = files.plugin("waits", "ACTIVATE", "HANGS");
    files.write("twice.toml", &Files::using(&library, true));
    let mut command = omnizap(files.folder.path());
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--plugin-activate-ms=2000",
        ])
        .arg("--pipelines")
        .arg(files.pipelines())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(800));
    let id = child.id().to_string();
    let told = Command::new("kill").args(["-HUP", &id]).status();
    assert!(told.unwrap().success());
    // It ends as what it waited for does.
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(78), None));
}

#[test]
fn a_plugin_whose_end_hangs_is_named_and_does_not_hold_up_the_end() {
    for at in ["DEACTIVATE", "DEINIT"] {
        let files = Files::new();
        let library = files.plugin("never-ends", at, "HANGS");
        files.write("twice.toml", &Files::using(&library, true));
        let mut server = Server::start_with(&Settings {
            pipelines: Some(&files.pipelines()),
            environment: &[
                ("OMNIZAP_SHUTDOWN_GRACE_MS", "3000"),
                ("OMNIZAP_PLUGIN_TRIAL", "false"),
            ],
            ..Settings::default()
        });
        server.terminate();
        let begun = Instant::now();
        assert_eq!(server.wait(), Some(0), "{at}: {}", server.log());
        assert!(begun.elapsed() < GRACE, "{at}");
        let log = server.log();
        assert!(log.contains("never-ends"), "{at}: {log}");
    }
}

#[test]
fn a_signal_while_it_starts_ends_it_at_once() {
    for pause in [0, 50, 200, 800] {
        let files = Files::new();
        let library = files.plugin("waits", "ACTIVATE", "HANGS");
        files.write("twice.toml", &Files::using(&library, true));
        let mut command = omnizap(files.folder.path());
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--pipelines"])
            .arg(files.pipelines())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        let killed = Command::new("kill").arg(child.id().to_string()).status();
        assert!(killed.unwrap().success());
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < GRACE, "after {pause} ms");
            std::thread::sleep(Duration::from_millis(5));
        };
        // In its first moments it is as any program.
        let is_fine = status.code() == Some(0) || status.signal() == Some(TERM);
        assert!(is_fine, "after {pause} ms: {status}");
    }
}

fn wait_for(happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < deadline, "it never happened");
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! The log has nobody who reads it, or no room: that costs lines of the log, and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::answers::file;
use crate::support::database::Data;
use crate::support::http::Client;
use crate::support::program::{Server, Settings, omnizap, picture, root};

/// Requests of a run; each is a line of the log, more than a pipe holds.
const REQUESTS: usize = 2000;
/// Those of them that are kept: one in so many.
const KEPT_EVERY: usize = 20;
const CLIENTS: usize = 4;

const PATIENCE: Duration = Duration::from_secs(120);

#[track_caller]
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server whose log nobody keeps: its address is chosen before.
struct Silent {
    address: SocketAddr,
    child: Child,
    data: Data,
}

impl Silent {
    #[track_caller]
    fn start(log: Stdio) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let data = Data::new();
        let mut command = omnizap(data.folder());
        if let Some(url) = data.url() {
            command.env("DATABASE_URL", url);
        }
        command.args(["serve", "--listen", &address.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let silent = Self {
            address,
            child,
            data,
        };
        until("the server listens", || {
            TcpStream::connect(address).is_ok()
                && Client::new(address).get("/health/ready").status == 200
        });
        silent
    }

    fn terminate(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").arg(id).status().unwrap();
        assert!(status.success());
    }

    #[track_caller]
    fn wait(&mut self) -> Option<i32> {
        let mut code = None;
        until("the server ends", || {
            let ended = self.child.try_wait().unwrap();
            code = ended.and_then(|status| status.code());
            ended.is_some()
        });
        code
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends them: feedback that is kept now and then, and else what is refused. How much was
/// acknowledged.
fn send(address: SocketAddr, requests: usize) -> usize {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = Client::new(address);
                    let mut acknowledged = 0;
                    for turn in (number..requests).step_by(CLIENTS) {
                        let is_kept = turn % KEPT_EVERY == 0;
                        let hash = if is_kept {
                            "ab".repeat(32)
                        } else {
                            "ab".into()
                        };
                        let feedback = json!({ "image_hash": hash, "theme": "t" });
                        let answer = client.post_json("/feedback", &feedback);
                        let expected = if is_kept { 200 } else { 422 };
                        assert_eq!(answer.status, expected, "request {turn}");
                        acknowledged += usize::from(is_kept);
                    }
                    acknowledged
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    })
}

/// Everything is answered and kept, and the end is the usual one.
#[track_caller]
fn serves_all_the_same(mut server: Silent, what: &str) {
    let data = picture("baseline_420.jpg");
    for _ in 0..3 {
        let answer = Client::new(server.address).post_form("/classify", &[file(&data)]);
        assert_eq!(answer.status, 200, "{what}");
    }
    let acknowledged = send(server.address, REQUESTS);
    assert_eq!(acknowledged, REQUESTS / KEPT_EVERY, "{what}");
    let health = Client::new(server.address).get("/health").json();
    assert_eq!(health["status"], "ready", "{what}: {health}");
    server.terminate();
    assert_eq!(server.wait(), Some(0), "{what}");
    let [stored] = server
        .data
        .numbers("SELECT total_assignments FROM clip_image_theme_feedback");
    assert_eq!(usize::try_from(stored), Ok(acknowledged), "{what}");
}

#[test]
fn a_pipe_without_a_reader_costs_no_request() {
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    serves_all_the_same(Silent::start(write.into()), "no reader from the start");
    let (read, write) = std::io::pipe().unwrap();
    let server = Silent::start(write.into());
    drop(read);
    serves_all_the_same(server, "the reader went away");
}

#[test]
fn a_disk_without_room_costs_no_request() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    serves_all_the_same(Silent::start(full.into()), "a full disk");
    // Open for reading: no write ever succeeds.
    let unwritable = File::open("/dev/null").unwrap();
    serves_all_the_same(Silent::start(unwritable.into()), "not open for writing");
}

#[test]
fn a_pipe_that_nobody_reads_costs_no_request() {
    let (read, write) = std::io::pipe().unwrap();
    serves_all_the_same(Silent::start(write.into()), "a pipe that is never read");
    drop(read);
}

#[test]
fn lines_that_found_no_room_are_told_once_there_is_some() {
    let (read, write) = std::io::pipe().unwrap();
    let mut server = Silent::start(write.into());
    // More than wait at most.
    send(server.address, 4 * REQUESTS);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let found = lines.clone();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(read).lines().map_while(Result::ok) {
            found.lock().unwrap().push(line);
        }
    });
    let is_told = |line: &String| line.contains(" WARN ") && line.contains("of the log were lost");
    until("lost lines are told", || {
        lines.lock().unwrap().iter().any(is_told)
    });
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    reader.join().unwrap();
    let lines = lines.lock().unwrap();
    let last = lines.last().unwrap();
    assert!(last.contains("goodbye"), "the end is written: {last}");
}

#[test]
fn a_start_that_fails_says_so_by_its_code_where_nobody_reads() {
    for (arguments, code) in [
        (&["check", "/nowhere.toml"][..], 78),
        (&["serve", "--pipelines", "/nowhere"], 78),
        (&["serve", "--listen", "nowhere"], 2),
    ] {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        for log in [Stdio::from(write), Stdio::from(full)] {
            let data = TempDir::new().unwrap();
            let status = omnizap(data.path()).args(arguments).stderr(log).status();
            assert_eq!(status.unwrap().code(), Some(code), "{arguments:?}");
        }
    }
}

#[test]
fn a_command_whose_answer_nobody_takes_ends_without_a_word() {
    for arguments in [&["graph"][..], &["models", "list"], &["--help"]] {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let data = TempDir::new().unwrap();
        let ended = omnizap(data.path())
            .args(arguments)
            .stdout(write)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(
            (ended.status.code(), &*said),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    // A file without its end would pass for the answer.
    let data = TempDir::new().unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = omnizap(data.path())
        .arg("graph")
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("standard output"), "{said}");
}

fn graph_with(level: &str) -> Output {
    let data = TempDir::new().unwrap();
    let mut command = omnizap(data.path());
    command.env("OMNIZAP_LOG", level).arg("graph");
    command.output().unwrap()
}

#[test]
fn a_level_that_there_is_not_is_refused_with_the_one_that_is_meant() {
    for (level, meant) in [
        ("warning", "did you mean `warn`?"),
        ("critical", "did you mean `error`?"),
        ("verbose", "did you mean `debug`?"),
        ("information", "did you mean `info`?"),
        ("sqlx=warning", "did you mean `warn`?"),
        ("hyper", "hyper=trace"),
    ] {
        let refused = graph_with(level);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{level}: {said}");
        for part in [meant, "OMNIZAP_LOG", "error, warn, info, debug, trace"] {
            assert!(said.contains(part), "{level}: {said}");
        }
    }
    for level in ["WARN", "off", " info\r", "info,sqlx=debug", "engine=trace"] {
        let shown = graph_with(level);
        let said = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert_eq!(shown.status.code(), Some(0), "{level}: {said}");
    }
}

#[test]
fn a_target_alone_takes_no_level_from_the_rest() {
    let server = Server::start_with(&Settings {
        environment: &[("OMNIZAP_LOG", "foo=debug")],
        ..Settings::default()
    });
    // As without the variable: what starts and what is served is told.
    server.log_with("the log filter names `foo`");
    let log = server.log_with("listening on http://");
    assert!(log.contains(" INFO "), "{log}");
    assert!(!log.contains(" DEBUG "), "{log}");
    drop(server);

    // Commands warn, and say nothing of a target that there is.
    for (filter, told) in [
        ("foo=debug", "names `foo`"),
        (
            "info,omnizap_servces=debug",
            "did you mean `omnizap_services`?",
        ),
        ("engine=warn", ""),
        ("sqlx=debug", ""),
        ("off,foo=debug", ""),
    ] {
        let shown = graph_with(filter);
        let said = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert_eq!(shown.status.code(), Some(0), "{filter}: {said}");
        assert!(said.contains(told), "{filter}: {said}");
        assert_eq!(said.is_empty(), told.is_empty(), "{filter}: {said}");
    }
}

#[test]
fn an_event_is_a_line_whatever_clients_send() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("feedback.toml");
    let pipelines = root().join("pipelines/feedback.toml");
    let text = std::fs::read_to_string(pipelines).unwrap();
    std::fs::write(&file, &text).unwrap();
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        environment: &[("OMNIZAP_LOG", "debug")],
        ..Settings::default()
    });
    let mut client = server.client();
    let evil = "\n2026-01-01T00:00:00Z  INFO forged \u{1b}[31m\r\u{9b}1m\u{2028}x";
    for feedback in [
        json!({ "image_hash": evil, "theme": "t" }),
        json!({ "image_hash": "ab", "theme": evil, "accepted": evil }),
        json!({ "image_hash": "ab", "theme": "t", evil: evil }),
    ] {
        client.post_json("/feedback", &feedback);
    }
    let _ = client.send("GET", "/%0Aforged%1B", &[("X-Request-Id", "a\u{9b}b")], &[]);
    // Mistakes in a file are shown with their lines, which pass for no event.
    let broken = text.replace("uses = \"feedback\"", "uses = \"feedbac\" # \u{1b}[31m");
    std::fs::write(&file, broken).unwrap();
    server.signal("HUP");
    until("the mistake is told", || {
        server.log().contains("nothing reloaded")
    });
    // The lines of an event are written at once; they may still be on their way here.
    until("the event is whole", || {
        server.log().lines().any(|line| line.starts_with("    "))
    });
    let log = server.log();
    for line in log.lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
        let is_event = line.starts_with("20") && line.contains("Z ");
        assert!(is_event || line.starts_with("    "), "{line:?}");
        assert!(!line.starts_with("2026-01-01T00:00:00Z"), "{line:?}");
    }
}

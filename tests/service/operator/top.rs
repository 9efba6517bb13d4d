//! `omnizap top` against a running server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::said;
use crate::support::database::not_tested;
use crate::support::http::Part;
use crate::support::program::{Server, omnizap, picture};

/// Within which a terminal shows what it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that has answered a few requests, of which some were recalled.
fn busy(environment: &[(&str, &str)]) -> Server {
    let server = Server::start_with(&crate::support::program::Settings {
        environment,
        ..Default::default()
    });
    server.ready();
    let data = picture("baseline_420.jpg");
    let part = Part::File {
        name: "file",
        filename: "baseline_420.jpg",
        content_type: "image/jpeg",
        data: &data,
    };
    let mut client = server.client();
    for _ in 0..3 {
        let answer = client.post_form("/classify", std::slice::from_ref(&part));
        assert_eq!(answer.status, 200);
    }
    server
}

fn top(arguments: &[&str]) -> Command {
    let data = TempDir::new().unwrap();
    let mut command = omnizap(data.path());
    command.arg("top").args(arguments);
    command
}

#[test]
fn a_table_and_a_document_show_what_the_stages_did() {
    let server = busy(&[]);
    let url = format!("http://{}", server.address);
    // No terminal reads it, so that it is one table.
    for arguments in [&[url.as_str()][..], &[&url, "--once"]] {
        let table = said(&top(arguments).output().unwrap(), 0);
        assert!(table.contains("ready, since its start"), "{table}");
        assert!(table.contains("PIPELINE / STAGE"), "{table}");
        assert!(table.contains("POST /classify"), "{table}");
        assert!(table.contains("\n  decode "), "{table}");
        assert!(!table.contains('\u{1b}'), "{table:?}");
    }
    let plain = said(&top(&[&url, "--plain"]).output().unwrap(), 0);
    let row = plain
        .lines()
        .find(|line| line.starts_with("classify/hash\t"));
    assert_eq!(row.unwrap().split('\t').count(), 9, "{plain}");

    let once = top(&[&url, "--json", "--once"]).output().unwrap();
    said(&once, 0);
    let shown: Json = serde_json::from_slice(&once.stdout).unwrap();
    assert_eq!(
        (&shown["ok"], &shown["ready"]),
        (&Json::from(true), &Json::from(true))
    );
    let pipelines = shown["pipelines"].as_array().unwrap();
    let classify = pipelines
        .iter()
        .find(|one| one["name"] == "classify")
        .unwrap();
    assert_eq!(classify["runs"], 3.0);
    assert!(classify["p95_ms"].as_f64().unwrap() > 0.0, "{classify:#}");
    let stages = classify["stages"].as_array().unwrap();
    let stage = |name: &str| stages.iter().find(|stage| stage["name"] == name).unwrap();
    assert_eq!(stage("hash")["runs"], 3.0);
    let recall = stage("recall");
    let looked = ["cache_hits", "cache_misses"].map(|key| recall[key].as_f64().unwrap());
    assert_eq!(looked[0] + looked[1], 3.0, "{recall:#}");
}

#[test]
fn a_line_of_json_comes_at_each_look() {
    let server = busy(&[]);
    let address = server.address.to_string();
    let mut child = top(&[&address, "--json", "--every-ms", "100"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for look in 0..3 {
        let line: Json = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["since_start"], look == 0, "{line}");
    }
    // It outlives the server, and says so.
    drop(server);
    let begun = Instant::now();
    loop {
        let line: Json = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["ok"] == false {
            assert!(
                line["error"].as_str().unwrap().contains("does not answer"),
                "{line}"
            );
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{line}");
    }
    // Nobody reads any more.
    drop(lines);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(said(&ended, 0).trim(), "");
}

#[test]
fn a_server_that_wants_a_key_is_brought_one() {
    const KEY: &str = "a-key-of-the-tests-only";
    let server = Server::start_with(&crate::support::program::Settings {
        environment: &[("OMNIZAP_API_KEYS", KEY)],
        ..Default::default()
    });
    let url = format!("http://{}", server.address);
    let refused = said(&top(&[&url]).output().unwrap(), 1);
    assert!(refused.contains("set OMNIZAP_TOP_KEY"), "{refused}");
    let shown = top(&[&url]).env("OMNIZAP_TOP_KEY", KEY).output().unwrap();
    let shown = said(&shown, 0);
    assert!(
        shown.contains("PIPELINE / STAGE") && !shown.contains(KEY),
        "{shown}"
    );
}

#[test]
fn an_address_where_nothing_is_is_told() {
    let nobody = said(&top(&["http://127.0.0.1:1"]).output().unwrap(), 1);
    assert!(
        nobody.contains("http://127.0.0.1:1 does not answer"),
        "{nobody}"
    );
    let wrong = said(&top(&["ftp://127.0.0.1"]).output().unwrap(), 2);
    assert!(
        wrong.contains("expected an address such as http://"),
        "{wrong}"
    );
    // Where it looks by itself.
    let own = top(&[]).env("OMNIZAP_LISTEN", ":1").output().unwrap();
    assert!(said(&own, 1).contains("http://127.0.0.1:1 does not answer"));
}

#[test]
fn a_terminal_is_drawn_on_and_left_as_it_was() {
    let server = busy(&[]);
    let program = env!("CARGO_BIN_EXE_omnizap");
    let command = format!("{program} top http://{}", server.address);
    let data = TempDir::new().unwrap();
    // It gives a program a terminal.
    let child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("OMNIZAP_DATA", data.path())
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        not_tested("a table on a terminal, since there is no `script`");
        return;
    };
    let mut keys = child.stdin.take().unwrap();
    let mut shown = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let (mut all, mut part) = (Vec::new(), [0; 4096]);
        let mut is_asked = false;
        while let Ok(count @ 1..) = shown.read(&mut part) {
            all.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&all);
            if !is_asked && text.contains("PIPELINE / STAGE") {
                is_asked = true;
                keys.write_all(b"q").unwrap();
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("it did not end by a key: {}", reading.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let all = reading.join().unwrap();
    assert_eq!(status.code(), Some(0), "{all:?}");
    let (hidden, back) = (all.find("\u{1b}[?25l"), all.rfind("\u{1b}[?25h"));
    assert!(hidden.is_some() && back > hidden, "{all:?}");
    assert!(all.trim_end().ends_with("\u{1b}[?1049l"), "{all:?}");
}

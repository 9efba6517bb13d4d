//! Where the time of a request went, whose request it is, and lines of the log for what collects them.

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use crate::support::http::{Answer, Client, multipart};
use crate::support::program::{Server, Settings, omnizap, picture};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID: &str = "00f067aa0ba902b7";

/// Asks what a picture is.
pub(super) fn classify(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let data = picture("baseline_420.jpg");
    let form = multipart(&[file(&data)]);
    let boundary = String::from_utf8_lossy(&form[2..])
        .lines()
        .next()
        .map(str::to_owned);
    let content_type = format!("multipart/form-data; boundary={}", boundary.unwrap());
    let mut all = vec![("Content-Type", content_type.as_str())];
    all.extend(headers);
    client.send("POST", path, &all, &form).unwrap()
}

/// The names of the stages that a trace tells, and that it holds together.
#[track_caller]
fn stages(trace: &Json) -> Vec<String> {
    let total = trace["total_us"].as_u64().unwrap();
    let stages = trace["stages"].as_array().unwrap();
    for stage in stages {
        let ready = stage["ready_us"].as_u64().unwrap();
        assert!(ready <= total, "{trace}");
        let outcome = stage["outcome"].as_str().unwrap();
        assert!(["ran", "skipped", "failed", "abandoned"].contains(&outcome));
    }
    let names = stages.iter().map(|stage| stage["stage"].as_str());
    names.map(|name| name.unwrap().to_owned()).collect()
}

#[test]
fn who_asks_is_told_where_the_time_went() {
    let server = Server::start();
    server.ready();
    let mut client = server.client();
    let plain = classify(&mut client, "/classify", &[]).fine();
    assert!(plain.get("trace").is_none(), "nobody asked: {plain}");
    for (path, headers) in [
        ("/classify?trace=1", &[][..]),
        ("/classify", &[("X-Trace", "1")]),
        ("/classify?trace=true&a=b", &[]),
    ] {
        let answer = classify(&mut client, path, headers);
        let unknown = answer.header("x-unknown-fields").map(str::to_owned);
        let expected = path.contains("a=b").then(|| "a".to_owned());
        assert_eq!(unknown, expected, "{path}");
        let answer = answer.fine();
        let names = stages(&answer["trace"]);
        assert!(names.len() > 5, "{names:?}");
        assert_eq!(answer["category"], plain["category"]);
    }
    for path in ["/classify?trace=0", "/classify?trace="] {
        let answer = classify(&mut client, path, &[]);
        assert!(answer.fine().get("trace").is_none(), "{path}");
    }
}

#[test]
fn an_error_tells_it_too() {
    let server = Server::start();
    let mut client = server.client();
    let headers = [("X-Trace", "1"), ("Content-Type", "application/json")];
    let feedback = json!({ "image_hash": "ab", "theme": "t" }).to_string();
    let answer = client.send("POST", "/feedback", &headers, feedback.as_bytes());
    let answer = answer.unwrap();
    assert_eq!(answer.status, 422);
    let answer = answer.json();
    assert_eq!(
        answer["trace"]["stages"][0]["outcome"], "failed",
        "{answer}"
    );
    assert!(answer["detail"].is_string() && answer["request_id"].is_string());
}

#[test]
fn a_field_of_that_name_is_the_pipelines_own() {
    let folder = TempDir::new().unwrap();
    let pipeline = "[pipeline]\nname = \"own\"\nroute = \"POST /own\"\n[request]\n\
                    trace = { type = \"text\", from = \"query\", default = \"none\" }\n\
                    file = { type = \"bytes\", required = true }\n";
    let stage = "[[stage]]\nuses = \"hash\"\nif = \"trace == '1'\"\n";
    std::fs::write(folder.path().join("own.toml"), format!("{pipeline}{stage}")).unwrap();
    let server = Server::of(folder.path(), &[]);
    let answer = classify(&mut server.client(), "/own?trace=1", &[]).fine();
    assert!(answer.get("trace").is_none(), "{answer}");
    assert!(answer["image_hash"].is_string(), "it was seen: {answer}");
}

#[test]
fn the_trace_of_a_caller_is_in_the_log() {
    let server = Server::start();
    let mut client = server.client();
    let traceparent = format!("00-{TRACE_ID}-{PARENT_ID}-01");
    let ours = [
        ("Traceparent", traceparent.as_str()),
        ("X-Request-Id", "traced"),
    ];
    classify(&mut client, "/classify", &ours);
    let none = [("Traceparent", "00-nothing"), ("X-Request-Id", "untraced")];
    classify(&mut client, "/classify", &none);
    let log = server.log_with("\"untraced\"");
    let line = |id: &str| {
        let mut lines = log.lines().filter(|line| line.contains("answered"));
        lines
            .find(|line| line.contains(&format!("\"{id}\"")))
            .unwrap()
    };
    let traced = line("traced");
    assert!(
        traced.contains(TRACE_ID) && traced.contains(PARENT_ID),
        "{traced}"
    );
    assert!(!line("untraced").contains("trace_id"), "{log}");
}

#[test]
fn lines_for_collectors_are_objects() {
    let mut server = Server::start_with(&Settings {
        environment: &[("OMNIZAP_LOG_FORMAT", "json"), ("OMNIZAP_LOG", "info")],
        ..Settings::default()
    });
    let mut client = server.client();
    let traceparent = format!("00-{TRACE_ID}-{PARENT_ID}-01");
    let headers = [
        ("Traceparent", traceparent.as_str()),
        ("X-Request-Id", "a \"b\" \\c"),
    ];
    classify(&mut client, "/classify", &headers);
    server.log_with("answered");
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    let log = server.log_with("goodbye");
    let mut answered = None;
    for line in log.lines() {
        let line: Json = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "{key} of {line}");
        }
        if line["message"] == "answered" {
            answered = Some(line);
        }
    }
    let answered = answered.unwrap();
    assert_eq!(answered["request_id"], "a \"b\" \\c");
    assert_eq!(answered["pipeline"], "classify");
    assert!(answered["elapsed_ms"].is_number(), "{answered}");
    assert_eq!(answered["span"]["trace_id"], TRACE_ID, "{answered}");
}

#[test]
fn another_form_of_the_log_is_refused_with_what_was_expected() {
    let data = TempDir::new().unwrap();
    let output = omnizap(data.path())
        .env("OMNIZAP_LOG_FORMAT", "jsn")
        .arg("graph")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("OMNIZAP_LOG_FORMAT"), "{said}");
    assert!(said.contains("did you mean `json`?"), "{said}");
}

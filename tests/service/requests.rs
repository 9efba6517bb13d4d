//! What clients may send, and what they are told of what they sent: over HTTP, to pipelines made of
//! stages of the tests.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use engine::http::Limits;
use omnizap_contract::{Output, Outputs, PortType};
use serde_json::{Value as Json, json};

use super::answers::file;
use super::bodies::{Serving, mirror, refused};
use super::budgets::{Mute, lasts, take_a_place};
use crate::support::http::{Answer, Client, Part, begin_form, connect, read_answer};
use crate::support::kinds::{TestKind, waiting};
use crate::support::program::{Server, Settings, picture};

/// Serves one pipeline until the process ends; its stage is [`mirror`], named as it says.
fn serving(pipeline_lines: &str, request: &str, stage: &str) -> SocketAddr {
    let toml = format!(
        "[pipeline]\nname = \"t\"\n{pipeline_lines}\n[request]\n{request}\n[[stage]]\nuses = \"mirror\"\n{stage}\n"
    );
    Serving::default().start(vec![mirror()], &toml)
}

fn client(pipeline_lines: &str, request: &str) -> Client {
    Client::new(serving(pipeline_lines, request, ""))
}

fn asks(client: &mut Client, method: &str, path: &str) -> Answer {
    client.send(method, path, &[], &[]).unwrap()
}

fn post_text(client: &mut Client, path: &str, json: &str) -> Answer {
    let headers = [("Content-Type", "application/json")];
    client
        .send("POST", path, &headers, json.as_bytes())
        .unwrap()
}

/// What the stage saw.
#[track_caller]
fn seen(answer: &Answer) -> Json {
    answer.fine()["seen"].clone()
}

const POST: &str = "route = \"POST /t\"";
const FIELDS: &str = "theme = { type = \"text\" }\nlabels = { type = \"text_list\", max_items = 3 }\n\
    n = { type = \"integer\" }\non = { type = \"bool\" }\nj = { type = \"json\" }\n";

#[test]
fn a_list_that_comes_in_several_fields_is_one_list() {
    let mut client = client(POST, FIELDS);
    let part = |name, value| Part::Text(name, value);
    for (texts, expected) in [
        (&["a", "b"][..], json!(["a", "b"])),
        (&["a,b", "[\"c, d\"]"], json!(["a", "b", "c, d"])),
        (&["", "a", " , "], json!(["a"])),
    ] {
        let parts: Vec<_> = texts.iter().map(|text| part("labels", text)).collect();
        let answer = client.post_form("/t", &parts);
        assert_eq!(seen(&answer)["labels"], expected, "{texts:?}");
    }
    // The bounds are those of the whole.
    let many = [part("labels", "a,b"), part("labels", "c,d")];
    let answer = client.post_form("/t", &many);
    refused(&answer, 422, "invalid_field", "labels: more than 3 items");
    let none = [part("labels", ""), part("labels", " ")];
    assert_eq!(seen(&client.post_form("/t", &none)), json!({}));
}

#[test]
fn any_other_field_that_is_given_twice_is_refused_by_name() {
    let mut client = client(POST, FIELDS);
    for (name, value) in [("theme", "a"), ("n", "1"), ("on", "true"), ("j", "{}")] {
        let twice = [Part::Text(name, value), Part::Text(name, value)];
        let answer = client.post_form("/t", &twice);
        let wanted = format!("{name}: is given twice");
        refused(&answer, 422, "repeated_field", &wanted);
    }
    // JSON keeps the last of several in silence.
    for (json, wanted) in [
        (
            r#"{"theme": "a", "theme": "b"}"#,
            "\"theme\" is given twice",
        ),
        (
            r#"{"labels": ["a"], "l\u0061bels": ["b"]}"#,
            "\"labels\" is",
        ),
        (r#"{"x": 1, "x": 2}"#, "\"x\" is given twice"),
    ] {
        let answer = post_text(&mut client, "/t", json);
        refused(&answer, 422, "repeated_field", wanted);
    }
    let nested = r#"{"j": {"a": 1, "b": {"a": 2}}, "theme": "j"}"#;
    assert_eq!(seen(&post_text(&mut client, "/t", nested))["theme"], "j");
}

#[test]
fn get_and_delete_take_their_fields_from_the_query() {
    for method in ["GET", "DELETE"] {
        let mut client = client(&format!("route = \"{method} /t\""), FIELDS);
        let query = "/t?theme=a+b%2Bc%C3%A9&labels=x&labels=y,z&n=5&on=yes&j=%7B%22a%22:1%7D";
        let expected = json!({
            "theme": "a b+cé", "labels": ["x", "y", "z"], "n": 5, "on": true, "j": { "a": 1 },
        });
        assert_eq!(seen(&asks(&mut client, method, query)), expected);
        assert_eq!(seen(&asks(&mut client, method, "/t")), json!({}));
        assert_eq!(seen(&asks(&mut client, method, "/t?theme=&n")), json!({}));
        let marked = asks(&mut client, method, "/t?labels=%EF%BB%BF%5B%22a%22%5D");
        assert_eq!(seen(&marked), json!({ "labels": ["a"] }));
        for (query, code, wanted) in [
            ("theme=a&theme=b", "repeated_field", "theme: is given twice"),
            ("n=x", "invalid_field", "n: expected a whole number"),
            ("theme=%zz", "invalid_field", "theme: a % in the query"),
            (
                "theme=%FF",
                "invalid_field",
                "theme: expected text in UTF-8",
            ),
            (
                "labels=a,b,c,d",
                "invalid_field",
                "labels: more than 3 items",
            ),
        ] {
            let answer = asks(&mut client, method, &format!("/t?{query}"));
            refused(&answer, 422, code, wanted);
        }
        // A body is read too, and one field is in one place.
        let json = [("Content-Type", "application/json")];
        let mut both =
            |query: &str, body: &str| client.send(method, query, &json, body.as_bytes()).unwrap();
        let answer = both("/t?n=5", r#"{"theme": "a"}"#);
        assert_eq!(seen(&answer), json!({ "theme": "a", "n": 5 }));
        assert_eq!(seen(&both("/t?n=5", "")), json!({ "n": 5 }));
        let twice = both("/t?n=5", r#"{"n": 5}"#);
        let wanted = "n: is given in the query and in the body";
        refused(&twice, 422, "repeated_field", wanted);
        // Bounds.
        let many = "a=1&".repeat(Limits::default().max_parts + 1);
        let answer = asks(&mut client, method, &format!("/t?{many}"));
        refused(&answer, 422, "too_many_fields", "more than 64 fields");
        let long = "a".repeat(Limits::default().max_query_bytes);
        let answer = asks(&mut client, method, &format!("/t?theme={long}"));
        refused(&answer, 414, "query_too_long", "16384 bytes");
    }
}

#[test]
fn a_file_does_not_come_in_a_query() {
    let mut client = client("route = \"GET /t\"", "file = { type = \"bytes\" }");
    let answer = asks(&mut client, "GET", "/t?file=aGk=");
    let wanted = "file: a file cannot come in the query";
    refused(&answer, 422, "invalid_field", wanted);
}

#[test]
fn post_takes_from_the_query_only_what_says_so() {
    let fields = "theme = { type = \"text\" }\nn = { type = \"integer\", from = \"query\" }";
    let mut client = client(POST, fields);
    let theme = [Part::Text("theme", "a")];
    let answer = client.post_form("/t?n=3&theme=b", &theme);
    assert_eq!(seen(&answer), json!({ "theme": "a", "n": 3 }));
    assert_eq!(answer.header("x-unknown-fields"), Some("theme"));
    let answer = client.post_form("/t", &[Part::Text("n", "3")]);
    assert_eq!(seen(&answer), json!({}));
    assert_eq!(answer.header("x-unknown-fields"), Some("n"));
}

#[test]
fn a_part_of_the_path_and_a_query_go_together() {
    let fields = "id = { type = \"text\", from = \"path\" }\ntheme = { type = \"text\" }";
    let mut client = client("route = \"DELETE /t/{id}\"", fields);
    let answer = asks(&mut client, "DELETE", "/t/a%20b+c?theme=x&id=other");
    let expected = json!({ "id": "a b+c", "theme": "x" });
    assert_eq!(seen(&answer), expected);
    assert_eq!(answer.header("x-unknown-fields"), Some("id"));
}

#[test]
fn fields_that_the_pipeline_does_not_know_are_told() {
    let mut client = client(POST, FIELDS);
    let parts = [
        Part::Text("thme", "secret"),
        Part::Text("lables", "secret"),
        Part::Text("theme", "a"),
    ];
    let answer = client.post_form("/t", &parts);
    assert_eq!(seen(&answer), json!({ "theme": "a" }));
    assert_eq!(answer.header("x-unknown-fields"), Some("lables, thme"));
    let answer = post_text(&mut client, "/t?q=1", r#"{"a\r\nX-Forged: b": 1, "ü,": 2}"#);
    assert_eq!(seen(&answer), json!({}));
    assert_eq!(
        answer.header("x-unknown-fields"),
        Some("a%0D%0AX-Forged%3A%20b, q, %C3%BC%2C")
    );
    assert_eq!(answer.header("x-forged"), None);
    // What is refused for another reason tells it too.
    let answer = client.post_form("/t", &[Part::Text("n", "x"), Part::Text("lables", "a")]);
    refused(&answer, 422, "invalid_field", "n: expected");
    assert_eq!(answer.header("x-unknown-fields"), Some("lables"));
    let known = client.post_form("/t", &[Part::Text("theme", "a")]);
    assert_eq!(known.header("x-unknown-fields"), None);
}

#[test]
fn a_strict_pipeline_refuses_what_it_does_not_know() {
    let strict = format!("{POST}\nunknown_fields = \"refuse\"");
    let mut client = client(&strict, FIELDS);
    let answer = client.post_form("/t", &[Part::Text("lables", "secret")]);
    refused(&answer, 422, "unknown_field", "did you mean `labels`?");
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    let answer = post_text(&mut client, "/t", r#"{"zzz": 1}"#);
    let wanted = "\"zzz\" is no field of this request: expected one of: theme, labels, n, on, j";
    refused(&answer, 422, "unknown_field", wanted);
    let answer = client.post_form("/t?theme=a", &[]);
    let wanted = "\"theme\" is taken from the body of the request";
    refused(&answer, 422, "unknown_field", wanted);
    assert_eq!(seen(&client.post_form("/t", &[])), json!({}));
}

#[test]
fn a_data_url_declares_a_type_and_plain_base64_none() {
    let field = "file = { type = \"bytes\", accept = [\"image/png\"], filename = \"name\", content_type = \"type\" }";
    let mut client = client(POST, field);
    let sent = |text: &str| json!({ "file": text });
    for (text, declared) in [
        ("aGk=", Json::Null),
        ("data:image/png;base64,aGk=", json!("image/png")),
        ("DATA:Image/PNG;a=b;Base64,aGk=", json!("Image/PNG;a=b")),
        ("data:;base64,aGk=", Json::Null),
    ] {
        let answer = client.post_json("/t", &sent(text));
        assert_eq!(seen(&answer), json!({ "file": { "bytes": 2 } }), "{text}");
        assert_eq!(answer.json()["type"], declared, "{text}");
    }
    let other = client.post_json("/t", &sent("data:image/gif;base64,aGk="));
    let wanted = "file: a file of type image/gif is not accepted, expected image/png";
    refused(&other, 415, "unsupported_file_type", wanted);
    for (text, wanted) in [
        ("data:image/png,hi", "expected a data: URL"),
        ("data:image/png;base64", "expected a data: URL"),
        ("data:image/png;charset=x,hi", "must be in base64"),
        ("data:png;base64,aGk=", "is no media type"),
        ("http://a/b", "not base64"),
        ("data:image/png;base64,a?k=", "not base64"),
    ] {
        let answer = client.post_json("/t", &sent(text));
        refused(&answer, 422, "invalid_field", wanted);
    }
}

#[test]
fn a_file_has_a_size_of_its_own() {
    let mut client = client(POST, "file = { type = \"bytes\", max_bytes = 3 }");
    let part = |data| Part::File {
        name: "file",
        filename: "a",
        content_type: "application/octet-stream",
        data,
    };
    assert_eq!(
        seen(&client.post_form("/t", &[part(b"abc")])),
        json!({ "file": { "bytes": 3 } })
    );
    let wanted = "file: a file of 4 bytes, at most 3 are allowed";
    let large = client.post_form("/t", &[part(b"abcd")]);
    refused(&large, 413, "field_too_large", wanted);
    let json = client.post_json("/t", &json!({ "file": "YWJj" }));
    assert_eq!(seen(&json), json!({ "file": { "bytes": 3 } }));
    for text in ["YWJjZA==", "data:a/b;base64,YWJjZA=="] {
        let large = client.post_json("/t", &json!({ "file": text }));
        refused(&large, 413, "field_too_large", wanted);
    }
}

#[test]
fn a_pipeline_bounds_its_bodies_and_its_fields() {
    let lines = format!("{POST}\nmax_body_bytes = 300\nmax_fields = 2");
    let mut client = client(&lines, FIELDS);
    let long = "x".repeat(400);
    let answer = client.post_json("/t", &json!({ "theme": long }));
    refused(&answer, 413, "body_too_large", "300 bytes");
    let answer = client.post_json("/t", &json!({ "theme": "a", "n": 1 }));
    assert_eq!(seen(&answer), json!({ "theme": "a", "n": 1 }));
    let answer = client.post_json("/t", &json!({ "theme": "a", "n": 1, "on": true }));
    refused(&answer, 422, "too_many_fields", "more than 2 members");
    let parts = ["theme", "n", "on"].map(|name| Part::Text(name, "1"));
    let answer = post_small_form(&mut client, &parts);
    refused(&answer, 422, "too_many_parts", "more than 2 parts");
    let mut client = self::client("route = \"GET /t\"\nmax_fields = 2", FIELDS);
    let answer = asks(&mut client, "GET", "/t?n=1&on=1&theme=a");
    refused(&answer, 422, "too_many_fields", "more than 2 fields");
}

/// A form with a short boundary.
fn post_small_form(client: &mut Client, parts: &[Part<'_>]) -> Answer {
    let mut body = String::new();
    for part in parts {
        let Part::Text(name, value) = part else {
            panic!("only texts");
        };
        body.push_str(&format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str("--b--\r\n");
    let headers = [("Content-Type", "multipart/form-data; boundary=b")];
    client
        .send("POST", "/t", &headers, body.as_bytes())
        .unwrap()
}

#[test]
fn a_pipeline_bounds_its_requests_in_flight() {
    const PIPELINE: &str = "[pipeline]\nname = \"t\"\nroute = \"POST /t\"\nmax_in_flight = 1\n\
        [request]\ntheme = { type = \"text\" }\n[[stage]]\nuses = \"lasts\"\n\
        if = \"theme != null\"\n[[stage]]\nuses = \"mirror\"\n";
    let address = Serving::default().start(vec![lasts(), mirror()], PIPELINE);
    let mut client = Client::new(address);
    let in_flight = |client: &mut Client, wanted: u64| {
        for _ in 0..1000 {
            if client.pipeline("t")["in_flight"] == wanted {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("there are never {wanted} requests in flight");
    };
    // A body that does not come takes no place.
    let mut half = connect(address).unwrap();
    half.write_all(b"POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        .unwrap();
    // One whose stage does not end has the only one.
    let mut slow = connect(address).unwrap();
    slow.write_all(
        b"POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
          Content-Length: 13\r\n\r\n{\"theme\":\"a\"}",
    )
    .unwrap();
    in_flight(&mut client, 1);
    let answer = client.post_json("/t", &json!({}));
    let wanted = "the pipeline `t` has 1 requests in flight already, try again";
    refused(&answer, 429, "busy", wanted);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(client.get("/health").status, 200);
    assert_eq!(client.pipeline("t")["limits"]["max_in_flight"], 1);
    drop(slow);
    in_flight(&mut client, 0);
    assert_eq!(seen(&client.post_json("/t", &json!({}))), json!({}));
    drop(half);
}

#[test]
fn the_programs_own_routes_go_before_those_with_parameters() {
    let fields = "id = { type = \"text\", from = \"path\" }";
    let mut client = client("route = \"GET /{id}\"", fields);
    assert_eq!(client.get("/health").json()["ok"], true);
    assert!(client.pipelines()["pipelines"].is_array());
    assert_eq!(seen(&client.get("/other")), json!({ "id": "other" }));
    // A plain route takes the place, as its warning says.
    let mut client = self::client("route = \"GET /health\"", "theme = { type = \"text\" }");
    let answer = client.get("/health?theme=a");
    assert_eq!(seen(&answer), json!({ "theme": "a" }));
}

#[test]
fn the_name_of_a_stage_is_a_name_in_the_timing() {
    let address = serving(POST, FIELDS, "name = 'a;dur=9, \"ü\"'");
    let answer = Client::new(address).post_json("/t", &json!({}));
    assert_eq!(answer.status, 200);
    let timing = answer.header("server-timing").unwrap();
    let expected = "a_dur_9_____;desc=\"a;dur=9, \\\"%C3%BC\\\"\";dur=";
    assert!(timing.starts_with(expected), "{timing}");
    assert!(timing.contains(", total;dur="), "{timing}");
    let counted = Client::new(address).counters("t", "mirror");
    assert_eq!(counted["ran"], 1, "{counted}");
}

/// A stage that takes a while.
pub(super) fn rests() -> TestKind {
    const TIME: Duration = Duration::from_millis(200);
    let done = Output::new("done", PortType::Text, "once it has").published(Json::Null);
    let rest = waiting(|_, _| async {
        tokio::time::sleep(TIME).await;
        Ok(Outputs::new().put("done", "yes"))
    });
    TestKind::new("rests", vec![], vec![done], rest)
}

/// A pipeline with a stage that rests, or that does not end, where a theme is sent.
fn slow(kind: TestKind, name: &str) -> SocketAddr {
    let toml = format!(
        "[pipeline]\nname = \"t\"\nroute = \"POST /t\"\ndeadline_ms = 60000\n\
         [request]\ntheme = {{ type = \"text\" }}\n[[stage]]\nuses = \"{name}\"\n\
         if = \"theme != null\"\n[[stage]]\nuses = \"mirror\"\n"
    );
    Serving::default().start(vec![kind, mirror()], &toml)
}

/// A request for it, with the theme or without.
fn request_of(version: &str, theme: Option<&str>) -> String {
    let body = theme.map_or_else(|| json!({}), |theme| json!({ "theme": theme }));
    let body = body.to_string();
    let len = body.len();
    format!(
        "POST /t {version}\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {len}\r\n\r\n{body}"
    )
}

/// Sends, shuts its side as `nc -N` does, and reads until the server has closed.
fn shut_and_read(address: SocketAddr, sent: &str) -> String {
    let mut stream = connect(address).unwrap();
    stream.write_all(sent.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn who_has_sent_all_and_shuts_its_side_gets_its_whole_answer() {
    let address = slow(rests(), "rests");
    let chunked = "POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\nd\r\n{\"theme\":\"a\"}\r\n0\r\n\r\n";
    let expects = request_of("HTTP/1.1", Some("a"));
    let expects = expects.replacen("Host", "Expect: 100-continue\r\nHost", 1);
    for sent in [
        request_of("HTTP/1.1", Some("a")),
        request_of("HTTP/1.0", Some("a")),
        request_of("HTTP/1.1", None),
        chunked.to_owned(),
        expects,
        "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
    ] {
        let said = shut_and_read(address, &sent);
        let said = said.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        let status = head.lines().next().unwrap();
        assert!(
            ["HTTP/1.1 200 OK", "HTTP/1.0 200 OK"].contains(&status),
            "{sent}: {said}"
        );
        let body: Json = serde_json::from_str(body).unwrap();
        if sent.contains("theme") {
            assert_eq!(body["seen"], json!({ "theme": "a" }), "{sent}: {said}");
            assert_eq!(body["done"], "yes", "{sent}: {said}");
        }
    }
    // One behind the other.
    let one = request_of("HTTP/1.1", Some("a"));
    let said = shut_and_read(address, &format!("{one}{one}"));
    assert_eq!(said.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{said}");
    assert_eq!(said.matches("HTTP/1.").count(), 2, "{said}");
}

#[test]
fn a_body_that_breaks_off_is_refused_and_the_connection_said_to_close() {
    let address = slow(rests(), "rests");
    let whole = request_of("HTTP/1.1", Some("a"));
    let chunked = "POST /t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for sent in [
        whole[..whole.len() - 3].to_owned(),
        chunked.to_owned(),
        format!("{chunked}5\r\nab"),
        format!("{chunked}no number\r\n{}", "x".repeat(100_000)),
    ] {
        let said = shut_and_read(address, &sent);
        assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{said}");
        assert!(said.contains("\r\nconnection: close\r\n"), "{said}");
        assert!(said.contains("the body broke off"), "{said}");
    }
}

#[test]
fn who_is_gone_takes_no_place_and_who_waits_keeps_its_own() {
    let address = slow(lasts(), "lasts");
    let mut client = Client::new(address);
    let in_flight = |client: &mut Client, wanted: u64| {
        let begun = Instant::now();
        while client.pipeline("t")["in_flight"] != wanted {
            assert!(begun.elapsed() < Duration::from_secs(30), "never {wanted}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let begin = || {
            let mut stream = connect(address).unwrap();
            let request = request_of(version, Some("a"));
            stream.write_all(request.as_bytes()).unwrap();
            stream
        };
        // At once, and as the system tells it of a process that has ended.
        let gone = begin();
        in_flight(&mut client, 1);
        drop(gone);
        in_flight(&mut client, 0);
        // First it waits, and takes what comes.
        let mut waits = begin();
        waits.shutdown(Shutdown::Write).unwrap();
        in_flight(&mut client, 1);
        std::thread::sleep(Duration::from_millis(100));
        in_flight(&mut client, 1);
        waits.read_exact(&mut [0]).unwrap();
        drop(waits);
        in_flight(&mut client, 0);
    }
}

#[test]
fn a_picture_from_a_client_that_shuts_its_side_is_classified() {
    let server = Server::start();
    let data = picture("lossy.webp");
    let mut stream = begin_form(server.address, "/classify", &[file(&data)]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_answer(&mut stream, "POST").unwrap().fine();
    assert!(answer["category"].is_string(), "{answer}");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed");
}

#[test]
fn who_is_not_answered_within_the_grace_is_told_so_before_the_end() {
    let mute = Mute::new();
    let grace = [("OMNIZAP_SHUTDOWN_GRACE_MS", "2000")];
    let mut server = Server::start_with(&Settings {
        pipelines: Some(mute.pipelines()),
        environment: &[&mute.environment()[..], &grace].concat(),
        ..Settings::default()
    });
    let mut asking = [(); 3].map(|()| take_a_place(server.address));
    asking[0].shutdown(Shutdown::Write).unwrap();
    server.terminate();
    for stream in &mut asking {
        let answer = read_answer(stream, "POST").unwrap();
        refused(
            &answer,
            503,
            "shutting_down",
            "the request was not finished",
        );
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        let id = answer.json()["request_id"].clone();
        assert_eq!(answer.header("x-request-id"), id.as_str());
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed");
    }
    // Nobody was left without an answer.
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    server.log_with("not finished: the grace ran out");
}

/// What is said to a head, with nothing behind it.
#[track_caller]
fn answer_to(address: SocketAddr, head: &str) -> Answer {
    let mut stream = connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    read_answer(&mut stream, "POST").unwrap()
}

#[test]
fn a_length_that_no_body_has_is_too_large_and_what_is_no_length_is_malformed() {
    let address = serving(POST, FIELDS, "");
    let larger = format!("larger than {} bytes", Limits::default().max_body_bytes);
    let of = |lengths: &[&str]| {
        let lines = lengths
            .iter()
            .map(|length| format!("Content-Length: {length}\r\n"));
        let lines: String = lines.collect();
        format!("POST /t HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
    };
    for length in [
        "33554433",
        "99999999999",
        "18446744073709551613",
        "18446744073709551614",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999999999999999999999999",
    ] {
        let answer = answer_to(address, &of(&[length]));
        refused(&answer, 413, "body_too_large", &larger);
        assert_eq!(answer.header("connection"), Some("close"), "{length}");
    }
    for lengths in [
        &["-1"][..],
        &["+5"],
        &["+99999999999999999999"],
        &["1e3"],
        &["0x10"],
        &["5, 6"],
        &[""],
        &["2", "3"],
        &["2", "99999999999999999999"],
        &["99999999999999999999", "2"],
    ] {
        let answer = answer_to(address, &of(lengths));
        refused(&answer, 400, "malformed_request", "the head of the request");
    }
    // In pieces, and behind another request.
    let mut stream = connect(address).unwrap();
    stream
        .write_all(request_of("HTTP/1.1", None).as_bytes())
        .unwrap();
    assert_eq!(read_answer(&mut stream, "POST").unwrap().status, 200);
    let head = of(&["18446744073709551615"]);
    for piece in head.as_bytes().chunks(head.len() / 5) {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = read_answer(&mut stream, "POST").unwrap();
    refused(&answer, 413, "body_too_large", &larger);
    // What is too large beside it is the head still.
    let many: String = (0..200)
        .map(|number| format!("X-{number}: a\r\n"))
        .collect();
    let head = format!("POST /t HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    refused(
        &answer_to(address, &head),
        431,
        "headers_too_large",
        "too large",
    );
}

#[test]
fn a_request_says_once_by_which_name_it_calls() {
    let address = serving(POST, FIELDS, "");
    let of = |version: &str, lines: &str| format!("GET /health {version}\r\n{lines}\r\n");
    let here = "Host: localhost\r\n";
    let twice = here.repeat(2);
    let differing = format!("{here}Host: evil.example\r\n");
    let origin = format!("Origin: http://{address}\r\n");
    for (version, lines, wanted) in [
        ("HTTP/1.1", "", "has no `Host`"),
        ("HTTP/1.1", &*origin, "has no `Host`"),
        ("HTTP/1.1", &twice, "has several `Host`"),
        ("HTTP/1.0", &twice, "has several `Host`"),
        ("HTTP/1.1", &*differing, "has several `Host`"),
        ("HTTP/1.0", &origin, "has no `Host`"),
        ("HTTP/1.0", "Sec-Fetch-Mode: no-cors\r\n", "has no `Host`"),
        (
            "HTTP/1.0",
            "Referer: http://localhost/\r\n",
            "has no `Host`",
        ),
    ] {
        let answer = answer_to(address, &of(version, lines));
        refused(&answer, 400, "malformed_request", wanted);
    }
    for (version, lines) in [
        ("HTTP/1.1", here),
        ("HTTP/1.0", here),
        ("HTTP/1.0", ""),
        ("HTTP/1.0", "User-Agent: probe\r\n"),
    ] {
        let answer = answer_to(address, &of(version, lines));
        assert_eq!(answer.status, 200, "{version} {lines}");
    }
    // A name of somebody else is told as that.
    let answer = answer_to(address, &of("HTTP/1.1", "Host: evil.example\r\n"));
    answer.refused(403, "foreign_host");
}

#[test]
fn clients_are_shown_files_of_pipelines_and_no_folders() {
    let folder = tempfile::TempDir::new().unwrap();
    let pipelines = folder.path().join("pipelines");
    std::fs::create_dir(&pipelines).unwrap();
    let classify = "extends = \"../over/base.toml\"\n[[stage]]\nname = \"llm-expand\"\n\
        with = { entropy_max = 1.0, margin_min = 0.0 }\n";
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("pipelines/classify.toml", classify);
    write("over/base.toml", "extends = \"builtin:classify\"\n");
    let server = Server::start_with(&Settings {
        pipelines: Some(&pipelines),
        ..Settings::default()
    });
    let mut client = server.client();
    let shown = client.get("/pipelines").told(200);
    let secret = folder.path().to_str().unwrap();
    assert!(!shown.contains(secret), "{shown}");
    let classify = client.pipeline("classify");
    let stages = classify["stages"].as_array().unwrap().iter();
    let from: Vec<_> = stages
        .map(|stage| stage["from"].as_str().unwrap())
        .collect();
    assert!(from.iter().all(|from| !from.contains("/")), "{from:?}");
    assert!(
        from.iter().any(|from| from.contains("classify.toml:")),
        "{from:?}"
    );
    assert!(
        from.iter().any(|from| from.contains("builtin:classify:")),
        "{from:?}"
    );
    assert_eq!(classify["route"], "POST /classify");
    assert_eq!(classify["settings_route"], "GET /labels");
}

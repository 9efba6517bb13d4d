//! What clients may send, and what they are told of what they sent: over HTTP, to pipelines made of
//! stages of the tests.

use std::io::Write as _;
use std::net::SocketAddr;

use engine::http::Limits;
use omnizap_contract::{Output, PortType};
use serde_json::{Value as Json, json};

use super::bodies::{Serving, mirror, refused};
use crate::support::http::{Answer, Client, Part, connect};
use crate::support::kinds::{TestKind, waiting};

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
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{text}");
    answer.json()["seen"].clone()
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
    let done = Output::new("done", PortType::Text, "never").published(Json::Null);
    let lasts = TestKind::new(
        "lasts",
        vec![],
        vec![done],
        waiting(|_, _| std::future::pending()),
    );
    let address = Serving::default().start(vec![lasts, mirror()], PIPELINE);
    let mut client = Client::new(address);
    let in_flight = |client: &mut Client, wanted: u64| {
        for _ in 0..1000 {
            let shown = client.get("/pipelines").json();
            if shown["pipelines"][0]["in_flight"] == wanted {
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
    let limits = client.get("/pipelines").json()["pipelines"][0]["limits"].clone();
    assert_eq!(limits["max_in_flight"], 1);
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
    assert!(client.get("/pipelines").json()["pipelines"].is_array());
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
}

//! What the Python service got wrong about pictures, labels and HTTP, and what
//! any service must withstand: each a clear answer, and the next request fine.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::answers::file;
use super::budgets::{Mute, take_a_place};
use crate::support::http::{Answer, Part, begin_form, connect, read_answer};
use crate::support::pictures::gray_tiff;
use crate::support::program::{Server, picture};

#[track_caller]
fn refused(answer: &Answer, status: u16, wanted: &str) {
    let text = answer.told(status);
    assert!(text.contains(wanted), "{text}");
    for leak in [
        env!("CARGO_MANIFEST_DIR"),
        "/home",
        ".rs:",
        "SELECT",
        "panicked",
    ] {
        assert!(!text.contains(leak), "{text} shows {leak}");
    }
}

#[test]
fn broken_pictures_are_refused_with_the_reason() {
    let server = Server::start();
    let mut client = server.client();
    for (name, status, wanted) in [
        ("empty.png", 422, "empty"),
        ("truncated.jpg", 422, "truncated"),
        ("truncated.png", 422, "truncated"),
        ("magic_only.jpg", 422, "stage"),
        ("magic_only.png", 422, "stage"),
        ("bomb.png", 413, "pixels"),
        ("bomb.gif", 413, "pixels"),
        ("bomb.jpg", 413, "pixels"),
        ("bomb.bmp", 413, "pixels"),
        ("text.png", 422, "not_an_image"),
        ("drawing.svg", 415, "SVG"),
    ] {
        let data = picture(name);
        let answer = client.post_form("/classify", &[file(&data)]);
        refused(&answer, status, wanted);
    }
    let data = picture("pixel.png");
    assert_eq!(
        client.post_form("/classify", &[file(&data)]).status,
        200,
        "1x1 is a picture"
    );
    let data = picture("renamed_png.jpg");
    assert_eq!(
        client.post_form("/classify", &[file(&data)]).status,
        200,
        "the content counts, not the name"
    );
}

#[test]
fn a_sixteen_bit_gray_picture_is_not_white() {
    let server = Server::start();
    let mut client = server.client();
    let mut ask = |data: &[u8]| {
        let labels = Part::Text("labels", "a cat,a chart,a text");
        let answer = client.post_form("/classify", &[file(data), labels]);
        answer.fine()["raw_logits"].clone()
    };
    let scene = |x: u32, y: u32| (x * y + 3 * x) % 200;
    let (deep, shallow) = (
        ask(&gray_tiff(64, 16, scene)),
        ask(&gray_tiff(64, 8, scene)),
    );
    assert_eq!(deep, shallow, "the same picture in 16 and in 8 bits");
    assert_ne!(deep, ask(&gray_tiff(64, 8, |_, _| 255)), "white");
}

#[test]
fn extreme_shapes_are_answered() {
    let server = Server::start();
    let mut client = server.client();
    for name in ["wide.png", "tall.png"] {
        let data = picture(name);
        let answer = client.post_form("/classify", &[file(&data)]);
        assert_eq!(
            answer.status,
            200,
            "{name}: {}",
            String::from_utf8_lossy(&answer.body)
        );
    }
}

#[test]
fn labels_that_are_none_are_refused_with_the_reason() {
    let server = Server::start();
    let mut client = server.client();
    let data = picture("pixel.png");
    let deep = "[".repeat(100_000);
    let many: Vec<String> = (0..257).map(|index| format!("label {index}")).collect();
    let many = many.join(",");
    let long = "x".repeat(10_000);
    let huge = format!("[{}\"x\"]", "\"a\",".repeat(500_000));
    for (labels, wanted) in [
        (deep.as_str(), "labels"),
        ("[\"\\ud800\"]", "labels"),
        ("[1, 2]", "labels"),
        ("[\"a\", [\"b\"]]", "labels"),
        ("[\"a\"", "labels"),
        (many.as_str(), "256"),
        (long.as_str(), "characters"),
        (huge.as_str(), "labels"),
    ] {
        let answer = client.post_form("/classify", &[file(&data), Part::Text("labels", labels)]);
        refused(&answer, 422, wanted);
    }
    for labels in ["", " , ,", "[]"] {
        let answer = client.post_form("/classify", &[file(&data), Part::Text("labels", labels)]);
        assert_eq!(answer.status, 200, "no label means the default ones");
    }
    let exact: Vec<String> = (0..256).map(|index| format!("label {index}")).collect();
    let answer = client.post_form(
        "/classify",
        &[file(&data), Part::Text("labels", &exact.join(","))],
    );
    assert_eq!(answer.json()["labels"].as_array().unwrap().len(), 256);
}

#[test]
fn the_compat_set_cuts_labels_as_the_python_service_does() {
    let server = Server::start_with(&crate::support::program::Settings {
        pipelines: Some(std::path::Path::new("pipelines/compat")),
        ..Default::default()
    });
    let data = picture("pixel.png");
    let many: Vec<String> = (0..300).map(|index| format!("label {index}")).collect();
    let answer = server.client().post_form(
        "/classify",
        &[file(&data), Part::Text("labels", &many.join(","))],
    );
    let answer = answer.json();
    assert_eq!(answer["all_scores"].as_object().unwrap().len(), 256);
    assert_eq!(answer["similar_images"], json!([]));
    assert_eq!(
        answer.get("similar_complete"),
        None,
        "a field that it did not have"
    );
}

#[test]
fn parameters_that_are_none_are_refused_by_name() {
    let server = Server::start();
    let mut client = server.client();
    let data = picture("pixel.png");
    for (field, value) in [
        ("nsfw_threshold", "nan"),
        ("nsfw_threshold", "inf"),
        ("nsfw_threshold", "high"),
        ("nsfw_threshold", "1.5"),
        ("similar_threshold", "2"),
        ("similar_limit", "0"),
        ("similar_limit", "101"),
        ("similar_limit", "2.5"),
        ("asset_sha256", "not a hash"),
    ] {
        let answer = client.post_form("/classify", &[file(&data), Part::Text(field, value)]);
        refused(&answer, 422, field);
    }
    let theme = "t".repeat(121);
    let answer = client.post_form("/classify", &[file(&data), Part::Text("theme", &theme)]);
    refused(&answer, 422, "theme");
    refused(
        &client.post_form("/classify", &[Part::Text("labels", "a")]),
        422,
        "file: this field is required",
    );
    for feedback in [
        json!({ "theme": "a" }),
        json!({ "image_hash": "ab", "theme": "a" }),
        json!({ "image_hash": "ab".repeat(32) }),
        json!({ "image_hash": "ab".repeat(32), "theme": " " }),
        json!({ "image_hash": "ab".repeat(32), "theme": "a", "accepted": 3 }),
        json!({ "image_hash": "ab".repeat(32), "theme": "t".repeat(121) }),
    ] {
        assert_eq!(
            client.post_json("/feedback", &feedback).status,
            422,
            "{feedback}"
        );
    }
}

#[test]
fn bodies_that_are_none_are_refused() {
    let server = Server::start_with(&crate::support::program::Settings {
        environment: &[("OMNIZAP_MAX_BODY_BYTES", "100000")],
        ..Default::default()
    });
    let mut client = server.client();
    let large = vec![0; 200_000];
    refused(
        &client.post_form("/classify", &[file(&large)]),
        413,
        "100000 bytes",
    );
    let post = |client: &mut crate::support::http::Client, content_type: &str, body: &[u8]| {
        client
            .send("POST", "/classify", &[("Content-Type", content_type)], body)
            .unwrap()
    };
    refused(
        &post(&mut client, "text/plain", b"hello"),
        415,
        "multipart/form-data",
    );
    refused(
        &post(&mut client, "multipart/form-data", b"hello"),
        400,
        "malformed_multipart",
    );
    refused(
        &post(
            &mut client,
            "multipart/form-data; boundary=x",
            b"--x\r\nhello",
        ),
        400,
        "malformed_multipart",
    );
    refused(
        &post(&mut client, "application/json", b"{\"file\": "),
        400,
        "malformed_json",
    );
    let nested = "{\"file\":".repeat(10_000);
    refused(
        &post(&mut client, "application/json", nested.as_bytes()),
        400,
        "malformed_json",
    );
    let page = Part::File {
        name: "file",
        filename: "a.txt",
        content_type: "text/html",
        data: b"<html>",
    };
    refused(&client.post_form("/classify", &[page]), 415, "text/html");
}

#[test]
fn chunked_bodies_are_taken_and_bounded() {
    let server = Server::start_with(&crate::support::program::Settings {
        environment: &[("OMNIZAP_MAX_BODY_BYTES", "1000")],
        ..Default::default()
    });
    let send = |size: usize| {
        let mut stream = connect(server.address).unwrap();
        let head = "POST /feedback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let body = json!({ "image_hash": "ab".repeat(32), "theme": "a", "more": "x".repeat(size) })
            .to_string();
        for piece in body.as_bytes().chunks(100) {
            stream
                .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
                .unwrap();
            stream.write_all(piece).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        read_answer(&mut stream, "POST").unwrap().status
    };
    assert_eq!(send(10), 200);
    assert_eq!(send(2000), 413);
}

#[test]
fn a_client_that_leaves_harms_nobody() {
    let server = Server::start();
    let data = picture("baseline_420.jpg");
    for _ in 0..20 {
        let mut stream = connect(server.address).unwrap();
        let body = crate::support::http::multipart(&[file(&data)]);
        let head = format!(
            "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=----a-boundary-of-the-tests\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body[..body.len() / 2]).unwrap();
    }
    for _ in 0..20 {
        drop(begin_form(server.address, "/classify", &[file(&data)]).unwrap());
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(
        server
            .client()
            .post_form("/classify", &[file(&data)])
            .status,
        200
    );
}

#[test]
fn too_many_at_a_time_are_told_to_come_again() {
    let mute = Mute::new();
    let mut environment = mute.environment();
    environment.push(("OMNIZAP_MAX_REQUESTS_IN_FLIGHT", "1"));
    let server = Server::start_with(&crate::support::program::Settings {
        pipelines: Some(mute.pipelines()),
        environment: &environment,
        ..Default::default()
    });
    // A request that lasts has the only place.
    let slow = take_a_place(server.address);
    let data = picture("pixel.png");
    let mut client = server.client();
    let busy = client.post_form("/classify", &[file(&data)]);
    refused(&busy, 429, "busy");
    assert_eq!(busy.header("retry-after"), Some("1"));
    assert_eq!(
        client.get("/health").status,
        200,
        "health is answered all along"
    );
    drop(slow);
    let begun = std::time::Instant::now();
    while client.budgets()["requests_in_flight"]["now"] != 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it is never free"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! What clients read that are not as patient as those of the other tests: answers that come before
//! a body was read, answers to what is no request, uploads over a slow line.

mod http2;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use engine::http::Limits;
use serde_json::json;

use super::answers::file;
use super::bodies::serving;
use super::budgets::{Mute, take_a_place};
use crate::support::http::{Answer, Client, connect, multipart, read_answer};
use crate::support::program::{Server, Settings, picture};

/// A server that takes bodies of up to 100,000 bytes, and one at a time.
fn small_server() -> Server {
    Server::start_with(&Settings {
        environment: &[
            ("OMNIZAP_MAX_BODY_BYTES", "100000"),
            ("OMNIZAP_MAX_REQUESTS_IN_FLIGHT", "1"),
        ],
        ..Settings::default()
    })
}

/// The same, in which a classification lasts.
fn small_server_that_lasts(mute: &Mute) -> Server {
    let mut environment = mute.environment();
    environment.extend([
        ("OMNIZAP_MAX_BODY_BYTES", "100000"),
        ("OMNIZAP_MAX_REQUESTS_IN_FLIGHT", "1"),
    ]);
    Server::start_with(&Settings {
        pipelines: Some(mute.pipelines()),
        environment: &environment,
        ..Settings::default()
    })
}

/// Sends a head and a body, piece after piece, and looks at the answer only then: a server that
/// closes before would break the pipe.
fn send_all_then_read(
    address: SocketAddr,
    head: &str,
    pieces: impl IntoIterator<Item = Vec<u8>>,
) -> Answer {
    let mut stream = connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // The answer is there before the body is.
    std::thread::sleep(Duration::from_millis(50));
    for piece in pieces {
        stream
            .write_all(&piece)
            .expect("the server did not read on");
    }
    let answer = read_answer(&mut stream, "POST").expect("there is no answer");
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .expect("the connection was not closed in order");
    assert_eq!(rest, b"");
    answer
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    let error = answer.refused(status, code);
    assert!(error["detail"].is_string(), "{error}");
    assert_eq!(error["stage"], json!(null), "{error}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let id = error["request_id"].as_str().unwrap();
    assert_eq!(answer.header("x-request-id"), Some(id));
}

#[test]
fn an_early_answer_is_read_by_who_sends_everything_first() {
    let mute = Mute::new();
    let server = small_server_that_lasts(&mute);
    let head =
        |path: &str, more: &str| format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let early = |path: &str, more: &str, status: u16, code: &str| {
        for len in [10_000, 300_000, 8_000_000] {
            let length = format!("Content-Length: {len}\r\n{more}");
            if status != 413 || len > 100_000 {
                let pieces = vec![vec![b'x'; len / 10]; 10];
                let answer = send_all_then_read(server.address, &head(path, &length), pieces);
                assert_refused(&answer, status, code);
                assert_eq!(answer.header("connection"), Some("close"), "{path} {len}");
                let chunk = [
                    format!("{len:x}\r\n").into_bytes(),
                    vec![b'x'; len],
                    b"\r\n".into(),
                ];
                let pieces = [chunk.concat(), b"0\r\n\r\n".into()];
                let chunked = format!("Transfer-Encoding: chunked\r\n{more}");
                let answer = send_all_then_read(server.address, &head(path, &chunked), pieces);
                assert_refused(&answer, status, code);
            }
        }
    };
    early("/v1/classify", "", 404, "not_found");
    early("/health", "", 405, "method_not_allowed");
    early(
        "/classify",
        "Content-Encoding: gzip\r\n",
        415,
        "unsupported_encoding",
    );
    early("/classify", "", 413, "body_too_large");
    let place = take_a_place(server.address);
    early("/classify", "", 429, "busy");
    drop(place);
}

#[test]
fn an_early_answer_over_http2_is_read_by_who_sends_everything_first() {
    let mute = Mute::new();
    let server = small_server_that_lasts(&mute);
    let early = |path: &str, code: &str| {
        for len in [300_000, 8_000_000] {
            let outcome = http2::post(server.address, path, len).unwrap();
            assert_eq!((outcome.sent, outcome.reset), (len, None), "{path}");
            let answer: serde_json::Value = serde_json::from_slice(&outcome.body).unwrap();
            assert_eq!(answer["code"], code, "{answer}");
        }
    };
    early("/v1/classify", "not_found");
    early("/health", "method_not_allowed");
    early("/classify", "body_too_large");
    let place = take_a_place(server.address);
    early("/classify", "busy");
    drop(place);
}

#[test]
fn who_goes_on_sending_for_ever_is_left() {
    let limits = Limits {
        max_drain_bytes: 1 << 20,
        ..Limits::default()
    };
    let address = serving(limits);
    let mut stream = connect(address).unwrap();
    let head = "POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = vec![b'x'; 64 << 10];
    let mut sent = 0_usize;
    while stream.write_all(&chunk).is_ok() {
        sent += chunk.len();
        // More than the bound and all the buffers between.
        assert!(sent < 1 << 30, "it is read for ever");
    }
    let outcome = http2::post(address, "/nope", 64 << 20);
    let is_left = outcome
        .as_ref()
        .map_or(true, |outcome| outcome.sent < 64 << 20);
    assert!(is_left, "{outcome:?}");
    // Nobody else noticed.
    assert_eq!(Client::new(address).get("/health").status, 200);
}

#[test]
fn who_waits_to_be_told_to_go_on_is_told_no() {
    let server = small_server();
    let mut stream = connect(server.address).unwrap();
    let head = "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n\
        Expect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(&mut stream, "POST").unwrap();
    assert_refused(&answer, 413, "body_too_large");
}

#[test]
fn a_connection_goes_on_after_an_answer_without_a_body_to_read() {
    let server = Server::start();
    let mut stream = connect(server.address).unwrap();
    for (method, path, status) in [
        ("GET", "/nope", 404),
        ("POST", "/nope", 404),
        ("DELETE", "/health", 405),
        ("HEAD", "/nope", 404),
        ("OPTIONS", "/classify", 405),
        ("GET", "/health/live", 200),
    ] {
        let length = if method == "POST" {
            "Content-Length: 0\r\n"
        } else {
            ""
        };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let answer = read_answer(&mut stream, method).unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("connection"), None, "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.header("x-request-id").is_some(), "{method} {path}");
    }
}

#[test]
fn what_is_no_request_is_answered_as_all_others_are() {
    let server = Server::start();
    let ask = |request: &[u8]| -> Answer {
        let mut stream = connect(server.address).unwrap();
        stream.write_all(request).unwrap();
        let answer = read_answer(&mut stream, "GET").expect("there is no answer");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        answer
    };
    let headers: String = (0..200)
        .map(|number| format!("X-{number}: a\r\n"))
        .collect();
    let long = "x".repeat(1_000_000);
    for (request, status, code) in [
        ("GARB\x01AGE\r\n\r\n".to_owned(), 400, "malformed_request"),
        (
            "\x16\x03\x01\x02\0\x01\0\x01\u{fc}".to_owned() + &long,
            400,
            "malformed_request",
        ),
        (
            "GET / HTTP/1.1\r\nHost\r\n\r\n".to_owned(),
            400,
            "malformed_request",
        ),
        (
            "POST /classify HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_owned(),
            400,
            "malformed_request",
        ),
        (
            format!("GET / HTTP/1.1\r\n{headers}\r\n"),
            431,
            "headers_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"),
            431,
            "headers_too_large",
        ),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", &long[..70_000]),
            414,
            "uri_too_long",
        ),
        (
            "CONNECT a:80 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
            404,
            "not_found",
        ),
        (
            "GET x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
            404,
            "not_found",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
            404,
            "not_found",
        ),
    ] {
        let answer = ask(request.as_bytes());
        assert_refused(&answer, status, code);
        assert_eq!(answer.header("connection"), Some("close"), "{code}");
    }
    // What came before is answered first.
    let mut stream = connect(server.address).unwrap();
    let two =
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: HTTP/1.1 400 Bad Request\r\n\r\nNO\x01\r\n";
    stream.write_all(two).unwrap();
    let mut both = String::new();
    stream.read_to_string(&mut both).unwrap();
    let (first, second) = both
        .split_once("{\"ok\":true}")
        .expect("the first has no answer");
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{both}");
    assert!(second.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{both}");
    assert!(second.contains("\"code\":\"malformed_request\""), "{both}");
    // None of it is the server's fault.
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
fn an_upload_lives_while_bytes_come() {
    let address = serving(Limits {
        body_idle_timeout: Duration::from_secs(2),
        ..Limits::default()
    });
    let body = json!({ "theme": "x".repeat(1000) }).to_string();
    let head = |len: usize| {
        format!(
            "POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {len}\r\n\r\n"
        )
    };
    // Slower than that time as a whole, never in one of its pieces.
    let mut stream = connect(address).unwrap();
    stream.write_all(head(body.len()).as_bytes()).unwrap();
    for piece in body.as_bytes().chunks(body.len() / 30) {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(read_answer(&mut stream, "POST").unwrap().status, 200);
    // One that stops is told so.
    let mut stream = connect(address).unwrap();
    stream.write_all(head(10).as_bytes()).unwrap();
    stream.write_all(b"{").unwrap();
    let answer = read_answer(&mut stream, "POST").unwrap();
    assert_refused(&answer, 408, "body_timeout");
    assert_eq!(
        answer.json()["detail"],
        "no byte of the request body came for 2 s"
    );
}

#[test]
fn an_upload_does_not_live_for_ever() {
    let address = serving(Limits {
        body_timeout: Duration::from_millis(500),
        ..Limits::default()
    });
    let mut stream = connect(address).unwrap();
    let head = "POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut writing = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        let trickle = scope.spawn(move || {
            // Until it is answered and left.
            while writing.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let answer = read_answer(&mut stream, "POST").unwrap();
        assert_refused(&answer, 408, "body_timeout");
        let detail = answer.json()["detail"].to_string();
        assert!(
            detail.contains("did not come whole within 0.5 s"),
            "{detail}"
        );
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        trickle.join().unwrap();
    });
}

#[test]
fn sigterm_does_not_wait_for_what_is_read_on() {
    let mut server = small_server();
    let mut stream = connect(server.address).unwrap();
    let head = "POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_refused(&read_answer(&mut stream, "POST").unwrap(), 404, "not_found");
    server.terminate();
    assert_eq!(server.wait(), Some(0), "{}", server.log());
}

/// The clients that are installed where the test runs: what the others stand for. `URL` and `FILE`
/// stand for what is posted; each prints the status that it read.
const CLIENTS: [(&str, &str, &[&str]); 4] = [
    (
        "curl",
        "curl",
        &[
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-F",
            "file=@FILE",
            "URL",
        ],
    ),
    (
        "curl over HTTP/2",
        "curl",
        &[
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--http2-prior-knowledge",
            "-F",
            "file=@FILE",
            "URL",
        ],
    ),
    (
        "fetch of Node",
        "node",
        &[
            "--input-type=module",
            "-e",
            "import fs from 'node:fs'; const form = new FormData();\
             form.append('file', new Blob([fs.readFileSync('FILE')]), 'x.webp');\
             const answer = await fetch('URL', { method: 'POST', body: form });\
             await answer.json(); console.log(answer.status);",
        ],
    ),
    (
        "urllib of Python",
        "python3",
        &[
            "-c",
            "import urllib.request, urllib.error\n\
             try: print(urllib.request.urlopen('URL', open('FILE', 'rb').read()).status)\n\
             except urllib.error.HTTPError as error: print(error.code)",
        ],
    ),
];

/// True where a client can be tried: it is there, and knows what is asked of it.
fn is_installed(name: &str, program: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let is_there = match (&version, program) {
        (Err(_), _) => false,
        (Ok(version), "curl") => !name.contains("HTTP/2") || version.contains("HTTP2"),
        // `fetch` is there since 18.
        (Ok(version), "node") => {
            let major = version.trim_start_matches('v').split('.').next();
            major
                .and_then(|major| major.parse().ok())
                .is_some_and(|major: u32| major >= 18)
        }
        _ => true,
    };
    if !is_there {
        eprintln!("{name} is not here: not tried");
    }
    is_there
}

#[test]
fn clients_that_are_installed_read_early_answers() {
    let mute = Mute::new();
    let server = small_server_that_lasts(&mute);
    let folder = tempfile::TempDir::new().unwrap();
    let clients = CLIENTS
        .iter()
        .filter(|(name, program, _)| is_installed(name, program));
    let clients: Vec<_> = clients.collect();
    let early = |path: &str, len: usize, expected: &str| {
        let body = folder.path().join(format!("{len}.bin"));
        std::fs::write(&body, vec![b'x'; len]).unwrap();
        let url = format!("http://{}{path}", server.address);
        for (name, program, arguments) in &clients {
            let arguments = arguments.iter().map(|argument| {
                let argument = argument.replace("FILE", body.to_str().unwrap());
                argument.replace("URL", &url)
            });
            let mut command = Command::new(program);
            let output = command
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let status = String::from_utf8_lossy(&output.stdout);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                status.trim(),
                expected,
                "{name}, {path} with {len} bytes: {error}"
            );
        }
    };
    for len in [10_000, 300_000, 8_000_000] {
        early("/v1/classify", len, "404");
        early("/health", len, "405");
    }
    for len in [300_000, 8_000_000] {
        early("/classify", len, "413");
    }
    let place = take_a_place(server.address);
    for len in [10_000, 8_000_000] {
        early("/classify", len, "429");
    }
    drop(place);
}

#[test]
fn a_refusal_costs_the_next_request_nothing() {
    let server = small_server();
    let data = picture("pixel.png");
    let mut client = server.client();
    for _ in 0..3 {
        let large = vec![0; 300_000];
        let answer = client.post_form("/classify", &[file(&large)]);
        assert_eq!(answer.status, 413);
        assert_eq!(client.post_form("/classify", &[file(&data)]).status, 200);
    }
    assert!(multipart(&[file(&data)]).len() < 100_000);
}

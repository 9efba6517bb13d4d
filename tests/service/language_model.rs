//! The language model behind the program: what it logs of a server that repeats the key, and how it
//! starts where there are no certificates.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;
use tempfile::TempDir;

use super::answers::file;
use crate::support::program::{Server, Settings, picture};

const KEY: &str = "sk-SECRET-0123456789abcdef";
const WITHOUT_CERTIFICATES: &str =
    "no CA certificates were found: install ca-certificates or set SSL_CERT_FILE";

/// The default pipeline, in which the language model is asked about every picture.
fn always_asked() -> TempDir {
    let folder = TempDir::new().unwrap();
    let over = "extends = \"builtin:classify\"\n[[stage]]\nname = \"llm-expand\"\n\
                with = { entropy_max = 1.0, margin_min = 0.0 }\n";
    std::fs::write(folder.path().join("classify.toml"), over).unwrap();
    folder
}

/// A server that answers every request with this status and body, and its address.
fn answering(status: u16, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            // A client that goes away is none of our business.
            let _ = answer(socket, status, &body);
        }
    });
    url
}

fn answer(socket: TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut length = 0;
    loop {
        let mut line = String::new();
        socket.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    socket.read_exact(&mut vec![0; length])?;
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.get_mut().write_all(head.as_bytes())
}

#[test]
fn the_key_is_never_logged() {
    let folder = always_asked();
    let data = picture("lossy.webp");
    let echo = format!("Incorrect API key provided: Bearer {KEY}.");
    let json = json!({"error": {"message": echo, "code": "invalid_api_key"}}).to_string();
    let page = format!("<html>\r\nAuthorization: Bearer {KEY}\r\n</html>");
    let cut = format!("{}{KEY}", "x".repeat(4080));
    for (status, body) in [
        (401, json.clone()),
        (500, page.clone()),
        (400, cut),
        (200, page),
    ] {
        let url = answering(status, body);
        let server = Server::start_with(&Settings {
            pipelines: Some(folder.path()),
            environment: &[
                ("OPENAI_API_KEY", KEY),
                ("OPENAI_BASE_URL", &url),
                ("OMNIZAP_LOG", "trace"),
            ],
            ..Default::default()
        });
        let answer = server
            .client()
            .post_form("/classify", &[file(&data)])
            .json();
        assert_eq!(answer["llm_expansion_gate_reason"], "error", "{status}");
        let log = server.log_with("no label expansion");
        for part in KEY.as_bytes().windows(8) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!log.contains(part), "{status}: {part}");
        }
    }
}

#[test]
fn the_key_is_never_logged_however_it_is_written() {
    // As URLs, pages and JSON write it, and in base64: the header, and the key.
    let key = "sk+A/b=c&0123<4567/89ab==cdef";
    let written = [
        "sk%2BA%2Fb%3Dc%260123%3C4567%2F89ab%3D%3Dcdef",
        "sk%2ba%2fb%3dc%260123%3c4567%2f89ab%3d%3dcdef",
        "sk&plus;A&#x2F;b&#61;c&amp;0123&lt;4567&#47;89ab&equals;=cdef",
        "sk\\u002bA\\/b=c\\u00260123\\u003c4567\\/89ab==cdef",
        "QmVhcmVyIHNrK0EvYj1jJjAxMjM8NDU2Ny84OWFiPT1jZGVm",
        "c2srQS9iPWMmMDEyMzw0NTY3Lzg5YWI9PWNkZWY=",
    ];
    let folder = always_asked();
    let url = answering(401, format!("<html>{}</html>", written.join(" | ")));
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        environment: &[
            ("OPENAI_API_KEY", key),
            ("OPENAI_BASE_URL", &url),
            ("OMNIZAP_LOG", "trace"),
        ],
        ..Default::default()
    });
    let data = picture("lossy.webp");
    let mut client = server.client();
    let answer = client.post_form("/classify", &[file(&data)]).json();
    assert_eq!(answer["llm_expansion_gate_reason"], "error");
    let log = server.log_with("no label expansion");
    assert!(log.contains("*** | *** | ***"), "{log}");
    for written in written {
        for part in written.as_bytes().windows(12) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!log.contains(part), "{written}: {part}");
        }
    }
}

#[test]
fn a_draft_among_the_thoughts_is_not_used() {
    let folder = always_asked();
    let content = r#"<thinking>maybe {"subtags": ["bad"]}</thinking>{"subtags": ["good"]}"#;
    let body = json!({"choices": [{"message": {"content": content}}]}).to_string();
    let url = answering(200, body);
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        environment: &[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &url)],
        ..Default::default()
    });
    let data = picture("lossy.webp");
    let mut client = server.client();
    let answer = client.post_form("/classify", &[file(&data)]).json();
    assert_eq!(answer["llm_expansion"]["subtags"], json!(["good"]));
}

#[test]
fn a_server_over_http_needs_no_certificates() {
    let folder = always_asked();
    let content = r#"{"subtags": ["tabby"]}"#;
    let body = json!({"choices": [{"message": {"content": content}}]}).to_string();
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        environment: &[
            ("OPENAI_API_KEY", KEY),
            ("OPENAI_BASE_URL", &answering(200, body)),
            ("SSL_CERT_FILE", "/nonexistent"),
            ("SSL_CERT_DIR", "/nonexistent"),
        ],
        ..Default::default()
    });
    let data = picture("lossy.webp");
    let answer = server
        .client()
        .post_form("/classify", &[file(&data)])
        .json();
    assert_eq!(
        answer["llm_expansion"]["subtags"],
        json!(["tabby"]),
        "{}",
        server.log()
    );
}

#[test]
fn a_server_over_https_without_certificates_is_told_and_the_rest_works() {
    let folder = always_asked();
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        environment: &[
            ("OPENAI_API_KEY", KEY),
            ("OPENAI_BASE_URL", "https://127.0.0.1:9/v1"),
            ("SSL_CERT_FILE", "/nonexistent"),
            ("SSL_CERT_DIR", "/nonexistent"),
        ],
        ..Default::default()
    });
    let mut client = server.client();
    let data = picture("lossy.webp");
    let answer = client.post_form("/classify", &[file(&data)]).json();
    assert_eq!(answer["llm_expansion_gate_reason"], "error");
    assert!(answer["category"].is_string());
    let settings = client.get("/labels").json();
    assert_eq!(settings["features"]["llm_label_expansion"], false);
    assert_eq!(
        settings["features_off"]["llm_label_expansion"],
        WITHOUT_CERTIFICATES
    );
    server.ready();
    assert_eq!(client.get("/health").json()["status"], "degraded");
    let ready = client.get("/health/ready");
    assert_eq!(ready.status, 200);
    let ready = ready.json().to_string();
    assert!(ready.contains(WITHOUT_CERTIFICATES), "{ready}");
    server.log_with(WITHOUT_CERTIFICATES);
}

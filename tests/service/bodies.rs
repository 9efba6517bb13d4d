//! Bodies as the clients of the Python service, browsers and the libraries of other languages write
//! them: forms, JSON, files in base64, text in other encodings than UTF-8.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use engine::http::{Limits, Service, Trust, serve};
use engine::live::Live;
use omnizap_contract::{Input, Output, Outputs, PortType};
use serde_json::{Map, Value as Json, json};
use tokio::net::TcpListener;

use crate::support::http::{Answer, Client};
use crate::support::kinds::{TestKind, inline, pipeline};
use crate::support::program::{Server, picture};

/// A pipeline with a field of each kind.
pub(super) const PIPELINE: &str = "[pipeline]\nname = \"t\"\nroute = \"POST /t\"\n\
    [request]\n\
    file = { type = \"bytes\", filename = \"name\", content_type = \"type\" }\n\
    labels = { type = \"text_list\" }\ntheme = { type = \"text\", one_line = true }\n\
    [[stage]]\nuses = \"mirror\"\n";

/// Serves a pipeline that publishes as `seen` what came for it, until the process ends.
pub(super) fn serving(limits: Limits) -> SocketAddr {
    Serving {
        limits,
        ..Serving::default()
    }
    .start(vec![mirror()], PIPELINE)
}

/// How a pipeline is served within this process.
pub(super) struct Serving {
    pub(super) limits: Limits,
    pub(super) trust: Trust,
    pub(super) listen: &'static str,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            trust: Trust::default(),
            listen: "127.0.0.1:0",
        }
    }
}

impl Serving {
    /// Serves it until the process ends; where it is reached from here.
    pub(super) fn start(self, kinds: Vec<TestKind>, toml: &str) -> SocketAddr {
        let toml = toml.to_owned();
        let (found, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let built = pipeline(kinds, &toml).await;
                let live = Arc::new(Live::new(vec![Arc::new(built)]));
                let service = Arc::new(Service::new(live, self.limits).trusting(self.trust));
                let listener = TcpListener::bind(self.listen).await.unwrap();
                found.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, service, std::future::pending()).await;
            });
        });
        let mut address = address.recv().expect("the server did not start");
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        address
    }
}

/// Publishes as `seen` what came.
pub(super) fn mirror() -> TestKind {
    let fields = [
        ("file", PortType::Bytes),
        ("labels", PortType::TextList),
        ("theme", PortType::Text),
        ("n", PortType::Integer),
        ("on", PortType::Bool),
        ("j", PortType::Json),
        ("id", PortType::Text),
    ];
    let inputs = fields.map(|(name, ty)| Input::optional(name, ty, "what was sent"));
    let seen = Output::new("seen", PortType::Json, "what it saw");
    TestKind::new(
        "mirror",
        inputs.to_vec(),
        vec![seen.published(Json::Null)],
        inline(move |inputs, _| {
            let mut seen = Map::new();
            for (name, _) in fields {
                if let Some(value) = inputs.value(name) {
                    seen.insert(name.to_owned(), value.to_json());
                }
            }
            Ok(Outputs::new().put("seen", Json::Object(seen)))
        }),
    )
}

fn client() -> Client {
    Client::new(serving(Limits::default()))
}

fn post(client: &mut Client, content_type: &str, body: &[u8]) -> Answer {
    let headers = [("Content-Type", content_type)];
    let headers = if content_type.is_empty() {
        &[][..]
    } else {
        &headers
    };
    client.send("POST", "/t", headers, body).unwrap()
}

/// What came for each field, and what the file was said to be.
#[track_caller]
fn seen(answer: &Answer) -> Json {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{text}");
    let unknown = answer.header("x-unknown-fields");
    assert_eq!(unknown, None, "{text}");
    let answer = answer.json();
    let mut seen = answer["seen"].clone();
    for name in ["name", "type"] {
        if !answer[name].is_null() {
            seen[name] = answer[name].clone();
        }
    }
    seen
}

#[track_caller]
pub(super) fn refused(answer: &Answer, status: u16, code: &str, wanted: &str) {
    let error = answer.refused(status, code);
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.contains(wanted), "{error}");
}

const FORM: &str = "multipart/form-data; boundary=b";

/// A form of parts, each its headers and its data.
fn form(parts: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (headers, data) in parts {
        form.extend([&b"--b\r\n"[..], headers, b"\r\n\r\n", data, b"\r\n"].concat());
    }
    form.extend_from_slice(b"--b--\r\n");
    form
}

#[test]
fn the_file_of_a_form_is_found_however_its_head_is_written() {
    let mut client = client();
    for (disposition, name) in [
        ("name=\"file\"; filename=\"a.png\"", Some("a.png")),
        (
            "filename=\"my name.png\"; name=\"file\"",
            Some("my name.png"),
        ),
        (
            "filename=\"name=x; name.png\"; name=\"file\"",
            Some("name=x; name.png"),
        ),
        ("filename=\"name=x\"; name=\"file\"", Some("name=x")),
        ("Name=\"file\"; FileName=\"a.png\"", Some("a.png")),
        ("NAME=file;FILENAME=a.png", Some("a.png")),
        (
            "name = \"file\" ; filename = my cat.png",
            Some("my cat.png"),
        ),
        (
            "name=\"file\"; filename=\"gatão 🐱.png\"",
            Some("gatão 🐱.png"),
        ),
        (
            "name=\"file\"; filename*=UTF-8''gat%C3%A3o%20%F0%9F%90%B1.png",
            Some("gatão 🐱.png"),
        ),
        (
            "filename*=utf-8'en'a.png; filename=\"b.png\"; name=\"file\"",
            Some("a.png"),
        ),
        (
            "name=\"file\"; filename=\"=?utf-8?B?Z2F0bw==?=\"; filename*=UTF-8''gato",
            Some("gato"),
        ),
        (
            "name*=UTF-8''file; filename*0=\"a\"; filename*1=.png",
            Some("a.png"),
        ),
        ("name=\"file\"; filename=\"a\\\"b.png\"", Some("a\"b.png")),
        // A browser writes quotes so, and the Python service gave them back so.
        ("name=\"file\"; filename=\"a%22b.png\"", Some("a%22b.png")),
        ("name=\"file\"; filename=\"C:\\cats\\a.png\"", Some("a.png")),
        ("name=\"file\"; filename=\"\"", None),
        ("name=\"file\"", None),
    ] {
        let head = format!("Content-Disposition: form-data; {disposition}");
        let answer = post(&mut client, FORM, &form(&[(head.as_bytes(), b"hi")]));
        let mut expected = json!({ "file": { "bytes": 2 } });
        if let Some(name) = name {
            expected["name"] = json!(name);
        }
        assert_eq!(seen(&answer), expected, "{disposition}");
    }
    let latin1 = b"Content-Disposition: form-data; name=\"file\"; filename=\"gat\xe3o.png\"";
    let answer = post(&mut client, FORM, &form(&[(latin1, b"hi")]));
    assert_eq!(seen(&answer)["name"], "gatão.png");
    let typed = b"content-type:image/png\r\nContent-Disposition:\r\n form-data;name=file";
    let answer = post(&mut client, FORM, &form(&[(typed, b"hi")]));
    assert_eq!(seen(&answer)["type"], "image/png");
}

#[test]
fn boundaries_need_no_quotes_and_do_not_end_a_file() {
    let mut client = client();
    let head = "Content-Disposition: form-data; name=\"file\"";
    for boundary in [
        "----=_Part_0_12.34",
        "a/b:c=d?e",
        "(x),'y'+_-.",
        "b",
        &"long".repeat(50),
    ] {
        // A line that begins as the boundary does, also as the first of the file.
        let data = format!("--{boundary}\r\n--{boundary}more\r\n--{boundary}-");
        let form = format!(
            "preamble\r\n--{boundary} \r\n{head}\r\n\r\n{data}\r\n--{boundary}--\r\nepilogue"
        );
        for content_type in [
            format!("multipart/form-data; boundary={boundary}"),
            format!("Multipart/Form-Data;charset=UTF-8;BOUNDARY=\"{boundary}\"; a=b"),
        ] {
            let answer = post(&mut client, &content_type, form.as_bytes());
            let expected = json!({ "file": { "bytes": data.len() } });
            assert_eq!(seen(&answer), expected, "{content_type}");
        }
    }
    for (content_type, body, wanted) in [
        ("multipart/form-data", "--b--", "no boundary"),
        (FORM, "hello", "is not in it"),
        (
            FORM,
            "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n",
            "breaks off",
        ),
        (FORM, "--b\r\nhello\r\n--b--", "no blank line"),
    ] {
        let answer = post(&mut client, content_type, body.as_bytes());
        refused(&answer, 400, "malformed_multipart", wanted);
    }
}

#[test]
fn texts_of_a_form_are_read_in_the_encoding_that_they_are_in() {
    let mut client = client();
    let plain: &[u8] = b"Content-Disposition: form-data; name=labels";
    let said = |charset: &str| -> Vec<u8> {
        let head = "Content-Disposition: form-data; name=labels\r\nContent-Type: text/plain";
        format!("{head}; charset={charset}").into_bytes()
    };
    let of_form: &[u8] = b"Content-Disposition: form-data; name=\"_charset_\"";
    let latin1: &[u8] = b"a\xe7\xe3o,c\xe3o";
    let utf8 = "ação,cão".as_bytes();
    let utf16: Vec<u8> = "ação,cão"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let utf32: Vec<u8> = "ação,cão"
        .chars()
        .flat_map(|char| u32::from(char).to_le_bytes())
        .collect();
    let utf32_big: Vec<u8> = "ação,cão"
        .chars()
        .flat_map(|char| u32::from(char).to_be_bytes())
        .collect();
    let koi8: &[u8] = b"\xcb\xcf\xd4";
    for (parts, expected) in [
        (vec![(plain, utf8)], &["ação", "cão"][..]),
        (vec![(plain, latin1)], &["ação", "cão"]),
        (vec![(&said("ISO-8859-1"), latin1)], &["ação", "cão"]),
        (vec![(&said("\"iso-8859-1\""), latin1)], &["ação", "cão"]),
        (vec![(&said("utf-8"), utf8)], &["ação", "cão"]),
        (vec![(&said("us-ascii"), utf8)], &["ação", "cão"]),
        (vec![(&said("unheard-of"), utf8)], &["ação", "cão"]),
        (vec![(&said("utf-16le"), &utf16)], &["ação", "cão"]),
        (vec![(&said("utf-32"), &utf32)], &["ação", "cão"]),
        (vec![(&said("utf_32_le"), &utf32)], &["ação", "cão"]),
        (vec![(&said("UTF-32BE"), &utf32_big)], &["ação", "cão"]),
        (
            vec![(of_form, b"utf-32"), (plain, &utf32)],
            &["ação", "cão"],
        ),
        (vec![(&said("latin-1"), latin1)], &["ação", "cão"]),
        (vec![(&said("utf_8"), utf8)], &["ação", "cão"]),
        // In each of them ASCII is itself.
        (vec![(&said("cp437"), b"cat,dog")], &["cat", "dog"]),
        (vec![(&said("KOI8-R"), koi8)], &["кот"]),
        (vec![(of_form, b"koi8-r"), (plain, koi8)], &["кот"]),
        (vec![(plain, koi8), (of_form, b"koi8-r")], &["кот"]),
        (
            vec![(of_form, b"koi8-r"), (&said("utf-8"), utf8)],
            &["ação", "cão"],
        ),
        (
            vec![(of_form, b"iso-8859-1"), (plain, latin1)],
            &["ação", "cão"],
        ),
    ] {
        let answer = post(&mut client, FORM, &form(&parts));
        assert_eq!(seen(&answer), json!({ "labels": expected }), "{parts:?}");
    }
    let of_request = "multipart/form-data; boundary=b; charset=koi8-r";
    let answer = post(&mut client, of_request, &form(&[(plain, koi8)]));
    assert_eq!(seen(&answer), json!({ "labels": ["кот"] }));
}

#[test]
fn a_text_in_a_charset_that_is_not_read_is_refused_by_name() {
    let mut client = client();
    let plain: &[u8] = b"Content-Disposition: form-data; name=labels";
    let of_form: &[u8] = b"Content-Disposition: form-data; name=\"_charset_\"";
    for (charset, text, why) in [
        ("cp437", &b"a\x87\xc6o"[..], "which is not read here"),
        ("IBM437", b"a\x87\xc6o", "which is not read here"),
        ("cp037", b"\x83\x81\xa3", "which is not read here"),
        ("utf-7", b"a+AOcA4w-o", "which is not read here"),
        (
            "iso-2022-kr",
            b"\x1b$)C\x0e3*\x0f",
            "which is not read here",
        ),
        ("ucs-4", b"\0\0\0a", "which is not read here"),
        ("UTF-32LE", b"a\0\0\0b", "and is not in it"),
        ("UTF-16LE", b"a\0b", "and is not in it"),
    ] {
        let said = format!(
            "Content-Disposition: form-data; name=labels\r\nContent-Type: text/plain; \
             charset={charset}"
        );
        let wanted =
            format!("labels: said to be in the charset \"{charset}\", {why}: send it in UTF-8");
        let of_part = form(&[(said.as_bytes(), text)]);
        refused(
            &post(&mut client, FORM, &of_part),
            422,
            "invalid_field",
            &wanted,
        );
        let by_field = form(&[(plain, text), (of_form, charset.as_bytes())]);
        refused(
            &post(&mut client, FORM, &by_field),
            422,
            "invalid_field",
            &wanted,
        );
        let of_request = format!("{FORM}; charset={charset}");
        let answer = post(&mut client, &of_request, &form(&[(plain, text)]));
        refused(&answer, 422, "invalid_field", &wanted);
    }
    // Only of what is read as text.
    let file: &[u8] = b"Content-Disposition: form-data; name=file; filename=a\r\n\
        Content-Type: text/plain; charset=cp437";
    let answer = post(&mut client, FORM, &form(&[(file, b"a\x87")]));
    assert_eq!(seen(&answer)["file"], json!({ "bytes": 2 }));
    let other: &[u8] = b"Content-Disposition: form-data; name=other\r\n\
        Content-Type: text/plain; charset=cp437";
    let answer = post(&mut client, FORM, &form(&[(other, b"a\x87")]));
    assert_eq!(answer.status, 200);
    // JSON is in UTF, whatever is said; what is in none is read as it is said to be.
    let latin1 = b"{\"theme\": \"a\xe7\xe3o\"}";
    for charset in ["ISO-8859-1", "latin-1", "windows-1252"] {
        let json = format!("application/json; charset={charset}");
        assert_eq!(
            seen(&post(&mut client, &json, latin1)),
            json!({ "theme": "ação" })
        );
        let utf8 = "{\"theme\": \"ação\"}".as_bytes();
        assert_eq!(
            seen(&post(&mut client, &json, utf8)),
            json!({ "theme": "ação" })
        );
    }
    for charset in ["cp437", "UTF-8", "UTF-32LE"] {
        let json = format!("application/json; charset={charset}");
        let answer = post(&mut client, &json, latin1);
        let wanted = format!("said to be in the charset \"{charset}\"");
        refused(&answer, 400, "malformed_json", &wanted);
    }
}

#[test]
fn a_byte_order_mark_before_a_list_is_no_part_of_it() {
    let mut client = client();
    let head: &[u8] = b"Content-Disposition: form-data; name=labels";
    for text in ["[\"cat\",\"dog\"]", "cat,dog"] {
        let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let marked = format!("\u{feff}{text}");
            marked.encode_utf16().flat_map(bytes).collect()
        };
        let utf32: Vec<u8> = format!("\u{feff}{text}")
            .chars()
            .flat_map(|char| u32::from(char).to_le_bytes())
            .collect();
        for data in [
            format!("\u{feff}{text}").into_bytes(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
            utf32,
        ] {
            let answer = post(&mut client, FORM, &form(&[(head, &data)]));
            assert_eq!(
                seen(&answer),
                json!({ "labels": ["cat", "dog"] }),
                "{data:?}"
            );
        }
        let answer = client.post_json("/t", &json!({ "labels": format!("\u{feff}{text}") }));
        assert_eq!(seen(&answer), json!({ "labels": ["cat", "dog"] }), "{text}");
    }
}

#[test]
fn json_is_read_in_every_encoding_and_under_every_name_of_it() {
    let mut client = client();
    let text = "{\"theme\": \"ação 🐱\"}";
    let expected = json!({ "theme": "ação 🐱" });
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16_big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let utf32: Vec<u8> = text
        .chars()
        .flat_map(|char| u32::from(char).to_le_bytes())
        .collect();
    let marked = |mark: &[u8], body: &[u8]| [mark, body].concat();
    for body in [
        text.as_bytes().to_vec(),
        marked(b"\xef\xbb\xbf", text.as_bytes()),
        marked(b"\xff\xfe", &utf16),
        marked(b"\xfe\xff", &utf16_big),
        utf16,
        utf16_big,
        marked(b"\xff\xfe\0\0", &utf32),
        utf32,
    ] {
        for content_type in [
            "application/json",
            "application/vnd.api+json",
            "Application/Problem+JSON; charset=utf-8",
        ] {
            let answer = post(&mut client, content_type, &body);
            assert_eq!(seen(&answer), expected, "{content_type} {body:?}");
        }
    }
    for (content_type, body, status, code) in [
        ("application/json", &b"\xff\xfe{"[..], 400, "malformed_json"),
        (
            "application/json",
            b"{\"theme\": \"\xe7\"}",
            400,
            "malformed_json",
        ),
        ("application/json", b"\xef\xbb\xbf", 400, "malformed_json"),
        ("application/jsonp", b"{}", 415, "unsupported_body"),
        ("text/plain", b"{}", 415, "unsupported_body"),
        // What a page of another site may send without asking.
        ("", b"{}", 415, "unsupported_body"),
        ("", b"\xef\xbb\xbf{}", 415, "unsupported_body"),
        (
            "application/x-www-form-urlencoded",
            b"{}",
            415,
            "unsupported_body",
        ),
    ] {
        let answer = post(&mut client, content_type, body);
        refused(&answer, status, code, "the request body");
    }
    let twice = marked(b"\xef\xbb\xbf", b"{\"theme\": \"a\", \"theme\": \"b\"}");
    let answer = post(&mut client, "application/json", &twice);
    refused(&answer, 422, "repeated_field", "\"theme\" is given twice");
}

#[test]
fn files_in_json_are_taken_in_every_form_of_base64() {
    let mut client = client();
    for (text, bytes) in [
        ("+/+/+w==", 4),
        ("-_-_-w==", 4),
        ("-_-_-w", 4),
        ("+/+/+w", 4),
        (" +/+/\r\n+w==\n", 4),
        ("data:image/png;base64,+/+/\r\n+w==", 4),
        (" data:image/png;base64,-_-_-w", 4),
        ("data:image/png;base64,%2B%2f%2B/%2Bw%3D%3d", 4),
    ] {
        let answer = client.post_json("/t", &json!({ "file": text }));
        let seen = seen(&answer);
        assert_eq!(seen["file"], json!({ "bytes": bytes }), "{text}");
        let is_url = text.contains("data:");
        assert_eq!(seen["type"] == "image/png", is_url, "{text}");
    }
    for (text, wanted) in [
        (
            "http://a/b.png",
            "file: not base64: found ':', expected base64 or a data: URL of it",
        ),
        ("a", "file: not base64: it is cut off"),
        ("aGk=aGk=", "file: not base64: found = before its end"),
        ("data:image/png;base64,a!", "file: not base64: found '!'"),
    ] {
        let answer = client.post_json("/t", &json!({ "file": text }));
        refused(&answer, 422, "invalid_field", wanted);
    }
}

#[test]
fn a_compressed_body_is_refused_and_told_what_is_taken() {
    let mut client = client();
    for encoding in ["gzip", "deflate", "br", "zstd", "identity, gzip"] {
        for content_type in ["application/json", FORM] {
            let headers = [
                ("Content-Type", content_type),
                ("Content-Encoding", encoding),
            ];
            let answer = client
                .send("POST", "/t", &headers, b"\x1f\x8b\x08\0")
                .unwrap();
            refused(
                &answer,
                415,
                "unsupported_encoding",
                "without Content-Encoding",
            );
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
    for encoding in ["identity", ""] {
        let headers = [
            ("Content-Type", "application/json"),
            ("Content-Encoding", encoding),
        ];
        let answer = client
            .send("POST", "/t", &headers, b"{\"theme\": \"a\"}")
            .unwrap();
        assert_eq!(seen(&answer), json!({ "theme": "a" }));
        assert_eq!(answer.header("accept-encoding"), None);
    }
}

/// The same through the program and its own pipeline.
#[test]
fn a_picture_is_classified_however_it_is_sent() {
    let server = Server::start();
    let mut client = server.client();
    let data = picture("lossy.webp");
    let file: &[u8] = b"Content-Disposition: form-data; filename=\"name=x; name.webp\"; \
        Name=\"file\"\r\nContent-Type: image/webp";
    let extended: &[u8] = b"Content-Disposition: form-data; name=file; \
        filename*=UTF-8''gat%C3%A3o.webp\r\nContent-Type: image/webp";
    let labels: &[u8] = b"Content-Disposition: form-data; name=labels\r\n\
        Content-Type: text/plain; charset=ISO-8859-1";
    for (file, name) in [(file, "name=x; name.webp"), (extended, "gatão.webp")] {
        let body = form(&[(file, &data), (labels, b"a\xe7\xe3o,c\xe3o")]);
        let headers = [("Content-Type", FORM)];
        let answer = client.send("POST", "/classify", &headers, &body).unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{text}");
        let answer = answer.json();
        assert_eq!(answer["filename"], name);
        assert_eq!(answer["labels"], json!(["ação", "cão"]));
    }
}

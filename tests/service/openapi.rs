//! `/openapi.json` is true: what is answered is in it, in the form that it says, plugins included.
//! `tests/openapi/check.sh` asks thousands of times more.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use super::schema::faults;
use crate::plugins::{allowed, compile};
use crate::support::http::{Answer, Client, Part};
use crate::support::program::{Server, Settings, picture, root};

const COLOURS: &str = "plugins/examples/dominant-colours/dominant_colours.c";
const KEY: &str = "key-of-the-bot-0123456789";
const ADMIN: &str = "key-of-the-admins-0123456789";

fn document(server: &Server) -> Json {
    server.client().get("/openapi.json").fine()
}

fn resolved<'d>(document: &'d Json, value: &'d Json) -> &'d Json {
    match value.get("$ref").and_then(Json::as_str) {
        Some(path) => document.pointer(path.strip_prefix('#').unwrap()).unwrap(),
        None => value,
    }
}

/// Checks that an answer is one that the document knows of that operation.
#[track_caller]
fn is_told(document: &Json, (method, path): (&str, &str), answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let operation = &document["paths"][path][method];
    assert!(operation.is_object(), "{method} {path}");
    let status = answer.status.to_string();
    let told = operation["responses"].get(&status);
    let told = told.unwrap_or_else(|| panic!("{method} {path}: no {status}: {text}"));
    let told = resolved(document, told);
    for (name, header) in told["headers"].as_object().unwrap() {
        if resolved(document, header)["required"] == true {
            assert!(answer.header(name).is_some(), "{method} {path}: no {name}");
        }
    }
    let found = answer.header("content-type").unwrap();
    let essence = found.split(';').next().unwrap();
    let content = &told["content"][essence];
    assert!(content.is_object(), "{method} {path}: {found}");
    if essence == "application/json" {
        let schema = &content["schema"];
        let faults = faults(document, schema, &answer.json());
        assert!(faults.is_empty(), "{method} {path}: {faults:#?} in {text}");
    }
}

/// Every way to ask for something that a server has.
fn ask_all(client: &mut Client, document: &Json, pictures: &[Vec<u8>]) {
    let mut seen = BTreeSet::new();
    for picture in pictures {
        let form = [
            file(picture),
            Part::Text("labels", "a cat,a dog"),
            Part::Text("theme", "pets"),
        ];
        let answer = client.post_form("/classify", &form);
        is_told(document, ("post", "/classify"), &answer);
        seen.insert(answer.status);
    }
    assert!(seen.contains(&200) && seen.contains(&422), "{seen:?}");
    let example = &document["paths"]["/classify"]["post"]["requestBody"]["content"]["application/json"]
        ["example"];
    let answer = client.post_json("/classify", example);
    assert_eq!(answer.status, 200, "{}", answer.json());
    is_told(document, ("post", "/classify"), &answer);
    for (path, body) in [
        ("/classify", json!({})),
        ("/classify", json!({ "file": "" })),
        ("/classify", json!({ "file": "????" })),
        (
            "/classify",
            json!({ "file": "data:text/plain;base64,AAAA" }),
        ),
        (
            "/feedback",
            json!({ "image_hash": "ab".repeat(32), "theme": "pets" }),
        ),
        ("/feedback", json!({ "image_hash": "ab", "theme": "pets" })),
        (
            "/feedback",
            json!({ "image_hash": null, "theme": "x".repeat(200) }),
        ),
    ] {
        let answer = client.post_json(path, &body);
        is_told(document, ("post", path), &answer);
    }
    for (content_type, body) in [
        ("application/json", &b"{"[..]),
        ("application/json", b"[]"),
        ("application/json", b"{\"a\": 1, \"a\": 2}"),
        ("text/plain", b"a"),
        ("application/x-www-form-urlencoded", b"theme=a"),
        ("multipart/form-data; boundary=x", b"--y"),
    ] {
        let headers = [("Content-Type", content_type)];
        let answer = client.send("POST", "/classify", &headers, body).unwrap();
        assert!((400..500).contains(&answer.status), "{content_type}");
        is_told(document, ("post", "/classify"), &answer);
    }
    let paths = document["paths"].as_object().unwrap();
    for (path, item) in paths {
        if item["get"].is_object() && !path.contains('{') {
            let answer = client.get(path);
            is_told(document, ("get", path), &answer);
            let foreign = [("Origin", "http://evil.example")];
            let answer = client.send("GET", path, &foreign, b"").unwrap();
            assert_eq!(answer.status, 403, "{path}");
            is_told(document, ("get", path), &answer);
        }
    }
}

#[test]
fn every_answer_is_one_that_the_document_knows() {
    let server = Server::start();
    server.ready();
    let document = document(&server);
    assert_eq!(document["openapi"], "3.1.0");
    let names: BTreeSet<&str> = document["paths"]["/classify"]["post"]["responses"]["200"]
        ["content"]["application/json"]["schema"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        // Only where a request asks for it.
        .filter(|name| *name != "trace")
        .collect();
    let pictures: Vec<Vec<u8>> = [
        "wide.png",
        "gray.jpg",
        "empty.png",
        "bomb.png",
        "drawing.svg",
    ]
    .map(picture)
    .into();
    let mut client = server.client();
    ask_all(&mut client, &document, &pictures);
    // No field is missing in it, and none too many.
    let answer = client.post_form("/classify", &[file(&pictures[0])]).fine();
    let fields: BTreeSet<&str> = answer
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(fields, names);
    // What nobody asks for is in it neither: names of files, and what files say to their authors.
    let text = document.to_string();
    let data = server.data().folder().display().to_string();
    for hidden in [".toml", &*data, "The main pipeline"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
}

#[test]
fn a_pipeline_with_a_plugin_is_in_it_and_goes_with_its_file() {
    let folder = TempDir::new().unwrap();
    let libraries = folder.path().join("lib");
    std::fs::create_dir(&libraries).unwrap();
    let library = compile(COLOURS, &[], &libraries, "colours.so");
    let look = std::fs::read_to_string(root().join("tests/openapi/look.toml")).unwrap();
    let path = folder.path().join("look.toml");
    std::fs::write(&path, format!("{}{look}", allowed(&library))).unwrap();
    let server = Server::of(folder.path(), &[]);
    let document_before = document(&server);
    let look = &document_before["paths"]["/look/{room}"]["post"];
    let answer = &look["responses"]["200"]["content"]["application/json"]["schema"];
    let colours = &answer["properties"]["dominant_colours"];
    assert!(colours["description"].is_string(), "{answer}");
    let places: Vec<_> = look["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["in"].as_str().unwrap()))
        .collect();
    let expected = [
        ("room", "path"),
        ("page", "query"),
        ("trace", "query"),
        ("X-Trace", "header"),
    ];
    assert_eq!(places, expected);
    let mut client = server.client();
    let data = picture("wide.png");
    for (path, parts) in [
        ("/look/a%20b?page=3", vec![file(&data)]),
        (
            "/look/a",
            vec![
                file(&data),
                Part::Text("words", "a"),
                Part::Text("words", "b"),
            ],
        ),
        ("/look/a", vec![Part::Text("title", "none")]),
        ("/look/a", vec![file(&data), Part::Text("share", "2")]),
        ("/look/a?page=x", vec![file(&data)]),
    ] {
        let answer = client.post_form(path, &parts);
        is_told(&document_before, ("post", "/look/{room}"), &answer);
    }
    // Another file, another document, and one answer tells that it is there.
    let other = "[pipeline]\nname = \"other\"\nroute = \"POST /other\"\n\
                 description = \"Names a file.\\n\\nBy its digest.\"\n[request]\n\
                 file = { type = \"bytes\", required = true }\n[[stage]]\nuses = \"hash\"\n";
    std::fs::write(&path, other).unwrap();
    assert_eq!(client.post_json("/admin/reload", &json!({})).status, 200);
    let after = document(&server);
    assert_eq!(after["paths"]["/look/{room}"], Json::Null);
    let other = &after["paths"]["/other"]["post"];
    assert_eq!(other["summary"], "Names a file.");
    let more = other["description"].as_str().unwrap();
    assert!(more.starts_with("By its digest.\n\n"), "{more}");
}

#[test]
fn who_needs_a_key_is_told_and_the_page_is_shown_without_one() {
    let server = Server::start_with(&Settings {
        environment: &[("OMNIZAP_API_KEYS", KEY), ("OMNIZAP_ADMIN_KEYS", ADMIN)],
        ..Settings::default()
    });
    let mut client = server.client();
    let refused = client.get("/openapi.json");
    assert_eq!(refused.status, 401);
    let answer = client
        .send("GET", "/openapi.json", &[("X-Api-Key", KEY)], b"")
        .unwrap();
    let document = answer.fine();
    is_told(&document, ("get", "/openapi.json"), &refused);
    let text = document.to_string();
    assert!(!text.contains(KEY) && !text.contains(ADMIN));
    let wanted = |method: &str, path: &str| {
        let operation = &document["paths"][path][method];
        let all = operation.get("security").unwrap_or(&document["security"]);
        let all = all.as_array().unwrap().iter();
        let names = all.flat_map(|one| one.as_object().unwrap().keys().cloned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(wanted("post", "/classify"), ["apiKey", "bearer"]);
    assert_eq!(wanted("get", "/health/live"), [""; 0]);
    assert_eq!(wanted("post", "/admin/reload"), ["adminKey", "adminBearer"]);
    let answer = client.post_json("/classify", &json!({}));
    assert_eq!(answer.status, 401);
    is_told(&document, ("post", "/classify"), &answer);
    // What an API key opens is not what is for administrators.
    let answer = client
        .send("GET", "/admin/pipelines", &[("X-Api-Key", KEY)], b"")
        .unwrap();
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (403, Some("admin_key_required"))
    );
    is_told(&document, ("get", "/admin/pipelines"), &answer);

    for (path, kind) in [
        ("/docs", "text/html"),
        ("/docs/docs.css", "text/css"),
        ("/docs/docs.js", "text/javascript"),
    ] {
        let answer = client.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with(kind));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    // Links in the page lead to what there is.
    let page = String::from_utf8(client.get("/docs").body).unwrap();
    for link in page.split("=\"/").skip(1) {
        let path = format!("/{}", link.split('"').next().unwrap());
        let answer = client
            .send("GET", &path, &[("X-Api-Key", KEY)], b"")
            .unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
}

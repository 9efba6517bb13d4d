//! The stage `embed-text`: a text's vector over HTTP, in the space of the pictures.

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use crate::support::http::Part;
use crate::support::program::{Server, Settings, omnizap, picture};

const EMBED_TEXT: &str = r#"
[pipeline]
name = "embed-text"
route = "POST /embed-text"
[request]
text = { type = "text", required = true }
[[stage]]
uses = "embed-text"
publish = { embedding = "embedding" }
"#;

const EMBED_CUT: &str = r#"
[pipeline]
name = "embed-cut"
route = "POST /embed-cut"
[request]
text = { type = "text", required = true, max_chars = 100_000 }
[[stage]]
uses = "embed-text"
with = { long_text = "cut" }
publish = { embedding = "embedding" }
"#;

const EMBED_PICTURE: &str = r#"
[pipeline]
name = "embed-picture"
route = "POST /embed-picture"
[request]
file = { type = "bytes", required = true }
labels = { type = "text_list" }
[[stage]]
uses = "decode"
[[stage]]
uses = "embed"
publish = { embedding = "embedding" }
[[stage]]
uses = "score"
with = { templates = "none", keep_default_labels = false }
[[stage]]
uses = "rank"
"#;

/// A server of these pipelines.
fn serve(pipelines: &[(&str, &str)]) -> (Server, TempDir) {
    let folder = TempDir::new().unwrap();
    for (name, text) in pipelines {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        ..Settings::default()
    });
    (server, folder)
}

fn vector(answer: &Json) -> Vec<f64> {
    let numbers = answer["embedding"]["vector"].as_array();
    let numbers = numbers.unwrap_or_else(|| panic!("no vector: {answer}"));
    numbers.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "of one space");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn a_text_is_a_vector_in_the_space_of_the_pictures() {
    let (server, _folder) = serve(&[("text.toml", EMBED_TEXT), ("picture.toml", EMBED_PICTURE)]);
    let mut client = server.client();
    let mut embed = |text: &str| {
        let answer = client.post_json("/embed-text", &json!({ "text": text }));
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    };
    let cat = embed("a cat");
    assert_eq!(cat["model"], "omnizap-mini");
    assert_eq!(cat["device"], "cpu");
    assert!((dot(&vector(&cat), &vector(&cat)) - 1.0).abs() < 1e-4);
    assert_eq!(embed("a cat"), cat, "the same text twice");
    let dog = embed("a dog");
    let chart = embed("a bar chart");
    assert_ne!(vector(&dog), vector(&cat));

    // What `score` makes of the same words is their cosine with the picture, on one scale.
    let data = picture("lossy.webp");
    let labels = Part::Text("labels", "a cat,a dog,a bar chart");
    let answer = server
        .client()
        .post_form("/embed-picture", &[file(&data), labels])
        .json();
    assert_eq!(answer["embedding"]["model"], cat["embedding"]["model"]);
    let seen = vector(&answer);
    let cosine = |text: &Json| dot(&seen, &vector(text));
    let logit = |label: &str| answer["raw_logits"][label].as_f64().unwrap();
    let scale = (logit("a cat") - logit("a bar chart")) / (cosine(&cat) - cosine(&chart));
    let expected = scale * (cosine(&dog) - cosine(&chart));
    let found = logit("a dog") - logit("a bar chart");
    assert!((found - expected).abs() < 1e-2, "{found} and {expected}");
}

#[test]
fn a_text_that_is_no_use_is_refused_with_field_and_stage() {
    let (server, _folder) = serve(&[("text.toml", EMBED_TEXT), ("cut.toml", EMBED_CUT)]);
    let mut client = server.client();
    let long = "a ".repeat(99);
    let refused = client.post_json("/embed-text", &json!({ "text": format!("{long}x") }));
    let error = refused.json();
    assert_eq!(
        (refused.status, &error["code"], &error["stage"]),
        (422, &json!("text_too_long"), &json!("embed-text")),
        "{error}"
    );
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.starts_with("text: "), "{detail}");
    for nothing in [json!({ "text": " \t" }), json!({})] {
        let refused = client.post_json("/embed-text", &nothing);
        let error = refused.json();
        assert_eq!(refused.status, 422, "{error}");
        assert!(
            error["detail"].as_str().unwrap().contains("text"),
            "{error}"
        );
    }

    let mut cut = |text: &str| {
        let answer = client.post_json("/embed-cut", &json!({ "text": text }));
        assert_eq!(answer.status, 200, "{}", answer.json());
        vector(&answer.json())
    };
    let whole = cut(&long);
    assert_eq!(cut(&format!("{long}x")), whole, "its end is not read");
    assert_eq!(cut(&"a ".repeat(40_000)), whole);
}

#[test]
fn check_finds_a_model_that_is_not_there() {
    let folder = TempDir::new().unwrap();
    for (options, wanted) in [
        (r#"{ model = "MobileCLIP-S7" }"#, "did you mean"),
        (r#"{ pretrained = "datacompdr" }"#, "without a model name"),
        (
            r#"{ model = "MobileCLIP-S1", pretrained = "/nonexistent/s1.pt" }"#,
            "/nonexistent/s1.pt",
        ),
    ] {
        let text = format!("{EMBED_TEXT}with = {options}\n");
        std::fs::write(folder.path().join("text.toml"), text).unwrap();
        let checked = omnizap(folder.path())
            .args(["check", "--pipelines"])
            .arg(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(78), "{said}");
        assert!(said.contains(wanted), "{options}: {said}");
    }
}

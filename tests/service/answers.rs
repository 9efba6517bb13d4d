//! What the service answers: the fields of the classification contract, and the
//! routes that clients of the Python service know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::database::Data;
use crate::support::http::{Client, Part};
use crate::support::program::{Server, Settings, picture, root};
use serde_json::{Value as Json, json};

/// A field of an answer, and whether a value fits it.
type Field = (&'static str, fn(&Json) -> bool);

/// Every field of an answer to `POST /classify`, with the type of its value.
pub(super) const FIELDS: [Field; 30] = [
    ("category", Json::is_string),
    ("confidence", Json::is_f64),
    ("all_scores", Json::is_object),
    ("raw_logits", Json::is_object),
    ("top_labels", Json::is_array),
    ("entropy", Json::is_f64),
    ("entropy_top_k", Json::is_f64),
    ("entropy_normalized", Json::is_f64),
    ("confidence_margin", Json::is_f64),
    ("nsfw_score", Json::is_f64),
    ("is_nsfw", Json::is_boolean),
    ("nsfw_classes", Json::is_object),
    ("ambiguous", Json::is_boolean),
    ("no_match", Json::is_boolean),
    ("affinity_weight", Json::is_f64),
    ("affinity_weight_raw", Json::is_f64),
    ("llm_expansion_used", Json::is_boolean),
    ("llm_expansion_gate_reason", Json::is_string),
    ("llm_expansion", Json::is_object),
    ("similar_images", Json::is_array),
    ("similar_complete", Json::is_boolean),
    ("image_hash", Json::is_string),
    ("model", Json::is_string),
    ("device", Json::is_string),
    ("frame", Json::is_u64),
    ("frames_seen", Json::is_u64),
    ("labels", Json::is_array),
    ("filename", Json::is_string),
    ("content_type", Json::is_string),
    ("llm_expansion", |value| {
        let lists = ["subtags", "style_traits", "emotions", "pack_suggestions"];
        lists.iter().all(|list| value[*list].is_array())
    }),
];

#[track_caller]
pub(super) fn assert_shape(answer: &Json) {
    for (field, fits) in FIELDS {
        let value = answer
            .get(field)
            .unwrap_or_else(|| panic!("no `{field}` in {answer}"));
        assert!(fits(value), "`{field}` is {value}");
    }
}

pub(super) fn file(data: &[u8]) -> Part<'_> {
    Part::File {
        name: "file",
        filename: "a picture.webp",
        content_type: "image/webp",
        data,
    }
}

/// Waits until what is written behind the answers is written.
fn settle(client: &mut Client) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let health = client.get("/health").json();
        if health["images_waiting"] == 0 && health["images_indexed"] != 0 {
            return;
        }
        assert!(Instant::now() < deadline, "nothing was written: {health}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The temperature of the built-in model's answers to so many labels.
fn temperature(labels: usize) -> f64 {
    let manifest = root().join("models/embedded/omnizap-mini.json");
    let manifest: Json = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    let constants = &manifest["confidence"]["temperature"];
    let constant = |name: &str| constants[name].as_f64().unwrap();
    constant("base") + constant("per_ln_label") * (labels as f64).ln()
}

#[track_caller]
fn assert_softmax(logits: &[f64], scores: &[f64], temperature: f64) {
    let largest = logits.iter().copied().fold(f64::MIN, f64::max);
    let weight = |logit: &f64| ((logit - largest) / temperature).exp();
    let total: f64 = logits.iter().map(weight).sum();
    for (logit, score) in logits.iter().zip(scores) {
        let expected = weight(logit) / total;
        assert!((expected - score).abs() < 2e-6, "{logits:?}, {scores:?}");
    }
}

#[test]
fn the_compat_set_answers_with_the_plain_softmax() {
    let server = Server::start_with(&Settings {
        pipelines: Some(std::path::Path::new("pipelines/compat")),
        ..Settings::default()
    });
    let data = picture("lossy.webp");
    let parts = [
        file(&data),
        Part::Text("labels", "a cat,a dog,a chart,a text"),
    ];
    let answer = server.client().post_form("/classify", &parts).json();
    let (logits, scores) = (&answer["raw_logits"], &answer["all_scores"]);
    let numbers = |of: &Json| -> Vec<f64> {
        let labels = ["a cat", "a dog", "a chart", "a text"];
        labels.map(|label| of[label].as_f64().unwrap()).to_vec()
    };
    assert_softmax(&numbers(logits), &numbers(scores), 1.0);
    assert_eq!(answer["no_match"], Json::Null, "{answer}");
}

#[test]
fn an_answer_has_every_field_of_the_contract_and_its_numbers_agree() {
    let server = Server::start();
    let data = picture("lossy.webp");
    let labels = "a cat, a dog, A CAT ,nsfw content, a chart, , a text";
    let answer = server
        .client()
        .post_form("/classify", &[file(&data), Part::Text("labels", labels)]);
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let answer = answer.json();
    assert_shape(&answer);
    let labels = ["a cat", "a dog", "nsfw content", "a chart", "a text"];
    assert_eq!(
        answer["labels"],
        json!(labels),
        "trimmed, without case only once, the first wins"
    );

    let logits: Vec<f64> = labels
        .iter()
        .map(|label| answer["raw_logits"][label].as_f64().unwrap())
        .collect();
    let scores: Vec<f64> = labels
        .iter()
        .map(|label| answer["all_scores"][label].as_f64().unwrap())
        .collect();
    assert_softmax(&logits, &scores, temperature(labels.len()));
    let entropy: f64 = scores
        .iter()
        .filter(|score| **score > 0.0)
        .map(|score| -score * score.ln())
        .sum();
    assert!(
        (entropy - answer["entropy"].as_f64().unwrap()).abs() < 1e-4,
        "{answer}"
    );
    let mut sorted = scores.clone();
    sorted.sort_by(|left, right| right.total_cmp(left));
    assert_eq!(answer["confidence"].as_f64(), Some(sorted[0]));
    assert!((answer["confidence_margin"].as_f64().unwrap() - (sorted[0] - sorted[1])).abs() < 2e-6);
    let top = answer["top_labels"].as_array().unwrap();
    assert_eq!(top.len(), 5);
    assert_eq!(top[0]["label"], answer["category"]);
    for (entry, score) in top.iter().zip(&sorted) {
        assert_eq!(entry["score"].as_f64(), Some(*score));
        assert_eq!(
            entry["clip_score"].as_f64(),
            Some(*score),
            "no feedback, no change"
        );
    }
    assert_eq!(answer["filename"], "a picture.webp");
    assert_eq!(answer["content_type"], "image/webp");
    assert_eq!(
        (&answer["affinity_weight"], &answer["affinity_weight_raw"]),
        (&json!(0.0), &json!(0.0))
    );
    assert_eq!(answer["llm_expansion_used"], json!(false));
    assert_eq!(answer["llm_expansion_gate_reason"], "no_api_key");
    assert_eq!(answer["image_hash"].as_str().unwrap().len(), 64);
}

#[test]
fn default_labels_and_settings_are_those_of_get_labels() {
    let server = Server::start_with(&Settings {
        environment: &[
            ("CLIP_TOP_K", "3"),
            ("ENTROPY_THRESHOLD", "1.5"),
            ("ENABLE_CLUSTERING", "false"),
        ],
        ..Default::default()
    });
    let mut client = server.client();
    let settings = client.get("/labels").json();
    assert_eq!(settings["ok"], true);
    assert_eq!(
        (&settings["top_k"], &settings["entropy_threshold"]),
        (&json!(3), &json!(1.5))
    );
    assert_eq!(settings["nsfw_threshold"], json!(0.6));
    assert_eq!(settings["nsfw_mode"], "model");
    assert_eq!(settings["nsfw_model"], "nsfwjs-mobilenet-v2-mid");
    assert_eq!(settings["entropy_normalized_threshold"], json!(0.76));
    assert_eq!(settings["adaptive_alpha"], json!(0.4));
    // What works, not what was asked for: the language model has no key.
    let features = json!({
        "embedding_cache": true, "clustering": false, "adaptive_scoring": true, "llm_label_expansion": false,
    });
    assert_eq!(settings["features"], features);
    let off = json!({ "llm_label_expansion": "there is no OPENAI_API_KEY", "clustering": "switched off" });
    assert_eq!(settings["features_off"], off);
    let data = picture("plain.gif");
    let answer = client.post_form("/classify", &[file(&data)]).json();
    assert_eq!(answer["labels"], settings["default_labels"]);
    assert_eq!(answer["top_labels"].as_array().unwrap().len(), 3);
    assert_eq!(answer["similar_images"], json!([]));
    let names: Vec<_> = answer["labels"].as_array().unwrap().iter().collect();
    for name in [
        "anime illustration",
        "video game screenshot",
        "real life photo",
        "cartoon",
        "nsfw content",
    ] {
        assert!(names.contains(&&json!(name)), "clients name {name}");
    }
}

#[test]
fn a_feature_that_can_do_nothing_is_off_and_one_that_can_is_on() {
    let server = Server::start_with(&Settings {
        environment: &[
            ("ADAPTIVE_ALPHA", "0"),
            ("OPENAI_API_KEY", "a key"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:9/"),
        ],
        ..Default::default()
    });
    let settings = server.client().get("/labels").json();
    let features = json!({
        "embedding_cache": true, "clustering": true, "adaptive_scoring": false, "llm_label_expansion": true,
    });
    assert_eq!(settings["features"], features);
    let off = settings["features_off"].as_object().unwrap();
    assert_eq!(off.keys().collect::<Vec<_>>(), ["adaptive_scoring"]);
}

#[test]
fn health_tells_the_model_and_liveness_needs_nothing() {
    let server = Server::start();
    let mut client = server.client();
    let deadline = Instant::now() + Duration::from_secs(30);
    while client.get("/health/ready").status == 503 {
        let health = client.get("/health");
        assert_eq!(
            (health.status, health.json()["ok"].clone()),
            (200, json!(true))
        );
        assert!(Instant::now() < deadline, "an empty store is soon loaded");
        std::thread::sleep(Duration::from_millis(5));
    }
    let health = client.get("/health");
    assert_eq!(health.status, 200);
    let health = health.json();
    assert_eq!(
        (&health["ok"], &health["status"], &health["device"]),
        (&json!(true), &json!("ready"), &json!("cpu"))
    );
    assert!(health["model"].is_string());
    assert_eq!(client.get("/health/live").json(), json!({ "ok": true }));
    let ready = client.get("/health/ready");
    assert_eq!(
        (ready.status, ready.json()["ready"].clone()),
        (200, json!(true))
    );
    let graphs = client.get("/pipelines").json();
    assert_eq!(graphs["pipelines"].as_array().unwrap().len(), 3);
}

#[test]
fn feedback_is_acknowledged_and_moves_the_next_answer() {
    let server = Server::start();
    let mut client = server.client();
    let data = picture("lossless.webp");
    let ask = |client: &mut Client| {
        client
            .post_form(
                "/classify",
                &[
                    file(&data),
                    Part::Text("theme", "animals"),
                    Part::Text("labels", "a cat,a dog,a chart,a text,a logo,a face"),
                ],
            )
            .json()
    };
    let before = ask(&mut client);
    settle(&mut client);
    for _ in 0..5 {
        let feedback =
            json!({ "image_hash": before["image_hash"], "theme": "animals", "accepted": false });
        let answer = client.post_json("/feedback", &feedback);
        assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })));
    }
    let after = ask(&mut client);
    assert_eq!(after["affinity_weight_raw"], json!(0.0));
    assert!(after["affinity_weight"].as_f64().unwrap() < 0.0, "{after}");
    let elsewhere = client
        .post_form("/classify", &[file(&data), Part::Text("theme", "plants")])
        .json();
    assert_eq!(
        elsewhere["affinity_weight"],
        json!(0.0),
        "another theme knows nothing of it"
    );
    for _ in 0..10 {
        let feedback = json!({ "image_hash": before["image_hash"], "theme": "animals" });
        assert_eq!(
            client.post_json("/feedback", &feedback).status,
            200,
            "accepted is the default"
        );
    }
    let accepted = ask(&mut client);
    assert!(
        (accepted["affinity_weight_raw"].as_f64().unwrap() - 10.0 / 15.0).abs() < 1e-5,
        "{accepted}"
    );
}

#[test]
fn acknowledged_feedback_survives_kill_9() {
    let data = Arc::new(Data::new());
    let start = || {
        Server::start_with(&Settings {
            data: Some(data.clone()),
            ..Settings::default()
        })
    };
    let image = picture("palette.png");
    let hash = "cd".repeat(32);
    let mut accepted = 0;
    for round in 0..5 {
        let mut server = start();
        let mut client = server.client();
        for index in 0..10 {
            let fits = (round + index) % 3 != 0;
            let feedback = json!({ "image_hash": hash, "theme": "trees", "accepted": fits });
            assert_eq!(client.post_json("/feedback", &feedback).status, 200);
            accepted += u32::from(fits);
        }
        server.signal("KILL");
        server.wait();
    }
    let parts = [
        file(&image),
        Part::Text("theme", "trees"),
        Part::Text("asset_sha256", &hash),
    ];
    let answer = start().client().post_form("/classify", &parts).json();
    let expected = f64::from(accepted) / 50.0;
    assert_eq!(answer["affinity_weight_raw"], json!(expected), "{answer}");
}

#[test]
fn the_same_picture_again_is_similar_to_none_and_a_near_one_is_found() {
    let server = Server::start();
    let mut client = server.client();
    let (one, other) = (picture("baseline_444.jpg"), picture("progressive_444.jpg"));
    let first = client
        .post_form(
            "/classify",
            &[file(&one), Part::Text("asset_id", "sticker-1")],
        )
        .json();
    assert_eq!(first["similar_images"], json!([]));
    settle(&mut client);
    let again = client.post_form("/classify", &[file(&one)]).json();
    assert_eq!(
        again["similar_images"],
        json!([]),
        "never the picture itself"
    );
    let near = client.post_form("/classify", &[file(&other)]).json();
    let similar = &near["similar_images"][0];
    assert_eq!(
        (&similar["image_hash"], &similar["asset_id"]),
        (&first["image_hash"], &json!("sticker-1")),
        "{near}"
    );
    assert!(similar["similarity"].as_f64().unwrap() >= 0.85);
}

#[test]
fn a_clients_hash_is_only_a_name() {
    let server = Server::start();
    let mut client = server.client();
    let (one, other) = (picture("baseline_444.jpg"), picture("palette.png"));
    let name = "AB".repeat(32);
    let first = client
        .post_form(
            "/classify",
            &[file(&one), Part::Text("asset_sha256", &name)],
        )
        .json();
    assert_eq!(first["image_hash"], json!("ab".repeat(32)));
    settle(&mut client);
    let plain = client.post_form("/classify", &[file(&other)]).json();
    let posing = client
        .post_form(
            "/classify",
            &[file(&other), Part::Text("asset_sha256", &name)],
        )
        .json();
    assert_eq!(
        plain["raw_logits"], posing["raw_logits"],
        "another picture's vector was answered"
    );
    assert_ne!(first["raw_logits"], posing["raw_logits"]);
}

#[test]
fn json_bodies_carry_pictures_in_base64() {
    let server = Server::start();
    let body = json!({ "file": "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "labels": ["a", "b"] });
    let answer = server.client().post_json("/classify", &body);
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert_eq!(answer.json()["labels"], json!(["a", "b"]));
}

#[test]
fn every_answer_carries_a_request_id_and_errors_their_format() {
    let server = Server::start();
    let mut client = server.client();
    let named = client
        .send("GET", "/health", &[("X-Request-Id", "sticker-42")], b"")
        .unwrap();
    assert_eq!(named.header("x-request-id"), Some("sticker-42"));
    let missing = client.get("/clasify");
    assert_eq!(missing.status, 404);
    let error = missing.json();
    assert_eq!(error["code"], "not_found");
    assert!(
        error["detail"]
            .as_str()
            .unwrap()
            .contains("did you mean `/classify`?"),
        "{error}"
    );
    assert_eq!(error["request_id"].as_str(), missing.header("x-request-id"));
    let wrong = client.get("/classify");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    let data = picture("empty.png");
    let failed = client.post_form("/classify", &[file(&data)]);
    let error = failed.json();
    assert_eq!(
        (failed.status, &error["stage"], &error["code"]),
        (422, &json!("decode"), &json!("empty_file"))
    );
}

//! What feedback teaches, over HTTP: whose it is, what it moves, and what moves it not.

use serde_json::{Value as Json, json};

use super::classify;
use crate::support::http::{Client, Part};
use crate::support::program::{Server, Settings, picture, root};

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(root().join("models/embedded/samples").join(name)).unwrap()
}

#[track_caller]
fn give(client: &mut Client, feedback: &Json) {
    let answer = client.post_json("/feedback", feedback);
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{text}");
}

fn judge(client: &mut Client, answer: &Json, theme: &str, accepted: bool) {
    let feedback = json!({
        "image_hash": answer["image_hash"], "theme": theme, "accepted": accepted,
    });
    give(client, &feedback);
}

fn score(answer: &Json, label: &Json) -> f64 {
    answer["all_scores"][label.as_str().unwrap()]
        .as_f64()
        .unwrap()
}

#[test]
fn the_more_a_label_is_judged_the_further_it_moves_and_never_back() {
    let server = Server::start();
    let mut client = server.client();
    // The picture itself, another coding of it, another picture of the same label.
    let (judged, copy) = (picture("baseline_444.jpg"), picture("progressive_444.jpg"));
    let defaults = client.get("/labels").json()["default_labels"].clone();
    let defaults = defaults.to_string();
    for (set, labels) in ["cat,dog", "cat,dog,tiger,bar chart,wink", &defaults]
        .into_iter()
        .enumerate()
    {
        let labels = ("labels", labels);
        let first = classify(&mut client, &judged, &[labels]);
        classify(&mut client, &copy, &[labels]);
        server.settle();
        for accepted in [false, true] {
            let theme = format!("{set} {accepted}");
            let fields = [labels, ("theme", theme.as_str())];
            let mut last: Option<[f64; 2]> = None;
            let mut given = 0;
            for judgements in [0, 1, 2, 3, 10, 30, 100] {
                while given < judgements {
                    judge(&mut client, &first, &theme, accepted);
                    given += 1;
                }
                let now = [&judged, &copy].map(|asked| {
                    let answer = classify(&mut client, asked, &fields);
                    score(&answer, &first["category"])
                });
                for (now, last) in now.iter().zip(last.iter().flatten()) {
                    let gained = if accepted { now - last } else { last - now };
                    assert!(gained >= 0.0, "{theme}, {judgements}: {last} to {now}");
                }
                last = Some(now);
            }
            // And it is far from nothing, however much was said.
            let plain = score(&first, &first["category"]);
            let last = last.unwrap()[0];
            if (0.05..0.95).contains(&plain) {
                assert!((last - plain).abs() > 0.02, "{theme}: {plain} to {last}");
            }
        }
    }
}

#[test]
fn a_look_does_not_change_what_feedback_counts() {
    let labels = ("labels", "hand,cat,bar chart,wink");
    let (judged, asked) = (sample("cat-sticker.webp"), picture("palette.png"));
    let mut counted = Vec::new();
    for looks in [&[][..], &["", "x"], &["x", "y", ""]] {
        let server = Server::start();
        let mut client = server.client();
        // What another theme has learned shows in its answers, and teaches nothing.
        let seen = classify(&mut client, &judged, &[labels]);
        server.settle();
        for _ in 0..3 {
            judge(&mut client, &seen, "x", false);
        }
        for theme in looks {
            classify(&mut client, &judged, &[labels, ("theme", theme)]);
            classify(
                &mut client,
                &judged,
                &[("labels", "spam,zebra crossing"), ("theme", theme)],
            );
        }
        server.settle();
        let said = json!({
            "image_hash": seen["image_hash"], "theme": "y",
            "labels": ["wink", "Hand", "cat", "bar chart"],
        });
        give(&mut client, &said);
        let answer = classify(&mut client, &asked, &[labels, ("theme", "y")]);
        counted.push(answer["all_scores"].clone());
    }
    assert_eq!(counted[0], counted[1]);
    assert_eq!(counted[0], counted[2]);
}

#[test]
fn another_clients_labels_do_not_take_the_credit() {
    let server = Server::start();
    let mut client = server.client();
    let judged = sample("cat-sticker.webp");
    let theirs = ("labels", "spam,zebra crossing");
    let mine = classify(&mut client, &judged, &[("theme", "t")]);
    classify(&mut client, &judged, &[theirs, ("theme", "t")]);
    server.settle();
    judge(&mut client, &mine, "t", true);

    // A picture of which the model is in doubt: what it is certain of hardly moves.
    let doubtful = sample("dog-sticker.webp");
    let plain = classify(&mut client, &doubtful, &[]);
    let moved = classify(&mut client, &doubtful, &[("theme", "t")]);
    let gained = score(&moved, &mine["category"]) / score(&plain, &mine["category"]);
    assert!(gained > 1.05, "{gained}");
    let other = picture("palette.png");
    let plain = classify(&mut client, &other, &[theirs]);
    let same = classify(&mut client, &other, &[theirs, ("theme", "t")]);
    assert_eq!(plain["all_scores"], same["all_scores"]);

    // Who says what it is about gets it.
    let said = json!({
        "image_hash": mine["image_hash"], "theme": "t", "labels": "spam, \"zebra crossing\"",
    });
    give(&mut client, &said);
    let moved = classify(&mut client, &other, &[theirs, ("theme", "t")]);
    assert_ne!(plain["all_scores"], moved["all_scores"]);
}

#[test]
fn a_name_moves_no_feedback_away_from_the_bytes() {
    let server = Server::start();
    let mut client = server.client();
    let (judged, copy) = (picture("baseline_444.jpg"), picture("progressive_444.jpg"));
    let fields = [("labels", "cat,dog,wink,bar chart"), ("theme", "t")];
    let first = classify(&mut client, &judged, &fields);
    classify(&mut client, &copy, &fields);
    server.settle();
    for _ in 0..3 {
        judge(&mut client, &first, "t", true);
    }
    let near = classify(&mut client, &copy, &fields);
    assert_ne!(near["affinity_weight"], json!(0.0));
    let own = classify(&mut client, &judged, &fields);
    let name = "0".repeat(64);
    let named = [fields[0], fields[1], ("asset_sha256", name.as_str())];
    let weight = |answer: &Json| {
        let fields = ["affinity_weight", "affinity_weight_raw", "confidence"];
        fields.map(|field| answer[field].clone())
    };
    for _ in 0..3 {
        let answer = classify(&mut client, &judged, &named);
        assert_eq!(weight(&answer), weight(&own), "named");
        server.settle();
        let answer = classify(&mut client, &copy, &fields);
        assert_eq!(weight(&answer), weight(&near), "to its near copies");
    }
    assert_eq!(
        weight(&classify(&mut client, &judged, &fields)),
        weight(&own)
    );
}

#[test]
fn without_the_embedding_cache_feedback_teaches_all_the_same() {
    let server = Server::start_with(&Settings {
        environment: &[("ENABLE_EMBEDDING_CACHE", "false")],
        ..Settings::default()
    });
    let mut client = server.client();
    let settings = client.get("/labels").json();
    for (feature, works) in [
        ("embedding_cache", false),
        ("clustering", false),
        ("adaptive_scoring", true),
    ] {
        assert_eq!(settings["features"][feature], json!(works), "{feature}");
        assert_eq!(settings["features_off"][feature].is_string(), !works);
    }
    assert_eq!(
        client.get("/health").json()["embeddings_kept"],
        json!(false)
    );
    let judged = classify(&mut client, &sample("cat-sticker.webp"), &[]);
    server.settle();
    judge(&mut client, &judged, "t", true);
    let other = sample("dog-sticker.webp");
    let plain = classify(&mut client, &other, &[]);
    let moved = classify(&mut client, &other, &[("theme", "t")]);
    assert!(score(&moved, &judged["category"]) > score(&plain, &judged["category"]));
    assert_eq!(moved["similar_images"], json!([]));
    let kept = server
        .data()
        .numbers("SELECT COUNT(*) FROM clip_image_embedding_cache");
    assert_eq!(kept, [0]);
}

#[test]
fn ids_and_themes_are_trimmed_and_refused_alike_everywhere() {
    let server = Server::start();
    let mut client = server.client();
    let (data, copy) = (picture("baseline_444.jpg"), picture("progressive_444.jpg"));
    let seen = classify(
        &mut client,
        &data,
        &[("asset_id", "  pad "), ("theme", " t ")],
    );
    server.settle();
    let near = classify(&mut client, &copy, &[]);
    assert_eq!(near["similar_images"][0]["asset_id"], "pad");
    let hash = seen["image_hash"].as_str().unwrap();
    give(
        &mut client,
        &json!({ "image_hash": hash, "theme": "t\n", "asset_id": " pad" }),
    );
    let answer = classify(&mut client, &data, &[("theme", "t")]);
    assert_eq!(answer["affinity_weight_raw"], json!(1.0));
    for (field, value) in [
        ("asset_id", "a\tb"),
        ("theme", "a\nb"),
        ("asset_id", "a\0b"),
    ] {
        let parts = [
            Part::File {
                name: "file",
                filename: "a",
                content_type: "image/png",
                data: &data,
            },
            Part::Text(field, value),
        ];
        let mut feedback = json!({ "image_hash": hash, "theme": "t" });
        feedback[field] = json!(value);
        for refused in [
            client.post_form("/classify", &parts),
            client.post_json("/feedback", &feedback),
        ] {
            let error = refused.json();
            assert_eq!(
                (refused.status, &error["code"]),
                (422, &json!("invalid_field"))
            );
            let detail = error["detail"].as_str().unwrap();
            assert!(detail.starts_with(field), "{detail}");
        }
    }
}

#[test]
fn null_is_no_judgement() {
    let server = Server::start();
    let mut client = server.client();
    let hash = "ab".repeat(32);
    let feedback = json!({ "image_hash": hash, "theme": "t", "accepted": null, "asset_id": null });
    let refused = client.post_json("/feedback", &feedback);
    let error = refused.json();
    assert_eq!(refused.status, 422, "{error}");
    assert!(
        error["detail"].as_str().unwrap().starts_with("accepted: "),
        "{error}"
    );
    give(
        &mut client,
        &json!({ "image_hash": hash, "theme": "t", "asset_id": null }),
    );
    let stored = server
        .data()
        .numbers("SELECT acceptance_count, total_assignments FROM clip_image_theme_feedback");
    assert_eq!(stored, [1, 1]);
}

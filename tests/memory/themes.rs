//! Themes without case, and judgements as clients of the Python service write them.

use serde_json::{Value as Json, json};

use super::classify;
use crate::support::http::{Client, Part};
use crate::support::program::{Server, Settings, picture, root};

const LABELS: (&str, &str) = ("labels", "cat,dog,wink,bar chart");

/// The program with the default pipelines, and with those that take the Python service's place.
fn servers() -> impl Iterator<Item = (&'static str, Server)> {
    let folders = ["pipelines", "pipelines/compat"].into_iter();
    folders.map(|folder| {
        let pipelines = root().join(folder);
        let server = Server::start_with(&Settings {
            pipelines: Some(&pipelines),
            ..Settings::default()
        });
        (folder, server)
    })
}

#[track_caller]
fn give(client: &mut Client, feedback: &Json) {
    let answer = client.post_json("/feedback", feedback);
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{feedback}: {text}");
}

/// What an answer says of feedback.
fn weights(answer: &Json) -> [Json; 2] {
    ["affinity_weight", "affinity_weight_raw"].map(|field| answer[field].clone())
}

#[test]
fn feedback_on_a_theme_counts_however_it_is_written() {
    for (set, server) in servers() {
        let mut client = server.client();
        let data = picture("baseline_444.jpg");
        let seen = classify(&mut client, &data, &[LABELS]);
        server.settle();
        for theme in ["Reaction Meme", "reaction meme", " REACTION MEME\n"] {
            let feedback = json!({ "image_hash": seen["image_hash"], "theme": theme });
            give(&mut client, &feedback);
        }
        let stored = server.data().numbers(
            "SELECT total_assignments FROM clip_image_theme_feedback \
             WHERE theme = 'reaction meme'",
        );
        assert_eq!(stored, [3], "{set}");
        let ask = |client: &mut Client, theme| {
            weights(&classify(client, &data, &[LABELS, ("theme", theme)]))
        };
        let plain = ask(&mut client, "reaction meme");
        assert_eq!(plain[1], json!(1.0), "{set}");
        assert_ne!(plain[0], json!(0.0), "{set}");
        for theme in ["Reaction Meme", "REACTION MEME", "  reaction Meme "] {
            assert_eq!(ask(&mut client, theme), plain, "{set}: {theme}");
        }
        // Letters of every alphabet, and accents are no case.
        let feedback = json!({ "image_hash": seen["image_hash"], "theme": "AÇÃO" });
        give(&mut client, &feedback);
        assert_eq!(ask(&mut client, "ação")[1], json!(1.0), "{set}");
        assert_eq!(ask(&mut client, "acao")[1], json!(0.0), "{set}");
    }
}

#[test]
fn rows_of_an_adopted_database_are_found() {
    for (set, server) in servers() {
        let mut client = server.client();
        let data = picture("baseline_444.jpg");
        let seen = classify(&mut client, &data, &[LABELS]);
        server.settle();
        // As the Python service wrote them: in lower case.
        let hash = seen["image_hash"].as_str().unwrap();
        server.data().execute(&format!(
            "INSERT INTO clip_image_theme_feedback \
             (image_hash, theme, acceptance_count, total_assignments) \
             VALUES ('{hash}', 'reaction meme', 3, 4)"
        ));
        let answer = classify(&mut client, &data, &[LABELS, ("theme", "Reaction Meme")]);
        assert_eq!(answer["affinity_weight_raw"], json!(0.75), "{set}");
        // And counted on.
        give(
            &mut client,
            &json!({ "image_hash": hash, "theme": "Reaction MEME" }),
        );
        let stored = server
            .data()
            .numbers("SELECT acceptance_count, total_assignments FROM clip_image_theme_feedback");
        assert_eq!(stored, [4, 5], "{set}");
    }
}

#[test]
fn a_judgement_is_true_or_false_as_the_python_service_took_them() {
    let server = Server::start();
    let mut client = server.client();
    let hash = "ab".repeat(32);
    let feedback =
        |accepted: Json| json!({ "image_hash": hash, "theme": "t", "accepted": accepted });
    let yes = [
        json!(true),
        json!(1),
        json!(1.0),
        json!("t"),
        json!("T"),
        json!("true"),
        json!("TRUE"),
        json!("1"),
        json!("yes"),
        json!("y"),
        json!("on"),
    ];
    let no = [
        json!(false),
        json!(0),
        json!(0.0),
        json!(-0.0),
        json!("f"),
        json!("F"),
        json!("false"),
        json!("0"),
        json!("no"),
        json!("n"),
        json!("off"),
    ];
    for accepted in yes.iter().chain(&no) {
        give(&mut client, &feedback(accepted.clone()));
    }
    let counts = || {
        server
            .data()
            .numbers("SELECT acceptance_count, total_assignments FROM clip_image_theme_feedback")
    };
    let all = (yes.len() + no.len()) as i64;
    assert_eq!(counts(), [yes.len() as i64, all]);
    for accepted in [
        json!(null),
        json!(""),
        json!(" "),
        json!(2),
        json!(-1),
        json!(0.5),
        json!("maybe"),
        json!("1.0"),
        json!([]),
        json!([true]),
        json!({}),
    ] {
        let refused = client.post_json("/feedback", &feedback(accepted.clone()));
        let error = refused.json();
        assert_eq!(refused.status, 422, "{accepted}: {error}");
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.starts_with("accepted: expected "), "{detail}");
    }
    // In a form nothing is nothing too.
    let form = [
        Part::Text("image_hash", &hash),
        Part::Text("theme", "t"),
        Part::Text("accepted", ""),
    ];
    assert_eq!(client.post_form("/feedback", &form).status, 422);
    assert_eq!(counts(), [yes.len() as i64, all], "none of it was counted");
    // Left out it is true.
    give(&mut client, &json!({ "image_hash": hash, "theme": "t" }));
    assert_eq!(counts(), [yes.len() as i64 + 1, all + 1]);
}

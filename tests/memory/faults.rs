//! What the Python service's store got wrong, over the program.

use serde_json::json;

use super::classify;
use crate::support::program::{Server, picture};

#[test]
fn long_names_and_labels_are_stored_or_refused_and_switch_nothing_off() {
    let server = Server::start();
    let mut client = server.client();
    let image = picture("plain.gif");
    let asset = "é".repeat(255);
    // Longer in bytes than in characters, and than many a column; few tokens for the model.
    let label = "café ".repeat(36);
    let labels = json!([label.trim(), "a cat"]).to_string();
    let seen = classify(
        &mut client,
        &image,
        &[("asset_id", &asset), ("labels", &labels)],
    );
    server.settle();
    let feedback = json!({
        "image_hash": seen["image_hash"], "theme": "é".repeat(120), "asset_id": asset,
    });
    assert_eq!(client.post_json("/feedback", &feedback).status, 200);
    for (field, value) in [
        ("asset_id", "é".repeat(256)),
        ("theme", "é".repeat(121)),
        ("image_hash", "a".repeat(65)),
    ] {
        let mut bad = feedback.clone();
        bad[field] = value.into();
        let refused = client.post_json("/feedback", &bad);
        assert_eq!(refused.status, 422, "{field}");
    }
    let ready = client.get("/health/ready").json();
    assert_eq!(ready["degraded"], json!([]));
    let [images, names, judged] = server.data().numbers(
        "SELECT (SELECT COUNT(*) FROM clip_image_embedding_cache), \
         (SELECT COUNT(*) FROM clip_image_embedding_cache WHERE asset_id IS NOT NULL), \
         (SELECT COUNT(*) FROM clip_image_theme_feedback)",
    );
    assert_eq!([images, names, judged], [1, 1, 1]);
}

#[test]
fn labels_that_differ_by_an_accent_have_vectors_of_their_own() {
    let server = Server::start();
    let image = picture("plain.gif");
    // Both ways round: whichever is embedded first must not answer for the other.
    let one = classify(&mut server.client(), &image, &[("labels", "cafe,café,dog")]);
    let other = classify(&mut server.client(), &image, &[("labels", "café,cafe,dog")]);
    let logit = |answer: &serde_json::Value, label: &str| answer["raw_logits"][label].clone();
    assert_ne!(logit(&one, "cafe"), logit(&one, "café"));
    for label in ["cafe", "café"] {
        assert_eq!(logit(&one, label), logit(&other, label));
    }
}

#[test]
fn old_images_do_not_vanish_behind_newer_ones() {
    let server = Server::start_with(&crate::support::program::Settings {
        environment: &[("SIMILARITY_SCAN_LIMIT", "0")],
        ..Default::default()
    });
    let mut client = server.client();
    let old = picture("baseline_444.jpg");
    let first = classify(&mut client, &old, &[]);
    let mut newer = picture("pixel.png");
    for number in 0..50_u8 {
        // What follows a PNG's end is not part of the picture, but of its hash.
        newer.push(number);
        classify(&mut client, &newer, &[]);
    }
    server.settle();
    let near = classify(&mut client, &picture("progressive_444.jpg"), &[]);
    assert_eq!(near["similar_images"][0]["image_hash"], first["image_hash"]);
}

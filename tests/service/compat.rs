//! The set of pipelines that takes the Python service's place: what its clients may send.

use serde_json::json;

use super::answers::file;
use crate::support::http::{Answer, Client, Part};
use crate::support::program::{Server, picture, root};

#[track_caller]
fn send(client: &mut Client, name: &str, fields: &[(&str, &str)]) -> Answer {
    let data = picture(name);
    let mut parts = vec![file(&data)];
    parts.extend(fields.iter().map(|(name, value)| Part::Text(name, value)));
    client.post_form("/classify", &parts)
}

#[test]
fn thresholds_go_down_to_minus_one() {
    let pipelines = root().join("pipelines/compat");
    let server = Server::of(&pipelines, &[]);
    let mut client = server.client();
    let labels = ("labels", "a cat,a dog");
    let first = send(&mut client, "lossy.webp", &[labels]).json();
    server.settle();
    // No label names it, so that the score is 0.
    assert_eq!(
        (&first["nsfw_score"], &first["is_nsfw"]),
        (&json!(0.0), &json!(false))
    );
    for low in ["-1", "-0.5", "-1.0", "0", "-0"] {
        let fields = [labels, ("nsfw_threshold", low), ("similar_threshold", "-1")];
        let answer = send(&mut client, "baseline_420.jpg", &fields).json();
        assert_eq!(answer["is_nsfw"], true, "{low}: {answer}");
        let similar = answer["similar_images"].as_array().unwrap();
        let is_first = |image: &serde_json::Value| image["image_hash"] == first["image_hash"];
        assert!(similar.iter().any(is_first), "{low}: {answer}");
    }
    for low in ["-0.5", "0", "0.5"] {
        let fields = [labels, ("similar_threshold", low)];
        assert_eq!(
            send(&mut client, "lossy.webp", &fields).status,
            200,
            "{low}"
        );
    }
    for field in ["nsfw_threshold", "similar_threshold"] {
        for bad in ["-1.01", "1.01", "2", "nan", "-inf", "low"] {
            let answer = send(&mut client, "lossy.webp", &[(field, bad)]);
            assert_eq!(answer.status, 422, "{field}={bad}");
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains(field), "{field}={bad}: {detail}");
        }
    }
}

#[test]
fn the_default_set_keeps_thresholds_from_0_to_1() {
    let server = Server::start();
    let mut client = server.client();
    for field in ["nsfw_threshold", "similar_threshold"] {
        let answer = send(&mut client, "lossy.webp", &[(field, "-0.5")]);
        assert_eq!(answer.status, 422, "{field}");
    }
}

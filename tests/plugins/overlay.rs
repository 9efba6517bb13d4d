//! The README's file of five lines, which changes the pipeline that the program brings, and
//! pictures that were seen before.

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{allowed, build};
use crate::support::http::Part;
use crate::support::program::{Server, Settings, picture, root};

/// The README's example, with another plugin's stage.
fn five_lines() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme
        .split("```toml\n")
        .find(|block| block.starts_with("extends"));
    let block = block.unwrap().split("```").next().unwrap();
    assert_eq!(block.lines().count(), 5, "{block}");
    block.replace("acme/brightness", "example/phash")
}

fn classify(server: &Server) -> Json {
    let data = picture("baseline_420.jpg");
    let file = Part::File {
        name: "file",
        filename: "photo.jpg",
        content_type: "image/jpeg",
        data: &data,
    };
    let answer = server.client().post_form("/classify", &[file]);
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

/// What a stage counts.
fn counter(server: &Server, stage: &str, name: &str) -> u64 {
    let pipelines = server.client().get("/pipelines").json();
    let stages = pipelines["pipelines"][0]["stages"].as_array().unwrap();
    let stage = stages.iter().find(|known| known["name"] == stage).unwrap();
    stage["counters"][name].as_u64().unwrap()
}

#[test]
fn five_lines_change_the_pipeline_and_a_plugin_sees_pictures_that_were_seen_before() {
    let folder = TempDir::new().unwrap();
    let pipelines = folder.path().join("pipelines");
    std::fs::create_dir_all(&pipelines).unwrap();
    let phash = build("omnizap-phash", folder.path());
    std::fs::write(pipelines.join("plugins.toml"), allowed(&phash)).unwrap();
    std::fs::write(pipelines.join("mine.toml"), five_lines()).unwrap();
    let settings = Settings {
        pipelines: Some(&pipelines),
        ..Settings::default()
    };
    let server = Server::start_with(&settings);
    let first = classify(&server);
    assert_eq!(first["phash"].as_str().unwrap().len(), 16, "{first}");
    assert_eq!(first["nsfw_score"], 0.0, "the check is off: {first}");
    assert!(first["nsfw_classes"].is_null(), "{first}");
    server.settle();
    for _ in 0..2 {
        let again = classify(&server);
        assert_eq!(again["phash"], first["phash"]);
        assert_eq!(again["all_scores"], first["all_scores"]);
    }
    assert_eq!(counter(&server, "decode", "ran"), 3);
}

#[test]
fn without_a_stage_that_takes_pixels_a_picture_is_decoded_once() {
    let server = Server::start();
    let first = classify(&server);
    server.settle();
    let again = classify(&server);
    assert_eq!(again["all_scores"], first["all_scores"]);
    assert_eq!(again["nsfw_classes"], first["nsfw_classes"]);
    let last = classify(&server);
    assert_eq!(last["category"], first["category"]);
    assert_eq!(counter(&server, "decode", "ran"), 1);
    assert_eq!(counter(&server, "decode", "skipped"), 2);
}

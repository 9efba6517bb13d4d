//! The check for unsafe pictures, in each of its modes.

use std::path::Path;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use crate::support::http::Part;
use crate::support::program::{Server, Settings, picture, root};

/// Writes the default pipeline with other options of the stage nsfw.
fn pipeline_with(folder: &Path, options: &[(&str, toml::Value)]) {
    let text = std::fs::read_to_string(root().join("pipelines/classify.toml")).unwrap();
    let mut pipeline: toml::Table = text.parse().unwrap();
    let stages = pipeline["stage"].as_array_mut().unwrap();
    let nsfw = stages
        .iter_mut()
        .find(|stage| stage["uses"].as_str() == Some("nsfw"))
        .unwrap();
    let with = nsfw["with"].as_table_mut().unwrap();
    with.extend(
        options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    let text = toml::to_string(&pipeline).unwrap();
    std::fs::write(folder.join("classify.toml"), text).unwrap();
}

/// A server of a shrunk full model: its sizes and its checkpoint are files of a user's own.
fn imported_model(folder: &Path) -> Server {
    let fixtures = root().join("models/tests/fixtures");
    let place = |ending| {
        let name = format!("vit-hybrid-causal.{ending}");
        let copy = folder.join(&name);
        std::fs::copy(fixtures.join(name), &copy).unwrap();
        copy.to_str().unwrap().to_owned()
    };
    Server::start_with(&Settings {
        pipelines: Some(folder),
        environment: &[
            ("CLIP_MODEL_NAME", &place("json")),
            ("CLIP_MODEL_PRETRAINED", &place("safetensors")),
        ],
        ..Settings::default()
    })
}

#[test]
fn contrast_with_an_imported_model_is_what_its_prompts_score_as_labels() {
    let (unsafe_prompts, safe_prompts) = (["a cat", "a red car"], ["a dog", "two words, three"]);
    let folder = TempDir::new().unwrap();
    pipeline_with(
        folder.path(),
        &[
            ("mode", "contrast".into()),
            ("unsafe_prompts", unsafe_prompts.to_vec().into()),
            ("safe_prompts", safe_prompts.to_vec().into()),
        ],
    );
    let server = imported_model(folder.path());
    let mut client = server.client();
    let health = client.get("/health").json();
    assert_eq!(health["model"], "vit-hybrid-causal");
    let text = health.to_string();
    assert!(!text.contains("not available"), "{text}");

    let prompts: Vec<_> = unsafe_prompts.iter().chain(&safe_prompts).collect();
    let prompts = json!(prompts).to_string();
    let mut seen = Vec::new();
    for name in ["rgb.png", "noise.jpg", "lossy.webp", "text.png"] {
        let data = picture(name);
        let mut ask = |labels: &str, threshold: &str| -> Json {
            let parts = [
                file(&data),
                Part::Text("labels", labels),
                Part::Text("nsfw_threshold", threshold),
            ];
            let answer = client.post_form("/classify", &parts);
            assert_eq!(
                answer.status,
                200,
                "{}",
                String::from_utf8_lossy(&answer.body)
            );
            answer.json()
        };
        let answer = ask(&prompts, "0.5");
        let share: f64 = unsafe_prompts
            .iter()
            .map(|prompt| answer["all_scores"][prompt].as_f64().unwrap())
            .sum();
        let score = answer["nsfw_score"].as_f64().unwrap();
        assert!(
            (score - share).abs() < 3e-6,
            "{name}: {score} and {share}, to six decimals each"
        );
        assert_eq!(answer["is_nsfw"], json!(score >= 0.5), "{name}");
        // The request's labels say nothing to it, and one formula holds at every threshold.
        for (threshold, expected) in [
            (0.0, true),
            (score - 1e-5, true),
            (score + 1e-5, false),
            (1.0, false),
        ] {
            let other = ask("a chart, a face", &threshold.to_string());
            assert_eq!(other["nsfw_score"], answer["nsfw_score"], "{name}");
            assert_eq!(other["is_nsfw"], json!(expected), "{name} at {threshold}");
        }
        seen.push(score);
    }
    seen.sort_by(f64::total_cmp);
    assert!(
        seen[0] > 0.01 && seen[3] < 0.99 && seen[3] - seen[0] > 0.01,
        "pictures should differ, and none be certain: {seen:?}"
    );
}

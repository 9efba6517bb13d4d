//! Every stage of the default pipeline switched off in turn: it starts, or is
//! refused with a reason that names what is missing; the answer keeps its shape.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::answers::file;
use crate::support::program::{Server, Settings, omnizap, picture, root};

/// The stages of the file, in its order.
fn stages(toml: &str) -> Vec<String> {
    let file: toml::Table = toml.parse().unwrap();
    let stages = file["stage"].as_array().unwrap();
    stages
        .iter()
        .map(|stage| stage["uses"].as_str().unwrap().to_owned())
        .collect()
}

/// The file with one stage switched off, however it says it now.
fn without(toml: &str, stage: &str) -> String {
    let uses = format!("uses = \"{stage}\"");
    let mut off = String::new();
    let mut inside = false;
    for line in toml.lines() {
        if line.starts_with("[[") || line.starts_with("[r") {
            inside = false;
        }
        if inside && line.starts_with("enabled") {
            continue;
        }
        off.push_str(line);
        off.push('\n');
        if line.trim() == uses {
            inside = true;
            off.push_str("enabled = false\n");
        }
    }
    off
}

fn keys(answer: &Json) -> BTreeSet<String> {
    answer.as_object().unwrap().keys().cloned().collect()
}

fn graph(folder: &Path) -> String {
    let output = omnizap(folder)
        .arg("graph")
        .arg(folder.join("classify.toml"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn one_word_switches_a_stage_off() {
    let toml = std::fs::read_to_string(root().join("pipelines/classify.toml")).unwrap();
    let data = picture("lossy.webp");
    let whole = Server::start()
        .client()
        .post_form("/classify", &[file(&data)])
        .json();
    let (mut started, mut refused) = (Vec::new(), Vec::new());
    for stage in stages(&toml) {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("classify.toml"), without(&toml, &stage)).unwrap();
        let shown = graph(folder.path());
        let check = omnizap(folder.path())
            .args(["check", "--pipelines"])
            .arg(folder.path())
            .output()
            .unwrap();
        if check.status.code() == Some(78) {
            let reason = String::from_utf8(check.stderr).unwrap();
            assert!(
                reason.contains(&format!("`{stage}` is disabled")),
                "{reason}"
            );
            assert!(reason.contains("requires `"), "{reason}");
            refused.push(stage);
            continue;
        }
        assert_eq!(check.status.code(), Some(0), "{stage}");
        assert!(shown.contains("off: enabled = false"), "{shown}");
        let server = Server::start_with(&Settings {
            pipelines: Some(folder.path()),
            ..Settings::default()
        });
        let answer = server.client().post_form("/classify", &[file(&data)]);
        assert_eq!(
            answer.status,
            200,
            "{stage}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        assert_eq!(keys(&answer.json()), keys(&whole), "without {stage}");
        started.push(stage);
    }
    // What makes the category is needed, whatever else is off.
    for needed in ["decode", "embed", "score", "rank"] {
        assert!(refused.iter().any(|stage| stage == needed), "{refused:?}");
    }
    for optional in ["nsfw", "adaptive", "llm-expand", "similarity", "persist"] {
        assert!(started.iter().any(|stage| stage == optional), "{started:?}");
    }
}

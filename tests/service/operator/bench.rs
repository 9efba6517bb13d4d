//! `omnizap bench`: that it measures what it says, with no word on how long anything takes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::said;
use crate::support::program::{omnizap, root, run};

/// As short as it may be.
const SHORT: [&str; 3] = ["bench", "--seconds", "0.01"];

fn bench(data: &Path, arguments: &[&str]) -> Command {
    let mut command = omnizap(data);
    command.args(SHORT).args(arguments);
    command
}

#[test]
fn every_part_has_its_rows_and_the_data_is_left_alone() {
    let data = TempDir::new().unwrap();
    let mut command = bench(data.path(), &["--json", "--vectors", "300"]);
    // Where its database would be there is none.
    command.env("DATABASE_URL", "mysql://nobody@127.0.0.1:1/none");
    let output = command.output().unwrap();
    said(&output, 0);
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["complete"], true);
    assert_eq!(report["model"], "omnizap-mini");
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| (row["part"].as_str().unwrap(), row["what"].as_str().unwrap()))
        .collect();
    let expected = [
        ("tower", "1 picture"),
        ("tower", "8 pictures"),
        ("text", "1 label"),
        ("text", "128 labels"),
        ("preprocess", "1024x768"),
        ("decode", "JPEG, 1024x768"),
        ("decode", "PNG, 1024x768"),
        ("decode", "WebP, 1024x768"),
        ("pipeline", "classify, one at a time"),
        ("pipeline", "classify, 8 at a time"),
        ("similar", "10 of 300, by the index"),
        ("similar", "10 of 300, all compared"),
    ];
    assert_eq!(names, expected);
    for row in rows {
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(number("median_ms") > 0.0, "{row}");
        assert!(number("p99_ms") >= number("median_ms"), "{row}");
        assert!(number("per_second") > 0.0, "{row}");
        assert!(number("runs") >= 3.0, "{row}");
        assert_eq!(row["gflop_per_second"].is_f64(), row["part"] == "tower");
    }
    let left: Vec<_> = std::fs::read_dir(data.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn pictures_may_be_ones_own_and_one_that_is_none_is_named() {
    let data = TempDir::new().unwrap();
    let sticker = root().join("models/embedded/samples/cat-sticker.webp");
    let sticker = sticker.to_str().unwrap();
    let output = bench(data.path(), &["--only", "pipeline,decode", sticker]).output();
    let all = said(&output.unwrap(), 0);
    let rows: Vec<_> = all
        .lines()
        .filter(|line| line.contains("pictures"))
        .collect();
    assert_eq!(rows.len(), 3, "{all}");
    assert!(
        rows[0].starts_with("decode") && rows[0].contains(sticker),
        "{all}"
    );
    assert!(rows[1].starts_with("pipeline"), "{all}");

    let manifest = root().join("Cargo.toml");
    let manifest = manifest.to_str().unwrap();
    let arguments = ["--only", "decode", sticker, manifest, "--json"];
    let output = bench(data.path(), &arguments).output().unwrap();
    let all = said(&output, 1);
    assert!(all.contains(&format!("error: {manifest}: ")), "{all}");
    // What was measured before it is told all the same.
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["complete"], false);
    assert_eq!(report["rows"].as_array().unwrap().len(), 1);
}

#[test]
fn what_there_is_not_is_told_the_nearest() {
    let all = said(&run(&["bench", "--only", "tower,decod"]), 2);
    assert!(all.contains("did you mean `decode`?"), "{all}");
    let all = said(&run(&["bench", "--only", "everything"]), 2);
    assert!(all.contains("expected one of: decode, pipeline"), "{all}");
    let all = said(&run(&["bench", "--model", "MobileCLIP-S7"]), 2);
    assert!(all.contains("did you mean 'MobileCLIP"), "{all}");
    let all = said(
        &run(&["bench", "--only", "pipeline", "--pipeline", "clasify"]),
        78,
    );
    assert!(all.contains("did you mean `classify`?"), "{all}");
    for seconds in ["0", "601", "soon", "nan"] {
        let all = said(&run(&["bench", "--seconds", seconds]), 2);
        assert!(all.contains("expected a number from 0.01 to 600"), "{all}");
    }
}

#[test]
fn the_model_that_is_named_is_the_one_that_is_measured() {
    let data = TempDir::new().unwrap();
    let mut command = bench(
        data.path(),
        &["--only", "pipeline,preprocess", "--model", "omnizap-mini"],
    );
    // It would not be found.
    command.env("CLIP_MODEL_NAME", "MobileCLIP-S1");
    command.env("CLIP_MODEL_PRETRAINED", "/nowhere/weights.safetensors");
    let all = said(&command.output().unwrap(), 0);
    assert!(all.contains("omnizap-mini, "), "{all}");
    let mut command = bench(data.path(), &["--only", "preprocess"]);
    command.env("CLIP_MODEL_NAME", "MobileCLIP-S1");
    command.env("CLIP_MODEL_PRETRAINED", "/nowhere/weights.safetensors");
    said(&command.output().unwrap(), 1);
}

#[test]
fn an_interrupt_prints_what_was_measured_by_then() {
    let data = TempDir::new().unwrap();
    let mut command = omnizap(data.path());
    command.args([
        "bench",
        "--only",
        "similar",
        "--vectors",
        "10",
        "--seconds",
        "600",
        "--json",
    ]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    let id = child.id().to_string();
    // It has nothing else to compute: what it has computed are searches.
    while computed(&id) < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(told.success());
    let output = child.wait_with_output().unwrap();
    let all = said(&output, 130);
    assert!(all.contains("interrupted"), "{all}");
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["complete"], false);
    assert!(report["rows"][0]["runs"].as_u64().unwrap() >= 1, "{report}");
}

/// How long a process has computed, by all its threads.
fn computed(id: &str) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let of_task = |task: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks.filter_map(of_task).sum())
}

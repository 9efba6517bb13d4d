//! The first answers after a start are those that come later.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{classify, until};
use crate::support::database::{Data, Kind};
use crate::support::program::{Server, Settings, omnizap, picture};

const PATIENCE: Duration = Duration::from_secs(120);

/// How often the rows are doubled: 26 pictures become 53,248.
const DOUBLINGS: usize = 11;
const LABELS: (&str, &str) = ("labels", "a cat,a dog");

/// Bytes that show what the others show, and are not the same.
fn copy(number: usize) -> Vec<u8> {
    let mut bytes = picture("baseline_444.jpg");
    bytes.extend(number.to_le_bytes());
    bytes
}

fn start(data: &Arc<Data>, environment: &[(&str, &str)]) -> Server {
    Server::start_with(&Settings {
        data: Some(data.clone()),
        environment,
        ..Settings::default()
    })
}

/// A store with many pictures, some of which are like each other.
fn filled() -> Arc<Data> {
    let data = Arc::new(Data::new());
    let server = start(&data, &[]);
    server.settle();
    let mut client = server.client();
    for number in 0..25 {
        classify(&mut client, &copy(number), &[LABELS]);
    }
    classify(&mut client, &picture("gray.png"), &[LABELS]);
    server.settle();
    drop(server);
    for place in 1..=DOUBLINGS {
        // Another name for each row: a letter that no hash has, at a place of its own.
        let name = |column: &str| {
            let (before, after) = (place - 1, place + 1);
            let parts = [
                format!("substr({column}, 1, {before})"),
                "'x'".into(),
                format!("substr({column}, {after})"),
            ];
            match Kind::of_the_suite() {
                Kind::MySql => format!("CONCAT({})", parts.join(", ")),
                Kind::Sqlite | Kind::Postgres => parts.join(" || "),
            }
        };
        data.execute(&format!(
            "INSERT INTO clip_image_embedding_cache \
             (image_hash, content_hash, model_name, embedding_dim, embedding) \
             SELECT {}, {}, model_name, embedding_dim, embedding \
             FROM clip_image_embedding_cache ORDER BY id",
            name("image_hash"),
            name("content_hash"),
        ));
    }
    data
}

fn similar(server: &Server) -> (Json, Json) {
    let answer = classify(&mut server.client(), &copy(3), &[LABELS]);
    (
        answer["similar_images"].clone(),
        answer["similar_complete"].clone(),
    )
}

#[test]
fn the_first_answer_behind_ready_is_that_of_later_ones() {
    let data = filled();
    let mut answers = Vec::new();
    for round in 0..4 {
        let server = start(&data, &[]);
        let mut client = server.client();
        until("ready", PATIENCE, || {
            let ready = client.get("/health/ready");
            let starting = &ready.json()["starting"];
            assert_eq!(ready.status == 200, *starting == json!([]), "{starting}");
            ready.status == 200
        });
        let first = similar(&server);
        assert_eq!(first.0.as_array().unwrap().len(), 25, "{round}");
        assert_eq!(first.1, true);
        server.settle();
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(similar(&server), first, "{round}");
        answers.push(first);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

#[test]
fn without_waiting_the_answer_says_that_it_is_not_complete() {
    let data = filled();
    let server = start(&data, &[("SIMILARITY_WAIT_FOR_INDEX", "false")]);
    let mut client = server.client();
    let ready = client.get("/health/ready");
    assert_eq!(ready.status, 200);
    let (first, is_complete) = similar(&server);
    assert_eq!(is_complete, false, "53,248 rows are not loaded in no time");
    until("complete", PATIENCE, || similar(&server).1 == true);
    let later = similar(&server).0;
    assert_eq!(later.as_array().unwrap().len(), 25);
    assert!(first.as_array().unwrap().len() <= 25);
}

#[test]
fn every_file_on_the_command_line_sees_everything() {
    let data = filled();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.jpg");
    std::fs::write(&file, copy(3)).unwrap();
    let program = || -> Command {
        let mut command = omnizap(data.folder());
        if let Some(url) = data.url() {
            command.env("DATABASE_URL", url);
        }
        command.args(["classify", "--json", "--labels", "a cat,a dog"]);
        command
    };
    let output = program().args([&file; 6]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 6);
    for answer in &answers {
        assert_eq!(answer["similar_images"], answers[0]["similar_images"]);
        assert_eq!(answer["similar_images"].as_array().unwrap().len(), 25);
        assert_eq!(answer["similar_complete"], true);
    }
    let again = program().arg(&file).output().unwrap();
    let again: Json = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["similar_images"], answers[0]["similar_images"]);
}

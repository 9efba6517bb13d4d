//! Pictures that are forgotten: over HTTP, by the command, by hand.

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{classify, until};
use crate::support::database::Data;
use crate::support::http::Answer;
use crate::support::program::{Server, Settings, omnizap, picture, root};

/// Within which one copy knows what another did.
const IN_STEP: Duration = Duration::from_secs(2);
const LABELS: (&str, &str) = ("labels", "a cat,a dog,a chart");

/// The default pipelines with those for administrators.
fn pipelines() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["classify.toml", "feedback.toml", "admin/forget.toml"] {
        let from = root().join("pipelines").join(file);
        std::fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
    }
    folder
}

fn start(data: &Arc<Data>, pipelines: &tempfile::TempDir) -> Server {
    let server = Server::start_with(&Settings {
        data: Some(data.clone()),
        pipelines: Some(pipelines.path()),
        ..Settings::default()
    });
    server.settle();
    server
}

fn delete(server: &Server, path: &str) -> Answer {
    server.client().send("DELETE", path, &[], &[]).unwrap()
}

fn similar(server: &Server) -> Json {
    let near = picture("progressive_444.jpg");
    classify(&mut server.client(), &near, &[LABELS])["similar_images"].clone()
}

/// Classifies a picture and says what people make of it; its name.
fn seen(server: &Server) -> String {
    let mut client = server.client();
    let first = picture("baseline_444.jpg");
    let fields = [LABELS, ("theme", "animals"), ("asset_id", "sticker-1")];
    let answer = classify(&mut client, &first, &fields);
    let name = answer["image_hash"].as_str().unwrap().to_owned();
    let feedback = json!({ "image_hash": name, "theme": "animals", "accepted": true });
    assert_eq!(client.post_json("/feedback", &feedback).status, 200);
    server.settle();
    name
}

fn rows(data: &Data, name: &str) -> [i64; 3] {
    let count = |table: (&str, &str)| {
        let cast = match data.url() {
            Some(url) if url.starts_with("mysql") => "SIGNED",
            _ => "BIGINT",
        };
        let (table, column) = table;
        format!("(SELECT CAST(COUNT(*) AS {cast}) FROM {table} WHERE {column} = '{name}')")
    };
    // The pictures here are named by their bytes.
    let tables = [
        ("clip_image_embedding_cache", "image_hash"),
        ("omnizap_looks", "content_hash"),
        ("clip_image_theme_feedback", "image_hash"),
    ];
    data.numbers(&format!("SELECT {}", tables.map(count).join(", ")))
}

#[test]
fn a_picture_is_deleted_over_http_with_all_that_is_kept_of_it() {
    let (data, pipelines) = (Arc::new(Data::new()), pipelines());
    let (one, other) = (start(&data, &pipelines), start(&data, &pipelines));
    let name = seen(&one);
    until("on the other copy", IN_STEP, || {
        similar(&other)[0]["image_hash"] == *name
    });
    assert_eq!(rows(&data, &name), [1, 1, 1]);

    let answer = delete(&one, &format!("/images/{}", name.to_uppercase()));
    assert_eq!(answer.status, 200);
    let expected = json!({ "ok": true, "images": 1, "labels": 1, "feedback": 1 });
    assert_eq!(answer.json(), expected);
    assert_eq!(rows(&data, &name), [0, 0, 0]);
    assert_eq!(similar(&one), json!([]), "at once");
    until("gone from the other copy", IN_STEP, || {
        similar(&other) == json!([])
    });
    let again = delete(&one, &format!("/images/{name}/")).json();
    assert_eq!((&again["ok"], &again["images"]), (&json!(true), &json!(0)));
}

#[test]
fn what_is_no_hash_in_the_path_is_named() {
    let (data, pipelines) = (Arc::new(Data::new()), pipelines());
    let server = start(&data, &pipelines);
    let long = "a".repeat(65);
    let encoded = format!("%61{}", "b".repeat(63));
    for (path, status, word) in [
        ("/images/abc", 422, "64 hexadecimal digits"),
        (&*format!("/images/{long}"), 422, "at most 64"),
        ("/images/%zz", 422, "%"),
        ("/images/%ff", 422, "UTF-8"),
        ("/images/%", 422, "%"),
        ("/images", 404, "nothing is served here"),
        ("/images/a/b", 404, "nothing is served here"),
        (&*format!("/images/{encoded}"), 200, "true"),
    ] {
        let answer = delete(&server, path);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{path}: {text}");
        assert!(text.contains(word), "{path}: {text}");
    }
    let wrong = server.client().get(&format!("/images/{encoded}"));
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("DELETE")));
    let body = br#"{"hash": "ignored"}"#;
    let headers = [("Content-Type", "application/json")];
    let path = format!("/images/{encoded}");
    let answer = server
        .client()
        .send("DELETE", &path, &headers, body)
        .unwrap();
    assert_eq!(answer.status, 200, "the path says which");
}

#[test]
fn the_default_pipelines_delete_nothing() {
    let server = Server::start();
    let answer = delete(&server, &format!("/images/{}", "a".repeat(64)));
    assert_eq!(answer.status, 404);
}

fn forget(data: &Data, arguments: &[&str]) -> Output {
    let mut command = omnizap(data.folder());
    if let Some(url) = data.url() {
        command.env("DATABASE_URL", url);
    }
    let command = command.args(["db", "forget"]).args(arguments);
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

#[test]
fn the_command_counts_asks_and_deletes() {
    let (data, pipelines) = (Arc::new(Data::new()), pipelines());
    let server = start(&data, &pipelines);
    let name = seen(&server);
    assert_eq!(similar(&server)[0]["asset_id"], "sticker-1");
    let told = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let all = "1 embeddings, 1 rows of labels, 1 of feedback";

    let counted = forget(&data, &["--asset", "sticker-1", "--dry-run"]);
    assert_eq!(counted.status.code(), Some(0), "{counted:?}");
    assert_eq!(told(&counted), format!("{all} to forget\n"));
    let unasked = forget(&data, &["--hash", &name]);
    assert_eq!(unasked.status.code(), Some(2), "{unasked:?}");
    assert!(String::from_utf8_lossy(&unasked.stderr).contains("--yes"));
    assert_eq!(rows(&data, &name), [1, 1, 1], "nothing happened");

    let done = forget(&data, &["--hash", &name, "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(told(&done), format!("{all} forgotten\n"));
    assert_eq!(rows(&data, &name), [0, 0, 0]);
    until("gone from the service", IN_STEP, || {
        similar(&server) == json!([])
    });

    let nothing = forget(&data, &["--older-than", "1d", "--yes"]);
    assert_eq!(nothing.status.code(), Some(0), "{nothing:?}");
    let rest = forget(&data, &["--older-than", "0s", "--yes"]);
    assert!(told(&rest).starts_with("1 embeddings"), "{rest:?}");
    for bad in [
        &[][..],
        &["--yes"],
        &["--asset", "a", "--hash", &name],
        &["--hash", "abc"],
        &["--older-than", "soon"],
        &["--older-than", "1y"],
        &["--asset", "a", "--yes", "--dry-run"],
    ] {
        let refused = forget(&data, bad);
        assert_eq!(refused.status.code(), Some(2), "{bad:?}: {refused:?}");
    }
}

#[test]
fn a_picture_under_another_asset_keeps_its_row_and_is_found_by_both() {
    let (data, pipelines) = (Arc::new(Data::new()), pipelines());
    let (server, other) = (start(&data, &pipelines), start(&data, &pipelines));
    let name = seen(&server);
    let row = || -> i64 {
        let id = "SELECT id FROM clip_image_embedding_cache";
        let [id] = data.numbers(&format!("{id} WHERE image_hash = '{name}'"));
        id
    };
    let before = row();
    let first = picture("baseline_444.jpg");
    let is_called = |what: &str| {
        until(what, IN_STEP, || similar(&other)[0]["asset_id"] == *what);
    };
    for asset_id in ["sticker-2", "sticker-1", "sticker-2"] {
        let fields = [LABELS, ("asset_id", asset_id)];
        classify(&mut server.client(), &first, &fields);
        server.settle();
        is_called(asset_id);
    }
    assert_eq!(row(), before, "the row that was written first");
    for asset_id in ["sticker-1", "sticker-2"] {
        let counted = forget(&data, &["--asset", asset_id, "--dry-run"]);
        let told = String::from_utf8_lossy(&counted.stdout).into_owned();
        let all = "1 embeddings, 2 rows of labels, 1 of feedback to forget\n";
        assert_eq!(told, all, "{asset_id}");
    }
    data.execute(&format!(
        "UPDATE clip_image_embedding_cache SET asset_id = 'by hand' WHERE image_hash = '{name}'"
    ));
    is_called("by hand");
    let done = forget(&data, &["--asset", "by hand", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(rows(&data, &name), [0, 0, 0]);
    until("gone", IN_STEP, || similar(&other) == json!([]));
}

#[test]
fn the_command_fails_where_the_database_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = omnizap(folder.path());
    command.env("DATABASE_URL", "mysql://nobody:secret@127.0.0.1:1/none");
    command.args(["db", "forget", "--asset", "a", "--yes"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn a_picture_that_is_deleted_by_hand_is_gone_within_two_seconds() {
    let (data, pipelines) = (Arc::new(Data::new()), pipelines());
    let server = start(&data, &pipelines);
    let name = seen(&server);
    assert_eq!(similar(&server)[0]["image_hash"], *name);
    data.execute(&format!(
        "UPDATE clip_image_embedding_cache SET asset_id = 'by hand' WHERE image_hash = '{name}'"
    ));
    until("renamed", IN_STEP, || {
        similar(&server)[0]["asset_id"] == "by hand"
    });
    data.execute(&format!(
        "DELETE FROM clip_image_embedding_cache WHERE image_hash = '{name}'"
    ));
    until("gone", IN_STEP, || similar(&server) == json!([]));
}

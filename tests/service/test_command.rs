//! `omnizap test`: pipelines tried by the tests in their files, with the real stages, without a server
//! and without what the service keeps.

use std::path::Path;
use std::process::Output;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::program::{Server, omnizap};

/// Folders whose pipelines have tests.
const TRIED: [&str; 3] = ["pipelines", "pipelines/tags", "pipelines/recipes"];
/// Fewer would not be worth it.
const FEWEST: usize = 20;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `omnizap test` with that data folder; where the database would be there is none.
fn tried(data: &Path, arguments: &[&str]) -> Output {
    omnizap(data)
        .env("DATABASE_URL", "mysql://nobody@127.0.0.1:1/none")
        .env("OPENAI_API_KEY", "sk-nobody")
        .arg("test")
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    out
}

#[test]
fn the_shipped_pipelines_are_as_their_tests_say() {
    let data = TempDir::new().unwrap();
    let out = ends(&tried(data.path(), &TRIED), 0);
    let fine = out.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(fine >= FEWEST, "{out}");
    let summary = format!("{fine} tests: {fine} ok, 0 failed");
    assert_eq!(out.lines().last(), Some(&*summary));
    let left: Vec<_> = std::fs::read_dir(data.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // What extends them has none of theirs.
    let out = ends(&tried(data.path(), &["pipelines/compat"]), 0);
    assert_eq!(out, "0 tests: 0 ok, 0 failed\n");
}

/// A gate, with tests of which one holds; the seventeenth line begins them.
const GATE: &str = r#"[pipeline]
name = "gate"

[request]
file = { type = "bytes", required = true }

[[stage]]
uses = "decode"
[[stage]]
uses = "nsfw"
[[stage]]
uses = "hash"
if = "nsfw.ran && !is_nsfw"
[response]
require = ["is_nsfw"]

[[test]]
name = "an unsafe picture has no name"
picture = "builtin:dog-sticker.webp"
mock.nsfw = { nsfw_score = 0.9, is_nsfw = true }
expect = { skipped = { hash = "is false" }, answer.image_hash = { null = true } }

[[test]]
name = "a safe one neither"
picture = "builtin:dog-sticker.webp"
mock.nsfw = { nsfw_score = 0.1, is_nsfw = false }
[test.expect]
skipped = ["hash"]
[test.expect.answer]
nsfw_score = { about = 0.3, within = 0.1 }
"#;

fn folder(text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("gate.toml"), text).unwrap();
    folder
}

#[test]
fn what_is_not_as_expected_is_shown_where_it_is_said() {
    let folder = folder(GATE);
    let file = folder.path().join("gate.toml");
    let file = file.to_str().unwrap();
    let out = ends(&tried(folder.path(), &[file]), 1);
    for said in [
        "ok      gate: an unsafe picture has no name",
        "failed  gate: a safe one neither",
        &format!("{file}:28:12: expected that stage `hash` is skipped, and it ran"),
        &format!("{file}:30:24: `nsfw_score`: expected 0.3 within 0.1, found 0.1"),
        "30 | nsfw_score = { about = 0.3, within = 0.1 }",
        "2 tests: 1 ok, 1 failed",
    ] {
        assert!(out.contains(said), "no {said:?} in {out}");
    }
    let out = ends(&tried(folder.path(), &[file, "--json"]), 1);
    let all: Json = serde_json::from_str(&out).unwrap();
    assert_eq!((&all["ok"], &all["failed"]), (&1.into(), &1.into()));
    let [first, second] = all["tests"].as_array().unwrap().as_slice() else {
        panic!("{all}");
    };
    assert_eq!(first["outcome"], "ok");
    assert_eq!(second["outcome"], "failed");
    assert_eq!(second["name"], "a safe one neither");
    assert_eq!(
        (&second["line"], &second["status"]),
        (&24.into(), &200.into())
    );
    assert_eq!(second["faults"][0]["line"], 28);
    assert_eq!(second["answer"]["is_nsfw"], false);
}

#[test]
fn tests_are_listed_and_chosen_by_their_names() {
    let folder = folder(GATE);
    let file = folder.path().join("gate.toml");
    let file = file.to_str().unwrap();
    let out = ends(&tried(folder.path(), &[file, "--list"]), 0);
    let expected = format!(
        "{file}:18:8: gate: an unsafe picture has no name\n{file}:24:8: gate: a safe one neither\n"
    );
    assert_eq!(out, expected);
    let out = ends(&tried(folder.path(), &[file, "--name", "unsafe"]), 0);
    assert!(out.ends_with("1 test: 1 ok, 0 failed\n"), "{out}");
    let listed = ends(
        &tried(folder.path(), &[file, "--list", "--json", "--name", "one"]),
        0,
    );
    let listed: Json = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["tests"].as_array().unwrap().len(), 1, "{listed}");
    let none = tried(folder.path(), &[file, "--name", "a safe one nether"]);
    ends(&none, 2);
    let said = text(&none.stderr);
    assert!(
        said.contains("did you mean \"a safe one neither\"?"),
        "{said}"
    );
}

#[test]
fn mistakes_are_told_before_anything_is_tried() {
    let wrong = GATE.replace("mock.nsfw = { nsfw_score", "mock.nsfw = { nsfw_scor");
    let folder = folder(&wrong);
    let file = folder.path().join("gate.toml");
    let file = file.to_str().unwrap();
    for command in ["test", "check"] {
        let output = omnizap(folder.path())
            .args([command, file])
            .output()
            .unwrap();
        ends(&output, 78);
        let said = text(&output.stderr);
        for place in [":20:15: ", ":26:15: "] {
            let mistake = format!("{file}{place}stage `nsfw` has no output `nsfw_scor`");
            assert!(said.contains(&mistake), "{command}: {said}");
        }
        assert!(said.contains("did you mean `nsfw_score`?"), "{said}");
    }
    let gone = tried(folder.path(), &["pipelines/clasify.toml"]);
    ends(&gone, 78);
    assert!(text(&gone.stderr).contains("did you mean pipelines/classify.toml?"));
}

#[test]
fn a_picture_that_is_gone_is_for_the_check_and_not_for_the_service() {
    let picture = "picture = \"builtin:dog-sticker.webp\"\nmock.nsfw = { nsfw_score = 0.9";
    let gone = GATE.replace(picture, &picture.replace("builtin:dog-sticker", "gone"));
    let folder = folder(&gone.replace(
        "name = \"gate\"\n",
        "name = \"gate\"\nroute = \"POST /gate\"\n",
    ));
    let file = folder.path().join("gate.toml");
    let file = file.to_str().unwrap();
    for command in ["test", "check"] {
        let output = omnizap(folder.path())
            .args([command, file])
            .output()
            .unwrap();
        ends(&output, 78);
        let said = text(&output.stderr);
        assert!(
            said.contains(&format!("{file}:20:11: cannot read ")),
            "{said}"
        );
        assert!(said.contains("gone.webp"), "{said}");
    }
    let fast = omnizap(folder.path())
        .args(["check", "--fast", file])
        .output();
    ends(&fast.unwrap(), 0);
    let server = Server::of(folder.path(), &[]);
    let shown = server.client().get("/pipelines").json();
    assert_eq!(shown["pipelines"][0]["pipeline"], "gate", "{shown}");
}

/// The main pipeline, which keeps a picture before it answers.
const TWICE: &str = r#"extends = "builtin:classify"
[[stage]]
name = "persist"
with = { write = "before" }
[[stage]]
name = "llm-expand"
with = { api_key = "sk-mine" }

[[test]]
name = "a picture is embedded"
picture = "builtin:cat-sticker.webp"
request.labels = ["cat", "dog"]
[test.expect]
ran = ["decode", "embed", "persist"]
answer.llm_expansion_gate_reason = "no_api_key"

[[test]]
name = "and so it is in the next test"
picture = "builtin:cat-sticker.webp"
request.labels = ["cat", "dog"]
expect.ran = ["decode", "embed", "persist"]
"#;

#[test]
fn each_test_begins_with_nothing_unless_the_data_of_the_service_is_asked_for() {
    let folder = folder(TWICE);
    let file = folder.path().join("gate.toml");
    let file = file.to_str().unwrap();
    let data = TempDir::new().unwrap();
    ends(&tried(data.path(), &[file]), 0);
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
    let own = omnizap(data.path())
        .args(["test", "--own-data", file])
        .output();
    let out = ends(&own.unwrap(), 1);
    assert!(out.contains("1 ok, 1 failed"), "{out}");
    let skipped = "expected that stage `embed` runs, and it was skipped";
    assert!(out.contains(skipped), "{out}");
    assert!(std::fs::read_dir(data.path()).unwrap().count() > 0);
}

//! `omnizap classify`: any pipeline, asked from the command line by the rules of HTTP.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::shutdown::logs_left;
use crate::support::http::Part;
use crate::support::program::{Server, Settings, omnizap, root};

/// A judgement, with bounds on what it may hold.
const JUDGE: &str = r#"
[pipeline]
name = "judge"
route = "POST /judge"
[response]
require = ["ok"]
[request]
image_hash = { type = "text", required = true, max_chars = 64 }
theme = { type = "text", required = true, max_chars = 8, one_line = true }
accepted = { type = "bool", default = true }
labels = { type = "text_list", max_items = 2, item_max_chars = 5 }
[[stage]]
uses = "feedback"
"#;

/// A picture, hashed.
const HASH: &str = r#"
[pipeline]
name = "hashed"
[request]
file = { type = "bytes", required = true }
[[stage]]
uses = "hash"
"#;

/// Two files, one of them hashed.
const PAIR: &str = r#"
[pipeline]
name = "pair"
[request]
left = { type = "bytes", required = true, filename = "name" }
right = { type = "bytes", max_bytes = 10 }
[[stage]]
uses = "hash"
inputs = { file = "request.left" }
"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn every_kind() -> TempDir {
    folder(&[
        ("judge.toml", JUDGE),
        ("hashed.toml", HASH),
        ("pair.toml", PAIR),
    ])
}

/// The command with the pipelines of a folder, to be given the rest of its arguments.
fn classify(folder: &Path, data: &TempDir, pipeline: &str) -> Command {
    let mut command = omnizap(data.path());
    command.arg("classify").arg("--pipelines").arg(folder);
    command.args(["--pipeline", pipeline]);
    command
}

fn ask(folder: &Path, pipeline: &str, arguments: &[&str]) -> Output {
    let data = TempDir::new().unwrap();
    let mut command = classify(folder, &data, pipeline);
    command.args(arguments).output().unwrap()
}

fn picture_path() -> String {
    let path = root().join("tests/fixtures/images/lossy.webp");
    path.to_str().unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn json(output: &Output) -> Json {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// That it ended so, and said all of this on standard error.
#[track_caller]
fn assert_ends(output: &Output, code: i32, said: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for part in said {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn fields_are_read_as_over_http() {
    let folder = every_kind();
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        ..Settings::default()
    });
    let mut client = server.client();
    let hash = "0123456789abcdef".repeat(4);
    let hash = ("image_hash", hash.as_str());
    let theme = ("theme", "animals");
    let mut answered = 0;
    for sent in [
        vec![hash, theme],
        vec![hash, theme, ("accepted", "no"), ("labels", "a,b")],
        vec![hash, theme, ("labels", "a"), ("labels", "b")],
        vec![hash, theme, ("labels", r#"["a, b", "c"]"#)],
        vec![theme],
        vec![hash],
        vec![hash, ("theme", " ")],
        vec![hash, ("theme", "far too long")],
        vec![hash, ("theme", "a\nb")],
        vec![hash, theme, ("accepted", "maybe")],
        vec![hash, theme, ("labels", "a,b,c")],
        vec![hash, theme, ("labels", "a"), ("labels", "b,c")],
        vec![hash, theme, ("labels", "a label")],
        vec![hash, theme, ("labels", "\"a")],
        vec![hash, theme, ("theme", "people")],
        vec![("image_hash", "none"), theme],
    ] {
        let parts: Vec<_> = sent
            .iter()
            .map(|(name, value)| Part::Text(name, value))
            .collect();
        let answer = client.post_form("/judge", &parts);
        let fields = sent.iter().map(|(name, value)| format!("{name}={value}"));
        let fields: Vec<_> = fields
            .flat_map(|field| ["--field".to_owned(), field])
            .collect();
        let mut arguments: Vec<_> = fields.iter().map(String::as_str).collect();
        arguments.push("--json");
        let output = ask(folder.path(), "judge", &arguments);
        if answer.status == 200 {
            answered += 1;
            assert_eq!(json(&output), answer.json(), "{sent:?}");
            continue;
        }
        assert_eq!(answer.status, 422, "{sent:?}");
        // What a stage refuses is found out by running it.
        let code = if answer.json()["stage"].is_null() {
            2
        } else {
            1
        };
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert_ends(&output, code, &["error: ", &detail]);
    }
    assert_eq!(answered, 4);
}

#[test]
fn a_pipeline_without_a_file_runs_once() {
    let folder = every_kind();
    let hash = format!("image_hash={}", "ab".repeat(32));
    let fields = ["--field", &hash, "--field", "theme=animals"];
    let output = ask(folder.path(), "judge", &fields);
    assert_ends(&output, 0, &[]);
    assert_eq!(text(&output.stdout), "judge\n  ok: true\n");

    let path = picture_path();
    let with_file = [&fields[..], &[path.as_str()]].concat();
    let refused = ask(folder.path(), "judge", &with_file);
    assert_ends(
        &refused,
        2,
        &["the pipeline `judge` takes no file", "image_hash, theme"],
    );
}

#[test]
fn a_file_is_an_argument_or_a_field() {
    let folder = every_kind();
    let path = picture_path();
    let field = format!("file=@{path}");
    let by_argument = ask(folder.path(), "hashed", &["--json", &path]);
    let by_field = ask(folder.path(), "hashed", &["--json", "--field", &field]);
    let answer = json(&by_argument);
    assert_eq!(answer["image_hash"].as_str().unwrap().len(), 64);
    assert_eq!(json(&by_field), answer);

    let data = TempDir::new().unwrap();
    let mut command = classify(folder.path(), &data, "hashed");
    command.args(["--json", "--field", "file=@-"]);
    command.stdin(std::fs::File::open(&path).unwrap());
    assert_eq!(json(&command.output().unwrap()), answer);

    let missing = ask(folder.path(), "hashed", &[]);
    assert_ends(
        &missing,
        2,
        &["file: this field is required", "name a FILE", "file=@PATH"],
    );
    let twice = ask(folder.path(), "hashed", &["--field", &field, &path]);
    assert_ends(&twice, 2, &["file: is given twice"]);
    let twice = ask(
        folder.path(),
        "hashed",
        &["--field", &field, "--field", &field],
    );
    assert_ends(&twice, 2, &["file: is given twice"]);
    let plain = ask(folder.path(), "hashed", &["--field", "file=a.png"]);
    assert_ends(&plain, 2, &["file: expected a file", "--field file=@PATH"]);
    let nowhere = ask(
        folder.path(),
        "hashed",
        &["--field", "file=@/nowhere/a.png"],
    );
    assert_ends(&nowhere, 1, &["/nowhere/a.png"]);
    let inputs = ask(folder.path(), "hashed", &["-", "-"]);
    assert_ends(&inputs, 2, &["standard input can be read once"]);
}

#[test]
fn several_files_are_told_apart_by_their_fields() {
    let folder = every_kind();
    let path = picture_path();
    let which = ask(folder.path(), "pair", &[&path]);
    assert_ends(
        &which,
        2,
        &["`pair` takes several files", "NAME=@PATH", "left, right"],
    );
    let missing = ask(folder.path(), "pair", &[]);
    assert_ends(
        &missing,
        2,
        &["left: this field is required", "--field left=@PATH"],
    );

    let left = format!("left=@{path}");
    let answer = json(&ask(folder.path(), "pair", &["--json", "--field", &left]));
    let alone = json(&ask(folder.path(), "hashed", &["--json", &path]));
    assert_eq!(answer["image_hash"], alone["image_hash"]);
    assert_eq!(answer["name"], "lossy.webp");

    let right = format!("right=@{path}");
    let large = ["--field", &left, "--field", &right];
    let large = ask(folder.path(), "pair", &large);
    assert_ends(&large, 1, &["right: ", "at most 10 are allowed"]);
}

#[test]
fn fields_that_there_are_not_are_told() {
    let folder = every_kind();
    let path = picture_path();
    for (flag, value) in [("--labels", "cat,dog"), ("--theme", "animals")] {
        let refused = ask(folder.path(), "hashed", &[&path, flag, value]);
        let field = flag.trim_start_matches('-');
        let said = format!("{flag}: the pipeline `hashed` takes no field `{field}`");
        assert_ends(&refused, 2, &[&said]);
        assert!(refused.stdout.is_empty());
    }
    let misspelt = ask(folder.path(), "judge", &["--field", "thme=animals"]);
    assert_ends(
        &misspelt,
        2,
        &["takes no field `thme`: did you mean `theme`?"],
    );
    let without = ask(folder.path(), "judge", &["--field", "theme"]);
    assert_ends(&without, 2, &["NAME=VALUE"]);

    let hash = format!("image_hash={}", "ab".repeat(32));
    let both = [
        "--field",
        &hash,
        "--theme",
        "animals",
        "--field",
        "theme=people",
    ];
    assert_ends(
        &ask(folder.path(), "judge", &both),
        2,
        &["theme: is given twice"],
    );
    let labels = ["--theme", "a", "--labels", "b", "--field", "labels=c"];
    let labels = [&["--field", hash.as_str()][..], &labels].concat();
    assert_ends(&ask(folder.path(), "judge", &labels), 0, &[]);
    let many = [&labels[..], &["--field", "labels=d"]].concat();
    assert_ends(
        &ask(folder.path(), "judge", &many),
        2,
        &["labels: more than 2 items"],
    );
}

/// Two pictures of two classes.
fn samples() -> TempDir {
    let samples = TempDir::new().unwrap();
    for class in ["cat", "dog"] {
        std::fs::create_dir(samples.path().join(class)).unwrap();
        let picture = samples.path().join(class).join("a.webp");
        std::fs::copy(picture_path(), picture).unwrap();
    }
    samples
}

/// A command on the pipelines of a folder.
fn command(folder: &Path, arguments: &[&str]) -> Output {
    let data = TempDir::new().unwrap();
    let mut command = omnizap(data.path());
    command.args(arguments).arg("--pipelines").arg(folder);
    command.output().unwrap()
}

#[test]
fn a_misspelt_pipeline_is_told_the_nearest() {
    let folder = every_kind();
    let samples = samples();
    let pictures = samples.path().to_str().unwrap();
    for arguments in [
        &["classify", "a.png", "--pipeline", "juge"][..],
        &["eval", pictures, "--pipeline", "juge"],
        &["graph", "--pipeline", "juge"],
    ] {
        assert_ends(
            &command(folder.path(), arguments),
            78,
            &["there is no pipeline `juge`: did you mean `judge`?"],
        );
    }
    let far = command(folder.path(), &["graph", "--pipeline", "zzzz"]);
    assert_ends(&far, 78, &["expected one of: hashed, judge, pair"]);
    let shown = command(folder.path(), &["graph", "--pipeline", "pair"]);
    assert_ends(&shown, 0, &[]);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("pair") && !shown.contains("judge"),
        "{shown}"
    );
}

#[test]
fn eval_needs_a_pipeline_that_takes_labels() {
    let samples = samples();
    let pictures = samples.path().to_str().unwrap();
    let folder = every_kind();
    let refused = command(folder.path(), &["eval", pictures, "--pipeline", "hashed"]);
    assert_ends(&refused, 2, &["`hashed` takes no field `labels`"]);
}

#[test]
fn a_mistake_in_another_file_is_a_warning() {
    let broken = JUDGE
        .replace("\"judge\"", "\"broken\"")
        .replace("/judge", "/broken")
        .replace("uses = \"feedback\"", "uses = \"fedback\"");
    let folder = folder(&[("hashed.toml", HASH), ("broken.toml", broken.as_str())]);
    let path = picture_path();
    let warned = ask(folder.path(), "hashed", &["--json", &path]);
    assert_ends(&warned, 0, &["warning: ", "broken.toml has mistakes"]);
    assert!(json(&warned)["image_hash"].is_string());
    let shown = command(folder.path(), &["graph", "--pipeline", "hashed"]);
    assert_ends(&shown, 0, &["broken.toml has mistakes"]);
    // Where it is the one that is named, and where all of them are asked for, it is a mistake.
    let named = ask(folder.path(), "broken", &["--field", "theme=a"]);
    assert_ends(&named, 78, &["did you mean `feedback`?"]);
    let checked = command(folder.path(), &["check"]);
    assert_ends(&checked, 78, &["did you mean `feedback`?"]);
}

#[test]
fn a_command_closes_the_database_whatever_comes_of_it() {
    let path = picture_path();
    let (fine, broken) = (samples(), samples());
    let broken_file = broken.path().join("dog/broken.png");
    std::fs::write(&broken_file, "not a picture").unwrap();
    let broken_file = broken_file.to_str().unwrap();
    let [fine, broken] = [&fine, &broken].map(|folder| folder.path().to_str().unwrap());
    let hash = format!("image_hash={}", "ab".repeat(32));
    let judged = ["--field", &hash, "--field", "theme=t"];
    for (arguments, code) in [
        (vec!["classify", &path], 0),
        (vec!["classify", &path, broken_file], 1),
        (vec!["eval", fine], 0),
        (vec!["eval", broken], 1),
        (
            [&["classify", "--pipeline", "feedback"][..], &judged].concat(),
            0,
        ),
    ] {
        let data = TempDir::new().unwrap();
        let ended = |arguments: &[&str], code: i32| {
            let output = omnizap(data.path()).args(arguments).output().unwrap();
            assert_ends(&output, code, &[]);
            assert!(data.path().join("omnizap.db").exists(), "{arguments:?}");
            assert_eq!(logs_left(data.path()), [""; 0], "{arguments:?}");
        };
        ended(&arguments, code);
        ended(&["db", "status"], 0);
        ended(&["db", "forget", "--older-than", "0s", "--yes"], 0);
    }
}

#[test]
fn a_command_that_is_interrupted_closes_the_database_too() {
    let path = picture_path();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let data = TempDir::new().unwrap();
        let mut child = omnizap(data.path())
            .args(["classify", "--json", "--labels", "a cat,a dog", &path, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The first file is answered, the second one never comes.
        let silent = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.starts_with('{'), "{answer}");
        let id = child.id().to_string();
        let told = Command::new("kill").args([signal, &id]).status();
        assert!(told.unwrap().success());
        let output = child.wait_with_output().unwrap();
        drop((silent, answers));
        assert_ends(&output, code, &["interrupted"]);
        assert!(data.path().join("omnizap.db").exists());
        assert_eq!(logs_left(data.path()), [""; 0], "{signal}");
    }
}

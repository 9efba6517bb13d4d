//! Commands, their output and their exit codes.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::program::{Server, omnizap, root, run};

/// Runs a command of the program with variables set.
fn run_with(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let data = TempDir::new().unwrap();
    let mut command = omnizap(data.path());
    command.envs(environment.iter().copied());
    command.args(arguments).output().unwrap()
}

/// That it ended so, and said all of this, wherever.
#[track_caller]
fn assert_says(output: &Output, code: i32, said: &[&str]) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in said {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn the_version_and_the_help_are_shown() {
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("omnizap 0."));
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for taught in [
        "serve",
        "classify",
        "eval",
        "bench",
        "check",
        "graph",
        "db",
        "Exit codes",
        "127.0.0.1:8008",
    ] {
        assert!(help.contains(taught), "{taught}");
    }
}

#[test]
fn bad_usage_is_exit_code_2() {
    assert_eq!(run(&["classify"]).status.code(), Some(2));
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(run(&["graph", "--format", "png"]).status.code(), Some(2));
}

#[test]
fn eval_measures_pictures_in_folders_and_in_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let samples = root().join("models/embedded/samples");
    let pictures = [
        ("cat", "cat-sticker.webp"),
        ("dog", "dog-sticker.webp"),
        ("pizza", "pizza-sticker.webp"),
        ("bar_chart", "bar-chart.png"),
        ("qr_code", "qr-code.png"),
    ];
    let mut table = "file,label\n".to_owned();
    for (class, name) in pictures {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        std::fs::copy(samples.join(name), folder.path().join(class).join(name)).unwrap();
        table += &format!("{class}/{name},{}\n", class.replace('_', " "));
    }
    let directory = folder.path().to_str().unwrap();
    let by_folder = run(&["eval", directory, "--json"]);
    let message = String::from_utf8_lossy(&by_folder.stderr).into_owned();
    assert_eq!(by_folder.status.code(), Some(0), "{message}");
    let report: Json = serde_json::from_slice(&by_folder.stdout).unwrap();
    assert_eq!(report["pictures"], 5);
    assert_eq!(report["candidates"], 5);
    assert!(report["top1"].as_f64().unwrap() >= 0.8, "{report:#}");
    assert_eq!(report["top5"], 1.0);
    assert!(report["model"].as_str().unwrap().contains("omnizap-mini"));

    let file = folder.path().join("truth.csv");
    std::fs::write(&file, table).unwrap();
    let by_table = run(&[
        "eval",
        directory,
        "--labels",
        file.to_str().unwrap(),
        "--json",
    ]);
    assert_eq!(by_table.stdout, by_folder.stdout);

    // A broken picture is named, the others count, and the exit code says so.
    std::fs::write(folder.path().join("dog/broken.png"), "not a picture").unwrap();
    let broken = run(&["eval", directory]);
    assert_eq!(broken.status.code(), Some(1));
    let (text, message) = (
        String::from_utf8_lossy(&broken.stdout).into_owned(),
        String::from_utf8_lossy(&broken.stderr).into_owned(),
    );
    assert!(text.contains("5 pictures of 5 classes"), "{text}");
    assert!(
        message.contains("broken.png") && message.contains("1 of 6"),
        "{message}"
    );
}

#[test]
fn eval_says_what_it_needs() {
    let empty = tempfile::tempdir().unwrap();
    let output = run(&["eval", empty.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("CLASS/*.png"));
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let names = [
        "OMNIZAP_PIPELINES",
        "OMNIZAP_LISTEN",
        "OMNIZAP_LOG",
        "OMNIZAP_MAX_BODY_BYTES",
        "OMNIZAP_MAX_REQUESTS_IN_FLIGHT",
        "OMNIZAP_SHUTDOWN_GRACE_MS",
        "OMNIZAP_SAFE",
        "OMNIZAP_NO_PAGE",
    ];
    for value in ["", " "] {
        let environment = names.map(|name| (name, value));
        let shown = run_with(&environment, &["graph"]);
        assert_says(&shown, 0, &["classify"]);
    }
    let folder = TempDir::new().unwrap();
    let mut command = omnizap(folder.path());
    let shown = command.env("OMNIZAP_DATA", "").arg("graph").output();
    assert_says(&shown.unwrap(), 0, &["classify"]);
}

#[test]
fn a_wrong_value_is_told_by_its_variable() {
    let none: [&str; 0] = [];
    for (name, value, flag) in [
        ("OMNIZAP_LISTEN", "nowhere", "--listen <ADDR>"),
        ("OMNIZAP_MAX_BODY_BYTES", "0", "--max-body-bytes <BYTES>"),
        ("OMNIZAP_SAFE", "perhaps", "--safe"),
        ("OMNIZAP_LOG", "omnizap=loud", "--log <FILTER>"),
    ] {
        for arguments in [&none[..], &["serve"]] {
            let refused = run_with(&[(name, value)], arguments);
            assert_says(&refused, 2, &[name, value, flag]);
        }
    }
    // The same mistake on the command line is not the variable's.
    let arguments = ["serve", "--listen", "nowhere"];
    for variable in ["nowhere", "127.0.0.1:0"] {
        let refused = run_with(&[("OMNIZAP_LISTEN", variable)], &arguments);
        assert_says(&refused, 2, &["for '--listen <ADDR>'"]);
    }
}

#[test]
fn a_switch_may_be_written_in_any_usual_way() {
    for value in ["1", "true", "on", "yes", "0", "false", "off", "no"] {
        let shown = run_with(&[("OMNIZAP_SAFE", value)], &["graph"]);
        assert_says(&shown, 0, &["classify"]);
    }
}

#[test]
fn a_log_that_is_no_terminal_has_no_escape_sequences() {
    let server = Server::start();
    server.client().get("/health");
    let log = server.log();
    assert!(log.contains("listening on"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log:?}");
}

#[test]
fn the_flags_of_serve_may_stand_before_it() {
    // A port that is taken, so that the address shows in the message, and nothing is served.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let in_use = format!("cannot listen on {address}");
    for arguments in [
        &["--listen", &address][..],
        &["--listen", &address, "serve"],
        &["serve", "--listen", &address],
    ] {
        assert_says(&run(arguments), 1, &[&in_use]);
    }
    let both = ["--listen", &address, "serve", "--listen", &address];
    assert_says(&run(&both), 2, &["'--listen <ADDR>' is given twice"]);
    let check = ["--listen", &address, "check"];
    assert_says(&run(&check), 2, &["belongs to `serve`", "`check`"]);
    // The variable is for every command.
    let shown = run_with(&[("OMNIZAP_LISTEN", address.as_str())], &["graph"]);
    assert_says(&shown, 0, &[]);
}

#[test]
fn a_file_that_there_is_not_is_told_the_nearest() {
    for command in ["graph", "check"] {
        let missing = run(&[command, "pipelines/clasify.toml"]);
        assert_says(&missing, 78, &["did you mean pipelines/classify.toml?"]);
        let far = run(&[command, "pipelines/zzz.toml"]);
        assert_says(&far, 78, &["there is no file pipelines/zzz.toml"]);
    }
}

#[test]
fn two_letters_that_changed_places_are_one_slip() {
    let folder = TempDir::new().unwrap();
    for name in ["two", "tower", "hash-only"] {
        let text = format!("[pipeline]\nname = \"{name}\"\n[[stage]]\nuses = \"hash\"\n");
        let text = format!("{text}[request]\nfile = {{ type = \"bytes\", required = true }}\n");
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let pipelines = folder.path().to_str().unwrap();
    let named = run(&["graph", "--pipelines", pipelines, "--pipeline", "tow"]);
    let said = "there is no pipeline `tow`: did you mean `two`?";
    assert_says(&named, 78, &[said]);
}

/// A pipeline with a route of that name.
fn forgetful(name: &str, route: &str) -> String {
    format!(
        r#"
[pipeline]
name = "{name}"
route = "DELETE /{route}/{{hash}}"
[response]
require = ["ok"]
[request]
hash = {{ type = "text", from = "path", required = true }}
[[stage]]
uses = "forget"
"#
    )
}

fn check(folder: &Path, file: Option<&Path>, arguments: &[&str]) -> Output {
    let data = TempDir::new().unwrap();
    let mut command = omnizap(data.path());
    command.arg("check").arg("--pipelines").arg(folder);
    command.args(file).args(arguments).output().unwrap()
}

#[test]
fn one_file_is_checked_against_its_folder() {
    let folder = TempDir::new().unwrap();
    for (file, name, route) in [("a.toml", "a", "images"), ("b.toml", "b", "images")] {
        std::fs::write(folder.path().join(file), forgetful(name, route)).unwrap();
    }
    std::fs::write(folder.path().join("broken.toml"), "[pipeline").unwrap();
    let whole = check(folder.path(), None, &[]);
    assert_says(&whole, 78, &["the route DELETE /images/{hash} is taken by"]);
    for (file, other) in [("a.toml", "b.toml"), ("b.toml", "a.toml")] {
        let file = folder.path().join(file);
        let warned = check(folder.path(), Some(&file), &[]);
        assert_says(&warned, 0, &[": fine: ", "warning: ", "is taken by", other]);
        let last = String::from_utf8_lossy(&warned.stdout).into_owned();
        let last = last.lines().last().unwrap_or_default().to_owned();
        assert!(last.contains(" warning"), "{last}");
        let strict = check(folder.path(), Some(&file), &["--strict"]);
        assert_says(&strict, 78, &["is taken by", "--strict allows none"]);
        let denied = check(folder.path(), Some(&file), &["--deny-warnings"]);
        assert_eq!(denied.status.code(), Some(78));
        // A file of no folder of pipelines clashes with nothing.
        let elsewhere = check(&root().join("pipelines"), Some(&file), &[]);
        let said = String::from_utf8_lossy(&elsewhere.stdout).into_owned();
        assert_eq!(elsewhere.status.code(), Some(0), "{said}");
        assert!(!said.contains("is taken by"), "{said}");
    }
}

/// What `check` says of one stage over the main pipeline; it is refused.
#[track_caller]
fn refused(stage: &str, environment: &[(&str, &str)]) -> String {
    let (folder, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let text = format!("extends = \"builtin:classify\"\nstage = [{{ {stage} }}]\n");
    std::fs::write(folder.path().join("classify.toml"), text).unwrap();
    let mut command = omnizap(data.path());
    command.arg("check").arg("--pipelines").arg(folder.path());
    let checked = command.envs(environment.iter().copied()).output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(checked.status.code(), Some(78), "{said}");
    said
}

#[test]
fn labels_of_a_file_are_its_default_labels() {
    for stage in [
        "name = \"score\", with = { labels = [\"cat\"] }",
        "name = \"score\", with = { lables = \"cat,dog\" }",
    ] {
        let said = refused(stage, &[]);
        assert!(said.contains("did you mean `default_labels`?"), "{said}");
    }
    let said = refused("name = \"score\", labels = [\"cat\"]", &[]);
    assert!(said.contains("with = { default_labels = .. }"), "{said}");
}

#[test]
fn what_a_variable_holds_is_told_with_the_variable_and_a_key_never() {
    let stage = "name = \"score\", with = { model = \"${MODEL_OF_TEST}\" }";
    let said = refused(stage, &[("MODEL_OF_TEST", "MobileCLIP-S7")]);
    let wanted = "option `model` (from \"${MODEL_OF_TEST}\"): ";
    assert!(said.contains(wanted), "{said}");
    for stage in [
        "name = \"llm-expand\", with = { api_key = \"sk-1\", api_key = \"sk-2\" }",
        "name = \"llm-expand\", with = { api_kee = \"sk-1\" }",
        "name = \"llm-expand\", api_key = \"sk-1\"",
        "name = \"llm-expand\", with = { api_key = \"sk-1 }",
        "name = \"llm-expand\", with = { api_key = \"sk-1\" }, after = \"nowhere\"",
    ] {
        let said = refused(stage, &[]);
        assert!(!said.contains("sk-"), "{stage}: {said}");
        assert!(said.contains("classify.toml:2:"), "{stage}: {said}");
    }
}

#[test]
fn check_looks_at_what_options_name_unless_it_is_to_be_fast() {
    let folder = TempDir::new().unwrap();
    let text = "extends = \"builtin:classify\"\n\
        stage = [{ name = \"score\", with = { default_labels_path = \"/nowhere/labels\" } }]\n";
    std::fs::write(folder.path().join("classify.toml"), text).unwrap();
    let checked = check(folder.path(), None, &[]);
    assert_says(&checked, 78, &["classify.toml:2:", "/nowhere/labels"]);
    assert_says(&check(folder.path(), None, &["--fast"]), 0, &[": fine: "]);
}

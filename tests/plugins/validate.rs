//! `omnizap plugins validate`: the examples pass, what it says and takes, how it ends.

mod planted;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{build, compile};
use crate::support::program::omnizap;

const FAULTY: &str = "tests/fixtures/plugins/faulty.c";
const WAYWARD: &str = "tests/fixtures/plugins/wayward.c";
const COLOURS: &str = "plugins/examples/dominant-colours/dominant_colours.c";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = omnizap(&folder.join("data"));
    command.current_dir(folder).args(["plugins", "validate"]);
    command.args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Validates a library: the exit code and the report.
fn validate(folder: &Path, library: &Path, arguments: &[&str]) -> (Option<i32>, Json) {
    let library = library.display().to_string();
    let mut all = vec![&*library, "--json", "--seed", "7"];
    all.extend(arguments);
    let output = run(folder, &all);
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    (output.status.code(), report)
}

fn checks<'r>(report: &'r Json, outcome: &str) -> Vec<&'r Json> {
    let all = report["checks"].as_array().unwrap().iter();
    all.filter(|check| check["outcome"] == outcome).collect()
}

fn ids(checks: &[&Json]) -> BTreeSet<String> {
    let ids = checks.iter().map(|check| check["check"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn the_examples_pass() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let right = [
        (build("omnizap-phash", folder), &["errors"][..]),
        (build("omnizap-quality", folder), &["batch", "cancel"]),
        (compile(COLOURS, &[], folder, "colours.so"), &["strides"]),
        (compile(FAULTY, &["-DFAULT=0"], folder, "right.so"), &[]),
        (
            compile(WAYWARD, &["-DFAULT=NONE"], folder, "mean.so"),
            &["init-twice"],
        ),
    ];
    for (library, own) in right {
        let (code, report) = validate(folder, &library, &[]);
        assert_eq!(
            ids(&checks(&report, "failed")),
            BTreeSet::new(),
            "{report:#}"
        );
        assert_eq!(code, Some(0), "{report:#}");
        let passed = ids(&checks(&report, "ok"));
        let all = ["exports", "outputs", "borrowed", "pure", "threads", "leak"];
        for must in all.iter().chain(own) {
            assert!(passed.contains(*must), "{must}: {report:#}");
        }
    }
}

#[test]
fn what_is_no_library_fails_and_what_is_missing_is_bad_usage() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let plain = folder.join("text.so");
    std::fs::write(&plain, "not a library").unwrap();
    let (code, report) = validate(folder, &plain, &[]);
    assert_eq!(code, Some(1));
    let failed = checks(&report, "failed");
    assert_eq!(ids(&failed), BTreeSet::from(["library".to_owned()]));
    let found = failed[0]["found"].as_str().unwrap();
    assert!(found.contains("does not begin as an ELF file"), "{found}");
    assert!(!checks(&report, "skipped").is_empty());

    let gone = run(folder, &["gone.so"]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(
        text(&gone).contains("cannot read gone.so"),
        "{}",
        text(&gone)
    );

    let right = compile(WAYWARD, &["-DFAULT=NONE"], folder, "right.so");
    let right = right.display().to_string();
    for (arguments, said) in [
        (&[&*right, "--only", "leek"][..], "leak"),
        (
            &[&*right, "--reproduce", "leek:test/wayward:1"],
            "did you mean `leak`?",
        ),
        (
            &[&*right, "--reproduce", "leak:test/waywrad:1"],
            "did you mean `test/wayward`?",
        ),
        (
            &[&*right, "--with", "level=12"],
            "a whole number from 0 to 9",
        ),
        (&[], "FILE"),
    ] {
        let output = run(folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output).contains(said), "{}", text(&output));
    }
}

#[test]
fn checks_are_listed_chosen_and_told_to_people() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let listed = text(&run(folder, &["--list"]));
    for id in ["abi-version", "borrowed", "odd-images", "create-fast"] {
        assert!(listed.contains(&format!("\n  {id} ")), "{listed}");
    }
    let library = compile(WAYWARD, &["-DFAULT=SILENT"], folder, "it's silent.so");
    let library = library.display().to_string();
    let chosen = [
        "--only", "run", "--only", "errors", "--seed", "5", "--skip", "run",
    ];
    let output = run(folder, &[&[&*library][..], &chosen].concat());
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("seed 5") && said.contains("stage test/wayward"),
        "{said}"
    );
    for wanted in [
        "FAILED   errors\n    found    an error without a message",
        "expected each error has a message",
        "do       before an error status, write one sentence",
        "--reproduce errors:test/wayward:5\n",
        r"it'\''s silent.so'",
        "1 check: 0 ok, 1 failed, 0 skipped",
    ] {
        assert!(said.contains(wanted), "{wanted:?}: {said}");
    }
}

/// The process that another one started, once it is there.
fn child_of(parent: u32) -> PathBuf {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            // pid (name) state ppid ..; the name of the program holds no bracket.
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields = stat.rsplit(')').next().unwrap_or_default();
            let ppid = fields.split_whitespace().nth(1);
            // It may still be on its way to be bound to its parent.
            let runs = std::fs::read_to_string(entry.path().join("maps"));
            if ppid == Some(&parent.to_string()) && runs.is_ok_and(|maps| maps.contains("endless"))
            {
                return entry.path();
            }
        }
        assert!(Instant::now() < deadline, "no child came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_check_ends_with_the_validator() {
    let folder = TempDir::new().unwrap();
    let library = compile(WAYWARD, &["-DFAULT=ENDLESS"], folder.path(), "endless.so");
    for signal in ["INT", "KILL"] {
        let mut command = omnizap(folder.path());
        command.args([
            "plugins",
            "validate",
            "--only",
            "run",
            "--timeout-ms",
            "60000",
        ]);
        let mut validator = command
            .arg(&library)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let child = child_of(validator.id());
        let pid = validator.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
        assert!(!validator.wait().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(10);
        // A zombie that nobody has waited for yet maps nothing.
        while std::fs::read_to_string(child.join("maps")).is_ok_and(|maps| !maps.is_empty()) {
            assert!(Instant::now() < deadline, "{signal}: the check goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

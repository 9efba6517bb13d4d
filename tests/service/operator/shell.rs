//! What shells and people's habits ask of every command: completions, the manual, pipes that close,
//! and no colours where none are wanted.

use std::io::Read as _;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::said;
use crate::support::database::not_tested;
use crate::support::program::{omnizap, root, run};

/// Commands that print something, and end by themselves.
const PRINTING: [&[&str]; 21] = [
    &["--help"],
    &["classify", "--help"],
    &["--version"],
    &["models", "list"],
    &["models", "list", "--plain"],
    &["models", "list", "--json"],
    &["check"],
    &["check", "--json"],
    &["graph"],
    &["graph", "--format", "json"],
    &["graph", "--format", "dot"],
    &["schema"],
    &["db", "status"],
    &["db", "status", "--json"],
    &["plugins", "list", "--json"],
    &["plugins", "validate", "--list"],
    &["doctor"],
    &["doctor", "--json"],
    &["completions", "bash"],
    &["man"],
    &[
        "classify",
        "tests/fixtures/images/baseline_420.jpg",
        "tests/fixtures/images/baseline_422.jpg",
    ],
];

#[test]
fn nobody_is_troubled_where_the_reader_has_had_enough() {
    for arguments in PRINTING {
        let is_slow = ["doctor", "classify"].contains(&arguments[0]);
        for taken in [0, 10].into_iter().skip(usize::from(is_slow)) {
            let data = TempDir::new().unwrap();
            let mut child = omnizap(data.path())
                .env("OMNIZAP_LISTEN", "127.0.0.1:0")
                .args(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut pipe = child.stdout.take().unwrap();
            let mut part = vec![0; taken];
            // One read may give less: some have less to say.
            let _ = pipe.read(&mut part).unwrap();
            drop(pipe);
            let ended = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {told}");
            assert_eq!(told, "", "{arguments:?}");
        }
    }
}

#[test]
fn a_disk_without_room_is_told() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        not_tested("a disk without room, since there is no /dev/full");
        return;
    };
    let data = TempDir::new().unwrap();
    let mut command = omnizap(data.path());
    command.args(["models", "list"]).stdout(full);
    let ended = command.output().unwrap();
    let told = said(&ended, 1);
    assert!(
        told.contains("standard output could not be written"),
        "{told}"
    );
}

#[test]
fn every_shell_gets_completions_that_it_can_read() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let printed = run(&["completions", shell]);
        let script = said(&printed, 0);
        for word in ["doctor", "top", "models", "verify", "no-page"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("omnizap");
    std::fs::write(&script, run(&["completions", "bash"]).stdout).unwrap();
    let asks = format!(
        "source '{}' && COMP_WORDS=(omnizap doc) COMP_CWORD=1 && _omnizap omnizap doc omnizap \
         && echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    for arguments in [&["-n", script.to_str().unwrap()][..], &["-c", &asks]] {
        let Ok(read) = Command::new("bash").args(arguments).output() else {
            not_tested("completions in bash, since there is none");
            return;
        };
        let all = said(&read, 0);
        assert!(arguments[0] == "-n" || all.trim() == "doctor", "{all}");
    }
    said(&run(&["completions", "cmd"]), 2);
}

#[test]
fn the_manual_has_a_page_for_each_command_that_man_can_read() {
    let page = run(&["man"]);
    let text = said(&page, 0);
    for part in [
        ".TH omnizap 1",
        ".SH OPTIONS",
        "OMNIZAP_LISTEN",
        "Exit codes",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let one = said(&run(&["man", "db", "forget"]), 0);
    assert!(one.contains(".TH omnizap-db-forget 1"), "{one}");
    let nearest = said(&run(&["man", "doctr"]), 2);
    assert!(nearest.contains("did you mean `doctor`?"), "{nearest}");

    let folder = TempDir::new().unwrap();
    let written = run(&["man", "--out", folder.path().to_str().unwrap()]);
    said(&written, 0);
    let pages = std::fs::read_dir(folder.path()).unwrap().flatten();
    let pages: Vec<_> = pages.map(|page| page.path()).collect();
    let has = |name: &str| pages.iter().any(|page| page.ends_with(name));
    assert!(
        has("omnizap.1") && has("omnizap-models-pull.1") && has("omnizap-top.1"),
        "{pages:?}"
    );
    for page in &pages {
        let read = Command::new("groff")
            .args(["-k", "-man", "-ww", "-Tutf8", "-z"])
            .arg(page)
            .output();
        let Ok(read) = read else {
            not_tested("the manual in groff, since there is none");
            return;
        };
        assert_eq!(said(&read, 0).trim(), "", "{}", page.display());
    }
}

/// What a command shows on a terminal with these variables; none where there is no `script`.
fn on_a_terminal(arguments: &str, environment: &[(&str, &str)]) -> Option<String> {
    let data = TempDir::new().unwrap();
    let program = env!("CARGO_BIN_EXE_omnizap");
    // It gives a program a terminal.
    let shown = Command::new("script")
        .args(["-qec", &format!("{program} {arguments}"), "/dev/null"])
        .env_remove("NO_COLOR")
        // Programs that are run by a builder may think that its log takes colours.
        .env("CI", "true")
        .env("OMNIZAP_DATA", data.path())
        .env("OMNIZAP_LISTEN", "127.0.0.1:0")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output();
    let Ok(shown) = shown else {
        not_tested("colours on a terminal, since there is no `script`");
        return None;
    };
    Some(String::from_utf8_lossy(&shown.stdout).into_owned())
}

#[test]
fn colours_are_for_terminals_that_take_them_and_people_who_want_them() {
    // The log, on standard error, and findings, on standard output; a misspelt variable is told.
    for (arguments, part) in [("doctor", "limits: "), ("--log debug db status", "pending")] {
        let Some(coloured) = on_a_terminal(arguments, &[("TERM", "xterm")]) else {
            return;
        };
        assert!(coloured.contains(part), "{coloured}");
        if arguments == "doctor" {
            assert!(coloured.contains("\u{1b}[32mok"), "{coloured:?}");
        }
        for unwanted in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let environment = [("TERM", "xterm"), unwanted];
            let plain = on_a_terminal(arguments, &environment).unwrap();
            assert!(plain.contains(part), "{plain}");
            assert!(!plain.contains('\u{1b}'), "{unwanted:?}: {plain:?}");
        }
    }
}

#[test]
fn bars_and_messages_know_who_reads_them() {
    let folder = TempDir::new().unwrap();
    for class in ["cat", "dog"] {
        let name = format!("{class}-sticker.webp");
        let sample = root().join("models/embedded/samples").join(&name);
        std::fs::create_dir(folder.path().join(class)).unwrap();
        std::fs::copy(sample, folder.path().join(class).join(name)).unwrap();
    }
    let eval = format!("eval '{}'", folder.path().display());
    let Some(dumb) = on_a_terminal(&eval, &[("TERM", "dumb")]) else {
        return;
    };
    assert!(dumb.contains("2 pictures of 2 classes"), "{dumb}");
    assert!(!dumb.contains('\u{1b}'), "{dumb:?}");
    for arguments in ["check no-such.toml", "--no-such-flag"] {
        for unwanted in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let plain = on_a_terminal(arguments, &[unwanted]).unwrap();
            assert!(plain.contains("no-such"), "{plain}");
            assert!(!plain.contains('\u{1b}'), "{unwanted:?}: {plain:?}");
        }
    }
}

#[test]
fn tables_are_for_people_or_for_programs() {
    let table = said(&run(&["models", "list"]), 0);
    assert!(table.starts_with("NAME "), "{table}");
    let plain = said(&run(&["models", "list", "--plain"]), 0);
    let mut rows = plain.lines().filter(|line| !line.is_empty());
    assert!(rows.all(|row| row.split('\t').count() == 8), "{plain}");
    let checked = run(&["check", "--json"]);
    said(&checked, 0);
    let document: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(document["ok"], true);
    let pipelines = document["pipelines"].as_array().unwrap();
    assert!(
        pipelines.iter().any(|one| one["pipeline"] == "classify"),
        "{document:#}"
    );

    let folder = TempDir::new().unwrap();
    let text = "[pipeline]\nname = \"x\"\n[[stage]]\nuses = \"hsh\"\n";
    let file = folder.path().join("x.toml");
    std::fs::write(&file, text).unwrap();
    let refused = run(&["check", file.to_str().unwrap(), "--json"]);
    said(&refused, 78);
    let document: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    let mistake = &document["mistakes"][0];
    assert_eq!(
        (&document["ok"], &mistake["line"]),
        (&false.into(), &4.into())
    );
    assert!(
        mistake["text"]
            .as_str()
            .unwrap()
            .contains("did you mean `hash`?"),
        "{mistake}"
    );
}

//! The settings, commands and metrics that are named are those of the program, and all of them are
//! told in the pages.

use std::collections::BTreeSet;
use std::process::Command;

use super::{COMPOSE, UNIT, captures, files, instructions, keys, text, yaml};
use crate::support::program::{Server, root, run};

const OPERATIONS: &str = "docs/operations.md";

/// The variables that the program and the pipelines in it ask for.
fn known_variables() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut sources = [files("engine/cli"), files("models/files")].concat();
    sources.push("engine/cli.rs".to_owned());
    // The doctor looks for those of others too.
    let is_source = |path: &&String| path.ends_with(".rs") && !path.contains("/doctor/");
    for path in sources.iter().filter(is_source) {
        let text = text(path);
        // Tests ask for some that there are not.
        let code = text.split("#[cfg(test)]").next().unwrap();
        let name = r#""((?:OMNIZAP|CLIP|DATABASE|DB|OPENAI|HF|NO)_[A-Z0-9_]+)""#;
        known.extend(captures(name, code));
    }
    for path in ["classify", "feedback", "compat/classify", "compat/feedback"] {
        let text = text(&format!("pipelines/{path}.toml"));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let said: String = lines.collect();
        known.extend(captures(r"\$\{([A-Z][A-Z0-9_]+)", &said));
    }
    assert!(known.len() > 60, "{known:?}");
    known
}

/// The variables that are set for the program, each with the file that sets it.
fn variables() -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    let mut add = |names: BTreeSet<String>, file: &'static str| {
        assert!(!names.is_empty(), "{file} sets nothing");
        found.extend(names.into_iter().map(|name| (name, file)));
    };
    for instruction in instructions() {
        if let Some(set) = instruction.strip_prefix("ENV ") {
            add(captures(r"(?:^|\s)([A-Z][A-Z0-9_]*)=", set), "Dockerfile");
        }
    }
    let compose = yaml(COMPOSE);
    let environment = &compose["services"]["omnizap"]["environment"];
    add(keys(environment), COMPOSE);
    add(
        captures(r"(?m)^Environment=([A-Z0-9_]+)=", &text(UNIT)),
        UNIT,
    );
    let settings = "deploy/systemd/omnizap.env";
    add(captures(r"(?m)^#?([A-Z0-9_]+)=", &text(settings)), settings);
    let config = "deploy/kubernetes/configmap.yaml";
    add(keys(&yaml(config)["data"]), config);
    let secret = "deploy/kubernetes/secret.example.yaml";
    add(keys(&yaml(secret)["stringData"]), secret);
    found
}

#[test]
fn every_variable_that_is_set_is_one_that_the_program_reads() {
    let known = known_variables();
    for (name, file) in variables() {
        assert!(known.contains(&name), "{file} sets {name}");
    }
    assert!(!known.contains("OMNIZAP_LISTENS"));
}

#[test]
fn every_variable_of_the_program_is_told_in_the_pages() {
    let mut pages = String::new();
    for path in files("docs").iter().filter(|path| path.ends_with(".md")) {
        pages.push_str(&text(path));
    }
    let told = captures(r"`([A-Z][A-Z0-9_]+)`", &pages);
    let missing: Vec<_> = known_variables().difference(&told).cloned().collect();
    assert!(missing.is_empty(), "docs/settings.md lacks {missing:?}");
}

#[test]
fn what_compose_is_asked_for_is_in_the_example() {
    let asked = captures(r"\$\{([A-Z_]+)[:}]", &text(COMPOSE));
    let told = captures(r"(?m)^#?([A-Z_]+)=", &text("deploy/env.example"));
    assert_eq!(asked, told);
    assert!(!root().join("deploy/.env").exists() || is_git_ignored("deploy/.env"));
}

fn is_git_ignored(path: &str) -> bool {
    let mut git = Command::new("git");
    let status = git
        .args(["check-ignore", "-q", path])
        .current_dir(root())
        .status();
    status.unwrap().success()
}

#[test]
fn every_command_that_is_run_is_one_of_the_program() {
    let mut commands = captures(r"\bomnizap ((?:[a-z]+ ?)+)", &text("deploy/release.sh"));
    for instruction in instructions() {
        if instruction.starts_with("RUN ") {
            commands.extend(captures(r"\bomnizap (models [a-z]+)", &instruction));
        }
        if let Some((_, words)) = instruction.split_once("CMD [") {
            let words = words.replace(['"', ']', ','], "");
            commands.insert(words.trim_start_matches("omnizap ").to_owned());
        }
    }
    commands.extend(captures(r"(?m)^ExecStart=\S+/omnizap (\w+)", &text(UNIT)));
    for expected in ["health", "serve", "models pull", "models import"] {
        assert!(commands.contains(expected), "{commands:?}");
    }
    for command in commands {
        let mut words: Vec<_> = command.split_whitespace().collect();
        if words[0] == "completions" {
            words.truncate(1);
        }
        words.push("--help");
        let output = run(&words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "omnizap {command}: {said}");
    }
}

#[test]
fn every_metric_that_is_named_is_told_and_every_alert_is_explained() {
    let server = Server::start();
    server.ready();
    let scrape = server.client().get("/metrics").told(200);
    let told = captures(r"(?m)^([a-z_]+)\{?", &scrape);
    let hpa = yaml("deploy/kubernetes/hpa.yaml");
    let metric = &hpa["spec"]["metrics"][0]["pods"]["metric"];
    let name = metric["name"].as_str().unwrap();
    let pipeline = &metric["selector"]["matchLabels"]["pipeline"];
    let series = format!("{name}{{pipeline={pipeline}}}");
    assert!(scrape.contains(&series), "{series} is not told");
    let adapter = yaml("deploy/kubernetes/prometheus-adapter.yaml");
    let made = &adapter["rules"]["custom"][0];
    assert_eq!(made["name"]["as"], name);
    let query = made["seriesQuery"].as_str().unwrap();
    assert!(query.starts_with(&format!("{name}{{")), "{query}");

    let page = text(OPERATIONS);
    let rules = text("deploy/prometheus/rules.yml");
    // Some have series only once there is a plugin or an error: the rules' own tests see to those.
    let asked = captures(r"\b((?:omnizap|process)_[a-z_]+)\b", &rules);
    for name in captures(r"\b((?:omnizap|process)_[a-z_]+)\b", &page) {
        let is_one = told.contains(&name) || asked.contains(&name);
        assert!(is_one || is_of_a_file(&name), "{OPERATIONS} names {name}");
    }
    let alerts = captures(r"- alert: (\w+)", &rules);
    let explained = captures(r"(?m)^\| `(Omnizap\w+)` \|", &page);
    assert_eq!(alerts, explained, "the alerts of {OPERATIONS}");
}

/// Tables of the database look like metrics.
fn is_of_a_file(name: &str) -> bool {
    let tables = text("migrations/lib.rs");
    tables.contains(&format!("\"{name}\""))
}

//! What operators are given: the files of `deploy`, the Dockerfile and `docs/operations.md` name
//! only settings, commands, metrics, files and ports that there are.

mod archive;
mod names;
mod places;
mod yaml;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use engine::http::Limits;
use regex::Regex;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::database::not_tested;
use crate::support::program::{Server, root, run};

const COMPOSE: &str = "deploy/compose.yaml";
const UNIT: &str = "deploy/systemd/omnizap.service";
const DEPLOYMENT: &str = "deploy/kubernetes/deployment.yaml";
/// The port of the program, which all of them use.
const PORT: u64 = 8008;
/// What the unit may be open to, in the tenths that systemd counts by: 0 is nothing, 100 all.
const MOST_EXPOSED: &str = "--threshold=20";

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files below a folder, by their paths from the root.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root().join(folder)];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let path = path.strip_prefix(root()).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn yaml(path: &str) -> Json {
    yaml::read(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of YAML, but for those that Prometheus' own tools read.
fn yaml_files() -> Vec<String> {
    let is_yaml = |path: &String| path.ends_with(".yaml") || path.ends_with(".yml");
    let mut found = files("deploy");
    found.retain(|path| is_yaml(path) && !path.starts_with("deploy/prometheus/"));
    found
}

/// The instructions of the Dockerfile, each as one line.
fn instructions() -> Vec<String> {
    let text = text("Dockerfile");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn captures(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).unwrap();
    let found = pattern.captures_iter(text);
    found.map(|found| found[1].to_owned()).collect()
}

fn keys(mapping: &Json) -> BTreeSet<String> {
    let mapping = mapping.as_object().into_iter().flatten();
    mapping.map(|(key, _)| key.clone()).collect()
}

#[test]
fn every_file_of_yaml_is_plain() {
    let files = yaml_files();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        assert!(yaml(&file).is_object(), "{file}");
    }
}

#[test]
fn all_mean_the_same_port() {
    let help = run(&["serve", "--help"]).stdout;
    let help = String::from_utf8(help).unwrap();
    let default = format!("[default: 127.0.0.1:{PORT}]");
    assert!(help.contains(&default), "{help}");
    let instructions = instructions();
    assert!(instructions.contains(&format!("EXPOSE {PORT}")));
    let listens = format!("OMNIZAP_LISTEN=:{PORT} ");
    assert!(instructions.iter().any(|line| line.contains(&listens)));
    let compose = yaml(COMPOSE);
    let ports = &compose["services"]["omnizap"]["ports"];
    assert_eq!(
        ports,
        &serde_json::json!([format!("127.0.0.1:{PORT}:{PORT}")])
    );
    let prometheus = yaml("deploy/compose/prometheus.yml");
    let targets = &prometheus["scrape_configs"][0]["static_configs"][0]["targets"];
    assert_eq!(targets[0], format!("omnizap:{PORT}"));
    let deployment = yaml(DEPLOYMENT);
    let template = &deployment["spec"]["template"];
    let annotated = &template["metadata"]["annotations"]["prometheus.io/port"];
    assert_eq!(annotated, &PORT.to_string());
    let port = &template["spec"]["containers"][0]["ports"][0];
    assert_eq!(port["containerPort"], PORT);
    let service = yaml("deploy/kubernetes/service.yaml");
    assert_eq!(service["spec"]["ports"][0]["port"], PORT);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
}

#[test]
fn probes_ask_for_routes_that_need_no_key() {
    let deployment = yaml(DEPLOYMENT);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/health/live"),
        ("readinessProbe", "/health/ready"),
        ("livenessProbe", "/health/live"),
    ] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(asked["path"], path, "{probe}");
        assert_eq!(asked["port"], container["ports"][0]["name"], "{probe}");
    }
    let server = Server::of(
        &root().join("pipelines"),
        &[("OMNIZAP_API_KEYS", "key-of-the-deployment-0123456789")],
    );
    server.ready();
    let mut client = server.client();
    assert_eq!(client.get("/health/live").status, 200);
    assert_eq!(client.get("/labels").status, 401);
}

/// Seconds, as all of them write them here.
fn seconds(text: &str) -> u64 {
    text.trim_end_matches('s').parse().unwrap()
}

#[test]
fn nobody_is_killed_before_the_grace_is_over() {
    let grace = Limits::default().shutdown_grace;
    assert_eq!(grace, Duration::from_secs(30), "as the files say");
    let grace = grace.as_secs();
    let compose = yaml(COMPOSE);
    let stop = &compose["services"]["omnizap"]["stop_grace_period"];
    assert!(seconds(stop.as_str().unwrap()) > grace, "{stop}");
    let stop = captures(r"(?m)^TimeoutStopSec=(\w+)$", &text(UNIT));
    assert!(seconds(stop.first().unwrap()) > grace, "{stop:?}");
    let deployment = yaml(DEPLOYMENT);
    let pod = &deployment["spec"]["template"]["spec"];
    let before = &pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"];
    let waits = seconds(before[1].as_str().unwrap());
    let ends = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(ends > waits + grace, "{ends}, {waits}");
    let config = yaml("deploy/kubernetes/configmap.yaml");
    let said = &config["data"]["OMNIZAP_SHUTDOWN_GRACE_MS"];
    assert_eq!(said, &(grace * 1000).to_string());
}

#[test]
fn systemd_takes_the_unit_and_finds_it_closed() {
    let is_there = Command::new("systemd-analyze").arg("--version").output();
    if is_there.is_err() {
        not_tested("the unit of systemd: systemd-analyze is not installed");
        return;
    }
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("omnizap.service");
    let unit = text(UNIT);
    let installed = "ExecStart=/usr/local/bin/omnizap ";
    assert!(unit.contains(installed), "{unit}");
    let built = format!("ExecStart={} ", env!("CARGO_BIN_EXE_omnizap"));
    let unit = unit.replace(installed, &built);
    // No manual is installed here.
    let unit = unit.replace("Documentation=man:omnizap(1)\n", "");
    std::fs::write(&copy, unit).unwrap();
    for words in [
        ["verify", "--no-pager"].as_slice(),
        &["security", "--offline=true", MOST_EXPOSED],
    ] {
        let mut analyze = Command::new("systemd-analyze");
        let output = analyze.args(words).arg(&copy).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
    }
}

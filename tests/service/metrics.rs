//! `/metrics` as Prometheus reads it, and the dashboard and the alerts that ask for what is told
//! there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use super::reload::{Files, until};
use crate::support::database::not_tested;
use crate::support::http::{Client, Part};
use crate::support::program::{Server, Settings, picture, root};

const DASHBOARD: &str = "deploy/grafana/omnizap.json";
const CONFIG: &str = "deploy/prometheus/prometheus.yml";
const RULES: &str = "deploy/prometheus/rules.yml";
const RULES_TEST: &str = "deploy/prometheus/rules.test.yml";

/// Within which Prometheus has seen enough of what is sent meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);

/// One line of a scrape.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// What is told.
struct Scrape {
    text: String,
    samples: Vec<Sample>,
}

impl Scrape {
    #[track_caller]
    fn of(address: SocketAddr) -> Self {
        let answer = Client::new(address).get("/metrics");
        assert_eq!(answer.status, 200);
        let content_type = answer.header("content-type").unwrap();
        assert!(content_type.starts_with("text/plain; version=0.0.4"));
        let text = String::from_utf8(answer.body).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(sample).collect();
        Self { text, samples }
    }

    fn names(&self) -> BTreeSet<&str> {
        let names = self.samples.iter().map(|sample| sample.name.as_str());
        names.collect()
    }

    /// The sum of what has these labels; nothing where there is none.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let is_it = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        let found: Vec<f64> = self
            .samples
            .iter()
            .filter(is_it)
            .map(|sample| sample.value)
            .collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let pair = Regex::new(r#"([a-z_]+)="((?:[^"\\]|\\.)*)""#).unwrap();
    Sample {
        name: name.to_owned(),
        labels: pair
            .captures_iter(labels)
            .map(|pair| (pair[1].to_owned(), pair[2].to_owned()))
            .collect(),
        value: value.replace("+Inf", "inf").parse().unwrap(),
    }
}

/// The pipelines that the program brings, and one with a stage of a plugin.
fn all_pipelines() -> Files {
    let files = Files::new();
    for name in ["classify", "feedback"] {
        let extends = format!("extends = \"builtin:{name}\"\n");
        files.write(&format!("{name}.toml"), &extends);
    }
    let library = files.plugin("counted", "NOWHERE", "NOTHING");
    files.write("twice.toml", &Files::using(&library, false));
    files
}

fn started(files: &Files) -> Server {
    let server = Server::start_with(&Settings {
        pipelines: Some(&files.pipelines()),
        environment: &[("OMNIZAP_LOG", "info,engine::http=warn")],
        ..Settings::default()
    });
    server.ready();
    server
}

/// Requests of every kind: answered, at fault, meant for nothing.
fn traffic(address: SocketAddr) {
    let mut client = Client::new(address);
    let data = picture("baseline_420.jpg");
    for labels in ["a cat, a dog", "a tree, a house, a boat"] {
        let parts = [file(&data), Part::Text("labels", labels)];
        assert_eq!(client.post_form("/classify", &parts).status, 200);
    }
    let broken = client.post_form("/classify", &[file(b"no picture")]);
    assert!((400..500).contains(&broken.status), "{}", broken.status);
    let feedback = json!({ "image_hash": "ab".repeat(32), "theme": "t" });
    assert_eq!(client.post_json("/feedback", &feedback).status, 200);
    assert_eq!(client.post_json("/feedback", &json!({})).status, 422);
    let twice = client.post_json("/twice", &json!({ "value": 4 }));
    assert_eq!(twice.status, 200);
    assert_eq!(client.get("/labels").status, 200);
    assert_eq!(client.get("/nothing/here").status, 404);
}

#[test]
fn requests_stages_and_bounds_are_told() {
    let files = all_pipelines();
    let server = started(&files);
    traffic(server.address);
    let scrape = Scrape::of(server.address);
    let count = |route: &str, method: &str, code: &str| {
        let labels = [("route", route), ("method", method), ("code", code)];
        scrape.sum("omnizap_http_request_duration_seconds_count", &labels)
    };
    assert_eq!(count("/classify", "POST", "200"), Some(2.0));
    assert_eq!(count("/feedback", "POST", "422"), Some(1.0));
    assert_eq!(count("/labels", "GET", "200"), Some(1.0));
    assert_eq!(count("other", "GET", "404"), Some(1.0));
    assert_eq!(
        count("/metrics", "GET", "200"),
        Some(0.0),
        "not answered yet"
    );
    let of = |pipeline: &'static str, key: &'static str, value: &'static str| {
        [("pipeline", pipeline), (key, value)]
    };
    let runs = |outcome| {
        scrape.sum(
            "omnizap_pipeline_runs_total",
            &of("classify", "outcome", outcome),
        )
    };
    assert_eq!(runs("answered"), Some(2.0));
    assert_eq!(runs("rejected"), Some(1.0));
    assert_eq!(runs("failed"), Some(0.0));
    let errors = scrape.sum("omnizap_stage_errors_total", &[("pipeline", "classify")]);
    assert_eq!(errors, Some(1.0));
    let ran = "omnizap_stage_duration_seconds_count";
    let ran = |pipeline| scrape.sum(ran, &of(pipeline, "outcome", "ran"));
    assert_eq!(ran("twice"), Some(1.0));
    assert!(ran("classify") > Some(10.0));
    for budget in ["connections", "requests_in_flight", "bodies", "body_bytes"] {
        let limit = scrape.sum("omnizap_budget_limit", &[("budget", budget)]);
        assert!(limit > Some(0.0), "{budget}");
        let used = scrape.sum("omnizap_budget_used", &[("budget", budget)]);
        assert!(used <= limit, "{budget}");
    }
    let alone = |name| scrape.sum(name, &[]).unwrap();
    assert_eq!(alone("omnizap_ready"), 1.0);
    assert_eq!(alone("omnizap_build_info"), 1.0);
    assert_eq!(alone("omnizap_reload_last_successful"), 1.0);
    assert_eq!(alone("omnizap_generations"), 1.0);
    let resident = alone("process_resident_memory_bytes");
    assert!(resident > 1e6, "{resident}");
    let faults = scrape.sum("omnizap_stage_faults_total", &[("pipeline", "twice")]);
    assert_eq!(faults, Some(0.0));
}

#[test]
fn histograms_add_up() {
    let files = all_pipelines();
    let server = started(&files);
    traffic(server.address);
    let scrape = Scrape::of(server.address);
    let mut last: Option<(String, f64)> = None;
    for line in scrape
        .samples
        .iter()
        .filter(|line| line.name.ends_with("_bucket"))
    {
        let mut series = line.labels.clone();
        let bound = series.remove("le").unwrap();
        let series = format!("{}{series:?}", line.name);
        if let Some((before, value)) = &last
            && *before == series
        {
            assert!(*value <= line.value, "{series} {bound}");
        }
        if bound == "+Inf" {
            let name = line.name.replace("_bucket", "_count");
            let labels = line.labels.iter().filter(|(key, _)| *key != "le");
            let labels: Vec<_> = labels.map(|(key, value)| (&**key, &**value)).collect();
            assert_eq!(scrape.sum(&name, &labels), Some(line.value), "{series}");
        }
        last = Some((series, line.value));
    }
    assert!(last.is_some());
    // The bounds that OpenTelemetry advises.
    for bound in ["0.005", "0.075", "0.75", "7.5", "10", "+Inf"] {
        let labels = [("route", "/classify"), ("code", "200"), ("le", bound)];
        let name = "omnizap_http_request_duration_seconds_bucket";
        assert!(scrape.sum(name, &labels).is_some(), "{bound}");
    }
}

#[test]
fn whatever_comes_from_clients_makes_no_series() {
    let server = Server::start();
    server.ready();
    let mut client = server.client();
    let odd = |number: usize, client: &mut Client| {
        client.get(&format!("/secret-{number}"));
        client.get(&format!("/classify/{number}?theme=secret-{number}"));
        let method = format!("BREW{number}");
        client.send(&method, "/classify", &[], &[]).unwrap();
        let body = json!({ "image_hash": format!("secret-{number}"), "theme": "secret-theme" });
        client.post_json("/feedback", &body);
    };
    odd(0, &mut client);
    let before = Scrape::of(server.address).samples.len();
    for number in 1..40 {
        odd(number, &mut client);
    }
    let scrape = Scrape::of(server.address);
    // The scrape before has made one: its own.
    let series = scrape.samples.len();
    assert!(series <= before + 20, "{before}, then {series}");
    assert!(!scrape.text.contains("secret"), "{}", scrape.text);
    assert!(!scrape.text.contains("BREW"));
}

#[test]
fn open_metrics_are_for_who_asks() {
    let server = Server::start();
    let accept = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let answer = server.client().send("GET", "/metrics", &accept, &[]);
    let answer = answer.unwrap();
    let content_type = answer.header("content-type").unwrap();
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(
        text.contains("# TYPE omnizap_pipeline_runs counter\n"),
        "{text}"
    );
    assert!(text.contains("\nomnizap_pipeline_runs_total{"), "{text}");
}

#[test]
fn keys_close_it_as_they_close_the_rest() {
    const KEY: &str = "0123456789abcdef-of-prometheus";
    let server = Server::start_with(&Settings {
        environment: &[("OMNIZAP_API_KEYS", KEY)],
        ..Settings::default()
    });
    assert_eq!(server.client().get("/metrics").status, 401);
    let bearer = format!("Bearer {KEY}");
    let headers = [("Authorization", bearer.as_str())];
    let answer = server.client().send("GET", "/metrics", &headers, &[]);
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!String::from_utf8_lossy(&answer.body).contains(KEY));
}

/// A pipeline that answers with the digest of a file.
fn hashing(name: &str, more: &str) -> String {
    format!(
        "# {more}\n[pipeline]\nname = \"{name}\"\nroute = \"POST /{name}\"\n[request]\n\
         file = {{ type = \"bytes\", required = true }}\n[[stage]]\nuses = \"hash\"\n"
    )
}

#[test]
fn a_reload_keeps_what_stays_and_lets_go_of_what_is_gone() {
    let files = Files::new();
    files.write("stays.toml", &hashing("stays", "as it is"));
    files.write("changes.toml", &hashing("changes", "before"));
    files.write("goes.toml", &hashing("goes", "for now"));
    let server = started(&files);
    let mut client = server.client();
    let reloads = |result: &str, times: f64| {
        until("a reload", || {
            let scrape = Scrape::of(server.address);
            scrape.sum("omnizap_reloads_total", &[("result", result)]) >= Some(times)
        });
        Scrape::of(server.address)
    };
    let runs = |scrape: &Scrape, name: &str| {
        let labels = [("pipeline", name), ("outcome", "answered")];
        scrape.sum("omnizap_pipeline_runs_total", &labels)
    };
    for name in ["stays", "changes", "goes"] {
        for _ in 0..3 {
            let answer = client.post_form(&format!("/{name}"), &[file(b"some bytes")]);
            assert_eq!(answer.status, 200);
        }
    }
    files.write("changes.toml", &hashing("changes", "after"));
    std::fs::remove_file(files.pipelines().join("goes.toml")).unwrap();
    server.signal("HUP");
    let scrape = reloads("success", 1.0);
    assert_eq!(runs(&scrape, "stays"), Some(3.0));
    assert_eq!(
        runs(&scrape, "changes"),
        Some(3.0),
        "it is the same by name"
    );
    let labels = [("route", "/changes"), ("code", "200")];
    let count = scrape.sum("omnizap_http_request_duration_seconds_count", &labels);
    assert_eq!(count, Some(3.0));
    let of_gone = scrape.samples.iter().filter(|sample| {
        let values = sample.labels.values();
        values.into_iter().any(|value| value.contains("goes"))
    });
    assert_eq!(of_gone.count(), 0, "{}", scrape.text);
    assert_eq!(client.post_form("/changes", &[file(b"more")]).status, 200);
    assert_eq!(runs(&Scrape::of(server.address), "changes"), Some(4.0));

    files.write("changes.toml", "[pipeline]\nname = 7\n");
    server.signal("HUP");
    let scrape = reloads("failure", 1.0);
    assert_eq!(scrape.sum("omnizap_reload_last_successful", &[]), Some(0.0));
    assert_eq!(runs(&scrape, "changes"), Some(4.0), "it is still live");
}

/// The expressions of the dashboard, each with its panel's title, and how variables are filled in.
fn panels() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join(DASHBOARD)).unwrap();
    let dashboard: Json = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap().to_owned();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            found.push((title.clone(), filled_in(query)));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["definition"].as_str() {
            let title = format!("variable {}", variable["name"]);
            let inner = query.strip_prefix("label_values(").unwrap();
            let (selector, _) = inner.rsplit_once(',').unwrap();
            found.push((title, filled_in(selector)));
        }
    }
    assert!(found.len() > 30, "{}", found.len());
    found
}

fn filled_in(query: &str) -> String {
    let mut query = query.replace("$__rate_interval", "15s");
    for variable in ["$job", "$instance", "$pipeline"] {
        query = query.replace(variable, ".*");
    }
    assert!(!query.contains('$'), "an unknown variable: {query}");
    query
}

/// The expressions of the rules, by the names of their alerts.
fn rules() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join(RULES)).unwrap();
    // Each is a line, or a block that is deeper than its key.
    let rule =
        Regex::new(r"(?m)^ +- alert: (\w+)\n +expr: (?:\|\n((?: {10}.*\n)+)|(.+)\n)").unwrap();
    let found: Vec<_> = rule
        .captures_iter(&text)
        .map(|found| {
            let expression = found.get(2).or(found.get(3)).unwrap();
            (found[1].to_owned(), expression.as_str().trim().to_owned())
        })
        .collect();
    assert_eq!(found.len(), text.matches("- alert:").count());
    found
}

#[test]
fn the_dashboard_and_the_rules_name_only_what_is_told() {
    let files = all_pipelines();
    let server = started(&files);
    traffic(server.address);
    let scrape = Scrape::of(server.address);
    let told = scrape.names();
    let name = Regex::new(r"\b(?:omnizap|process)_[a-z0-9_]+\b").unwrap();
    let matchers = Regex::new(r"\{[^}]*\}").unwrap();
    let (mut unknown, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for (title, query) in panels().into_iter().chain(rules()) {
        let plain = matchers.replace_all(&query, "");
        let names: Vec<_> = name.find_iter(&plain).map(|name| name.as_str()).collect();
        assert!(
            !names.is_empty() || plain.starts_with("up"),
            "{title} asks for nothing of ours: {query}"
        );
        for name in names {
            asked.insert(name.to_owned());
            if !told.contains(name) {
                unknown.insert(format!("{name}, of {title}"));
            }
        }
    }
    assert_eq!(unknown, BTreeSet::new(), "told are {told:#?}");
    assert!(asked.len() > 30, "{asked:?}");
}

/// The programs of Prometheus; [`None`] where they are not on this machine, which is told.
fn prometheus() -> Option<[PathBuf; 2]> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| {
        let mut paths = std::env::split_paths(&paths).map(|folder| folder.join(name));
        paths.find(|path| path.is_file())
    };
    let found = find("prometheus").zip(find("promtool"));
    if found.is_none() {
        let is_required = std::env::var("OMNIZAP_TEST_DATABASES").is_ok_and(|it| it == "required");
        assert!(
            !is_required,
            "no prometheus here; on Debian: apt-get install prometheus"
        );
        not_tested("the dashboard and the rules within Prometheus: it is not installed");
    }
    found.map(|(server, tool)| [server, tool])
}

#[track_caller]
fn fine(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A Prometheus of its own, ended with the test.
struct Prometheus {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes this address each second, by the configuration and the rules of the repository.
    fn start(program: &Path, target: SocketAddr) -> Self {
        let folder = TempDir::new().unwrap();
        let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
        let config = read(CONFIG);
        assert!(config.contains("127.0.0.1:8008") && config.contains("15s"));
        let config = config.replace("127.0.0.1:8008", &target.to_string());
        let config = config.replace("15s", "1s");
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(folder.path().join("rules.yml"), read(RULES)).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .current_dir(folder.path())
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let prometheus = Self {
            address,
            child,
            _folder: folder,
        };
        until("Prometheus answers", || {
            let ready = std::net::TcpStream::connect(address);
            ready.is_ok() && Client::new(address).get("/-/ready").status == 200
        });
        prometheus
    }

    /// What it answers to a query: how many series.
    #[track_caller]
    fn series(&self, query: &str) -> usize {
        let mut encoded = String::new();
        for byte in query.bytes() {
            if byte.is_ascii_alphanumeric() {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        let answer = Client::new(self.address).get(&format!("/api/v1/query?query={encoded}"));
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().len()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_alerts_begin_when_they_should_and_the_metrics_keep_to_the_conventions() {
    let Some([_, promtool]) = prometheus() else {
        return;
    };
    fine(
        Command::new(&promtool)
            .args(["check", "rules"])
            .arg(root().join(RULES)),
        "",
    );
    fine(
        Command::new(&promtool)
            .args(["check", "config"])
            .arg(root().join(CONFIG)),
        "",
    );
    fine(
        Command::new(&promtool)
            .args(["test", "rules"])
            .arg(root().join(RULES_TEST)),
        "",
    );
    let cases = std::fs::read_to_string(root().join(RULES_TEST)).unwrap();
    for (alert, _) in rules() {
        assert!(
            cases.contains(&format!("name: {alert}\n")),
            "{alert} is not tried"
        );
        assert!(
            cases.contains(&format!("name: no {alert}\n")),
            "{alert} is not tried"
        );
    }
    let files = all_pipelines();
    let server = started(&files);
    traffic(server.address);
    let scrape = Scrape::of(server.address);
    fine(
        Command::new(&promtool).args(["check", "metrics"]),
        &scrape.text,
    );
}

#[test]
fn each_panel_shows_something_and_each_rule_is_understood() {
    let Some([program, _]) = prometheus() else {
        return;
    };
    let files = all_pipelines();
    let server = started(&files);
    let prometheus = Prometheus::start(&program, server.address);
    let begun = Instant::now();
    let mut pending = panels();
    while !pending.is_empty() {
        traffic(server.address);
        std::thread::sleep(Duration::from_millis(500));
        pending.retain(|(_, query)| prometheus.series(query) == 0);
        assert!(
            begun.elapsed() < PATIENCE,
            "nothing to show after {PATIENCE:?} for {pending:#?}"
        );
    }
    let rules = Client::new(prometheus.address).get("/api/v1/rules").json();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), self::rules().len());
    for rule in rules {
        let (name, health) = (&rule["name"], &rule["health"]);
        assert_eq!(health, "ok", "{name}: {rule}");
        // It has just begun, and is asked for what is broken.
        let quiet = ["OmnizapErrors", "OmnizapSlow", "OmnizapStageErrors"];
        let may_be = quiet.iter().any(|quiet| name == quiet);
        assert!(may_be || rule["state"] == "inactive", "{name}: {rule}");
    }
}

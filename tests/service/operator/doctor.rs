//! `omnizap doctor`: what is fine, what is not, and that it leaves no trace and tells no secret.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::said;
use crate::support::program::{omnizap, root};

/// An address that is free wherever tests run.
const ANY: (&str, &str) = ("OMNIZAP_LISTEN", "127.0.0.1:0");

fn doctor(data: &Path) -> Command {
    let mut command = omnizap(data);
    command.env(ANY.0, ANY.1).arg("doctor");
    command
}

/// What it finds with these variables, where it ends so.
#[track_caller]
fn found(environment: &[(&str, &str)], code: i32) -> Json {
    let data = TempDir::new().unwrap();
    let mut command = doctor(data.path());
    command.envs(environment.iter().copied()).arg("--json");
    document(&command.output().unwrap(), code)
}

#[track_caller]
fn document(output: &Output, code: i32) -> Json {
    let all = said(output, code);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {all}"))
}

/// The findings of a check: each level and text.
fn of(document: &Json, check: &str) -> Vec<String> {
    let all = document["checks"].as_array().unwrap().iter();
    let own = all.filter(|one| one["check"] == check);
    own.map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {} -> {}", text("level"), text("found"), text("advice"))
    })
    .collect()
}

/// That a finding of the check says all of this.
#[track_caller]
fn assert_finds(document: &Json, check: &str, level: &str, parts: &[&str]) {
    let found = of(document, check);
    let is_it = |one: &String| {
        one.starts_with(&format!("{level}: ")) && parts.iter().all(|part| one.contains(part))
    };
    assert!(found.iter().any(is_it), "{level} {parts:?}: {found:#?}");
}

#[test]
fn a_good_setup_is_fine_and_stays_as_it_is() {
    let data = TempDir::new().unwrap();
    let output = doctor(data.path()).arg("--json").output().unwrap();
    let document = document(&output, 0);
    assert_eq!(document["ok"], true);
    assert_eq!(document["faults"], 0);
    for check in [
        "variables",
        "keys",
        "data folder",
        "database",
        "port",
        "limits",
        "plugins",
        "pipelines",
        "models",
        "language model",
    ] {
        assert!(!of(&document, check).is_empty(), "{check}: {document:#}");
    }
    assert_finds(&document, "database", "ok", &["not there yet"]);
    assert_finds(&document, "pipelines", "ok", &["classify"]);
    assert_finds(&document, "models", "ok", &["omnizap-mini", "as it should"]);
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);

    // With a database that has the newest schema.
    let migrated = omnizap(data.path()).args(["db", "migrate"]).output();
    said(&migrated.unwrap(), 0);
    let plain = doctor(data.path()).arg("--plain").output().unwrap();
    let lines = said(&plain, 0);
    assert!(lines.contains("ok\tdatabase\tSQLite "), "{lines}");
    assert!(lines.contains("the schema is up to date"), "{lines}");
    let people = said(&doctor(data.path()).output().unwrap(), 0);
    assert!(
        people.contains("ok       port: 127.0.0.1:0 is free"),
        "{people}"
    );
    assert!(people.contains("0 faults, "), "{people}");
    assert!(!people.contains('\u{1b}'), "{people:?}");
}

#[test]
fn the_state_of_a_database_is_told_without_making_one() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("x.db");
    let url = format!("sqlite://{}", file.display());
    let mut command = omnizap(&folder.path().join("data"));
    command.env("DATABASE_URL", &url).args(["db", "status"]);
    let text = said(&command.output().unwrap(), 0);
    assert!(text.contains("pending: run `omnizap db migrate`"), "{text}");
    let json = command.arg("--json").output().unwrap();
    let state: Json = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(state["pending"], state["steps"].as_array().unwrap().len());
    let document = found(&[("DATABASE_URL", &url)], 0);
    assert_finds(&document, "database", "ok", &["not there yet"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_database_that_cannot_be_used_is_a_fault() {
    let unknown = found(&[("DATABASE_URL", "oracle://scott:tiger-secret@h/d")], 78);
    assert_finds(
        &unknown,
        "database",
        "fault",
        &["\"oracle\"", "mend DATABASE_URL"],
    );
    // Nobody listens there.
    let url = "mysql://scott:tiger-secret@127.0.0.1:1/x";
    let away = found(&[("DATABASE_URL", url)], 1);
    assert_finds(
        &away,
        "database",
        "fault",
        &["127.0.0.1:1/x", "start the database"],
    );
    for document in [unknown, away] {
        assert!(!document.to_string().contains("tiger"), "{document}");
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_who_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let document = found(&[("OMNIZAP_LISTEN", &address)], 1);
    let process = format!("(process {})", std::process::id());
    assert_finds(&document, "port", "fault", &[&address, &process]);
    // The flag counts, as it would for a server.
    let data = TempDir::new().unwrap();
    let mut command = omnizap(data.path());
    command.args(["--listen", &address, "doctor", "--json"]);
    let by_flag = self::document(&command.output().unwrap(), 1);
    assert_finds(&by_flag, "port", "fault", &[&address]);
}

#[test]
fn a_data_folder_that_cannot_be_written_to_is_a_fault() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for data in [file.clone(), file.join("below")] {
        let output = doctor(&data).arg("--json").output().unwrap();
        let document = document(&output, 1);
        assert_finds(&document, "data folder", "fault", &[data.to_str().unwrap()]);
    }
    // Who may write everywhere finds no such folder.
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
    let is_root = std::fs::write(closed.join("x"), "").is_ok();
    if !is_root {
        let output = doctor(&closed).arg("--json").output().unwrap();
        let document = document(&output, 1);
        assert_finds(&document, "data folder", "fault", &["cannot be written to"]);
    }
}

#[test]
fn every_mistake_of_pipelines_and_settings_is_told_at_once() {
    let pipelines = TempDir::new().unwrap();
    let text = "[pipeline]\nname = \"x\"\n[[stage]]\nuses = \"hsh\"\n";
    std::fs::write(pipelines.path().join("x.toml"), text).unwrap();
    let document = found(
        &[
            ("OMNIZAP_PIPELINES", pipelines.path().to_str().unwrap()),
            ("OMNIZAP_MAX_CONNECTIONS", "planted-in-a-number"),
            ("OMNIZAP_SAFE", "perhaps"),
            ("OMNIZAP_MAX_WAITING_TEXTS", "planted-in-a-number"),
            ("OMNIZAP_MAX_CONECTIONS", "512"),
            ("DB_HOST", "db"),
        ],
        78,
    );
    assert_finds(
        &document,
        "pipelines",
        "fault",
        &["x.toml:4:", "did you mean `hash`?"],
    );
    let expected = "OMNIZAP_MAX_CONNECTIONS is refused: expected a whole number from 1";
    assert_finds(&document, "variables", "fault", &[expected]);
    assert_finds(
        &document,
        "variables",
        "fault",
        &["OMNIZAP_SAFE is refused"],
    );
    assert_finds(
        &document,
        "variables",
        "fault",
        &["OMNIZAP_MAX_WAITING_TEXTS: expected"],
    );
    let meant = [
        "OMNIZAP_MAX_CONECTIONS",
        "did you mean OMNIZAP_MAX_CONNECTIONS?",
    ];
    assert_finds(&document, "variables", "warning", &meant);
    let half = ["DB_HOST without DB_USER and DB_NAME"];
    assert_finds(&document, "variables", "warning", &half);
    assert!(!document.to_string().contains("planted"), "{document:#}");
    // The command line itself stays what it was.
    let data = TempDir::new().unwrap();
    let wrong = doctor(data.path()).arg("--no-such-flag").output().unwrap();
    said(&wrong, 2);
}

#[test]
fn a_warning_alone_is_exit_code_0() {
    let document = found(&[("OMNIZAP_API_KEY", "one-key-too-few-s")], 0);
    assert_finds(
        &document,
        "variables",
        "warning",
        &["did you mean OMNIZAP_API_KEYS?"],
    );
    assert!(document["warnings"].as_u64().unwrap() >= 1);
}

#[test]
fn a_dotenv_that_cannot_be_read_is_a_finding() {
    let folder = TempDir::new().unwrap();
    std::fs::write(
        folder.path().join(".env"),
        "A=1\nno assignment, but a planted one\n",
    )
    .unwrap();
    let mut command = doctor(&folder.path().join("data"));
    command.current_dir(folder.path()).arg("--json");
    let told = document(&command.output().unwrap(), 0);
    assert_finds(&told, "variables", "warning", &[".env:2: passed over"]);
    assert!(!told.to_string().contains("planted"), "{told}");
    let large = std::fs::File::create(folder.path().join(".env")).unwrap();
    large.set_len((1 << 20) + 1).unwrap();
    let told = document(&command.output().unwrap(), 78);
    assert_finds(&told, "variables", "fault", &["larger than"]);
}

#[test]
fn files_of_keys_are_looked_at_and_their_keys_stay_theirs() {
    let folder = TempDir::new().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "a-planted-key-of-the-tests\n").unwrap();
    let path = keys.to_str().unwrap();
    for (mode, level, code, part) in [
        (0o600, "ok", 0, "1 keys"),
        (0o644, "warning", 0, "everybody may read"),
        (0o646, "fault", 78, "everybody may write"),
    ] {
        std::fs::set_permissions(&keys, Permissions::from_mode(mode)).unwrap();
        let document = found(&[("OMNIZAP_API_KEYS_FILE", path)], code);
        assert_finds(&document, "keys", level, &[part]);
        assert!(!document.to_string().contains("planted"), "{document}");
    }
}

#[test]
fn no_variable_is_told_that_may_hold_a_secret() {
    const SECRET: &str = "planted-secret-7c1f";
    let url = format!("mysql://bot:{SECRET}@127.0.0.1:1/x");
    let torn = format!("mysql://bot:a/{SECRET}@127.0.0.1:1/x");
    let address = format!("http://user:{SECRET}@127.0.0.1:1/v1");
    for (name, value) in [
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_URL", &torn),
        ("DATABASE_URL", SECRET),
        ("DB_PORT", SECRET),
        ("OMNIZAP_MAX_DECODED_BYTES", SECRET),
        ("OMNIZAP_MAX_INDEXED_IMAGES", SECRET),
        ("OMNIZAP_COMPACT_INDEX", SECRET),
        ("OPENAI_BASE_URL", &address),
        ("OPENAI_BASE_URL", SECRET),
    ] {
        let data = TempDir::new().unwrap();
        let mut command = doctor(data.path());
        for name in [
            "DB_PASSWORD",
            "OPENAI_API_KEY",
            "HF_TOKEN",
            "OMNIZAP_API_KEYS",
            "OMNIZAP_ADMIN_KEYS",
            "OMNIZAP_TOP_KEY",
            "OMNIZAP_MAX_BODY_BYTES",
            "OMNIZAP_PLUGIN_TRIAL",
            "OMNIZAP_NO_SUCH_VARIABLE",
            "OPENAI_APIKEY",
            "CLIP_TOP_K",
            "NSFW_THRESHOLD",
            "ENABLE_LLM_LABEL_EXPANSION",
        ] {
            command.env(name, SECRET);
        }
        for (name, value) in [
            // Nobody listens there, and nobody elsewhere is asked.
            ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"),
            ("DB_HOST", "127.0.0.1"),
            ("DB_USER", "bot"),
            ("DB_NAME", "x"),
        ] {
            command.env(name, value);
        }
        let output = command.env(name, value).arg("--online").output().unwrap();
        let all = said(&output, 78);
        assert!(!all.contains("7c1f"), "{name}={value}: {all}");
    }
}

/// A server that answers one request so, and its address; what it was asked comes back.
fn answering(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut part = [0; 1024];
        while !head.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut part).unwrap();
            assert!(
                count > 0,
                "it went away: {}",
                String::from_utf8_lossy(&head)
            );
            head.extend_from_slice(&part[..count]);
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&head).into_owned()
    });
    (address, asked)
}

#[test]
fn a_language_model_is_asked_only_where_that_is_wanted() {
    for (status, code, level) in [
        ("200 OK", 0, "ok"),
        ("401 Unauthorized", 78, "fault"),
        ("404 Not Found", 0, "warning"),
    ] {
        let (address, asked) = answering(status);
        let data = TempDir::new().unwrap();
        let mut command = doctor(data.path());
        command
            .env("OPENAI_API_KEY", "sk-of-the-tests")
            .env("OPENAI_BASE_URL", &address)
            .arg("--json");
        let offline = document(&command.output().unwrap(), 0);
        assert_finds(&offline, "language model", "ok", &["--online asks"]);
        let online = document(&command.arg("--online").output().unwrap(), code);
        assert_finds(&online, "language model", level, &["http://127.0.0.1:"]);
        let head = asked.join().unwrap().to_lowercase();
        assert!(head.starts_with("get /v1/models http/1.1"), "{head}");
        assert!(
            head.contains("authorization: bearer sk-of-the-tests"),
            "{head}"
        );
        assert!(!online.to_string().contains("sk-of"), "{online}");
    }
}

#[test]
fn a_plugin_that_is_not_what_was_allowed_is_a_fault() {
    let pipelines = TempDir::new().unwrap();
    for name in ["classify.toml", "feedback.toml"] {
        std::fs::copy(
            root().join("pipelines").join(name),
            pipelines.path().join(name),
        )
        .unwrap();
    }
    let sha256 = "0".repeat(64);
    let list = format!("[[plugin]]\npath = \"none.so\"\nsha256 = \"{sha256}\"\n");
    std::fs::write(pipelines.path().join("plugins.toml"), list).unwrap();
    let document = found(
        &[("OMNIZAP_PIPELINES", pipelines.path().to_str().unwrap())],
        78,
    );
    assert_finds(&document, "plugins", "fault", &["none.so is refused"]);
}

//! Secrets of the operator in every variable that may hold one, and traffic of all kinds, good and bad:
//! nothing of them is in an answer, in the log, or in what a command says, however it is written.

mod planted;

use std::collections::BTreeSet;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use engine::pipeline::config::OwnRoute;
use regex::Regex;
use serde_json::json;
use tempfile::TempDir;

use self::planted::Planted;
use super::answers::file;
use crate::support::http::{Part, connect, multipart, read_request};
use crate::support::program::{Server, Settings, omnizap, picture, root};

/// Variables of which each one holds a secret of its own in these tests, or a file with one.
const VARIABLES: [&str; 34] = [
    "ALL_PROXY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DATABASE_URL",
    "DB_PASSWORD",
    "DESCRIBE_KEY",
    "DESCRIBE_URL",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "MEMBERS_KEY",
    "MYSQL_PWD",
    "OMNIZAP_ADMIN_KEYS",
    "OMNIZAP_ADMIN_KEYS_FILE",
    "OMNIZAP_API_KEY",
    "OMNIZAP_API_KEYS",
    "OMNIZAP_API_KEYS_FILE",
    "OMNIZAP_DATA_SECRET",
    "OMNIZAP_TOP_KEY",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORG_ID",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "PGPASSWORD",
    "SECRET_OF_ANOTHER_PROGRAM",
    "SOME_PASSWORD",
    "all_proxy",
    "http_proxy",
    "https_proxy",
];

/// Variables whose names look as if, and that hold none: their text says which proxy is not asked.
const HOLD_NONE: [&str; 1] = ["NO_PROXY"];

/// Files of Rust below a folder, but for tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_test = ["tests", "tests.rs", "benches", "target"].contains(&name.as_str());
        if path.is_dir() && !is_test {
            sources(&path, found);
        } else if name.ends_with(".toml") || name.ends_with(".rs") && !is_test {
            found.push(path);
        }
    }
}

#[test]
fn every_variable_that_may_hold_a_secret_is_one_that_is_tried() {
    let mut files = Vec::new();
    for folder in ["engine", "stages", "models", "plugins", "pipelines"] {
        sources(&root().join(folder), &mut files);
    }
    let words =
        "(KEY|TOKEN|PASSWORD|SECRET|CREDENTIAL|PROXY|URL|ENDPOINT|DSN|HEADER)S?(_FILE|_PATH)?";
    // In Rust between quotes, in a pipeline as `${NAME}`.
    let variable = Regex::new(&format!(r#"(?:"|\$\{{)((?:[A-Z0-9]+_)+{words})["}}:]"#)).unwrap();
    let mut read = BTreeSet::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let own = text.split("#[cfg(test)]").next().unwrap();
        for found in variable.captures_iter(own) {
            read.insert(found[1].to_owned());
        }
    }
    assert!(
        read.contains("DATABASE_URL") && read.contains("DESCRIBE_KEY"),
        "{read:?}"
    );
    let known = |name: &String| {
        let name = name.as_str();
        VARIABLES.contains(&name) || HOLD_NONE.contains(&name)
    };
    let unknown: Vec<_> = read.into_iter().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "plant a secret in {unknown:?} too");
}

/// A server that says no to whatever is asked, and repeats all that it was told: as a language model,
/// as a hub, and as the proxy before either. Where it is.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            // Who goes away is none of our business.
            std::thread::spawn(move || repeat(socket));
        }
    });
    address
}

fn repeat(socket: TcpStream) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let Some((said, _)) = read_request(&mut socket)? else {
        return Ok(());
    };
    let status = if said.starts_with("CONNECT") {
        407
    } else {
        401
    };
    let head = format!(
        "HTTP/1.1 {status} No\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}",
        said.len()
    );
    socket.get_mut().write_all(head.as_bytes())
}

type Environment = Vec<(&'static str, String)>;

/// All variables with a secret, but for proxies and the database, with files in that folder.
fn environment(planted: &mut Planted, folder: &Path, elsewhere: SocketAddr) -> Environment {
    let mut values = Environment::new();
    for name in VARIABLES {
        let secret = planted.secret(name);
        let value = match name {
            "DATABASE_URL" | "HTTP_PROXY" | "HTTPS_PROXY" | "ALL_PROXY" | "http_proxy"
            | "https_proxy" | "all_proxy" => continue,
            "OPENAI_BASE_URL" | "DESCRIBE_URL" => format!("http://user:{secret}@{elsewhere}/v1"),
            "HF_ENDPOINT" => format!("http://user:{secret}@{elsewhere}"),
            "OPENAI_API_KEY" => format!("sk-{secret}"),
            "DB_PASSWORD" => format!("p@ss/{secret}"),
            "OTEL_EXPORTER_OTLP_ENDPOINT" | "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => {
                format!("http://user:{secret}@127.0.0.1:1")
            }
            "OTEL_EXPORTER_OTLP_HEADERS" | "OTEL_EXPORTER_OTLP_TRACES_HEADERS" => {
                format!("authorization=Bearer {secret}")
            }
            "HF_TOKEN_PATH" | "OMNIZAP_API_KEYS_FILE" | "OMNIZAP_ADMIN_KEYS_FILE" => {
                let path = folder.join(name);
                std::fs::write(&path, format!("{secret}\n")).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                path.display().to_string()
            }
            _ => secret,
        };
        values.push((name, value));
    }
    values
}

/// Every proxy, with a password.
fn proxies(planted: &mut Planted, proxy: SocketAddr) -> Environment {
    let names = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    names
        .map(|name| {
            (
                name,
                format!("http://user:{}@{proxy}", planted.secret(name)),
            )
        })
        .to_vec()
}

/// Pipelines that ask the language model about every picture, and some with keys of their own.
fn pipelines() -> TempDir {
    let folder = TempDir::new().unwrap();
    let asked = "extends = \"builtin:classify\"\n[[stage]]\nname = \"llm-expand\"\n\
                 with = { entropy_max = 1.0, margin_min = 0.0 }\n";
    std::fs::write(folder.path().join("classify.toml"), asked).unwrap();
    // Without a database it waits until its time is over.
    let brief = "extends = \"builtin:feedback\"\n[pipeline]\ndeadline_ms = 500\n";
    std::fs::write(folder.path().join("feedback.toml"), brief).unwrap();
    for name in [
        "admin/forget.toml",
        "recipes/describe.toml",
        "recipes/members.toml",
    ] {
        let from = root().join("pipelines").join(name);
        std::fs::copy(&from, folder.path().join(from.file_name().unwrap())).unwrap();
    }
    folder
}

/// All bytes of the answer to a request, its head too; what came until the connection ended.
fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = connect(address).unwrap();
    // An early answer ends the connection: what came before is read all the same.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn status(answer: &[u8]) -> u16 {
    let head = String::from_utf8_lossy(&answer[..answer.len().min(16)]).into_owned();
    let status = head.split(' ').nth(1);
    status.and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Requests of all kinds, with and without keys; with which statuses they were answered.
#[track_caller]
fn traffic(address: SocketAddr, planted: &mut Planted) -> BTreeSet<u16> {
    let [client, client_of_file, admin, admin_of_file, wrong] = [
        "OMNIZAP_API_KEYS",
        "OMNIZAP_API_KEYS_FILE",
        "OMNIZAP_ADMIN_KEYS",
        "OMNIZAP_ADMIN_KEYS_FILE",
        "SOME_PASSWORD",
    ]
    .map(|name| planted.secret(name));
    let data = picture("lossy.webp");
    let form = multipart(&[
        file(&data),
        Part::Text("theme", "t"),
        Part::Text("strange", "x"),
    ]);
    let boundary = form[2..].split(|byte| *byte == b'\r').next().unwrap();
    let boundary = String::from_utf8_lossy(boundary).into_owned();
    let multipart = format!("multipart/form-data; boundary={boundary}");
    let feedback = json!({ "image_hash": "ab".repeat(32), "theme": "t" }).to_string();
    let bad = json!({ "image_hash": "ab", "theme": 7, "strange": true }).to_string();
    let own = OwnRoute::ALL.map(|own| format!("{} {}", own.method(), own.path()));
    let more = [
        "GET /page/app.js",
        "GET /labels",
        "GET /nope",
        "POST /metrics",
        "HEAD /health",
    ];
    let mut seen = BTreeSet::new();
    let bearer = |key: &str| ("Authorization", format!("Bearer {key}"));
    for (name, value) in [
        ("X-Nothing", String::new()),
        ("X-Api-Key", client.clone()),
        bearer(&client_of_file),
        bearer(&admin),
        ("X-Api-Key", admin_of_file),
        ("X-Api-Key", wrong.clone()),
        bearer(&wrong),
    ] {
        let mut check = |line: &str, more: &[(&str, &str)], body: &[u8]| {
            let headers = [&[(name, &*value)], more].concat();
            let answer = ask(address, line, &headers, body);
            planted.check(&format!("{line} with {name}"), &answer);
            seen.insert(status(&answer));
        };
        for line in own.iter().map(String::as_str).chain(more) {
            check(line, &[], b"");
        }
        // What a client leaves where it should not be.
        let misplaced = format!("GET /health?api_key={client}");
        check(&misplaced, &[("Cookie", admin.as_str())], b"");
        let json = ("Content-Type", "application/json");
        let trace = ("X-Trace", "1");
        for path in ["/classify", "/describe", "/members", "/feedback", "/nope"] {
            let line = format!("POST {path}");
            check(&line, &[("Content-Type", &*multipart), trace], &form);
            check(
                &line,
                &[("Content-Type", "multipart/form-data; boundary=x")],
                b"--y",
            );
            check(&line, &[json], b"{");
            check(&line, &[json, trace], bad.as_bytes());
            check(&line, &[("Content-Type", "text/plain")], b"x");
        }
        check("POST /feedback?trace=1", &[json], feedback.as_bytes());
        check("DELETE /images/abab", &[], b"");
        check("GET /health", &[("Origin", "http://evil.example")], b"");
        check("GET /health HTTP/1.1\r\nX: y\r\n z", &[], b"");
    }
    // Over HTTP/2, where heads are read by other code. Who has no such client says nothing here.
    for path in ["/health", "/nope"] {
        let asked = Command::new("curl")
            .args(["-s", "-m", "20", "--http2-prior-knowledge", "-H"])
            .arg(format!("X-Api-Key: {client}"))
            .arg("-H")
            .arg(format!("Authorization: Bearer {admin}"))
            .arg(format!("http://{address}{path}"))
            .output();
        if let Ok(asked) = asked {
            planted.check("over HTTP/2", &asked.stdout);
        }
    }
    seen
}

/// Serves with all that, and looks at what is answered and logged.
#[track_caller]
fn serve(planted: &mut Planted, environment: &Environment, format: &str, logged: &[&str]) {
    let folder = pipelines();
    let mut environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    environment.push(("OMNIZAP_LOG", "trace,sqlx=trace,sea_orm=trace"));
    environment.push(("OMNIZAP_LOG_FORMAT", format));
    let mut server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        environment: &environment,
        ..Settings::default()
    });
    let seen = traffic(server.address, planted);
    for wanted in [200, 401, 403, 404, 422] {
        assert!(
            seen.contains(&wanted),
            "none was answered {wanted}: {seen:?}"
        );
    }
    for wanted in logged {
        server.log_with(wanted);
    }
    // A reload with a mistake, and keys that are read anew.
    std::fs::write(folder.path().join("wrong.toml"), "[pipeline]\nname = 7\n").unwrap();
    server.signal("HUP");
    server.log_with("nothing reloaded");
    let key = planted.secret("OMNIZAP_ADMIN_KEYS");
    for line in ["POST /admin/reload", "GET /admin/pipelines"] {
        let answer = ask(server.address, line, &[("X-Api-Key", &key)], b"");
        planted.check(line, &answer);
    }
    server.terminate();
    server.wait();
    let log = server.log_with("goodbye");
    planted.check(&format!("the log as {format}"), log.as_bytes());
}

#[test]
fn no_secret_is_answered_or_logged() {
    let folder = TempDir::new().unwrap();
    let mut planted = Planted::default();
    let environment = environment(&mut planted, folder.path(), echo());
    serve(&mut planted, &environment, "text", &["no label expansion"]);
}

#[test]
fn no_secret_is_answered_or_logged_where_the_database_and_the_proxy_say_no() {
    let folder = TempDir::new().unwrap();
    let mut planted = Planted::default();
    let elsewhere = echo();
    let mut environment = environment(&mut planted, folder.path(), elsewhere);
    environment.extend(proxies(&mut planted, elsewhere));
    let password = planted.secret("DATABASE_URL");
    for (name, value) in [
        // Nobody is there. A later entry counts.
        (
            "DATABASE_URL",
            format!("postgres://bot:{password}@127.0.0.1:1/zap"),
        ),
        ("OPENAI_BASE_URL", "https://model.invalid/v1".to_owned()),
        ("DESCRIBE_URL", "http://model.invalid/v1".to_owned()),
    ] {
        environment.push((name, value));
    }
    serve(&mut planted, &environment, "json", &["no label expansion"]);
}

/// Runs a command with these variables and such a log, and looks at what it says; its exit code.
#[track_caller]
fn says(
    planted: &Planted,
    format: &str,
    arguments: &[&str],
    environment: &Environment,
) -> Option<i32> {
    let data = TempDir::new().unwrap();
    let output = omnizap(data.path())
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .env("OMNIZAP_LOG", "trace,sqlx=trace")
        .env("OMNIZAP_LOG_FORMAT", format)
        .env("HF_HOME", data.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    planted.check(&arguments.join(" "), &output.stdout);
    planted.check(&arguments.join(" "), &output.stderr);
    output.status.code()
}

#[test]
fn no_command_says_a_secret() {
    let folder = TempDir::new().unwrap();
    let pipelines = pipelines();
    let path = pipelines.path().to_str().unwrap();
    let mut planted = Planted::default();
    let elsewhere = echo();
    let environment = environment(&mut planted, folder.path(), elsewhere);
    let sticker = root().join("models/embedded/samples/pizza-sticker.webp");
    let sticker = sticker.to_str().unwrap();
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["check", "--pipelines", path],
        &["graph", "--pipelines", path],
        &["graph", "--format", "json", "--pipelines", path],
        &["graph", "--format", "dot", "--pipelines", path],
        &["schema"],
        &["models", "list"],
        &["plugins", "list", "--pipelines", path],
        &["classify", sticker, "--pipelines", path],
        &["classify", sticker, "--json", "--pipelines", path],
        &["db", "status"],
    ] {
        let code = says(&planted, "text", arguments, &environment);
        assert_eq!(code, Some(0), "{arguments:?}");
    }
    // What ends as it may.
    for arguments in [
        &["doctor", "--pipelines", path][..],
        &["doctor", "--json", "--pipelines", path],
        &["models", "pull", "MobileCLIP-S1", "--accept-licence"],
        &["eval", "/nowhere"],
        &["check", "/nowhere.toml"],
        &["nothing"],
    ] {
        for format in ["text", "json"] {
            says(&planted, format, arguments, &environment);
        }
    }
    // Through a proxy that says no, and at a hub that is not there, or no address at all.
    let pull = ["models", "pull", "MobileCLIP-S1", "--accept-licence"];
    let secret = planted.secret("HF_ENDPOINT");
    for (endpoint, has_proxy) in [
        ("https://hub.invalid".to_owned(), true),
        (format!("https://user:{secret}@hub.invalid/hub"), true),
        (format!("http://user:{secret}@127.0.0.1:1"), false),
        (format!("user:{secret}@127.0.0.1:1"), false),
        (secret.clone(), false),
    ] {
        let mut environment = environment.clone();
        if has_proxy {
            environment.extend(proxies(&mut planted, elsewhere));
        }
        environment.push(("HF_ENDPOINT", endpoint));
        assert_ne!(says(&planted, "text", &pull, &environment), Some(0));
    }
}

#[test]
fn no_address_of_a_database_says_its_password() {
    let mut planted = Planted::default();
    let url = planted.secret("DATABASE_URL");
    let password = planted.secret("DB_PASSWORD");
    let user = planted.secret("DB_USER");
    let parts = |host: &str, port: &str| -> Environment {
        vec![
            ("DATABASE_URL", String::new()),
            ("DB_HOST", host.to_owned()),
            ("DB_PORT", port.to_owned()),
            ("DB_USER", user.clone()),
            ("DB_PASSWORD", format!("p@ss/{password}?#")),
            ("DB_NAME", "zap".to_owned()),
        ]
    };
    let mut tried = vec![
        parts("127.0.0.1", "1"),
        parts("127.0.0.1", "x"),
        parts("ho st", "1"),
    ];
    for address in [
        format!("mysql://bot:{url}@127.0.0.1:1/zap"),
        format!("postgres://bot:{url}@127.0.0.1:1/zap?application_name=x"),
        format!("postgresql+asyncpg://bot:{url}@127.0.0.1:1/zap"),
        format!("postgres://127.0.0.1:1/zap?user=bot&password={url}"),
        format!("mysql://bot:{url}@host:port/zap"),
        format!("mysql://bot:{url}@[::1/zap"),
        format!("mysql://bot:#{url}@h/zap"),
        format!("mysql://bot:%{url}@127.0.0.1:1/zap"),
        format!("mysql:/{url}"),
        format!("mysql:{url}"),
        format!("http://bot:{url}@h/zap"),
        format!("bot:{url}@h/zap"),
        format!("{url}:x"),
        url.clone(),
        format!("sqlite:///nowhere/x.db?key={url}"),
    ] {
        tried.push(vec![("DATABASE_URL", address)]);
    }
    for environment in tried {
        let code = says(&planted, "text", &["db", "status"], &environment);
        assert_ne!(code, Some(0), "{environment:?}");
        // Nothing is opened here.
        says(&planted, "json", &["check"], &environment);
    }
}

//! Whom the service answers: programs, and its own pages; not pages of other sites, not who comes
//! by another name, and with keys nobody without one.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use engine::http::{Keys, Trust};
use serde_json::json;
use tempfile::TempDir;

use super::bodies::{PIPELINE, Serving, mirror};
use crate::support::http::{Answer, Client, connect, read_answer};
use crate::support::program::{Server, Settings, omnizap};

const BOT: &str = "key-of-the-bot-0123456789";
const OTHER: &str = "key-of-another-0123456789";
const ADMIN: &str = "key-of-the-admins-0123456789";

/// How long something is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

const FEEDBACK: &str = "{\"image_hash\":\
    \"abababababababababababababababababababababababababababababababab\",\"theme\":\"a\"}";

/// A request with just these headers.
fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = connect(address).unwrap();
    let mut request = format!("{line} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).unwrap();
    let method = line.split(' ').next().unwrap();
    read_answer(&mut stream, method).unwrap()
}

#[track_caller]
fn is_refused(answer: &Answer, status: u16, code: &str) {
    let error = answer.refused(status, code);
    assert_eq!(
        answer.header("x-request-id"),
        error["request_id"].as_str(),
        "{error}"
    );
}

#[test]
fn no_page_of_another_site_can_write_feedback() {
    let server = Server::start();
    let address = server.address;
    let here = address.to_string();
    let page = format!("http://{here}");
    let json = ("Content-Type", "application/json");
    let form = ("Content-Type", "multipart/form-data; boundary=b");
    let body = "--b\r\nContent-Disposition: form-data; name=image_hash\r\n\r\n\
        abababababababababababababababababababababababababababababababab\r\n\
        --b\r\nContent-Disposition: form-data; name=theme\r\n\r\na\r\n--b--\r\n";
    let host = ("Host", &*here);
    for (content_type, body) in [(json, FEEDBACK), (form, body)] {
        let post = |headers: &[(&str, &str)]| {
            let headers = [&[content_type], headers].concat();
            ask(address, "POST /feedback", &headers, body)
        };
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:1",
            "https://localhost",
        ] {
            let answer = post(&[host, ("Origin", origin)]);
            is_refused(&answer, 403, "foreign_origin");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        is_refused(
            &post(&[host, ("Sec-Fetch-Site", "cross-site")]),
            403,
            "foreign_origin",
        );
        // A name that leads here (DNS rebinding), of a page that is its own then.
        let rebound = [("Host", "evil.example"), ("Origin", "http://evil.example")];
        is_refused(&post(&rebound), 403, "foreign_host");
        is_refused(
            &post(&[host, ("Host", "evil.example")]),
            400,
            "malformed_request",
        );
    }
    for path in ["/labels", "/pipelines", "/health", "/nope"] {
        let line = format!("GET {path}");
        let answer = ask(address, &line, &[("Host", "evil.example")], "");
        is_refused(&answer, 403, "foreign_host");
        let absolute = format!("GET http://evil.example{path}");
        is_refused(&ask(address, &absolute, &[host], ""), 403, "foreign_host");
    }
    is_refused(
        &ask(address, "POST /feedback", &[host], FEEDBACK),
        415,
        "unsupported_body",
    );
    let preflight = [
        host,
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "POST"),
    ];
    let answer = ask(address, "OPTIONS /feedback", &preflight, "");
    is_refused(&answer, 403, "foreign_origin");

    // None of it was counted; the bot, Node's `fetch` and a page of the service itself are.
    for more in [
        &[][..],
        &[("Sec-Fetch-Mode", "cors"), ("User-Agent", "node")],
        &[("Origin", &*page), ("Sec-Fetch-Site", "same-origin")],
    ] {
        let headers = [&[host, json], more].concat();
        let answer = ask(address, "POST /feedback", &headers, FEEDBACK);
        assert_eq!(answer.status, 200, "{more:?}");
    }
    let port = address.port();
    for name in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
        let host = format!("{name}:{port}");
        for host in [name, &host] {
            let answer = ask(address, "GET /health", &[("Host", host)], "");
            assert_eq!(answer.status, 200, "{host}");
        }
    }
}

#[test]
fn a_page_that_the_operator_lists_may_ask_and_read() {
    let server = Server::start_with(&Settings {
        environment: &[
            (
                "OMNIZAP_ALLOWED_ORIGINS",
                "https://page.example,http://other.example:81",
            ),
            ("OMNIZAP_ALLOWED_HOSTS", "bot.example"),
            ("OMNIZAP_API_KEYS", BOT),
        ],
        ..Settings::default()
    });
    let host = ("Host", "bot.example");
    let origin = ("Origin", "https://page.example");
    let asks = ("Access-Control-Request-Method", "POST");
    let answer = ask(
        server.address,
        "OPTIONS /feedback",
        &[host, origin, asks],
        "",
    );
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin.1));
    assert_eq!(answer.header("vary"), Some("origin"));
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("content-type") && allowed.contains("x-api-key"));
    let key = ("X-Api-Key", BOT);
    let json = ("Content-Type", "application/json");
    for (headers, status) in [
        (&[host, origin, json][..], 401),
        (&[host, origin, json, key], 200),
    ] {
        let answer = ask(server.address, "POST /feedback", headers, FEEDBACK);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin.1));
    }
    let other = ("Origin", "http://other.example");
    let answer = ask(
        server.address,
        "POST /feedback",
        &[host, other, json, key],
        FEEDBACK,
    );
    is_refused(&answer, 403, "foreign_origin");
}

#[test]
fn with_keys_nobody_without_one_is_answered() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, format!("# the bot\n{BOT}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start_with(&Settings {
        environment: &[
            ("OMNIZAP_API_KEYS_FILE", file.to_str().unwrap()),
            ("OMNIZAP_API_KEYS", OTHER),
            ("OMNIZAP_LOG", "trace"),
        ],
        ..Settings::default()
    });
    server.ready();
    let mut client = server.client();
    let mut get =
        |path: &str, headers: &[(&str, &str)]| client.send("GET", path, headers, b"").unwrap();
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(get(path, &[]).status, 200, "{path}");
        assert_eq!(get(path, &[("X-Api-Key", "wrong")]).status, 200, "{path}");
    }
    let bearer = format!("Bearer {BOT}");
    let almost = format!("Bearer {}", &BOT[1..]);
    let basic = format!("Basic {BOT}");
    for path in [
        "/health",
        "/labels",
        "/pipelines",
        "/nope",
        "/health/live/x",
    ] {
        for headers in [
            &[][..],
            &[("X-Api-Key", "wrong")],
            &[("X-Api-Key", "")],
            &[("Authorization", &*almost)],
            &[("Authorization", &basic)],
            &[("Authorization", BOT)],
        ] {
            let answer = get(path, headers);
            is_refused(&answer, 401, "unauthorized");
            let wanted = answer.header("www-authenticate").unwrap();
            assert!(wanted.starts_with("Bearer"), "{wanted}");
        }
    }
    for headers in [
        [("Authorization", &*bearer)],
        [("X-Api-Key", BOT)],
        [("x-api-key", OTHER)],
    ] {
        for path in ["/health", "/labels", "/pipelines"] {
            let answer = get(path, &headers);
            assert_eq!(answer.status, 200, "{path}");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains(BOT) && !text.contains(OTHER), "{text}");
        }
        assert_eq!(get("/nope", &headers).status, 404);
    }
    // A body that comes in vain is not read first.
    let answer = client.post_json("/feedback", &json!({ "theme": "a".repeat(100_000) }));
    is_refused(&answer, 401, "unauthorized");
    let log = server.log_with("unauthorized");
    for key in [BOT, OTHER, &BOT[1..]] {
        assert!(!log.contains(key), "the log has a key");
    }
}

#[test]
fn routes_of_administrators_want_their_key_but_on_the_machine_itself() {
    const PIPELINE: &str = "[pipeline]\nname = \"t\"\nroute = \"POST /t\"\n\
        settings_route = \"GET /settings\"\nadmin = true\n[[stage]]\nuses = \"mirror\"\n";
    let key = |key: &str| Keys::parse(key).unwrap();
    let serving = |listen: &'static str, admin_keys: Keys| {
        let trust = Trust {
            api_keys: key(BOT),
            admin_keys,
            ..Trust::default()
        };
        let serving = Serving {
            trust,
            listen,
            ..Serving::default()
        };
        Client::new(serving.start(vec![mirror()], PIPELINE))
    };
    let asked = |client: &mut Client, key: &str| -> [u16; 2] {
        let headers = [("X-Api-Key", key)];
        ["POST /t", "GET /settings"].map(|line| {
            let (method, path) = line.split_once(' ').unwrap();
            client.send(method, path, &headers, b"").unwrap().status
        })
    };
    let mut here = serving("127.0.0.1:0", Keys::default());
    assert_eq!(asked(&mut here, BOT), [200; 2]);
    assert_eq!(asked(&mut here, "wrong"), [401; 2]);
    let mut open = serving("0.0.0.0:0", Keys::default());
    assert_eq!(asked(&mut open, BOT), [403; 2]);
    let answer = open.send("POST", "/t", &[("X-Api-Key", BOT)], b"").unwrap();
    is_refused(&answer, 403, "no_admin_key");
    for listen in ["0.0.0.0:0", "127.0.0.1:0"] {
        let mut client = serving(listen, key(ADMIN));
        assert_eq!(asked(&mut client, ADMIN), [200; 2]);
        assert_eq!(asked(&mut client, BOT), [403; 2]);
        assert_eq!(asked(&mut client, "wrong"), [401; 2]);
        // Theirs opens the other routes too.
        let headers = [("Authorization", &*format!("bearer {ADMIN}"))];
        let answer = client.send("GET", "/health", &headers, b"").unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn on_other_addresses_the_service_is_called_by_any_name() {
    let serving = Serving {
        listen: "0.0.0.0:0",
        ..Serving::default()
    };
    let address = serving.start(vec![mirror()], PIPELINE);
    let json = ("Content-Type", "application/json");
    // As the bot calls it in its network.
    for host in ["omnizap", "omnizap:8008", "10.1.2.3:8008"] {
        let answer = ask(address, "POST /t", &[("Host", host), json], "{}");
        assert_eq!(answer.status, 200, "{host}");
        let foreign = [("Host", host), json, ("Origin", "http://evil.example")];
        is_refused(
            &ask(address, "POST /t", &foreign, "{}"),
            403,
            "foreign_origin",
        );
    }
}

/// Writes a file of keys as editors do, in another's place.
fn put_keys(file: &std::path::Path, keys: &[&str], mode: u32) {
    let new = file.with_extension("new");
    std::fs::write(&new, keys.join("\n")).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::rename(&new, file).unwrap();
}

#[test]
fn a_key_is_taken_back_and_another_given_without_a_restart() {
    let folder = TempDir::new().unwrap();
    let [file, admin_file] = ["keys", "admins"].map(|name| folder.path().join(name));
    put_keys(&file, &[BOT], 0o600);
    put_keys(&admin_file, &[ADMIN], 0o600);
    let server = Server::start_with(&Settings {
        environment: &[
            ("OMNIZAP_API_KEYS_FILE", file.to_str().unwrap()),
            ("OMNIZAP_ADMIN_KEYS_FILE", admin_file.to_str().unwrap()),
            ("OMNIZAP_API_KEYS", OTHER),
        ],
        ..Settings::default()
    });
    let opens = |key: &str| {
        let headers = [("X-Api-Key", key)];
        let answer = server.client().send("GET", "/health", &headers, b"");
        let status = answer.unwrap().status;
        assert!([200, 401].contains(&status), "{status}");
        status == 200
    };
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{what}: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let (new, newer) = ("new-key-of-the-bot-0123456", "newer-key-of-the-bot-01234");
    assert!(opens(BOT) && opens(OTHER) && opens(ADMIN) && !opens(new));
    // Both for a while, then the new one alone; found by itself.
    put_keys(&file, &[BOT, new], 0o600);
    until("another key", &|| opens(new));
    assert!(opens(BOT) && opens(OTHER) && opens(ADMIN));
    put_keys(&file, &[new], 0o640);
    until("a key taken back", &|| !opens(BOT));
    assert!(opens(new) && opens(OTHER));

    // What is wrong is told, and changes nothing; at once where it is asked for.
    for (keys, mode, wanted) in [
        (&["short"][..], 0o600, "key 1 has 5 characters"),
        (&["# none"], 0o600, "there is no key in the file"),
        (&[new, newer], 0o666, "chmod o-w"),
    ] {
        put_keys(&file, keys, mode);
        server.signal("HUP");
        server.log_with(wanted);
        assert!(opens(new) && !opens(newer) && opens(OTHER), "{wanted}");
    }
    std::fs::remove_file(&file).unwrap();
    server.signal("HUP");
    server.log_with("No such file");
    assert!(opens(new));
    put_keys(&file, &[newer], 0o600);
    put_keys(&admin_file, &[BOT], 0o600);
    server.signal("HUP");
    until("the newer key", &|| opens(newer) && !opens(new));
    until("the key of administrators", &|| opens(BOT) && !opens(ADMIN));
    let log = server.log();
    assert!(log.contains("those from before stay in force"), "{log}");
    for key in [BOT, OTHER, ADMIN, new, newer] {
        assert!(!log.contains(key), "the log has a key: {log}");
    }
}

#[test]
fn what_is_no_key_no_name_and_no_page_ends_the_start() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let short = write("short", "0123\n", 0o600);
    let anybody = write("anybody", BOT, 0o666);
    let none = write("none", "# no key yet\n", 0o600);
    let missing = folder.path().join("missing").display().to_string();
    for (variable, value, code, wanted) in [
        (
            "OMNIZAP_API_KEYS",
            "secret",
            78,
            "OMNIZAP_API_KEYS: key 1 has 6 characters",
        ),
        (
            "OMNIZAP_ADMIN_KEYS",
            "secret",
            78,
            "OMNIZAP_ADMIN_KEYS: key 1",
        ),
        (
            "OMNIZAP_API_KEYS_FILE",
            &short,
            78,
            "key 1 has 4 characters",
        ),
        ("OMNIZAP_API_KEYS_FILE", &anybody, 78, "chmod o-w"),
        (
            "OMNIZAP_ADMIN_KEYS_FILE",
            &none,
            78,
            "there is no key in the file",
        ),
        ("OMNIZAP_ADMIN_KEYS_FILE", &missing, 78, "missing"),
        ("OMNIZAP_ALLOWED_HOSTS", "http://a", 2, "is no host"),
        ("OMNIZAP_ALLOWED_ORIGINS", "page.example", 2, "is no origin"),
    ] {
        let output = omnizap(folder.path())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env(variable, value)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{variable}: {said}");
        assert!(said.contains(wanted), "{variable}: {said}");
        assert!(!said.contains("secret") && !said.contains("0123"), "{said}");
    }
    // A variable that is set to nothing is not set.
    let server = Server::start_with(&Settings {
        environment: &[("OMNIZAP_API_KEYS", " "), ("OMNIZAP_ALLOWED_HOSTS", "")],
        ..Settings::default()
    });
    assert_eq!(server.client().get("/health").status, 200);
}

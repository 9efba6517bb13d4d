//! A key on every route: none, a wrong one, the right one, one too long, several, in both ways of
//! sending one. Which routes there are the program tells itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use engine::pipeline::config::OwnRoute;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::database::not_tested;
use crate::support::http::{Answer, Client};
use crate::support::program::{Server, Settings, omnizap, root};

const CLIENT: &str = "key-of-a-client-0123456789";
const ADMIN: &str = "key-of-the-admins-0123456789";
const WRONG: &str = "key-of-a-stranger-012345678";

/// Pipelines with each kind of route: with fields in the path and in the query, with settings, for
/// administrators.
const PIPELINES: [&str; 6] = [
    "classify.toml",
    "feedback.toml",
    "admin/forget.toml",
    "recipes/hash.toml",
    "recipes/own-labels.toml",
    "recipes/vote-by-link.toml",
];

/// Who may ask for a route, or whose key a request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Anybody,
    Client,
    Admin,
}

/// A method and a path, and who may ask for it.
type Routes = BTreeMap<(String, String), Who>;

/// Headers of a request.
type Headers = Vec<(&'static str, String)>;

fn pipelines() -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in PIPELINES {
        let from = root().join("pipelines").join(name);
        let to = folder.path().join(from.file_name().unwrap());
        std::fs::copy(&from, to).unwrap();
    }
    folder
}

fn with_key(client: &mut Client, method: &str, path: &str, key: &str) -> Answer {
    let headers = [("X-Api-Key", key)];
    client.send(method, path, &headers, b"").unwrap()
}

/// A path with values in the places of its fields.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        if part.starts_with('{') {
            "ab".repeat(32)
        } else {
            part.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The routes of a program, as its document tells of them, as its own list does, and as its page asks
/// for its files. Where two tell of one, they agree.
fn routes(client: &mut Client) -> Routes {
    let document = with_key(client, "GET", "/openapi.json", ADMIN).fine();
    let mut found = Routes::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            if !["GET", "POST", "DELETE"].contains(&method.as_str()) {
                continue;
            }
            let wanted = operation.get("security").unwrap_or(&document["security"]);
            let wanted = wanted.as_array().unwrap().iter();
            let mut schemes = wanted.flat_map(|one| one.as_object().unwrap().keys());
            let who = match schemes.next().map(String::as_str) {
                None => Who::Anybody,
                Some("apiKey" | "bearer") => Who::Client,
                Some("adminKey" | "adminBearer") => Who::Admin,
                Some(other) => panic!("{method} {path}: {other}"),
            };
            found.insert((method, filled(path)), who);
        }
    }
    for own in OwnRoute::ALL {
        let who = if own.is_for_admins() {
            Who::Admin
        } else if own.is_open() {
            Who::Anybody
        } else {
            Who::Client
        };
        let route = (own.method().to_owned(), own.path().to_owned());
        let told = found.insert(route, who);
        assert!(told.is_none_or(|told| told == who), "{own:?}: {told:?}");
    }
    let live = with_key(client, "GET", "/admin/pipelines", ADMIN).fine();
    for pipeline in live["pipelines"].as_array().unwrap() {
        let shown = [&pipeline["route"], &pipeline["settings_route"]];
        for route in shown.into_iter().filter_map(Json::as_str) {
            let (method, path) = route.split_once(' ').unwrap();
            let route = (method.to_owned(), filled(path));
            assert!(found.contains_key(&route), "the document lacks {route:?}");
        }
    }
    let page = String::from_utf8(client.get("/").body).unwrap();
    for link in page.split("=\"page/").skip(1) {
        let path = format!("/page/{}", link.split('"').next().unwrap());
        found.insert(("GET".to_owned(), path), Who::Anybody);
    }
    found
}

/// Ways to send that key, and a name for each.
fn ways_with(key: &str) -> Vec<(&'static str, Headers)> {
    let alone = |value: &str| ("X-Api-Key", value.to_owned());
    let bearer = |value: &str| ("Authorization", format!("Bearer {value}"));
    vec![
        ("alone", vec![alone(key)]),
        (
            "in other letters",
            vec![("authorization", format!("bEaReR  {key}"))],
        ),
        ("as a bearer", vec![bearer(key)]),
        ("twice", vec![alone(key), alone(key)]),
        ("in both ways", vec![bearer(key), alone(key)]),
        ("behind a wrong one", vec![alone(WRONG), alone(key)]),
        ("before a wrong one", vec![alone(key), alone(WRONG)]),
        ("beside a wrong bearer", vec![bearer(WRONG), alone(key)]),
        ("beside a wrong one", vec![bearer(key), alone(WRONG)]),
    ]
}

/// What is no key, though some of it is made of one.
fn ways_without(key: &str) -> Vec<(&'static str, Headers)> {
    let alone = |value: String| vec![("X-Api-Key", value)];
    let authorization = |value: String| vec![("Authorization", value)];
    let wrong = ("X-Api-Key", WRONG.to_owned());
    let right = ("X-Api-Key", key.to_owned());
    vec![
        ("none", Vec::new()),
        ("nothing", alone(String::new())),
        ("a wrong one", alone(WRONG.to_owned())),
        ("a wrong bearer", authorization(format!("Bearer {WRONG}"))),
        ("a part of it", alone(key[..key.len() - 1].to_owned())),
        ("the rest of it", alone(key[1..].to_owned())),
        ("more than it", alone(format!("{key}x"))),
        ("in large letters", alone(key.to_uppercase())),
        ("two in one", alone(format!("{key},{key}"))),
        ("quoted", alone(format!("\"{key}\""))),
        ("one too long", alone(key.repeat(100))),
        (
            "a bearer too long",
            authorization(format!("Bearer {}", key.repeat(2000))),
        ),
        ("of no scheme", authorization(key.to_owned())),
        ("of another scheme", authorization(format!("Basic {key}"))),
        ("a scheme alone", authorization("Bearer".to_owned())),
        ("in a cookie", vec![("Cookie", format!("X-Api-Key={key}"))]),
        (
            "behind more than are looked at",
            vec![wrong.clone(), wrong.clone(), wrong.clone(), wrong, right],
        ),
    ]
}

fn send(client: &mut Client, method: &str, path: &str, headers: &Headers) -> Answer {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    client.send(method, path, &headers, b"").unwrap()
}

/// That a request that brings such a key got past the keys, or was refused as it should.
#[track_caller]
fn is_answered(answer: &Answer, wanted: Who, brings: Who, what: &str) {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    for key in [CLIENT, ADMIN, WRONG] {
        assert!(!text.contains(key), "{what}: {text}");
    }
    if brings >= wanted {
        assert!(![401, 403].contains(&answer.status), "{what}: {text}");
        return;
    }
    let (status, code) = if brings == Who::Anybody {
        (401, "unauthorized")
    } else {
        (403, "admin_key_required")
    };
    assert_eq!(answer.status, status, "{what}: {text}");
    assert_eq!(answer.json()["code"], code, "{what}: {text}");
    let asks = answer.header("www-authenticate");
    assert_eq!(asks.is_some(), status == 401, "{what}: {asks:?}");
}

fn server_with_keys(folder: &TempDir) -> Server {
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        environment: &[("OMNIZAP_API_KEYS", CLIENT), ("OMNIZAP_ADMIN_KEYS", ADMIN)],
        ..Settings::default()
    });
    server.ready();
    server
}

#[test]
fn every_route_wants_its_key_however_it_is_sent() {
    let folder = pipelines();
    let server = server_with_keys(&folder);
    let mut client = server.client();
    let routes = routes(&mut client);
    for (method, path, who) in [
        ("GET", "/health/live", Who::Anybody),
        ("GET", "/page/app.js", Who::Anybody),
        ("POST", "/classify", Who::Client),
        ("GET", "/own-labels", Who::Client),
        ("GET", "/vote", Who::Client),
        ("GET", "/metrics", Who::Client),
        ("POST", "/admin/reload", Who::Admin),
        (
            "DELETE",
            &*format!("/images/{}", "ab".repeat(32)),
            Who::Admin,
        ),
    ] {
        let route = (method.to_owned(), path.to_owned());
        assert_eq!(routes.get(&route), Some(&who), "{route:?}");
    }
    for ((method, path), wanted) in &routes {
        let mut check = |what: &str, path: &str, headers: &Headers, brings: Who| {
            let answer = send(&mut client, method, path, headers);
            let what = format!("{method} {path}, {brings:?}, {what}");
            is_answered(&answer, *wanted, brings, &what);
        };
        for (what, headers) in ways_without(ADMIN) {
            check(what, path, &headers, Who::Anybody);
        }
        let in_query = format!("{path}?api_key={ADMIN}&X-Api-Key={ADMIN}&key={ADMIN}");
        check("in the query", &in_query, &Vec::new(), Who::Anybody);
        if *wanted == Who::Anybody {
            continue;
        }
        for (key, brings) in [(CLIENT, Who::Client), (ADMIN, Who::Admin)] {
            for (what, headers) in ways_with(key) {
                check(what, path, &headers, brings);
            }
        }
        for (what, headers) in ways_without(CLIENT) {
            check(what, path, &headers, Who::Anybody);
        }
        let both = vec![
            ("X-Api-Key", CLIENT.to_owned()),
            ("Authorization", format!("Bearer {ADMIN}")),
        ];
        check("both keys", path, &both, Who::Admin);
    }
    let log = server.log_with("asked to reload");
    for key in [CLIENT, ADMIN, WRONG] {
        assert!(!log.contains(key), "the log has a key");
    }
}

#[test]
fn no_other_method_and_no_other_spelling_goes_past_the_keys() {
    let folder = pipelines();
    let server = server_with_keys(&folder);
    let mut client = server.client();
    let routes = routes(&mut client);
    let closed = routes.iter().filter(|(_, who)| **who != Who::Anybody);
    for ((_, path), wanted) in closed {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let what = format!("{method} {path}");
            let answer = send(&mut client, method, path, &Vec::new());
            assert_eq!(answer.status, 401, "{what}");
            let is_route = routes.contains_key(&(method.to_owned(), path.clone()));
            if *wanted == Who::Admin && (is_route || method == "HEAD") {
                let answer = with_key(&mut client, method, path, CLIENT);
                assert!([403, 404, 405].contains(&answer.status), "{what}");
            }
        }
    }
    for path in [
        "/admin",
        "/admin/",
        "/admin/pipelines/",
        "/admin//pipelines",
        "//admin/pipelines",
        "/./admin/pipelines",
        "/health/live/../../admin/pipelines",
        "/page/../admin/pipelines",
        "/%61dmin/pipelines",
        "/admin%2Fpipelines",
        "/ADMIN/pipelines",
        "/admin/pipelines;x",
        "/admin/pipelines?x=/health/live",
        "/nope",
    ] {
        for method in ["GET", "POST"] {
            let answer = send(&mut client, method, path, &Vec::new());
            assert_eq!(answer.status, 401, "{method} {path}");
            let answer = with_key(&mut client, method, path, CLIENT);
            assert!([403, 404, 405].contains(&answer.status), "{method} {path}");
        }
    }
    // A head with more than there is room for is refused, or broken off.
    let huge = "k".repeat(1 << 20);
    if let Ok(answer) = client.send("GET", "/metrics", &[("X-Api-Key", &huge)], b"") {
        assert!(
            [400, 401, 431].contains(&answer.status),
            "{}",
            answer.status
        );
    }
    let answer = with_key(&mut server.client(), "GET", "/metrics", CLIENT);
    assert_eq!(answer.status, 200, "others are answered all the same");
}

/// A server that other hosts reach.
struct Reachable {
    child: Child,
    port: u16,
    _data: TempDir,
}

impl Reachable {
    fn start(pipelines: &TempDir, environment: &[(&str, &str)]) -> Self {
        let data = TempDir::new().unwrap();
        let mut child = omnizap(data.path())
            .args(["serve", "--listen", "0.0.0.0:0", "--pipelines"])
            .arg(pipelines.path())
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("listening on http://0.0.0.0:")?;
            port.split_whitespace().next()?.parse().ok()
        });
        let port = port.expect("the server did not start");
        Self {
            child,
            port,
            _data: data,
        }
    }
}

impl Drop for Reachable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address by which other hosts reach this machine, where it has one. Nothing is sent.
fn outside() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address of documents (RFC 5737): the way there begins at the address that is looked for.
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    let is_own = !ip.is_loopback() && !ip.is_unspecified();
    is_own.then_some(ip)
}

/// The routes of administrators.
const ADMINISTRATION: [(&str, &str); 3] = [
    ("GET", "/admin/pipelines"),
    ("POST", "/admin/reload"),
    (
        "DELETE",
        "/images/abababababababababababababababababababababababababababababababab",
    ),
];

#[test]
fn from_another_host_administration_is_closed_but_to_its_key() {
    let folder = pipelines();
    let ip = outside().unwrap_or_else(|| {
        not_tested("an address by which others reach this machine: it has none");
        Ipv4Addr::LOCALHOST.into()
    });
    // What a proxy would say, and whoever wants to pass for somebody else.
    let pretending = [
        None,
        Some(("X-Forwarded-For", "127.0.0.1")),
        Some(("Forwarded", "for=127.0.0.1;host=localhost")),
        Some(("X-Real-Ip", "::1")),
        Some(("X-Forwarded-Host", "localhost")),
        Some(("X-Api-Key", CLIENT)),
        Some(("X-Api-Key", "")),
    ];
    for keys in [&[][..], &[("OMNIZAP_API_KEYS", CLIENT)]] {
        let server = Reachable::start(&folder, keys);
        let mut client = Client::new(SocketAddr::new(ip, server.port));
        for (method, path) in ADMINISTRATION {
            for headers in &pretending {
                let headers = headers.as_slice();
                let answer = client.send(method, path, headers, b"").unwrap();
                answer.refused(403, "no_admin_key");
            }
        }
        let open = with_key(&mut client, "GET", "/metrics", CLIENT);
        assert_eq!(open.status, 200, "what is for clients is answered");
    }
    let server = Reachable::start(&folder, &[("OMNIZAP_ADMIN_KEYS", ADMIN)]);
    let mut client = Client::new(SocketAddr::new(ip, server.port));
    for (method, path) in ADMINISTRATION {
        for headers in &pretending {
            let headers = headers.as_slice();
            let answer = client.send(method, path, headers, b"").unwrap();
            answer.refused(401, "unauthorized");
        }
        let answer = with_key(&mut client, method, path, ADMIN);
        assert!(![401, 403].contains(&answer.status), "{method} {path}");
    }
}

#[test]
fn what_listens_on_this_machine_alone_is_not_reached_from_another() {
    let Some(ip) = outside() else {
        return not_tested("an address by which others reach this machine: it has none");
    };
    let folder = pipelines();
    let server = Server::of(folder.path(), &[]);
    let there = SocketAddr::new(ip, server.address.port());
    let reached = TcpStream::connect_timeout(&there, Duration::from_secs(5));
    assert!(reached.is_err(), "{there} answers");
    let answer = server.client().get("/admin/pipelines");
    assert_eq!(answer.status, 200, "who is on the machine is answered");
}

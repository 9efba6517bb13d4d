//! The page at `/`: served whole, under a strict policy, to whoever may not ask for anything yet, and
//! not where a pipeline or the operator has another use of the place. What it does in a browser is
//! tried by `tests/page/run`.

use tempfile::TempDir;

use crate::support::program::{Server, Settings, root};

const KEY: &str = "key-of-the-page-0123456789";
/// A file of each kind.
const FILES: [(&str, &str); 5] = [
    ("/", "text/html; charset=utf-8"),
    ("/page/app.js", "text/javascript; charset=utf-8"),
    ("/page/base.css", "text/css; charset=utf-8"),
    ("/page/icon.svg", "image/svg+xml"),
    ("/page/examples/cat-sticker.webp", "image/webp"),
];

#[test]
fn the_page_is_served_under_a_strict_policy_and_again_only_where_it_is_another() {
    let server = Server::start();
    let mut client = server.client();
    for (path, content_type) in FILES {
        let answer = client.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.is_empty(), "{path}");
        assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("; frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert!(answer.header("x-request-id").is_some());
        let tag = answer.header("etag").unwrap().to_owned();
        let known = [("If-None-Match", &*tag)];
        let again = client.send("GET", path, &known, &[]).unwrap();
        assert_eq!(again.status, 304, "{path}");
        assert!(again.body.is_empty(), "{path}");
        let head = client.send("HEAD", path, &[], &[]).unwrap();
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.header("etag"), Some(&*tag), "{path}");
    }
    for path in [
        "/page",
        "/page/",
        "/page/../page/app.js",
        "/page/README.md",
        "/index.html",
    ] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    let wrong = client.send("POST", "/", &[], &[]).unwrap();
    assert_eq!(wrong.status, 405);
    assert_eq!(wrong.header("allow"), Some("GET"));
}

#[test]
fn the_page_can_be_opened_without_the_key_that_it_asks_for() {
    let settings = Settings {
        environment: &[("OMNIZAP_API_KEYS", KEY)],
        ..Settings::default()
    };
    let server = Server::start_with(&settings);
    let mut client = server.client();
    for (path, _) in FILES {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    for path in ["/pipelines", "/labels", "/page/nothing.js"] {
        assert_eq!(client.get(path).status, 401, "{path}");
    }
}

#[test]
fn a_page_of_another_site_cannot_frame_or_read_it() {
    let server = Server::start();
    let mut client = server.client();
    let foreign = [("Origin", "http://evil.example")];
    assert_eq!(client.send("GET", "/", &foreign, &[]).unwrap().status, 403);
    let fetched = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors")];
    assert_eq!(client.send("GET", "/", &fetched, &[]).unwrap().status, 403);
    // A link that is followed leads to it.
    let followed = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
    ];
    let page = client.send("GET", "/", &followed, &[]).unwrap();
    assert_eq!(page.status, 200);
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    assert_eq!(
        page.header("cross-origin-resource-policy"),
        Some("same-origin")
    );
}

#[test]
fn there_is_no_page_where_the_operator_wants_none_or_a_pipeline_has_its_place() {
    let settings = Settings {
        environment: &[("OMNIZAP_NO_PAGE", "true")],
        ..Settings::default()
    };
    let server = Server::start_with(&settings);
    let mut client = server.client();
    for (path, _) in FILES {
        assert_eq!(client.get(path).status, 404, "{path}");
    }

    let folder = TempDir::new().unwrap();
    let recipe = root().join("pipelines/recipes/hash.toml");
    let text = std::fs::read_to_string(recipe).unwrap();
    let route = text.lines().find(|line| line.starts_with("route = "));
    let own = text.replace(route.unwrap(), "settings_route = \"GET /\"");
    std::fs::write(folder.path().join("own.toml"), own).unwrap();
    let server = Server::of(folder.path(), &[]);
    let answer = server.client().get("/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["ok"], true);
}

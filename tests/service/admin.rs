//! What administrators ask of a service: that it reads its files anew and says what came of it, and
//! what is live.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::answers::file;
use crate::plugins::{allowed, compile};
use crate::support::http::{Answer, Client};
use crate::support::program::{Server, Settings, picture};

const ADMIN: &str = "key-of-the-admins-0123456789";
const CLIENT: &str = "key-of-a-client-0123456789";

/// A pipeline that names files.
fn naming(name: &str, more: &str) -> String {
    format!(
        "[pipeline]\nname = \"{name}\"\nroute = \"POST /{name}\"\n{more}\n[request]\n\
         file = {{ type = \"bytes\", required = true }}\n[[stage]]\nuses = \"hash\"\n"
    )
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn reload(client: &mut Client) -> Answer {
    client.send("POST", "/admin/reload", &[], b"").unwrap()
}

fn shown(client: &mut Client) -> Json {
    client.get("/admin/pipelines").fine()
}

#[test]
fn a_reload_is_answered_once_the_files_are_live_or_with_what_is_wrong_with_them() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one.toml", &naming("one", ""));
    let server = Server::of(folder.path(), &[("OMNIZAP_DATA_SECRET", "not-to-be-seen")]);
    let mut client = server.client();
    let first = shown(&mut client);
    assert_eq!(
        (&first["generation"], &first["reloads"]["fine"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(first["reloads"]["last_failed"], Json::Null);

    // New at once: nobody waits for the files to settle.
    write(folder.path(), "two.toml", &naming("two", ""));
    let begun = Instant::now();
    let answer = reload(&mut client);
    assert_eq!(answer.status, 200, "{}", answer.json());
    let answer = answer.json();
    assert_eq!(answer["pipelines"], json!(["one", "two"]));
    assert_eq!(answer["generation"], 2);
    assert_ne!(answer["sha256"], first["sha256"]);
    let data = picture("wide.png");
    assert_eq!(client.post_form("/two", &[file(&data)]).status, 200);
    assert!(begun.elapsed() < Duration::from_secs(30));

    // The same files again are another generation with the same hash, and their stages count on.
    let again = reload(&mut client).fine();
    assert_eq!(
        (&again["generation"], &again["sha256"]),
        (&json!(3), &answer["sha256"])
    );
    let now = shown(&mut client);
    let pipelines = now["pipelines"].as_array().unwrap();
    let two = pipelines
        .iter()
        .find(|one| one["pipeline"] == "two")
        .unwrap();
    assert_eq!(two["stages"][0]["counters"]["ran"], 1, "{two}");
    assert!(two["stages"][0]["options"].is_object());
    assert!(two["files"][0].as_str().unwrap().ends_with("two.toml"));

    // A mistake changes nothing, and is told by its place.
    let wrong = naming("two", "").replace("hash", "hesh");
    write(folder.path(), "two.toml", &wrong);
    let refused = reload(&mut client);
    assert_eq!(refused.status, 422);
    let refused = refused.json();
    assert_eq!(refused["code"], "not_reloaded");
    let mistakes = refused["mistakes"].as_array().unwrap();
    assert_eq!(mistakes.len(), 1, "{refused}");
    let mistake = &mistakes[0];
    assert!(mistake["file"].as_str().unwrap().ends_with("two.toml"));
    assert_eq!(
        (&mistake["line"], &mistake["column"]),
        (&json!(8), &json!(8)),
        "{mistake}"
    );
    let text = mistake["text"].as_str().unwrap();
    assert!(text.contains("did you mean `hash`?"), "{text}");
    let now = shown(&mut client);
    assert_eq!(now["generation"], 3);
    assert_eq!(now["reloads"]["failed"], 1);
    let failed = &now["reloads"]["last_failed"];
    assert_eq!(failed["mistakes"], refused["mistakes"]);
    assert!(failed["at"].as_str().unwrap().ends_with('Z'), "{failed}");
    assert_eq!(client.post_form("/two", &[file(&data)]).status, 200);

    // Warnings come with what goes live.
    let twice = naming("two", "") + "[[stage]]\nname = \"again\"\nuses = \"hash\"\n";
    write(folder.path(), "two.toml", &twice);
    let warned = reload(&mut client).fine();
    assert!(
        !warned["warnings"].as_array().unwrap().is_empty(),
        "{warned}"
    );
    assert_eq!(
        shown(&mut client)["reloads"]["last_failed"],
        *failed,
        "it is kept"
    );

    // A folder without a pipeline.
    for name in ["one.toml", "two.toml"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    let empty = reload(&mut client);
    assert_eq!(empty.status, 422, "{}", empty.json());
    assert!(
        empty.json()["detail"]
            .as_str()
            .unwrap()
            .contains("holds no pipeline")
    );
    server.log_with("nothing reloaded");
}

#[test]
fn many_who_ask_at_one_time_share_a_reload() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one.toml", &naming("one", ""));
    let server = Server::of(folder.path(), &[]);
    let asked = 40;
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..asked)
            .map(|_| scope.spawn(|| reload(&mut server.client()).status))
            .collect();
        for one in asking {
            assert_eq!(one.join().unwrap(), 200);
        }
    });
    let now = shown(&mut server.client());
    let reloads = now["reloads"]["fine"].as_u64().unwrap();
    assert!((1..=asked).contains(&reloads), "{reloads}");
    assert_eq!(now["generation"], reloads + 1);
}

/// A pipeline with a stage of a plugin that does not come back when it is activated.
fn hanging(folder: &Path) {
    let libraries = folder.join("lib");
    std::fs::create_dir(&libraries).unwrap();
    let flags = ["-DAT=ACTIVATE", "-DACT=HANGS", "-DNAME=\"waits\""];
    let source = "tests/fixtures/plugins/ending.c";
    let library = compile(source, &flags, &libraries, "waits.so");
    let using = format!(
        "{}[pipeline]\nname = \"twice\"\nroute = \"POST /twice\"\n[request]\n\
         value = {{ type = \"number\" }}\n[[stage]]\nuses = \"test/ending\"\n\
         with = {{ act = true }}\n",
        allowed(&library)
    );
    write(folder, "twice.toml", &using);
}

#[test]
fn a_plugin_that_hangs_in_a_reload_is_named_in_the_answer_and_holds_up_nobody() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one.toml", &naming("one", ""));
    let impatient = [
        ("OMNIZAP_PLUGIN_HOOK_MS", "500"),
        ("OMNIZAP_PLUGIN_ACTIVATE_MS", "500"),
    ];
    let server = Server::of(folder.path(), &impatient);
    hanging(folder.path());
    let refused = std::thread::scope(|scope| {
        let asked = scope.spawn(|| reload(&mut server.client()));
        let mut client = server.client();
        while !asked.is_finished() {
            assert_eq!(client.get("/health/live").status, 200);
            std::thread::sleep(Duration::from_millis(20));
        }
        asked.join().unwrap()
    });
    assert_eq!(refused.status, 422, "{}", refused.json());
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("nothing was reloaded: "), "{detail}");
    assert!(detail.contains("waits"), "{detail}");
}

#[test]
fn only_administrators_are_answered_and_nothing_secret_is() {
    let folder = TempDir::new().unwrap();
    let wrong = "[pipeline]\nname = \"x\"\n[[stage]]\nuses = \"hash\"\nenabled = \"${NOISE}\"\n";
    write(folder.path(), "one.toml", &naming("one", ""));
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        environment: &[
            ("OMNIZAP_ADMIN_KEYS", ADMIN),
            ("OMNIZAP_API_KEYS", CLIENT),
            ("OPENAI_API_KEY", "sk-planted-0123456789"),
        ],
        ..Settings::default()
    });
    let mut client = server.client();
    write(folder.path(), "wrong.toml", wrong);
    for (method, path) in [("GET", "/admin/pipelines"), ("POST", "/admin/reload")] {
        for (key, status) in [
            (None, 401),
            (Some("another-key-0123456789"), 401),
            (Some(CLIENT), 403),
        ] {
            let headers: Vec<_> = key.iter().map(|key| ("X-Api-Key", *key)).collect();
            let answer = client.send(method, path, &headers, b"").unwrap();
            assert_eq!(answer.status, status, "{method} {path} {key:?}");
        }
        let key = [("X-Api-Key", ADMIN)];
        let answer = client.send(method, path, &key, b"").unwrap();
        assert!([200, 422].contains(&answer.status), "{}", answer.json());
        let text = String::from_utf8(answer.body).unwrap();
        for secret in [ADMIN, CLIENT, "sk-planted"] {
            assert!(!text.contains(secret), "{path}");
        }
        let page = [key[0], ("Origin", "http://evil.example")];
        assert_eq!(client.send(method, path, &page, b"").unwrap().status, 403);
    }
    // A page that is left for this one asks with GET, and that changes nothing.
    let answer = client
        .send("GET", "/admin/reload", &[("X-Api-Key", ADMIN)], b"")
        .unwrap();
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

#[test]
fn on_other_addresses_nobody_is_without_a_key() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one.toml", &naming("one", ""));
    let data = TempDir::new().unwrap();
    let mut child = crate::support::program::omnizap(data.path())
        .args(["serve", "--listen", "0.0.0.0:0", "--pipelines"])
        .arg(folder.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let mut lines = lines.map_while(Result::ok);
    let address = lines.find_map(|line| {
        let (_, address) = line.split_once("listening on http://0.0.0.0:")?;
        address.split_whitespace().next()?.parse::<u16>().ok()
    });
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], address.unwrap()));
    let mut client = Client::new(address);
    for (method, path) in [("GET", "/admin/pipelines"), ("POST", "/admin/reload")] {
        let answer = client.send(method, path, &[], b"").unwrap();
        assert_eq!(answer.status, 403, "{method} {path}");
        assert_eq!(answer.json()["code"], "no_admin_key");
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_service_that_ends_does_not_wait_for_a_reload() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "one.toml", &naming("one", ""));
    let patient = [
        ("OMNIZAP_PLUGIN_ACTIVATE_MS", "60000"),
        ("OMNIZAP_SHUTDOWN_GRACE_MS", "4000"),
    ];
    let mut server = Server::of(folder.path(), &patient);
    hanging(folder.path());
    let mut client = server.client();
    let asked = std::thread::spawn(move || reload(&mut client));
    server.log_with("asked to reload");
    server.terminate();
    let answer = asked.join().unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["code"], "shutting_down");
    assert_eq!(server.wait(), Some(0));
}

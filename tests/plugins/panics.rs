//! A panic and a flood of log lines in a plugin in Rust, over HTTP: all others go on.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{allowed, build};
use crate::support::http::{Answer, Part};
use crate::support::program::{Server, Settings};

fn pipeline(plugin: &str, name: &str, on_error: &str) -> String {
    format!(
        "{plugin}[pipeline]\nname = \"{name}\"\nroute = \"POST /{name}\"\n[request]\n\
         word = {{ type = \"text\" }}\n[[stage]]\nuses = \"test/panics\"\non_error = \"{on_error}\"\n"
    )
}

fn say(server: &Server, route: &str, word: &str) -> Answer {
    let parts = [Part::Text("word", word)];
    server.client().post_form(route, &parts)
}

#[test]
fn a_panic_fails_its_own_request_and_no_other() {
    let folder = TempDir::new().unwrap();
    let library = build("omnizap-panics", folder.path());
    let plugin = allowed(&library);
    for (name, on_error) in [("strict", "fail"), ("lenient", "skip")] {
        let text = pipeline(&plugin, name, on_error);
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        ..Settings::default()
    });

    let failed = say(&server, "/strict", "panic");
    let answer = failed.json();
    assert_eq!(
        (failed.status, &answer["code"]),
        (500, &"plugin_fault".into())
    );
    assert_eq!(answer["stage"], "test/panics");
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.contains("test-panics"), "{answer}");
    assert!(!detail.contains("private"), "{answer}");
    let skipped = say(&server, "/lenient", "panic");
    assert_eq!((skipped.status, &skipped.json()["said"]), (200, &().into()));

    // Each panic is followed by a call that succeeds, so that the stage is never stopped for
    // failing in a row, while others ask the same library through the other pipeline.
    std::thread::scope(|scope| {
        for asker in 0..3 {
            let server = &server;
            scope.spawn(move || {
                for turn in 0..40 {
                    let word = format!("{asker}/{turn}");
                    let answer = say(server, "/lenient", &word);
                    assert_eq!(answer.status, 200, "{}", answer.json());
                    assert_eq!(answer.json()["said"], word);
                }
            });
        }
        for _ in 0..40 {
            assert_eq!(say(&server, "/strict", "panic").status, 500);
            let answer = say(&server, "/strict", "calm");
            assert_eq!(
                (answer.status, &answer.json()["said"]),
                (200, &"calm".into())
            );
        }
    });
}

#[test]
fn what_a_plugin_logs_appears_with_its_name_and_a_flood_is_cut() {
    let folder = TempDir::new().unwrap();
    let library = build("omnizap-panics", folder.path());
    let text = pipeline(&allowed(&library), "lenient", "skip");
    std::fs::write(folder.path().join("lenient.toml"), text).unwrap();
    let server = Server::start_with(&Settings {
        pipelines: Some(folder.path()),
        ..Settings::default()
    });
    let lines = |wanted: &str| {
        let log = server.log();
        let found = log.lines().filter(|line| line.contains(wanted));
        found.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(say(&server, "/lenient", "a remarkable word").status, 200);
    assert_eq!(say(&server, "/lenient", "flood").status, 200);
    // The next line in another second says how many were left out.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(say(&server, "/lenient", "calm").status, 200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while lines("logs too much").is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let word = lines("a remarkable word");
    assert_eq!(word.len(), 1, "{}", server.log());
    assert!(word[0].contains("test-panics") && word[0].contains("INFO"));
    assert!(lines("not for everybody").is_empty(), "debug lines are off");
    assert!(!lines("logs too much").is_empty(), "{}", server.log());
    // Two windows of 100 lines, where the flood falls into two seconds.
    let flood = lines("once more").len();
    assert!((90..=200).contains(&flood), "{flood} lines of 1000");
}

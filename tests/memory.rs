//! What the service remembers, over the program and a real database: SQLite, MariaDB or
//! PostgreSQL, as `OMNIZAP_TEST_DATABASE` says.

mod copies;
mod disk;
mod faults;
mod feedback;
mod forget;
mod kill;
mod meaning;
mod outage;
mod recall;
mod server_faults;
mod starts;
mod themes;

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::support::http::{Client, Part};
use crate::support::program::Server;

/// What all the feedback of a test is for.
const HASH: &str = "abababababababababababababababababababababababababababababababab";

fn is_degraded(client: &mut Client) -> bool {
    let ready = client.get("/health/ready");
    assert_eq!(ready.status, 200, "it can serve");
    ready.json()["degraded"] != serde_json::json!([])
}

/// Waits until something that happens in the background has happened.
#[track_caller]
fn until(what: &str, limit: Duration, mut happened: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

/// One classification, which succeeds.
#[track_caller]
fn classify(client: &mut Client, data: &[u8], fields: &[(&str, &str)]) -> Json {
    let mut parts = vec![Part::File {
        name: "file",
        filename: "a",
        content_type: "image/png",
        data,
    }];
    parts.extend(fields.iter().map(|(name, value)| Part::Text(name, value)));
    let answer = client.post_form("/classify", &parts);
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{text}");
    answer.json()
}

/// How often a stage of `classify` ran and was skipped.
fn ran_and_skipped(server: &Server, stage: &str) -> (u64, u64) {
    let count = |what| counter(server, stage, what).unwrap();
    (count("ran"), count("skipped"))
}

/// What a stage of `classify` counts under that name, if it does.
fn counter(server: &Server, stage: &str, what: &str) -> Option<u64> {
    server.client().counters("classify", stage)[what].as_u64()
}

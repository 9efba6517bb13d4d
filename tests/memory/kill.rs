//! kill -9 while feedback is posted: what was acknowledged is there, and nothing twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{classify, until};
use crate::support::database::{Data, Kind};
use crate::support::http::Client;
use crate::support::program::{Server, Settings, picture, setting};

/// Kills of a run in CI; `OMNIZAP_KILL_ROUNDS=200` makes a long one.
const ROUNDS: u64 = 5;
const CLIENTS: usize = 4;
/// Longest time between the first acknowledged feedback of a round and its kill.
const LONGEST_MS: u64 = 150;
/// Within which a program that was just started acknowledges something.
const FIRST: Duration = Duration::from_secs(30);

/// What one client sent until its connection broke.
#[derive(Clone, Copy, Default)]
struct Sent {
    acknowledged: i64,
    /// Feedback without an answer: it may count or not, nobody can tell.
    unanswered: i64,
}

fn name(client: usize) -> String {
    format!("{client:064x}")
}

/// Posts feedback, one at a time, until the program is gone.
fn post(mut client: Client, number: usize, acknowledged: &AtomicU64) -> Sent {
    let body = json!({ "image_hash": name(number), "theme": format!("theme {number}") });
    let body = body.to_string();
    let mut sent = Sent::default();
    loop {
        let headers = [("Content-Type", "application/json")];
        match client.send("POST", "/feedback", &headers, body.as_bytes()) {
            Ok(answer) if answer.status == 200 => {
                assert_eq!(answer.json(), json!({ "ok": true }));
                sent.acknowledged += 1;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => panic!(
                "{}: {:?}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            ),
            Err(_) => {
                sent.unanswered += 1;
                return sent;
            }
        }
    }
}

/// What the weights of judgements are multiplied with, to compare them as whole numbers.
const UNIT: i64 = 1_000_000_000;

/// Judgements in the database: of the image, those that are credited, and the [`UNIT`]s that
/// its first label was credited with.
fn stored(data: &Data, number: usize) -> [i64; 3] {
    let integer = match Kind::of_the_suite() {
        Kind::MySql => "SIGNED",
        _ => "BIGINT",
    };
    let hash = name(number);
    // The first label weighs most: the largest sum is its own.
    data.numbers(&format!(
        "SELECT CAST(COALESCE(SUM(total_assignments), 0) AS {integer}), \
         CAST(COALESCE(SUM(credited_total), 0) AS {integer}), \
         (SELECT CAST(COALESCE(MAX(accepted + rejected), 0) * {UNIT} AS {integer}) \
          FROM omnizap_theme_labels WHERE theme = 'theme {number}') \
         FROM clip_image_theme_feedback WHERE image_hash = '{hash}'"
    ))
}

#[test]
fn acknowledged_feedback_outlives_kill_9_and_none_counts_twice() {
    let rounds = setting("OMNIZAP_KILL_ROUNDS", ROUNDS);
    let data = Arc::new(Data::new());
    let start = || {
        Server::start_with(&Settings {
            data: Some(data.clone()),
            ..Settings::default()
        })
    };
    let server = start();
    let image = picture("pixel.png");
    for number in 0..CLIENTS {
        let fields = [("asset_sha256", &*name(number))];
        classify(&mut server.client(), &image, &fields);
    }
    server.settle();
    drop(server);

    let mut before = [0; CLIENTS];
    let (mut all, mut counted, mut each) = (Sent::default(), 0, None);
    for round in 0..rounds {
        let mut server = start();
        let pause = Duration::from_millis((round * 7919) % LONGEST_MS);
        let acknowledged = AtomicU64::new(0);
        let sent: Vec<_> = std::thread::scope(|scope| {
            let client = |number| {
                let client = server.client();
                let acknowledged = &acknowledged;
                scope.spawn(move || post(client, number, acknowledged))
            };
            let clients: Vec<_> = (0..CLIENTS).map(client).collect();
            until("the first acknowledged", FIRST, || {
                acknowledged.load(Ordering::Relaxed) > 0
            });
            std::thread::sleep(pause);
            server.signal("KILL");
            let sent = clients.into_iter().map(|client| client.join().unwrap());
            sent.collect()
        });
        server.wait();
        for (number, sent) in sent.into_iter().enumerate() {
            let [total, credited, weight] = stored(&data, number);
            let new = total - before[number];
            let most = sent.acknowledged + sent.unanswered;
            assert!(
                (sent.acknowledged..=most).contains(&new),
                "round {round}: {} acknowledged, {} without answer, {new} stored",
                sent.acknowledged,
                sent.unanswered,
            );
            assert_eq!(credited, total, "round {round}: each credited once");
            // One picture, one answer: every judgement weighs as much as the first.
            if total > 0 {
                let own = weight / total;
                let one = *each.get_or_insert(own);
                assert!(
                    own > 0 && (own - one).abs() <= one / 1_000,
                    "round {round}: {own}, {one}"
                );
            }
            before[number] = total;
            all.acknowledged += sent.acknowledged;
            all.unanswered += sent.unanswered;
            counted += new;
        }
    }
    println!(
        "{}: {rounds} kills, {} acknowledged, {} without answer, {counted} stored",
        Kind::of_the_suite().name(),
        all.acknowledged,
        all.unanswered,
    );
}

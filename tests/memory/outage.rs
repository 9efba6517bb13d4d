//! The database stops under load and comes back: classification answers all along,
//! feedback is refused with 503, nothing that was acknowledged is lost, and nobody
//! restarts anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{HASH, classify, is_degraded, until};
use crate::support::database::{Data, Kind, not_tested};
use crate::support::database_server::DatabaseServer;
use crate::support::http::Client;
use crate::support::program::{Server, Settings, picture, setting};

/// Seconds without a database in CI; `OMNIZAP_OUTAGE_SECONDS=20` makes it longer. More
/// than a write may take (5 s): one that hangs from the start is refused only then.
const SECONDS: u64 = 7;
const CLASSIFIERS: usize = 3;
const RATERS: usize = 2;
/// Images that may wait to be written: the queue and one batch.
const WAITING: u64 = 1024 + 64;
/// Longest that a request may take, with or without a database: the first ones wait
/// for it, no later ones do. Machines that run the tests have little time to spare.
const LONGEST: Duration = Duration::from_secs(8);
/// Within which all is well again.
const RECOVERY: Duration = Duration::from_secs(15);

/// How a database goes away.
#[derive(Clone, Copy, Debug)]
enum Outage {
    /// Its process is killed: connections are refused.
    Killed,
    /// Its processes stop: connections are taken and never answered.
    Hanging,
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    /// Numbers the images, so that each is new.
    images: AtomicU32,
    classified: AtomicU32,
    acknowledged: AtomicU32,
    refused: AtomicU32,
}

/// Classifies one new image after another.
fn classify_on(mut client: Client, seen: &Seen) -> Duration {
    let mut longest = Duration::ZERO;
    let pixel = picture("pixel.png");
    while !seen.stop.load(Ordering::Relaxed) {
        let mut image = pixel.clone();
        image.extend(seen.images.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let begun = Instant::now();
        let fields = [("theme", "outage"), ("labels", "a cat,a dog,a chart")];
        let answer = classify(&mut client, &image, &fields);
        assert!(answer["category"].is_string());
        longest = longest.max(begun.elapsed());
        seen.classified.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(20));
    }
    longest
}

/// Posts feedback, which counts or is refused.
fn rate_on(mut client: Client, seen: &Seen) -> Duration {
    let mut longest = Duration::ZERO;
    let feedback = json!({ "image_hash": HASH, "theme": "outage" });
    while !seen.stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = client.post_json("/feedback", &feedback);
        longest = longest.max(begun.elapsed());
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        match answer.status {
            200 => seen.acknowledged.fetch_add(1, Ordering::Relaxed),
            503 => {
                assert_eq!(answer.header("retry-after"), Some("1"), "{text}");
                assert_eq!(answer.json()["code"], "store_unavailable");
                for leak in ["127.0.0.1", "omnizap:", "INSERT", "sqlx"] {
                    assert!(!text.contains(leak), "{text}");
                }
                seen.refused.fetch_add(1, Ordering::Relaxed)
            }
            status => panic!("{status}: {text}"),
        };
        std::thread::sleep(Duration::from_millis(20));
    }
    longest
}

fn waiting(client: &mut Client) -> u64 {
    let health: Json = client.get("/health").json();
    health["images_waiting"].as_u64().unwrap()
}

#[expect(clippy::print_stdout, reason = "what a long run is made for")]
fn endure(kind: Kind, outage: Outage, seconds: u64) {
    let mut database = DatabaseServer::start(kind);
    let data = Arc::new(Data::on(database.url()));
    let server = Server::start_with(&Settings {
        data: Some(data.clone()),
        ..Settings::default()
    });
    server.ready();
    let seen = Seen::default();
    let mut client = server.client();
    std::thread::scope(|scope| {
        let seen = &seen;
        let mut loads = Vec::new();
        for _ in 0..CLASSIFIERS {
            let client = server.client();
            loads.push(scope.spawn(move || classify_on(client, seen)));
        }
        for _ in 0..RATERS {
            let client = server.client();
            loads.push(scope.spawn(move || rate_on(client, seen)));
        }
        until("the first acknowledged", RECOVERY, || {
            seen.acknowledged.load(Ordering::Relaxed) > 10
        });
        assert!(!is_degraded(&mut client));

        match outage {
            Outage::Killed => database.kill(),
            Outage::Hanging => database.pause(),
        }
        let begun = Instant::now();
        let noticed = until("noticing", LONGEST, || is_degraded(&mut client));
        let before = seen.classified.load(Ordering::Relaxed);
        let mut most_waiting = 0;
        while begun.elapsed() < Duration::from_secs(seconds) {
            most_waiting = most_waiting.max(waiting(&mut client));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(is_degraded(&mut client), "it says so all along");
        let during = seen.classified.load(Ordering::Relaxed) - before;
        let refused = seen.refused.load(Ordering::Relaxed);
        let acknowledged = seen.acknowledged.load(Ordering::Relaxed);

        match outage {
            Outage::Killed => database.restart(),
            Outage::Hanging => database.resume(),
        }
        let recovered = until("recovering", RECOVERY, || {
            seen.acknowledged.load(Ordering::Relaxed) > acknowledged + 5
                && !is_degraded(&mut client)
        });
        seen.stop.store(true, Ordering::Relaxed);
        let loads = loads.into_iter().map(|load| load.join().unwrap());
        let longest = loads.max().unwrap();
        until("writing the queue", RECOVERY, || waiting(&mut client) == 0);

        println!(
            "{} {outage:?} for {seconds} s: noticed after {noticed:.1?}, {during} classified and \
             {refused} feedbacks refused meanwhile, at most {most_waiting} images waiting, \
             recovered {recovered:.1?} after it was back, longest request {longest:.1?}",
            kind.name()
        );
        assert!(during > 0 && refused > 0);
        assert!(most_waiting <= WAITING);
        assert!(longest < LONGEST, "{longest:?}");
    });
    let [stored, images] = data.numbers(
        "SELECT (SELECT total_assignments FROM clip_image_theme_feedback), \
         (SELECT COUNT(*) FROM clip_image_embedding_cache)",
    );
    let acknowledged = i64::from(seen.acknowledged.into_inner());
    let refused = i64::from(seen.refused.into_inner());
    println!("{acknowledged} acknowledged, {refused} refused, {stored} stored; {images} images");
    // A database that broke while it committed may have counted what was refused: at
    // most what each rater had under way when it broke.
    assert!(stored >= acknowledged, "acknowledged feedback was lost");
    assert!(
        stored <= acknowledged + RATERS as i64,
        "feedback counts twice"
    );
    let dropped = client.get("/health").json()["images_dropped"].as_i64();
    let classified = i64::from(seen.classified.into_inner());
    assert_eq!(
        images + dropped.unwrap(),
        classified,
        "every image is written"
    );
}

fn on_the_suites_server(outage: Outage) {
    let kind = Kind::of_the_suite();
    if kind == Kind::Sqlite {
        not_tested(&format!("{outage:?} server, since SQLite has none"));
        return;
    }
    endure(kind, outage, setting("OMNIZAP_OUTAGE_SECONDS", SECONDS));
}

#[test]
fn a_database_that_is_killed_costs_no_answer_and_no_acknowledged_feedback() {
    on_the_suites_server(Outage::Killed);
}

#[test]
fn a_database_that_hangs_costs_no_answer_and_no_acknowledged_feedback() {
    on_the_suites_server(Outage::Hanging);
}

//! What much feedback costs, and what a full queue does.

use std::future::pending;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};

use super::{Fixture, databases, image, is_late, until};
use crate::store::clock::Patience;
use crate::store::connect::Target;
use crate::store::{Asked, Store, StoreConfig, StoreError, Tally, limits};

/// Judgements of the theme that is full; pictures in the store beside those judged.
const JUDGED: usize = 100_000;
/// How often is measured at most.
const MAX_ROUNDS: usize = 10;

#[tokio::test]
async fn a_theme_with_much_feedback_costs_no_more_than_an_empty_one() {
    // A million takes minutes to write: for measuring.
    let rows = std::env::var("OMNIZAP_LOAD_ROWS");
    let rows = rows.map_or(JUDGED, |rows| rows.parse().unwrap());
    for database in databases().await {
        let store = database.store();
        let labels: Vec<_> = (0..155).map(|n| format!("label {n}")).collect();
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        store.migrate().await.unwrap();
        fill(&database, rows, &labels).await;
        // The picture itself and eight near copies, each with another name.
        let hashes: Vec<_> = (0..9).map(|n| format!("{:064x}", n * 1000)).collect();
        let asked: Vec<_> = hashes
            .iter()
            .map(|hash| Asked {
                image_hash: hash,
                content_hash: Some(hash),
            })
            .collect();
        // Right after the rows were written, and beside other work, either may be the slower one: what
        // costs no more is no slower in some round.
        let mut rounds = 0;
        loop {
            let [empty, full] = round(&store, &labels, &asked).await;
            eprintln!(
                "{}, {rows} pictures, {JUDGED} judgements: best and median, empty theme {empty:?}, full {full:?}",
                database.kind
            );
            if full.0 < empty.0 * 4 + Duration::from_millis(5) {
                break;
            }
            rounds += 1;
            assert!(rounds < MAX_ROUNDS, "{}", database.kind);
        }
        store.close().await;
        database.drop().await;
    }
}

/// The best and the median time for the evidence of the theme that is empty and of the one that is
/// full, asked for in turns.
async fn round(store: &Store, labels: &[&str], asked: &[Asked<'_>]) -> [(Duration, Duration); 2] {
    let mut times = [("empty", Vec::new()), ("full", Vec::new())];
    for _ in 0..50 {
        for (theme, times) in &mut times {
            let limit = Duration::from_secs(30);
            let begun = Instant::now();
            let found = loop {
                let start = Instant::now();
                let read = store.theme_evidence(theme, labels, asked, limit).await;
                if !is_late(&read, begun) {
                    times.push(start.elapsed());
                    break read.unwrap();
                }
            };
            let judged = found.images[0].tally != Tally::default();
            assert_eq!(judged, *theme == "full");
        }
    }
    times.map(|(_, mut times)| {
        times.sort_unstable();
        (times[0], times[times.len() / 2])
    })
}

/// Writes feedback on a theme as it would stand after so many judgements, each of a picture
/// with another name, and what so many pictures were seen as.
async fn fill(database: &Fixture, rows: usize, labels: &[&str]) {
    let target = Target::of(&database.config).unwrap();
    let db = target.open(1).await.unwrap();
    let transaction = db.begin().await.unwrap();
    let insert = async |into: &str, rows: usize, row: &dyn Fn(usize) -> String| {
        for start in (0..rows).step_by(1000) {
            let values: Vec<_> = (start..rows.min(start + 1000)).map(row).collect();
            let sql = format!("INSERT INTO {into} VALUES {}", values.join(","));
            transaction.execute_unprepared(&sql).await.unwrap();
        }
    };
    let key = |n: usize| crate::store::label_key(labels[n % labels.len()]);
    insert(
        "clip_image_theme_feedback (image_hash, theme, acceptance_count, total_assignments, \
         credited_accepted, credited_total)",
        JUDGED,
        &|n| format!("('{n:064x}', 'full', 1, 1, 1, 1)"),
    )
    .await;
    insert(
        "omnizap_image_credits (theme, image_hash, label_key, accepted, rejected)",
        JUDGED,
        &|n| format!("('full', '{n:064x}', '{}', 0.5, 0)", key(n)),
    )
    .await;
    insert(
        "omnizap_theme_labels (theme, label_key, label, accepted, rejected)",
        labels.len(),
        &|n| format!("('full', '{}', '{}', {n}, 100)", key(n), labels[n]),
    )
    .await;
    insert(
        "omnizap_image_names (content_hash, image_hash)",
        rows,
        &|n| format!("('{n:064x}', 'f{n:063x}')"),
    )
    .await;
    insert(
        "omnizap_looks (content_hash, look_key, theme, label_set, model_name, default_labels, \
         labels_json)",
        rows,
        &|n| {
            let labels = r#"[155,[["label 1",0.5],["label 2",0.2]]]"#;
            let yes = if database.kind == "postgres" {
                "true"
            } else {
                "1"
            };
            format!("('{n:064x}', '{n:064x}', 'full', '{n:064x}', 'm@1', {yes}, '{labels}')")
        },
    )
    .await;
    transaction.commit().await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_queue_that_is_full_drops_the_newest_and_counts_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let store = Store::new(StoreConfig {
        data_dir: file.clone(),
        url: None,
        ..StoreConfig::default()
    });
    let count = limits::QUEUE + limits::BATCH + 100;
    for number in 0..count {
        store.remember_later(image(&number.to_string(), &[1.0], &[]));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stats = store.stats();
    assert_eq!(stats.images_waiting + stats.images_dropped, count as u64);
    assert!(
        stats.images_waiting <= (limits::QUEUE + limits::BATCH) as u64,
        "{stats:?}"
    );
    assert_eq!(stats.images_indexed, count as u64, "searches see all");

    std::fs::remove_file(&file).unwrap();
    until("writing the queue", Duration::from_secs(30), async || {
        store.stats().images_waiting == 0
    })
    .await;
    let after = store.stats();
    assert_eq!(
        after.images_written, stats.images_waiting,
        "nothing that waited is lost"
    );
    assert_eq!(after.images_dropped, stats.images_dropped);
}

#[tokio::test]
async fn a_request_without_time_says_nothing_about_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(StoreConfig {
        data_dir: folder.path().into(),
        url: None,
        ..StoreConfig::default()
    });
    // What is there at once is taken without any time, as a quick file may be: none is here.
    let read = || {
        let patience = Patience::of_answer(Duration::ZERO);
        let never = |_| pending::<Result<(), DbErr>>();
        store.0.read_for_answer("reading feedback", patience, never)
    };
    let late = read().await;
    // It is opened first.
    let is_late = matches!(
        late,
        Err(StoreError::Opening { .. } | StoreError::Slow { .. })
    );
    assert!(is_late, "{late:?}");
    assert_eq!(store.degraded(), None);
    store.0.opened().await.unwrap();
    let late = read().await;
    assert!(matches!(late, Err(StoreError::Slow { .. })), "{late:?}");
    assert_eq!(store.degraded(), None);
}

//! What much feedback costs, and what a full queue does.

use std::time::{Duration, Instant};

use sea_orm::ConnectionTrait;

use super::{Fixture, databases, evidence, image, until};
use crate::store::connect::Target;
use crate::store::{Store, StoreConfig, StoreError, limits};

#[tokio::test]
async fn a_theme_with_much_feedback_costs_no_more_than_an_empty_one() {
    for database in databases().await {
        let store = database.store();
        let labels: Vec<_> = (0..256).map(|n| format!("label {n}")).collect();
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        store.migrate().await.unwrap();
        fill(&database, 100_000).await;
        let mut times = [("empty", Duration::MAX), ("full", Duration::MAX)];
        for _ in 0..20 {
            for (theme, best) in &mut times {
                let start = Instant::now();
                evidence(&store, theme, &labels, &["x", "y"]).await;
                *best = start.elapsed().min(*best);
            }
        }
        let [(_, empty), (_, full)] = times;
        eprintln!("{}: empty {empty:?}, full {full:?}", database.kind);
        assert!(
            full < empty * 3 + Duration::from_millis(5),
            "{}",
            database.kind
        );
        store.close().await;
        database.drop().await;
    }
}

/// Writes feedback on a theme as it would stand after so many images.
async fn fill(database: &Fixture, rows: usize) {
    let target = Target::of(&database.config).unwrap();
    let db = target.open(1).await.unwrap();
    db.execute_unprepared("BEGIN").await.unwrap();
    for start in (0..rows).step_by(1000) {
        let values: Vec<_> = (start..start + 1000)
            .map(|n| format!("('{n:064x}', 'full', 1, 1, 1, 1)"))
            .collect();
        let sql = format!(
            "INSERT INTO clip_image_theme_feedback (image_hash, theme, acceptance_count, \
             total_assignments, credited_accepted, credited_total) VALUES {}",
            values.join(",")
        );
        db.execute_unprepared(&sql).await.unwrap();
    }
    db.execute_unprepared("COMMIT").await.unwrap();
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
    });
    let late = store.theme_evidence("t", &["l"], &[], Duration::ZERO).await;
    assert!(matches!(late, Err(StoreError::Slow { .. })), "{late:?}");
    assert_eq!(store.degraded(), None);
}

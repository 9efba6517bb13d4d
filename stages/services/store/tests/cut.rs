//! Files of SQLite of which something is gone: nothing is acknowledged into them, nothing is written
//! over what is left, and a good one is taken without a restart. And what lies beside the file at
//! the end.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::ConnectionTrait;

use super::{Fixture, evidence, feedback, image, until};
use crate::store::connect::FILE_NAME;
use crate::store::{Store, StoreError};

const PATIENCE: Duration = Duration::from_secs(30);

fn file(database: &Fixture, suffix: &str) -> PathBuf {
    let folder = &database.config.data_dir;
    folder.join(format!("{FILE_NAME}{suffix}"))
}

fn cut(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

async fn rate(store: &Store) -> Result<(), StoreError> {
    store.record_feedback(&feedback("x", "t", true)).await
}

/// Judgements of the picture `x`, as another copy of the program finds them.
async fn stored(database: &Fixture) -> f64 {
    let other = database.store();
    let found = evidence(&other, "t", &[], &["x"]).await;
    other.close().await;
    found.images[0].tally.accepted
}

#[tokio::test]
async fn a_file_that_is_emptied_is_opened_anew_before_anything_is_acknowledged() {
    for emptied in [&[""][..], &["-wal"], &["", "-wal"]] {
        let database = Fixture::sqlite();
        let store = database.store();
        for _ in 0..3 {
            rate(&store).await.unwrap();
        }
        for suffix in emptied {
            cut(&file(&database, suffix), 0);
        }
        for number in 0..3 {
            rate(&store).await.unwrap();
            // The schema was in the file, and the judgements in the log.
            let found = stored(&database).await;
            assert_eq!(found, f64::from(number + 1), "{emptied:?}");
        }
        assert_eq!(store.degraded(), None, "{emptied:?}");
        store.close().await;
        assert_eq!(stored(&database).await, 3.0, "{emptied:?}");
    }
}

#[tokio::test]
async fn an_empty_file_that_was_followed_is_followed_anew() {
    let database = Fixture::sqlite();
    let store = database.store();
    store.start().unwrap();
    until("loading", PATIENCE, async || store.is_loaded()).await;
    store.remember(image("x", &[1.0], &[])).await.unwrap();
    assert_eq!(store.index().len(), 1);
    cut(&file(&database, ""), 0);
    cut(&file(&database, "-wal"), 0);
    let is_forgotten = async || store.index().is_empty();
    until("forgetting", PATIENCE, is_forgotten).await;
    until("being well", PATIENCE, async || store.degraded().is_none()).await;
    store.remember(image("y", &[1.0], &[])).await.unwrap();
    assert_eq!(store.index().len(), 1);
    store.close().await;
}

#[tokio::test]
async fn what_goes_into_a_log_that_was_just_emptied_is_not_acknowledged() {
    let database = Fixture::sqlite();
    let store = database.store();
    for _ in 0..3 {
        rate(&store).await.unwrap();
    }
    let opened = store.0.opened().await.unwrap();
    let transaction = opened.begin().await.unwrap();
    let sql = "INSERT INTO omnizap_image_names (content_hash, image_hash) VALUES ('a', 'b')";
    transaction.execute_unprepared(sql).await.unwrap();
    cut(&file(&database, "-wal"), 0);
    // SQLite goes on behind what was there, and says that it is done.
    transaction.commit().await.unwrap();
    assert!(fs::metadata(file(&database, "-wal")).unwrap().len() > 0);
    assert!(!opened.is_in_place());
    drop(opened);
    rate(&store).await.unwrap();
    assert_eq!(stored(&database).await, 1.0);
    store.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_left_as_it_is_until_a_good_one_is_there() {
    let database = Fixture::sqlite();
    let first = database.store();
    for number in 0..40 {
        let name = number.to_string();
        first
            .remember(image(&name, &[1.0, 0.5], &[]))
            .await
            .unwrap();
    }
    rate(&first).await.unwrap();
    first.close().await;
    let path = file(&database, "");
    let good = fs::read(&path).unwrap();

    let store = database.store();
    rate(&store).await.unwrap();
    cut(&path, 8192);
    let damaged = fs::read(&path).unwrap();
    for _ in 0..5 {
        let error = rate(&store).await.unwrap_err();
        assert!(error.lasts() || error.is_resting(), "{error}");
        let degraded = store.degraded().unwrap();
        assert!(degraded.contains("does not pass by itself"), "{degraded}");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert!(
        fs::read(&path).unwrap() == damaged,
        "nothing was written into it"
    );

    // As somebody does who has a backup.
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(file(&database, suffix));
    }
    let copy = database.config.data_dir.join("copy");
    fs::write(&copy, good).unwrap();
    fs::rename(copy, &path).unwrap();
    until("taking it", PATIENCE, async || rate(&store).await.is_ok()).await;
    until("being well", PATIENCE, async || store.degraded().is_none()).await;
    assert_eq!(stored(&database).await, 2.0);
    store.close().await;
}

#[tokio::test]
async fn closing_takes_all_into_the_file_and_leaves_nothing_beside_it() {
    // Whoever opens it just then is waited for.
    for pause in [0, 0, 1, 2, 5, 10, 20, 200] {
        let database = Fixture::sqlite();
        let store = database.store();
        store.start().unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let is_rated = pause == 200;
        if is_rated {
            rate(&store).await.unwrap();
        }
        store.close().await;
        for suffix in ["-wal", "-shm"] {
            assert!(
                !file(&database, suffix).exists(),
                "{suffix} after {pause} ms"
            );
        }
        if is_rated {
            let other = Fixture::sqlite();
            fs::copy(file(&database, ""), file(&other, "")).unwrap();
            assert_eq!(stored(&other).await, 1.0);
        }
    }
}

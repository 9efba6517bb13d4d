//! Databases that end a transaction by themselves, that are removed or replaced while they are
//! open, and that can be read and not be written.

use std::path::Path;
use std::time::Duration;

use omnizap_contract::Error;
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};

use super::{Fixture, databases, evidence, feedback, image, tally, until};
use crate::store::connect::{FILE_NAME, Target};
use crate::store::trouble::Trouble;
use crate::store::{RETRY_AFTER, Store, StoreConfig, StoreError, limits};

const PATIENCE: Duration = Duration::from_secs(30);

/// Judgements of the picture `x`, as another copy of the program finds them.
async fn stored(database: &Fixture) -> f64 {
    let other = database.store();
    let found = evidence(&other, "t", &[], &["x"]).await;
    other.close().await;
    found.images[0].tally.accepted
}

async fn rate(store: &Store) -> Result<(), StoreError> {
    store.record_feedback(&feedback("x", "t", true)).await
}

#[tokio::test]
async fn a_transaction_that_sqlite_ended_by_itself_takes_nothing_with_it() {
    let database = Fixture::sqlite();
    let store = database.store();
    let mut acknowledged = 0.0;
    for round in 0..6 {
        for _ in 0..8 {
            let opened = store.0.opened().await.unwrap();
            let transaction = opened.begin().await.unwrap();
            // As SQLite does where it cannot write; the driver's own fails then.
            transaction.execute_unprepared("ROLLBACK").await.unwrap();
            match round % 3 {
                0 => assert!(transaction.commit().await.is_err()),
                1 => assert!(transaction.rollback().await.is_err()),
                _ => drop(transaction),
            }
        }
        rate(&store).await.unwrap();
        acknowledged += 1.0;
        assert_eq!(stored(&database).await, acknowledged, "round {round}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_transaction_that_nobody_waits_for_any_more_is_not_left_open() {
    for database in databases().await {
        let store = database.store();
        rate(&store).await.unwrap();
        let mut acknowledged = 1.0;
        for round in 0..20 {
            let opened = store.0.opened().await.unwrap();
            // Given up at any step of it.
            let limit = Duration::from_micros(50 * round);
            let _ = tokio::time::timeout(limit, opened.begin()).await;
            let _ = tokio::time::timeout(limit, rate(&store)).await;
            if rate(&store).await.is_ok() {
                acknowledged += 1.0;
            }
        }
        // Those that were given up may have counted.
        let found = stored(&database).await;
        assert!(found >= acknowledged, "{}: {found}", database.kind);
        assert!(found <= acknowledged + 20.0, "{}: {found}", database.kind);
        store.close().await;
        database.drop().await;
    }
}

/// Removes what belongs to the database, of those that are there.
fn remove(folder: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        // SQLite may not have made it.
        let _ = std::fs::remove_file(folder.join(format!("{FILE_NAME}{suffix}")));
    }
}

#[tokio::test]
async fn a_file_that_is_removed_is_noticed_before_anything_is_acknowledged() {
    const ALL: &[&str] = &["", "-wal", "-shm"];
    // What is lost with each, of three judgements.
    for (removed, left) in [
        (&ALL[..1], 0.0),
        (ALL, 0.0),
        (&ALL[1..2], 3.0),
        (&ALL[2..], 3.0),
        (&ALL[1..], 3.0),
        (&ALL[..0], 0.0),
    ] {
        let database = Fixture::sqlite();
        let folder = database.config.data_dir.clone();
        let store = database.store();
        for _ in 0..3 {
            rate(&store).await.unwrap();
        }
        match removed.is_empty() {
            true => std::fs::remove_dir_all(&folder).unwrap(),
            false => remove(&folder, removed),
        }
        for number in 0..3 {
            rate(&store).await.unwrap();
            let found = stored(&database).await;
            assert_eq!(found, left + f64::from(number + 1), "{removed:?}");
        }
        assert_eq!(store.degraded(), None, "{removed:?}");
        store.close().await;
        assert_eq!(stored(&database).await, left + 3.0, "{removed:?}");
    }
}

#[tokio::test]
async fn another_file_at_the_name_is_taken_and_followed() {
    let database = Fixture::sqlite();
    let other = Fixture::sqlite();
    let path = |fixture: &Fixture| fixture.config.data_dir.join(FILE_NAME);
    let fill = async |fixture: &Fixture, name: &str| {
        let store = fixture.store();
        store.remember(image(name, &[1.0, 0.0], &[])).await.unwrap();
        rate(&store).await.unwrap();
        store.close().await;
    };
    fill(&database, "before").await;
    fill(&other, "after").await;

    let store = database.store();
    store.start().unwrap();
    until("loading", PATIENCE, async || store.is_loaded()).await;
    rate(&store).await.unwrap();
    remove(&database.config.data_dir, &["", "-wal", "-shm"]);
    std::fs::rename(path(&other), path(&database)).unwrap();
    rate(&store).await.unwrap();
    assert_eq!(stored(&database).await, 2.0);
    let is_of = |name: &str| {
        let name = super::hash(name);
        let hits = store.index().search(&crate::vectors::Query {
            model: "m@1".into(),
            vector: [1.0, 0.0].into(),
            threshold: 0.9,
            limit: 10,
            scan: 0,
            image_hash: None,
            content_hash: None,
        });
        hits.len() == 1 && *hits[0].image_hash == *name
    };
    until("following it", PATIENCE, async || is_of("after")).await;
    store.close().await;
}

#[tokio::test]
async fn a_lock_that_does_not_come_costs_no_picture() {
    let database = Fixture::sqlite();
    let store = database.store();
    rate(&store).await.unwrap();
    let target = Target::of(&database.config).unwrap();
    let other = target.open(1).await.unwrap();
    let holding = other.begin().await.unwrap();
    holding
        .execute_unprepared("UPDATE seaql_migrations SET applied_at = applied_at + 1")
        .await
        .unwrap();
    for number in 0..3 {
        let name = number.to_string();
        store.remember_later(image(&name, &[1.0, 0.0], &[]));
    }
    let error = rate(&store).await.unwrap_err();
    assert!(Error::from(error).retry_after() == Some(RETRY_AFTER));
    assert!(store.degraded().is_some());
    // What was read before can be read.
    let found = evidence(&store, "t", &[], &["x"]).await;
    assert_eq!(found.images[0].tally, tally(1.0, 0.0));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stats = store.stats();
    assert_eq!((stats.images_dropped, stats.images_waiting), (0, 3));
    holding.rollback().await.unwrap();
    other.close().await.unwrap();
    until("writing them", PATIENCE, async || {
        store.stats().images_written == 3
    })
    .await;
    until("being well", PATIENCE, async || store.degraded().is_none()).await;
    rate(&store).await.unwrap();
    assert_eq!(store.stats().images_dropped, 0);
    store.close().await;
}

/// What people do beside the program, and to the server.
async fn by_hand(database: &Fixture) -> DatabaseConnection {
    Target::of(&database.config).unwrap().open(1).await.unwrap()
}

const TABLES: [&str; 2] = ["clip_image_theme_feedback", "clip_image_embedding_cache"];

/// Says of each new row what a server says whose disk is full.
async fn fill_disk(hand: &DatabaseConnection, kind: &str) {
    if kind == "postgres" {
        let sql = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                   RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$";
        hand.execute_unprepared(sql).await.unwrap();
    }
    for table in TABLES {
        let says = match kind {
            "postgres" => "EXECUTE FUNCTION full_disk()",
            _ => "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'is full'",
        };
        let sql =
            format!("CREATE TRIGGER full_{table} BEFORE INSERT ON {table} FOR EACH ROW {says}");
        hand.execute_unprepared(&sql).await.unwrap();
    }
}

async fn make_room(hand: &DatabaseConnection, kind: &str) {
    for table in TABLES {
        let of = if kind == "postgres" {
            format!(" ON {table}")
        } else {
            String::new()
        };
        let sql = format!("DROP TRIGGER full_{table}{of}");
        hand.execute_unprepared(&sql).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_whose_disk_is_full_refuses_feedback_and_costs_no_picture() {
    for database in databases().await {
        if database.kind == "sqlite" {
            // The program's own tests take its disk away.
            continue;
        }
        let store = database.store();
        rate(&store).await.unwrap();
        let hand = by_hand(&database).await;
        fill_disk(&hand, database.kind).await;
        let error = rate(&store).await.unwrap_err();
        assert_eq!(error.trouble(), Trouble::Full, "{}: {error}", database.kind);
        for number in 0..3 {
            let name = number.to_string();
            store.remember_later(image(&name, &[1.0, 0.0], &[]));
        }
        for _ in 0..12 {
            // Something else could be written, and this could not.
            assert!(rate(&store).await.is_err(), "{}", database.kind);
            let said = store.degraded().unwrap_or_default();
            assert!(said.contains("could not be written"), "{said}");
            let found = evidence(&store, "t", &[], &["x"]).await;
            assert_eq!(found.images[0].tally, tally(1.0, 0.0));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let stats = store.stats();
        assert_eq!((stats.images_dropped, stats.images_waiting), (0, 3));
        make_room(&hand, database.kind).await;
        until("writing again", PATIENCE, async || {
            rate(&store).await.is_ok()
        })
        .await;
        until("being well", PATIENCE, async || store.degraded().is_none()).await;
        until("the pictures", PATIENCE, async || {
            store.stats().images_written == 3
        })
        .await;
        assert_eq!(stored(&database).await, 2.0, "{}", database.kind);
        hand.close().await.unwrap();
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn a_server_that_takes_no_writes_any_more_is_asked_anew() {
    let Some(database) = Fixture::server("postgres", "OMNIZAP_TEST_POSTGRES_URL").await else {
        return;
    };
    let store = database.store();
    rate(&store).await.unwrap();
    let (admin, name) = database.admin.as_ref().unwrap();
    // As one that another took over from: sessions begun now are read-only to their end.
    let begin_so = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    admin.execute_unprepared(&begin_so).await.unwrap();
    let end =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    admin.execute_unprepared(&end).await.unwrap();
    store.remember_later(image("1", &[1.0, 0.0], &[]));
    for _ in 0..10 {
        assert!(rate(&store).await.is_err());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(store.degraded().is_some());
    assert_eq!(store.stats().images_dropped, 0);
    let no_more = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    admin.execute_unprepared(&no_more).await.unwrap();
    until("writing again", PATIENCE, async || {
        rate(&store).await.is_ok()
    })
    .await;
    until("the picture", PATIENCE, async || {
        store.stats().images_written == 1
    })
    .await;
    assert_eq!(stored(&database).await, 2.0);
    store.close().await;
    database.drop().await;
}

#[tokio::test]
async fn tables_that_are_gone_are_made_anew() {
    for database in databases().await {
        let store = database.store();
        rate(&store).await.unwrap();
        let hand = by_hand(&database).await;
        let all = Target::of(&database.config).unwrap();
        let steps = u32::try_from(store.status().await.unwrap().len()).unwrap();
        hand.execute_unprepared("DELETE FROM clip_image_theme_feedback")
            .await
            .unwrap();
        omnizap_migrations::down(&hand, all.sessions(), steps)
            .await
            .unwrap();
        until("making them", PATIENCE, async || rate(&store).await.is_ok()).await;
        assert_eq!(stored(&database).await, 1.0, "{}", database.kind);
        until("being well", PATIENCE, async || store.degraded().is_none()).await;
        hand.close().await.unwrap();
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn what_no_try_mends_says_where_and_why_and_not_in_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let at = |url: Option<String>| {
        Store::new(StoreConfig {
            data_dir: folder.path().into(),
            url,
            ..StoreConfig::default()
        })
    };
    std::fs::write(
        &path,
        "no database, but as long as the head of one is: ".repeat(20),
    )
    .unwrap();
    let missing = folder.path().join("none/x.db").display().to_string();
    for (store, place) in [
        (at(None), path.display().to_string()),
        (at(Some(format!("sqlite://{missing}"))), missing.clone()),
    ] {
        let error = rate(&store).await.unwrap_err();
        let told = error.to_string();
        assert!(told.contains(&place), "{told}");
        assert!(error.lasts(), "{told}");
        let said = Error::from(error);
        assert!(!said.message().contains("in a moment"), "{said}");
        assert!(!said.message().contains(&place), "{said}");
        tokio::time::sleep(limits::REST).await;
        // Known to fail, it is not tried, and the answer is the same.
        let again = Error::from(rate(&store).await.unwrap_err());
        assert_eq!(again.message(), said.message());
        let degraded = store.degraded().unwrap();
        assert!(degraded.contains("does not pass by itself"), "{degraded}");
        store.close().await;
    }
}

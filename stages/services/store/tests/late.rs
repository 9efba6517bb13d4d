//! A program that has too much to do, and a database of which one operation is late: neither is
//! taken for a database that is away.

use std::future::pending;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, TransactionTrait};

use super::{Fixture, databases, feedback, hash, image, until};
use crate::store::clock::Patience;
use crate::store::connect::Target;
use crate::store::{Store, StoreError, image_embedding, limits};

/// Within which all is well again, or is known not to be.
const PATIENCE: Duration = Duration::from_secs(30);
/// How late everything is while the thread is taken: two turns are more than a read is given.
const TAKEN: Duration = Duration::from_millis(600);

/// A store that has one image.
async fn stored(database: &Fixture) -> Store {
    let store = database.store();
    store.migrate().await.unwrap();
    store.remember(image("x", &[1.0, 0.0], &[])).await.unwrap();
    store
}

/// Looks for that image, as a request does that has time.
async fn recall(store: &Store) -> Result<Option<Vec<f32>>, StoreError> {
    store.image_embedding(&hash("x"), "m@1", PATIENCE).await
}

/// What a read is given of the database's own time, however late the program is.
const LATE: Patience = Patience {
    database: limits::READ,
    wall: PATIENCE,
};

/// A read that an answer waits for, and that does not come.
async fn read_in_vain(store: &Store) -> StoreError {
    let patience = LATE;
    let reading = store
        .0
        .read_for_answer("waiting", patience, |_| pending::<Result<(), DbErr>>());
    reading.await.unwrap_err()
}

#[tokio::test]
async fn a_read_that_is_late_takes_nothing_from_others_and_several_in_a_row_do() {
    for database in databases().await {
        let kind = database.kind;
        let store = stored(&database).await;
        for _ in 1..limits::READS_IN_A_ROW {
            let error = read_in_vain(&store).await;
            assert!(matches!(error, StoreError::Slow { .. }), "{kind}: {error}");
            assert_eq!(store.degraded(), None, "{kind}");
        }
        assert!(recall(&store).await.unwrap().is_some(), "{kind}");
        // One came between.
        read_in_vain(&store).await;
        assert_eq!(store.degraded(), None, "{kind}");
        tokio::join!(read_in_vain(&store), read_in_vain(&store));
        assert!(store.degraded().is_some(), "{kind}");
        let refused = recall(&store).await.unwrap_err();
        assert!(refused.is_resting(), "{kind}: {refused}");
        until("being well", PATIENCE, async || store.degraded().is_none()).await;
        assert!(recall(&store).await.unwrap().is_some(), "{kind}");
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn a_program_that_is_late_recalls_what_is_stored() {
    let database = Fixture::sqlite();
    let store = stored(&database).await;
    recall(&store).await.unwrap();
    // Until the connection is there again: a new one is made in many turns.
    tokio::time::sleep(TAKEN).await;
    // The only thread, as computing would take it.
    let taking = tokio::spawn(async {
        loop {
            std::thread::sleep(TAKEN);
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..2 {
        let hash = hash("x");
        let reading = store.0.read_for_answer("recalling", LATE, |database| {
            let hash = &hash;
            async move { image_embedding::find(&database, hash, "m@1").await }
        });
        assert!(reading.await.unwrap().is_some());
    }
    taking.abort();
    assert_eq!((store.degraded(), store.stats().failures), (None, 0));
    store.close().await;
}

/// Holds what another copy holds while it changes the schema.
async fn hold_the_schema(database: &Fixture) -> Box<dyn std::any::Any> {
    let other = Target::of(&database.config).unwrap().open(1).await.unwrap();
    let holding = other.begin().await.unwrap();
    let sql = match database.kind {
        "sqlite" => "CREATE TABLE held (x INTEGER)",
        "mysql" => "SELECT GET_LOCK(CONCAT('omnizap_migrations_', LEFT(SHA1(DATABASE()), 32)), 1)",
        _ => "SELECT pg_advisory_xact_lock(31364043398340976)",
    };
    holding.execute_unprepared(sql).await.unwrap();
    Box::new((holding, other))
}

#[tokio::test]
async fn a_database_that_is_still_being_opened_is_not_taken_for_one_that_is_away() {
    for database in databases().await {
        let kind = database.kind;
        let held = hold_the_schema(&database).await;
        let store = database.store();
        let judged = feedback("x", "t", true);
        let reading = async {
            // Where there is a server, as many in a row as say of a database in use that it is
            // away. SQLite says after a few seconds that it is locked: one must do there.
            let reads = match kind {
                "sqlite" => 1,
                _ => limits::READS_IN_A_ROW,
            };
            for _ in 0..reads {
                let patience = Patience::of_answer(PATIENCE);
                let read = store
                    .0
                    .read_for_answer("recalling", patience, |_| async { Ok(()) });
                let error = read.await.unwrap_err();
                assert!(error.is_opening(), "{kind}: {error}");
                assert_eq!(store.degraded(), None, "{kind}");
            }
            drop(held);
        };
        let ((), rated) = tokio::join!(reading, store.record_feedback(&judged));
        rated.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!((store.degraded(), store.stats().failures), (None, 0));
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn others_who_have_all_the_connections_are_no_fault_of_the_database() {
    let database = Fixture::sqlite();
    let store = stored(&database).await;
    let opened = store.0.opened().await.unwrap();
    let readers = limits::SQLITE_CONNECTIONS - limits::SQLITE_WRITERS;
    let all = opened.reading().acquire_many(readers).await.unwrap();
    let hash = hash("x");
    let waiting = store.image_embedding(&hash, "m@1", limits::READ);
    let error = waiting.await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert_eq!((store.degraded(), store.stats().failures), (None, 0));
    drop(all);
    assert!(recall(&store).await.unwrap().is_some());
    drop(opened);
    store.close().await;
}

#[tokio::test]
async fn a_write_behind_an_answer_that_is_late_refuses_no_feedback() {
    for database in databases().await {
        let kind = database.kind;
        let store = stored(&database).await;
        let late = store
            .0
            .write_for("keeping images", LATE, |_| pending::<Result<(), DbErr>>());
        let judged = feedback("x", "t", true);
        let rating = async {
            tokio::time::sleep(limits::READ / 2).await;
            store.record_feedback(&judged).await
        };
        let (late, rated) = tokio::join!(late, rating);
        assert!(matches!(late, Err(StoreError::Slow { .. })), "{kind}");
        rated.unwrap();
        // It is looked into meanwhile.
        for _ in 0..10 {
            store.record_feedback(&judged).await.unwrap();
            assert_eq!(store.degraded(), None, "{kind}");
            tokio::time::sleep(limits::READ / 10).await;
        }
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_found_out_by_one_that_is_late() {
    let database = Fixture::sqlite();
    let store = stored(&database).await;
    let other = Target::of(&database.config).unwrap().open(1).await.unwrap();
    let holding = other.begin().await.unwrap();
    holding
        .execute_unprepared("UPDATE seaql_migrations SET applied_at = applied_at + 1")
        .await
        .unwrap();
    let late = store
        .0
        .write_for("keeping images", LATE, |_| async { Ok(()) })
        .await;
    assert!(matches!(late, Err(StoreError::Slow { .. })), "{late:?}");
    assert_eq!(store.degraded(), None, "not yet");
    until("finding out", PATIENCE, async || store.degraded().is_some()).await;
    let said = store.degraded().unwrap();
    assert!(said.contains("could not be written"), "{said}");
    let begun = std::time::Instant::now();
    let refused = store.record_feedback(&feedback("x", "t", true)).await;
    assert!(refused.unwrap_err().is_resting());
    assert!(begun.elapsed() < limits::READ, "{:?}", begun.elapsed());
    assert!(recall(&store).await.unwrap().is_some(), "it can be read");
    // Where a read failed meanwhile, it is tried again while nothing can be written.
    let silent = StoreError::Silent {
        limit: limits::READ,
    };
    store.0.health.bad(&silent, false, String::new);
    until("reading", PATIENCE, async || recall(&store).await.is_ok()).await;
    holding.rollback().await.unwrap();
    other.close().await.unwrap();
    let judged = feedback("x", "t", true);
    until("writing again", PATIENCE, async || {
        store.record_feedback(&judged).await.is_ok()
    })
    .await;
    assert_eq!(store.degraded(), None);
    store.close().await;
}

/// Feedback comes all the while, and the prober waits behind it.
#[tokio::test]
async fn the_prober_has_its_time_behind_all_who_write() {
    let database = Fixture::sqlite();
    let store = stored(&database).await;
    let opened = store.0.opened().await.unwrap();
    let turns = limits::SQLITE_WRITERS;
    let all = opened.writing().acquire_many(turns).await.unwrap();
    let later = async {
        tokio::time::sleep(limits::WRITE + limits::READ).await;
        drop(all);
    };
    let (asked, ()) = tokio::join!(store.0.can_be_written(), later);
    asked.unwrap();
    drop(opened);
    store.close().await;
}

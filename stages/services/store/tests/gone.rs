//! Images that are deleted and changed behind the program's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omnizap_contract::Embedding;
use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::{Fixture, databases, hash, image, until};
use crate::store::connect::Target;
use crate::store::vector::to_bytes;
use crate::store::{ImageRecord, Store};
use crate::vectors::{Hit, Query};

const DIM: usize = 65;
/// Within which a copy knows what the database says.
const IN_STEP: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

fn vector(number: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    (0..DIM).map(|_| random.f32() - 0.5).collect()
}

fn record(number: usize) -> ImageRecord {
    ImageRecord {
        embedding: Arc::new(Embedding {
            model: "m@1".into(),
            vector: vector(number).into(),
        }),
        ..image(&number.to_string(), &[], &[("l", 1.0)])
    }
}

fn query(vector: &[f32]) -> Query {
    Query {
        model: "m@1".into(),
        vector: vector.into(),
        threshold: 0.999,
        limit: 10,
        scan: 100,
        image_hash: None,
        content_hash: None,
    }
}

async fn found(store: &Store, number: usize) -> Vec<Hit> {
    store.similar(query(&vector(number))).await
}

/// What a person does beside the program.
async fn by_hand(database: &Fixture) -> DatabaseConnection {
    Target::of(&database.config).unwrap().open(1).await.unwrap()
}

async fn loaded(database: &Fixture) -> Store {
    let store = database.store();
    store.start().unwrap();
    until("loading", PATIENCE, async || store.is_loaded()).await;
    store
}

/// Bytes as a literal of that database.
fn literal(kind: &str, vector: &[f32]) -> String {
    let bytes = to_bytes(vector);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match kind {
        "postgres" => format!("decode('{hex}', 'hex')"),
        _ => format!("x'{hex}'"),
    }
}

const TABLE: &str = "clip_image_embedding_cache";

#[tokio::test]
async fn what_anybody_deletes_or_changes_is_so_within_two_seconds_under_load() {
    const IMAGES: usize = 600;
    for database in databases().await {
        let kind = database.kind;
        let writer = database.store();
        for number in 0..IMAGES {
            assert!(writer.remember_later(record(number)));
            if number % 200 == 199 {
                assert!(writer.flush().await);
            }
        }
        let copies = [loaded(&database).await, loaded(&database).await];
        let hand = by_hand(&database).await;
        let run = async |sql: String| {
            // SQLite has one writer, and gives the turn to whoever happens to ask.
            while let Err(error) = hand.execute_unprepared(&sql).await {
                assert!(error.to_string().contains("locked"), "{kind}: {error}");
            }
        };

        // Others go on classifying meanwhile.
        let is_over = Arc::new(AtomicBool::new(false));
        let load = tokio::spawn({
            let (writer, copies, is_over) = (writer.clone(), copies.clone(), is_over.clone());
            async move {
                let mut number = IMAGES;
                while !is_over.load(Ordering::Relaxed) {
                    writer.remember_later(record(number));
                    for copy in &copies {
                        found(copy, number % IMAGES).await;
                    }
                    number += 1;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        let everywhere = async |what: &str, is_so: &dyn Fn(&[Hit]) -> bool, number: usize| {
            for copy in &copies {
                let took = until(what, PATIENCE, async || is_so(&found(copy, number).await)).await;
                assert!(took < IN_STEP, "{kind}, {what}: {took:?}");
            }
        };
        let is_gone = |hits: &[Hit]| hits.is_empty();

        run(format!(
            "DELETE FROM {TABLE} WHERE image_hash = '{}'",
            hash("5")
        ))
        .await;
        everywhere("deleting one", &is_gone, 5).await;
        run(format!("DELETE FROM {TABLE} WHERE id <= 100")).await;
        everywhere("deleting many", &is_gone, 0).await;
        run(format!(
            "UPDATE {TABLE} SET asset_id = 'by hand' WHERE image_hash = '{}'",
            hash("300")
        ))
        .await;
        let is_renamed = |hits: &[Hit]| hits[0].asset_id.as_deref() == Some("by hand");
        everywhere("another asset", &is_renamed, 300).await;
        let name = hash("another name");
        run(format!(
            "UPDATE {TABLE} SET image_hash = '{name}', asset_id = NULL WHERE image_hash = '{}'",
            hash("301")
        ))
        .await;
        let is_renamed = |hits: &[Hit]| *hits[0].image_hash == *name && hits[0].asset_id.is_none();
        everywhere("another name", &is_renamed, 301).await;
        let moved = literal(kind, &vector(999_999));
        run(format!(
            "UPDATE {TABLE} SET embedding = {moved} WHERE image_hash = '{}'",
            hash("302")
        ))
        .await;
        everywhere("another vector", &is_gone, 302).await;
        let is_there = |hits: &[Hit]| hits.len() == 1 && *hits[0].image_hash == *hash("302");
        everywhere("another vector", &is_there, 999_999).await;
        run(format!(
            "UPDATE {TABLE} SET model_name = 'another' WHERE image_hash = '{}'",
            hash("303")
        ))
        .await;
        everywhere("another model", &is_gone, 303).await;
        run(format!(
            "UPDATE {TABLE} SET id = id + 1000000 WHERE image_hash = '{}'",
            hash("304")
        ))
        .await;
        let is_one = |hits: &[Hit]| hits.len() == 1;
        tokio::time::sleep(IN_STEP).await;
        everywhere("another id", &is_one, 304).await;
        run(format!(
            "DELETE FROM {TABLE} WHERE image_hash = '{}'",
            hash("304")
        ))
        .await;
        everywhere("deleting the one with another id", &is_gone, 304).await;
        // A row with an id far above all others does not hide those that come after it.
        let far = "INSERT INTO clip_image_embedding_cache \
                   (id, image_hash, model_name, embedding_dim, embedding) \
                   SELECT id + 5000000, 'far', 'm', embedding_dim, embedding \
                   FROM clip_image_embedding_cache WHERE image_hash =";
        run(format!("{far} '{}'", hash("305"))).await;
        let are_two = |hits: &[Hit]| hits.len() == 2;
        everywhere("an id that was chosen", &are_two, 305).await;
        // At once: how long it would wait behind the load is not what is asked.
        writer.remember(record(888_888)).await.unwrap();
        everywhere("coming after it", &is_one, 888_888).await;

        // Everything, and then the same image again.
        is_over.store(true, Ordering::Relaxed);
        load.await.unwrap();
        assert!(writer.flush().await);
        run(match kind {
            "sqlite" => format!("DELETE FROM {TABLE}"),
            // Neither fires the triggers of rows, and MySQL begins with the ids anew.
            _ => format!("TRUNCATE TABLE {TABLE}"),
        })
        .await;
        for copy in &copies {
            let took = until("everything", PATIENCE, async || copy.index().is_empty()).await;
            assert!(took < IN_STEP, "{kind}: {took:?}");
        }
        writer.remember(record(305)).await.unwrap();
        everywhere("coming again", &is_one, 305).await;
        for copy in &copies {
            assert_eq!(copy.degraded(), None);
        }
        hand.close().await.unwrap();
        for store in copies.into_iter().chain([writer]) {
            store.close().await;
        }
        database.drop().await;
    }
}

#[tokio::test]
async fn an_image_that_is_deleted_before_it_was_ever_read_is_gone_too() {
    for database in databases().await {
        let store = loaded(&database).await;
        let hand = by_hand(&database).await;
        for number in 0..5 {
            store.remember(record(number)).await.unwrap();
            assert_eq!(found(&store, number).await.len(), 1, "{}", database.kind);
            let delete = format!(
                "DELETE FROM {TABLE} WHERE image_hash = '{}'",
                hash(&number.to_string())
            );
            hand.execute_unprepared(&delete).await.unwrap();
            let is_gone = async || found(&store, number).await.is_empty();
            let took = until("deleting at once", PATIENCE, is_gone).await;
            assert!(took < IN_STEP, "{}: {took:?}", database.kind);
        }
        hand.close().await.unwrap();
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn an_image_that_is_renamed_over_and_over_never_vanishes_meanwhile() {
    for database in databases().await {
        let writer = database.store();
        writer.remember(record(1)).await.unwrap();
        let reader = loaded(&database).await;
        for turn in 0..60 {
            let mut renamed = record(1);
            renamed.asset_id = Some(turn.to_string().into());
            writer.remember(renamed).await.unwrap();
            for _ in 0..10 {
                assert_eq!(
                    found(&reader, 1).await.len(),
                    1,
                    "{}: {turn}",
                    database.kind
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let is_last = async || found(&reader, 1).await[0].asset_id.as_deref() == Some("59");
        let took = until("the last name", PATIENCE, is_last).await;
        assert!(took < IN_STEP, "{}: {took:?}", database.kind);
        for store in [reader, writer] {
            store.close().await;
        }
        database.drop().await;
    }
}

#[tokio::test]
async fn a_copy_that_was_behind_for_long_loads_everything_again() {
    for database in databases().await {
        let writer = database.store();
        for number in 0..50 {
            writer.remember(record(number)).await.unwrap();
        }
        let reader = loaded(&database).await;
        let hand = by_hand(&database).await;
        // As others would have left it, had this copy slept: changed, and the change pruned.
        for sql in [
            format!("DELETE FROM {TABLE} WHERE image_hash = '{}'", hash("7")),
            format!(
                "UPDATE {TABLE} SET asset_id = 'new' WHERE image_hash = '{}'",
                hash("8")
            ),
            "DELETE FROM omnizap_image_changes".into(),
        ] {
            hand.execute_unprepared(&sql).await.unwrap();
        }
        let is_so = async || {
            let renamed = found(&reader, 8).await;
            found(&reader, 7).await.is_empty() && renamed[0].asset_id.as_deref() == Some("new")
        };
        let took = until("loading again", PATIENCE, is_so).await;
        assert!(took < IN_STEP, "{}: {took:?}", database.kind);
        // And goes on following.
        let sql = format!("DELETE FROM {TABLE} WHERE image_hash = '{}'", hash("9"));
        hand.execute_unprepared(&sql).await.unwrap();
        let is_gone = async || found(&reader, 9).await.is_empty();
        until("following", IN_STEP, is_gone).await;
        hand.close().await.unwrap();
        for store in [reader, writer] {
            store.close().await;
        }
        database.drop().await;
    }
}

/// A server that lets this user make no triggers: images that are deleted are found by
/// looking the ids through.
#[tokio::test]
async fn without_the_right_to_triggers_the_store_works_and_follows() {
    let Some(mut database) = Fixture::server("mysql", "OMNIZAP_TEST_MYSQL_URL").await else {
        return;
    };
    let (admin, name) = database.admin.as_ref().unwrap();
    let user = format!("u{}", &name[name.len() - 16..]);
    for sql in [
        format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'secret'"),
        format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX ON {name}.* \
             TO '{user}'@'%'"
        ),
    ] {
        admin.execute_unprepared(&sql).await.unwrap();
    }
    let url = database.config.url.take().unwrap();
    let (_, host) = url.split_once('@').unwrap();
    database.config.url = Some(format!("mysql://{user}:secret@{host}"));
    let writer = database.store();
    for number in 0..50 {
        writer.remember(record(number)).await.unwrap();
    }
    let reader = loaded(&database).await;
    let hand = by_hand(&database).await;
    let sql = format!("DELETE FROM {TABLE} WHERE image_hash = '{}'", hash("7"));
    hand.execute_unprepared(&sql).await.unwrap();
    until("looking through", IN_STEP, async || {
        found(&reader, 7).await.is_empty()
    })
    .await;
    assert_eq!(found(&reader, 8).await.len(), 1);
    // What the program itself says is followed without them.
    let mut renamed = record(8);
    renamed.asset_id = Some("new".into());
    writer.remember(renamed).await.unwrap();
    until("another asset", IN_STEP, async || {
        found(&reader, 8).await[0].asset_id.as_deref() == Some("new")
    })
    .await;
    hand.close().await.unwrap();
    for store in [reader, writer] {
        store.close().await;
    }
    let (admin, _) = database.admin.as_ref().unwrap();
    admin
        .execute_unprepared(&format!("DROP USER '{user}'@'%'"))
        .await
        .unwrap();
    database.drop().await;
}

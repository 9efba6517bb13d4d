//! Pictures that come again under another id of the client's own, or another name: their
//! vectors stay as they are, and nothing that they were called is lost.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use super::{Fixture, databases, evidence, feedback, hash, image, tally, until};
use crate::store::connect::Target;
use crate::store::{Forgotten, ImageRecord, Store, Which, limits};
use crate::vectors::{Hit, Query};

const PATIENCE: Duration = Duration::from_secs(30);
const IMAGES: &str = "clip_image_embedding_cache";
const ASSETS: &str = "omnizap_image_assets";
/// The step that makes the table.
const STEP: &str = "image_assets";

/// A picture under that asset id.
fn called(name: &str, asset_id: &str) -> ImageRecord {
    ImageRecord {
        asset_id: Some(asset_id.into()),
        ..image(name, &[1.0, 0.0], &[("l", 1.0), ("m", 0.0)])
    }
}

async fn similar(store: &Store) -> Vec<Hit> {
    let query = Query {
        model: "m@1".into(),
        vector: [1.0, 0.0].into(),
        threshold: 0.5,
        limit: 10,
        scan: 0,
        image_hash: None,
        content_hash: None,
    };
    store.similar(query).await
}

/// The asset id of the only picture, as a copy of the program knows it.
async fn asset(store: &Store) -> Option<String> {
    let hits = similar(store).await;
    assert_eq!(hits.len(), 1, "{hits:?}");
    hits[0].asset_id.as_deref().map(str::to_owned)
}

async fn loaded(database: &Fixture) -> Store {
    let store = database.store();
    store.start().unwrap();
    until("loading", PATIENCE, async || store.is_loaded()).await;
    store
}

async fn by_hand(database: &Fixture) -> DatabaseConnection {
    Target::of(&database.config).unwrap().open(1).await.unwrap()
}

async fn run(db: &DatabaseConnection, sql: &str) {
    db.execute_unprepared(sql).await.expect(sql);
}

/// The first column of the only row.
async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await.expect(sql).unwrap();
    row.try_get_by_index(0).expect(sql)
}

async fn count(db: &DatabaseConnection, table: &str) -> i64 {
    number(db, &format!("SELECT COUNT(*) FROM {table}")).await
}

/// Counts each writing of a vector's row from now on, by whomever.
async fn count_writes(db: &DatabaseConnection, kind: &str) {
    run(db, "CREATE TABLE writes (image_id BIGINT)").await;
    if kind == "postgres" {
        let function = "CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                        INSERT INTO writes VALUES (1); RETURN NULL; END $$";
        run(db, function).await;
    }
    for event in ["INSERT", "UPDATE", "DELETE"] {
        let body = match kind {
            "postgres" => "EXECUTE FUNCTION count_write()",
            "sqlite" => "BEGIN INSERT INTO writes VALUES (1); END",
            _ => "INSERT INTO writes VALUES (1)",
        };
        let sql =
            format!("CREATE TRIGGER on_{event} AFTER {event} ON {IMAGES} FOR EACH ROW {body}");
        run(db, &sql).await;
    }
}

#[tokio::test]
async fn another_name_writes_a_small_row_and_never_the_vector() {
    for database in databases().await {
        let kind = database.kind;
        let store = database.store();
        store.remember(called("x", "a")).await.unwrap();
        let hand = by_hand(&database).await;
        count_writes(&hand, kind).await;
        let id = number(&hand, &format!("SELECT id FROM {IMAGES}")).await;
        // Two clients in turn, as in two groups that share a picture.
        for turn in 0..10 {
            let asset_id = ["b", "a"][turn % 2];
            store.remember(called("x", asset_id)).await.unwrap();
        }
        // A name of the picture's own, and no word of the asset.
        let renamed = ImageRecord {
            image_hash: hash("another name").into(),
            asset_id: None,
            ..called("x", "")
        };
        store.remember(renamed.clone()).await.unwrap();
        store.remember(renamed).await.unwrap();
        assert_eq!(count(&hand, "writes").await, 0, "{kind}");
        assert_eq!(count(&hand, IMAGES).await, 1, "{kind}");
        let now = number(&hand, &format!("SELECT id FROM {IMAGES}")).await;
        assert_eq!(now, id, "{kind}");
        // One row for each id, however often it is said.
        assert_eq!(count(&hand, ASSETS).await, 2, "{kind}");

        // It is called so after a start too.
        let other = loaded(&database).await;
        let hits = similar(&other).await;
        assert_eq!(*hits[0].image_hash, *hash("another name"), "{kind}");
        assert_eq!(hits[0].asset_id.as_deref(), Some("a"), "{kind}");
        let kept = other
            .image_embedding(&hash("x"), "m@1", limits::READ)
            .await
            .unwrap();
        assert_eq!(kept.as_deref(), Some(&[1.0, 0.0][..]), "{kind}");
        hand.close().await.unwrap();
        for store in [store, other] {
            store.close().await;
        }
        database.drop().await;
    }
}

#[tokio::test]
async fn a_picture_keeps_the_newest_of_very_many_asset_ids() {
    for database in databases().await {
        let store = database.store();
        let all = limits::ASSETS_PER_IMAGE * 2 + 1;
        for turn in 0..all {
            store
                .remember(called("x", &turn.to_string()))
                .await
                .unwrap();
        }
        let hand = by_hand(&database).await;
        let kept = i64::try_from(limits::ASSETS_PER_IMAGE).unwrap();
        assert_eq!(count(&hand, ASSETS).await, kept, "{}", database.kind);
        hand.close().await.unwrap();
        let other = loaded(&database).await;
        let last = (all - 1).to_string();
        assert_eq!(asset(&other).await, Some(last), "{}", database.kind);
        for store in [store, other] {
            store.close().await;
        }
        database.drop().await;
    }
}

#[tokio::test]
async fn a_picture_is_forgotten_by_any_id_that_it_was_called_by() {
    for database in databases().await {
        let kind = database.kind;
        let store = loaded(&database).await;
        let hand = by_hand(&database).await;
        for by in ["first", "then", "now"] {
            for asset_id in ["first", "then", "now"] {
                store.remember(called("x", asset_id)).await.unwrap();
            }
            // For another model it came with the last of them.
            let mut other_model = called("x", "now");
            let mut embedding = (*other_model.embedding).clone();
            embedding.model = "n@1".into();
            other_model.embedding = embedding.into();
            store.remember(other_model).await.unwrap();
            store.remember(called("y", "another")).await.unwrap();
            let mut judged = feedback("x", "t", true);
            judged.asset_id = Some("first".into());
            store.record_feedback(&judged).await.unwrap();

            let which = Which::Asset(by.into());
            let counted = store.forget(&which, true, |_| ()).await.unwrap();
            let done = store.forget(&which, false, |_| ()).await.unwrap();
            let expected = Forgotten {
                images: 2,
                labels: 2,
                feedback: 1,
            };
            assert_eq!((counted, done), (expected, expected), "{kind}: {by}");
            let again = store.forget(&which, false, |_| ()).await.unwrap();
            assert!(again.is_nothing(), "{kind}: {by}");
            assert_eq!(count(&hand, IMAGES).await, 1, "{kind}: {by}");
            assert_eq!(count(&hand, ASSETS).await, 0, "{kind}: {by}");
            assert_eq!(asset(&store).await.as_deref(), Some("another"), "{kind}");
            let found = evidence(&store, "t", &[], &["x"]).await;
            assert_eq!(found.images[0].tally, tally(0.0, 0.0), "{kind}: {by}");
        }
        hand.close().await.unwrap();
        store.close().await;
        database.drop().await;
    }
}

/// What a copy of a former version does to rename an image: it writes the whole row anew.
fn as_before(asset_id: &str) -> [String; 2] {
    let columns = "image_hash, content_hash, model_name, embedding_dim, embedding";
    [
        format!(
            "INSERT INTO {IMAGES} ({columns}, asset_id) SELECT '{}', '{}', model_name, \
             embedding_dim, embedding, '{asset_id}' FROM {IMAGES}",
            hash("x"),
            hash("copied")
        ),
        format!("DELETE FROM {IMAGES} WHERE content_hash = '{}'", hash("x")),
    ]
}

#[tokio::test]
async fn what_others_write_of_a_name_counts_as_well() {
    for database in databases().await {
        let kind = database.kind;
        let writer = database.store();
        for asset_id in ["a", "b"] {
            writer.remember(called("x", asset_id)).await.unwrap();
        }
        let reader = loaded(&database).await;
        let hand = by_hand(&database).await;
        let is_called = async |expected: &str| {
            let what = format!("{kind}: {expected}");
            let is_so = async || {
                let hits = similar(&reader).await;
                hits.first().and_then(|hit| hit.asset_id.as_deref()) == Some(expected)
            };
            until(&what, PATIENCE, is_so).await;
        };
        is_called("b").await;

        // In the row of the vector, which had another by now.
        run(&hand, &format!("UPDATE {IMAGES} SET asset_id = 'by hand'")).await;
        is_called("by hand").await;
        // In the small table, and not there any more.
        writer.remember(called("x", "c")).await.unwrap();
        is_called("c").await;
        run(&hand, &format!("UPDATE {ASSETS} SET asset_id = 'named'")).await;
        is_called("named").await;
        run(&hand, &format!("DELETE FROM {ASSETS}")).await;
        is_called("by hand").await;
        // A row that gets another id keeps its names.
        writer.remember(called("x", "d")).await.unwrap();
        run(&hand, &format!("UPDATE {IMAGES} SET id = id + 1000")).await;
        is_called("d").await;
        writer.remember(called("x", "e")).await.unwrap();
        is_called("e").await;

        // A copy of a former version: a new row, with names of its own.
        for sql in as_before("former") {
            run(&hand, &sql).await;
        }
        run(
            &hand,
            &format!("UPDATE {IMAGES} SET content_hash = '{}'", hash("x")),
        )
        .await;
        is_called("former").await;
        assert_eq!(count(&hand, ASSETS).await, 0, "{kind}");
        writer.remember(called("x", "ours")).await.unwrap();
        is_called("ours").await;
        hand.close().await.unwrap();
        for store in [writer, reader] {
            store.close().await;
        }
        database.drop().await;
    }
}

/// Rows that nobody's trigger saw go leave nothing that counts for those that come after.
#[tokio::test]
async fn what_was_called_so_before_everything_was_deleted_does_not_come_back() {
    for database in databases().await {
        let kind = database.kind;
        let store = database.store();
        for asset_id in ["a", "b"] {
            store.remember(called("x", asset_id)).await.unwrap();
        }
        let hand = by_hand(&database).await;
        run(
            &hand,
            &match kind {
                "sqlite" => format!("DELETE FROM {IMAGES}"),
                // Neither fires the triggers of rows, and the ids begin anew.
                "postgres" => format!("TRUNCATE TABLE {IMAGES} RESTART IDENTITY"),
                _ => format!("TRUNCATE TABLE {IMAGES}"),
            },
        )
        .await;
        store.remember(called("y", "other")).await.unwrap();
        store.remember(called("x", "a")).await.unwrap();
        assert_eq!(count(&hand, ASSETS).await, 0, "{kind}");
        let other = loaded(&database).await;
        let mut assets: Vec<_> = similar(&other).await;
        assets.sort_by(|a, b| a.asset_id.cmp(&b.asset_id));
        let assets: Vec<_> = assets.iter().map(|hit| hit.asset_id.as_deref()).collect();
        assert_eq!(assets, [Some("a"), Some("other")], "{kind}");
        hand.close().await.unwrap();
        for store in [store, other] {
            store.close().await;
        }
        database.drop().await;
    }
}

#[tokio::test]
async fn the_step_loses_no_name_on_its_way_up_or_down_wherever_it_is_interrupted() {
    for database in databases().await {
        let kind = database.kind;
        let store = database.store();
        let names = store.migrate().await.unwrap();
        let later = names.iter().rev().take_while(|name| !name.ends_with(STEP));
        let steps = u32::try_from(later.count()).unwrap() + 1;
        // As a former version leaves it.
        store.rollback(steps).await.unwrap();
        let hand = by_hand(&database).await;
        let vector = match kind {
            "postgres" => "'\\x0000803f00000000'",
            _ => "x'0000803f00000000'",
        };
        run(
            &hand,
            &format!(
                "INSERT INTO {IMAGES} (image_hash, content_hash, asset_id, model_name, \
                 embedding_dim, embedding) VALUES ('{0}', '{0}', 'a', 'm@1', 2, {vector})",
                hash("x")
            ),
        )
        .await;
        store.migrate().await.unwrap();
        let id = number(&hand, &format!("SELECT id FROM {IMAGES}")).await;
        store.remember(called("x", "a")).await.unwrap();
        assert_eq!(count(&hand, ASSETS).await, 0, "{kind}: as it was called");
        store.remember(called("x", "b")).await.unwrap();

        // Killed before it was through, where there is no transaction around it.
        let step = names.iter().find(|name| name.ends_with(STEP)).unwrap();
        run(
            &hand,
            &format!("DELETE FROM seaql_migrations WHERE version = '{step}'"),
        )
        .await;
        let (of_table, of_trigger) = match kind {
            "mysql" => (format!(" ON {ASSETS}"), String::new()),
            "postgres" => (String::new(), format!(" ON {IMAGES}")),
            _ => (String::new(), String::new()),
        };
        run(
            &hand,
            &format!("DROP INDEX omnizap_image_assets_asset{of_table}"),
        )
        .await;
        run(
            &hand,
            &format!("DROP TRIGGER omnizap_image_assets_dropped{of_trigger}"),
        )
        .await;
        assert_eq!(
            store.migrate().await.unwrap(),
            std::slice::from_ref(step),
            "{kind}"
        );
        let other = loaded(&database).await;
        assert_eq!(asset(&other).await.as_deref(), Some("b"), "{kind}");
        // It would make the table again that it follows.
        other.close().await;

        // Down: a former version reads the newest name in the row, which stays the same row.
        store.rollback(steps).await.unwrap();
        let is_newest = format!("SELECT COUNT(*) FROM {IMAGES} WHERE asset_id = 'b' AND id = {id}");
        assert_eq!(number(&hand, &is_newest).await, 1, "{kind}");
        store.migrate().await.unwrap();
        let third = loaded(&database).await;
        assert_eq!(asset(&third).await.as_deref(), Some("b"), "{kind}");
        hand.close().await.unwrap();
        for store in [store, third] {
            store.close().await;
        }
        database.drop().await;
    }
}

//! Pictures that come again and again: they take no place of new ones in the queue, and what the
//! database has is not written again.

use std::time::Duration;

use sea_orm::{ConnectionTrait, TransactionTrait};

use super::{databases, feedback, hash, image, until};
use crate::store::connect::Target;
use crate::store::{ImageRecord, Store, Which, limits};

const PATIENCE: Duration = Duration::from_secs(30);
/// Pictures that come again and again, and pictures that are new.
const SEEN: usize = 50;
const NEW: usize = 20;

/// What keeps images from being written while somebody has done it in a transaction.
fn lock(kind: &str) -> &'static str {
    match kind {
        "sqlite" => "UPDATE seaql_migrations SET applied_at = applied_at + 1",
        "postgres" => "LOCK TABLE clip_image_embedding_cache IN EXCLUSIVE MODE",
        _ => "SELECT id FROM clip_image_embedding_cache FOR UPDATE",
    }
}

fn called(name: &str, asset_id: &str) -> ImageRecord {
    ImageRecord {
        asset_id: Some(asset_id.into()),
        ..image(name, &[1.0, 0.0], &[("cat", 0.75), ("dog", 0.25)])
    }
}

async fn is_stored(store: &Store, name: &str) -> bool {
    let found = store.image_embedding(&hash(name), "m@1", PATIENCE).await;
    found.unwrap().is_some()
}

#[tokio::test]
async fn while_the_database_is_slow_they_take_no_place_of_new_ones() {
    for database in databases().await {
        let kind = database.kind;
        let store = database.store();
        let judged = feedback("x", "t", true);
        store.migrate().await.unwrap();
        store.record_feedback(&judged).await.unwrap();
        let other = Target::of(&database.config).unwrap().open(1).await.unwrap();
        let holding = other.begin().await.unwrap();
        holding.execute_unprepared(lock(kind)).await.unwrap();
        // Under one id after the other, so that there is something new each time.
        let names: Vec<_> = (0..SEEN).map(|number| format!("seen {number}")).collect();
        for turn in 0..3 * limits::QUEUE / SEEN {
            let asset_id = format!("asset {}", turn % 4);
            for name in &names {
                assert!(store.remember_later(called(name, &asset_id)), "{kind}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let new: Vec<_> = (0..NEW).map(|number| format!("new {number}")).collect();
        for name in &new {
            assert!(store.remember_later(called(name, "asset")), "{kind}");
        }
        let stats = store.stats();
        assert_eq!(stats.images_dropped, 0, "{kind}");
        // Those that are being written wait once more.
        let most = (2 * SEEN + NEW) as u64;
        assert!(stats.images_waiting <= most, "{kind}: {stats:?}");
        holding.rollback().await.unwrap();
        other.close().await.unwrap();
        until("writing them", PATIENCE, async || {
            store.stats().images_waiting == 0
        })
        .await;
        assert_eq!(store.stats().images_dropped, 0, "{kind}");
        until("being well", PATIENCE, async || store.degraded().is_none()).await;
        for name in new.iter().chain(&names) {
            assert!(is_stored(&store, name).await, "{kind}: {name}");
        }
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn what_the_database_has_is_not_written_again_until_it_may_be_gone() {
    for database in databases().await {
        let kind = database.kind;
        let store = database.store();
        let judged = feedback("x", "t", true);
        store.migrate().await.unwrap();
        store.record_feedback(&judged).await.unwrap();
        let written = async |record: &ImageRecord| {
            let before = store.stats().images_written;
            assert!(store.remember_later(record.clone()), "{kind}");
            assert!(store.flush().await, "{kind}");
            store.stats().images_written - before
        };
        let first = called("a", "asset");
        assert_eq!(written(&first).await, 1, "{kind}");
        for _ in 0..3 {
            assert_eq!(written(&first).await, 0, "{kind}");
        }
        let mut otherwise = called("a", "another");
        assert_eq!(written(&otherwise).await, 1, "{kind}");
        otherwise.look = image("a", &[1.0], &[("cup", 1.0), ("cat", 0.0)]).look;
        assert_eq!(written(&otherwise).await, 1, "{kind}");
        assert_eq!(written(&otherwise).await, 0, "{kind}");

        // Somebody deletes it by hand, and whoever looks for it sees that.
        let hand = Target::of(&database.config).unwrap().open(1).await.unwrap();
        let delete = "DELETE FROM clip_image_embedding_cache";
        hand.execute_unprepared(delete).await.unwrap();
        hand.close().await.unwrap();
        assert!(!is_stored(&store, "a").await, "{kind}");
        assert_eq!(written(&otherwise).await, 1, "{kind}");
        assert!(is_stored(&store, "a").await, "{kind}");

        let which = Which::Hash(hash("a"));
        store.forget(&which, false, |_| ()).await.unwrap();
        assert_eq!(written(&otherwise).await, 1, "{kind}");
        assert!(is_stored(&store, "a").await, "{kind}");
        store.close().await;
        database.drop().await;
    }
}

//! An index of codes alone over a database: what is read for an answer, and what is told without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::Embedding;
use sea_orm::{DbErr, EntityTrait};

use super::{Fixture, databases, hash, image, until};
use crate::store::connect::Target;
use crate::store::health::Use;
use crate::store::image_embedding::{self, Entity};
use crate::store::{ImageRecord, Store, StoreConfig, StoreError, limits};
use crate::vectors::{IndexConfig, Kept, Query, Similar};

const DIM: usize = 65;
const IMAGES: usize = 120;
const PATIENCE: Duration = Duration::from_secs(60);

fn vector(number: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let noise = (0..DIM).map(|place| random.f32() + (place as f32 * 0.1).sin());
    noise.collect()
}

fn record(number: usize) -> ImageRecord {
    ImageRecord {
        embedding: Arc::new(Embedding {
            model: "m@1".into(),
            vector: vector(number).into(),
        }),
        ..image(&number.to_string(), &[], &[])
    }
}

fn query(number: usize) -> Query {
    Query {
        model: "m@1".into(),
        vector: vector(number).into(),
        threshold: -1.0,
        limit: 10,
        scan: 0,
        image_hash: None,
        content_hash: None,
    }
}

fn compact(database: &Fixture) -> Store {
    Store::new(StoreConfig {
        index: IndexConfig {
            kept: Kept::Codes,
            ..IndexConfig::default()
        },
        ..database.config.clone()
    })
}

/// The answer of a database that is there: one that was late is asked again.
async fn exact(store: &Store, number: usize) -> Similar {
    let begun = Instant::now();
    loop {
        let similar = store.similar_images(query(number)).await;
        if similar.is_exact {
            return similar;
        }
        assert!(begun.elapsed() < PATIENCE, "estimates only");
    }
}

#[tokio::test]
async fn what_decides_is_read_and_without_the_database_estimates_are_told() {
    for database in databases().await {
        let store = compact(&database);
        for number in 0..IMAGES {
            store.remember(record(number)).await.unwrap();
        }
        let index = store.index();
        assert_eq!((index.len(), index.unstored()), (IMAGES, 0));
        let whole = database.store();
        whole.start().unwrap();
        until("loading", PATIENCE, async || whole.is_loaded()).await;
        for number in (0..IMAGES).step_by(7) {
            let expected = whole.similar_images(query(number)).await;
            assert!(expected.is_exact && expected.images.len() == 10);
            let told = exact(&store, number).await;
            assert_eq!(told, expected, "{}", database.kind);
        }
        // Away: by estimates, at once, and it is told and counted.
        let before = store.stats().searches_estimated;
        let away = StoreError::Database {
            doing: "x",
            source: DbErr::Custom("away".into()),
        };
        store.0.health.bad(&away, false, String::new);
        let told = store.similar_images(query(3)).await;
        let expected = whole.similar_images(query(3)).await;
        assert!(!told.is_exact && told.images.len() == 10);
        for (told, expected) in told.images.iter().zip(&expected.images) {
            let off = (told.similarity - expected.similarity).abs();
            assert!(off < 0.02, "{off}");
        }
        assert_eq!(store.stats().searches_estimated, before + 1);
        assert!(!store.is_complete());
        store.0.health.good(Use::Reading, Instant::now());
        assert_eq!(exact(&store, 3).await, expected, "{}", database.kind);
        // And once nothing is read any more.
        store.close().await;
        assert!(!store.similar_images(query(3)).await.is_exact);
        whole.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn images_that_wait_to_be_written_are_exact_without_the_database() {
    for database in databases().await {
        let store = compact(&database);
        assert!(store.remember_later(record(1)));
        let told = store.similar_images(query(1)).await;
        assert_eq!(told.images[0].similarity, 1.0);
        assert!(store.flush().await);
        until("its id", PATIENCE, async || store.index().unstored() == 0).await;
        assert_eq!(
            exact(&store, 1).await,
            Similar {
                is_exact: true,
                ..told
            }
        );
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn an_image_that_was_deleted_by_hand_is_no_answer_any_more() {
    for database in databases().await {
        let store = compact(&database);
        for number in 0..3 {
            store.remember(record(number)).await.unwrap();
        }
        let db = Target::of(&database.config).unwrap().open(1).await.unwrap();
        let ids = image_embedding::ids(&db, 0, 10).await.unwrap();
        Entity::delete_by_id(ids[1]).exec(&db).await.unwrap();
        // Nobody follows the table here, so that the index does not know.
        assert_eq!(store.index().len(), 3);
        let told = exact(&store, 1).await;
        let names: Vec<_> = told
            .images
            .iter()
            .map(|hit| hit.image_hash.to_string())
            .collect();
        assert!(names.len() == 2 && !names.contains(&hash("1")), "{names:?}");
        db.close().await.unwrap();
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn one_statement_reads_as_many_vectors_as_are_read_at_most() {
    for database in databases().await {
        let store = compact(&database);
        store.remember(record(1)).await.unwrap();
        let db = Target::of(&database.config).unwrap().open(1).await.unwrap();
        let id = image_embedding::ids(&db, 0, 10).await.unwrap()[0];
        for count in [1, 2, 3, 1000, limits::EXACT_ROWS as i64] {
            // Most of them are not there.
            let ids: Vec<_> = (id..id + count).collect();
            let found = image_embedding::vectors(&db, &ids).await.unwrap();
            assert_eq!(found.len(), 1, "{}", database.kind);
            assert_eq!(found[&id].vector, vector(1));
        }
        assert!(image_embedding::vectors(&db, &[]).await.unwrap().is_empty());
        db.close().await.unwrap();
        store.close().await;
        database.drop().await;
    }
}

#[test]
fn long_vectors_are_fewer() {
    assert_eq!(limits::exact_rows(64), limits::EXACT_ROWS);
    assert_eq!(limits::exact_rows(512), 2048);
    assert_eq!(limits::exact_rows(4096), 256);
    assert_eq!(limits::exact_rows(usize::MAX / 8), 1);
}

//! Copies of the program that follow and disturb each other.

use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::Embedding;

use super::{databases, hash, image, until};
use crate::store::limits;
use crate::vectors::Query;

#[tokio::test]
async fn copies_that_rename_one_image_at_once_leave_one_row() {
    for database in databases().await {
        let copies = [database.store(), database.store()];
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let store = copies[writer % 2].clone();
            writers.spawn(async move {
                for turn in 0..20 {
                    let mut record = image("x", &[0.25, -1.5], &[("cat", 0.9)]);
                    record.asset_id = Some(format!("{writer} {turn}").into());
                    store.remember(record).await.unwrap();
                }
            });
        }
        writers.join_all().await;
        let third = database.store();
        third.start().unwrap();
        until("loading", Duration::from_secs(20), async || {
            third.is_loaded()
        })
        .await;
        assert_eq!(third.index().len(), 1, "{}", database.kind);
        let kept = third
            .image_embedding(&hash("x"), "m@1", limits::READ)
            .await
            .unwrap();
        assert_eq!(kept.as_deref(), Some(&[0.25, -1.5][..]));
        for store in copies.into_iter().chain([third]) {
            store.close().await;
        }
        database.drop().await;
    }
}

#[tokio::test]
async fn an_image_seen_by_one_copy_is_similar_for_another_within_two_seconds() {
    for database in databases().await {
        let (one, other) = (database.store(), database.store());
        other.start().unwrap();
        until("loading", Duration::from_secs(20), async || {
            other.is_loaded()
        })
        .await;
        let vector: Vec<f32> = (0..512).map(|n| (n as f32).sin()).collect();
        for number in 0..100 {
            let mut record = image(&number.to_string(), &vector, &[("l", 1.0)]);
            record.embedding = Arc::new(Embedding {
                model: "m@1".into(),
                vector: vector.iter().map(|x| x + number as f32 / 1e3).collect(),
            });
            assert!(one.remember_later(record));
        }
        assert!(one.flush().await);
        let took = until("following", Duration::from_secs(10), async || {
            other.index().len() == 100
        })
        .await;
        assert!(took < Duration::from_secs(2), "{}: {took:?}", database.kind);
        let query = Query {
            model: "m@1".into(),
            vector: vector.as_slice().into(),
            threshold: 0.9,
            limit: 1,
            scan: 0,
            image_hash: None,
            content_hash: None,
        };
        let hits = other.similar(query.clone()).await;
        assert_eq!(*hits[0].image_hash, *hash("0"));
        assert_eq!(hits[0].asset_id.as_deref(), Some("asset 0"));

        // The same image once more, under another id: the others learn it, and it stays one.
        let mut again = image("0", &vector, &[]);
        again.asset_id = Some("renamed".into());
        one.remember(again).await.unwrap();
        let took = until("renaming", Duration::from_secs(10), async || {
            let hits = other.similar(query.clone()).await;
            hits[0].asset_id.as_deref() == Some("renamed")
        })
        .await;
        assert!(took < Duration::from_secs(2), "{}: {took:?}", database.kind);
        assert_eq!(other.index().len(), 100, "{}", database.kind);
        let third = database.store();
        third.start().unwrap();
        until("loading", Duration::from_secs(20), async || {
            third.is_loaded()
        })
        .await;
        assert_eq!(third.index().len(), 100, "{}", database.kind);
        let stats = one.stats();
        assert_eq!((stats.images_waiting, stats.images_dropped), (0, 0));
        for store in [one, other, third] {
            store.close().await;
        }
        database.drop().await;
    }
}

//! Images that are forgotten with all that is kept of them.

use std::time::Duration;

use sea_orm::ConnectionTrait;

use super::{Fixture, databases, evidence, feedback, hash, image, tally, until};
use crate::store::connect::Target;
use crate::store::{Forgotten, Store, Which, limits};
use crate::vector_index::Query;

fn forgotten(images: u64, labels: u64, feedback: u64) -> Forgotten {
    Forgotten {
        images,
        labels,
        feedback,
    }
}

/// Images `a`, `b` and `c`, with labels and feedback under two themes; `a` for two models.
async fn seen(database: &Fixture) -> Store {
    let store = database.store();
    store.start().unwrap();
    until("loading", Duration::from_secs(20), async || {
        store.is_loaded()
    })
    .await;
    for (name, vector) in [("a", [1.0, 0.0]), ("b", [0.9, 0.1]), ("c", [0.8, 0.2])] {
        store
            .remember(image(name, &vector, &[("l", 1.0)]))
            .await
            .unwrap();
        for theme in ["s", "t"] {
            let judged = feedback(name, theme, true);
            store.record_feedback(&judged).await.unwrap();
        }
    }
    let mut other_model = image("a", &[1.0, 0.0], &[("l", 1.0)]);
    let mut embedding = (*other_model.embedding).clone();
    embedding.model = "n@1".into();
    other_model.embedding = embedding.into();
    store.remember(other_model).await.unwrap();
    store
}

async fn similar(store: &Store) -> usize {
    let query = Query {
        model: "m@1".into(),
        vector: [1.0, 0.0].into(),
        threshold: 0.5,
        limit: 10,
        scan: 0,
        image_hash: None,
        content_hash: None,
    };
    store.similar(query).await.len()
}

#[tokio::test]
async fn an_image_is_forgotten_by_its_hash_wherever_it_was_kept() {
    for database in databases().await {
        let store = seen(&database).await;
        let other = database.store();
        other.start().unwrap();
        until("loading", Duration::from_secs(20), async || {
            similar(&other).await == 3
        })
        .await;
        let which = Which::Hash(hash("a"));
        let counted = store.forget(&which, true, |_| ()).await.unwrap();
        assert_eq!(counted, forgotten(2, 2, 2), "{}", database.kind);
        assert_eq!(similar(&store).await, 3, "counting changes nothing");

        let mut told = Vec::new();
        let done = store
            .forget(&which, false, |so_far| told.push(*so_far))
            .await;
        assert_eq!(done.unwrap(), counted);
        assert_eq!(told.last(), Some(&counted));
        assert_eq!(similar(&store).await, 2, "at once");
        let is_gone = async || similar(&other).await == 2;
        let took = until("the other copy", Duration::from_secs(20), is_gone).await;
        assert!(took < Duration::from_secs(2), "{}: {took:?}", database.kind);
        for model in ["m@1", "n@1"] {
            let kept = store.image_embedding(&hash("a"), model, limits::READ).await;
            assert_eq!(kept.unwrap(), None);
        }
        let found = evidence(&store, "t", &[], &["a", "b", "c"]).await;
        let judged: Vec<_> = found.images.iter().map(|image| image.tally).collect();
        let once = tally(1.0, 0.0);
        assert_eq!(judged, [tally(0.0, 0.0), once, once], "{}", database.kind);
        let again = store.forget(&which, false, |_| ()).await.unwrap();
        assert!(again.is_nothing());
        for store in [store, other] {
            store.close().await;
        }
        database.drop().await;
    }
}

#[tokio::test]
async fn images_are_forgotten_by_their_asset_and_by_their_age() {
    for database in databases().await {
        let store = seen(&database).await;
        // Judged under a client's id and never seen.
        let mut unseen = feedback("unseen", "t", true);
        unseen.asset_id = Some("asset b".into());
        store.record_feedback(&unseen).await.unwrap();
        let which = Which::Asset("asset b".into());
        for is_dry in [true, false] {
            let found = store.forget(&which, is_dry, |_| ()).await.unwrap();
            assert_eq!(found, forgotten(1, 1, 3), "{}, {is_dry}", database.kind);
        }
        assert!(
            store
                .forget(&which, true, |_| ())
                .await
                .unwrap()
                .is_nothing()
        );
        assert_eq!(similar(&store).await, 2);

        let db = Target::of(&database.config).unwrap().open(1).await.unwrap();
        let long_ago = format!(
            "UPDATE clip_image_embedding_cache SET created_at = '2020-01-02 03:04:05' \
             WHERE image_hash = '{}'",
            hash("a")
        );
        db.execute_unprepared(&long_ago).await.unwrap();
        db.close().await.unwrap();
        let day = Which::OlderThan(Duration::from_secs(86_400));
        for is_dry in [true, false] {
            let found = store.forget(&day, is_dry, |_| ()).await.unwrap();
            assert_eq!(found, forgotten(2, 2, 2), "{}, {is_dry}", database.kind);
        }
        assert_eq!(similar(&store).await, 1);
        let all = Which::OlderThan(Duration::ZERO);
        let found = store.forget(&all, false, |_| ()).await.unwrap();
        assert_eq!(found, forgotten(1, 1, 2), "{}", database.kind);
        assert_eq!(similar(&store).await, 0);
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn many_are_forgotten_a_few_at_a_time() {
    let database = Fixture::sqlite();
    let store = database.store();
    let count = limits::FORGET_BATCH * 3 + 7;
    for number in 0..count {
        let mut record = image(&number.to_string(), &[1.0, number as f32], &[("l", 1.0)]);
        record.asset_id = Some("the same".into());
        assert!(store.remember_later(record));
        if number % 500 == 0 {
            assert!(store.flush().await);
        }
    }
    let mut steps = 0;
    let which = Which::Asset("the same".into());
    let done = store.forget(&which, false, |_| steps += 1).await.unwrap();
    assert_eq!(done, forgotten(count as u64, count as u64, 0));
    assert_eq!(steps, 4);
    assert!(
        store.index().is_empty(),
        "what was not loaded is forgotten too"
    );
    store.close().await;
}

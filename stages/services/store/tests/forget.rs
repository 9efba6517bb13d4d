//! Images that are forgotten with all that is kept of them.

use std::time::Duration;

use sea_orm::ConnectionTrait;

use super::{Fixture, databases, evidence, feedback, hash, image, tally, until};
use crate::store::connect::Target;
use crate::store::{Asked, Forgotten, ImageRecord, Store, Which, limits};
use crate::vectors::Query;

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

/// A picture that a client calls otherwise than by its bytes.
fn named(name: &str, bytes: &str) -> ImageRecord {
    ImageRecord {
        image_hash: hash(name).into(),
        ..image(bytes, &[1.0, 0.0], &[("l", 1.0), ("k", 0.0)])
    }
}

async fn judge(store: &Store, name: &str) {
    let judged = feedback(name, "t", true);
    store.record_feedback(&judged).await.unwrap();
}

/// How often the picture of those bytes and that name was accepted.
async fn accepted(store: &Store, name: &str, bytes: &str) -> f64 {
    let (name, bytes) = (hash(name), hash(bytes));
    let asked = Asked {
        image_hash: &name,
        content_hash: Some(&bytes),
    };
    let found = store.theme_evidence("t", &[], &[asked], limits::READ).await;
    found.unwrap().images[0].tally.accepted
}

async fn is_kept(store: &Store, bytes: &str) -> bool {
    let kept = store
        .image_embedding(&hash(bytes), "m@1", limits::READ)
        .await;
    kept.unwrap().is_some()
}

/// Counts what there is to forget, forgets it, and says what it was.
async fn forget(store: &Store, which: &Which) -> Forgotten {
    let counted = store.forget(which, true, |_| ()).await.unwrap();
    let done = store.forget(which, false, |_| ()).await.unwrap();
    assert_eq!(done, counted, "{which:?}");
    done
}

#[tokio::test]
async fn a_picture_that_shares_its_name_leaves_the_others_what_is_theirs() {
    for database in databases().await {
        let store = database.store();
        for bytes in ["thumbnail", "full"] {
            store.remember(named("n", bytes)).await.unwrap();
        }
        judge(&store, "n").await;
        judge(&store, "thumbnail").await;
        let thumbnail = Which::Hash(hash("thumbnail"));
        let done = forget(&store, &thumbnail).await;
        assert_eq!(done, forgotten(1, 1, 1), "{}", database.kind);
        assert!(!is_kept(&store, "thumbnail").await);
        assert!(is_kept(&store, "full").await);
        // By its bytes alone: the link to the name is there.
        assert_eq!(accepted(&store, "full", "full").await, 1.0);
        let done = forget(&store, &Which::Hash(hash("full"))).await;
        assert_eq!(done, forgotten(1, 1, 1), "nobody else goes by it now");

        // A name that goes with the last of its pictures is counted so too.
        for bytes in ["thumbnail", "full"] {
            store.remember(named("n", bytes)).await.unwrap();
        }
        judge(&store, "n").await;
        let done = forget(&store, &Which::OlderThan(Duration::ZERO)).await;
        assert_eq!(done, forgotten(2, 2, 1), "{}", database.kind);
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn a_picture_that_is_called_by_the_bytes_of_another_takes_nothing_from_it() {
    for database in databases().await {
        let store = database.store();
        store
            .remember(image("b", &[0.0, 1.0], &[("l", 1.0)]))
            .await
            .unwrap();
        store.remember(named("b", "a")).await.unwrap();
        judge(&store, "b").await;
        let done = forget(&store, &Which::Hash(hash("a"))).await;
        assert_eq!(done, forgotten(1, 1, 0), "{}", database.kind);
        assert!(is_kept(&store, "b").await);
        assert_eq!(accepted(&store, "b", "b").await, 1.0);

        // Nor the other way round.
        store.remember(named("b", "a")).await.unwrap();
        let done = forget(&store, &Which::Hash(hash("b"))).await;
        assert_eq!(done, forgotten(1, 1, 1), "{}", database.kind);
        assert!(is_kept(&store, "a").await);
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn a_picture_is_forgotten_by_a_name_that_it_had_before() {
    for database in databases().await {
        let store = database.store();
        for name in ["old", "new"] {
            store.remember(named(name, "x")).await.unwrap();
            judge(&store, name).await;
        }
        store.remember(named("other", "y")).await.unwrap();
        let old = Which::Hash(hash("old"));
        let done = forget(&store, &old).await;
        assert_eq!(done, forgotten(1, 1, 2), "{}", database.kind);
        assert!(!is_kept(&store, "x").await);
        assert!(is_kept(&store, "y").await);
        assert_eq!(accepted(&store, "new", "x").await, 0.0);
        assert!(forget(&store, &old).await.is_nothing());

        // Two that are called so, of which no embedding is kept.
        for bytes in ["x", "z"] {
            let record = ImageRecord {
                keep_embedding: false,
                ..named("old", bytes)
            };
            store.remember(record).await.unwrap();
        }
        judge(&store, "old").await;
        judge(&store, "z").await;
        let done = forget(&store, &old).await;
        assert_eq!(done, forgotten(0, 2, 2), "{}", database.kind);
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn what_was_judged_under_an_asset_is_forgotten_a_few_at_a_time() {
    let database = Fixture::sqlite();
    let store = database.store();
    let batch = limits::FORGET_BATCH as u64;
    let count = batch * 2 + 1;
    for number in 0..count {
        let mut judged = feedback(&number.to_string(), "t", true);
        judged.asset_id = Some("the same".into());
        store.record_feedback(&judged).await.unwrap();
    }
    let which = Which::Asset("the same".into());
    for is_dry in [true, false] {
        let mut told = Vec::new();
        let done = store
            .forget(&which, is_dry, |so_far| told.push(so_far.feedback))
            .await;
        assert_eq!(done.unwrap(), forgotten(0, 0, count), "{is_dry}");
        assert_eq!(told, [batch, batch * 2, count], "{is_dry}");
    }
    store.close().await;
}

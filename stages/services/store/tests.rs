//! The store over real databases: SQLite always, and each server that is named by
//! `OMNIZAP_TEST_MYSQL_URL` or `OMNIZAP_TEST_POSTGRES_URL` (a user who may create
//! databases). With `OMNIZAP_TEST_DATABASES=required` a server that is not named is a
//! failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::Embedding;

use super::{
    Asked, Feedback, ImageRecord, Look, LookLabels, Store, StoreError, Tally, ThemeEvidence, keys,
    label_set,
};

mod adopt;
mod assets;
mod carry;
mod changed;
mod compact;
mod copies;
mod cut;
mod ending;
mod faults;
mod fixture;
mod forget;
mod frames;
mod gone;
mod late;
mod load;
mod nsfw;
mod open;
mod pooler;
mod repeats;
mod report;
mod similar;

use self::fixture::{Fixture, databases};

fn hash(text: &str) -> String {
    keys::key_of(text)
}

fn image(name: &str, vector: &[f32], labels: &[(&str, f64)]) -> ImageRecord {
    ImageRecord {
        content_hash: hash(name).into(),
        image_hash: hash(name).into(),
        asset_id: Some(format!("asset {name}").into()),
        embedding: Arc::new(Embedding {
            model: "m@1".into(),
            vector: vector.into(),
        }),
        keep_embedding: true,
        look: (!labels.is_empty()).then(|| Look {
            theme: "".into(),
            label_set: label_set(labels.iter().map(|(label, _)| *label)).into(),
            default_labels: true,
            labels: LookLabels::of(labels.iter().copied()),
        }),
        frames: None,
        nsfw: None,
    }
}

fn feedback(name: &str, theme: &str, accepted: bool) -> Feedback {
    Feedback {
        image_hash: hash(name),
        theme: theme.into(),
        accepted,
        asset_id: None,
        label_set: None,
        label: None,
    }
}

fn tally(accepted: f64, rejected: f64) -> Tally {
    Tally { accepted, rejected }
}

async fn evidence(store: &Store, theme: &str, labels: &[&str], images: &[&str]) -> ThemeEvidence {
    let images: Vec<_> = images.iter().map(|name| hash(name)).collect();
    let asked = |image_hash| Asked {
        image_hash,
        content_hash: None,
    };
    let images: Vec<_> = images.iter().map(|image| asked(image)).collect();
    let limit = Duration::from_secs(30);
    let begun = Instant::now();
    loop {
        let read = store.theme_evidence(theme, labels, &images, limit).await;
        if !is_late(&read, begun) {
            return read.unwrap();
        }
    }
}

/// True for a read that took longer than a request has for it: on a machine that has too much to do
/// that says nothing about what is looked at here, and it is asked again, though not for ever.
fn is_late<T>(read: &Result<T, StoreError>, begun: Instant) -> bool {
    let is_late = matches!(
        read,
        Err(StoreError::Slow { .. }
            | StoreError::Busy { .. }
            | StoreError::Opening { .. }
            | StoreError::Resting { .. })
    );
    is_late && begun.elapsed() < Duration::from_secs(60)
}

/// How often is looked for what happens in the background.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for something that happens in the background. Gives how many looks that took, as the time
/// that they would have taken by themselves: on a machine that has too much to do every look comes
/// late, and so does what is looked for.
async fn until(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    let mut took = Duration::ZERO;
    while !done().await {
        let is_late = took >= limit || begun.elapsed() >= 10 * limit;
        assert!(!is_late, "{what} took more than {limit:?}");
        tokio::time::sleep(LOOK_EVERY).await;
        took += LOOK_EVERY;
    }
    took
}

#[tokio::test]
async fn the_schema_goes_up_and_down_and_up_again() {
    for database in databases().await {
        let store = database.store();
        let applied =
            |steps: &[omnizap_migrations::Step]| steps.iter().filter(|step| step.applied).count();
        let steps = store.status().await.unwrap();
        let count = steps.len();
        assert_eq!(applied(&steps), 0, "{}", database.kind);
        let names: Vec<_> = steps.into_iter().map(|step| step.name).collect();
        assert!(names.len() >= 5 && names.is_sorted(), "{names:?}");
        assert_eq!(store.migrate().await.unwrap(), names);
        assert!(store.migrate().await.unwrap().is_empty());
        assert_eq!(applied(&store.status().await.unwrap()), count);

        let mut newest_first = names.clone();
        newest_first.reverse();
        let all = u32::try_from(count).unwrap();
        assert_eq!(store.rollback(all).await.unwrap(), newest_first);
        assert_eq!(store.migrate().await.unwrap(), names);

        store
            .record_feedback(&feedback("x", "t", true))
            .await
            .unwrap();
        // Later steps hold nothing yet that cannot be made again; feedback does.
        let error = store.rollback(all).await.unwrap_err().to_string();
        assert!(error.contains("cannot be made again"), "{error}");
        let steps = store.status().await.unwrap();
        let feedback = steps.iter().find(|step| step.name.ends_with("feedback"));
        assert!(feedback.unwrap().applied, "{steps:?}");
        store.migrate().await.unwrap();
        let found = evidence(&store, "t", &[], &["x"]).await;
        assert_eq!(found.images[0].tally, tally(1.0, 0.0), "{}", database.kind);
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn several_copies_may_start_at_once() {
    for database in databases().await {
        let mut copies = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let store = database.store();
            copies.spawn(async move {
                // Waits for the others' changes of the schema; feedback would not for long.
                store.migrate().await.unwrap();
                store
                    .record_feedback(&feedback("x", "t", true))
                    .await
                    .unwrap();
                store.close().await;
            });
        }
        copies.join_all().await;
        let store = database.store();
        let found = evidence(&store, "t", &[], &["x"]).await;
        assert_eq!(found.images[0].tally, tally(6.0, 0.0), "{}", database.kind);
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn feedback_of_two_copies_at_once_is_all_there() {
    for database in databases().await {
        let copies = [database.store(), database.store()];
        copies[0]
            .remember(image("x", &[1.0], &[("cat", 1.0), ("dog", 0.0)]))
            .await
            .unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let store = copies[writer % 2].clone();
            writers.spawn(async move {
                for turn in 0..40 {
                    // Images with and without labels, and labels that come meanwhile.
                    let name = ["x", "y"][turn % 2];
                    if turn == 20 {
                        store
                            .remember(image("y", &[1.0], &[("dog", 1.0), ("cat", 0.0)]))
                            .await
                            .unwrap();
                    }
                    let accepted = turn % 4 < 2;
                    store
                        .record_feedback(&feedback(name, "t", accepted))
                        .await
                        .unwrap();
                }
            });
        }
        writers.join_all().await;
        let found = evidence(&copies[1], "t", &["cat", "dog"], &["x", "y"]).await;
        let sum = found.images.iter().fold(tally(0.0, 0.0), |sum, image| {
            tally(
                sum.accepted + image.tally.accepted,
                sum.rejected + image.tally.rejected,
            )
        });
        assert_eq!(sum, tally(160.0, 160.0), "{}", database.kind);
        let expected = [tally(80.0, 80.0), tally(80.0, 80.0)];
        assert_eq!(found.labels, expected, "{}", database.kind);
        for store in copies {
            store.close().await;
        }
        database.drop().await;
    }
}

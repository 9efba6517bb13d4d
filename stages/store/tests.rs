//! The store over real databases: SQLite always, and each server that is named by
//! `OMNIZAP_TEST_MYSQL_URL` or `OMNIZAP_TEST_POSTGRES_URL` (a user who may create
//! databases). With `OMNIZAP_TEST_DATABASES=required` a server that is not named is a
//! failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::Embedding;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement};

use super::{
    Feedback, ImageRecord, Store, StoreConfig, StoreError, Tally, ThemeEvidence, carried, keys,
    limits,
};
use crate::vector_index::Query;

mod adopt;
mod load;

/// One empty database, dropped at the end.
struct Fixture {
    kind: &'static str,
    config: StoreConfig,
    admin: Option<(DatabaseConnection, String)>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            kind: "sqlite",
            config: StoreConfig {
                data_dir: folder.path().into(),
                url: None,
            },
            admin: None,
            _folder: folder,
        }
    }

    /// A new database on a server, if one is named.
    async fn server(kind: &'static str, variable: &str) -> Option<Self> {
        let Ok(url) = std::env::var(variable) else {
            let required = std::env::var("OMNIZAP_TEST_DATABASES").as_deref() == Ok("required");
            assert!(!required, "{variable} names no server, and every database is to be tested");
            eprintln!("NOT TESTED on {kind}: {variable} is not set (tests/databases.sh sets it)");
            return None;
        };
        let admin = Database::connect(&url).await.expect(variable);
        let name = format!("omnizap_test_{:016x}", fastrand::u64(..));
        let sql = format!("CREATE DATABASE {name}");
        admin
            .execute_unprepared(&sql)
            .await
            .expect("a right to create databases");
        let mut parts: Vec<&str> = url.splitn(4, '/').collect();
        parts.truncate(3);
        Some(Self {
            kind,
            config: StoreConfig {
                data_dir: "/nonexistent".into(),
                url: Some(format!("{}/{name}", parts.join("/"))),
            },
            admin: Some((admin, name)),
            _folder: tempfile::tempdir().unwrap(),
        })
    }

    /// Another copy of the program.
    fn store(&self) -> Store {
        Store::new(self.config.clone())
    }

    async fn drop(self) {
        if let Some((admin, name)) = self.admin {
            let force = if self.kind == "postgres" {
                " WITH (FORCE)"
            } else {
                ""
            };
            let sql = format!("DROP DATABASE {name}{force}");
            admin.execute_unprepared(&sql).await.unwrap();
        }
    }
}

async fn databases() -> Vec<Fixture> {
    let mut databases = vec![Fixture::sqlite()];
    databases.extend(Fixture::server("mysql", "OMNIZAP_TEST_MYSQL_URL").await);
    databases.extend(Fixture::server("postgres", "OMNIZAP_TEST_POSTGRES_URL").await);
    databases
}

fn hash(text: &str) -> String {
    keys::sha256_hex(text.as_bytes())
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
        labels: carried(labels.iter().copied()),
    }
}

fn feedback(name: &str, theme: &str, accepted: bool) -> Feedback {
    Feedback {
        image_hash: hash(name),
        theme: theme.into(),
        accepted,
        asset_id: None,
    }
}

fn tally(accepted: f64, rejected: f64) -> Tally {
    Tally { accepted, rejected }
}

async fn evidence(store: &Store, theme: &str, labels: &[&str], images: &[&str]) -> ThemeEvidence {
    let images: Vec<_> = images.iter().map(|name| hash(name)).collect();
    let images: Vec<_> = images.iter().map(String::as_str).collect();
    let limit = Duration::from_secs(30);
    store
        .theme_evidence(theme, labels, &images, limit)
        .await
        .unwrap()
}

/// Waits for something that happens in the background.
async fn until(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < limit, "{what} took more than {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

#[tokio::test]
async fn the_schema_goes_up_and_down_and_up_again() {
    for database in databases().await {
        let store = database.store();
        let applied =
            |steps: &[omnizap_migrations::Step]| steps.iter().filter(|step| step.applied).count();
        let steps = store.status().await.unwrap();
        assert_eq!((applied(&steps), steps.len()), (0, 4), "{}", database.kind);
        let names: Vec<_> = steps.into_iter().map(|step| step.name).collect();
        assert_eq!(store.migrate().await.unwrap(), names);
        assert!(store.migrate().await.unwrap().is_empty());
        assert_eq!(applied(&store.status().await.unwrap()), 4);

        let mut newest_first = names.clone();
        newest_first.reverse();
        assert_eq!(store.rollback(4).await.unwrap(), newest_first);
        assert_eq!(store.migrate().await.unwrap(), names);

        store
            .record_feedback(&feedback("x", "t", true))
            .await
            .unwrap();
        let error = store.rollback(1).await.unwrap_err().to_string();
        assert!(error.contains("cannot be made again"), "{error}");
        assert_eq!(applied(&store.status().await.unwrap()), 4);
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
            .remember(image("x", &[1.0], &[("cat", 0.9), ("dog", 0.45)]))
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
                            .remember(image("y", &[1.0], &[("dog", 0.9)]))
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
        // What came between another's look and its commit is credited next time.
        copies[1]
            .remember(image("y", &[1.0], &[("dog", 0.9)]))
            .await
            .unwrap();
        let found = evidence(&copies[1], "t", &["cat", "dog"], &["x", "y"]).await;
        let sum = found.images.iter().fold(tally(0.0, 0.0), |sum, image| {
            tally(
                sum.accepted + image.tally.accepted,
                sum.rejected + image.tally.rejected,
            )
        });
        assert_eq!(sum, tally(160.0, 160.0), "{}", database.kind);
        let expected = [tally(80.0, 80.0), tally(80.0 + 40.0, 80.0 + 40.0)];
        assert_eq!(found.labels, expected, "{}", database.kind);
        for store in copies {
            store.close().await;
        }
        database.drop().await;
    }
}

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
async fn models_do_not_evict_each_other() {
    for database in databases().await {
        let store = database.store();
        let models = ["m@1", "m@2", "other@1"];
        for (number, model) in models.into_iter().enumerate() {
            let mut record = image("x", &[], &[]);
            record.embedding = Arc::new(Embedding {
                model: model.into(),
                vector: [number as f32, 1.0].into(),
            });
            store.remember(record).await.unwrap();
        }
        for (number, model) in models.into_iter().enumerate() {
            let kept = store.image_embedding(&hash("x"), model, limits::READ).await;
            let expected = [number as f32, 1.0];
            assert_eq!(kept.unwrap().as_deref(), Some(&expected[..]), "{model}");
        }
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn a_value_that_the_database_refuses_turns_nothing_off() {
    for database in databases().await {
        let store = database.store();
        store
            .record_feedback(&feedback("x", "t", true))
            .await
            .unwrap();
        if database.kind != "sqlite" {
            // The stage refuses such a theme before; SQLite takes text of any length.
            let long = feedback("x", &"t".repeat(500), true);
            let error = store.record_feedback(&long).await.unwrap_err();
            assert!(matches!(error, StoreError::Database { .. }), "{error}");
            assert_eq!(store.stats().failures, 1);
        }
        assert_eq!(store.degraded(), None, "{}", database.kind);
        let found = evidence(&store, "t", &[], &["x"]).await;
        assert_eq!(found.images[0].tally, tally(1.0, 0.0));
        store
            .record_feedback(&feedback("x", "t", true))
            .await
            .unwrap();
        store.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn connections_that_the_server_drops_cost_nothing_that_was_acknowledged() {
    for database in databases().await {
        let Some((admin, name)) = &database.admin else {
            continue;
        };
        let store = database.store();
        let mut acknowledged = 0;
        for _ in 0..5 {
            for _ in 0..4 {
                acknowledged += 1;
                store
                    .record_feedback(&feedback("x", "t", true))
                    .await
                    .unwrap();
            }
            drop_connections(admin, name, database.kind).await;
        }
        let found = evidence(&store, "t", &[], &["x"]).await;
        let expected = tally(f64::from(acknowledged), 0.0);
        assert_eq!(found.images[0].tally, expected, "{}", database.kind);
        assert_eq!(store.degraded(), None, "{}", database.kind);
        store.close().await;
        database.drop().await;
    }
}

/// Ends every session of a database, as an operator or a proxy would.
async fn drop_connections(admin: &DatabaseConnection, name: &str, kind: &str) {
    let backend = admin.get_database_backend();
    if kind == "postgres" {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        admin
            .query_all_raw(Statement::from_string(backend, sql))
            .await
            .unwrap();
        return;
    }
    let sql = format!(
        "SELECT CAST(ID AS SIGNED) FROM information_schema.PROCESSLIST WHERE DB = '{name}'"
    );
    let rows = admin
        .query_all_raw(Statement::from_string(backend, sql))
        .await
        .unwrap();
    for row in rows {
        let id: i64 = row.try_get_by_index(0).unwrap();
        // It may have ended by itself.
        let _ = admin.execute_unprepared(&format!("KILL {id}")).await;
    }
}

#[tokio::test]
async fn texts_of_any_alphabet_and_length_have_rows_of_their_own() {
    for database in databases().await {
        let store = database.store();
        let long = "é".repeat(5000);
        let texts = [
            "cafe",
            "café",
            "CAFE",
            "cafe\u{301}",
            "😀",
            "a\0b",
            " x",
            "x",
            &long,
        ];
        let vectors: Vec<[f32; 2]> = (0..texts.len()).map(|n| [n as f32, 1.0]).collect();
        let rows: Vec<_> = texts
            .iter()
            .copied()
            .zip(vectors.iter().map(|v| &v[..]))
            .collect();
        let twice: Vec<_> = rows.iter().chain(&rows).copied().collect();
        for _ in 0..2 {
            store.save_label_embeddings("m@1", &twice).await.unwrap();
        }
        let many: Vec<_> = (0..1200).map(|n| format!("text {n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let vectors_of: Vec<_> = many.iter().map(|text| (*text, &vectors[3][..])).collect();
        store
            .save_label_embeddings("m@1", &vectors_of)
            .await
            .unwrap();
        let found = store.label_embeddings("m@1", &many).await.unwrap();
        assert!(found.iter().all(Option::is_some), "{}", database.kind);
        let found = store.label_embeddings("m@1", &texts).await.unwrap();
        for (place, text) in texts.iter().enumerate() {
            assert_eq!(
                found[place].as_deref(),
                Some(&vectors[place][..]),
                "{text:?}"
            );
        }
        let other = store.label_embeddings("m@2", &["cafe"]).await.unwrap();
        assert_eq!(other, [None]);

        for (theme, accepted) in [("cafe", true), ("café", false), ("CAFE", true)] {
            store
                .record_feedback(&feedback("x", theme, accepted))
                .await
                .unwrap();
        }
        let found = evidence(&store, "café", &[], &["x"]).await;
        assert_eq!(found.images[0].tally, tally(0.0, 1.0), "{}", database.kind);

        let answer = r#"{"subtags": ["😀", "\u0000"]}"#;
        for text in ["{}", answer] {
            store
                .save_expansion(&hash("q"), "gpt", "[\"é\"]", text)
                .await
                .unwrap();
        }
        let kept = store.expansion(&hash("q")).await.unwrap();
        assert_eq!(kept.as_deref(), Some(answer), "{}", database.kind);
        assert_eq!(store.degraded(), None);
        store.close().await;
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

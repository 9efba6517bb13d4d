//! What the Python service's store got wrong, on every kind of database.

use std::sync::Arc;

use omnizap_contract::Embedding;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use super::{databases, evidence, feedback, hash, image, tally};
use crate::store::{StoreError, limits};

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

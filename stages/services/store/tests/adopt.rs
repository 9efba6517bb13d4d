//! Taking over a database of the Python service, over a real server.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use super::{Fixture, evidence, feedback, hash, image, tally, until};
use crate::store::connect::Target;
use crate::store::vector::to_bytes;
use crate::store::{Which, limits};
use crate::vectors::Query;

/// The tables as that service made them.
const TABLES: [&str; 4] = [
    "CREATE TABLE clip_image_embedding_cache (
        image_hash CHAR(64) NOT NULL PRIMARY KEY, asset_id VARCHAR(64) NULL,
        model_name VARCHAR(80) NOT NULL, embedding_dim SMALLINT UNSIGNED NOT NULL,
        embedding MEDIUMBLOB NOT NULL,
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
        KEY idx_asset (asset_id), KEY idx_model (model_name)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE clip_label_embedding_cache (
        model_name VARCHAR(80) NOT NULL, label VARCHAR(191) NOT NULL,
        embedding_dim SMALLINT UNSIGNED NOT NULL, embedding MEDIUMBLOB NOT NULL,
        created_at DATETIME NOT NULL, updated_at DATETIME NULL,
        PRIMARY KEY (model_name, label)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE clip_llm_label_expansion_cache (
        cache_key CHAR(64) NOT NULL PRIMARY KEY, model_name VARCHAR(80) NOT NULL,
        top_labels_json TEXT NOT NULL, expansion_json LONGTEXT NOT NULL,
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE clip_image_theme_feedback (
        image_hash CHAR(64) NOT NULL, asset_id VARCHAR(64) NULL, theme VARCHAR(120) NOT NULL,
        acceptance_count INT UNSIGNED NOT NULL DEFAULT 0,
        total_assignments INT UNSIGNED NOT NULL DEFAULT 0,
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
        PRIMARY KEY (image_hash, theme)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
];

const IMAGES: usize = 10_000;
const LABELS: usize = 500;
const FEEDBACKS: usize = 2_000;
const DIM: usize = 512;

/// Hexadecimal little-endian f32 of a vector that only this number has.
fn vector(number: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    (0..DIM).map(|_| random.f32() - 0.5).collect()
}

fn hex(vector: &[f32]) -> String {
    let bytes = to_bytes(vector);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn insert(db: &DatabaseConnection, into: &str, rows: Vec<String>) {
    for rows in rows.chunks(500) {
        let sql = format!("INSERT INTO {into} VALUES {}", rows.join(","));
        db.execute_unprepared(&sql).await.unwrap();
    }
}

/// Counts, and checksums of everything that the Python service wrote.
async fn sums(db: &DatabaseConnection) -> Vec<String> {
    let mut sums = Vec::new();
    for sql in [
        "SELECT CONCAT(COUNT(*), ' ', SHA2(GROUP_CONCAT(SHA2(CONCAT_WS('|', image_hash, \
         IFNULL(asset_id, '-'), model_name, embedding_dim, HEX(embedding), created_at), 256) \
         ORDER BY image_hash), 256)) FROM clip_image_embedding_cache",
        "SELECT CONCAT(COUNT(*), ' ', SHA2(GROUP_CONCAT(SHA2(CONCAT_WS('|', model_name, label, \
         embedding_dim, HEX(embedding), created_at), 256) ORDER BY BINARY label), 256)) \
         FROM clip_label_embedding_cache",
        "SELECT CONCAT(COUNT(*), ' ', SHA2(GROUP_CONCAT(cache_key, top_labels_json, \
         expansion_json ORDER BY cache_key), 256)) FROM clip_llm_label_expansion_cache",
        "SELECT CONCAT(COUNT(*), ' ', SUM(acceptance_count), ' ', SUM(total_assignments), ' ', \
         SHA2(GROUP_CONCAT(image_hash, theme, created_at ORDER BY image_hash), 256)) \
         FROM clip_image_theme_feedback",
    ] {
        db.execute_unprepared("SET SESSION group_concat_max_len = 1000000000")
            .await
            .unwrap();
        let statement = Statement::from_string(DbBackend::MySql, sql);
        let row = db.query_one_raw(statement).await.unwrap().unwrap();
        sums.push(row.try_get_by_index::<String>(0).unwrap());
    }
    sums
}

#[tokio::test]
async fn a_database_of_the_python_service_is_taken_over_in_place() {
    let Some(database) = Fixture::server("mysql", "OMNIZAP_TEST_MYSQL_URL").await else {
        return;
    };
    let target = Target::of(&database.config).unwrap();
    let db = target.open(1).await.unwrap();
    for table in TABLES {
        db.execute_unprepared(table).await.unwrap();
    }
    let images = (0..IMAGES).map(|n| {
        format!(
            "('{}', 'asset{n}', 'm', {DIM}, x'{}')",
            hash(&n.to_string()),
            hex(&vector(n))
        )
    });
    let into =
        "clip_image_embedding_cache (image_hash, asset_id, model_name, embedding_dim, embedding)";
    insert(&db, into, images.collect()).await;
    let labels = (0..LABELS).map(|n| {
        format!(
            "('m', 'étiquette {n}', {DIM}, x'{}', '2025-01-02 03:04:05')",
            hex(&vector(n))
        )
    });
    let into =
        "clip_label_embedding_cache (model_name, label, embedding_dim, embedding, created_at)";
    insert(&db, into, labels.collect()).await;
    let answers = (0..10).map(|n| format!("('{}', 'gpt', '[]', '{{}}')", hash(&n.to_string())));
    let into =
        "clip_llm_label_expansion_cache (cache_key, model_name, top_labels_json, expansion_json)";
    insert(&db, into, answers.collect()).await;
    let judged =
        (0..FEEDBACKS).map(|n| format!("('{}', 'thème', {}, 5)", hash(&n.to_string()), n % 6));
    let into = "clip_image_theme_feedback (image_hash, theme, acceptance_count, total_assignments)";
    insert(&db, into, judged.collect()).await;

    let before = sums(&db).await;
    let store = database.store();
    let start = Instant::now();
    let steps = store.migrate().await.unwrap().len();
    eprintln!("taken over in {:?}: {before:?}", start.elapsed());
    assert_eq!(sums(&db).await, before);

    // The old rows are found, under every model of their name.
    store.start().unwrap();
    until("loading", Duration::from_secs(60), async || {
        store.is_loaded()
    })
    .await;
    assert_eq!(store.index().len(), IMAGES);
    let query = Query {
        model: "m@weights".into(),
        vector: vector(1234).into(),
        threshold: 0.99,
        limit: 5,
        scan: 0,
        image_hash: None,
        content_hash: None,
    };
    let hits = store.similar(query).await;
    assert_eq!(*hits[0].image_hash, *hash("1234"));
    assert_eq!(hits[0].asset_id.as_deref(), Some("asset1234"));
    let which = Which::Asset("asset77".into());
    let found = store.forget(&which, true, |_| ()).await.unwrap();
    assert_eq!((found.images, found.feedback), (1, 5));
    // No image is recalled from a row whose bytes nobody knows.
    let recalled = store
        .image_embedding(&hash("1234"), "m", limits::READ)
        .await
        .unwrap();
    assert_eq!(recalled, None);
    let labels = store
        .label_embeddings("m", &["étiquette 7", "etiquette 7"])
        .await
        .unwrap();
    assert_eq!(labels, [Some(vector(7)), None]);
    let found = evidence(&store, "thème", &["l"], &["3"]).await;
    assert_eq!(found.images[0].tally, tally(3.0, 2.0));
    assert_eq!(
        found.labels,
        [tally(0.0, 0.0)],
        "its labels were never kept"
    );

    // New rows stand beside the old ones; old feedback counts for labels from now on.
    store
        .remember(image("3", &vector(3), &[("l", 1.0), ("m", 0.0)]))
        .await
        .unwrap();
    store
        .record_feedback(&feedback("3", "thème", true))
        .await
        .unwrap();
    let found = evidence(&store, "thème", &["l"], &["3"]).await;
    assert_eq!(found.labels, [tally(4.0, 2.0)]);
    let long = "é".repeat(500);
    store
        .save_label_embeddings("m@w", &[(&long, &vector(1))])
        .await
        .unwrap();
    assert_eq!(store.degraded(), None);

    let steps = u32::try_from(steps).unwrap();
    let error = store.rollback(steps).await.unwrap_err().to_string();
    assert!(error.contains("cannot be made again"), "{error}");
    store.close().await;
    db.close().await.unwrap();
    database.drop().await;
}

#[tokio::test]
async fn a_take_over_that_was_interrupted_goes_on() {
    let Some(database) = Fixture::server("mysql", "OMNIZAP_TEST_MYSQL_URL").await else {
        return;
    };
    let target = Target::of(&database.config).unwrap();
    let db = target.open(1).await.unwrap();
    for table in TABLES {
        db.execute_unprepared(table).await.unwrap();
    }
    insert(
        &db,
        "clip_label_embedding_cache (model_name, label, embedding_dim, embedding, created_at)",
        vec![format!("('m', 'a', {DIM}, x'{}', NOW())", hex(&vector(1)))],
    )
    .await;
    // As it stands when the program is killed between two statements of the step.
    let sql = "ALTER TABLE clip_label_embedding_cache MODIFY created_at DATETIME NULL DEFAULT \
               CURRENT_TIMESTAMP, ADD COLUMN label_key VARCHAR(64) NOT NULL DEFAULT '', \
               MODIFY embedding_dim INT NOT NULL";
    db.execute_unprepared(sql).await.unwrap();
    let store = database.store();
    store.migrate().await.unwrap();
    let labels = store.label_embeddings("m", &["a"]).await.unwrap();
    assert_eq!(labels, [Some(vector(1))]);
    store.close().await;
    db.close().await.unwrap();
    database.drop().await;
}

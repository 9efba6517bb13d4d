//! The end of the store: who still reads or writes is waited for, or told, and nothing stays open.

use std::time::Duration;

use super::{databases, feedback, hash, image};
use crate::store::{Store, StoreError};

const VECTOR: [f32; 2] = [1.0, 0.0];
const WRITERS: usize = 4;

fn label(writer: usize, number: usize) -> String {
    format!("label {number} of {writer}")
}

/// Keeps one label after the other until the store says no: how many it kept, and why no more.
async fn write_on(store: Store, writer: usize) -> (usize, StoreError) {
    let mut kept = 0;
    loop {
        let text = label(writer, kept);
        let rows = [(text.as_str(), &VECTOR[..])];
        match store.save_label_embeddings("m@1", &rows).await {
            Ok(()) => kept += 1,
            Err(error) => return (kept, error),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_as_it_ends_has_written_or_is_told_so() {
    for database in databases().await {
        let kind = database.kind;
        let store = database.store();
        store
            .save_label_embeddings("m@1", &[("first", &VECTOR[..])])
            .await
            .unwrap();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write_on(store.clone(), writer)))
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(store.remember_later(image("a", &VECTOR, &[])));
        store.close().await;
        let mut texts = vec!["first".to_owned()];
        for (writer, ended) in writers.into_iter().enumerate() {
            let (kept, error) = ended.await.unwrap();
            assert!(error.is_closed(), "{kind}: {error}");
            texts.extend((0..kept).map(|number| label(writer, number)));
        }
        if kind == "sqlite" {
            let left = std::fs::read_dir(&database.config.data_dir).unwrap();
            let left = left.map(|entry| entry.unwrap().file_name());
            let left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
            let is_log = |name: &String| name.ends_with("-wal") || name.ends_with("-shm");
            assert!(!left.iter().any(is_log), "{left:?}");
        }

        // Whoever comes later opens nothing, and it is no fault.
        let late = store.record_feedback(&feedback("a", "t", true)).await;
        assert!(late.unwrap_err().is_closed(), "{kind}");
        let late = store.label_embeddings("m@1", &["first"]).await;
        assert!(late.unwrap_err().is_closed(), "{kind}");
        let late = store.expansion(&hash("q")).await;
        assert!(late.unwrap_err().is_closed(), "{kind}");
        assert_eq!((store.degraded(), store.stats().failures), (None, 0));

        // All that it said it kept is there.
        let again = database.store();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let found = again.label_embeddings("m@1", &texts).await.unwrap();
        assert!(found.iter().all(Option::is_some), "{kind}");
        let found = again
            .image_embedding(&hash("a"), "m@1", Duration::from_secs(1))
            .await;
        assert_eq!(found.unwrap().as_deref(), Some(&VECTOR[..]), "{kind}");
        again.close().await;
        database.drop().await;
    }
}

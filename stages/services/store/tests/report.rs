//! What is told of a database to whoever looks after it, and that looking leaves no trace.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Fixture, databases, feedback};
use crate::store::{Store, StoreConfig};

/// The files of a folder, and what is in them.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    files
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let of_url = format!("sqlite://{}", folder.path().join("other/x.db").display());
    for url in [None, Some(of_url)] {
        let store = Store::new(StoreConfig {
            data_dir: data_dir.clone(),
            url,
            ..StoreConfig::default()
        });
        let steps = store.status().await.unwrap();
        assert!(!steps.is_empty() && steps.iter().all(|step| !step.applied));
        let report = store.report().await.unwrap();
        assert!(!report.is_there, "{report:?}");
        assert_eq!(report.steps, steps);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn looking_at_a_file_changes_nothing_beside_it_either() {
    let database = Fixture::sqlite();
    let folder = database.config.data_dir.clone();
    let store = database.store();
    store.migrate().await.unwrap();
    store.close().await;
    let before = files(&folder);
    assert!(before.contains_key("omnizap.db"), "{:?}", before.keys());
    let report = database.store().report().await.unwrap();
    assert!(report.is_there && report.steps.iter().all(|step| step.applied));
    assert!(report.name.ends_with("omnizap.db"), "{}", report.name);
    assert_eq!(files(&folder), before);

    // One that is in use, with what was committed last in the log beside it.
    let store = database.store();
    let judged = feedback("x", "t", true);
    store.record_feedback(&judged).await.unwrap();
    let names = |files: BTreeMap<String, Vec<u8>>| files.into_keys().collect::<Vec<_>>();
    let before = names(files(&folder));
    let report = database.store().report().await.unwrap();
    assert_eq!(report.settings[0].value, "wal");
    assert_eq!(names(files(&folder)), before);
    store.record_feedback(&judged).await.unwrap();
    assert_eq!(store.degraded(), None);
    store.close().await;
}

#[tokio::test]
async fn a_database_says_which_steps_it_has_and_how_durable_it_is() {
    for database in databases().await {
        let kind = database.kind;
        if kind != "sqlite" {
            let report = database.store().report().await.unwrap();
            assert!(report.steps.iter().all(|step| !step.applied), "{kind}");
        }
        let store = database.store();
        store.migrate().await.unwrap();
        let report = store.report().await.unwrap();
        assert!(report.is_there && report.steps.iter().all(|step| step.applied));
        assert!(!report.settings.is_empty(), "{kind}");
        assert!(!report.name.contains("omnizap:omnizap"), "{}", report.name);
        store.close().await;
        database.drop().await;
    }
}

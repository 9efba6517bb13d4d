//! Room on the disk of SQLite: what can be made again gives way to feedback before there is none.

use std::path::Path;

use super::connect::Target;
use super::place::folder_of;
use super::{Inner, StoreError, limits};

impl Inner {
    /// Refuses to keep what can be made again where little room is left. A server has a disk of
    /// its own, of which nothing is known here.
    pub(super) fn has_room(&self, doing: &'static str) -> Result<(), StoreError> {
        let path = Target::of(&self.config)?.path();
        match path.and_then(|path| free_beside(&path)) {
            Some(free) if free < limits::ROOM_FOR_FEEDBACK => {
                let error = StoreError::Crowded {
                    doing,
                    free,
                    wanted: limits::ROOM_FOR_FEEDBACK,
                };
                if self.slot.is_crowd_to_tell() {
                    tracing::warn!(%error, "caches are not kept until there is more room");
                }
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

/// Bytes that anybody may fill where a file is; nothing where that is not told. A network's disk
/// may tell of none.
fn free_beside(file: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder_of(file)).ok()?;
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_told_where_there_is_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_beside(&folder.path().join("x.db")).is_some());
        assert_eq!(free_beside(&folder.path().join("none/x.db")), None);
    }

    /// A file system of one megabyte, where whoever runs this may mount one.
    #[tokio::test]
    async fn what_can_be_made_again_gives_way_to_feedback() {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("NOT TESTED by this run: a small disk, since none may be mounted");
            return;
        }
        let store = crate::store::Store::new(crate::store::StoreConfig {
            data_dir: folder.path().join("data"),
            url: None,
            ..crate::store::StoreConfig::default()
        });
        let feedback = crate::store::Feedback {
            image_hash: "ab".repeat(32),
            theme: "t".into(),
            accepted: true,
            asset_id: None,
            label_set: None,
            label: None,
        };
        store.record_feedback(&feedback).await.unwrap();
        let vector = vec![0.5; 512];
        let texts: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        let rows: Vec<_> = texts
            .iter()
            .map(|text| (text.as_str(), &vector[..]))
            .collect();
        let error = store.save_label_embeddings("m", &rows).await.unwrap_err();
        assert!(error.is_resting(), "{error}");
        let error = store
            .save_expansion("k", "m", "[]", "{}")
            .await
            .unwrap_err();
        assert!(error.is_resting(), "{error}");
        let mut failed = None;
        for _ in 0..150 {
            failed = failed.or(store.record_feedback(&feedback).await.err());
        }
        let degraded = store.degraded();
        store.close().await;
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(folder.path())
            .status();
        assert!(unmounted.unwrap().success());
        assert!(failed.is_none(), "{failed:?}");
        assert_eq!(degraded, None);
    }
}

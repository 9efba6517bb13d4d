//! The services together: what ends with them.

use std::sync::Arc;

use omnizap_contract::Embedding;

use crate::store::{ImageRecord, limits};
use crate::{Services, ServicesConfig};

fn services(folder: &tempfile::TempDir) -> Services {
    Services::new(ServicesConfig {
        data_dir: folder.path().to_owned(),
        ..ServicesConfig::default()
    })
}

#[tokio::test]
async fn what_waits_is_written_before_the_services_close() {
    let folder = tempfile::tempdir().unwrap();
    let name = "c".repeat(64);
    let first = services(&folder);
    // Nothing was opened: there is nothing to close.
    first.close().await;
    assert!(!folder.path().join(crate::store::FILE_NAME).exists());

    let first = services(&folder);
    let queued = first.store().remember_later(ImageRecord {
        content_hash: name.as_str().into(),
        image_hash: name.as_str().into(),
        asset_id: None,
        embedding: Arc::new(Embedding {
            model: "m@1".into(),
            vector: [0.6, 0.8].into(),
        }),
        keep_embedding: true,
        look: None,
        frames: None,
        nsfw: None,
    });
    assert!(queued);
    first.close().await;

    let again = services(&folder).store();
    let found = again.image_embedding(&name, "m@1", limits::READ).await;
    assert_eq!(found.unwrap().unwrap(), [0.6, 0.8]);
    again.close().await;
}

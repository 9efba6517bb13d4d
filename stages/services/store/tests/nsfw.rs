//! What the nsfw model said of images.

use std::sync::Arc;
use std::time::Instant;

use omnizap_contract::Embedding;

use super::fixture::databases;
use super::{hash, image, is_late};
use crate::store::{ImageRecord, Recalled, Which, limits};

fn checked(name: &str, model: &str, classes: [f32; 5]) -> ImageRecord {
    ImageRecord {
        nsfw: Some(Arc::new(Embedding {
            model: model.into(),
            vector: classes.into(),
        })),
        ..image(name, &[1.0], &[])
    }
}

#[tokio::test]
async fn classes_are_kept_by_bytes_and_model_until_the_image_is_forgotten() {
    const CLASSES: [f32; 5] = [0.1, 0.2, 0.3, 0.4, 1.0e-9];
    const OTHERS: [f32; 5] = [1.0, 0.0, 0.0, 0.0, 0.0];
    for database in databases().await {
        let store = database.store();
        let known = async |name: &str, model: &str| {
            let hash = hash(name);
            let begun = Instant::now();
            loop {
                let read = store.recalled(&hash, "m@1", Some(model), limits::READ);
                let read = read.await;
                if is_late(&read, begun) {
                    continue;
                }
                let Recalled { vector, nsfw } = read.unwrap();
                // It is found without a vector of that model too.
                let other = store.recalled(&hash, "m@2", Some(model), limits::READ);
                let other = other.await;
                if !is_late(&other, begun) {
                    let without = Recalled { vector: None, nsfw };
                    assert_eq!(other.unwrap(), without);
                    assert!(vector.is_some() || without.nsfw.is_none());
                    return without.nsfw;
                }
            }
        };
        assert_eq!(known("x", "net@1").await, None, "{}", database.kind);
        store.remember(checked("x", "net@1", OTHERS)).await.unwrap();
        store
            .remember(checked("x", "net@1", CLASSES))
            .await
            .unwrap();
        store.remember(checked("x", "net@2", OTHERS)).await.unwrap();
        store.remember(checked("y", "net@1", OTHERS)).await.unwrap();
        // An image that comes again with nothing new about it.
        store.remember(image("x", &[1.0], &[])).await.unwrap();
        assert_eq!(known("x", "net@1").await.unwrap(), CLASSES);
        assert_eq!(known("x", "net@2").await.unwrap(), OTHERS);
        assert_eq!(known("x", "NET@1").await, None, "keys compare by bytes");

        let which = Which::Hash(hash("x"));
        store.forget(&which, false, |_| ()).await.unwrap();
        assert_eq!(known("x", "net@1").await, None, "{}", database.kind);
        assert_eq!(known("x", "net@2").await, None);
        assert_eq!(known("y", "net@1").await.unwrap(), OTHERS);
        store.close().await;
        database.drop().await;
    }
}

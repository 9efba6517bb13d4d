//! Which frames of a picture its embedding is of.

use std::time::Instant;

use super::fixture::databases;
use super::{hash, image, is_late};
use crate::store::{Frames, ImageRecord, Which, limits};

fn moving(name: &str, frame: i64, seen: i64) -> ImageRecord {
    ImageRecord {
        frames: Some(Frames { frame, seen }),
        ..image(name, &[1.0], &[])
    }
}

#[tokio::test]
async fn frames_are_kept_with_the_embedding_until_the_image_is_forgotten() {
    for database in databases().await {
        let store = database.store();
        let known = async |name: &str| {
            let (hash, begun) = (hash(name), Instant::now());
            loop {
                let found = store.recalled(&hash, "m@1", None, limits::READ).await;
                if !is_late(&found, begun) {
                    return found.unwrap().vector;
                }
            }
        };
        assert_eq!(known("x").await, None, "{}", database.kind);
        store.remember(moving("x", 3, 9)).await.unwrap();
        store.remember(moving("still", 0, 1)).await.unwrap();
        store.remember(image("other", &[1.0], &[])).await.unwrap();
        // It comes again, recalled.
        store.remember(image("x", &[1.0], &[])).await.unwrap();
        let moved = Frames { frame: 3, seen: 9 };
        assert_eq!(known("x").await, Some((vec![1.0], moved)));
        for name in ["still", "other"] {
            let still = Frames { frame: 0, seen: 1 };
            assert_eq!(known(name).await, Some((vec![1.0], still)), "{name}");
        }

        let which = Which::Hash(hash("x"));
        store.forget(&which, false, |_| ()).await.unwrap();
        assert_eq!(known("x").await, None, "{}", database.kind);
        store.remember(image("x", &[1.0], &[])).await.unwrap();
        assert_eq!(known("x").await, Some((vec![1.0], Frames::default())));
        store.close().await;
        database.drop().await;
    }
}

//! What the stages ask of the store, as transactions and reads over its tables.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Feedback, ImageFeedback, ImageRecord, Inner, Store, StoreError, Tally, ThemeEvidence,
    expansion, image_embedding, image_labels, label_embedding, limits, nsfw_classes,
    theme_feedback, theme_label,
};
use crate::vector_index::Row;

impl Store {
    /// Counts one judgement. Once this returns, it is on the disk.
    ///
    /// # Errors
    /// Any error of the database: the judgement does not count, unless the connection
    /// broke while the database was committing, which nobody can tell.
    pub async fn record_feedback(&self, feedback: &Feedback) -> Result<(), StoreError> {
        let doing = "counting feedback";
        self.0
            .write(doing, limits::WRITE, |transaction| async move {
                theme_feedback::count(&*transaction, feedback).await?;
                theme_feedback::credit(&*transaction, &feedback.image_hash, &feedback.theme).await
            })
            .await
    }

    /// What feedback says of labels under a theme, and of images. The cost grows with
    /// the numbers of labels and images asked about, not with the feedback there is.
    ///
    /// # Errors
    /// Any error of the database, and at once while it is known to be away.
    pub async fn theme_evidence(
        &self,
        theme: &str,
        labels: &[&str],
        image_hashes: &[&str],
        limit: Duration,
    ) -> Result<ThemeEvidence, StoreError> {
        let doing = "reading feedback";
        let limit = limit.min(limits::READ);
        self.0
            .read(doing, limit, |connection| async move {
                let judged = theme_feedback::find(&connection, theme, image_hashes).await?;
                let labels = theme_label::find(&connection, theme, labels).await?;
                let names: Vec<_> = judged.iter().map(|row| row.image_hash.as_str()).collect();
                let mut carried = match names.is_empty() {
                    true => Default::default(),
                    false => image_labels::find(&connection, &names).await?,
                };
                let images = judged
                    .iter()
                    .map(|row| {
                        let total = row.total_assignments.max(0);
                        let accepted = row.acceptance_count.clamp(0, total);
                        ImageFeedback {
                            image_hash: row.image_hash.clone(),
                            tally: Tally {
                                accepted: accepted as f64,
                                rejected: (total - accepted) as f64,
                            },
                            labels: carried.remove(&row.image_hash).unwrap_or_default(),
                        }
                    })
                    .collect();
                Ok(ThemeEvidence { labels, images })
            })
            .await
    }

    /// The vector of an image, by the hash of its bytes.
    ///
    /// # Errors
    /// Any error of the database, and at once while it is known to be away.
    pub async fn image_embedding(
        &self,
        content_hash: &str,
        model: &str,
        limit: Duration,
    ) -> Result<Option<Vec<f32>>, StoreError> {
        let doing = "reading an image's embedding";
        let limit = limit.min(limits::READ);
        self.0
            .read(doing, limit, |connection| async move {
                image_embedding::find(&connection, content_hash, model).await
            })
            .await
    }

    /// What the nsfw model said of an image, by the hash of its bytes.
    ///
    /// # Errors
    /// Any error of the database, and at once while it is known to be away.
    pub async fn nsfw_classes(
        &self,
        content_hash: &str,
        model: &str,
        limit: Duration,
    ) -> Result<Option<Vec<f32>>, StoreError> {
        let doing = "reading an image's nsfw classes";
        let limit = limit.min(limits::READ);
        self.0
            .read(doing, limit, |connection| async move {
                nsfw_classes::find(&connection, content_hash, model).await
            })
            .await
    }

    /// Forgets what every nsfw model said of an image.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn forget_nsfw_classes(&self, content_hash: &str) -> Result<(), StoreError> {
        let doing = "forgetting an image's nsfw classes";
        self.0
            .write(doing, limits::WRITE, |transaction| async move {
                nsfw_classes::forget(&*transaction, content_hash).await
            })
            .await
    }

    /// The vectors of texts: `None` where one is not known.
    ///
    /// # Errors
    /// Any error of the database, and at once while it is known to be away.
    pub async fn label_embeddings(
        &self,
        model: &str,
        texts: &[&str],
    ) -> Result<Vec<Option<Vec<f32>>>, StoreError> {
        let doing = "reading embeddings of labels";
        self.0
            .read(doing, limits::READ, |connection| async move {
                let mut known = label_embedding::find(&connection, model, texts).await?;
                Ok((0..texts.len()).map(|place| known.remove(&place)).collect())
            })
            .await
    }

    /// Keeps vectors of texts.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn save_label_embeddings(
        &self,
        model: &str,
        vectors: &[(&str, &[f32])],
    ) -> Result<(), StoreError> {
        let doing = "keeping embeddings of labels";
        self.0
            .write(doing, limits::WRITE, |transaction| async move {
                label_embedding::save(&*transaction, model, vectors).await
            })
            .await
    }

    /// An answer of the language model as it was kept, unchecked.
    ///
    /// # Errors
    /// Any error of the database, and at once while it is known to be away.
    pub async fn expansion(&self, cache_key: &str) -> Result<Option<String>, StoreError> {
        let doing = "reading an expansion";
        self.0
            .read(doing, limits::READ, |connection| async move {
                expansion::find(&connection, cache_key).await
            })
            .await
    }

    /// Keeps an answer of the language model.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn save_expansion(
        &self,
        cache_key: &str,
        model: &str,
        top_labels_json: &str,
        expansion_json: &str,
    ) -> Result<(), StoreError> {
        let doing = "keeping an expansion";
        self.0
            .write(doing, limits::WRITE, |transaction| async move {
                let answer = expansion::Model {
                    cache_key: cache_key.to_owned(),
                    model_name: model.to_owned(),
                    top_labels_json: top_labels_json.to_owned(),
                    expansion_json: expansion_json.to_owned(),
                };
                expansion::save(&*transaction, answer).await
            })
            .await
    }
}

impl Inner {
    /// Makes an image known to searches.
    pub(super) fn index_record(&self, record: &ImageRecord) {
        let row = Row {
            image_hash: record.image_hash.clone(),
            content_hash: Some(record.content_hash.clone()),
            asset_id: record.asset_id.clone(),
        };
        let embedding = &record.embedding;
        if !self.index.insert(&embedding.model, row, &embedding.vector) {
            tracing::warn!(model = %embedding.model, "an embedding has no direction, or another length than its model's");
        }
    }

    /// Writes images in one transaction, then credits the feedback that waited for
    /// their labels: each in a transaction of its own, so that rows are always locked
    /// in the order in which feedback locks them.
    pub(super) async fn save_images(
        self: &Arc<Self>,
        records: &[ImageRecord],
    ) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        // Two copies that write the same images lock them in the same order.
        let mut records: Vec<_> = records.iter().collect();
        records.sort_by(|a, b| a.content_hash.cmp(&b.content_hash));
        let names: Vec<_> = records.iter().map(|record| &*record.image_hash).collect();
        let (records, names) = (&records, &names);
        let waiting = self
            .write("keeping images", limits::WRITE, |transaction| async move {
                for record in records {
                    let image = image_embedding::Image {
                        image_hash: &record.image_hash,
                        content_hash: &record.content_hash,
                        asset_id: record.asset_id.as_deref(),
                        model: &record.embedding.model,
                        vector: &record.embedding.vector,
                    };
                    image_embedding::save(&*transaction, image).await?;
                    if let Some(nsfw) = &record.nsfw {
                        let (hash, model) = (&record.content_hash, &nsfw.model);
                        nsfw_classes::save(&*transaction, hash, model, &nsfw.vector).await?;
                    }
                    if !record.labels.is_empty() {
                        let verified = record.image_hash == record.content_hash;
                        image_labels::save(
                            &*transaction,
                            &record.image_hash,
                            verified,
                            &record.labels,
                        )
                        .await?;
                    }
                }
                theme_feedback::uncredited(&*transaction, names).await
            })
            .await?;
        for (image_hash, theme) in &waiting {
            self.write(
                "crediting feedback",
                limits::WRITE,
                |transaction| async move {
                    theme_feedback::credit(&*transaction, image_hash, theme).await
                },
            )
            .await?;
        }
        Ok(())
    }
}

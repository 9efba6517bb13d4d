//! What the stages ask of the store, as transactions and reads over its tables.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbErr};

use super::clock::Patience;
use super::{
    Asked, Feedback, ImageRecord, Inner, Recalled, Store, StoreError, ThemeEvidence, credit,
    evidence, expansion, image_embedding, image_frames, image_name, judgement, label_embedding,
    limits, look, nsfw_classes, recalled, theme_feedback,
};
use crate::vectors::{Row, Shortlist, Similar};

impl Store {
    /// Counts one judgement. Once this returns, it is on the disk.
    ///
    /// # Errors
    /// Any error of the database: the judgement does not count, unless the connection
    /// broke while the database was committing, which nobody can tell.
    pub async fn record_feedback(&self, feedback: &Feedback) -> Result<(), StoreError> {
        let doing = "counting feedback";
        let (image_hash, theme) = (&*feedback.image_hash, &*feedback.theme);
        let begun = Instant::now();
        let patience = Patience {
            database: limits::WRITE,
            wall: limits::FEEDBACK,
        };
        let waits = self
            .0
            .write_for(doing, patience, |transaction| async move {
                theme_feedback::count(&transaction, feedback).await?;
                if feedback.is_specific() {
                    judgement::count(&transaction, feedback).await?;
                }
                credit::credit(&transaction, image_hash, theme).await
            })
            .await?;
        if waits {
            // What the image was seen as may have been committed meanwhile, by one who did not
            // see this yet. It counts already: the next time does what fails here.
            let left = limits::FEEDBACK.saturating_sub(begun.elapsed());
            let again = self.0.write(
                "crediting feedback",
                limits::WRITE.min(left),
                |transaction| async move { credit::credit(&transaction, image_hash, theme).await },
            );
            if let Err(error) = again.await
                && !error.is_closed()
            {
                tracing::warn!(%error, "feedback waits to be credited");
            }
        }
        Ok(())
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
        images: &[Asked<'_>],
        limit: Duration,
    ) -> Result<ThemeEvidence, StoreError> {
        let doing = "reading feedback";
        let patience = Patience::of_answer(limit);
        self.0
            .read_for_answer(doing, patience, |connection| async move {
                evidence::read(&connection, theme, labels, images).await
            })
            .await
    }

    /// The vector of an image, by the hash of its bytes, waited for at most so long in all; the
    /// database itself is given [`limits::READ`].
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
        let patience = Patience::of_answer(limit);
        let found = self
            .0
            .read_for_answer(doing, patience, |connection| async move {
                image_embedding::find(&connection, content_hash, model).await
            })
            .await?;
        if found.is_none() {
            // Whatever was written of it before: it is to be written again.
            self.0.queue.unlearn(content_hash, model);
        }
        Ok(found)
    }

    /// The same with the frames that it is of, and what the nsfw model said of the image where one
    /// is named.
    ///
    /// # Errors
    /// As [`Store::image_embedding`].
    pub async fn recalled(
        &self,
        content_hash: &str,
        model: &str,
        nsfw_model: Option<&str>,
        limit: Duration,
    ) -> Result<Recalled, StoreError> {
        let doing = "reading what is known of an image";
        let patience = Patience::of_answer(limit);
        let found = self
            .0
            .read_for_answer(doing, patience, |connection| async move {
                recalled::find(&connection, content_hash, model, nsfw_model).await
            })
            .await?;
        if found.vector.is_none() {
            // As above.
            self.0.queue.unlearn(content_hash, model);
        }
        Ok(found)
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
        self.0.goes_on(doing)?;
        let patience = Patience::of_answer(limits::READ_PATIENCE);
        self.0
            .read_for_answer(doing, patience, |connection| async move {
                let mut known = label_embedding::find(&connection, model, texts).await?;
                Ok((0..texts.len()).map(|place| known.remove(&place)).collect())
            })
            .await
    }

    /// Keeps vectors of texts, a few at a time: feedback comes between.
    ///
    /// # Errors
    /// Any error of the database, [`StoreError::Crowded`] where there is little room, and
    /// [`StoreError::Closed`] where the program ends; what was kept before that stays.
    pub async fn save_label_embeddings(
        &self,
        model: &str,
        vectors: &[(&str, &[f32])],
    ) -> Result<(), StoreError> {
        let doing = "keeping embeddings of labels";
        for vectors in vectors.chunks(limits::LABELS_AT_ONCE) {
            self.0.goes_on(doing)?;
            self.0.has_room(doing)?;
            self.0
                .write(doing, limits::WRITE, |transaction| async move {
                    label_embedding::save(&transaction, model, vectors).await
                })
                .await?;
        }
        Ok(())
    }

    /// An answer of the language model as it was kept, unchecked.
    ///
    /// # Errors
    /// Any error of the database, and at once while it is known to be away.
    pub async fn expansion(&self, cache_key: &str) -> Result<Option<String>, StoreError> {
        let doing = "reading an expansion";
        let patience = Patience::of_answer(limits::READ_PATIENCE);
        self.0
            .read_for_answer(doing, patience, |connection| async move {
                expansion::find(&connection, cache_key).await
            })
            .await
    }

    /// Keeps an answer of the language model.
    ///
    /// # Errors
    /// Any error of the database, [`StoreError::Crowded`] where there is little room, and
    /// [`StoreError::Closed`] where the program ends.
    pub async fn save_expansion(
        &self,
        cache_key: &str,
        model: &str,
        top_labels_json: &str,
        expansion_json: &str,
    ) -> Result<(), StoreError> {
        let doing = "keeping an expansion";
        self.0.goes_on(doing)?;
        self.0.has_room(doing)?;
        self.0
            .write(doing, limits::WRITE, |transaction| async move {
                let answer = expansion::Model {
                    cache_key: cache_key.to_owned(),
                    model_name: model.to_owned(),
                    top_labels_json: top_labels_json.to_owned(),
                    expansion_json: expansion_json.to_owned(),
                };
                expansion::save(&transaction, answer).await
            })
            .await
    }
}

impl Inner {
    /// The answers of a search of codes alone, by the vectors that the database has; by their
    /// estimates where it does not say them.
    pub(super) async fn rank(self: &Arc<Self>, list: Shortlist) -> Similar {
        let ids = list.ids(limits::exact_rows(list.dim()));
        let similar = match ids.is_empty() {
            true => list.ranked(&[], &HashMap::new()),
            false => {
                let (asked, doing) = (&ids, "reading vectors of similar images");
                let patience = Patience::of_answer(limits::READ_PATIENCE);
                let stored = self.read_for_answer(doing, patience, |connection| async move {
                    image_embedding::vectors(&connection, asked).await
                });
                match stored.await {
                    Ok(stored) => list.ranked(&ids, &stored),
                    Err(error) => {
                        // Health says so too, for as long as it lasts.
                        tracing::debug!(%error, "similar images by estimates");
                        list.ranked(&[], &HashMap::new())
                    }
                }
            }
        };
        if !similar.is_exact {
            self.estimated.fetch_add(1, Ordering::Relaxed);
        }
        similar
    }

    /// Makes an image known to searches.
    pub(super) fn index_record(&self, record: &ImageRecord) {
        if !record.keep_embedding {
            return;
        }
        let embedding = &record.embedding;
        let row = row_of(record);
        if !self.index.insert(&embedding.model, row, &embedding.vector) {
            tracing::warn!(model = %embedding.model, "an embedding has no direction, or another length than its model's");
        }
    }

    /// Writes images in one transaction, then credits the feedback that waited for what
    /// they were seen as: each in a transaction of its own, so that rows are always locked
    /// in the order in which feedback locks them.
    pub(super) async fn save_images(
        self: &Arc<Self>,
        mut records: Vec<&ImageRecord>,
    ) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        // Two copies that write the same images lock them in the same order.
        records.sort_by(|a, b| a.content_hash.cmp(&b.content_hash));
        let mut names: Vec<_> = records
            .iter()
            .flat_map(|record| [&*record.image_hash, &*record.content_hash])
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut sets: Vec<_> = records
            .iter()
            .filter_map(|record| record.look.as_ref())
            .map(|look| &*look.label_set)
            .collect();
        sets.sort_unstable();
        sets.dedup();
        let (records, names, sets) = (&records, &names, &sets);
        self.write("keeping images", limits::WRITE, |transaction| async move {
            let kept = records.iter().filter(|record| record.keep_embedding);
            let contents: Vec<_> = kept.map(|record| &*record.content_hash).collect();
            image_embedding::forget_names(&transaction, &contents).await?;
            for record in records {
                save_image(&transaction, record).await?;
            }
            Ok(())
        })
        .await?;
        self.number(records).await?;
        // Once it is committed: feedback that comes from now on sees what they were seen as.
        let waiting = self
            .read("looking for feedback", limits::WRITE, |db| async move {
                let mut waiting = theme_feedback::uncredited(&db, names).await?;
                waiting.extend(judgement::uncredited(&db, names, sets).await?);
                waiting.sort_unstable();
                waiting.dedup();
                Ok(waiting)
            })
            .await?;
        for (image_hash, theme) in &waiting {
            self.write(
                "crediting feedback",
                limits::WRITE,
                |transaction| async move { credit::credit(&transaction, image_hash, theme).await },
            )
            .await?;
        }
        Ok(())
    }

    /// Tells the index which rows the images just written are, so that it knows them when
    /// somebody deletes them before they were read. One that is gone already leaves it.
    async fn number(self: &Arc<Self>, records: &[&ImageRecord]) -> Result<(), StoreError> {
        let kept = || records.iter().filter(|record| record.keep_embedding);
        let contents: Vec<_> = kept().map(|record| &*record.content_hash).collect();
        if contents.is_empty() {
            return Ok(());
        }
        let contents = &contents;
        let _reading = self.reading.lock().await;
        let there = self
            .read("looking for images", limits::WRITE, |db| async move {
                image_embedding::numbers(&db, contents).await
            })
            .await?;
        for record in kept() {
            let (model, row) = (&*record.embedding.model, row_of(record));
            let is_it = |(_, content, of): &&(i64, String, String)| {
                **content == *record.content_hash && **of == *model
            };
            match there.iter().find(is_it) {
                Some((id, ..)) => self.index.number(model, *id, &row),
                None => self.index.remove_unnumbered(model, &row),
            };
        }
        Ok(())
    }
}

/// An image as the index knows it.
fn row_of(record: &ImageRecord) -> Row {
    Row {
        image_hash: record.image_hash.clone(),
        content_hash: Some(record.content_hash.clone()),
        asset_id: record.asset_id.clone(),
    }
}

/// Writes an image: its vector, its name, and what it was seen as.
async fn save_image<C: ConnectionTrait>(db: &C, record: &ImageRecord) -> Result<(), DbErr> {
    if record.keep_embedding {
        let image = image_embedding::Image {
            image_hash: &record.image_hash,
            content_hash: &record.content_hash,
            asset_id: record.asset_id.as_deref(),
            model: &record.embedding.model,
            vector: &record.embedding.vector,
        };
        image_embedding::save(db, image).await?;
        if let Some(frames) = record.frames {
            image_frames::save(db, image.content_hash, image.model, frames).await?;
        }
        if let Some(nsfw) = &record.nsfw {
            nsfw_classes::save(db, &record.content_hash, &nsfw.model, &nsfw.vector).await?;
        }
    }
    image_name::save(db, &record.content_hash, &record.image_hash).await?;
    if let Some(look) = &record.look {
        look::save(db, &record.content_hash, &record.embedding.model, look).await?;
    }
    Ok(())
}

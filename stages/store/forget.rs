//! Forgetting images: their embeddings, and whatever else is kept of them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult,
    QueryFilter, QueryOrder, QuerySelect,
};

use super::image_embedding::{Column, Entity};
use super::{
    Inner, Store, StoreError, evidence, image_embedding, limits, nsfw_classes, theme_feedback,
};
use crate::vector_index::Row;

/// Which images to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that a client calls so.
    Asset(String),
    /// The one with this name or these bytes: 64 lower-case hexadecimal digits.
    Hash(String),
    /// Those that were written so long ago or longer. An image that comes again and is
    /// called as before is not written again.
    OlderThan(Duration),
}

impl Which {
    /// The image with this name or these bytes; none where the text is no hash.
    #[must_use]
    pub fn hash(text: &str) -> Option<Self> {
        let hash = text.trim().to_ascii_lowercase();
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then_some(Self::Hash(hash))
    }
}

/// What was forgotten, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Embeddings of images.
    pub images: u64,
    /// What images were labelled as, once for each set of labels, theme and model.
    pub labels: u64,
    /// Judgements of images.
    pub feedback: u64,
}

impl Forgotten {
    /// True where there was nothing to forget.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, other: Self) {
        self.images += other.images;
        self.labels += other.labels;
        self.feedback += other.feedback;
    }
}

/// What is kept of images beside their embeddings. **Every table that keeps something of
/// an image has a line here or in [`evidence`]**: it deletes its rows or, where `is_dry`,
/// counts them.
///
/// `names` are those that clients gave the images, and the hashes of their bytes.
async fn forget_evidence<C: ConnectionTrait>(
    db: &C,
    names: &[String],
    is_dry: bool,
) -> Result<Forgotten, DbErr> {
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let kept = match is_dry {
        true => evidence::kept(db, &names).await?,
        false => {
            nsfw_classes::forget(db, &names).await?;
            evidence::forget(db, &names).await?
        }
    };
    Ok(Forgotten {
        images: 0,
        labels: kept.looks,
        feedback: kept.judgements,
    })
}

/// What tells an image that is to be forgotten.
#[derive(Clone, Debug, FromQueryResult)]
struct Found {
    id: i64,
    model_name: String,
    image_hash: String,
    content_hash: Option<String>,
}

impl Store {
    /// Forgets images and what is known of them, or counts what there is to forget where
    /// `is_dry`. Images that wait to be written are written before. `progress` is told
    /// what was done so far, after each few hundred images.
    ///
    /// The images are gone from this copy's answers at once, from other copies' within
    /// two seconds. An image that is classified meanwhile may come again.
    ///
    /// # Errors
    /// Any error of the database: what was told to `progress` is forgotten all the same.
    pub async fn forget(
        &self,
        which: &Which,
        is_dry: bool,
        mut progress: impl FnMut(&Forgotten),
    ) -> Result<Forgotten, StoreError> {
        self.flush().await;
        let inner = &self.0;
        // There may be feedback on images that are not there any more.
        let names = match which {
            Which::Hash(hash) => vec![hash.clone()],
            Which::Asset(id) => {
                let doing = "looking for feedback";
                let names = inner.read(doing, limits::STATEMENT, |db| async move {
                    theme_feedback::names(&db, id).await
                });
                names.await?
            }
            Which::OlderThan(_) => Vec::new(),
        };
        let mut total = inner.forget_batch(&[], &names, is_dry).await?;
        // An image has a row for each model, and its names are to be counted once.
        let mut counted: HashSet<u64> = names.iter().map(|name| hash_of(name)).collect();
        let mut window = Window::new(inner, which).await?;
        while let Some(found) = window.next(inner, which).await? {
            for images in found.chunks(limits::FORGET_BATCH) {
                let names = images.iter().flat_map(|image| {
                    let hashes = [Some(&image.image_hash), image.content_hash.as_ref()];
                    hashes.into_iter().flatten().cloned()
                });
                let mut names: Vec<_> = names.collect();
                names.sort_unstable();
                names.dedup();
                if is_dry {
                    names.retain(|name| counted.insert(hash_of(name)));
                }
                total.add(inner.forget_batch(images, &names, is_dry).await?);
                progress(&total);
            }
        }
        if !is_dry {
            self.forget_in_memory(which.clone()).await;
        }
        Ok(total)
    }

    /// Images that the database never had: it was away, or would not have them.
    async fn forget_in_memory(&self, which: Which) {
        let index = self.0.index.clone();
        let forgetting = tokio::task::spawn_blocking(move || match which {
            Which::Asset(id) => index.remove_where(|row| row.asset_id.as_deref() == Some(&*id)),
            Which::Hash(hash) => index.remove_where(|row| {
                let names = [Some(&row.image_hash), row.content_hash.as_ref()];
                names.into_iter().flatten().any(|name| **name == *hash)
            }),
            Which::OlderThan(_) => 0,
        });
        // It can only fail by a panic, or at shutdown.
        let _ = forgetting.await;
    }
}

impl Inner {
    /// Forgets a few images with all that is kept of them, in one transaction.
    async fn forget_batch(
        self: &Arc<Self>,
        images: &[Found],
        names: &[String],
        is_dry: bool,
    ) -> Result<Forgotten, StoreError> {
        if is_dry {
            let counting = self.read("counting images", limits::STATEMENT, |db| async move {
                forget_evidence(&db, names, true).await
            });
            let images = images.len() as u64;
            return Ok(Forgotten {
                images,
                ..counting.await?
            });
        }
        let ids: Vec<_> = images.iter().map(|image| image.id).collect();
        let ids = ids.as_slice();
        // A row that was read before it is deleted is not put into the index after.
        let _reading = self.reading.lock().await;
        let forgetting = self.write(
            "forgetting images",
            limits::STATEMENT,
            |transaction| async move {
                let db = &*transaction;
                let mut forgotten = forget_evidence(db, names, false).await?;
                if !ids.is_empty() {
                    let rows = Entity::delete_many().filter(Column::Id.is_in(ids.to_vec()));
                    forgotten.images = rows.exec(db).await?.rows_affected;
                }
                Ok(forgotten)
            },
        );
        let forgotten = forgetting.await?;
        self.index.remove(ids);
        for image in images {
            let row = Row {
                image_hash: image.image_hash.as_str().into(),
                content_hash: image.content_hash.as_deref().map(Into::into),
                asset_id: None,
            };
            self.index.remove_unnumbered(&image.model_name, &row);
        }
        Ok(forgotten)
    }
}

fn hash_of(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// A part of the table after the other, by ids, so that no statement looks at all of it.
struct Window {
    after: i64,
    last: i64,
    /// Ids a part.
    step: i64,
}

impl Window {
    async fn new(inner: &Arc<Inner>, which: &Which) -> Result<Self, StoreError> {
        let newest = inner.read("looking for images", limits::STATEMENT, |db| async move {
            image_embedding::newest(&db, i64::MAX).await
        });
        let last = newest.await?.unwrap_or(0);
        Ok(Self {
            after: 0,
            last,
            step: match which {
                // It has an index.
                Which::Hash(_) => i64::MAX,
                Which::Asset(_) | Which::OlderThan(_) => limits::FORGET_WINDOW,
            },
        })
    }

    /// The images of the next part that has some; none once the table is through.
    async fn next(
        &mut self,
        inner: &Arc<Inner>,
        which: &Which,
    ) -> Result<Option<Vec<Found>>, StoreError> {
        while self.after < self.last {
            let after = self.after;
            let end = after.saturating_add(self.step);
            let found = inner
                .read("looking for images", limits::STATEMENT, |db| async move {
                    let is_so = condition(db.get_database_backend(), which);
                    Entity::find()
                        .select_only()
                        .columns([
                            Column::Id,
                            Column::ModelName,
                            Column::ImageHash,
                            Column::ContentHash,
                        ])
                        .filter(is_so.add(Column::Id.gt(after)).add(Column::Id.lte(end)))
                        .order_by_asc(Column::Id)
                        .into_model::<Found>()
                        .all(&db)
                        .await
                })
                .await?;
            self.after = end;
            if !found.is_empty() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn condition(backend: DbBackend, which: &Which) -> Condition {
    match which {
        Which::Asset(id) => Condition::all().add(Column::AssetId.eq(id.as_str())),
        Which::Hash(hash) => Condition::all().add(
            Condition::any()
                .add(Column::ImageHash.eq(hash.as_str()))
                .add(Column::ContentHash.eq(hash.as_str())),
        ),
        Which::OlderThan(age) => {
            let seconds = age.as_secs();
            // By the clock that wrote the time.
            let before = match backend {
                DbBackend::Sqlite => format!("datetime('now', '-{seconds} seconds')"),
                DbBackend::Postgres => {
                    format!("CURRENT_TIMESTAMP - {seconds} * INTERVAL '1 second'")
                }
                _ => format!("CURRENT_TIMESTAMP - INTERVAL {seconds} SECOND"),
            };
            Condition::all().add(Expr::col("created_at").lte(Expr::cust(before)))
        }
    }
}

//! Forgetting images: their embeddings, and whatever else is kept of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::common::digest::Sha256Hex;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult,
    QueryFilter, QueryOrder, QuerySelect, Select,
};

use super::evidence::{Pictures, Seen};
use super::image_embedding::{Column, Entity};
use super::{
    Inner, Store, StoreError, evidence, image_asset, image_embedding, image_frames, image_name,
    limits, nsfw_classes, theme_feedback,
};
use crate::vectors::Row;

/// Which images to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that a client calls so, or has called so: an image is known by the first of its ids
    /// and the last [`limits::ASSETS_PER_IMAGE`].
    Asset(String),
    /// The one with these bytes; where none is known, those that a client calls so or has
    /// called so: 64 lower-case hexadecimal digits.
    Hash(String),
    /// Those that were written so long ago or longer. An image that comes again is not written
    /// again, whatever it is called then.
    OlderThan(Duration),
}

impl Which {
    /// The image with this name or these bytes; none where the text is no hash.
    #[must_use]
    pub fn hash(text: &str) -> Option<Self> {
        Sha256Hex::parse(text).map(|hash| Self::Hash(hash.to_string()))
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

/// Forgets what is kept of pictures beside their embeddings. **Every table that keeps
/// something of an image has a line here or in [`evidence`].**
async fn forget_evidence<C: ConnectionTrait>(
    db: &C,
    pictures: Pictures<'_>,
) -> Result<Forgotten, DbErr> {
    if !pictures.contents.is_empty() {
        nsfw_classes::forget(db, pictures.contents).await?;
        image_frames::forget(db, pictures.contents).await?;
    }
    Ok(evidence::forget(db, pictures).await?.into())
}

impl From<evidence::Kept> for Forgotten {
    fn from(kept: evidence::Kept) -> Self {
        Self {
            images: 0,
            labels: kept.looks,
            feedback: kept.judgements,
        }
    }
}

/// What tells an image that is to be forgotten.
#[derive(Clone, Debug, FromQueryResult)]
struct Found {
    id: i64,
    model_name: String,
    image_hash: String,
    content_hash: Option<String>,
}

impl Found {
    /// The hash of its bytes: rows of the Python service have none but their name.
    fn content(&self) -> &str {
        self.content_hash.as_deref().unwrap_or(&self.image_hash)
    }
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
    /// Images that waited and could not be written in time: they would come again.
    pub async fn forget(
        &self,
        which: &Which,
        is_dry: bool,
        progress: impl FnMut(&Forgotten),
    ) -> Result<Forgotten, StoreError> {
        if !self.flush().await && !is_dry {
            return Err(StoreError::Slow {
                doing: "writing the images that wait before some are forgotten",
                limit: limits::FLUSH,
            });
        }
        let mut run = Run {
            inner: &self.0,
            is_dry,
            progress,
            total: Forgotten::default(),
            gone: Seen::default(),
            counted: Seen::default(),
            listed: Seen::default(),
        };
        let mut is_name = false;
        match which {
            Which::Hash(hash) => is_name = run.by_hash(hash).await?,
            Which::Asset(id) => {
                run.judged_as(id).await?;
                run.called(id).await?;
                run.came_as(which).await?;
            }
            Which::OlderThan(_) => run.found(which).await?,
        }
        let total = run.total;
        if !is_dry {
            self.forget_in_memory(which.clone(), is_name).await;
        }
        Ok(total)
    }

    /// Images that the database never had: it was away, or would not have them. A hash may
    /// be that of bytes only, or their name too.
    async fn forget_in_memory(&self, which: Which, is_name: bool) {
        let index = self.0.index.clone();
        let forgetting = tokio::task::spawn_blocking(move || match which {
            Which::Asset(id) => index.remove_where(|row| row.asset_id.as_deref() == Some(&*id)),
            Which::Hash(hash) => index.remove_where(|row| {
                let content = row.content_hash.as_ref().unwrap_or(&row.image_hash);
                **content == *hash || (is_name && *row.image_hash == *hash)
            }),
            Which::OlderThan(_) => 0,
        });
        // It can only fail by a panic, or at shutdown.
        let _ = forgetting.await;
    }
}

/// One forgetting, a batch after the other.
struct Run<'a, P> {
    inner: &'a Arc<Inner>,
    is_dry: bool,
    progress: P,
    total: Forgotten,
    /// Hashes of the bytes of the pictures so far.
    gone: Seen,
    /// Names under which judgements were counted: an image has a row for each model, and its
    /// names are to be counted once.
    counted: Seen,
    /// Hashes of the bytes of the pictures that were counted with all their images: they are
    /// come by again under another of their names.
    listed: Seen,
}

impl<P: FnMut(&Forgotten)> Run<'_, P> {
    /// The picture of those bytes; where none is known, those that go by that name. True
    /// where it is taken for a name.
    async fn by_hash(&mut self, hash: &str) -> Result<bool, StoreError> {
        let doing = "looking for images";
        let known = self
            .inner
            .read(doing, limits::STATEMENT, |db| async move {
                evidence::known(&db, &[hash]).await
            })
            .await?;
        // There may be feedback on a picture that is not there any more.
        self.pictures(&[hash.to_owned()]).await?;
        if !known.is_empty() {
            return Ok(false);
        }
        let mut last = String::new();
        loop {
            let after = last.as_str();
            let contents = self
                .inner
                .read(doing, limits::STATEMENT, |db| async move {
                    called(&db, hash, after).await
                })
                .await?;
            let Some(content) = contents.last() else {
                return Ok(true);
            };
            last = content.clone();
            self.pictures(&contents).await?;
        }
    }

    /// Pictures by the hashes of their bytes, with all that is kept of them.
    async fn pictures(&mut self, contents: &[String]) -> Result<(), StoreError> {
        let found = self
            .inner
            .read("looking for images", limits::STATEMENT, |db| async move {
                let rows = rows().filter(of_contents(contents));
                rows.into_model::<Found>().all(&db).await
            })
            .await?;
        let names = self.names(&found).await?;
        // Their names go last: what is left after an error is found by them again.
        let mut rest = found.as_slice();
        while rest.len() > limits::FORGET_BATCH {
            let (images, others) = rest.split_at(limits::FORGET_BATCH);
            self.batch(images, &[], &[]).await?;
            rest = others;
        }
        self.batch(rest, contents, &names).await
    }

    /// What was judged under a client's own id. There may be feedback on images that are not
    /// there any more, or that never were.
    async fn judged_as(&mut self, asset_id: &str) -> Result<(), StoreError> {
        let doing = "looking for feedback";
        let names = self
            .inner
            .read(doing, limits::STATEMENT, |db| async move {
                theme_feedback::names(&db, asset_id).await
            })
            .await?;
        for names in names.chunks(limits::FORGET_BATCH) {
            let contents = self
                .inner
                .read(doing, limits::STATEMENT, |db| async move {
                    let names: Vec<_> = names.iter().map(String::as_str).collect();
                    evidence::told_by(&db, &names).await
                })
                .await?;
            self.batch(&[], &contents, names).await?;
        }
        Ok(())
    }

    /// Pictures that a client has called so since they were written.
    async fn called(&mut self, asset_id: &str) -> Result<(), StoreError> {
        let mut last = String::new();
        loop {
            let after = last.as_str();
            let contents = self
                .inner
                .read("looking for images", limits::STATEMENT, |db| async move {
                    let limit = limits::FORGET_BATCH as u64;
                    image_asset::contents_after(&db, asset_id, after, limit).await
                })
                .await?;
            let Some(content) = contents.last() else {
                return Ok(());
            };
            last = content.clone();
            self.whole(contents).await?;
        }
    }

    /// Pictures that came with an asset id first, or that another program has written so.
    async fn came_as(&mut self, which: &Which) -> Result<(), StoreError> {
        let mut window = Window::new(self.inner).await?;
        while let Some(found) = window.next(self.inner, which).await? {
            for images in found.chunks(limits::FORGET_BATCH) {
                let known = |image: &&Found| image.content_hash.is_some();
                let contents = images.iter().filter(known).map(Found::content);
                self.whole(distinct(contents)).await?;
                let nameless = images.iter().filter(|image| !known(image)).cloned();
                let nameless: Vec<_> = nameless.collect();
                if !nameless.is_empty() {
                    self.images(&nameless).await?;
                }
            }
        }
        Ok(())
    }

    /// As [`Self::pictures`], each once where they are only counted.
    async fn whole(&mut self, mut contents: Vec<String>) -> Result<(), StoreError> {
        contents.retain(|content| self.listed.add(content) || !self.is_dry);
        match contents.is_empty() {
            true => Ok(()),
            false => self.pictures(&contents).await,
        }
    }

    /// Images whose rows are so.
    async fn found(&mut self, which: &Which) -> Result<(), StoreError> {
        let mut window = Window::new(self.inner).await?;
        while let Some(found) = window.next(self.inner, which).await? {
            for images in found.chunks(limits::FORGET_BATCH) {
                self.images(images).await?;
            }
        }
        Ok(())
    }

    /// A few images, and what is kept of their pictures.
    async fn images(&mut self, images: &[Found]) -> Result<(), StoreError> {
        let contents = distinct(images.iter().map(Found::content));
        let names = self.names(images).await?;
        self.batch(images, &contents, &names).await
    }

    /// The names of images: those that they came with, and those that they were given since.
    async fn names(&self, images: &[Found]) -> Result<Vec<String>, StoreError> {
        let ids: Vec<_> = images.iter().map(|image| image.id).collect();
        let ids = ids.as_slice();
        let given = self
            .inner
            .read("looking for images", limits::STATEMENT, |db| async move {
                image_asset::names(&db, ids).await
            })
            .await?;
        let first = images.iter().map(|image| image.image_hash.as_str());
        Ok(distinct(first.chain(given.iter().map(String::as_str))))
    }

    /// Rows, and what is kept of pictures: by the hashes of their bytes, and by names that no
    /// other picture goes by.
    async fn batch(
        &mut self,
        images: &[Found],
        contents: &[String],
        names: &[String],
    ) -> Result<(), StoreError> {
        let mut fresh: Vec<_> = contents.iter().map(String::as_str).collect();
        // What is only counted is still there the next time.
        fresh.retain(|content| self.gone.add(content) || !self.is_dry);
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let pictures = Pictures {
            contents: &fresh,
            names: &names,
            gone: &self.gone,
        };
        let done = match self.is_dry {
            true => {
                let counting = self.inner.count_batch(images, pictures, &mut self.counted);
                counting.await?
            }
            false => self.inner.forget_batch(images, pictures).await?,
        };
        self.total.add(done);
        (self.progress)(&self.total);
        Ok(())
    }
}

impl Inner {
    /// Counts what [`Self::forget_batch`] would forget, but for what was counted before.
    async fn count_batch(
        self: &Arc<Self>,
        images: &[Found],
        pictures: Pictures<'_>,
        counted: &mut Seen,
    ) -> Result<Forgotten, StoreError> {
        let doing = "counting images";
        let mut names = self
            .read(doing, limits::STATEMENT, |db| async move {
                evidence::own_names(&db, pictures).await
            })
            .await?;
        names.retain(|name| counted.add(name));
        let names = names.as_slice();
        let kept = self
            .read(doing, limits::STATEMENT, |db| async move {
                evidence::kept(&db, pictures.contents, names).await
            })
            .await?;
        Ok(Forgotten {
            images: images.len() as u64,
            ..kept.into()
        })
    }

    /// Forgets a few images with all that is kept of them, in one transaction.
    async fn forget_batch(
        self: &Arc<Self>,
        images: &[Found],
        pictures: Pictures<'_>,
    ) -> Result<Forgotten, StoreError> {
        let ids: Vec<_> = images.iter().map(|image| image.id).collect();
        let ids = ids.as_slice();
        let mut contents: Vec<_> = images.iter().map(Found::content).collect();
        contents.extend(pictures.contents);
        let contents = contents.as_slice();
        // A row that was read before it is deleted is not put into the index after.
        let _reading = self.reading.lock().await;
        let forgetting = self.write(
            "forgetting images",
            limits::STATEMENT,
            |transaction| async move {
                let db = &transaction;
                let mut forgotten = forget_evidence(db, pictures).await?;
                if !ids.is_empty() {
                    let rows = Entity::delete_many().filter(Column::Id.is_in(ids.to_vec()));
                    forgotten.images = rows.exec(db).await?.rows_affected;
                }
                if !contents.is_empty() {
                    image_embedding::forget_names(db, contents).await?;
                }
                Ok(forgotten)
            },
        );
        let forgotten = forgetting.await;
        // Also where nobody can tell whether it is committed.
        self.queue.unlearn_all();
        let forgotten = forgotten?;
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

fn distinct<'a>(hashes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let hashes: BTreeSet<_> = hashes.collect();
    hashes.into_iter().map(str::to_owned).collect()
}

/// The next pictures that go by a name, in the order of the hashes of their bytes.
async fn called<C: ConnectionTrait>(db: &C, name: &str, after: &str) -> Result<Vec<String>, DbErr> {
    let limit = limits::FORGET_BATCH;
    let mut contents = image_name::contents_after(db, name, after, limit as u64).await?;
    // A picture with very many names has some that are in no other table.
    contents.extend(image_asset::named_after(db, name, after, limit as u64).await?);
    let embedded: Vec<String> = Entity::find()
        .select_only()
        .column(Column::ContentHash)
        .distinct()
        .filter(Column::ImageHash.eq(name))
        .filter(Column::ContentHash.gt(after))
        .order_by_asc(Column::ContentHash)
        .limit(limit as u64)
        .into_tuple()
        .all(db)
        .await?;
    contents.extend(embedded);
    contents.sort_unstable();
    contents.dedup();
    contents.truncate(limit);
    Ok(contents)
}

/// What tells images, by their ids.
fn rows() -> Select<Entity> {
    Entity::find()
        .select_only()
        .columns([
            Column::Id,
            Column::ModelName,
            Column::ImageHash,
            Column::ContentHash,
        ])
        .order_by_asc(Column::Id)
}

/// Pictures of those bytes; rows of the Python service go by their name.
fn of_contents(contents: &[String]) -> Condition {
    let contents = || contents.iter().map(String::as_str);
    let unverified = Condition::all()
        .add(Column::ContentHash.is_null())
        .add(Column::ImageHash.is_in(contents()));
    Condition::any()
        .add(Column::ContentHash.is_in(contents()))
        .add(unverified)
}

/// A part of the table after the other, by ids, so that no statement looks at all of it.
struct Window {
    after: i64,
    last: i64,
}

impl Window {
    async fn new(inner: &Arc<Inner>) -> Result<Self, StoreError> {
        let newest = inner.read("looking for images", limits::STATEMENT, |db| async move {
            image_embedding::newest(&db, i64::MAX).await
        });
        let last = newest.await?.unwrap_or(0);
        Ok(Self { after: 0, last })
    }

    /// The images of the next part that has some; none once the table is through.
    async fn next(
        &mut self,
        inner: &Arc<Inner>,
        which: &Which,
    ) -> Result<Option<Vec<Found>>, StoreError> {
        while self.after < self.last {
            let after = self.after;
            let end = after.saturating_add(limits::FORGET_WINDOW);
            let found = inner
                .read("looking for images", limits::STATEMENT, |db| async move {
                    let is_so = condition(db.get_database_backend(), which);
                    rows()
                        .filter(is_so.add(Column::Id.gt(after)).add(Column::Id.lte(end)))
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
        Which::Hash(hash) => Condition::all().add(of_contents(std::slice::from_ref(hash))),
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

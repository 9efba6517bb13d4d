//! Embeddings in memory, searched by cosine: what makes "similar images" cost a scan
//! of memory instead of a query.
//!
//! One matrix a model id; vectors of different models are never compared. A row of the
//! Python service names its model without a fingerprint of the weights: it counts for
//! every model of that name.
//!
//! # Layout
//!
//! - `query` (what is asked and told), `key` (what tells one image from another), `view` (rows in the order of their coming,
//!   as they are at one moment), `matrix` (the same as they are written), `codes` (rows in
//!   bytes, and what that costs), `kernels` (sums of products)
//! - `search` (which rows a question looks at), `scan` (all rows: exact), `partition` (the
//!   approximate index, an inverted file), `stop` (how many of its lists are enough), `train`
//!   (k-means), `freedom` (what `stop` goes by, measured), `file` (the partition on disk), `recent`
//!   (what there was for the questions asked last)
//! - `collect` (what a scan leaves over, and its exact order), `shortlist` (the same where codes
//!   alone are kept)
//!
//! # What a search looks at
//!
//! The newest [`Query::scan`] images, every one of them (0: all there are), whichever of
//! the matrices that may be compared they are in. Of the older ones those in the lists
//! nearest to the question, until next to nothing better is expected of the lists that are
//! left; a matrix that has no lists (yet, or because fewer than [`PARTITION_FROM`] images
//! are soon compared) is looked at in whole. So no image is out of reach. Every similarity
//! that is told is computed from the vectors themselves; only which older images are looked
//! at is approximate.
//!
//! # Codes alone
//!
//! With [`Kept::Codes`] a row is its codes and what is known of the image, a third of the memory.
//! The codes and their margins say which rows may be answers ([`VectorIndex::look`]), the
//! database is asked for the vectors of those few, and they are ranked by them
//! ([`Shortlist::ranked`]): the answer is the one of [`Kept::Vectors`], but for what is told
//! ([`Similar::is_exact`]). Images that the database has not got are kept with their vectors,
//! [`MAX_UNSTORED`] of them. Centroids and lists are made of what the codes say, and the file
//! is the same.
//!
//! # What the database says
//!
//! A request brings its image at once ([`VectorIndex::insert`]); what the database has, it
//! says with its id ([`VectorIndex::put`]), by which the image is changed or forgotten
//! ([`VectorIndex::remove`]).
//!
//! # Why an index of our own
//!
//! An inverted file over bytes takes 16 bytes a row beside what the exact scan needs, where
//! a graph takes some 150; it forgets rows, needs no unsafe code and no C++, and what is kept of it on
//! disk cannot make an answer wrong. `stages/services/benches/similarity.py` sets it beside faiss,
//! hnswlib and usearch: with 100,000 vectors of 512 numbers on two cores it takes 0.080 ms
//! at a recall@10 of 0.9995, where the fastest of the others takes 0.106 ms for 0.992
//! (faiss, IVF1024, both cores), and 2.3 ms for the exact scan, where the fastest takes
//! 10.5 ms (numpy).

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::key::Key;
use self::matrix::Matrix;
use self::partition::Partition;
use self::recent::Recent;

pub use self::query::{Hit, Query, Similar};
pub use self::recent::MAX_RECENT;
pub use self::search::Found;
pub use self::shortlist::{Shortlist, Stored};

mod codes;
mod collect;
mod file;
mod freedom;
mod kernels;
mod key;
mod matrix;
mod partition;
mod query;
mod recent;
mod scan;
mod search;
mod shortlist;
mod stop;
#[cfg(test)]
mod tests;
mod train;
mod view;

/// Where nothing else is said, most images kept in memory for one model. With vectors of 512
/// numbers that is about 3 GB, or 0.9 GB where codes alone are kept.
pub const MAX_ROWS: usize = 1_000_000;

/// Where codes alone are kept, most images of a model that the database has no id for. Their
/// vectors are kept as well; past it the oldest go, and come again once the database has them.
pub const MAX_UNSTORED: usize = 4096;

/// Images from which on a model's are partitioned; fewer are soon scanned.
pub const PARTITION_FROM: usize = 2048;

/// Parts a model id into the model's name and the fingerprint of its weights.
pub const FINGERPRINT_MARK: char = '@';

/// What is kept in memory of each vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// All of it, and its codes: five bytes a number.
    #[default]
    Vectors,
    /// Its codes alone, a byte a number. The vectors of those that may be answers are read from
    /// the database.
    Codes,
}

/// How much the index keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexConfig {
    /// Most images kept in memory for one model; past it the oldest 256 make room.
    pub max_rows: usize,
    /// What is kept of each vector.
    pub kept: Kept,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            max_rows: MAX_ROWS,
            kept: Kept::default(),
        }
    }
}

/// What is known of an image beside its vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name by which clients call it.
    pub image_hash: Arc<str>,
    /// SHA-256 of its bytes; none in rows of the Python service.
    pub content_hash: Option<Arc<str>>,
    /// The client's own id of it.
    pub asset_id: Option<Arc<str>>,
}

/// The embeddings of all models.
#[derive(Default)]
pub struct VectorIndex {
    config: IndexConfig,
    /// Where partitions are kept over restarts.
    folder: Option<PathBuf>,
    models: RwLock<HashMap<Arc<str>, Matrix>>,
    /// Partitions read from files, of models that no image has come of.
    restored: Mutex<HashMap<String, Partition>>,
    /// Partitions built since the start.
    built: AtomicU64,
    /// Rows that have come, of all models: the age of the next.
    come: AtomicU64,
    closed: AtomicBool,
    /// What there was for the questions asked last.
    recent: Recent,
}

impl VectorIndex {
    /// An empty index.
    #[must_use]
    pub fn new(config: IndexConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// An empty index that keeps its partitions in a folder, made when needed.
    #[must_use]
    pub fn kept_in(folder: PathBuf, config: IndexConfig) -> Self {
        Self {
            folder: Some(folder),
            ..Self::new(config)
        }
    }

    /// How much it keeps.
    #[must_use]
    pub fn config(&self) -> IndexConfig {
        self.config
    }

    /// Reads the partitions that were kept. Blocks: for tens of
    /// milliseconds at 100,000 images.
    pub fn restore(&self) {
        let Some(folder) = &self.folder else {
            return;
        };
        for (model, partition) in file::load_all(folder, self.config.max_rows) {
            let mut models = self.write();
            match models.get_mut(model.as_str()) {
                Some(matrix) if matrix.partition.is_none() => adopt(matrix, &model, partition),
                Some(_) => {}
                None => {
                    let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
                    restored.insert(model, partition);
                }
            }
        }
    }

    /// Builds and writes the partitions that are due. Blocks: for seconds at 100,000
    /// images; searches and inserts go on meanwhile.
    pub fn tend(&self) {
        for model in self.due() {
            if let Some(matrix) = self.write().get_mut(&model)
                && matrix.is_sparse()
            {
                matrix.move_together();
            }
            let view = self.read().get(&model).map(|matrix| matrix.view().clone());
            let Some(view) = view else {
                continue;
            };
            if self.read().get(&model).is_some_and(is_outgrown) {
                let begun = std::time::Instant::now();
                let Some(mut partition) = train::train(&view, &self.closed) else {
                    return;
                };
                // What came meanwhile; the few that come during this wait for the lock.
                let now = self.read().get(&model).map(|matrix| matrix.view().clone());
                if !now.is_none_or(|now| train::extend(&mut partition, &now, &self.closed)) {
                    return;
                }
                let (images, lists) = (view.len(), partition.centroids().len());
                if let Some(matrix) = self.write().get_mut(&model) {
                    matrix.adopt(partition);
                }
                self.built.fetch_add(1, Ordering::Relaxed);
                let seconds = begun.elapsed().as_secs_f64();
                tracing::info!(%model, images, lists, seconds, "partitioned the vector index");
            }
            self.save(&model);
        }
    }

    /// Ends what is being built, without its result.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// True where [`Self::tend`] has something to do.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.due().is_empty()
    }

    fn due(&self) -> Vec<Arc<str>> {
        let models = self.read();
        let due = |matrix: &Matrix| {
            matrix.is_sparse() || is_outgrown(matrix) || self.folder.is_some() && is_unsaved(matrix)
        };
        let due = models.iter().filter(|(_, matrix)| due(matrix));
        due.map(|(model, _)| model.clone()).collect()
    }

    fn save(&self, model: &Arc<str>) {
        let Some(folder) = &self.folder else {
            return;
        };
        let models = self.read();
        let Some(matrix) = models.get(model) else {
            return;
        };
        let (view, partition) = (matrix.view().clone(), matrix.partition.clone());
        drop(models);
        let Some(partition) = partition else {
            return;
        };
        if let Err(error) = file::save(folder, model, &partition, &view) {
            tracing::warn!(%error, "the vector index is not kept: the next start builds it anew");
        }
        // One that could not be written is tried again when it has grown.
        if let Some(matrix) = self.write().get_mut(model)
            && let Some(partition) = &mut matrix.partition
        {
            partition.saved_rows = view.len() as u64;
        }
    }

    /// Partitions built since the start; those that were read do not count.
    #[must_use]
    pub fn built(&self) -> u64 {
        self.built.load(Ordering::Relaxed)
    }

    /// Images that are in a partition.
    #[must_use]
    pub fn partitioned(&self) -> usize {
        let models = self.read();
        let partitioned = models.values().filter(|matrix| matrix.partition.is_some());
        partitioned.map(Matrix::len).sum()
    }

    /// Adds an image, or notes what is new of one that is there. False where the
    /// vector is not one (zero, not finite, of another length than its model's).
    pub fn insert(&self, model: &str, row: Row, vector: &[f32]) -> bool {
        let Some(vector) = normalised(vector) else {
            return false;
        };
        let mut models = self.write();
        let matrix = self.matrix(&mut models, model, vector.len());
        matrix.insert(row, self.next_age(), &vector)
    }

    /// Takes in an image as the database has it under that id, in the place of whatever it
    /// had there before. False where the vector is not one: then there is no image of that
    /// id.
    pub fn put(&self, id: i64, model: &str, row: Row, vector: &[f32]) -> bool {
        let vector = normalised(vector);
        let mut models = self.write();
        for (name, matrix) in models.iter_mut() {
            if **name != *model || vector.is_none() {
                matrix.remove(id);
            }
        }
        let Some(vector) = vector else {
            return false;
        };
        let matrix = self.matrix(&mut models, model, vector.len());
        matrix.put(id, row, self.next_age(), &vector)
    }

    /// Forgets the images that the database had under those ids; how many there were.
    pub fn remove(&self, ids: &[i64]) -> usize {
        let mut models = self.write();
        let mut count = 0;
        for matrix in models.values_mut() {
            count += ids.iter().filter(|id| matrix.remove(**id)).count();
        }
        count
    }

    /// Notes the database's id of an image that came from a request. False where it is not
    /// here, or has one, or another image has that id.
    pub fn number(&self, model: &str, id: i64, row: &Row) -> bool {
        let mut models = self.write();
        let matrix = models.get_mut(model);
        matrix.is_some_and(|matrix| matrix.number(id, &Key::of(row)))
    }

    /// Forgets an image of a model that came from a request and was not read from the
    /// database since, so that no id tells it. False where there is none.
    pub fn remove_unnumbered(&self, model: &str, row: &Row) -> bool {
        let mut models = self.write();
        let matrix = models.get_mut(model);
        matrix.is_some_and(|matrix| matrix.remove_unnumbered(&Key::of(row)))
    }

    /// Forgets the images that are so, those that the database has not got yet included;
    /// how many there were. Looks at all: for a tenth of a second where there are a million.
    pub fn remove_where(&self, is_so: impl Fn(&Row) -> bool) -> usize {
        let mut models = self.write();
        let removed = models
            .values_mut()
            .map(|matrix| matrix.remove_where(&is_so));
        removed.sum()
    }

    /// The ids that the database gave the images that are here, of those in a range; in
    /// no order.
    #[must_use]
    pub fn ids(&self, range: RangeInclusive<i64>) -> Vec<i64> {
        let models = self.read();
        let ids = models.values().flat_map(|matrix| matrix.ids(range.clone()));
        ids.collect()
    }

    /// True while no image had to make room for a newer one, see [`IndexConfig::max_rows`].
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.made_room() == 0
    }

    /// Images that made room for newer ones since the start. One that came again counts each
    /// time.
    #[must_use]
    pub fn made_room(&self) -> u64 {
        self.read().values().map(|matrix| matrix.made_room).sum()
    }

    /// Where codes alone are kept, images that the database has no id for; at most
    /// [`MAX_UNSTORED`] a model.
    #[must_use]
    pub fn unstored(&self) -> usize {
        self.read().values().map(Matrix::unstored).sum()
    }

    /// Of those, how many had to go since the start.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.read().values().map(|matrix| matrix.given_up).sum()
    }

    /// The matrix of a model, made where it is the first image's.
    fn matrix<'a>(
        &self,
        models: &'a mut HashMap<Arc<str>, Matrix>,
        model: &str,
        dim: usize,
    ) -> &'a mut Matrix {
        models.entry(model.into()).or_insert_with(|| {
            let mut matrix = Matrix::new(dim, self.config);
            let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(partition) = restored.remove(model) {
                adopt(&mut matrix, model, partition);
            }
            matrix
        })
    }

    fn next_age(&self) -> u64 {
        self.come.fetch_add(1, Ordering::Relaxed)
    }

    /// Questions asked last whose answers are known, at most [`MAX_RECENT`].
    #[must_use]
    pub fn recent(&self) -> usize {
        self.recent.len()
    }

    /// Images in memory, of all models.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().values().map(Matrix::len).sum()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Arc<str>, Matrix>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Arc<str>, Matrix>> {
        self.models.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a matrix the partition that a file had, if it is one for its vectors.
fn adopt(matrix: &mut Matrix, model: &str, partition: Partition) {
    if partition.centroids().dim == matrix.dim() {
        let lists = partition.centroids().len();
        tracing::info!(model, lists, "read the partition of the vector index");
        matrix.adopt(partition);
    }
}

/// True where a matrix wants a partition, or one for the size that it has come to.
fn is_outgrown(matrix: &Matrix) -> bool {
    let rows = matrix.len();
    rows >= PARTITION_FROM
        && matrix
            .partition
            .as_ref()
            .is_none_or(|partition| rows as u64 >= partition.trained_rows * 2)
}

/// True where a start would have to look for the lists of many rows.
fn is_unsaved(matrix: &Matrix) -> bool {
    let rows = matrix.len() as u64;
    let saved = matrix
        .partition
        .as_ref()
        .map(|partition| partition.saved_rows);
    saved.is_some_and(|saved| rows > saved + (saved / 8).max(PARTITION_FROM as u64))
}

/// The vector at length 1; `None` where it has no direction.
fn normalised(vector: &[f32]) -> Option<Vec<f32>> {
    let norm = vector
        .iter()
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt();
    if !norm.is_finite() || norm < 1e-12 {
        return None;
    }
    Some(
        vector
            .iter()
            .map(|x| (f64::from(*x) / norm) as f32)
            .collect(),
    )
}

//! Embeddings in memory, searched by cosine: what makes "similar images" cost a scan
//! of memory instead of a query.
//!
//! One matrix a model id; vectors of different models are never compared. A row of the
//! Python service names its model without a fingerprint of the weights: it counts for
//! every model of that name.
//!
//! # Layout
//!
//! - `matrix` (rows in the order of their coming), `codes` (the same in bytes, and what
//!   that costs), `kernels` (sums of products)
//! - `scan` (all rows: exact), `partition` (the approximate index, an inverted file),
//!   `stop` (how many of its lists are enough), `train` (k-means), `file` (the partition
//!   on disk)
//! - `collect` (what a scan leaves over, and its exact order)
//!
//! # What a search looks at
//!
//! The newest [`Query::scan`] images, every one of them (0: all there are). Where there
//! are more images than that, and a partition of them, those in the lists nearest to the
//! question as well, until next to nothing better is expected of the lists that are left.
//! Every similarity that is told is computed from the vectors themselves; only which older
//! images are looked at is approximate.
//!
//! # Why an index of our own
//!
//! An inverted file over bytes takes 16 bytes a row beside what the exact scan needs, where
//! a graph takes some 150; it forgets rows, needs no unsafe code and no C++, and what is kept of it on
//! disk cannot make an answer wrong. `stages/benches/similarity.py` sets it beside faiss,
//! hnswlib and usearch: with 100,000 vectors of 512 numbers on two cores it takes 0.080 ms
//! at a recall@10 of 0.9995, where the fastest of the others takes 0.106 ms for 0.992
//! (faiss, IVF1024, both cores), and 2.3 ms for the exact scan, where the fastest takes
//! 10.5 ms (numpy).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::codes::Question;
use self::collect::{Collector, in_order};
use self::matrix::{Matrix, View};
use self::partition::Partition;

mod codes;
mod collect;
mod file;
mod kernels;
mod matrix;
mod partition;
mod scan;
mod stop;
#[cfg(test)]
mod tests;
mod train;

/// Most images kept in memory for one model; past it the oldest make room. At 512
/// dimensions that is about 3 GiB.
pub const MAX_ROWS: usize = 1_000_000;

/// Images from which on a model's are partitioned; fewer are soon scanned.
pub const PARTITION_FROM: usize = 2048;

/// Rows collected beside the wanted ones: the image itself, and names that come twice.
const SPARE: usize = 16;

/// In a row's age: the row is of the model itself, not of one that names no weights.
const OWN: u64 = 1 << 63;

/// Parts a model id into the model's name and the fingerprint of its weights.
pub const FINGERPRINT_MARK: char = '@';

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

/// A question: which images are like this one?
#[derive(Clone, Debug)]
pub struct Query {
    /// Model id that made the vector.
    pub model: Arc<str>,
    /// `[dim]`; need not be normalised.
    pub vector: Arc<[f32]>,
    /// Least cosine of an answer, -1 to 1.
    pub threshold: f32,
    /// Most answers.
    pub limit: usize,
    /// How many of the newest images are all looked at; 0 looks at all there are. Of the
    /// others, once there are [`PARTITION_FROM`], those in the nearest lists.
    pub scan: usize,
    /// The image itself, by name: never an answer.
    pub image_hash: Option<Arc<str>>,
    /// The image itself, by its bytes: never an answer.
    pub content_hash: Option<Arc<str>>,
}

/// An image that is like the one asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its name.
    pub image_hash: Arc<str>,
    /// SHA-256 of its bytes; none in rows of the Python service.
    pub content_hash: Option<Arc<str>>,
    /// The client's own id of it.
    pub asset_id: Option<Arc<str>>,
    /// Cosine, -1 to 1.
    pub similarity: f32,
}

/// The embeddings of all models.
#[derive(Default)]
pub struct VectorIndex {
    /// Where partitions are kept over restarts.
    folder: Option<PathBuf>,
    models: RwLock<HashMap<Arc<str>, Matrix>>,
    /// Partitions read from files, of models that no image has come of.
    restored: Mutex<HashMap<String, Partition>>,
    /// Partitions built since the start.
    built: AtomicU64,
    closed: AtomicBool,
}

impl VectorIndex {
    /// An empty index that keeps its partitions in a folder, made when needed.
    #[must_use]
    pub fn kept_in(folder: PathBuf) -> Self {
        Self {
            folder: Some(folder),
            ..Self::default()
        }
    }

    /// Reads the partitions that were kept. Blocks: for tens of
    /// milliseconds at 100,000 images.
    pub fn restore(&self) {
        let Some(folder) = &self.folder else {
            return;
        };
        for (model, partition) in file::load_all(folder) {
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
        let due =
            |matrix: &Matrix| is_outgrown(matrix) || self.folder.is_some() && is_unsaved(matrix);
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
        if !models.contains_key(model) {
            let mut matrix = Matrix::new(vector.len(), MAX_ROWS);
            let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(partition) = restored.remove(model) {
                adopt(&mut matrix, model, partition);
            }
            models.insert(model.into(), matrix);
        }
        models
            .get_mut(model)
            .is_some_and(|matrix| matrix.insert(row, &vector))
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

    /// About how many rows a question would look at.
    #[must_use]
    pub fn cost(&self, query: &Query) -> usize {
        let models = self.read();
        let cost = |matrix: &Matrix| match &matrix.partition {
            Some(partition) if matrix.len() > newest(query) => {
                newest(query) + partition.cost(query.limit)
            }
            _ => matrix.len().min(newest(query)),
        };
        matrices(&models, &query.model).map(cost).sum()
    }

    /// The images most like the one asked about, best first; of equals the newer
    /// first. Long ones, see [`Self::cost`], belong on a compute thread.
    #[must_use]
    pub fn search(&self, query: &Query) -> Vec<Hit> {
        let Some(vector) = normalised(&query.vector) else {
            return Vec::new();
        };
        let question = Arc::new(Question::new(vector));
        let mut keep = query.limit.saturating_add(SPARE);
        loop {
            if let Some(hits) = self.search_keeping(query, &question, keep) {
                return hits;
            }
            // Only where many rows are the image itself, or one name comes many times.
            keep = keep.saturating_mul(8);
        }
    }

    fn search_keeping(
        &self,
        query: &Query,
        question: &Arc<Question>,
        keep: usize,
    ) -> Option<Vec<Hit>> {
        let mut collector = Collector::new(keep, query.threshold);
        // Writers do not wait for the scan: it works on shared, immutable segments.
        let mut views: Vec<(u64, View, u64)> = Vec::new();
        let mut left = newest(query);
        let models = self.read();
        for (age, matrix) in [OWN, 0].into_iter().zip(matrices(&models, &query.model)) {
            let view = matrix.view().clone();
            if view.dim != question.vector.len() {
                continue;
            }
            let rows = view.rows();
            let begin = rows.end - (view.len().min(left) as u64);
            left -= view.len().min(left);
            if let Some(partition) = &matrix.partition
                && begin > rows.start
            {
                partition.probe(&view, begin, age, question, query.limit, &mut collector);
            }
            views.push((age, view, begin));
        }
        drop(models);
        for (age, view, begin) in &views {
            let empty = collector.emptied();
            let found = scan::scan(view, *begin..view.rows().end, *age, question, empty);
            collector.merge(found);
        }
        let view = |age: u64| views.iter().find(|(own, ..)| *own == age & OWN);
        let mut hits = Vec::with_capacity(query.limit.min(keep));
        let mut names = HashSet::new();
        let vector = |age: u64| match view(age) {
            Some((_, view, _)) => view.vector(age & !OWN),
            None => &[],
        };
        let take = |age: u64, similarity: f32| {
            let Some((_, view, _)) = view(age).filter(|_| hits.len() < query.limit) else {
                return false;
            };
            let (segment, place) = view.place(age & !OWN);
            let row = &segment.rows[place];
            let itself = query.image_hash.as_ref() == Some(&row.image_hash)
                || (row.content_hash.is_some() && row.content_hash == query.content_hash);
            if !itself && names.insert(row.image_hash.clone()) {
                hits.push(Hit {
                    image_hash: row.image_hash.clone(),
                    content_hash: row.content_hash.clone(),
                    asset_id: row.asset_id.clone(),
                    similarity: similarity.clamp(-1.0, 1.0),
                });
            }
            hits.len() < query.limit
        };
        let is_complete = in_order(collector, query.threshold, &question.vector, vector, take);
        is_complete.then_some(hits)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Arc<str>, Matrix>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Arc<str>, Matrix>> {
        self.models.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of the newest images a question wants all looked at.
fn newest(query: &Query) -> usize {
    match query.scan {
        0 => usize::MAX,
        scan => scan,
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

/// The matrices whose vectors may be compared with those of a model: its own, and the
/// one of rows that name no weights.
fn matrices<'a>(
    models: &'a HashMap<Arc<str>, Matrix>,
    model: &str,
) -> impl Iterator<Item = &'a Matrix> {
    let name = model.split(FINGERPRINT_MARK).next().unwrap_or(model);
    let unmarked = (name != model).then(|| models.get(name)).flatten();
    models.get(model).into_iter().chain(unmarked)
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

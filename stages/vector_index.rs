//! Embeddings in memory, searched by cosine: what makes "similar images" cost a scan
//! of memory instead of a query.
//!
//! One matrix a model id; vectors of different models are never compared. The scan is
//! exact. A row of the Python service names its model without a fingerprint of the
//! weights: it counts for every model of that name.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::matrix::{Matrix, Segment};

mod matrix;

/// Most images kept in memory for one model; past it the oldest make room. At 512
/// dimensions that is about 2 GiB.
pub const MAX_ROWS: usize = 1_000_000;

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
    /// How many of the newest images are looked at; 0 looks at all.
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
    /// The client's own id of it.
    pub asset_id: Option<Arc<str>>,
    /// Cosine, -1 to 1.
    pub similarity: f32,
}

/// The embeddings of all models.
#[derive(Default)]
pub struct VectorIndex {
    models: RwLock<HashMap<Arc<str>, Matrix>>,
}

impl VectorIndex {
    /// Adds an image, or notes what is new of one that is there. False where the
    /// vector is not one (zero, not finite, of another length than its model's).
    pub fn insert(&self, model: &str, row: Row, vector: &[f32]) -> bool {
        let Some(vector) = normalised(vector) else {
            return false;
        };
        let mut models = self.write();
        if !models.contains_key(model) {
            models.insert(model.into(), Matrix::new(vector.len(), MAX_ROWS));
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

    /// How many rows a question would look at.
    #[must_use]
    pub fn cost(&self, query: &Query) -> usize {
        let models = self.read();
        let rows: usize = matrices(&models, &query.model).map(Matrix::len).sum();
        if query.scan == 0 {
            rows
        } else {
            rows.min(query.scan)
        }
    }

    /// The images most like the one asked about, best first; of equals the newer
    /// first. Computes for some 50 ns a row: long scans belong on a compute thread.
    #[must_use]
    pub fn search(&self, query: &Query) -> Vec<Hit> {
        let Some(vector) = normalised(&query.vector) else {
            return Vec::new();
        };
        // Writers do not wait for the scan: it works on shared, immutable segments.
        let segments = self.segments(query, vector.len());
        let mut found = Vec::new();
        let mut left = if query.scan == 0 {
            usize::MAX
        } else {
            query.scan
        };
        for (number, segment) in segments.iter().enumerate() {
            let skipped = segment.rows.len().saturating_sub(left);
            for (row, similarity) in segment.scan(&vector, skipped) {
                if similarity >= query.threshold {
                    found.push((similarity, number, row));
                }
            }
            left = left.saturating_sub(segment.rows.len());
            if left == 0 {
                break;
            }
        }
        best(&segments, found, query)
    }

    /// What to scan, newest first.
    fn segments(&self, query: &Query, dim: usize) -> Vec<Arc<Segment>> {
        let models = self.read();
        matrices(&models, &query.model)
            .filter(|matrix| matrix.dim() == dim)
            .flat_map(|matrix| matrix.segments().rev().cloned())
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Arc<str>, Matrix>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Arc<str>, Matrix>> {
        self.models.write().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Orders what was found and leaves out the image itself and what is there twice.
fn best(segments: &[Arc<Segment>], mut found: Vec<(f32, usize, usize)>, query: &Query) -> Vec<Hit> {
    // Of a theme with thousands of copies, only the best few are worth sorting.
    let order = |a: &(f32, usize, usize), b: &(f32, usize, usize)| {
        b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(b.2.cmp(&a.2))
    };
    let mut hits: Vec<Hit> = Vec::with_capacity(query.limit.min(found.len()));
    let mut names = HashSet::new();
    let mut rest = found.as_mut_slice();
    while hits.len() < query.limit && !rest.is_empty() {
        let take = (query.limit * 2).min(rest.len());
        if take < rest.len() {
            rest.select_nth_unstable_by(take - 1, order);
        }
        let (head, tail) = rest.split_at_mut(take);
        head.sort_unstable_by(order);
        for &mut (similarity, segment, row) in head {
            let row = &segments[segment].rows[row];
            let itself = query.image_hash.as_ref() == Some(&row.image_hash)
                || (row.content_hash.is_some() && row.content_hash == query.content_hash);
            if itself || hits.len() == query.limit || !names.insert(row.image_hash.clone()) {
                continue;
            }
            hits.push(Hit {
                image_hash: row.image_hash.clone(),
                asset_id: row.asset_id.clone(),
                similarity: similarity.clamp(-1.0, 1.0),
            });
        }
        rest = tail;
    }
    hits
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row {
            image_hash: name.into(),
            content_hash: Some(name.into()),
            asset_id: None,
        }
    }

    fn query(vector: &[f32]) -> Query {
        Query {
            model: "m@1".into(),
            vector: vector.into(),
            threshold: 0.85,
            limit: 25,
            scan: 0,
            image_hash: None,
            content_hash: None,
        }
    }

    fn names(hits: &[Hit]) -> Vec<&str> {
        hits.iter().map(|hit| &*hit.image_hash).collect()
    }

    fn index() -> VectorIndex {
        let index = VectorIndex::default();
        assert!(index.insert("m@1", row("east"), &[2.0, 0.0]));
        assert!(index.insert("m@1", row("near east"), &[1.0, 0.1]));
        assert!(index.insert("m@1", row("north"), &[0.0, 1.0]));
        index
    }

    #[test]
    fn the_best_come_first_and_the_threshold_holds() {
        let hits = index().search(&query(&[1.0, 0.0]));
        assert_eq!(names(&hits), ["east", "near east"]);
        assert!((hits[0].similarity - 1.0).abs() < 1e-6);
        assert!((hits[1].similarity - 0.995_037).abs() < 1e-6);
        let all = Query {
            threshold: -1.0,
            limit: 2,
            ..query(&[0.0, 5.0])
        };
        assert_eq!(names(&index().search(&all)), ["north", "near east"]);
    }

    #[test]
    fn the_image_itself_is_no_answer() {
        let by_name = Query {
            image_hash: Some("east".into()),
            ..query(&[1.0, 0.0])
        };
        assert_eq!(names(&index().search(&by_name)), ["near east"]);
        let by_bytes = Query {
            content_hash: Some("near east".into()),
            ..query(&[1.0, 0.0])
        };
        assert_eq!(names(&index().search(&by_bytes)), ["east"]);
    }

    #[test]
    fn an_image_that_comes_again_is_not_there_twice() {
        let index = index();
        let renamed = Row {
            image_hash: "orient".into(),
            asset_id: Some("a1".into()),
            ..row("east")
        };
        assert!(index.insert("m@1", renamed, &[1.0, 0.0]));
        assert_eq!(index.len(), 3);
        let hits = index.search(&query(&[1.0, 0.0]));
        assert_eq!(names(&hits), ["orient", "near east"]);
        assert_eq!(hits[0].asset_id.as_deref(), Some("a1"));
    }

    #[test]
    fn one_name_is_one_answer() {
        let index = index();
        let other = Row {
            image_hash: "east".into(),
            ..row("other bytes")
        };
        index.insert("m@1", other, &[1.0, 0.05]);
        let hits = index.search(&query(&[1.0, 0.0]));
        assert_eq!(names(&hits), ["east", "near east"]);
    }

    #[test]
    fn models_do_not_mix_but_rows_without_weights_do() {
        let index = index();
        index.insert("other@1", row("elsewhere"), &[1.0, 0.0]);
        index.insert("m@2", row("other weights"), &[1.0, 0.0]);
        index.insert("m", row("adopted"), &[1.0, 0.0]);
        let hits = index.search(&query(&[1.0, 0.0]));
        assert_eq!(names(&hits), ["east", "adopted", "near east"]);
    }

    #[test]
    fn the_scan_looks_at_the_newest() {
        let index = VectorIndex::default();
        for number in 0..1000 {
            index.insert("m@1", row(&number.to_string()), &[1.0, 0.0]);
        }
        let newest = Query {
            scan: 300,
            limit: 1000,
            ..query(&[1.0, 0.0])
        };
        let hits = index.search(&newest);
        assert_eq!(hits.len(), 300);
        assert_eq!(&*hits[0].image_hash, "999");
        assert_eq!(&*hits[299].image_hash, "700");
        assert_eq!(index.cost(&newest), 300);
        assert_eq!(index.search(&query(&[1.0, 0.0])).len(), 25);
    }

    #[test]
    fn what_is_no_vector_is_not_taken() {
        let index = index();
        for bad in [&[0.0, 0.0][..], &[f32::NAN, 1.0], &[1.0, 0.0, 0.0], &[]] {
            assert!(!index.insert("m@1", row("bad"), bad), "{bad:?}");
        }
        assert_eq!(index.len(), 3);
        assert!(index.search(&query(&[0.0, 0.0])).is_empty());
        assert!(index.search(&query(&[1.0, 0.0, 0.0])).is_empty());
    }

    /// `cargo test --release -p omnizap-stages -- --ignored --nocapture scan_of`
    #[test]
    #[ignore = "a measurement, not a check"]
    fn scan_of_a_hundred_thousand_images() {
        const DIM: usize = 512;
        const IMAGES: usize = 100_000;
        let mut random = fastrand::Rng::with_seed(1);
        let mut vector = || -> Vec<f32> { (0..DIM).map(|_| random.f32() - 0.5).collect() };
        let index = VectorIndex::default();
        let start = std::time::Instant::now();
        for number in 0..IMAGES {
            index.insert("m@1", row(&number.to_string()), &vector());
        }
        eprintln!("{IMAGES} images inserted in {:?}", start.elapsed());
        for scan in [3000, 0] {
            let mut times: Vec<_> = (0..51)
                .map(|_| {
                    let question = Query {
                        scan,
                        threshold: 0.1,
                        ..query(&vector())
                    };
                    let start = std::time::Instant::now();
                    let hits = index.search(&question);
                    assert!(hits.len() <= 25);
                    start.elapsed()
                })
                .collect();
            times.sort();
            eprintln!("scan {scan}: median {:?}, best {:?}", times[25], times[0]);
        }
    }
}

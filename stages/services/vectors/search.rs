//! Which rows a question looks at, and what is told of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::codes::Question;
use super::collect::{Collector, in_order};
use super::matrix::Matrix;
use super::partition::Partition;
use super::view::{RowNumber, View};
use super::{FINGERPRINT_MARK, PARTITION_FROM, Row, VectorIndex, normalised, scan};

/// Rows collected beside the wanted ones: the image itself, and names that come twice.
const SPARE: usize = 16;

/// In a row's place: which of the matrices it is in.
const MATRIX_SHIFT: u32 = 63;

/// A question: which images are like this one?
#[derive(Clone, Debug)]
pub struct Query {
    /// Model id that made the vector.
    pub model: Arc<str>,
    /// `[dim]`; need not be normalised.
    pub vector: Arc<[f32]>,
    /// Least similarity of an answer, -1 to 1, as it is told.
    pub threshold: f64,
    /// Most answers.
    pub limit: usize,
    /// How many of the newest images are all looked at; 0 looks at all there are. Of the
    /// others those in the nearest lists, once there are lists.
    pub scan: usize,
    /// The image itself, by the name that the client gives it: never an answer.
    pub image_hash: Option<Arc<str>>,
    /// The image itself, by its bytes: never an answer.
    pub content_hash: Option<Arc<str>>,
}

impl Query {
    /// True where a row is the image that is asked about, by any of its names: rows of
    /// the Python service may be named by the hash of the bytes, and their bytes are not
    /// known.
    fn is_itself(&self, row: &Row) -> bool {
        let names = [&self.image_hash, &self.content_hash];
        let names = names.into_iter().flatten();
        let known = [Some(&row.image_hash), row.content_hash.as_ref()];
        names.into_iter().any(|name| known.contains(&Some(name)))
    }
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
    /// Cosine, -1 to 1, to six decimals: what is told of it.
    pub similarity: f64,
}

/// One matrix of a search.
struct Part {
    view: View,
    /// From this row on, every one is looked at.
    begin: RowNumber,
    /// The bits that make of a row's number its place.
    bits: u64,
}

impl VectorIndex {
    /// About how many rows a question would look at.
    #[must_use]
    pub fn cost(&self, query: &Query) -> usize {
        let models = self.read();
        let mut left = newest(query);
        let cost = |matrix: &Matrix| match lists(matrix) {
            Some(partition) if matrix.len() > left => {
                let scanned = std::mem::take(&mut left);
                scanned + partition.cost(query.limit)
            }
            _ => {
                left = left.saturating_sub(matrix.len());
                matrix.len()
            }
        };
        matrices(&models, &query.model).map(cost).sum()
    }

    /// The images most like the one asked about, best first; of those that are told as
    /// equal the newer first. Long ones, see [`Self::cost`], belong on a compute thread.
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
        let parts = self.parts(query, question, &mut collector);
        for part in &parts {
            let rows = part.begin..part.view.rows().end;
            let empty = collector.emptied();
            let found = scan::scan(&part.view, rows, part.bits, question, empty);
            collector.merge(found);
        }
        let at = |place: u64| {
            let part = parts.get((place >> MATRIX_SHIFT) as usize)?;
            Some((&part.view, place & !part.bits))
        };
        let row = |place: u64| {
            let (view, row) = at(place)?;
            Some((view.age(row), view.vector(row)))
        };
        let mut hits = Vec::with_capacity(query.limit.min(keep));
        let mut names = HashSet::new();
        let take = |place: u64, similarity: f64| {
            let found = at(place).and_then(|(view, row)| view.row(row));
            if let Some(row) = found
                && hits.len() < query.limit
                && !query.is_itself(row)
                && names.insert(row.image_hash.clone())
            {
                hits.push(Hit {
                    image_hash: row.image_hash.clone(),
                    content_hash: row.content_hash.clone(),
                    asset_id: row.asset_id.clone(),
                    similarity,
                });
            }
            hits.len() < query.limit
        };
        let is_complete = in_order(collector, query.threshold, &question.vector, row, take);
        is_complete.then_some(hits)
    }

    /// The matrices that a question looks at. Of those that have lists, what the nearest
    /// hold of their older rows is in the collector.
    fn parts(
        &self,
        query: &Query,
        question: &Arc<Question>,
        collector: &mut Collector,
    ) -> Vec<Part> {
        // Writers do not wait for the scan: it works on shared, immutable segments.
        let models = self.read();
        let comparable = |matrix: &&Matrix| matrix.dim() == question.vector.len();
        let matrices: Vec<_> = matrices(&models, &query.model).filter(comparable).collect();
        let views: Vec<_> = matrices
            .iter()
            .map(|matrix| matrix.view().clone())
            .collect();
        let begins = begins(&views, newest(query));
        let mut parts = Vec::with_capacity(views.len());
        for ((matrix, view), begin) in matrices.iter().zip(views).zip(begins) {
            let bits = (parts.len() as u64) << MATRIX_SHIFT;
            let begin = match lists(matrix) {
                Some(partition) if begin > view.rows().start => {
                    let mut own = collector.anew(query.threshold);
                    partition.probe(&view, begin, bits, question, query.limit, &mut own);
                    collector.merge(own);
                    begin
                }
                _ => view.rows().start,
            };
            parts.push(Part { view, begin, bits });
        }
        parts
    }
}

/// The lists of a matrix, where it has so many rows that they pay.
fn lists(matrix: &Matrix) -> Option<&Partition> {
    let pay = matrix.len() >= PARTITION_FROM;
    matrix.partition.as_ref().filter(|_| pay)
}

/// How many of the newest images a question wants all looked at.
fn newest(query: &Query) -> usize {
    match query.scan {
        0 => usize::MAX,
        scan => scan,
    }
}

/// From which row on each view holds those that are among the newest of all.
pub(super) fn begins(views: &[View], newest: usize) -> Vec<RowNumber> {
    if let [view] = views {
        return vec![view.newest(newest)];
    }
    if views.iter().map(View::len).sum::<usize>() <= newest {
        return views.iter().map(|view| view.rows().start).collect();
    }
    let mut rows: Vec<_> = views.iter().map(|view| view.live_rows().rev()).collect();
    let mut next: Vec<_> = rows.iter_mut().map(Iterator::next).collect();
    let mut begins: Vec<_> = views.iter().map(|view| view.rows().end).collect();
    for _ in 0..newest {
        let ages = next.iter().zip(views).enumerate();
        let ages = ages.filter_map(|(at, (row, view))| Some((view.age((*row)?), at)));
        let Some((_, newer)) = ages.max() else {
            break;
        };
        if let Some(row) = next[newer] {
            begins[newer] = row;
        }
        next[newer] = rows[newer].next();
    }
    begins
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

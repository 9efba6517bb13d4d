//! Which rows a question looks at, and what is told of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::codes::Question;
use super::collect::{Collector, in_order};
use super::matrix::Matrix;
use super::partition::Partition;
use super::query::{Hit, Query};
use super::recent::Asked;
use super::shortlist::Shortlist;
use super::view::{MATRIX_SHIFT, Part, RowNumber, View, at};
use super::{FINGERPRINT_MARK, Kept, PARTITION_FROM, VectorIndex, normalised, scan};

/// Rows collected beside the wanted ones: the image itself, and names that come twice.
const SPARE: usize = 16;

/// What a search of memory found.
#[derive(Debug)]
pub enum Found {
    /// The answer.
    Answer(Vec<Hit>),
    /// Where codes alone are kept: what the database is to be asked for.
    Shortlist(Shortlist),
}

impl VectorIndex {
    /// About how many rows a question would look at.
    #[must_use]
    pub fn cost(&self, query: &Query) -> usize {
        let models = self.read();
        let mut left = newest(query);
        let mut bits = (0..).map(|part: u64| part << MATRIX_SHIFT);
        let cost = |matrix: &Matrix| match (lists(matrix), bits.next()) {
            (Some(partition), Some(bits)) if matrix.len() > left => {
                let scanned = std::mem::take(&mut left);
                let asked = Asked::new(query, kept_first(query), bits);
                let come = self.recent.come(&asked, matrix.view());
                come.unwrap_or_else(|| scanned + partition.cost(query.limit))
            }
            _ => {
                left = left.saturating_sub(matrix.len());
                matrix.len()
            }
        };
        matrices(&models, &query.model).map(cost).sum()
    }

    /// The images most like the one asked about, best first; of those that are told as
    /// equal the newer first. Where codes alone are kept, by their estimates. Long ones, see
    /// [`Self::cost`], belong on a compute thread.
    #[must_use]
    pub fn search(&self, query: &Query) -> Vec<Hit> {
        match self.look(query) {
            Found::Answer(hits) => hits,
            Found::Shortlist(list) => list.ranked(&[], &HashMap::new()).images,
        }
    }

    /// What memory says of the images most like the one asked about; as long as
    /// [`Self::search`].
    #[must_use]
    pub fn look(&self, query: &Query) -> Found {
        let Some(vector) = normalised(&query.vector).filter(|_| query.limit > 0) else {
            return Found::Answer(Vec::new());
        };
        let question = Arc::new(Question::new(vector));
        let mut keep = kept_first(query);
        loop {
            if let Some(found) = self.look_keeping(query, &question, keep) {
                return found;
            }
            // Only where many rows are the image itself, or one name comes many times.
            keep = keep.saturating_mul(8);
        }
    }

    fn look_keeping(&self, query: &Query, question: &Arc<Question>, keep: usize) -> Option<Found> {
        let mut collector = Collector::new(keep, query.threshold);
        let parts = self.parts(query, question, &mut collector);
        if self.config.kept == Kept::Codes {
            let list = Shortlist::of(collector, &parts, query, question);
            return list.map(Found::Shortlist);
        }
        let row = |place: u64| {
            let (view, row) = at(&parts, place)?;
            Some((view.age(row), view.exact(row)?))
        };
        let mut hits = Vec::with_capacity(query.limit.min(keep));
        let mut names = HashSet::new();
        let take = |place: u64, similarity: f64| {
            let found = at(&parts, place).and_then(|(view, row)| view.row(row));
            if let Some(row) = found
                && hits.len() < query.limit
                && !query.is_itself(row)
                && names.insert(row.image_hash.clone())
            {
                hits.push(Hit::of(row, similarity));
            }
            hits.len() < query.limit
        };
        let is_complete = in_order(collector, query.threshold, &question.vector, row, take);
        is_complete.then_some(Found::Answer(hits))
    }

    /// The matrices that a question looks at; what there is in them is in the collector.
    fn parts(
        &self,
        query: &Query,
        question: &Arc<Question>,
        collector: &mut Collector,
    ) -> Vec<Part> {
        let begun = self.begun(query, question, collector.keep());
        let look = |Begun { part, begin, lists }: Begun| {
            // Writers do not wait for the scan: it works on shared, immutable segments.
            let rows = begin..part.view.rows().end;
            let scan = |empty| scan::scan(&part.view, rows, part.bits, question, empty);
            let found = match lists {
                None => scan(collector.emptied()),
                Some((asked, mut own)) => {
                    own.merge(scan(own.emptied()));
                    self.recent.keep(asked, &own, &part.view);
                    own
                }
            };
            collector.merge(found);
            part
        };
        begun.into_iter().map(look).collect()
    }

    /// The matrices that a question looks at, and what the nearest lists hold.
    fn begun(&self, query: &Query, question: &Question, keep: usize) -> Vec<Begun> {
        let models = self.read();
        let comparable = |matrix: &&Matrix| matrix.dim() == question.vector.len();
        let matrices: Vec<_> = matrices(&models, &query.model).filter(comparable).collect();
        let views: Vec<_> = matrices
            .iter()
            .map(|matrix| matrix.view().clone())
            .collect();
        let begins = begins(&views, newest(query));
        let mut begun = Vec::with_capacity(views.len());
        for ((matrix, view), begin) in matrices.iter().zip(views).zip(begins) {
            let bits = (begun.len() as u64) << MATRIX_SHIFT;
            let (begin, lists) = match lists(matrix) {
                Some(partition) if begin > view.rows().start => {
                    let asked = Asked::new(query, keep, bits);
                    let (own, begin) = self.recent.find(&asked, &view).unwrap_or_else(|| {
                        let mut own = Collector::new(keep, query.threshold);
                        partition.probe(&view, begin, bits, question, query.limit, &mut own);
                        (own, begin)
                    });
                    (begin, Some((asked, own)))
                }
                _ => (view.rows().start, None),
            };
            let part = Part { view, bits };
            begun.push(Begun { part, begin, lists });
        }
        begun
    }
}

/// A matrix that a question has begun to look at.
struct Begun {
    part: Part,
    /// From this row on, every one is to be looked at.
    begin: RowNumber,
    /// Of one that has lists, what there is before.
    lists: Option<(Asked, Collector)>,
}

/// The lists of a matrix, where it has so many rows that they pay.
fn lists(matrix: &Matrix) -> Option<&Partition> {
    let pay = matrix.len() >= PARTITION_FROM;
    matrix.partition.as_ref().filter(|_| pay)
}

/// How many rows a search collects that need not be repeated.
fn kept_first(query: &Query) -> usize {
    query.limit.saturating_add(SPARE)
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

//! Questions that were asked not long ago, and what the lists had for them: pictures that are sent
//! again are asked about again, and looking through lists is what a search of many rows takes
//! longest for.
//!
//! What is kept, that of the newest rows included, is right for as long as its rows are there: a row's
//! number is never given to another. Rows that have come since are looked at, each of them.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::collect::Collector;
use super::query::Query;
use super::view::{RowNumber, View};

/// Questions that are kept. With vectors of 512 numbers some 3 MB, at most 10.
pub const MAX_RECENT: usize = 512;
/// Rows that an answer may have found to be kept.
const MOST_FOUND: usize = 1024;
/// Rows that may have come since. The lists are soon looked through again.
pub(super) const MOST_COME: u64 = 4096;
/// Numbers of a vector that tell it from most others.
const TELLING: usize = 8;

/// What makes two questions the same to the lists of a matrix.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    model: Arc<str>,
    vector: Arc<[f32]>,
    threshold: u64,
    limit: usize,
    scan: usize,
    keep: usize,
    /// Which of the matrices.
    matrix: u64,
}

impl Asked {
    pub(super) fn new(query: &Query, keep: usize, matrix: u64) -> Self {
        Self {
            model: query.model.clone(),
            vector: query.vector.clone(),
            threshold: query.threshold.to_bits(),
            limit: query.limit,
            scan: query.scan,
            keep,
            matrix,
        }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.bits()
            .take(TELLING)
            .for_each(|bits| bits.hash(&mut hasher));
        self.numbers().hash(&mut hasher);
        hasher.finish()
    }

    fn is(&self, other: &Self) -> bool {
        self.numbers() == other.numbers()
            && self.model == other.model
            && self.bits().eq(other.bits())
    }

    fn numbers(&self) -> [u64; 5] {
        let [limit, scan, keep] = [self.limit, self.scan, self.keep].map(|count| count as u64);
        [self.threshold, self.matrix, limit, scan, keep]
    }

    fn bits(&self) -> impl Iterator<Item = u32> {
        self.vector.iter().map(|number| number.to_bits())
    }
}

/// What there was for a question, of the rows before `end`.
struct Known {
    asked: Asked,
    found: Collector,
    end: RowNumber,
}

impl Known {
    /// From which row on they are to be looked at, where the others are known.
    fn holds(&self, asked: &Asked, view: &View) -> Option<RowNumber> {
        let from = self.end.max(view.rows().start);
        let come = view.rows().end.checked_sub(from)?;
        let is_there = |place: u64| {
            let row = place & !asked.matrix;
            view.rows().contains(&row) && view.row(row).is_some()
        };
        let mut found = self.found.found().iter();
        let holds = come <= MOST_COME
            && self.asked.is(asked)
            && found.all(|candidate| is_there(candidate.place));
        holds.then_some(from)
    }
}

/// The questions asked last.
#[derive(Default)]
pub(super) struct Recent(Mutex<Questions>);

#[derive(Default)]
struct Questions {
    known: HashMap<u64, Known>,
    /// Oldest first.
    order: VecDeque<u64>,
}

impl Recent {
    /// What there was, and before which row, where that still holds.
    pub(super) fn find(&self, asked: &Asked, view: &View) -> Option<(Collector, RowNumber)> {
        self.where_it_holds(asked, view, |known, from| (known.found.clone(), from))
    }

    /// Rows that have come since, where [`Self::find`] has the others.
    pub(super) fn come(&self, asked: &Asked, view: &View) -> Option<usize> {
        self.where_it_holds(asked, view, |_, from| (view.rows().end - from) as usize)
    }

    fn where_it_holds<T>(
        &self,
        asked: &Asked,
        view: &View,
        of: impl FnOnce(&Known, RowNumber) -> T,
    ) -> Option<T> {
        let questions = self.locked();
        let known = questions.known.get(&asked.hash())?;
        let from = known.holds(asked, view)?;
        Some(of(known, from))
    }

    fn locked(&self) -> MutexGuard<'_, Questions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what there is.
    pub(super) fn keep(&self, asked: Asked, found: &Collector, view: &View) {
        if found.len() > MOST_FOUND {
            return;
        }
        let hash = asked.hash();
        let mut questions = self.locked();
        let end = view.rows().end;
        let known = questions.known.get(&hash);
        if known.and_then(|known| known.holds(&asked, view)) == Some(end) {
            return;
        }
        let found = found.kept();
        let known = Known { asked, found, end };
        if questions.known.insert(hash, known).is_none() {
            questions.order.push_back(hash);
        }
        if questions.order.len() > MAX_RECENT
            && let Some(oldest) = questions.order.pop_front()
        {
            questions.known.remove(&oldest);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.locked().known.len()
    }
}

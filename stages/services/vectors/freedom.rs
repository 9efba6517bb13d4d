//! The freedom of vectors: the number of dimensions with which `stop` expects of lists what they
//! hold. It is the largest of a series with which questions drawn from the rows find [`FOUND`] of
//! what all their lists hold.

use std::sync::atomic::{AtomicBool, Ordering};

use super::codes::Question;
use super::partition::Partition;
use super::stop::{NONE, Near, is_enough};
use super::view::{RowNumber, View};

/// Share of the best in all lists that questions must find for a freedom to be taken.
const FOUND: f64 = 0.995;
/// Questions that the freedom is measured with.
pub(super) const QUESTIONS: usize = 512;
/// How many answers each of them wants: fewer than a small cluster has, about as many, and
/// more, so that the last come from all around.
const WANTED: [usize; 3] = [1, 10, MOST];
const MOST: usize = 26;
/// What one freedom is of the next larger.
const STEP: f32 = 0.8;

/// The freedom of the rows in a partition, measured with some of them. `None` where it
/// was told to stop.
pub(super) fn measured(
    partition: &Partition,
    view: &View,
    rows: impl Iterator<Item = RowNumber>,
    ended: &AtomicBool,
) -> Option<f32> {
    let mut asked = Vec::with_capacity(QUESTIONS);
    for row in rows {
        if ended.load(Ordering::Relaxed) {
            return None;
        }
        asked.push(Asked::new(partition, view, row));
    }
    let is_found = |freedom: f32, wanted: usize| {
        let (found, all) = asked.iter().fold((0, 0), |(found, all), asked| {
            let (more, of) = asked.found(wanted, freedom);
            (found + more, all + of)
        });
        found as f64 >= FOUND * all as f64
    };
    let mut freedom = view.dim as f32;
    while freedom >= 1.0 {
        if WANTED.iter().all(|wanted| is_found(freedom, *wanted)) {
            return Some(freedom);
        }
        freedom *= STEP;
    }
    Some(NONE)
}

/// A row as a question of which all lists were looked at.
struct Asked {
    lists: Vec<Near>,
    /// Before each list and after the last: the best cosines found, the row's own aside.
    best: Vec<[f32; MOST]>,
}

/// Where no cosine is.
const MISSING: f32 = f32::NEG_INFINITY;

impl Asked {
    fn new(partition: &Partition, view: &View, row: RowNumber) -> Self {
        let question = Question::new(view.vector(row).0.into_owned());
        let lists = partition.nearest(&question, MOST);
        let mut now = vec![MISSING; MOST];
        let mut best = vec![[MISSING; MOST]];
        let end = view.rows().end;
        for near in &lists {
            partition.compare(near.list, view, end, &question, |other, found| {
                if other != row {
                    now.push(found.cosine);
                }
            });
            now.sort_unstable_by(|a: &f32, b: &f32| b.total_cmp(a));
            now.truncate(MOST);
            best.push(std::array::from_fn(|place| now[place]));
        }
        Self { lists, best }
    }

    /// How many of the wanted are found by a search that ends by this freedom, and of how
    /// many that there are.
    fn found(&self, wanted: usize, freedom: f32) -> (usize, usize) {
        let is_end = |place: &usize| {
            let cut = self.best[*place][wanted - 1];
            cut > MISSING && is_enough(&self.lists[*place..], cut, wanted, freedom)
        };
        let last = self.lists.len();
        let end = (0..last).find(is_end).unwrap_or(last);
        let [found, all] = [end, last].map(|place| &self.best[place][..wanted]);
        let count = |least: f32| found.iter().filter(|cosine| **cosine >= least).count();
        let there = all.iter().filter(|cosine| **cosine > MISSING).count();
        let least = there.checked_sub(1).map(|worst| all[worst]);
        (least.map_or(0, count), there)
    }
}

//! What a scan of codes leaves over, and its exact order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::codes::Estimate;
use super::kernels::{LINE, product, touch};

/// Candidates beside those wanted that a collection grows by before it is thinned out.
const SLACK: usize = 1024;

/// Fewest candidates whose vectors are compared at a time.
const STEP: usize = 16;

/// Floats that the processor fetches at a time.
const FLOATS: usize = LINE / size_of::<f32>();

/// A row whose cosine is known to lie within bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    lower: f32,
    upper: f32,
    /// Which row; of equals the one of greater age number is the newer.
    pub(super) age: u64,
}

/// The rows that may be among the `keep` best at or above a threshold. It never leaves
/// out one that is.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    keep: usize,
    /// No row whose upper bound is below may be wanted.
    cut: f32,
    /// True once rows above the threshold were left out.
    is_thinned: bool,
    found: Vec<Candidate>,
    /// How many candidates there must be for thinning out to be worth its time.
    full: usize,
}

impl Collector {
    pub(super) fn new(keep: usize, threshold: f32) -> Self {
        let mut collector = Self {
            keep: keep.max(1),
            cut: threshold,
            is_thinned: false,
            found: Vec::new(),
            full: 0,
        };
        collector.make_room();
        collector
    }

    /// A collector of the same that has nothing yet.
    pub(super) fn emptied(&self) -> Self {
        let mut empty = Self {
            found: Vec::new(),
            ..*self
        };
        empty.make_room();
        empty
    }

    /// What a row must be able to reach to be taken.
    #[inline]
    pub(super) fn cut(&self) -> f32 {
        self.cut
    }

    #[inline]
    pub(super) fn offer(&mut self, estimate: Estimate, age: u64) {
        let upper = estimate.cosine + estimate.margin;
        if upper < self.cut {
            return;
        }
        self.found.push(Candidate {
            lower: estimate.cosine - estimate.margin,
            upper,
            age,
        });
        if self.found.len() >= self.full {
            self.thin_out();
        }
    }

    /// Takes in what another thread found.
    pub(super) fn merge(&mut self, other: Self) {
        self.cut = self.cut.max(other.cut);
        self.is_thinned |= other.is_thinned;
        self.found.extend(other.found);
        self.thin_out();
    }

    /// The cosine, as far as it is known, of the last of so many best; `None` where
    /// there are fewer.
    pub(super) fn last_of_best(&mut self, count: usize) -> Option<f32> {
        let place = count.checked_sub(1).filter(|at| *at < self.found.len())?;
        let twice = |candidate: &Candidate| candidate.lower + candidate.upper;
        let better = |a: &Candidate, b: &Candidate| twice(b).total_cmp(&twice(a));
        let (_, last, _) = self.found.select_nth_unstable_by(place, better);
        Some(twice(last) / 2.0)
    }

    /// Leaves out what `keep` others are certain to be better than.
    pub(super) fn thin_out(&mut self) {
        if self.found.len() > self.keep {
            let better = |a: &Candidate, b: &Candidate| b.lower.total_cmp(&a.lower);
            let (_, worst, _) = self.found.select_nth_unstable_by(self.keep - 1, better);
            if worst.lower > self.cut {
                self.cut = worst.lower;
                self.is_thinned = true;
            }
        }
        let cut = self.cut;
        self.found.retain(|candidate| candidate.upper >= cut);
        self.make_room();
    }

    /// Where bytes cannot tell the rows apart, few can be left out: trying again before
    /// there are twice as many would cost more than all else.
    fn make_room(&mut self) {
        let least = self.keep.saturating_mul(2).saturating_add(SLACK);
        self.full = self.found.len().saturating_mul(2).max(least);
    }
}

/// A row and its cosine; the greater comes first in an answer.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    cosine: f32,
    age: u64,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let cosine = self.cosine.total_cmp(&other.cosine);
        cosine.then(self.age.cmp(&other.age))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// Gives the collected rows to `take`, best first, of equals the newer first, with
/// their cosines, until it says that it has enough (false) or `threshold` is passed.
/// Compares `vector`, by a row's age, with the question's for few more rows than that
/// takes. False where rows that were left out could have been wanted: then ask again
/// with a collector that keeps more.
pub(super) fn in_order<'a>(
    mut collector: Collector,
    threshold: f32,
    question: &[f32],
    vector: impl Fn(u64) -> &'a [f32],
    mut take: impl FnMut(u64, f32) -> bool,
) -> bool {
    collector.thin_out();
    let mut rest = collector.found.as_mut_slice();
    let mut ranked = BinaryHeap::new();
    let mut step = STEP;
    let mut given = 0;
    loop {
        // Those that may reach most come first; none of the rest can pass `bound`.
        let count = step.min(rest.len());
        let by_upper = |a: &Candidate, b: &Candidate| b.upper.total_cmp(&a.upper);
        if count < rest.len() {
            rest.select_nth_unstable_by(count, by_upper);
        }
        let (head, tail) = rest.split_at_mut(count);
        for candidates in head.chunks(STEP) {
            let ages = candidates.iter().map(|candidate| candidate.age);
            let vectors: Vec<_> = ages.map(|age| (age, vector(age))).collect();
            let lines = vectors.iter().flat_map(|(_, vector)| vector.chunks(FLOATS));
            touch(lines.map(|line| line[0].to_bits()));
            ranked.extend(vectors.iter().map(|(age, vector)| Ranked {
                cosine: product(vector, question),
                age: *age,
            }));
        }
        let bound = tail.first().map(|candidate| candidate.upper);
        while let Some(best) = ranked.peek() {
            if bound.is_some_and(|bound| best.cosine <= bound) {
                break;
            }
            if best.cosine < threshold {
                return true;
            }
            if collector.is_thinned && given == collector.keep {
                return false;
            }
            given += 1;
            if !take(best.age, best.cosine) {
                return true;
            }
            ranked.pop();
        }
        if tail.is_empty() {
            // Fewer than `keep` are left only where none was left out that counts.
            return !collector.is_thinned || given < collector.keep;
        }
        rest = tail;
        step = step.saturating_mul(2);
    }
}

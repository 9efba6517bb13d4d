//! What a scan of codes leaves over, and its exact order.
//!
//! That order is the one of similarities as they are told, in whole millionths: what is
//! told as equal comes newest first, and a threshold is met by what is told.

use std::collections::BinaryHeap;

use super::codes::Estimate;
use super::kernels::{LINE, product, touch};

/// Candidates beside those wanted that a collection grows by before it is thinned out.
const SLACK: usize = 1024;

/// Fewest candidates whose vectors are compared at a time.
const STEP: usize = 16;

/// Floats that the processor fetches at a time.
const FLOATS: usize = LINE / size_of::<f32>();

/// Similarities are told in steps of one over so many.
const STEPS: f64 = 1e6;

/// Two cosines farther apart are not told as equal, whatever `f32` rounds off.
pub(super) const TIE: f32 = 1.2e-6;

/// A cosine in the steps in which it is told, `-STEPS` to `STEPS`.
pub(super) fn steps(cosine: f32) -> i32 {
    (f64::from(cosine.clamp(-1.0, 1.0)) * STEPS).round() as i32
}

/// A number of steps as it is told.
pub(super) fn told(steps: i32) -> f64 {
    f64::from(steps) / STEPS
}

/// The least number of steps that is told as so much or more.
pub(super) fn steps_from(threshold: f64) -> i32 {
    let mut least = (threshold * STEPS).floor() as i32 - 1;
    while told(least) < threshold {
        least += 1;
    }
    least
}

/// A row whose cosine is known to lie within bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) lower: f32,
    pub(super) upper: f32,
    /// Which row, of which matrix.
    pub(super) place: u64,
}

/// The rows that may be among the `keep` best that meet a threshold. It never leaves out
/// one that is.
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
    pub(super) fn new(keep: usize, threshold: f64) -> Self {
        let mut collector = Self {
            keep: keep.max(1),
            cut: told(steps_from(threshold)) as f32 - TIE,
            is_thinned: false,
            found: Vec::new(),
            full: 0,
        };
        collector.make_room();
        collector
    }

    /// How many best it collects.
    pub(super) fn keep(&self) -> usize {
        self.keep
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

    /// The same with no more room than it has rows.
    pub(super) fn kept(&self) -> Self {
        let mut kept = self.clone();
        kept.found.shrink_to_fit();
        kept
    }

    /// What a row must be able to reach to be taken.
    #[inline]
    pub(super) fn cut(&self) -> f32 {
        self.cut
    }

    #[inline]
    pub(super) fn offer(&mut self, estimate: Estimate, place: u64) {
        let upper = estimate.cosine + estimate.margin;
        if upper < self.cut {
            return;
        }
        self.found.push(Candidate {
            lower: estimate.cosine - estimate.margin,
            upper,
            place,
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

    /// The rows that it has, in no order.
    pub(super) fn found(&self) -> &[Candidate] {
        &self.found
    }

    /// True once rows above the threshold were left out.
    pub(super) fn is_thinned(&self) -> bool {
        self.is_thinned
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.found.len()
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
            let cut = worst.lower - TIE;
            if cut > self.cut {
                self.cut = cut;
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

/// A row as it is told; the greatest comes first in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ranked {
    pub(super) steps: i32,
    pub(super) age: u64,
    pub(super) place: u64,
}

/// Gives the places of the collected rows to `take`, best first, of equals the newer
/// first, with their similarities as they are told, until it says that it has enough
/// (false) or `threshold` is passed. Compares the vector of `row`, which gives a row's age
/// and vector by its place, with the question's for few more rows than that takes. False
/// where rows that were left out could have been wanted: then ask again with a collector
/// that keeps more.
pub(super) fn in_order<'a>(
    mut collector: Collector,
    threshold: f64,
    question: &[f32],
    row: impl Fn(u64) -> Option<(u64, &'a [f32])>,
    mut take: impl FnMut(u64, f64) -> bool,
) -> bool {
    let least = steps_from(threshold);
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
            let places = candidates.iter().map(|candidate| candidate.place);
            let rows = places.filter_map(|place| Some((place, row(place)?)));
            let rows: Vec<_> = rows.collect();
            let lines = rows
                .iter()
                .flat_map(|(_, (_, vector))| vector.chunks(FLOATS));
            touch(lines.map(|line| line[0].to_bits()));
            ranked.extend(rows.iter().map(|(place, (age, vector))| Ranked {
                steps: steps(product(vector, question)),
                age: *age,
                place: *place,
            }));
        }
        let bound = tail.first().map(|candidate| steps(candidate.upper));
        while let Some(best) = ranked.peek() {
            // One of the rest may be told as equal, and be newer.
            if bound.is_some_and(|bound| best.steps <= bound) {
                break;
            }
            if best.steps < least {
                return true;
            }
            if collector.is_thinned && given == collector.keep {
                return false;
            }
            given += 1;
            if !take(best.place, told(best.steps)) {
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

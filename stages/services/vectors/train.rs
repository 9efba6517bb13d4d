//! Finding the centroids: spherical k-means over a sample (I. S. Dhillon and D. S.
//! Modha, Concept decompositions for large sparse text data using clustering, Machine
//! Learning 42, 2001), with the products of codes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::freedom;
use super::kernels::WideLine;
use super::normalised;
use super::partition::{Centroids, Partition};
use super::view::{RowNumber, View};

/// Lists a square root of the number of rows.
const LISTS_PER_ROOT: f64 = 3.2;
/// Rows of the sample a list.
const SAMPLE: usize = 40;
/// At most one in so many rows is a question that the lists are tried with.
const QUESTIONS_SHARE: usize = 5;
/// Rounds of k-means.
const ROUNDS: usize = 8;
/// The same rows give the same lists.
const SEED: u64 = 5;

/// How many lists so many rows get.
pub(super) fn lists(rows: usize) -> usize {
    (((rows as f64).sqrt() * LISTS_PER_ROOT) as usize).max(1)
}

/// Partitions the rows there are. `None` where it was told to stop.
pub(super) fn train(view: &View, ended: &AtomicBool) -> Option<Partition> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let first_row = view.rows().start;
    let count = lists(view.len());
    let mut shuffled: Vec<RowNumber> = view.live_rows().collect();
    random.shuffle(&mut shuffled);
    // Those that questions are made of are no part of the sample: it is nearer to the centroids
    // than anything that comes later, and lists of few rows are made around each of them.
    let questions = freedom::QUESTIONS.min(shuffled.len() / QUESTIONS_SHARE);
    let (sample, questions) = shuffled.split_at(shuffled.len() - questions);
    let sample = &sample[..sample.len().min(count * SAMPLE)];
    let first = sample.iter().take(count);
    let first = first.flat_map(|row| view.vector(*row).0.into_owned());
    let mut centroids = Centroids::new(view.dim, first.collect());
    let mut assign = Assign::new(centroids.len());
    for _ in 0..ROUNDS {
        let mut sums = vec![0.0; centroids.len() * view.dim];
        for &row in sample {
            if ended.load(Ordering::Relaxed) {
                return None;
            }
            let list = assign.nearest(&centroids, view, row);
            let sum = &mut sums[list * view.dim..][..view.dim];
            for (sum, x) in sum.iter_mut().zip(view.vector(row).0.iter()) {
                *sum += x;
            }
        }
        for sum in sums.chunks_exact_mut(view.dim) {
            match normalised(sum) {
                Some(mean) => sum.copy_from_slice(&mean),
                // A list that nothing is nearest to begins anew somewhere else.
                None => {
                    let row = sample[random.usize(..sample.len())];
                    sum.copy_from_slice(&view.vector(row).0);
                }
            }
        }
        centroids = Centroids::new(view.dim, sums);
    }
    let mut partition = Partition::new(Arc::new(centroids), view.len() as u64, first_row);
    if !extend(&mut partition, view, ended) {
        return None;
    }
    let questions = questions.iter().copied();
    partition.freedom = freedom::measured(&partition, view, questions, ended)?;
    Some(partition)
}

/// Puts the rows that came since into their lists. False where it was told to stop.
pub(super) fn extend(partition: &mut Partition, view: &View, ended: &AtomicBool) -> bool {
    let centroids = partition.centroids().clone();
    let mut assign = Assign::new(centroids.len());
    for row in partition.next_row().max(view.rows().start)..view.rows().end {
        if ended.load(Ordering::Relaxed) {
            return false;
        }
        if view.row(row).is_none() {
            continue;
        }
        let list = assign.nearest(&centroids, view, row);
        let (segment, place) = view.place(row);
        let (vector, off) = view.vector(row);
        partition.push(row, list, (&vector, off), segment.codes.fit(place));
    }
    true
}

/// Room for finding the nearest centroid of one row after the other.
struct Assign {
    codes: Vec<WideLine>,
    products: Vec<i32>,
}

impl Assign {
    fn new(lists: usize) -> Self {
        Self {
            codes: Vec::new(),
            products: vec![0; lists],
        }
    }

    fn nearest(&mut self, centroids: &Centroids, view: &View, row: RowNumber) -> usize {
        let (segment, place) = view.place(row);
        self.codes.clear();
        let lines = segment.codes.row(place).iter();
        self.codes.extend(lines.map(WideLine::from));
        centroids.nearest(&self.codes, &mut self.products)
    }
}

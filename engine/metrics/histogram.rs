//! Durations by their length.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in nanoseconds, rising.
pub type Bounds = &'static [u64];

/// Those of requests: of `http.server.request.duration`, as OpenTelemetry advises.
pub const HTTP: Bounds = &[
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// Those of stages, the shortest of which take microseconds.
pub const STAGE: Bounds = &[
    100_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// How many durations were how long. Two additions each, and no lock.
#[derive(Debug)]
pub struct Histogram {
    bounds: Bounds,
    /// One for each bound, and one for what is longer than all of them.
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

/// What a [`Histogram`] holds at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// For each upper bound in seconds how many are no longer than it and longer than the one
    /// before; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// Seconds in all.
    pub sum: f64,
    /// How many there are.
    pub count: u64,
}

impl Histogram {
    /// Nothing yet, by these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            nanos: AtomicU64::new(0),
        }
    }

    /// Counts one more.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What it holds now. The count is that of the buckets, whatever is added meanwhile.
    #[must_use]
    pub fn read(&self) -> Distribution {
        let bounds = self.bounds.iter().map(|nanos| *nanos as f64 / 1e9);
        let counts = self.buckets.iter();
        let counts = counts.map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        Distribution {
            count: buckets.iter().map(|(_, count)| count).sum(),
            sum: self.nanos.load(Ordering::Relaxed) as f64 / 1e9,
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_with_the_first_bound_that_it_does_not_pass() {
        let all = Histogram::new(HTTP);
        for millis in [0, 5, 6, 10_000, 10_001] {
            all.observe(Duration::from_millis(millis));
        }
        all.observe(Duration::ZERO);
        let read = all.read();
        let found: Vec<_> = read
            .buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            found,
            [&(0.005, 3), &(0.01, 1), &(10.0, 1), &(f64::INFINITY, 1)]
        );
        assert_eq!(read.count, 6);
        assert!((read.sum - 20.012).abs() < 1e-9, "{}", read.sum);
        assert_eq!(read.buckets.len(), HTTP.len() + 1);
    }

    #[test]
    fn bounds_rise() {
        for bounds in [HTTP, STAGE] {
            assert!(bounds.is_sorted_by(|one, next| one < next));
        }
    }
}

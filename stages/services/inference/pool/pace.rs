//! How fast a queue moves at best, as it was measured.

use std::time::Duration;

/// The weight of a slower one in the running mean; a faster one counts at once.
const WEIGHT: f64 = 1.0 / 32.0;

/// The model's own time for each that it does, near its best. What else the threads do meanwhile, such
/// as pictures, ends some day: who is refused for want of time must be one who cannot be served.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Seconds; none before it was measured.
    each: Option<f64>,
}

impl Pace {
    /// So many were done at once, which took that long.
    pub(super) fn done(&mut self, count: usize, took: Duration) {
        let measured = took.as_secs_f64() / count.max(1) as f64;
        self.each = Some(match self.each {
            Some(each) if measured > each => each + WEIGHT * (measured - each),
            _ => measured,
        });
    }

    /// How long so many take at least; no time where that is not known.
    pub(super) fn wait(&self, count: usize) -> Duration {
        let seconds = self.each.unwrap_or_default() * count as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_slow_one_is_an_exception_until_all_are() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(100), Duration::ZERO, "nothing was measured");
        // The first one waits for memory and caches.
        pace.done(2, ms(800));
        assert_eq!(pace.wait(100), ms(40_000));
        pace.done(2, ms(8));
        assert_eq!(pace.wait(100), ms(400));
        pace.done(8, ms(320));
        assert!(pace.wait(100) < ms(600), "{:?}", pace.wait(100));
        for _ in 0..200 {
            pace.done(8, ms(320));
        }
        let wait = pace.wait(100).as_secs_f64();
        assert!((3.9..=4.0).contains(&wait), "{wait}");
    }
}

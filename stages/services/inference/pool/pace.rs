//! How fast a queue moves, as it was measured.

use std::time::{Duration, Instant};

/// The weight of one that is done in the running mean.
const WEIGHT: f64 = 1.0 / 32.0;

/// The time between two that a queue lets go, a running mean of what was measured while others
/// waited: without a queue it would tell how often somebody comes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Seconds; none before it was measured.
    each: Option<f64>,
    /// From when on somebody has waited without a break.
    waited_since: Option<Instant>,
    last_done: Option<Instant>,
}

impl Pace {
    /// Somebody comes where nobody waited.
    pub(super) fn begin(&mut self, now: Instant) {
        self.waited_since = Some(now);
    }

    /// So many are done at once, which took that long; `is_followed` where others wait still.
    pub(super) fn done(&mut self, now: Instant, count: usize, took: Duration, is_followed: bool) {
        let last = self.last_done.replace(now);
        if !is_followed {
            self.waited_since = None;
            return;
        }
        let since = match (last, self.waited_since) {
            // The queue moved from the last one's end to this one's.
            (Some(last), Some(waited)) if waited <= last => now.saturating_duration_since(last),
            _ => took,
        };
        let count = count.max(1) as f64;
        let measured = since.as_secs_f64() / count;
        let weight = (WEIGHT * count).min(1.0);
        self.each = Some(match self.each {
            Some(each) => each + weight * (measured - each),
            None => measured,
        });
    }

    /// How long so many take; no time where that is not known.
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
    fn it_is_measured_while_others_wait_and_only_then() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.begin(start);
        pace.done(start + ms(10), 1, ms(10), false);
        assert_eq!(pace.wait(100), Duration::ZERO, "nobody waited");

        pace.begin(start + ms(1000));
        pace.done(start + ms(1008), 2, ms(8), true);
        assert_eq!(pace.wait(100), ms(400));
        // From now on from end to end: between two ends other work was done.
        for turn in 1..200 {
            pace.done(start + ms(1008 + turn * 24), 2, ms(8), true);
        }
        let wait = pace.wait(100).as_secs_f64();
        assert!((1.15..=1.2).contains(&wait), "{wait}");
        // A pause in which nobody waited does not count.
        pace.done(start + ms(6000), 1, ms(8), false);
        pace.begin(start + ms(90_000));
        pace.done(start + ms(90_010), 1, ms(8), true);
        assert!(pace.wait(100).as_secs_f64() < 1.2);
    }
}

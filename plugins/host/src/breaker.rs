//! Stops asking a stage that fails again and again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Counts faults in a row; after so many, calls are refused for a while, then one is let
/// through to see whether the stage is well again.
pub(super) struct Breaker {
    most: u32,
    rest: Duration,
    in_a_row: AtomicU32,
    until: Mutex<Option<Instant>>,
}

impl Breaker {
    pub(super) fn new(most: u32, rest: Duration) -> Self {
        Self {
            most,
            rest,
            in_a_row: AtomicU32::new(0),
            until: Mutex::new(None),
        }
    }

    /// The time until the stage is tried again, where it is stopped. The first to ask after
    /// that time is the one who tries.
    pub(super) fn admit(&self) -> Result<(), Duration> {
        if self.in_a_row.load(Ordering::Relaxed) < self.most {
            return Ok(());
        }
        let Ok(mut until) = self.until.lock() else {
            return Ok(());
        };
        let now = Instant::now();
        match *until {
            Some(at) if now < at => Err(at - now),
            _ => {
                *until = Some(now + self.rest);
                Ok(())
            }
        }
    }

    pub(super) fn succeeded(&self) {
        if self.in_a_row.load(Ordering::Relaxed) > 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn failed(&self) {
        if self
            .in_a_row
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
            >= self.most
            && let Ok(mut until) = self.until.lock()
        {
            *until = Some(Instant::now() + self.rest);
        }
    }

    /// Faults in a row, where they are so many that the stage is stopped.
    pub(super) fn stopped(&self) -> Option<u32> {
        let faults = self.in_a_row.load(Ordering::Relaxed);
        (faults >= self.most).then_some(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_so_many_faults_and_lets_one_call_through_later() {
        let breaker = Breaker::new(2, Duration::from_millis(30));
        breaker.failed();
        assert!(breaker.admit().is_ok());
        breaker.failed();
        assert!(breaker.admit().unwrap_err() <= Duration::from_millis(30));
        assert_eq!(breaker.stopped(), Some(2));
        std::thread::sleep(Duration::from_millis(40));
        assert!(breaker.admit().is_ok(), "one is let through");
        assert!(breaker.admit().is_err(), "and only one");
        breaker.succeeded();
        assert!(breaker.admit().is_ok());
        assert_eq!(breaker.stopped(), None);
    }
}

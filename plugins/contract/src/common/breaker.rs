//! A circuit breaker: what keeps failing is left alone for a while, so that callers do not wait for
//! it and it can recover.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts failures in a row; after so many, calls are refused for a while, then one is let through
/// to try. A call that began before the breaker opened says nothing of what came after.
#[derive(Debug)]
pub struct Breaker {
    most: u32,
    rest: Duration,
    in_a_row: AtomicU32,
    /// How often the breaker opened.
    opened: AtomicU64,
    /// Until when nothing is let through.
    until: Mutex<Option<Instant>>,
}

/// A call that was let through.
#[derive(Clone, Copy, Debug)]
#[must_use = "its end is to be told to the breaker"]
pub struct Admitted(u64);

impl Breaker {
    /// Opens after `most` failures in a row, for as long as `rest`.
    #[must_use]
    pub const fn new(most: u32, rest: Duration) -> Self {
        Self {
            most,
            rest,
            in_a_row: AtomicU32::new(0),
            opened: AtomicU64::new(0),
            until: Mutex::new(None),
        }
    }

    /// Lets a call through, at this time.
    ///
    /// # Errors
    /// The time that is left until one may try. The first to ask after that time is the one;
    /// the next may after its end, or as much time again.
    pub fn admit(&self, now: Instant) -> Result<Admitted, Duration> {
        if self.in_a_row.load(Ordering::Relaxed) >= self.most {
            let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
            match *until {
                Some(at) if now < at => return Err(at - now),
                _ => *until = Some(now + self.rest),
            }
        }
        Ok(Admitted(self.opened.load(Ordering::Relaxed)))
    }

    /// The call came back well.
    pub fn succeeded(&self, call: Admitted) {
        if self.in_a_row.load(Ordering::Relaxed) > 0 && self.is_current(call) {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// The call failed, at this time.
    pub fn failed(&self, call: Admitted, now: Instant) {
        if !self.is_current(call) {
            return;
        }
        let failures = self.in_a_row.fetch_add(1, Ordering::Relaxed);
        if failures.saturating_add(1) >= self.most {
            let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
            *until = Some(now + self.rest);
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Failures in a row, where they are so many that calls are refused.
    #[must_use]
    pub fn open(&self) -> Option<u32> {
        let failures = self.in_a_row.load(Ordering::Relaxed);
        (failures >= self.most).then_some(failures)
    }

    fn is_current(&self, call: Admitted) -> bool {
        call.0 == self.opened.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(30);

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try_after_a_while() {
        let breaker = Breaker::new(2, REST);
        let start = Instant::now();
        let call = || breaker.admit(start).unwrap();
        breaker.failed(call(), start);
        breaker.succeeded(call());
        breaker.failed(call(), start);
        assert_eq!(
            breaker.open(),
            None,
            "failures before a success do not count"
        );
        breaker.failed(call(), start);
        assert_eq!(breaker.open(), Some(2));
        assert_eq!(
            breaker.admit(start + REST / 3).unwrap_err(),
            REST - REST / 3
        );

        let later = start + REST;
        let trial = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_err(), "only one tries");
        breaker.failed(trial, later);
        assert!(breaker.admit(later + REST / 2).is_err());
        let trial = breaker.admit(later + REST).unwrap();
        breaker.succeeded(trial);
        assert_eq!(breaker.open(), None);
        assert!(breaker.admit(later).is_ok());
    }

    #[test]
    fn a_call_from_before_it_opened_does_not_close_it() {
        let breaker = Breaker::new(1, REST);
        let now = Instant::now();
        let slow = breaker.admit(now).unwrap();
        breaker.failed(breaker.admit(now).unwrap(), now);
        breaker.succeeded(slow);
        assert_eq!(breaker.open(), Some(1));
        breaker.failed(slow, now + REST);
        assert!(breaker.admit(now + REST).is_ok(), "nor keep it open");
    }
}

//! A circuit breaker: a server that keeps failing is left alone for a while, so that
//! answers do not wait for it and it can recover.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open the breaker.
pub(super) const FAILURES_TO_OPEN: u32 = 5;
/// How long it stays open before one question is let through to try.
pub(super) const OPEN_FOR: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Until when nothing is let through.
    open_until: Option<Instant>,
}

impl Breaker {
    /// True where a question may go out. Once the time is over one may, and the next
    /// only after that one's end, or as much time again.
    pub(super) fn allow(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match state.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.open_until = Some(now + OPEN_FOR);
                true
            }
        }
    }

    pub(super) fn succeeded(&self) {
        *self.lock() = State::default();
    }

    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES_TO_OPEN {
            state.open_until = Some(now + OPEN_FOR);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().open_until.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try_after_a_while() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for _ in 1..FAILURES_TO_OPEN {
            breaker.failed(start);
        }
        assert!(breaker.allow(start));
        breaker.succeeded();
        for _ in 0..FAILURES_TO_OPEN {
            assert!(
                breaker.allow(start),
                "failures before a success do not count"
            );
            breaker.failed(start);
        }
        assert!(breaker.is_open() && !breaker.allow(start));

        let later = start + OPEN_FOR;
        assert!(breaker.allow(later), "one tries");
        assert!(!breaker.allow(later), "only one");
        breaker.failed(later);
        assert!(!breaker.allow(later + OPEN_FOR / 2));
        assert!(breaker.allow(later + OPEN_FOR));
        breaker.succeeded();
        assert!(!breaker.is_open() && breaker.allow(later));
    }
}

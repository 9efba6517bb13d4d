//! Whether the database is there, as the last operation found it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Store, StoreError, limits};

/// A fault is logged at most so often.
const LOG_EVERY: Duration = Duration::from_secs(10);

impl Store {
    /// What a stage says of itself that needs no more than the store: why it serves less than it
    /// should, if so.
    #[must_use]
    pub fn health(&self) -> omnizap_contract::Health {
        omnizap_contract::Health {
            degraded: self.degraded(),
            ..omnizap_contract::Health::default()
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Health {
    fault: Mutex<Option<Fault>>,
    failures: AtomicU64,
    probing: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    since: Instant,
    last: Instant,
    logged: Instant,
}

impl Health {
    /// Notes that the database did what it was asked.
    pub(super) fn good(&self) {
        let Some(fault) = self.lock().take() else {
            return;
        };
        tracing::info!(after = ?fault.since.elapsed(), "the store is back");
    }

    /// Notes that it did not. True where nobody is asking yet whether it is back.
    pub(super) fn bad(&self, error: &StoreError) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut guard = self.lock();
        let log = guard.is_none_or(|fault| now.duration_since(fault.logged) >= LOG_EVERY);
        let before = guard.unwrap_or(Fault {
            since: now,
            last: now,
            logged: now,
        });
        *guard = Some(Fault {
            since: before.since,
            last: now,
            logged: if log { now } else { before.logged },
        });
        drop(guard);
        if log {
            tracing::warn!(%error, "the store failed: caches are off and feedback is refused until it is back");
        }
        !self.probing.swap(true, Ordering::AcqRel)
    }

    /// The database answered the prober: true where it may end, false where something
    /// has failed since, and whoever saw it left the asking to this prober.
    pub(super) fn probed(&self) -> bool {
        self.probing.store(false, Ordering::Release);
        !self.is_failing() || self.probing.swap(true, Ordering::AcqRel)
    }

    /// Notes that the database is there and refused what it was given.
    pub(super) fn refused(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// True shortly after a failure.
    pub(super) fn is_resting(&self) -> bool {
        self.lock()
            .is_some_and(|fault| fault.last.elapsed() < limits::REST)
    }

    /// True from a failure on until the database does again what it is asked.
    pub(super) fn is_failing(&self) -> bool {
        self.lock().is_some()
    }

    /// Why the store serves less than it should, for clients.
    pub(super) fn degraded(&self) -> Option<String> {
        self.lock().map(|fault| {
            format!(
                "the store has been failing for {} s: answers come without what it remembers, and feedback is refused until it is back",
                fault.since.elapsed().as_secs()
            )
        })
    }

    /// Operations that failed since the start.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Fault>> {
        self.fault
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

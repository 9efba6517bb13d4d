//! Whether the database is there, and whether it can be written, as the last operations found
//! it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Store, StoreError, limits};

/// A fault is logged at most so often, unless it is known only now what it is, or that it does not
/// pass by itself; one that does not once, unless it becomes another.
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

/// What the database is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Reading,
    Writing,
}

/// What has to be found out before all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// Whether it fails at all, or only one operation did not end in time.
    Proof,
    /// Whether it answers.
    Answer,
    /// Whether it can be written.
    Write,
    /// Whether nothing fails for a while.
    Time,
}

#[derive(Debug, Default)]
pub(super) struct Health {
    fault: Mutex<Option<Fault>>,
    failures: AtomicU64,
    probing: AtomicBool,
    /// What did not end in time, since that was last looked into.
    doubt: Mutex<Option<Use>>,
    /// Reads that answers waited for and that did not end in time, without one between that did.
    slow_reads: AtomicU32,
}

#[derive(Debug)]
struct Fault {
    since: Instant,
    last: Instant,
    logged: Instant,
    /// What was logged.
    cause: String,
    /// True where that says no more than that nothing was said.
    is_vague: bool,
    /// True where it cannot be read either.
    reads: bool,
    /// True where it answers and cannot be written: an answer ends nothing.
    writes: bool,
    /// True where it does not pass by itself.
    lasts: bool,
    /// Since when it can be written for all we know: whoever writes finds out.
    trying: Option<Instant>,
}

impl Fault {
    /// True where nobody need try.
    fn stops(&self, by: Use) -> bool {
        self.trying.is_none() && (by == Use::Writing || self.reads)
    }
}

impl Health {
    /// Notes that the database did what it was asked at a time. What failed after that is not
    /// mended by it.
    pub(super) fn good(&self, by: Use, asked: Instant) {
        let mut guard = self.lock();
        let Some(fault) = guard.as_mut().filter(|fault| fault.last <= asked) else {
            return;
        };
        if by == Use::Reading && fault.writes {
            fault.reads = false;
            return;
        }
        Self::end(guard);
    }

    fn end(mut guard: MutexGuard<'_, Option<Fault>>) {
        let fault = guard.take();
        drop(guard);
        if let Some(fault) = fault {
            tracing::info!(after = ?fault.since.elapsed(), "the store is back");
        }
    }

    /// Notes that an operation did not end in time, which says nothing about others: it is to be
    /// found out whether the database fails, and until then nothing is refused. True where nobody
    /// is asking yet.
    pub(super) fn doubt(&self, by: Use) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.doubt_again(by);
        !self.probing.swap(true, Ordering::AcqRel)
    }

    /// The same, by whoever could not find out.
    pub(super) fn doubt_again(&self, by: Use) {
        let mut doubt = self.doubts();
        // Whoever writes has been answered too.
        *doubt = match *doubt {
            Some(Use::Writing) => Some(Use::Writing),
            Some(Use::Reading) | None => Some(by),
        };
    }

    /// What is to be found out, by whoever does.
    pub(super) fn take_doubt(&self) -> Use {
        self.doubts().take().unwrap_or(Use::Reading)
    }

    /// Counts a read that an answer waited for and that did not end in time. True where so many
    /// of them did not, one after the other, that it is no chance.
    pub(super) fn is_in_a_row(&self) -> bool {
        let before = self.slow_reads.fetch_add(1, Ordering::AcqRel);
        before + 1 >= limits::READS_IN_A_ROW
    }

    /// Notes that such a read ended in time.
    pub(super) fn read_in_time(&self) {
        self.slow_reads.store(0, Ordering::Release);
    }

    /// Notes that it did not; `spares` where that says nothing about reading. True where nobody
    /// is asking yet whether it is back. `name` is that of the database, for the log.
    pub(super) fn bad(
        &self,
        error: &StoreError,
        spares: bool,
        name: impl FnOnce() -> String,
    ) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.slow_reads.store(0, Ordering::Release);
        let now = Instant::now();
        let (cause, lasts) = (error.to_string(), error.lasts());
        let mut guard = self.lock();
        let log = guard.as_ref().is_none_or(|fault| {
            let is_told = fault.lasts && lasts && fault.cause == cause;
            let is_clearer = fault.is_vague && !error.is_vague();
            let is_worse = lasts && !fault.lasts && fault.cause != cause;
            !is_told && (is_clearer || is_worse || now.duration_since(fault.logged) >= LOG_EVERY)
        });
        let before = guard.take();
        let reads = !spares || before.as_ref().is_some_and(|fault| fault.reads);
        let since = before.as_ref().map_or(now, |fault| fault.since);
        let writes = spares || before.as_ref().is_some_and(|fault| fault.writes);
        let (logged, cause, is_vague) = match before {
            Some(fault) if !log => (fault.logged, fault.cause, fault.is_vague),
            _ => (now, cause, error.is_vague()),
        };
        *guard = Some(Fault {
            since,
            last: now,
            writes,
            reads,
            lasts,
            trying: None,
            logged,
            cause,
            is_vague,
        });
        drop(guard);
        if log {
            tell(error, &name(), reads, lasts);
        }
        !self.probing.swap(true, Ordering::AcqRel)
    }

    /// What the prober is to find out next.
    pub(super) fn needs(&self) -> Need {
        let guard = self.lock();
        let Some((trying, writes)) = guard.as_ref().map(|fault| (fault.trying, fault.writes))
        else {
            return self.proof().unwrap_or(Need::Nothing);
        };
        match trying {
            Some(since) if since.elapsed() >= limits::SETTLE => {
                Self::end(guard);
                self.proof().unwrap_or(Need::Nothing)
            }
            Some(_) => self.proof().unwrap_or(Need::Time),
            None if writes => Need::Write,
            None => Need::Answer,
        }
    }

    fn proof(&self) -> Option<Need> {
        self.doubts().map(|_| Need::Proof)
    }

    /// The prober has written: whoever wants to may try.
    pub(super) fn can_be_written(&self) {
        if let Some(fault) = self.lock().as_mut() {
            fault.reads = false;
            fault.trying = Some(Instant::now());
        }
    }

    /// The database answered the prober: true where it may end, false where something
    /// has failed since, and whoever saw it left the asking to this prober.
    pub(super) fn probed(&self) -> bool {
        self.probing.store(false, Ordering::Release);
        let is_quiet = self.lock().is_none() && self.doubts().is_none();
        is_quiet || self.probing.swap(true, Ordering::AcqRel)
    }

    /// Notes that the database is there, and that what it was given was not taken.
    pub(super) fn refused(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// True shortly after a failure.
    pub(super) fn is_resting(&self) -> bool {
        self.lock()
            .as_ref()
            .is_some_and(|fault| fault.last.elapsed() < limits::REST)
    }

    /// True from a failure on until the database does again what it is asked, for the use that
    /// failed.
    pub(super) fn is_failing(&self, by: Use) -> bool {
        self.lock().as_ref().is_some_and(|fault| fault.stops(by))
    }

    /// True where it fails, and that does not pass by itself.
    pub(super) fn lasts(&self) -> bool {
        self.lock().as_ref().is_some_and(|fault| fault.lasts)
    }

    /// Why the store serves less than it should, for clients.
    pub(super) fn degraded(&self) -> Option<String> {
        self.lock().as_ref().map(|fault| {
            let seconds = fault.since.elapsed().as_secs();
            let what = match fault.reads {
                true => format!(
                    "the store has been failing for {seconds} s: answers come without what it remembers, and feedback is refused until it is back"
                ),
                false => format!(
                    "the store could not be written for {seconds} s: feedback is refused and new pictures wait until it can"
                ),
            };
            match fault.lasts {
                true => format!("{what}; that does not pass by itself, and the log says why"),
                false => what,
            }
        })
    }

    /// Operations that failed since the start.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubts(&self) -> MutexGuard<'_, Option<Use>> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(error: &StoreError, database: &str, reads: bool, lasts: bool) {
    let hint = match lasts {
        true => "; that does not pass by itself, and is said once",
        false => "",
    };
    if reads {
        tracing::warn!(
            database,
            %error,
            "the store failed: caches are off and feedback is refused until it is back{hint}"
        );
    } else {
        tracing::warn!(
            database,
            %error,
            "the store cannot be written: feedback is refused and pictures wait until it can{hint}"
        );
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::DbErr;

    use super::*;

    fn away() -> StoreError {
        StoreError::Database {
            doing: "x",
            source: DbErr::Custom("away".into()),
        }
    }

    fn bad(health: &Health, error: &StoreError, spares: bool) -> bool {
        health.bad(error, spares, String::new)
    }

    #[test]
    fn any_success_ends_that_a_database_is_away() {
        let health = Health::default();
        let begun = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        assert!(bad(&health, &away(), false), "nobody asks yet");
        assert!(!bad(&health, &away(), false), "somebody asks");
        assert!(health.is_failing(Use::Reading) && health.is_failing(Use::Writing));
        assert_eq!(health.needs(), Need::Answer);
        assert!(!health.probed(), "it still fails");
        health.good(Use::Reading, begun);
        assert!(health.degraded().is_some(), "it was asked before");
        health.good(Use::Reading, Instant::now());
        assert_eq!((health.degraded(), health.needs()), (None, Need::Nothing));
        assert!(health.probed());
    }

    #[test]
    fn only_a_write_ends_that_a_database_cannot_be_written() {
        let health = Health::default();
        bad(&health, &away(), true);
        assert!(health.is_failing(Use::Writing) && !health.is_failing(Use::Reading));
        health.good(Use::Reading, Instant::now());
        assert_eq!(health.needs(), Need::Write);
        let said = health.degraded().unwrap();
        assert!(said.contains("could not be written"), "{said}");

        // The prober could write: others may try, and it is degraded until one could too.
        health.can_be_written();
        assert!(!health.is_failing(Use::Writing) && health.degraded().is_some());
        assert_eq!(health.needs(), Need::Time);
        bad(&health, &away(), true);
        assert!(health.is_failing(Use::Writing) && !health.is_failing(Use::Reading));
        health.can_be_written();
        health.good(Use::Writing, Instant::now());
        assert_eq!((health.degraded(), health.needs()), (None, Need::Nothing));
    }

    #[test]
    fn one_that_is_late_refuses_nothing_and_is_looked_into() {
        let health = Health::default();
        assert!(health.doubt(Use::Writing), "nobody asks yet");
        assert!(!health.doubt(Use::Reading), "somebody asks");
        assert!(!health.is_failing(Use::Reading) && !health.is_failing(Use::Writing));
        assert_eq!((health.degraded(), health.needs()), (None, Need::Proof));
        assert!(!health.probed(), "it is to be asked");
        assert_eq!(health.take_doubt(), Use::Writing);
        assert_eq!(health.needs(), Need::Nothing);
        assert!(health.probed());
        assert_eq!(health.failures(), 2);
    }

    #[test]
    fn only_reads_in_a_row_that_are_late_are_no_chance() {
        let health = Health::default();
        for _ in 0..5 {
            for _ in 1..limits::READS_IN_A_ROW {
                assert!(!health.is_in_a_row());
            }
            health.read_in_time();
        }
        for _ in 1..limits::READS_IN_A_ROW {
            assert!(!health.is_in_a_row());
        }
        assert!(health.is_in_a_row());
        bad(&health, &away(), false);
        assert!(!health.is_in_a_row(), "it is known");
    }

    #[test]
    fn what_is_the_matter_is_logged_as_soon_as_it_is_known() {
        let health = Health::default();
        let named = std::cell::Cell::new(0);
        let bad = |error: &StoreError| {
            health.bad(error, false, || {
                named.set(named.get() + 1);
                String::new()
            })
        };
        let slow = StoreError::Slow {
            doing: "x",
            limit: LOG_EVERY,
        };
        for (error, logged) in [
            (&slow, 1),
            (&slow, 1),
            (&away(), 2),
            (&slow, 2),
            (&away(), 2),
        ] {
            bad(error);
            assert_eq!(named.get(), logged, "{error}");
        }
    }

    #[test]
    fn what_lasts_says_so() {
        let health = Health::default();
        let error = StoreError::Open {
            name: "/data/omnizap.db".into(),
            source: DbErr::Custom("no".into()),
            why: " (owner 0)".into(),
            lasts: true,
        };
        bad(&health, &error, false);
        assert!(health.lasts());
        let said = health.degraded().unwrap();
        assert!(said.contains("does not pass by itself"), "{said}");
        assert!(!said.contains("/data"), "{said}");
    }
}

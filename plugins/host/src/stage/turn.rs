//! A thread's turn with some calls, as who watches the thread sees it and as those see it who do
//! what there is to do.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::host::inside::{Hook, Post};
use crate::instance::Instance;

/// A thread that is watched.
pub(super) struct Watched {
    pub(super) post: Arc<Post>,
    /// When it is given up.
    until: Mutex<Instant>,
}

impl Watched {
    pub(super) fn new() -> Self {
        Self {
            post: Arc::default(),
            until: Mutex::new(Instant::now()),
        }
    }

    /// A turn begins, which may take until then.
    pub(super) fn begin(&self, until: Instant) {
        self.post.set_lost(false);
        *self.until() = until;
    }

    /// Gives the thread up where its time is over; true where that has just happened.
    pub(super) fn give_up(&self, now: Instant) -> bool {
        let is_overdue = now >= *self.until() && !self.post.is_lost();
        if is_overdue {
            self.post.set_lost(true);
        }
        is_overdue
    }

    fn until(&self) -> MutexGuard<'_, Instant> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that has not returned in time.
pub(super) struct Overdue {
    pub(super) hook: Hook,
    pub(super) request: Arc<str>,
    pub(super) calls: usize,
    pub(super) after: Duration,
}

/// A thread's turn with some calls.
pub(super) struct Turn<'w> {
    watched: &'w Watched,
    /// Instances that nobody uses again, to be dropped once the calls are answered.
    gone: RefCell<Vec<Instance>>,
}

impl<'w> Turn<'w> {
    pub(super) fn new(watched: &'w Watched) -> Self {
        Self {
            watched,
            gone: RefCell::default(),
        }
    }

    /// True where the calls were given up: what they bring counts for nothing.
    pub(super) fn is_lost(&self) -> bool {
        self.watched.post.is_lost()
    }

    /// Does what may take so long in itself, such as loading a model, whatever the deadline.
    pub(super) fn beside<T>(&self, time: Duration, work: impl FnOnce() -> T) -> T {
        let before = *self.watched.until();
        *self.watched.until() = before.max(Instant::now() + time);
        let done = work();
        *self.watched.until() = before;
        done
    }

    /// Keeps an instance until the calls are answered.
    pub(super) fn discard(&self, instance: Instance) {
        self.gone.borrow_mut().push(instance);
    }

    /// Drops what was kept: deactivates and destroys it, which may take so long.
    pub(super) fn end(self, time: Duration) {
        let gone = self.gone.take();
        if !gone.is_empty() {
            *self.watched.until() = Instant::now() + time;
            drop(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_given_up_once_and_later_where_it_does_what_takes_long() {
        let watched = Watched::new();
        let now = Instant::now();
        let (soon, later) = (Duration::from_secs(1), Duration::from_secs(60));
        watched.begin(now + soon);
        let turn = Turn::new(&watched);
        assert!(!watched.give_up(now));
        turn.beside(later, || assert!(!watched.give_up(now + soon)));
        assert!(watched.give_up(now + soon) && turn.is_lost());
        assert!(!watched.give_up(now + later), "it is given up already");
        watched.begin(now + later);
        assert!(!turn.is_lost());
    }
}

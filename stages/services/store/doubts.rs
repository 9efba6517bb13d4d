//! Whether a connection to SQLite may have something left to do when it is given back to the pool.
//! Whoever gives up in the middle leaves behind what the driver was told, and a transaction that
//! breaks off may be open still; to ask a connection costs as much as a read.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::limits;

/// What is under way on the connections of a pool, and when something last broke off. Cloned by its
/// [`Arc`].
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Transactions that write.
    writing: AtomicUsize,
    broke_off: Mutex<Option<Instant>>,
}

/// A transaction that writes; dropped before it is [`done`](Self::done), it broke off.
pub(super) struct Writing<'d> {
    doubts: &'d Doubts,
    is_done: bool,
}

/// A read; dropped before it ended well, it broke off.
struct Reading<'d, F> {
    doubts: &'d Doubts,
    work: Pin<Box<F>>,
    is_done: bool,
}

impl Doubts {
    /// Of a pool whose connections are asked each time.
    pub(super) fn standing() -> Self {
        let doubts = Self::default();
        doubts.0.writing.store(1, Ordering::Release);
        doubts
    }

    /// True where a connection that is given back is to be asked.
    pub(super) fn are_there(&self) -> bool {
        self.0.writing.load(Ordering::Acquire) > 0
            || self
                .broke_off()
                .is_some_and(|then| then.elapsed() < limits::DOUBT)
    }

    /// A transaction begins.
    pub(super) fn begin(&self) -> Writing<'_> {
        self.0.writing.fetch_add(1, Ordering::AcqRel);
        Writing {
            doubts: self,
            is_done: false,
        }
    }

    /// A read that is known of where it does not end well.
    pub(super) async fn watch<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let reading = Reading {
            doubts: self,
            work: Box::pin(work),
            is_done: false,
        };
        reading.await
    }

    fn note(&self) {
        let mut then = self
            .0
            .broke_off
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *then = Some(Instant::now());
    }

    fn broke_off(&self) -> Option<Instant> {
        *self
            .0
            .broke_off
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writing<'_> {
    /// It was committed.
    pub(super) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        // In this order: its connection may be given back meanwhile.
        if !self.is_done {
            self.doubts.note();
        }
        self.doubts.0.writing.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<T, E, F: Future<Output = Result<T, E>>> Future for Reading<'_, F> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, E>> {
        let result = ready!(self.work.as_mut().poll(context));
        self.is_done = result.is_ok();
        Poll::Ready(result)
    }
}

impl<F> Drop for Reading<'_, F> {
    fn drop(&mut self) {
        // Before the work is dropped, and with it gives its connection back.
        if !self.is_done {
            self.doubts.note();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn what_ends_well_leaves_no_doubts() {
        let doubts = Doubts::default();
        assert!(!doubts.are_there());
        let read = doubts.watch(ready(Ok::<_, ()>(1))).await;
        assert_eq!(read, Ok(1));
        assert!(!doubts.are_there());
        let writing = doubts.begin();
        assert!(doubts.are_there());
        writing.done();
        assert!(!doubts.are_there());
        assert!(Doubts::standing().are_there());
    }

    #[tokio::test]
    async fn what_fails_or_is_given_up_leaves_some() {
        let failed = Doubts::default();
        let read = failed.watch(ready(Err::<(), _>(()))).await;
        assert!(read.is_err() && failed.are_there());

        let given_up = Doubts::default();
        {
            let reading = given_up.watch(pending::<Result<(), ()>>());
            let mut reading = std::pin::pin!(reading);
            let polled = futures_util::poll!(reading.as_mut());
            assert!(polled.is_pending() && !given_up.are_there());
        }
        assert!(given_up.are_there());

        let broken = Doubts::default();
        drop(broken.begin());
        assert!(broken.are_there());
    }
}

//! Attempts at a stage: the place where it may run, its own timeout, retries.
//!
//! Waiting for a place and running are two things with a bound each. `max_wait_ms` bounds the wait
//! for one of `max_in_flight` and for a thread; one that is over is an answer of its own: busy.
//! `timeout_ms` bounds one run and counts from its begin. What is transient is tried again, and
//! what took too long where the stage is pure, after a pause as [`Backoff`] says; not at all where
//! the error itself says that it is in vain for longer than [`MAX_RETRY_BACKOFF`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use omnizap_contract::common::backoff::Backoff;
use omnizap_contract::{Call, Error, ErrorKind, Inputs, Outputs, Runner, Stage, Waiting};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pipeline::build::Step;

/// The wait before the first retry; it doubles with each further one.
const RETRY_BACKOFF: Duration = Duration::from_millis(50);
/// The longest wait between two attempts.
const MAX_RETRY_BACKOFF: Duration = Duration::from_secs(2);

/// When trying again makes sense after a wait for a place was too long.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Tells whether a stage has begun, or waits for a place; none where it needs no place.
#[derive(Clone, Debug)]
pub(super) struct Begun(Option<Arc<AtomicBool>>);

impl Begun {
    /// Of a stage that waits for a place first.
    pub(super) fn later() -> Self {
        Self(Some(Arc::default()))
    }

    /// Of a stage that runs at once.
    pub(super) fn now() -> Self {
        Self(None)
    }

    pub(super) fn is_set(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|begun| begun.load(Ordering::Relaxed))
    }

    fn set(&self) {
        if let Some(begun) = &self.0 {
            begun.store(true, Ordering::Relaxed);
        }
    }
}

/// What an attempt at a stage gave, and how long it waited and ran.
pub(super) struct Attempted {
    pub(super) node: usize,
    pub(super) result: Result<Outputs, Error>,
    pub(super) queued: Duration,
    pub(super) ran: Duration,
    pub(super) attempts: u32,
}

impl Attempted {
    /// A stage that runs where the request is driven.
    pub(super) fn at_once(node: usize, stage: &dyn Stage, inputs: &Inputs, call: &Call) -> Self {
        let (result, ran) = run_here(stage, inputs, call);
        Self {
            node,
            result,
            queued: Duration::ZERO,
            ran,
            attempts: 1,
        }
    }
}

/// Runs a stage on this thread: what it gave, and how long it took.
fn run_here(stage: &dyn Stage, inputs: &Inputs, call: &Call) -> (Result<Outputs, Error>, Duration) {
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| stage.run(inputs, call)));
    let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
    (result, started.elapsed())
}

/// Awaits a stage that has no bounds of its own: one attempt, from now to the request's deadline.
pub(super) async fn attempt_once(
    node: usize,
    stage: &dyn Waiting,
    inputs: Inputs,
    call: Call,
) -> Attempted {
    let started = Instant::now();
    let result = AssertUnwindSafe(stage.run(inputs, &call))
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(panicked(&*panic)));
    Attempted {
        node,
        result,
        queued: Duration::ZERO,
        ran: started.elapsed(),
        attempts: 1,
    }
}

/// Runs a stage until it succeeds, fails for good, or has no attempt or time left.
pub(super) async fn attempt_all(
    node: usize,
    step: &Step,
    compute: Arc<Semaphore>,
    inputs: Inputs,
    call: Call,
    begun: Begun,
) -> Attempted {
    let entered = Instant::now();
    let mut tries = Tries {
        step,
        compute,
        inputs,
        call,
        begun,
        counted: None,
        ran: Duration::ZERO,
        attempts: 0,
    };
    let result = match tries.place(step.in_flight.as_ref()).await {
        Ok(place) => {
            tries.counted = place.map(Arc::new);
            tries.run().await
        }
        Err(error) => Err(error),
    };
    Attempted {
        node,
        result,
        queued: entered.elapsed().saturating_sub(tries.ran),
        ran: tries.ran,
        attempts: tries.attempts,
    }
}

/// The attempts at one stage for one request.
struct Tries<'s> {
    step: &'s Step,
    compute: Arc<Semaphore>,
    inputs: Inputs,
    call: Call,
    begun: Begun,
    /// One of the stage's `max_in_flight` places. A thread that was given up holds it too, until its
    /// work ends.
    counted: Option<Arc<OwnedSemaphorePermit>>,
    ran: Duration,
    attempts: u32,
}

impl Tries<'_> {
    /// A place to run, waited for as long as the stage may wait; none where none is asked for.
    async fn place(
        &self,
        places: Option<&Arc<Semaphore>>,
    ) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let Some(places) = places else {
            return Ok(None);
        };
        let place = places.clone().acquire_owned();
        // The request's own deadline is kept by who drives it.
        let place = match self.step.max_wait {
            Some(wait) if wait < self.call.remaining() => tokio::time::timeout(wait, place)
                .await
                .map_err(|_| busy_error())?,
            _ => place.await,
        };
        place.map(Some).map_err(|_| {
            let closed = "the service is shutting down";
            Error::new(ErrorKind::Unavailable, closed)
        })
    }

    async fn run(&mut self) -> Result<Outputs, Error> {
        let mut backoff = Backoff::new(RETRY_BACKOFF, MAX_RETRY_BACKOFF);
        let mut failed: Option<Error> = None;
        loop {
            let is_compute = matches!(self.step.runner, Runner::Compute(_));
            let place = match self.place(is_compute.then_some(&self.compute)).await {
                Ok(place) => place,
                // What failed before says more than that there was no place to try again.
                Err(busy) => return Err(failed.unwrap_or(busy)),
            };
            let began = Instant::now();
            let (result, is_late) = self.attempt(place).await;
            self.ran += began.elapsed();
            let error = match result {
                Ok(outputs) => return Ok(outputs),
                Err(error) => error,
            };
            let is_worth_it = error.kind().is_transient() || (is_late && self.step.is_pure);
            if !is_worth_it || self.attempts > self.step.retry {
                return Err(error);
            }
            // When it makes sense to come again is for clients, who come from outside; only where that
            // is far off, another attempt is as vain as the last.
            let is_far = error.retry_after() > Some(MAX_RETRY_BACKOFF);
            let pause = backoff.pause();
            if is_far || pause >= self.call.remaining() {
                return Err(error);
            }
            failed = Some(error);
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt: what it gave, and whether its own time was over before it was done.
    async fn attempt(
        &mut self,
        place: Option<OwnedSemaphorePermit>,
    ) -> (Result<Outputs, Error>, bool) {
        self.attempts += 1;
        self.begun.set();
        let mut call = self.call.clone();
        // A timeout that ends after the request does is the request's deadline.
        let until = self.step.timeout.map(|timeout| Instant::now() + timeout);
        let until = until.filter(|until| *until < call.deadline);
        if let Some(until) = until {
            call.deadline = until;
        }
        // The last one may drop what it needs no more.
        let inputs = match self.attempts > self.step.retry {
            true => std::mem::take(&mut self.inputs),
            false => self.inputs.clone(),
        };
        let work = async {
            match &self.step.runner {
                Runner::Inline(stage) => run_here(&**stage, &inputs, &call).0,
                Runner::Async(stage) => AssertUnwindSafe(stage.run(inputs, &call))
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|panic| Err(panicked(&*panic))),
                Runner::Compute(stage) => {
                    let places = (place, self.counted.clone());
                    run_compute(stage.clone(), places, inputs, call.clone()).await
                }
            }
        };
        let Some(until) = until else {
            return (work.await, false);
        };
        match tokio::time::timeout_at(until.into(), work).await {
            // What runs where the request is driven cannot be interrupted.
            Ok(Ok(_))
                if matches!(self.step.runner, Runner::Inline(_)) && Instant::now() > until =>
            {
                let late = deadline_error("the stage took longer than its timeout");
                (Err(late), true)
            }
            Ok(result) => {
                // The stage may have seen by itself that its time was over.
                let is_deadline = |error: &Error| error.kind() == ErrorKind::Deadline;
                let is_late = result.as_ref().is_err_and(is_deadline);
                (result, is_late)
            }
            Err(_) => {
                let late = deadline_error("the stage took longer than its timeout");
                (Err(late), true)
            }
        }
    }
}

/// Runs a stage on a thread of its own.
async fn run_compute(
    stage: Arc<dyn Stage>,
    places: (
        Option<OwnedSemaphorePermit>,
        Option<Arc<OwnedSemaphorePermit>>,
    ),
    inputs: Inputs,
    call: Call,
) -> Result<Outputs, Error> {
    let joined = tokio::task::spawn_blocking(move || {
        // The places are held by the thread, not by the request: a request that is
        // gone frees them only once its work has noticed.
        let _places = places;
        if call.is_over() {
            return Err(deadline_error("nobody waits for this any more"));
        }
        run_here(&*stage, &inputs, &call).0
    });
    joined
        .await
        .unwrap_or_else(|error| Err(Error::internal(error)))
}

/// The error of one that waited for a place until nobody could wait any longer.
pub(super) fn busy_error() -> Error {
    let message = "the stage waited too long for a place to run, try again";
    Error::new(ErrorKind::Busy, message).with_retry_after(BUSY_RETRY_AFTER)
}

/// The error of one that is not begun, since those before it take too long.
pub(super) fn crowded_error(after: Duration) -> Error {
    let message = "more requests come than can be answered in good time, try again in a moment";
    Error::new(ErrorKind::Busy, message)
        .with_code("overloaded")
        .with_retry_after(after)
}

pub(super) fn deadline_error(message: &'static str) -> Error {
    Error::new(ErrorKind::Deadline, message)
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into());
    Error::internal(format!("the stage panicked: {text}"))
}

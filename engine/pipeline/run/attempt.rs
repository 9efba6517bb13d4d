//! Attempts at a stage: retries, its own timeout, the place where it may compute.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use omnizap_contract::common::backoff::Backoff;
use omnizap_contract::{Call, Error, ErrorKind, Inputs, Outputs, Runner, Stage};
use tokio::sync::Semaphore;

use crate::pipeline::build::Step;

/// The wait before the first retry; it doubles with each further one.
const RETRY_BACKOFF: Duration = Duration::from_millis(50);
/// The longest wait between two attempts.
const MAX_RETRY_BACKOFF: Duration = Duration::from_secs(2);

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

    /// A stage that did not run, because its condition has no answer.
    pub(super) fn refused(node: usize, error: Error) -> Self {
        Self {
            node,
            result: Err(error),
            queued: Duration::ZERO,
            ran: Duration::ZERO,
            attempts: 0,
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

/// Runs a stage until it succeeds, fails for good, or has no attempt or time left.
pub(super) async fn attempt_all(
    node: usize,
    step: &Step,
    compute: Arc<Semaphore>,
    inputs: Inputs,
    call: Call,
) -> Attempted {
    let entered = Instant::now();
    let _place = match &step.in_flight {
        Some(places) => places.clone().acquire_owned().await.ok(),
        None => None,
    };
    let mut ran = Duration::ZERO;
    let mut attempts = 0;
    let mut backoff = Backoff::new(RETRY_BACKOFF, MAX_RETRY_BACKOFF);
    let result = loop {
        attempts += 1;
        let (result, took) = attempt(step, &compute, &inputs, &call).await;
        ran += took;
        match result {
            Err(error) if error.kind().is_transient() && attempts <= step.retry => {
                let wait = error.retry_after().unwrap_or_else(|| backoff.pause());
                if wait >= call.remaining() {
                    break Err(error);
                }
                tokio::time::sleep(wait).await;
            }
            result => break result,
        }
    };
    Attempted {
        node,
        result,
        queued: entered.elapsed().saturating_sub(ran),
        ran,
        attempts,
    }
}

/// One attempt, and how long it ran.
async fn attempt(
    step: &Step,
    compute: &Arc<Semaphore>,
    inputs: &Inputs,
    call: &Call,
) -> (Result<Outputs, Error>, Duration) {
    let mut call = call.clone();
    // A timeout that ends after the request does is the request's deadline.
    let until = step.timeout.map(|timeout| Instant::now() + timeout);
    let until = until.filter(|until| *until < call.deadline);
    if let Some(until) = until {
        call.deadline = until;
    }
    let work = async {
        match &step.runner {
            Runner::Inline(stage) => run_here(&**stage, inputs, &call),
            Runner::Async(stage) => {
                let started = Instant::now();
                let result = AssertUnwindSafe(stage.run(inputs, &call))
                    .catch_unwind()
                    .await;
                let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
                (result, started.elapsed())
            }
            Runner::Compute(stage) => {
                run_compute(stage.clone(), compute.clone(), inputs.clone(), call.clone()).await
            }
        }
    };
    let Some(until) = until else {
        return work.await;
    };
    let started = Instant::now();
    match tokio::time::timeout_at(until.into(), work).await {
        Ok(done) => done,
        Err(_) => (
            Err(deadline_error("the stage took longer than its timeout")),
            started.elapsed(),
        ),
    }
}

async fn run_compute(
    stage: Arc<dyn Stage>,
    compute: Arc<Semaphore>,
    inputs: Inputs,
    call: Call,
) -> (Result<Outputs, Error>, Duration) {
    let Ok(place) = compute.acquire_owned().await else {
        let closed = Error::new(ErrorKind::Unavailable, "the service is shutting down");
        return (Err(closed), Duration::ZERO);
    };
    let joined = tokio::task::spawn_blocking(move || {
        // The place is held by the thread, not by the request: a request that is
        // gone frees it only once its work has noticed.
        let _place = place;
        if call.is_over() {
            return (
                Err(deadline_error("nobody waits for this any more")),
                Duration::ZERO,
            );
        }
        run_here(&*stage, &inputs, &call)
    });
    match joined.await {
        Ok(done) => done,
        Err(error) => (Err(Error::internal(error)), Duration::ZERO),
    }
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

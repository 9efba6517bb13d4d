//! Batches: calls that wait are run together, those that nobody waits for are not run at all, and
//! one that fails takes none with it.

use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::Error;
use omnizap_host::Limits;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::calls::{AWAY, Answer, BREAK, Calls, INVALID, NOT_FINITE, PANIC, WAIT};

const BATCHABLE: &str = "-DFLAGS=OZ_THREAD_SAFE|OZ_PURE|OZ_BATCHABLE";

/// A batchable stage whose thread is held by a call, until [`Held::release`].
struct Held {
    calls: Calls,
    holder: JoinHandle<Answer>,
}

impl Held {
    async fn new(flags: &[&str], limits: Limits) -> Self {
        // No place for computing: what runs, runs on the thread of the stage.
        let calls = Calls::new(flags, limits, Arc::new(Semaphore::new(0))).await;
        let holder = calls.begin(WAIT);
        calls.until("/plugin_metrics/calls", 1).await;
        Self { calls, holder }
    }

    /// Calls that wait together for the thread.
    async fn queue(&self, values: &[f64]) -> Vec<JoinHandle<Answer>> {
        let mut waiting = Vec::new();
        for value in values {
            let before = self.calls.counter("/waiting");
            waiting.push(self.calls.begin(*value));
            self.calls.until("/waiting", before + 1).await;
        }
        waiting
    }

    fn release(self) -> Calls {
        self.holder.abort();
        self.calls
    }
}

async fn answers(requests: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await.unwrap());
    }
    answers
}

fn status(answer: &Answer) -> (u16, &str) {
    answer.as_ref().map_or_else(
        |error| (error.kind().status(), error.code()),
        |_| (200, "ok"),
    )
}

fn cause(error: &Error) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn calls_that_wait_are_run_together_up_to_what_the_stage_likes() {
    let held = Held::new(&[BATCHABLE, "-DMAX_BATCH=4"], Limits::DEFAULT).await;
    let values: Vec<f64> = (0..9).map(f64::from).collect();
    let waiting = held.queue(&values).await;
    let calls = held.release();
    let answers: Vec<Json> = answers(waiting)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let numbers: Vec<&Json> = answers.iter().map(|answer| &answer["number"]).collect();
    assert_eq!(json!(numbers), json!(values), "each has its own");
    let sizes: Vec<&Json> = answers.iter().map(|answer| &answer["calls"]).collect();
    assert_eq!(json!(sizes), json!([4, 4, 4, 4, 4, 4, 4, 4, 0]));
    assert_eq!(
        (calls.counter("/batches"), calls.counter("/batched_calls")),
        (2, 8)
    );
    // The host has a bound of its own.
    let limits = Limits {
        max_batch: 2,
        ..Limits::DEFAULT
    };
    let held = Held::new(&[BATCHABLE], limits).await;
    let waiting = held.queue(&[1.0, 2.0]).await;
    held.release();
    for answer in answers_of(waiting).await {
        assert_eq!(answer["calls"], 2);
    }
}

async fn answers_of(requests: Vec<JoinHandle<Answer>>) -> Vec<Json> {
    let answers = answers(requests).await;
    answers.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_never_reaches_the_plugin() {
    let held = Held::new(&[BATCHABLE], Limits::DEFAULT).await;
    let gone = held.queue(&[1.0]).await.remove(0);
    let late = held.calls.begin_within(2.0, Duration::from_millis(20));
    gone.abort();
    let late = late.await.unwrap();
    assert_eq!(status(&late), (504, "deadline_exceeded"));
    let waiting = held.queue(&[3.0]).await;
    let calls = held.release();
    assert_eq!(answers_of(waiting).await[0]["calls"], 0, "it is alone");
    assert_eq!(calls.counter("/dropped"), 2);
    assert_eq!(
        calls.counter("/plugin_metrics/calls"),
        2,
        "the one that held, and the last"
    );
}

#[tokio::test]
async fn a_call_under_way_learns_that_nobody_waits() {
    let calls = Calls::new(&[BATCHABLE], Limits::DEFAULT, Arc::new(Semaphore::new(0))).await;
    let late = calls.begin_within(WAIT, Duration::from_millis(30));
    assert_eq!(status(&late.await.unwrap()).0, 504);
    calls.until("/plugin_metrics/given_up", 1).await;
    let gone = calls.begin(WAIT);
    calls.until("/plugin_metrics/calls", 2).await;
    gone.abort();
    calls.until("/plugin_metrics/given_up", 2).await;
    assert_eq!(calls.counter("/faults"), 0, "giving up is no fault");
}

#[tokio::test]
async fn where_too_many_wait_further_calls_are_refused_and_the_gone_make_room() {
    let limits = Limits {
        max_waiting: 2,
        ..Limits::DEFAULT
    };
    let held = Held::new(&[BATCHABLE], limits).await;
    let mut waiting = held.queue(&[1.0, 2.0]).await;
    let refused = held.calls.ask(3.0).await;
    assert_eq!(status(&refused), (429, "plugin_queue_full"));
    assert!(refused.unwrap_err().retry_after().is_some());
    let gone = waiting.remove(0);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    waiting.push(held.calls.begin(4.0));
    held.calls.until("/dropped", 1).await;
    held.release();
    let numbers: Vec<Json> = answers_of(waiting).await;
    assert_eq!(
        (&numbers[0]["number"], &numbers[1]["number"]),
        (&json!(2.0), &json!(4.0))
    );
}

#[tokio::test]
async fn a_call_of_a_batch_that_fails_takes_none_with_it() {
    let held = Held::new(&[BATCHABLE], Limits::DEFAULT).await;
    let waiting = held.queue(&[BREAK, 1.0, NOT_FINITE, 2.0]).await;
    let calls = held.release();
    let answers = answers(waiting).await;
    let found: Vec<(u16, &str)> = answers.iter().map(status).collect();
    let fault = (500, "plugin_fault");
    assert_eq!(found, [fault, (200, "ok"), fault, (200, "ok")]);
    let causes = [0, 2].map(|index: usize| cause(answers[index].as_ref().unwrap_err()));
    assert!(causes[0].contains("this one is broken"), "{causes:?}");
    assert!(causes[1].contains("NaN"), "{causes:?}");
    assert_eq!(answers[1].as_ref().unwrap()["calls"], 4);
    assert_eq!(calls.counter("/faults"), 2);
}

#[tokio::test]
async fn of_a_batch_that_fails_as_a_whole_each_call_is_run_alone() {
    for (value, failed) in [
        (PANIC, (500, "plugin_fault")),
        (INVALID, (422, "invalid_value")),
    ] {
        let held = Held::new(&[BATCHABLE], Limits::DEFAULT).await;
        let waiting = held.queue(&[1.0, value, 2.0]).await;
        held.release();
        let answers = answers(waiting).await;
        let found: Vec<(u16, &str)> = answers.iter().map(status).collect();
        assert_eq!(found, [(200, "ok"), failed, (200, "ok")]);
        assert_eq!(answers[2].as_ref().unwrap()["calls"], 0, "alone");
    }
}

#[tokio::test]
async fn what_concerns_every_call_or_may_have_had_effects_is_not_run_again() {
    let effects = "-DFLAGS=OZ_THREAD_SAFE|OZ_BATCHABLE";
    for (flags, value, failed) in [
        (effects, PANIC, (500, "plugin_fault")),
        (BATCHABLE, AWAY, (503, "unavailable")),
    ] {
        let held = Held::new(&[flags], Limits::DEFAULT).await;
        let waiting = held.queue(&[1.0, value]).await;
        let calls = held.release();
        let answers = answers(waiting).await;
        let found: Vec<(u16, &str)> = answers.iter().map(status).collect();
        assert_eq!(found, [failed, failed]);
        assert_eq!(calls.counter("/plugin_metrics/calls"), 3);
    }
}

#[tokio::test]
async fn a_stage_whose_batches_fail_is_stopped() {
    let limits = Limits {
        faults_in_a_row: 2,
        ..Limits::DEFAULT
    };
    let held = Held::new(&[BATCHABLE], limits).await;
    let waiting = held.queue(&[BREAK, BREAK]).await;
    let calls = held.release();
    for answer in answers(waiting).await {
        assert_eq!(status(&answer).0, 500, "a batch is one fault in a row");
    }
    assert_eq!(status(&calls.ask(BREAK).await).0, 500);
    assert_eq!(status(&calls.ask(1.0).await), (503, "plugin_stopped"));
}

#[tokio::test]
async fn a_batchable_stage_must_have_run_batch_and_like_a_size_that_there_is() {
    for (flag, wanted) in [
        (
            "-DHAS_RUN_BATCH=0",
            "the function `run_batch` of its stage is NULL",
        ),
        (
            "-DMAX_BATCH=300",
            "asks for batches of 300, expected 1 to 256",
        ),
    ] {
        let places = Arc::new(Semaphore::new(1));
        let refused = Calls::try_new(&[BATCHABLE, flag], Limits::DEFAULT, places).await;
        let said = refused.err().unwrap();
        assert!(said.contains(wanted), "{said}");
    }
}

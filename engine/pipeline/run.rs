//! One request through a built pipeline: every stage starts as soon as all that
//! it depends on has ended.
//!
//! All of a request is driven by one task. Stages that compute run on threads of
//! their own, as many at a time as the pipeline's compute pool has places; the
//! others take turns in the task. Dropping the future abandons the request:
//! what waits is dropped with it, what computes is told through [`Cancel`].
//!
//! A value lives until the last step that looks at it has ended, and those of the response to the
//! end. Where there are more requests than can be answered, some are refused before they begin.

mod attempt;
mod each;
mod meter;
mod respond;
mod sent;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use omnizap_contract::common::chain::chain;
use omnizap_contract::{BoxFuture, Call, Cancel, Error, Inputs, Runner, Value};
use serde_json::{Map, Value as Json};

pub use self::each::{Ended, FinishedEach, Item};

use self::attempt::{
    Attempted, Begun, attempt_all, attempt_once, busy_error, crowded_error, deadline_error,
};
use self::meter::Counted;
use self::respond::respond;
use self::sent::as_sent;
use super::build::{Pipeline, Step, StepCondition, StepVariable};
use super::config::OnError;
use super::graph::needed;
use super::trace::{Outcome, StageTrace, Trace};
use crate::metrics::stage::{AtStage, Why};

/// What one request came to.
#[derive(Debug)]
pub struct Finished {
    /// The response, or the stage that failed it.
    pub result: Result<Map<String, Json>, StageFailure>,
    /// What happened on the way.
    pub trace: Trace,
}

impl Finished {
    /// A request that was not begun: what is before it takes too long.
    fn refused(after: Duration) -> Self {
        Self {
            result: Err(StageFailure {
                stage: None,
                error: crowded_error(after),
            }),
            trace: Trace::default(),
        }
    }
}

/// The error of a request, and the stage that it came from.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct StageFailure {
    /// The stage's name; `None` where the request as a whole failed.
    pub stage: Option<String>,
    /// The error.
    #[source]
    pub error: Error,
}

/// Tells the stages of a request that it is over, however it ends.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A request under way.
struct Run<'p> {
    pipeline: &'p Pipeline,
    values: Vec<Option<Value>>,
    /// For each value how many have yet to look at it.
    readers: Vec<u32>,
    waits_for: Vec<usize>,
    ready_at: Vec<Duration>,
    ready: Vec<usize>,
    trace: Trace,
    started: Instant,
    /// Stages that failed and are skipped, with their errors: where the answer then lacks what it
    /// must have, that is why.
    failed: Vec<(usize, Error)>,
}

impl Pipeline {
    /// The end of a request that would find no place, before anything of it is read: while more
    /// come than can be answered, reading all of them would take the time of those that are. None
    /// where it may find one.
    #[must_use]
    pub fn refuses(&self, deadline: Instant) -> Option<Finished> {
        let after = self.admission.refuses(Instant::now(), deadline)?;
        Counted::begin(self.meters()).refused();
        Some(Finished::refused(after))
    }

    /// Runs one request. `values` are those of the request's ports, in their
    /// order; `deadline` bounds every stage.
    pub async fn run(
        &self,
        values: Vec<Option<Value>>,
        request_id: Arc<str>,
        deadline: Instant,
    ) -> Finished {
        let counted = Counted::begin(self.meters());
        let place = match self.admission.enter(Instant::now(), deadline) {
            Ok(place) => place,
            Err(after) => {
                counted.refused();
                return Finished::refused(after);
            }
        };
        let finished = self.run_admitted(values, request_id, deadline).await;
        place.leave(Instant::now());
        counted.ended(finished.result.as_ref().err().map(|failure| &failure.error));
        finished
    }

    /// One run of a request that has its place.
    async fn run_admitted(
        &self,
        values: Vec<Option<Value>>,
        request_id: Arc<str>,
        deadline: Instant,
    ) -> Finished {
        let cancel = Cancel::default();
        let _guard = CancelOnDrop(cancel.clone());
        let call = Call {
            request_id,
            deadline,
            cancel,
        };
        let mut run = Run::new(self, values);
        let mut in_flight = Vec::new();
        let result = run.drive(&call, &mut in_flight).await;
        run.abandon(&in_flight);
        run.trace.total = run.started.elapsed();
        let result = result.and_then(|()| respond(self, run.values, run.readers, run.failed));
        Finished {
            result,
            trace: run.trace,
        }
    }
}

impl<'p> Run<'p> {
    fn new(pipeline: &'p Pipeline, mut values: Vec<Option<Value>>) -> Self {
        values.resize(pipeline.slots, None);
        for (value, readers) in values.iter_mut().zip(&pipeline.readers) {
            if *readers == 0 {
                *value = None;
            }
        }
        let nodes = pipeline.steps.len();
        let waits_for: Vec<usize> = pipeline
            .steps
            .iter()
            .map(|step| step.as_ref().map_or(usize::MAX, |step| step.waits_for))
            .collect();
        let order = pipeline.graph.order.iter().rev().copied();
        Self {
            pipeline,
            values,
            readers: pipeline.readers.clone(),
            ready: order.filter(|node| waits_for[*node] == 0).collect(),
            waits_for,
            ready_at: vec![Duration::ZERO; nodes],
            trace: Trace {
                stages: Vec::with_capacity(nodes),
                total: Duration::ZERO,
            },
            started: Instant::now(),
            failed: Vec::new(),
        }
    }

    /// Runs the stages to their end; `in_flight` holds those that the end of the
    /// request leaves behind.
    async fn drive(
        &mut self,
        call: &Call,
        in_flight: &mut Vec<InFlight>,
    ) -> Result<(), StageFailure> {
        let pipeline = self.pipeline;
        let mut running: FuturesUnordered<BoxFuture<'p, Attempted>> = FuturesUnordered::new();
        loop {
            while let Some(node) = self.ready.pop() {
                let step = step_of(pipeline, node);
                let prepared = self.prepare(node, step);
                self.looked(step);
                let inputs = match prepared {
                    Ok(inputs) => inputs,
                    Err((why, reason)) => {
                        step.meters.skipped(why);
                        self.skip(node, step, reason);
                        continue;
                    }
                };
                // Without bounds of its own a stage has nothing to wait for but what it does.
                let is_plain =
                    step.in_flight.is_none() && step.timeout.is_none() && step.retry == 0;
                let here = match &step.runner {
                    Runner::Inline(stage) if is_plain => Some(stage),
                    Runner::Compute(stage) if is_plain && stage.is_brief(&inputs) => Some(stage),
                    _ => None,
                };
                if let Some(stage) = here {
                    let attempted = Attempted::at_once(node, &**stage, &inputs, call);
                    self.finish(attempted)?;
                    continue;
                }
                let begun = match &step.runner {
                    Runner::Async(stage) if is_plain => {
                        let work = attempt_once(node, &**stage, inputs, call.clone());
                        running.push(Box::pin(work));
                        Begun::now()
                    }
                    _ => {
                        let begun = Begun::later();
                        let compute = pipeline.compute.clone();
                        let work =
                            attempt_all(node, step, compute, inputs, call.clone(), begun.clone());
                        running.push(Box::pin(work));
                        begun
                    }
                };
                let at = step.meters.enter();
                in_flight.push(InFlight {
                    node,
                    begun,
                    _at: at,
                });
            }
            if running.is_empty() {
                return Ok(());
            }
            let next = tokio::time::timeout_at(call.deadline.into(), running.next()).await;
            let Ok(Some(attempted)) = next else {
                return Err(self.out_of_time(in_flight));
            };
            in_flight.retain(|running| running.node != attempted.node);
            self.finish(attempted)?;
        }
    }

    /// The inputs of a stage, or why it does not run.
    fn prepare(&self, node: usize, step: &Step) -> Result<Inputs, (Why, String)> {
        if step.demand.is_some() && !self.is_needed(node, &mut vec![None; self.ready_at.len()]) {
            let reason = "nothing that runs needs what it gives";
            return Err((Why::Demand, reason.into()));
        }
        if let Some(condition) = &step.condition {
            let text = condition.condition.text();
            match self.holds(condition) {
                Ok(true) => {}
                Ok(false) => return Err((Why::Condition, format!("`if = {text:?}` is false"))),
                // Without a value it counts as false.
                Err(why) => {
                    let reason = format!("`if = {text:?}` has no value: {why}");
                    return Err((Why::NoValue, reason));
                }
            }
        }
        let mut values = Vec::with_capacity(step.inputs.len());
        for (index, slots) in step.input_slots.iter().enumerate() {
            let value = slots.iter().find_map(|slot| self.values[*slot].clone());
            let has = |at: usize| {
                let mut slots = step.input_slots[at].iter();
                slots.any(|slot| self.values[*slot].is_some())
            };
            if value.is_none() && needed(&step.inputs, index).is_some_and(|mut any| !any.any(has)) {
                return Err((Why::Input, self.why_absent(node, index)));
            }
            values.push(value);
        }
        Ok(Inputs::new(step.inputs.clone(), values))
    }

    /// Whether a condition holds with what is known now.
    fn holds(&self, condition: &StepCondition) -> Result<bool, String> {
        condition
            .condition
            .evaluate(|index| match condition.variables.get(index)? {
                StepVariable::Slots(slots) => {
                    slots.iter().find_map(|slot| self.values[*slot].as_ref())
                }
                StepVariable::Ran(slot) => {
                    let ran = slot.is_some_and(|slot| self.values[slot].is_some());
                    Some(if ran { &TRUE_VALUE } else { &FALSE_VALUE })
                }
            })
    }

    /// True where a stage always runs, or a stage that will run asks for what it gives. `known`
    /// holds what was found out about others on the way.
    fn is_needed(&self, node: usize, known: &mut Vec<Option<bool>>) -> bool {
        let Some(demanders) = &step_of(self.pipeline, node).demand else {
            return true;
        };
        if let Some(known) = known[node] {
            return known;
        }
        let has = |slots: &Vec<usize>| slots.iter().any(|slot| self.values[*slot].is_some());
        let is_needed = demanders.iter().any(|demander| {
            let condition = step_of(self.pipeline, demander.node).condition.as_ref();
            let is_off = demander.asks_condition
                && condition.is_some_and(|condition| self.holds(condition) != Ok(true));
            let unless = demander.unless.as_ref();
            let is_known = unless.is_some_and(|inputs| inputs.iter().all(has));
            let is_unasked = demander.asks_demand && !self.is_needed(demander.node, known);
            !is_off && !is_known && !is_unasked
        });
        known[node] = Some(is_needed);
        is_needed
    }

    fn why_absent(&self, node: usize, input: usize) -> String {
        let graph = &self.pipeline.graph;
        let node = &graph.nodes[node];
        let sources: Vec<_> = node.inputs[input]
            .iter()
            .map(|source| format!("`{}`", graph.source_name(*source)))
            .collect();
        format!(
            "its input `{}` is absent: no value from {}",
            node.ports.inputs[input].name,
            sources.join(" or ")
        )
    }

    fn finish(&mut self, attempted: Attempted) -> Result<(), StageFailure> {
        let node = attempted.node;
        let step = step_of(self.pipeline, node);
        let conformed = attempted
            .result
            .and_then(|outputs| outputs.conform(&step.outputs))
            .map_err(|error| as_sent(self.pipeline, node, &self.values, error));
        let mut trace = StageTrace {
            node,
            outcome: Outcome::Ran,
            ready: self.ready_at[node],
            queued: attempted.queued,
            ran: attempted.ran,
            attempts: attempted.attempts,
        };
        match conformed {
            Ok(values) => {
                for (offset, value) in values.into_iter().enumerate() {
                    self.give(step.first_slot + offset, value);
                }
                self.give(step.ran_slot, Some(TRUE));
                step.counters.ran.fetch_add(1, Ordering::Relaxed);
                self.note(trace);
                self.release(step);
                Ok(())
            }
            Err(error) if is_skipped(step.on_error, &error) => {
                let stage = self.pipeline.graph.stage_name(node);
                tracing::warn!(
                    stage,
                    error = chain(&error).as_str(),
                    "a stage failed and is skipped, as its on_error says"
                );
                step.counters.failed.fetch_add(1, Ordering::Relaxed);
                for (offset, output) in step.outputs.iter().enumerate() {
                    self.give(step.first_slot + offset, output.failed.clone());
                }
                trace.outcome = Outcome::Skipped(format!("it failed: {error}"));
                Self::count_error(step, &error, true);
                self.note(trace);
                self.failed.push((node, error));
                self.release(step);
                Ok(())
            }
            Err(error) => {
                step.counters.failed.fetch_add(1, Ordering::Relaxed);
                trace.outcome = Outcome::Failed(error.code().to_owned());
                Self::count_error(step, &error, false);
                self.note(trace);
                Err(StageFailure {
                    stage: Some(self.pipeline.graph.stage_name(node).to_owned()),
                    error,
                })
            }
        }
    }

    fn skip(&mut self, node: usize, step: &Step, reason: String) {
        step.counters.skipped.fetch_add(1, Ordering::Relaxed);
        self.note(StageTrace {
            node,
            outcome: Outcome::Skipped(reason),
            ready: self.ready_at[node],
            queued: Duration::ZERO,
            ran: Duration::ZERO,
            attempts: 0,
        });
        self.release(step);
    }

    /// Puts a value where those look for it who will, if any.
    fn give(&mut self, slot: usize, value: Option<Value>) {
        if self.readers[slot] > 0 {
            self.values[slot] = value;
        }
    }

    /// Drops what nobody will look at any more. That there was something is still asked.
    fn looked(&mut self, step: &Step) {
        for slot in &step.reads {
            self.readers[*slot] -= 1;
            if let (0, Some(value)) = (self.readers[*slot], &mut self.values[*slot]) {
                *value = TRUE;
            }
        }
    }

    /// Makes those ready that waited for this step only.
    fn release(&mut self, step: &Step) {
        let now = self.started.elapsed();
        for dependent in &step.dependents {
            self.waits_for[*dependent] -= 1;
            if self.waits_for[*dependent] == 0 {
                self.ready_at[*dependent] = now;
                self.ready.push(*dependent);
            }
        }
    }

    fn abandon(&mut self, in_flight: &[InFlight]) {
        let now = self.started.elapsed();
        for InFlight { node, begun, .. } in in_flight {
            let ready = self.ready_at[*node];
            let since = now.saturating_sub(ready);
            let (queued, ran) = if begun.is_set() {
                (Duration::ZERO, since)
            } else {
                (since, Duration::ZERO)
            };
            self.note(StageTrace {
                node: *node,
                outcome: Outcome::Abandoned,
                ready,
                queued,
                ran,
                attempts: u32::from(begun.is_set()),
            });
        }
    }

    fn out_of_time(&self, in_flight: &[InFlight]) -> StageFailure {
        // One that ran is to blame before one that waited for a place.
        let ran = in_flight.iter().find(|running| running.begun.is_set());
        let stage = ran.or(in_flight.first());
        StageFailure {
            stage: stage.map(|it| self.pipeline.graph.stage_name(it.node).to_owned()),
            error: match (ran, stage) {
                (None, Some(_)) => busy_error(),
                _ => deadline_error("the request did not finish before its deadline"),
            },
        }
    }
}

/// Values of conditions that ask whether a stage ran.
static TRUE_VALUE: Value = TRUE;
static FALSE_VALUE: Value = Value::Bool(false);
const TRUE: Value = Value::Bool(true);

/// A stage that has not ended.
struct InFlight {
    node: usize,
    begun: Begun,
    /// Counts it for as long.
    _at: AtStage,
}

/// Whether a failure counts as a skip: what is wrong with the request is for the client to know,
/// unless the file says otherwise.
fn is_skipped(on_error: OnError, error: &Error) -> bool {
    match on_error {
        OnError::Fail => false,
        OnError::Skip => !error.kind().is_of_client(),
        OnError::SkipAll => true,
    }
}

fn step_of(pipeline: &Pipeline, node: usize) -> &Step {
    pipeline.steps[node]
        .as_ref()
        .expect("only active nodes become ready, and every active node has a step")
}

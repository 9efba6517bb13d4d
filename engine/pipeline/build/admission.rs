//! Which requests are taken where more come than can be answered.
//!
//! As long as few are in flight, or as many as the work itself needs, all are taken, and so is a
//! burst. A queue that grows beyond that is one that stands: from then on, until none was refused
//! for a while, no more are taken than is good, and the others are refused at once. How many are
//! good follows what was measured: the time from one end to the next, and how long a request takes
//! that comes when there is no queue. So those that are taken wait no longer than a small multiple
//! of what they take, whatever comes.
//!
//! Where the work waits for others (a language model, a database that has become slow), many
//! requests in flight are no queue: holding them back makes them end more slowly. That shows, and
//! the law gives in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omnizap_contract::Counters;

use super::Pipeline;

/// Bounds of what is taken; [`AdmissionLimits::default`] documents the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// So many requests of a pipeline in flight are always taken; with as many as there may be at
    /// all, none is ever refused.
    pub always: usize,
    /// How many times as many as are good make a queue that stands, 2 at least: what comes at once
    /// and is less is a burst, and taken.
    pub burst: usize,
}

impl Default for AdmissionLimits {
    /// 16 are always taken: two batches of a model, whose work is not held up by waiting for the
    /// next request. A burst is up to 4 times as many as are good.
    fn default() -> Self {
        Self {
            always: 16,
            burst: 4,
        }
    }
}

/// How many are good, as a multiple of what the work itself needs to go on without a pause.
const GOOD: f64 = 2.0;
/// So many in flight are no queue: how long a request then takes is what the work itself takes.
const NO_QUEUE: usize = 4;
/// How long none must have been refused until bursts are taken again.
const CALM: Duration = Duration::from_secs(1);
/// After how many ends with a short queue it shows whether refusing makes the work slower.
const LOOK_AFTER: u32 = 64;
/// How long before that the queue must have been short, as a multiple of what a request took: those
/// that take long come last.
const SHORT_FOR: f64 = 2.0;
/// Of so many measures a running mean is made.
const MEASURES: u32 = 128;
/// With fewer it says nothing yet.
const MIN_MEASURES: u32 = 32;
/// The shortest time after which trying again makes sense.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The requests of a pipeline that are in flight, and what was measured of those before.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Admission {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limits: AdmissionLimits,
    in_flight: usize,
    /// Seconds from one end to the next while others are in flight.
    pace: Mean,
    /// Seconds that a request takes that comes when there is no queue.
    work: Mean,
    /// The last end, where there has been a queue since.
    last_end: Option<Instant>,
    refusing: Option<Refusing>,
    refused: u64,
}

/// A running mean.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    value: f64,
    measures: u32,
}

impl Mean {
    fn add(&mut self, measured: f64) {
        self.measures = (self.measures + 1).min(MEASURES);
        self.value += (measured - self.value) / f64::from(self.measures);
    }

    /// The mean, where there are enough measures for one.
    fn known(&self) -> Option<f64> {
        (self.measures >= MIN_MEASURES).then_some(self.value)
    }
}

/// The present state where more come than can be answered.
#[derive(Clone, Copy, Debug)]
struct Refusing {
    last: Instant,
    /// The pace before, and how long a request took by it.
    pace: f64,
    took: f64,
    short: Short,
}

/// Whether refusing makes the work slower.
#[derive(Clone, Copy, Debug)]
enum Short {
    /// The queue is not short yet.
    NotYet,
    /// From then on ends are counted, and so many were.
    From(Instant, u32),
}

/// A request's place among those in flight.
#[derive(Debug)]
pub(in crate::pipeline) struct Place<'a> {
    admission: &'a Admission,
    entered: Instant,
    had_no_queue: bool,
}

impl Pipeline {
    /// Takes requests within these bounds from now on.
    pub fn admit_within(&self, limits: AdmissionLimits) {
        self.admission.lock().limits = limits;
    }
}

impl Admission {
    /// A place for a request that has until `deadline`.
    ///
    /// # Errors
    /// When to come again, where there are too many before it.
    pub(in crate::pipeline) fn enter(
        &self,
        now: Instant,
        deadline: Instant,
    ) -> Result<Place<'_>, Duration> {
        let mut state = self.lock();
        if !state.takes(now, deadline) {
            state.refused += 1;
            let wait = Duration::try_from_secs_f64(state.wait()).unwrap_or(MIN_RETRY_AFTER);
            return Err(wait.max(MIN_RETRY_AFTER));
        }
        state.in_flight += 1;
        Ok(Place {
            admission: self,
            entered: now,
            had_no_queue: state.in_flight <= NO_QUEUE,
        })
    }

    /// What is measured, for the operator.
    pub(super) fn counters(&self) -> Counters {
        let state = self.lock();
        let micros = |mean: Mean| (mean.known().unwrap_or_default() * 1e6).round();
        let is_refusing = state.refusing.is_some();
        Counters::new()
            .gauge("in_flight", state.in_flight as f64)
            .gauge("always", state.limits.always as f64)
            .gauge("burst", state.limits.burst as f64)
            .gauge("good_in_flight", state.good().floor())
            .gauge("is_refusing", f64::from(u8::from(is_refusing)))
            .gauge("pace_us", micros(state.pace))
            .gauge("work_us", micros(state.work))
            .total("refused", state.refused)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that happens under the lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many in flight are good.
    fn good(&self) -> f64 {
        let few = self.limits.always as f64;
        match (self.work.known(), self.pace.known()) {
            (Some(work), Some(pace)) if pace > 0.0 => few.max(GOOD * work / pace),
            _ => few,
        }
    }

    /// How many times as many as are good make a queue that stands.
    fn standing(&self) -> f64 {
        self.limits.burst as f64
    }

    /// How much slower the work may become by refusing. Where nobody waits for anybody it becomes
    /// [`State::standing`] times as slow, where all wait for the same it does not: half way between,
    /// as factors go.
    fn slower(&self) -> f64 {
        self.standing().sqrt()
    }

    /// How long those in flight take; no time where that is not known.
    fn wait(&self) -> f64 {
        self.in_flight as f64 * self.pace.known().unwrap_or_default()
    }

    /// Whether one more is taken.
    fn takes(&mut self, now: Instant, deadline: Instant) -> bool {
        let Some(pace) = self.pace.known() else {
            return true;
        };
        if let Some(refusing) = self.refusing
            && now.saturating_duration_since(refusing.last) > CALM
        {
            self.refusing = None;
        }
        let (in_flight, good) = (self.in_flight as f64, self.good());
        if in_flight < good {
            if let Some(refusing) = &mut self.refusing
                && matches!(refusing.short, Short::NotYet)
            {
                let wait = Duration::try_from_secs_f64(SHORT_FOR * refusing.took);
                refusing.short = Short::From(now + wait.unwrap_or_default(), 0);
            }
            return true;
        }
        let left = deadline.saturating_duration_since(now).as_secs_f64();
        // A queue that most of the time is spent in stands, however short it is.
        let stands = in_flight >= self.standing() * good || self.wait() > left / 2.0;
        match &mut self.refusing {
            Some(refusing) => refusing.last = now,
            None if stands => {
                self.refusing = Some(Refusing {
                    last: now,
                    pace,
                    took: self.wait(),
                    short: Short::NotYet,
                });
            }
            None => return true,
        }
        false
    }

    /// Takes note of an end.
    fn ended(&mut self, now: Instant, took: Duration, had_no_queue: bool) {
        if had_no_queue {
            self.work.add(took.as_secs_f64());
        }
        if let Some(last) = self.last_end.replace(now) {
            let since = now.saturating_duration_since(last);
            self.pace.add(since.as_secs_f64());
        }
        let slower = self.slower();
        if let Some(refusing) = &mut self.refusing
            && let Short::From(from, ended) = &mut refusing.short
            && *from < now
        {
            *ended += 1;
            if !ended.is_multiple_of(LOOK_AFTER) {
                return;
            }
            let pace = now.saturating_duration_since(*from).as_secs_f64() / f64::from(*ended);
            if pace > slower * refusing.pace {
                // Those in flight did not wait for one another: so long is what they take.
                self.work.value = self.work.value.max(refusing.took);
                self.work.measures = MEASURES;
                self.pace.value = refusing.pace;
                self.refusing = None;
            }
        }
    }
}

impl Place<'_> {
    /// The request has come to its end. One that is dropped instead tells nothing.
    pub(in crate::pipeline) fn leave(self, now: Instant) {
        let took = now.saturating_duration_since(self.entered);
        self.admission.lock().ended(now, took, self.had_no_queue);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.in_flight -= 1;
        if state.in_flight <= NO_QUEUE {
            // What comes next tells how often somebody comes, not how many could.
            state.last_end = None;
        }
    }
}

#[cfg(test)]
mod tests;

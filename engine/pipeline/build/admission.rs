//! Which requests are taken where more come than can be answered.
//!
//! As long as few are in flight, or as many as the work itself needs, all are taken, and so is a
//! burst. A queue that grows beyond that is one that stands: from then on, until it is calm, no
//! more are taken than are good, and the others are refused at once. How many are good follows what
//! was measured: the time from one end to the next, and how long a request takes while there is no
//! queue. So those that are taken wait no longer than a small multiple of what they take, whatever
//! comes. Neither measure is thrown far by a stall.
//!
//! Where the work waits for others (a language model, a database that has become slow), many
//! requests in flight are no queue: holding them back makes fewer end. So does a busy neighbour.
//! What it is is tried ([`refusing`]): more are taken for a while, and go on to be if more end.

mod refusing;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omnizap_contract::Counters;

use self::refusing::{Found, Pauses, Refusing};
use super::Pipeline;

/// Bounds of what is taken; [`AdmissionLimits::default`] documents the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// So many requests of a pipeline in flight are always taken; with as many as there may be at
    /// all, none is ever refused.
    pub always: usize,
    /// How many times as many as are good make a queue that stands, 2 at least: what comes at once
    /// and is less is a burst, and taken. So is what is done within a quarter of a second.
    pub burst: usize,
}

impl Default for AdmissionLimits {
    /// 4 are always taken, which keeps two processors busy. A burst is up to 4 times as many as
    /// are good.
    fn default() -> Self {
        Self {
            always: 4,
            burst: 4,
        }
    }
}

/// How many are good, as a multiple of what the work itself needs to go on without a pause.
const GOOD: f64 = 2.0;
/// So many in flight are no queue: how long a request then takes is what the work itself takes. On
/// a single processor that is twice too long, which makes no more good than are always taken.
const NO_QUEUE: usize = 2;
/// A queue that is done in less does not stand, in seconds.
const SHORT_QUEUE: f64 = 0.25;
/// Until something was measured so many are taken.
const UNMEASURED: usize = 64;
/// Of so many measures a running mean is made.
const MEASURES: u32 = 128;
/// With fewer it says nothing yet.
const MIN_MEASURES: u32 = 32;
/// A measure counts as no more than so many times the mean: a stall says nothing of the work. Gaps
/// are that uneven where many end together.
const MOST_OF_PACE: f64 = 64.0;
const MOST_OF_WORK: f64 = 16.0;
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
    /// Seconds that a request takes while there is no queue.
    work: Mean,
    /// The last end, where there has been a queue since.
    last_end: Option<Instant>,
    refusing: Option<Refusing>,
    pauses: Pauses,
    refused: u64,
}

/// A running mean.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    value: f64,
    measures: u32,
}

impl Mean {
    /// One measure more, which counts as no more than `most` times the mean.
    fn add(&mut self, measured: f64, most: f64) {
        let bound = self.known().map_or(f64::INFINITY, |mean| most * mean);
        self.measures = (self.measures + 1).min(MEASURES);
        self.value += (measured.min(bound) - self.value) / f64::from(self.measures);
    }

    /// As if all measures had been that.
    fn set(&mut self, value: f64) {
        *self = Self {
            value,
            measures: MEASURES,
        };
    }

    /// The mean, where there are enough measures for one.
    fn known(&self) -> Option<f64> {
        (self.measures >= MIN_MEASURES && self.value > 0.0).then_some(self.value)
    }
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
        if let Some(after) = state.refuse(now, deadline) {
            return Err(after);
        }
        state.in_flight += 1;
        Ok(Place {
            admission: self,
            entered: now,
            had_no_queue: state.in_flight <= NO_QUEUE,
        })
    }

    /// Where others are refused, whether one that has until `deadline` would be too: when to come
    /// again. None where it may find a place, and none is taken.
    pub(in crate::pipeline) fn refuses(&self, now: Instant, deadline: Instant) -> Option<Duration> {
        let mut state = self.lock();
        let good = state.good();
        let in_flight = state.in_flight as f64;
        let refusing = state.refusing.as_mut()?;
        if in_flight < refusing.limit_of(good) {
            return None;
        }
        state.refuse(now, deadline)
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
            .gauge("good_in_flight", state.limit())
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
    /// Seconds from one end to the next, as far as known: where there never was a queue, one after
    /// the other is sure to be done.
    fn pace(&self) -> Option<f64> {
        self.pace.known().or(self.work.known())
    }

    /// How many in flight are good.
    fn good(&self) -> f64 {
        let few = self.limits.always as f64;
        match (self.work.known(), self.pace()) {
            (Some(work), Some(pace)) => few.max((GOOD * work / pace).floor()),
            _ => few,
        }
    }

    /// How many are taken at present where others are refused.
    fn limit(&self) -> f64 {
        self.refusing
            .as_ref()
            .map_or_else(|| self.good(), Refusing::limit)
    }

    /// So many in flight are a queue that stands.
    fn standing(&self, pace: f64) -> f64 {
        (self.limits.burst as f64 * self.good()).max(SHORT_QUEUE / pace)
    }

    /// How long those in flight take; no time where that is not known.
    fn wait(&self) -> f64 {
        self.in_flight as f64 * self.pace().unwrap_or_default()
    }

    /// Whether one more is taken.
    fn takes(&mut self, now: Instant, deadline: Instant) -> bool {
        let Some(pace) = self.pace() else {
            return self.in_flight < self.limits.always.max(UNMEASURED);
        };
        let (in_flight, good) = (self.in_flight as f64, self.good());
        if let Some(refusing) = &mut self.refusing {
            let takes = in_flight < refusing.limit_of(good);
            if !refusing.is_over(now, pace, takes) {
                return takes;
            }
            let found = refusing.end();
            self.refusing = None;
            self.found(found);
        }
        let good = self.good();
        if in_flight < good {
            return true;
        }
        let left = deadline.saturating_duration_since(now).as_secs_f64();
        // A queue that most of the time is spent in stands, however short it is.
        let stands = in_flight >= self.standing(pace) || self.wait() > left / 2.0;
        if stands {
            self.refusing = Some(Refusing::begin(now, good, in_flight, pace));
        }
        !stands
    }

    /// When to come again, where no more is taken; counted.
    fn refuse(&mut self, now: Instant, deadline: Instant) -> Option<Duration> {
        if self.takes(now, deadline) {
            return None;
        }
        self.refused += 1;
        let wait = Duration::try_from_secs_f64(self.wait()).unwrap_or(MIN_RETRY_AFTER);
        Some(wait.max(MIN_RETRY_AFTER))
    }

    /// Takes note of an end.
    fn ended(&mut self, now: Instant, took: Duration, had_no_queue: bool) {
        if had_no_queue && self.in_flight <= NO_QUEUE {
            self.work.add(took.as_secs_f64(), MOST_OF_WORK);
        }
        if let Some(last) = self.last_end.replace(now) {
            let since = now.saturating_duration_since(last);
            self.pace.add(since.as_secs_f64(), MOST_OF_PACE);
        }
        let (few, pace) = (self.limits.always as f64, self.pace());
        if let (Some(refusing), Some(pace)) = (&mut self.refusing, pace) {
            let found = refusing.ended(now, few, pace, &mut self.pauses);
            self.found(found);
        }
    }

    /// So many were found to be good: from now on that is what the work takes.
    fn found(&mut self, found: Option<Found>) {
        if let Some(Found { limit, pace }) = found {
            self.pace.set(pace);
            self.work.set(limit * pace / GOOD);
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
#[cfg(test)]
mod world;

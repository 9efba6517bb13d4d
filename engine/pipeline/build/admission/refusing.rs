//! How many are taken while others are refused.
//!
//! First as many as are good. After each while it is looked at how many ended:
//!
//! - Where clearly fewer did than before, those in flight may not wait for one another, and more
//!   are taken on trial: as many as were in flight before, later twice as many, or four times where
//!   next to none end any more. If clearly more end by that, so many are good, and twice as many
//!   are tried at once. If not, it is as before.
//! - Else, where more are taken than always are, half as many are tried. If about as many end, so
//!   many are good, and still fewer are tried at once. If not, it is as before.
//!
//! A trial that failed is repeated after a pause, and the pause doubles. A stall is left out.

use std::time::{Duration, Instant};

/// How long it is looked at how many end, at least.
const WHILE: f64 = 3.0;
/// So many ends should be seen by then.
const ENDS: f64 = 64.0;
/// And requests must have had the time to end that entered meanwhile: so many times what they take.
const TIMES: f64 = 3.0;
/// By so much more end where more are good, and by so much fewer where too few are taken.
const CLEARLY: f64 = 1.4;
/// Where by so much fewer end, so many times as many are tried, which is no more than a burst: few
/// ends do not tell what comes of twice as many. If it is a queue, it must be a short one all the
/// same.
const LEAP: f64 = 4.0;
/// With no fewer than this share of the ends, half as many in flight are as good.
const ABOUT: f64 = 0.9;
/// A gap between two ends of more than so many times the pace is a stall, and counts as no more.
const STALL: f64 = 16.0;
/// The rate that was reached is forgotten by so much in a while.
const FORGOTTEN: f64 = 0.9;
/// After a trial that failed the next waits so long; twice as long after each.
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// How long it must have been calm until bursts are taken again, in seconds, and so many times the
/// pace.
const CALM: f64 = 1.0;
const CALM_PACES: f64 = 16.0;
/// It is calm where none was refused, or no more came than so many times what can be done: where
/// few are taken some find no place long before.
const CAN_BE_DONE: f64 = 1.1;

/// The present state where more come than can be answered.
#[derive(Debug)]
pub(super) struct Refusing {
    /// No more than so many are taken.
    limit: f64,
    /// So many were in flight when it began, until it is known whether that is why more ended.
    stood: Option<f64>,
    trial: Option<Trial>,
    /// Ends a second that were reached.
    rate: f64,
    /// Since when ends are counted, and how many were.
    since: Instant,
    ended: u32,
    /// The last end, and the seconds since then but for stalls.
    last_end: Instant,
    time: f64,
    /// The last that was refused.
    last: Instant,
    /// Since when is counted how many come, and how many did.
    calm_since: Instant,
    came: u32,
    /// Whether it was calm the last time that it was looked.
    was_calm: bool,
    /// How long it must have been calm.
    calm: Duration,
}

/// More or fewer are taken, to see what comes of it.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// So many were taken before, and so many ended a second.
    limit: f64,
    rate: f64,
}

/// What was found to be good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) limit: f64,
    /// Seconds from one end to the next.
    pub(super) pace: f64,
}

/// Until when nothing is tried.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    more: Pause,
    fewer: Pause,
}

#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    /// How long the last was that followed a trial that failed.
    length: Duration,
}

impl Pause {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// A trial failed.
    fn failed(&mut self, now: Instant) {
        self.length = (self.length * 2).clamp(PAUSE, LONGEST_PAUSE);
        self.until = Some(now + self.length);
    }

    /// The next trial waits for no longer than the first would.
    fn begin(&mut self, now: Instant) {
        self.length = Duration::ZERO;
        self.until = Some(now + PAUSE);
    }
}

impl Refusing {
    /// So many are good, so many in flight, and one ends each `pace`.
    pub(super) fn begin(now: Instant, good: f64, in_flight: f64, pace: f64) -> Self {
        let calm = Duration::try_from_secs_f64(CALM.max(CALM_PACES * pace));
        Self {
            limit: good,
            stood: Some(in_flight),
            trial: None,
            rate: 1.0 / pace,
            since: now,
            ended: 0,
            last_end: now,
            time: 0.0,
            last: now,
            calm_since: now,
            came: 0,
            was_calm: false,
            calm: calm.unwrap_or(LONGEST_PAUSE),
        }
    }

    /// How many are taken.
    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    /// How many are taken where so many are good as far as was measured. That fewer become good is
    /// not believed, only tried: what ends more slowly makes it seem so.
    pub(super) fn limit_of(&mut self, good: f64) -> f64 {
        if self.trial.is_none() {
            self.limit = self.limit.max(good);
        }
        self.limit
    }

    /// Whether none need be refused any more, where one ends each `pace`. One more comes, and is
    /// taken or not.
    pub(super) fn is_over(&mut self, now: Instant, pace: f64, takes: bool) -> bool {
        if now.saturating_duration_since(self.last) > self.calm {
            return true;
        }
        self.came += 1;
        if !takes {
            self.last = now;
        }
        let time = now.saturating_duration_since(self.calm_since);
        if time < self.calm {
            return false;
        }
        let can_be_done = f64::from(self.came) * pace <= CAN_BE_DONE * time.as_secs_f64();
        (self.calm_since, self.came) = (now, 0);
        // Twice in a row: nobody comes in a stall. What ends as a trial begins are the quick ones.
        let was_calm = std::mem::replace(&mut self.was_calm, can_be_done);
        was_calm && can_be_done && self.trial.is_none()
    }

    /// None is refused any more. Gives what is good where a trial has found that out.
    pub(super) fn end(&self) -> Option<Found> {
        let before = self.trial.filter(|_| self.time > 0.0)?;
        let rate = f64::from(self.ended) / self.time;
        (self.limit > before.limit && rate >= CLEARLY * before.rate).then(|| Found {
            limit: self.limit,
            pace: 1.0 / rate,
        })
    }

    /// Takes note of an end, where `few` are always taken and one ends each `pace`. Gives what is
    /// good where that was found out.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        few: f64,
        pace: f64,
        pauses: &mut Pauses,
    ) -> Option<Found> {
        let gap = now.saturating_duration_since(self.last_end).as_secs_f64();
        self.last_end = now;
        self.time += gap.min(STALL * pace);
        self.ended += 1;
        let rate = f64::from(self.ended) / self.time;
        let (known, takes) = match (&self.trial, self.stood) {
            (Some(before), _) => (before.rate, self.limit / rate),
            (None, Some(stood)) => (self.rate, stood / self.rate),
            (None, None) => (self.rate, 0.0),
        };
        let time = now.saturating_duration_since(self.since).as_secs_f64();
        if time < WHILE.max(ENDS / known).max(TIMES * takes) {
            return None;
        }
        (self.since, self.ended, self.time) = (now, 0, 0.0);
        let stood = self.stood.take();
        let Some(before) = self.trial.take() else {
            self.look(now, rate, few, stood, pauses);
            return None;
        };
        let is_more = self.limit > before.limit;
        let (least, pause) = if is_more {
            (CLEARLY, &mut pauses.more)
        } else {
            (ABOUT, &mut pauses.fewer)
        };
        self.rate = rate.max(before.rate);
        if rate < least * before.rate {
            // If clearly fewer end although more are taken, it has become slower meanwhile: what
            // was before says nothing.
            if !is_more || CLEARLY * rate >= before.rate {
                pause.failed(now);
            }
            self.limit = before.limit;
            return None;
        }
        let found = Found {
            limit: self.limit,
            pace: 1.0 / rate,
        };
        if is_more {
            pauses.fewer.begin(now);
            self.attempt(2.0 * self.limit, rate);
        } else if self.limit > few {
            self.attempt(few.max((self.limit / 2.0).floor()), rate);
        }
        Some(found)
    }

    /// So many end a second: whether something is to be tried.
    fn look(&mut self, now: Instant, rate: f64, few: f64, stood: Option<f64>, pauses: &Pauses) {
        if rate * CLEARLY < self.rate && pauses.more.is_over(now) {
            let is_leap = rate * LEAP < self.rate && LEAP * self.limit < WHILE * rate;
            let times = if is_leap { LEAP } else { 2.0 };
            self.attempt(stood.unwrap_or(times * self.limit), rate);
        } else if self.limit > few && pauses.fewer.is_over(now) {
            self.attempt(few.max((self.limit / 2.0).floor()), rate);
        }
        self.rate = rate.max(FORGOTTEN * self.rate);
    }

    fn attempt(&mut self, limit: f64, rate: f64) {
        self.trial = Some(Trial {
            limit: self.limit,
            rate,
        });
        self.limit = limit;
    }
}

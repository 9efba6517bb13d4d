//! Queues that are simulated, in a time of their own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Admission, Place};

/// What a request does: it computes, on one of so many processors, and waits for others.
#[derive(Clone, Copy)]
pub(super) struct Work {
    pub(super) computes: f64,
    pub(super) waits: f64,
}

/// That the processors have a speed of their own for a while.
#[derive(Clone, Copy)]
pub(super) struct Spell {
    pub(super) from: f64,
    pub(super) to: f64,
    /// 1 as a rule; at 0 the whole program stands still, and what came meanwhile it sees after.
    pub(super) speed: f64,
}

/// What is simulated.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) processors: usize,
    /// So many requests are computed together, and end together.
    pub(super) batch: usize,
    /// Requests a second.
    pub(super) rate: f64,
    /// Whether they come evenly spaced.
    pub(super) is_even: bool,
    /// So many are there from the start, besides.
    pub(super) crowd: usize,
    pub(super) seconds: f64,
    pub(super) spells: Vec<Spell>,
    /// What a request does that comes then.
    pub(super) work: fn(&mut Rng, f64) -> Work,
}

/// What came of it.
pub(super) struct Seen {
    pub(super) offered: usize,
    /// When each that was taken was sent, and how long it took.
    pub(super) taken: Vec<(f64, f64)>,
    pub(super) seconds: f64,
}

impl Seen {
    pub(super) fn refused(&self) -> f64 {
        1.0 - self.taken.len() as f64 / self.offered as f64
    }

    /// Answers a second.
    pub(super) fn rate(&self) -> f64 {
        self.rate_between(0.0, self.seconds)
    }

    /// Answers a second then.
    pub(super) fn rate_between(&self, from: f64, to: f64) -> f64 {
        let ends = self.taken.iter().map(|(sent, took)| sent + took);
        ends.filter(|end| (from..to).contains(end)).count() as f64 / (to - from)
    }

    pub(super) fn p99(&self) -> f64 {
        self.p99_between(0.0, self.seconds)
    }

    /// Of those that were sent then.
    pub(super) fn p99_between(&self, from: f64, to: f64) -> f64 {
        let then = self
            .taken
            .iter()
            .filter(|(sent, _)| (from..=to).contains(sent));
        let mut took: Vec<f64> = then.map(|(_, took)| *took).collect();
        took.sort_by(f64::total_cmp);
        took[took.len() * 99 / 100]
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes,
    Computed(Vec<usize>),
    Ends(usize),
}

struct Request<'a> {
    place: Place<'a>,
    sent: u64,
    work: Work,
}

/// A world of its own, whose time goes on from one load to the next.
pub(super) struct World {
    now: Instant,
    rng: Rng,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Instant::now(),
            rng: Rng::with_seed(seed),
        }
    }

    /// Runs a load, open loop: requests come whether others were answered or not.
    pub(super) fn run(&mut self, admission: &Admission, load: &Load) -> Seen {
        let (start, rng) = (self.now, &mut self.rng);
        self.now += Duration::from_secs_f64(load.seconds) + Duration::from_secs(60);
        let at = |micros: u64| start + Duration::from_micros(micros);
        let crowd = (0..load.crowd).map(|_| Reverse((0, 0, Event::Comes)));
        let mut events: BinaryHeap<_> = crowd.collect();
        events.push(Reverse((0, 0, Event::Comes)));
        let mut waiting: VecDeque<usize> = VecDeque::new();
        let mut requests: Vec<Option<Request<'_>>> = Vec::new();
        let (mut free, mut offered, mut taken) = (load.processors, 0, Vec::new());
        while let Some(Reverse((now, sent, event))) = events.pop() {
            let seen = load.after_standstill(now);
            if seen > now {
                events.push(Reverse((seen, sent, event)));
                if offered > load.crowd && sent == now {
                    // Others go on to come.
                    let next = now + load.gap(rng);
                    events.push(Reverse((next, next, Event::Comes)));
                }
                continue;
            }
            match event {
                Event::Comes if sent > micros(load.seconds) => {}
                Event::Comes => {
                    offered += 1;
                    let deadline = at(sent) + Duration::from_secs(30);
                    if let Ok(place) = admission.enter(at(now), deadline) {
                        waiting.push_back(requests.len());
                        let work = (load.work)(rng, sent as f64 / 1e6);
                        requests.push(Some(Request { place, sent, work }));
                    }
                    if offered > load.crowd && sent == now {
                        let next = now + load.gap(rng);
                        events.push(Reverse((next, next, Event::Comes)));
                    }
                }
                Event::Computed(batch) => {
                    free += 1;
                    for request in batch {
                        let waits = requests[request].as_ref().map_or(0.0, |it| it.work.waits);
                        events.push(Reverse((now + micros(waits), 0, Event::Ends(request))));
                    }
                }
                Event::Ends(request) => {
                    if let Some(Request { place, sent, .. }) = requests[request].take() {
                        place.leave(at(now));
                        taken.push((sent as f64 / 1e6, (now - sent) as f64 / 1e6));
                    }
                }
            }
            while free > 0 && !waiting.is_empty() {
                free -= 1;
                let together = load.batch.min(waiting.len());
                let batch: Vec<usize> = waiting.drain(..together).collect();
                let works = batch
                    .iter()
                    .filter_map(|request| requests[*request].as_ref());
                let computes = works.map(|it| it.work.computes).sum();
                let done = load.computed(now, computes);
                events.push(Reverse((done, 0, Event::Computed(batch))));
            }
        }
        Seen {
            offered,
            taken,
            seconds: load.seconds,
        }
    }
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

impl Load {
    /// Until the next comes.
    fn gap(&self, rng: &mut Rng) -> u64 {
        let gaps = if self.is_even {
            1.0
        } else {
            -(1.0 - rng.f64()).ln()
        };
        micros(gaps / self.rate).max(1)
    }

    /// Then, or once the program goes on.
    fn after_standstill(&self, now: u64) -> u64 {
        let standing = self.spells.iter().filter(|spell| spell.speed == 0.0);
        let mut standing = standing.map(|spell| (micros(spell.from), micros(spell.to)));
        standing
            .find(|(from, to)| (*from..*to).contains(&now))
            .map_or(now, |(_, to)| to)
    }

    /// When that is done that takes so long as a rule.
    fn computed(&self, now: u64, computes: f64) -> u64 {
        let (mut at, mut left) = (now as f64 / 1e6, computes);
        for spell in &self.spells {
            let until = spell.from - at;
            if until >= left || at >= spell.to {
                continue;
            }
            let (begins, done) = (at.max(spell.from), until.max(0.0));
            let would = (spell.to - begins) * spell.speed;
            if would >= left - done {
                return micros(begins + (left - done) / spell.speed);
            }
            (at, left) = (spell.to, left - done - would);
        }
        micros(at + left)
    }
}

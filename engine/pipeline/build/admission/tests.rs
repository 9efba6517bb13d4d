//! The law against queues that are simulated, in a time of their own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;

use super::*;

/// What a request does: it computes, on one of so many processors, and waits for others.
#[derive(Clone, Copy)]
struct Work {
    computes: f64,
    waits: f64,
}

/// What is simulated.
struct Load {
    processors: usize,
    /// Requests a second.
    rate: f64,
    seconds: f64,
    work: fn(&mut Rng) -> Work,
}

/// What came of it.
struct Seen {
    offered: usize,
    /// How long each that was taken took, shortest first.
    took: Vec<f64>,
    seconds: f64,
}

impl Seen {
    fn refused(&self) -> f64 {
        1.0 - self.took.len() as f64 / self.offered as f64
    }

    /// Answers a second.
    fn rate(&self) -> f64 {
        self.took.len() as f64 / self.seconds
    }

    fn p99(&self) -> f64 {
        self.took[self.took.len() * 99 / 100]
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes,
    Computed(usize),
    Ends(usize),
}

/// A world of its own, whose time goes on from one load to the next.
struct World {
    now: Instant,
    rng: Rng,
}

fn world(seed: u64) -> World {
    World {
        now: Instant::now(),
        rng: Rng::with_seed(seed),
    }
}

/// Runs a load, open loop: requests come whether others were answered or not. Times are in
/// microseconds since the start.
fn simulate(admission: &Admission, load: &Load, world: &mut World) -> Seen {
    let (start, rng) = (world.now, &mut world.rng);
    world.now += Duration::from_secs_f64(load.seconds) + Duration::from_secs(60);
    let at = |micros: u64| start + Duration::from_micros(micros);
    let micros = |seconds: f64| (seconds * 1e6) as u64;
    let mut events = BinaryHeap::from([Reverse((0, Event::Comes))]);
    let mut waiting: VecDeque<usize> = VecDeque::new();
    let mut requests: Vec<Option<(Place<'_>, u64, Work)>> = Vec::new();
    let (mut free, mut offered, mut took) = (load.processors, 0, Vec::new());
    while let Some(Reverse((now, event))) = events.pop() {
        match event {
            Event::Comes => {
                if now > micros(load.seconds) {
                    continue;
                }
                offered += 1;
                let deadline = at(now) + Duration::from_secs(30);
                if let Ok(place) = admission.enter(at(now), deadline) {
                    waiting.push_back(requests.len());
                    requests.push(Some((place, now, (load.work)(rng))));
                }
                let gap = -(1.0 - rng.f64()).ln() / load.rate;
                events.push(Reverse((now + micros(gap).max(1), Event::Comes)));
            }
            Event::Computed(request) => {
                free += 1;
                let waits = requests[request].as_ref().map_or(0.0, |it| it.2.waits);
                events.push(Reverse((now + micros(waits), Event::Ends(request))));
            }
            Event::Ends(request) => {
                if let Some((place, came, _)) = requests[request].take() {
                    place.leave(at(now));
                    took.push((now - came) as f64 / 1e6);
                }
            }
        }
        while free > 0
            && let Some(request) = waiting.pop_front()
        {
            free -= 1;
            let computes = requests[request].as_ref().map_or(0.0, |it| it.2.computes);
            events.push(Reverse((now + micros(computes), Event::Computed(request))));
        }
    }
    took.sort_by(f64::total_cmp);
    Seen {
        offered,
        took,
        seconds: load.seconds,
    }
}

/// 6 to 8 ms on two processors: some 285 a second.
fn pictures(rng: &mut Rng) -> Work {
    Work {
        computes: 0.006 + 0.002 * rng.f64(),
        waits: 0.0,
    }
}

/// The same, and a third asks a language model that takes a second or two.
fn asks_others(rng: &mut Rng) -> Work {
    let waits = if rng.u8(..3) == 0 {
        1.0 + rng.f64()
    } else {
        0.0
    };
    Work {
        waits,
        ..pictures(rng)
    }
}

/// One in ten was never seen before and takes ten times as long.
fn mixed(rng: &mut Rng) -> Work {
    let computes = if rng.u8(..10) == 0 { 0.04 } else { 0.004 };
    Work {
        computes,
        waits: 0.0,
    }
}

fn load(rate: f64, work: fn(&mut Rng) -> Work) -> Load {
    Load {
        processors: 2,
        rate,
        seconds: 30.0,
        work,
    }
}

#[test]
fn below_capacity_next_to_nobody_is_refused() {
    let mut world = world(1);
    let seen = simulate(&Admission::default(), &load(228.0, pictures), &mut world);
    assert_eq!(seen.refused(), 0.0);
    let seen = simulate(&Admission::default(), &load(200.0, mixed), &mut world);
    assert!(seen.refused() < 0.01, "{}", seen.refused());
}

#[test]
fn above_capacity_those_taken_are_answered_in_good_time_and_as_many_as_can_be() {
    let mut world = world(2);
    for (work, capacity) in [(pictures as fn(&mut Rng) -> Work, 285.0), (mixed, 263.0)] {
        let admission = Admission::default();
        let calm = simulate(&admission, &load(0.8 * capacity, work), &mut world);
        for times in [2.0, 3.0, 10.0] {
            let refused_before = admission.lock().refused;
            let seen = simulate(&admission, &load(times * capacity, work), &mut world);
            let (p99, rate) = (seen.p99(), seen.rate());
            assert!(p99 <= 3.0 * calm.p99(), "{times}: {p99} of {}", calm.p99());
            assert!(rate >= 0.9 * capacity, "{times}: {rate} of {capacity}");
            let refused = admission.lock().refused - refused_before;
            assert_eq!(refused, (seen.offered - seen.took.len()) as u64);
        }
    }
}

/// As many in flight as wait for a language model are no queue, however many they are: after some
/// seconds that is known.
#[test]
fn what_waits_for_others_is_not_held_back_for_long() {
    let mut world = world(3);
    for rate in [100.0, 200.0, 228.0] {
        // What was measured may be from a time when nothing took long.
        for was_calm in [false, true] {
            let admission = Admission::default();
            if was_calm {
                simulate(&admission, &load(200.0, pictures), &mut world);
            }
            let first = simulate(&admission, &load(rate, asks_others), &mut world);
            assert!(first.refused() < 0.25, "{rate}: {}", first.refused());
            let then = simulate(&admission, &load(rate, asks_others), &mut world);
            assert!(then.refused() < 0.01, "{rate}: {}", then.refused());
        }
    }
}

#[test]
fn a_burst_is_taken_and_clients_that_wait_for_their_answers_are_never_refused() {
    let admission = Admission::default();
    let start = Instant::now();
    let at = |millis: u64| start + Duration::from_millis(millis);
    let deadline = at(30_000);
    // Sixty-four, each of which comes again when it was answered; one is answered every 4 ms.
    let mut places: VecDeque<Place<'_>> = VecDeque::new();
    for turn in 0..5_000 {
        while places.len() < 64 {
            places.push_back(admission.enter(at(turn * 4), deadline).unwrap());
        }
        places.pop_front().unwrap().leave(at(turn * 4 + 4));
    }
    // More are more than can be answered.
    places.push_back(admission.enter(at(20_000), deadline).unwrap());
    let after = admission.enter(at(20_000), deadline).unwrap_err();
    assert!(after >= MIN_RETRY_AFTER);
    // Until the queue is short, and once it was calm for a while as many as before.
    while places.len() > 15 {
        places.pop_front().unwrap().leave(at(20_100));
    }
    places.push_back(admission.enter(at(20_100), deadline).unwrap());
    assert!(admission.enter(at(20_100), deadline).is_err());
    while places.len() < 64 {
        places.push_back(admission.enter(at(22_000), deadline).unwrap());
    }
}

#[test]
fn few_are_always_taken_and_long_work_is_no_reason_to_take_more_than_can_be_done() {
    let admission = Admission::default();
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut places: VecDeque<Place<'_>> = VecDeque::new();
    // Two seconds each, one after the other, with half a minute for each.
    for turn in 0..100 {
        let now = at(2 * turn);
        let deadline = now + Duration::from_secs(30);
        while let Ok(place) = admission.enter(now, deadline) {
            places.push_back(place);
            if places.len() == 60 {
                break;
            }
        }
        assert!(places.len() >= 16);
        places.pop_front().unwrap().leave(at(2 * turn + 2));
    }
    assert!(places.len() <= 17, "{}", places.len());
}

#[test]
fn as_many_as_the_operator_says_are_always_taken_and_in_a_burst() {
    /// With half a minute for each, one ends every 4 ms, and as many are in flight as are taken, at
    /// most so many.
    fn most(limits: AdmissionLimits, wanted: usize) -> usize {
        let admission = Admission::default();
        admission.lock().limits = limits;
        let start = Instant::now();
        let mut places: VecDeque<Place<'_>> = VecDeque::new();
        let mut most = 0;
        for turn in 0..2_000_u64 {
            let now = start + Duration::from_millis(turn * 4);
            while places.len() < wanted
                && let Ok(place) = admission.enter(now, now + Duration::from_secs(30))
            {
                places.push_back(place);
            }
            // What came before anything was measured is over by then.
            if turn > 1_000 {
                most = most.max(places.len());
            }
            places
                .pop_front()
                .unwrap()
                .leave(now + Duration::from_millis(4));
        }
        most
    }
    let with = |always, burst| AdmissionLimits { always, burst };
    assert_eq!(AdmissionLimits::default(), with(16, 4));
    // Clients that wait for their answers are a burst up to the bound, and never refused.
    assert_eq!(most(with(16, 4), 64), 64);
    assert_eq!(most(with(16, 8), 128), 128);
    assert_eq!(most(with(200, 2), 200), 200);
    // Beyond that few are left.
    assert!(most(with(16, 4), 200) < 64);
    assert!(most(with(4, 2), 64) < 16);
}

#[test]
fn who_leaves_before_the_end_frees_the_place_and_tells_nothing() {
    let admission = Admission::default();
    let now = Instant::now();
    let deadline = now + Duration::from_secs(30);
    for _ in 0..1000 {
        drop(admission.enter(now, deadline).unwrap());
    }
    let shown = admission.counters().to_json();
    assert_eq!(
        (&shown["in_flight"], &shown["work_us"]),
        (&0.into(), &0.into())
    );
}

//! The law against queues that are simulated, in a time of their own.

use std::collections::VecDeque;

use fastrand::Rng;

use super::world::{Load, Spell, Work, World};
use super::*;

/// 6 to 8 ms on two processors: some 285 a second.
fn pictures(rng: &mut Rng, _: f64) -> Work {
    Work {
        computes: 0.006 + 0.002 * rng.f64(),
        waits: 0.0,
    }
}

/// The same, and a third asks a language model that takes a second or two.
fn asks_others(rng: &mut Rng, at: f64) -> Work {
    let waits = if rng.u8(..3) == 0 {
        1.0 + rng.f64()
    } else {
        0.0
    };
    Work {
        waits,
        ..pictures(rng, at)
    }
}

/// One in ten was never seen before and takes ten times as long.
fn mixed(rng: &mut Rng, _: f64) -> Work {
    let computes = if rng.u8(..10) == 0 { 0.04 } else { 0.004 };
    Work {
        computes,
        waits: 0.0,
    }
}

fn load(rate: f64, work: fn(&mut Rng, f64) -> Work) -> Load {
    Load {
        processors: 2,
        batch: 1,
        rate,
        is_even: false,
        crowd: 0,
        seconds: 30.0,
        spells: Vec::new(),
        work,
    }
}

/// 130 to 150 ms on two processors: pictures that nobody asked for before, some 14 a second.
fn new_pictures(rng: &mut Rng, _: f64) -> Work {
    Work {
        computes: 0.13 + 0.02 * rng.f64(),
        waits: 0.0,
    }
}

/// 1 to 3 ms: such that are known, some 1000 a second.
fn known_pictures(rng: &mut Rng, _: f64) -> Work {
    Work {
        computes: 0.001 + 0.002 * rng.f64(),
        waits: 0.0,
    }
}

const SEEDS: std::ops::Range<u64> = 1..4;

/// How long each kind of work takes, and how many of it can be done a second.
type Kind = (&'static str, fn(&mut Rng, f64) -> Work, f64);
const KINDS: [Kind; 3] = [
    ("new", new_pictures, 14.2),
    ("any", pictures, 285.0),
    ("known", known_pictures, 1000.0),
];

/// A minute of the work, so many times as much as can be done.
fn minute((_, work, capacity): Kind, times: f64) -> Load {
    Load {
        seconds: 60.0,
        ..load(times * capacity, work)
    }
}

/// The whole program stands still three times.
fn stalls(apart: f64) -> Vec<Spell> {
    let begins = [15.0, 15.0 + apart, 15.0 + 2.0 * apart];
    let spells = begins.map(|from| Spell {
        from,
        to: from + 0.6,
        speed: 0.0,
    });
    spells.into()
}

#[test]
fn below_capacity_next_to_nobody_is_refused() {
    let mut world = World::new(1);
    let seen = world.run(&Admission::default(), &load(228.0, pictures));
    assert_eq!(seen.refused(), 0.0);
    let seen = world.run(&Admission::default(), &load(200.0, mixed));
    assert!(seen.refused() < 0.01, "{}", seen.refused());
}

#[test]
fn above_capacity_those_taken_are_answered_in_good_time_and_as_many_as_can_be() {
    let mut world = World::new(2);
    for (work, capacity) in [
        (pictures as fn(&mut Rng, f64) -> Work, 285.0),
        (mixed, 263.0),
    ] {
        let admission = Admission::default();
        let calm = world.run(&admission, &load(0.8 * capacity, work));
        for times in [2.0, 3.0, 10.0] {
            let refused_before = admission.lock().refused;
            let seen = world.run(&admission, &load(times * capacity, work));
            let (p99, rate) = (seen.p99(), seen.rate());
            assert!(p99 <= 3.0 * calm.p99(), "{times}: {p99} of {}", calm.p99());
            assert!(rate >= 0.9 * capacity, "{times}: {rate} of {capacity}");
            let refused = admission.lock().refused - refused_before;
            assert_eq!(refused, (seen.offered - seen.taken.len()) as u64);
        }
    }
}

/// Evenly spaced requests do not wait at all below capacity, so that the burst that shows that more
/// come than can be done weighs most there: 16 of those that take 70 ms each.
#[test]
fn evenly_spaced_or_not_new_or_known_three_times_as_many_wait_little() {
    for kind in KINDS {
        for seed in SEEDS {
            for is_even in [false, true] {
                let (mut world, admission) = (World::new(seed), Admission::default());
                let with = |times| Load {
                    is_even,
                    seconds: if kind.0 == "known" { 40.0 } else { 60.0 },
                    ..minute(kind, times)
                };
                let calm = world.run(&admission, &with(0.8));
                let many = world.run(&admission, &with(3.0));
                let at = format!("{} {seed} {is_even}: ", kind.0);
                let rate = many.rate() / kind.2;
                assert!(rate >= 0.9, "{at}{rate}");
                let (p99, of_calm) = (many.p99(), calm.p99());
                let at = format!("{at}{p99} of {of_calm}");
                let burst = kind.0 == "new" && is_even;
                assert!(p99 <= if burst { 6.5 } else { 3.0 } * of_calm, "{at}");
                // Once the burst is over.
                let then = many.p99_between(2.0, 60.0);
                assert!(then <= 3.0 * of_calm, "{at}, then {then}");
            }
        }
    }
}

#[test]
fn stalls_are_no_reason_to_take_more() {
    for kind in KINDS {
        for seed in SEEDS {
            for (times, apart) in [(2.0, 5.0), (3.0, 5.0), (2.0, 1.0), (3.0, 1.0)] {
                let (mut world, admission) = (World::new(seed), Admission::default());
                let with = |times| Load {
                    seconds: if kind.0 == "known" { 40.0 } else { 60.0 },
                    ..minute(kind, times)
                };
                let calm = world.run(&admission, &with(0.8));
                let load = Load {
                    spells: stalls(apart),
                    ..with(times)
                };
                let seen = world.run(&admission, &load);
                let at = format!("{} {seed} {times} {apart}: ", kind.0);
                let then = seen.rate_between(26.0, load.seconds) / kind.2;
                assert!(then >= 0.9, "{at}{then}");
                let then = seen.p99_between(30.0, load.seconds);
                assert!(then <= 3.0 * calm.p99(), "{at}{then} of {}", calm.p99());
                assert!(seen.p99() <= 1.5, "{at}{}", seen.p99());
            }
        }
    }
}

#[test]
fn a_machine_that_becomes_slower_or_quicker_is_followed() {
    let spell = |from, to, speed| Spell { from, to, speed };
    for kind in [KINDS[0], KINDS[1]] {
        for seed in SEEDS {
            for times in [2.0, 3.0] {
                let run = |before: Option<Spell>, then: Spell| {
                    let (mut world, admission) = (World::new(seed), Admission::default());
                    let speed = before.map_or(1.0, |it| it.speed);
                    let spells = before.into_iter().collect();
                    let load = Load {
                        spells,
                        ..minute(kind, 0.8 * speed)
                    };
                    let calm = world.run(&admission, &load);
                    let load = Load {
                        spells: vec![then],
                        ..minute(kind, times)
                    };
                    (calm.p99(), world.run(&admission, &load))
                };
                let at = format!("{} {seed} {times}: ", kind.0);
                // For ten seconds.
                let (calm, seen) = run(None, spell(15.0, 25.0, 1.0 / 3.0));
                let p99 = [seen.p99_between(2.0, 45.0), seen.p99_between(45.0, 60.0)];
                assert!(p99[0] <= 12.0 * calm && p99[1] <= 3.0 * calm, "{at}{p99:?}");
                let rate = seen.rate_between(26.0, 60.0) / kind.2;
                assert!(rate >= 0.9, "{at}{rate}");
                // For good: everything takes ten times as long, and what is taken twenty.
                let (calm, seen) = run(None, spell(15.0, 1e6, 0.1));
                let p99 = seen.p99_between(15.0, 60.0);
                assert!(p99 <= 20.0 * calm, "{at}{p99} of {calm}");
                let rate = seen.rate_between(17.0, 60.0) / kind.2;
                assert!(rate >= 0.09, "{at}{rate}");
                // Quicker for good.
                let slow = Some(spell(-1e6, 1e6, 0.1));
                let (calm, seen) = run(slow, spell(-1e6, 15.0, 0.1));
                let p99 = seen.p99_between(20.0, 60.0);
                assert!(p99 <= 0.3 * calm, "{at}{p99} of {calm}");
                let rate = seen.rate_between(20.0, 60.0) / kind.2;
                assert!(rate >= 0.9, "{at}{rate}");
            }
        }
    }
}

#[test]
fn a_crowd_at_the_start_is_over_soon() {
    for kind in [KINDS[0], KINDS[1]] {
        for seed in SEEDS {
            let load = Load {
                crowd: 200,
                ..minute(kind, 3.0)
            };
            let seen = World::new(seed).run(&Admission::default(), &load);
            // Sixty-four, before anything is known.
            let (first, then) = (seen.p99_between(0.0, 5.0), seen.p99_between(6.0, 60.0));
            assert!(first <= 70.0 / kind.2, "{}: {first}", kind.0);
            assert!(then <= 7.0 / kind.2, "{}: {then}", kind.0);
            assert!(seen.rate() >= 0.9 * kind.2, "{}: {}", kind.0, seen.rate());
        }
    }
}

/// More than can be answered, of which some wait for others: as many in flight as they need. Once
/// none waits for others any more, so many are a queue, and that is found out while more come.
#[test]
fn what_was_given_in_to_is_taken_back() {
    for seed in SEEDS {
        let (mut world, admission) = (World::new(seed), Admission::default());
        let seen = world.run(&admission, &minute(("", asks_others, 285.0), 2.0));
        let then = seen.rate_between(20.0, 60.0);
        assert!(then >= 0.85 * 285.0, "{then}");
        assert!(seen.p99() <= 3.0, "{}", seen.p99());
        let seen = world.run(&admission, &minute(KINDS[1], 3.0));
        assert!(seen.rate() >= 0.9 * 285.0, "{}", seen.rate());
        let (first, then) = (seen.p99_between(0.0, 20.0), seen.p99_between(40.0, 60.0));
        assert!(first <= 4.0 && then <= 0.07, "{first} {then}");
    }
}

/// The language model becomes slow while more come than can be answered.
#[test]
fn others_that_become_slow_meanwhile_are_given_in_to() {
    fn then_asks(rng: &mut Rng, at: f64) -> Work {
        if at < 15.0 {
            pictures(rng, at)
        } else {
            asks_others(rng, at)
        }
    }
    for seed in SEEDS {
        let (mut world, admission) = (World::new(seed), Admission::default());
        world.run(&admission, &minute(KINDS[1], 0.8));
        let seen = world.run(&admission, &minute(("", then_asks, 285.0), 2.0));
        let then = seen.rate_between(40.0, 60.0);
        assert!(then >= 0.8 * 285.0, "{seed}: {then}");
    }
}

#[test]
fn one_measure_more_is_no_more_than_some_means_and_the_mean_follows_all_the_same() {
    let mut mean = Mean::default();
    assert_eq!(mean.known(), None);
    (0..MEASURES).for_each(|_| mean.add(1.0, 16.0));
    mean.add(1e6, 16.0);
    assert!(mean.value < 1.2, "{}", mean.value);
    (0..4 * MEASURES).for_each(|_| mean.add(10.0, 16.0));
    assert!(mean.value > 9.0, "{}", mean.value);
    (0..4 * MEASURES).for_each(|_| mean.add(1.0, 16.0));
    assert!(mean.value < 1.3, "{}", mean.value);
}

#[test]
fn before_anything_is_known_no_more_than_some_are_taken() {
    let admission = Admission::default();
    let now = Instant::now();
    let deadline = now + Duration::from_secs(30);
    let taken: Vec<_> = (0..256)
        .map_while(|_| admission.enter(now, deadline).ok())
        .collect();
    assert_eq!(taken.len(), UNMEASURED);
    // The operator wants more.
    admission.lock().limits.always = 100;
    let more: Vec<_> = (0..256)
        .map_while(|_| admission.enter(now, deadline).ok())
        .collect();
    assert_eq!(taken.len() + more.len(), 100);
}

#[test]
fn who_would_be_refused_is_told_before_it_is_read() {
    let admission = Admission::default();
    let start = Instant::now();
    let at = |millis: u64| start + Duration::from_millis(millis);
    let deadline = at(30_000);
    let places = || {
        let taken = (0..256).map_while(|_| admission.enter(at(3_000), deadline).ok());
        taken.collect::<VecDeque<_>>()
    };
    assert_eq!(admission.refuses(at(0), deadline), None, "nothing is known");
    {
        let mut state = admission.lock();
        state.work.set(0.007);
        state.pace.set(0.007);
    }
    // A queue that does not stand yet: whoever comes is taken.
    let first = admission.enter(at(1), deadline).unwrap();
    assert_eq!(admission.refuses(at(1), deadline), None);
    let mut taken = places();
    let refused = admission.lock().refused;
    assert!(admission.refuses(at(3_001), deadline).unwrap() >= MIN_RETRY_AFTER);
    assert_eq!(admission.lock().refused, refused + 1);
    // With a place it is not, and it takes none by being asked.
    while admission.lock().in_flight >= 4 {
        taken.pop_front();
    }
    for _ in 0..10 {
        assert_eq!(admission.refuses(at(3_002), deadline), None);
    }
    assert_eq!(admission.lock().in_flight, 3);
    drop(first);
}

/// As many in flight as wait for a language model are no queue, however many they are: after some
/// seconds that is known.
#[test]
fn what_waits_for_others_is_not_held_back_for_long() {
    let mut world = World::new(3);
    for rate in [100.0, 200.0, 228.0] {
        // What was measured may be from a time when nothing took long.
        for was_calm in [false, true] {
            let admission = Admission::default();
            if was_calm {
                world.run(&admission, &load(200.0, pictures));
            }
            let first = world.run(&admission, &load(rate, asks_others));
            assert!(first.refused() < 0.25, "{rate}: {}", first.refused());
            let then = world.run(&admission, &load(rate, asks_others));
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
    // Sixty-four, each of which comes again when it was answered; one is answered every 3 ms.
    let mut places: VecDeque<Place<'_>> = VecDeque::new();
    for turn in 0..5_000 {
        while places.len() < 64 {
            places.push_back(admission.enter(at(turn * 3), deadline).unwrap());
        }
        places.pop_front().unwrap().leave(at(turn * 3 + 3));
    }
    // More than are done within a quarter of a second are more than can be answered.
    let after = loop {
        match admission.enter(at(20_000), deadline) {
            Ok(place) => places.push_back(place),
            Err(after) => break after,
        }
    };
    assert!((83..=84).contains(&places.len()), "{}", places.len());
    assert!(after >= MIN_RETRY_AFTER);
    // Until the queue is short, and once it was calm for a while as many as before.
    while places.len() > 3 {
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
        assert!(places.len() >= 4);
        places.pop_front().unwrap().leave(at(2 * turn + 2));
    }
    assert!(places.len() <= 5, "{}", places.len());
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
    assert_eq!(AdmissionLimits::default(), with(4, 4));
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

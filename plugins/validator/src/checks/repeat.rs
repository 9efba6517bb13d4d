//! Checks of calls that are repeated, one after the other and at the same time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use omnizap_contract::{Channels, Inputs, PortType, abi};
use omnizap_host::probe::{Answer, Specimen};

use crate::check::{Check, Gate, Run};
use crate::random::{self, describe};
use crate::same::difference;
use crate::trial::{StageTrial, must_be_sound};
use crate::verdict::{Finding, Passed, Verdict, skipped};

/// Inputs that are given again.
const CALLS: usize = 16;
/// Threads that call at the same time.
const THREADS: usize = 4;
/// Rounds in which each of them calls once, all beginning together; as many as there are, unless
/// the stage is slow.
const ROUNDS: usize = 300;
const LEAST_ROUNDS: usize = 4;
/// The part of the check's time that they may take, of one size of pictures.
const PART: u32 = 10;
/// Sides of the pictures, each of its own: a call is long enough to be beside another.
const SIDES: std::ops::Range<u32> = 448..576;

pub(super) const PURE: Check = Check {
    id: "pure",
    rule: "OZ_PURE: the same inputs give the same outputs, bit for bit",
    advice: "use no clock, no random number, no order of a hash map, nothing of earlier calls; or drop OZ_PURE",
    gate: Gate::Open,
    run: Run::Stage(pure),
};

pub(super) const THREADS_CHECK: Check = Check {
    id: "threads",
    rule: "can be called from several threads at once, as its flags say",
    advice: "guard what calls share, or drop OZ_THREAD_SAFE; instances share nothing but constants and caches",
    gate: Gate::Open,
    run: Run::Stage(threads),
};

fn pure(trial: &mut StageTrial<'_>) -> Verdict {
    if !trial.is_pure() {
        return skipped("the stage is not OZ_PURE");
    }
    let (one, other) = (trial.instance()?, trial.instance()?);
    for turn in trial.calls(CALLS) {
        let inputs = trial.inputs();
        let about = describe(&trial.stage.inputs, &inputs);
        trial
            .steps
            .step(&format!("call {}, three times: {about}", turn + 1));
        let first = one.run(&inputs, &trial.call());
        let again = [
            ("the same instance", one.run(&inputs, &trial.call())),
            ("another instance", other.run(&inputs, &trial.call())),
        ];
        for (who, answer) in &again {
            if let Some(difference) = difference(&trial.stage, &first, answer) {
                return Err(Finding::new(format!("{difference}, of {who} ({about})")));
            }
        }
    }
    Ok(Passed::Ok)
}

fn threads(trial: &mut StageTrial<'_>) -> Verdict {
    let is_shared = trial.stage.has(abi::THREAD_SAFE);
    let instances = (0..if is_shared { 1 } else { THREADS }).map(|_| trial.instance());
    let instances: Vec<Specimen> = instances.collect::<Result<_, _>>()?;
    let what = if is_shared {
        "one instance"
    } else {
        "an instance each"
    };
    // Pictures that take long first; a stage may refuse those, or treat small ones otherwise. What
    // they were lent stays until the end: coming back to it has a check of its own.
    let large = format!("{what}, large pictures");
    let _lent = at_once(trial, &instances, &large, long_inputs)?;
    at_once(trial, &instances, what, StageTrial::welcome_inputs)?;
    Ok(Passed::Ok)
}

/// Calls from several threads, each with inputs of its own that `make` gives.
fn at_once<'a>(
    trial: &mut StageTrial<'a>,
    instances: &[Specimen],
    what: &str,
    make: impl Fn(&mut StageTrial<'a>, &Specimen) -> Inputs,
) -> Result<Vec<(Inputs, Answer)>, Finding> {
    // Each alone first: what it then gives among others must be no other.
    let mut alone: Vec<(Inputs, Answer)> = Vec::new();
    trial.steps.step("ordinary inputs");
    for index in 0..THREADS {
        let inputs = make(trial, &instances[index % instances.len()]);
        let answer = instances[0].run(&inputs, &trial.call());
        alone.push((inputs, answer));
    }
    trial
        .steps
        .step(&format!("{THREADS} threads at once, {what}"));
    let trial = &*trial;
    let round = Round::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = alone
            .iter()
            .enumerate()
            .map(|(index, (inputs, expected))| {
                let (instance, round) = (&instances[index % instances.len()], &round);
                scope.spawn(move || ask_often(trial, instance, (inputs, expected), round))
            })
            .collect();
        let ends = threads.into_iter().map(|thread| {
            let end = thread.join();
            end.unwrap_or_else(|_| Err(Finding::new("a thread of the check itself panicked")))
        });
        ends.collect::<Result<(), Finding>>()
    })?;
    Ok(alone)
}

/// Inputs with pictures that take long, so that calls which begin together overlap.
fn long_inputs(trial: &mut StageTrial<'_>, instance: &Specimen) -> Inputs {
    let small = trial.welcome_inputs(instance);
    let (ports, rng) = (&trial.stage.inputs, &mut trial.rng);
    random::inputs_with(ports, |port| match port.ty {
        PortType::Image => {
            let (width, height) = (rng.u32(SIDES), rng.u32(SIDES));
            // Noise: of one colour, or of a gradient, two pictures may give the same.
            Some(random::noise(rng, width, height, Channels::Rgb))
        }
        _ => small.value(&port.name).cloned(),
    })
}

/// Where the threads meet before each round, so that all of them have the same number of rounds:
/// one that waited for another which is gone would wait for ever.
struct Round {
    meet: Barrier,
    /// Set by any thread, while it is at its call.
    is_enough: AtomicBool,
    /// Set by one thread, while the others wait.
    is_over: AtomicBool,
}

impl Round {
    fn new() -> Self {
        Self {
            meet: Barrier::new(THREADS),
            is_enough: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Lets a round begin once all threads are here; false where there is none any more.
    fn begins(&self, is_wanted: impl FnOnce() -> bool) -> bool {
        let decides = self.meet.wait().is_leader();
        if decides && (self.is_enough.load(Ordering::Relaxed) || !is_wanted()) {
            self.is_over.store(true, Ordering::Relaxed);
        }
        self.meet.wait();
        !self.is_over.load(Ordering::Relaxed)
    }
}

fn ask_often(
    trial: &StageTrial<'_>,
    instance: &Specimen,
    (inputs, expected): (&Inputs, &Answer),
    round: &Round,
) -> Result<(), Finding> {
    let mut found = Ok(());
    let began = Instant::now();
    let mut rounds = 0;
    let has_time = |rounds| rounds < LEAST_ROUNDS || began.elapsed() < trial.time() / PART;
    while round.begins(|| rounds < ROUNDS && has_time(rounds)) {
        rounds += 1;
        found = compare(trial, expected, &instance.run(inputs, &trial.call()));
        if found.is_err() {
            // The others hear of it before the next round.
            round.is_enough.store(true, Ordering::Relaxed);
        }
    }
    found
}

fn compare(trial: &StageTrial<'_>, expected: &Answer, answer: &Answer) -> Result<(), Finding> {
    if trial.is_pure() {
        return match difference(&trial.stage, expected, answer) {
            None => Ok(()),
            Some(difference) => Err(Finding::new(format!(
                "{difference}: alone, and then beside calls of other threads"
            ))),
        };
    }
    match expected {
        Answer::Given(_) => must_be_sound(answer, "beside calls of other threads"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_as_many_rounds_as_the_others() {
        let round = Round::new();
        let counts = std::thread::scope(|scope| {
            let count = || {
                let mut count = 0;
                while round.begins(|| count < 500) {
                    count += 1;
                    if count == 50 {
                        round.is_enough.store(true, Ordering::Relaxed);
                    }
                }
                count
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(count)).collect();
            let counts = threads.into_iter().map(|thread| thread.join().unwrap());
            counts.collect::<Vec<i32>>()
        });
        assert_eq!(counts, [50; THREADS]);
    }
}

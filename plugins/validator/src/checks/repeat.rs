//! Checks of calls that are repeated, one after the other and at the same time.

use omnizap_contract::{Inputs, abi};
use omnizap_host::probe::{Answer, Specimen};

use crate::check::{Check, Gate, Run};
use crate::random::describe;
use crate::same::difference;
use crate::trial::{StageTrial, must_be_sound};
use crate::verdict::{Finding, Passed, Verdict, skipped};

/// Inputs that are given again.
const CALLS: usize = 16;
/// Threads that call at the same time, and how often each does.
const THREADS: usize = 4;
const CALLS_PER_THREAD: usize = 24;

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
    // Each alone first: what it then gives among others must be no other.
    let mut alone: Vec<(Inputs, Answer)> = Vec::new();
    for _ in 0..THREADS {
        let inputs = trial.inputs();
        let answer = instances[0].run(&inputs, &trial.call());
        alone.push((inputs, answer));
    }
    let what = if is_shared {
        "one instance"
    } else {
        "an instance each"
    };
    trial
        .steps
        .step(&format!("{THREADS} threads at once, {what}"));
    let trial = &*trial;
    std::thread::scope(|scope| {
        let threads: Vec<_> = alone
            .iter()
            .enumerate()
            .map(|(index, (inputs, expected))| {
                let instance = &instances[index % instances.len()];
                scope.spawn(move || ask_often(trial, instance, inputs, expected))
            })
            .collect();
        let ends = threads.into_iter().map(|thread| {
            let end = thread.join();
            end.unwrap_or_else(|_| Err(Finding::new("a thread of the check itself panicked")))
        });
        ends.collect::<Result<(), Finding>>()
    })?;
    Ok(Passed::Ok)
}

fn ask_often(
    trial: &StageTrial<'_>,
    instance: &Specimen,
    inputs: &Inputs,
    expected: &Answer,
) -> Result<(), Finding> {
    for _ in trial.calls(CALLS_PER_THREAD) {
        let answer = instance.run(inputs, &trial.call());
        if trial.is_pure() {
            if let Some(difference) = difference(&trial.stage, expected, &answer) {
                return Err(Finding::new(format!(
                    "{difference}: alone, and then beside calls of other threads"
                )));
            }
        } else if matches!(expected, Answer::Given(_)) {
            must_be_sound(&answer, "beside calls of other threads")?;
        }
    }
    Ok(())
}

//! Checks of what `run` answers to random inputs.

use omnizap_host::probe::Answer;

use crate::check::{Check, Gate, Run};
use crate::random::describe;
use crate::trial::StageTrial;
use crate::verdict::{Finding, Passed, Verdict, skipped};

/// Calls with random inputs.
const CALLS: usize = 64;

pub(super) const RUN: Check = Check {
    id: "run",
    rule: "answers random inputs, or says what is wrong with them",
    advice: "handle every value that the ports allow; for one that makes no sense, OZ_INVALID and a message",
    gate: Gate::Crash,
    run: Run::Stage(run),
};

pub(super) const OUTPUTS: Check = Check {
    id: "outputs",
    rule: "each output as declared: port, type, shape; finite, UTF-8",
    advice: "give what the descriptor declares, or declare what it gives; for no answer, an error status",
    gate: Gate::Open,
    run: Run::Stage(outputs),
};

pub(super) const ERRORS: Check = Check {
    id: "errors",
    rule: "each error has a message in UTF-8",
    advice: "before an error status, write one sentence into call->error: what is wrong and what to do (in C: oz_fail)",
    gate: Gate::Open,
    run: Run::Stage(errors),
};

/// Runs one instance on random inputs until `look` finds something; what was looked at.
fn each(
    trial: &mut StageTrial<'_>,
    mut look: impl FnMut(&Answer) -> Option<String>,
) -> Result<(), Finding> {
    let instance = trial.instance()?;
    for turn in trial.calls(CALLS) {
        let inputs = trial.inputs();
        let about = format!(
            "call {}: {}",
            turn + 1,
            describe(&trial.stage.inputs, &inputs)
        );
        trial.steps.step(&about);
        let answer = instance.run(&inputs, &trial.call());
        if let Some(found) = look(&answer) {
            return Err(Finding::new(format!("{found} ({about})")));
        }
    }
    trial.steps.step("deactivate and destroy");
    drop(instance);
    Ok(())
}

fn run(trial: &mut StageTrial<'_>) -> Verdict {
    each(trial, |answer| match answer {
        Answer::Failed(trouble) if trouble.is_fault() => Some(format!("run said {trouble}")),
        // Outputs have a check of their own.
        _ => None,
    })?;
    Ok(Passed::Ok)
}

fn outputs(trial: &mut StageTrial<'_>) -> Verdict {
    let mut given = 0;
    let mut refusal = None;
    each(trial, |answer| {
        match answer {
            Answer::Given(_) => given += 1,
            Answer::Failed(trouble) => refusal = Some(trouble.to_string()),
            Answer::Wrong(reason) => return Some(reason.clone()),
        }
        None
    })?;
    match refusal {
        Some(refusal) if given == 0 => skipped(format!(
            "no random input was to its liking, it never gave outputs: {refusal}"
        )),
        _ => Ok(Passed::Ok),
    }
}

fn errors(trial: &mut StageTrial<'_>) -> Verdict {
    let mut errors = 0;
    each(trial, |answer| {
        let Answer::Failed(trouble) = answer else {
            return None;
        };
        errors += 1;
        trouble
            .is_malformed
            .then(|| format!("an error without a message, with one longer than its memory, or not in UTF-8: {trouble}"))
    })?;
    if errors == 0 {
        return skipped("no random input was refused");
    }
    Ok(Passed::Ok)
}

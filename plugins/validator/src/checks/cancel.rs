//! Whether a stage that asks if a call is cancelled gives up then.

use std::time::{Duration, Instant};

use omnizap_contract::{Call, Channels, Inputs, PortType};
use omnizap_host::probe::{Answer, Lent, Specimen};

use crate::check::{Check, Gate, Run};
use crate::random;
use crate::trial::StageTrial;
use crate::verdict::{Finding, Passed, Verdict, skipped};

/// The time in which a call ends once nobody waits for it. Asking every millisecond or so is
/// what the ABI wants; the rest is for a busy machine.
const CANCEL_LIMIT: Duration = Duration::from_millis(250);
/// When a call is cancelled that has begun.
const CANCEL_AFTER: Duration = Duration::from_millis(20);
/// Sides of the picture that it works on: long work, where there is any.
const SIDE: u32 = 1024;

pub(super) const CANCEL: Check = Check {
    id: "cancel",
    rule: "gives up soon after nobody waits, where it asks is_cancelled",
    advice: "ask is_cancelled every millisecond or so of work and return OZ_DEADLINE when it says 1",
    gate: Gate::Open,
    run: Run::Stage(cancel),
};

fn cancel(trial: &mut StageTrial<'_>) -> Verdict {
    let instance = trial.instance()?;
    trial.steps.step("ordinary inputs");
    let small = trial.welcome_inputs(&instance);
    let (ports, rng) = (&trial.stage.inputs, &mut trial.rng);
    let inputs = random::inputs_with(ports, |port| match port.ty {
        PortType::Image => Some(random::picture(rng, SIDE, SIDE, Channels::Rgb)),
        _ => small.value(&port.name).cloned(),
    });
    trial
        .steps
        .step("a call that was cancelled before it began");
    let call = trial.call();
    call.cancel.cancel();
    let before = Timed::run(&instance, &inputs, &call, Duration::ZERO)?;
    trial.steps.step("a call that is cancelled while it runs");
    let call = trial.call();
    let cancel = call.cancel.clone();
    let during = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(CANCEL_AFTER);
            cancel.cancel();
        });
        Timed::run(&instance, &inputs, &call, CANCEL_AFTER)
    })?;
    if !before.asked && !during.asked {
        return skipped("it never asked is_cancelled");
    }
    for timed in [before, during] {
        timed.must_have_given_up()?;
    }
    Ok(Passed::Ok)
}

/// A call that was cancelled.
struct Timed {
    answer: Answer,
    /// How long it went on.
    late: Duration,
    /// Whether it asked if anybody still waits.
    asked: bool,
}

impl Timed {
    fn run(
        instance: &Specimen,
        inputs: &Inputs,
        call: &Call,
        cancelled_after: Duration,
    ) -> Result<Self, Finding> {
        let lent = Lent {
            inputs,
            picture: None,
            is_guarded: false,
        };
        let began = Instant::now();
        let ended = instance.run_lent(lent, call)?;
        Ok(Self {
            late: began.elapsed().saturating_sub(cancelled_after),
            answer: ended.answer,
            asked: ended.asked_cancel,
        })
    }

    fn must_have_given_up(&self) -> Result<(), Finding> {
        if self.late > CANCEL_LIMIT {
            return Err(Finding::new(format!(
                "run went on for {} ms after the call was cancelled, at most {} are allowed",
                self.late.as_millis(),
                CANCEL_LIMIT.as_millis()
            )));
        }
        match &self.answer {
            Answer::Failed(trouble) if trouble.is_fault() => Err(Finding::new(format!(
                "a cancelled call said {trouble}, expected OZ_DEADLINE"
            ))),
            _ => Ok(()),
        }
    }
}

//! Whether a library leaves the process as it found it: what it changes there, every other stage
//! and the service itself live with.

use std::path::Path;

use omnizap_contract::{Inputs, abi};
use omnizap_host::probe::surroundings::{HeldOutput, Surroundings};
use omnizap_host::probe::{Lent, Probe, take_left};

use crate::check::{Check, Gate, Run};
use crate::trial::{StageTrial, refused};
use crate::verdict::{Finding, Passed, Verdict};

/// Calls that are looked at.
const CALLS: usize = 8;
/// Calls of the batch that is.
const BATCH: usize = 2;
/// Changes that are told.
const SHOWN: usize = 3;

const ADVICE: &str = "leave signals, the floating-point unit, the folder, umask, locale, environment and limits alone, or put back what was there before returning; print with omnizap.log/1";

pub(super) const OPEN_CLEAN: Check = Check {
    id: "open-clean",
    rule: "opening and init leave the process as it was",
    advice: ADVICE,
    gate: Gate::Open,
    run: Run::Open(open_clean),
};

pub(super) const CLEAN: Check = Check {
    id: "clean",
    rule: "signals, floating point, folder, locale, stdout stay as they were",
    advice: ADVICE,
    gate: Gate::Open,
    run: Run::Stage(clean),
};

fn open_clean(path: &Path) -> Verdict {
    let mut watch = Watch::begin();
    let probe = watch.over("opening it and init", true, || Probe::open(path))?;
    // That it opens is for another check.
    drop(probe);
    Ok(Passed::Ok)
}

fn clean(trial: &mut StageTrial<'_>) -> Verdict {
    let options = trial.options.clone();
    let mut watch = Watch::begin();
    trial.steps.step("create");
    let mut instance = watch.over("create", false, || trial.create())??;
    trial.steps.step("validate_config");
    let valid = watch.over("validate_config", false, || instance.validate(&options))?;
    valid.map_err(|trouble| refused("validate_config", &trouble, &options))?;
    trial.steps.step("activate");
    let active = watch.over("activate", false, || instance.activate(&options))?;
    active.map_err(|trouble| refused("activate", &trouble, &options))?;
    for turn in trial.calls(CALLS) {
        let inputs = trial.inputs();
        trial.steps.step(&format!("run, call {}", turn + 1));
        let call = trial.call();
        // What it answers is for other checks.
        watch.over("run", false, || drop(instance.run(&inputs, &call)))?;
    }
    if trial.stage.has(abi::BATCHABLE) {
        trial.steps.step("run_batch");
        let inputs: Vec<Inputs> = (0..BATCH).map(|_| trial.inputs()).collect();
        let lent = inputs.iter().map(|inputs| Lent {
            inputs,
            picture: None,
            is_guarded: false,
        });
        let lent: Vec<Lent<'_>> = lent.collect();
        let call = trial.call();
        watch.over("run_batch", false, || {
            instance.run_batch(&lent, &call).map(drop)
        })??;
    }
    trial.steps.step("deactivate");
    watch.over("deactivate", false, || instance.deactivate())?;
    trial.steps.step("destroy");
    watch.over("destroy", false, || drop(instance))?;
    Ok(Passed::Ok)
}

/// Compares the process before and after what the library does.
struct Watch {
    before: Surroundings,
}

impl Watch {
    fn begin() -> Self {
        // What was left before is not this check's.
        let _ = take_left();
        Self {
            before: Surroundings::now(),
        }
    }

    /// Does something of the library's; fails with what that changed.
    fn over<T>(
        &mut self,
        what: &str,
        may_handle: bool,
        work: impl FnOnce() -> T,
    ) -> Result<T, Finding> {
        let output = HeldOutput::hold()?;
        let done = work();
        let printed = output.end()?;
        let after = Surroundings::now();
        let mut changes = after.changes_since(&self.before, may_handle);
        let left = take_left();
        if left.mask {
            changes.push("the thread's signal mask is another".into());
        }
        if left.floating_point {
            changes.push("floating point rounds, flushes or traps in another way".into());
        }
        if !printed.is_empty() {
            changes.push(format!("it printed {printed:?} on standard output"));
        }
        self.before = after;
        if changes.is_empty() {
            return Ok(done);
        }
        let more = match changes.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        changes.truncate(SHOWN);
        let changes = changes.join("; ");
        Err(Finding::new(format!("after {what}: {changes}{more}")))
    }
}

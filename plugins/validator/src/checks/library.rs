//! Checks of the opened library as a whole.

use std::path::Path;

use omnizap_host::probe::Probe;

use crate::check::{Check, Gate, Run};
use crate::trial::LibraryTrial;
use crate::verdict::{Finding, Passed, Verdict, skipped};

pub(super) const OPEN: Check = Check {
    id: "open",
    rule: "opens, and its init and factory work",
    advice: "see which library or symbol is missing with `ldd -r`, or why init failed",
    gate: Gate::Failure,
    run: Run::Open(open),
};

pub(super) const INIT_TWICE: Check = Check {
    id: "init-twice",
    rule: "a second init is as good as the first, deinit undoes one",
    advice: "count: set up at the first init, tear down at the deinit that undoes it",
    gate: Gate::Open,
    run: Run::Library(init_twice),
};

pub(super) const UNKNOWN_IDS: Check = Check {
    id: "unknown-ids",
    rule: "answers ids of factories and extensions that it lacks with NULL",
    advice: "compare the id in get_factory and get_extension, return NULL for any other",
    gate: Gate::Open,
    run: Run::Library(unknown_ids),
};

fn open(path: &Path) -> Verdict {
    match Probe::open(path) {
        Ok(_) => Ok(Passed::Ok),
        Err(error) => Err(Finding::new(error.to_string())),
    }
}

fn init_twice(trial: &LibraryTrial<'_>) -> Verdict {
    // What is wrong with instances as such is for other checks.
    let worked = use_once(trial).is_ok();
    let use_again = |when: &str| {
        trial.steps.step(&format!("an instance {when}"));
        match use_once(trial) {
            Err(finding) if worked => Err(Finding::new(format!("{when}: {}", finding.found))),
            _ => Ok(()),
        }
    };
    let init_again = |when: &str| {
        trial.steps.step(&format!("init {when}"));
        match trial.probe.init() {
            Some(Err(trouble)) => Err(Finding::new(format!("init {when} said {trouble}"))),
            _ => Ok(()),
        }
    };
    if !trial.probe.has_init() {
        return skipped("it has no init");
    }
    // The first init was part of opening.
    init_again("a second time")?;
    trial.steps.step("the first deinit");
    trial.probe.deinit();
    use_again("after the second of two init was undone")?;
    trial.steps.step("the last deinit");
    trial.probe.deinit();
    init_again("after all were undone")?;
    use_again("after init, deinit and init")?;
    Ok(Passed::Ok)
}

fn use_once(trial: &LibraryTrial<'_>) -> Result<(), Finding> {
    match trial.first_stage() {
        Some(stage) => stage.instance().map(|_| ()),
        None => Ok(()),
    }
}

fn unknown_ids(trial: &LibraryTrial<'_>) -> Verdict {
    if trial.probe.has_unknown_factory() {
        return Err(Finding::new(
            "get_factory gave a factory for an id that does not exist",
        ));
    }
    for stage in trial.stages() {
        let Ok(instance) = trial.probe.create(&stage) else {
            continue;
        };
        if instance.has_unknown_extension() {
            return Err(Finding::new(format!(
                "get_extension of `{}` gave an extension for an id that does not exist",
                stage.id
            )));
        }
    }
    Ok(Passed::Ok)
}

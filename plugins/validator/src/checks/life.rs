//! Checks of what comes before and after a call: create, options, activate, and again.

use std::time::{Duration, Instant};

use omnizap_contract::{Options, abi};
use omnizap_host::probe::{Specimen, Trouble, process};

use crate::check::{Check, Gate, Run};
use crate::random;
use crate::trial::{StageTrial, must_be_sound, refused, say, spell};
use crate::verdict::{Finding, Passed, Verdict};

/// The time that `create` may take, in the fastest of [`CREATES`].
const CREATE_LIMIT: Duration = Duration::from_millis(100);
const CREATES: usize = 3;
/// Random options that are tried.
const OPTIONS_TRIED: usize = 24;
/// Activations of one instance.
const CYCLES: usize = 3;

pub(super) const CREATE: Check = Check {
    id: "create",
    rule: "create gives an instance with every function",
    advice: "set struct_size and every function of oz_stage but run_batch and get_extension",
    gate: Gate::Failure,
    run: Run::Stage(create),
};

pub(super) const CREATE_FAST: Check = Check {
    id: "create-fast",
    rule: "create is cheap",
    advice: "move what takes time (files, models, connections) from create to activate",
    gate: Gate::Open,
    run: Run::Stage(create_fast),
};

pub(super) const OPTIONS: Check = Check {
    id: "options",
    rule: "validate_config is pure, and refuses what activate would",
    advice: "look at every option in validate_config, open nothing there, and name the one at fault in error->option",
    gate: Gate::Open,
    run: Run::Stage(options),
};

pub(super) const ACTIVATE: Check = Check {
    id: "activate",
    rule: "activates under its default options",
    advice: "give defaults that work, or name what it needs here: --with OPTION=VALUE",
    gate: Gate::Failure,
    run: Run::Stage(activate),
};

pub(super) const LIFECYCLE: Check = Check {
    id: "lifecycle",
    rule: "can be activated again, and two instances live side by side",
    advice: "keep all state in the instance, free in deactivate what activate made",
    gate: Gate::Failure,
    run: Run::Stage(lifecycle),
};

fn create(trial: &mut StageTrial<'_>) -> Verdict {
    trial.steps.step("create");
    let instance = trial.create()?;
    trial.steps.step("destroy, never activated");
    drop(instance);
    Ok(Passed::Ok)
}

fn create_fast(trial: &mut StageTrial<'_>) -> Verdict {
    let mut fastest = Duration::MAX;
    for _ in 0..CREATES {
        let began = Instant::now();
        let instance = trial.create()?;
        fastest = fastest.min(began.elapsed());
        drop(instance);
    }
    if fastest <= CREATE_LIMIT {
        return Ok(Passed::Ok);
    }
    Err(Finding::new(format!(
        "create took {} ms in the fastest of {CREATES}, at most {} are allowed",
        fastest.as_millis(),
        CREATE_LIMIT.as_millis()
    )))
}

fn options(trial: &mut StageTrial<'_>) -> Verdict {
    let mut instance = trial.create()?;
    let defaults = trial.options.clone();
    trial.steps.step("validate_config under the defaults");
    if let Err(trouble) = ask(trial, &mut instance, &defaults)? {
        return Err(refused("validate_config", &trouble, &defaults)
            .advise("give defaults that work, or name what it needs here: --with OPTION=VALUE"));
    }
    if trial.stage.options.is_empty() {
        return Ok(Passed::Ok);
    }
    for turn in trial.calls(OPTIONS_TRIED) {
        let options = random::options(&mut trial.rng, &trial.stage.options, trial.given);
        let shown = spell(&options);
        trial.steps.step(&format!("options {turn}: {shown}"));
        if let Err(trouble) = ask(trial, &mut instance, &options)? {
            check_refusal(trial, &trouble, &shown)?;
            continue;
        }
        let mut other = trial.create()?;
        match other.activate(&options) {
            Err(trouble) if trouble.status == abi::CONFIG => {
                return Err(Finding::new(format!(
                    "validate_config accepted {shown}, activate said {}",
                    say(&trouble)
                )));
            }
            // It may lack a file or a server here.
            _ => drop(other),
        }
    }
    Ok(Passed::Ok)
}

/// `validate_config` twice, which must say the same and leave nothing open.
fn ask(
    trial: &StageTrial<'_>,
    instance: &mut Specimen,
    options: &Options,
) -> Result<Result<(), Trouble>, Finding> {
    let before = process::usage();
    let first = instance.validate(options);
    let second = instance.validate(options);
    let after = process::usage();
    if first != second {
        return Err(Finding::new(format!(
            "validate_config of {} under {} first said {}, then {}",
            trial.stage.id,
            spell(options),
            verdict(&first),
            verdict(&second)
        )));
    }
    if after.descriptors > before.descriptors || after.threads > before.threads {
        return Err(Finding::new(format!(
            "validate_config left {} open files and {} threads behind",
            after.descriptors.saturating_sub(before.descriptors),
            after.threads.saturating_sub(before.threads)
        )));
    }
    Ok(first)
}

fn verdict(result: &Result<(), Trouble>) -> String {
    match result {
        Ok(()) => "OZ_OK".into(),
        Err(trouble) => say(trouble),
    }
}

fn check_refusal(trial: &StageTrial<'_>, trouble: &Trouble, shown: &str) -> Result<(), Finding> {
    let said = say(trouble);
    if trouble.status != abi::CONFIG {
        return Err(Finding::new(format!(
            "validate_config under {shown} said {said}; a refusal is OZ_CONFIG"
        )));
    }
    if trouble.is_malformed {
        return Err(Finding::new(format!(
            "validate_config refused {shown} without a message in UTF-8"
        )));
    }
    let known = trial.stage.options.iter().map(|option| &*option.name);
    if !known.into_iter().any(|name| name == trouble.option) {
        return Err(Finding::new(format!(
            "validate_config refused {shown} and named `{}` in error->option, which is none of its options",
            trouble.option
        )));
    }
    Ok(())
}

fn activate(trial: &mut StageTrial<'_>) -> Verdict {
    trial.steps.step("create and activate");
    let mut instance = trial.instance()?;
    trial.steps.step("deactivate");
    instance.deactivate();
    trial.steps.step("destroy");
    drop(instance);
    Ok(Passed::Ok)
}

fn lifecycle(trial: &mut StageTrial<'_>) -> Verdict {
    let options = trial.options.clone();
    let inputs = trial.inputs();
    let mut first = trial.create()?;
    let mut was_sound = true;
    for cycle in 1..=CYCLES {
        let about = format!("activate, run and deactivate, time {cycle} on one instance");
        trial.steps.step(&about);
        let active = first
            .validate(&options)
            .and_then(|()| first.activate(&options));
        active.map_err(|trouble| refused(&about, &trouble, &options))?;
        let sound = must_be_sound(&first.run(&inputs, &trial.call()), &about);
        if cycle == 1 {
            // What is wrong from the start is for other checks.
            was_sound = sound.is_ok();
        } else if was_sound {
            sound?;
        }
        first.deactivate();
    }
    let run = |instance: &Specimen, about: &str| {
        let sound = must_be_sound(&instance.run(&inputs, &trial.call()), about);
        if was_sound { sound } else { Ok(()) }
    };
    trial.steps.step("destroy it, make another");
    drop(first);
    let second = trial.instance()?;
    run(&second, "an instance made after another was destroyed")?;
    trial.steps.step("a third beside the second");
    let third = trial.instance()?;
    run(&third, "a second instance")?;
    trial
        .steps
        .step("run the second after the third was destroyed");
    drop(third);
    run(&second, "an instance whose neighbour was destroyed")?;
    Ok(Passed::Ok)
}

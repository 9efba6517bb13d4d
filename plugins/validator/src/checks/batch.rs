//! `run_batch` beside `run`.

use omnizap_contract::{Inputs, abi};
use omnizap_host::probe::Lent;

use crate::check::{Check, Gate, Run};
use crate::same::difference;
use crate::trial::{StageTrial, must_be_sound, say};
use crate::verdict::{Finding, Passed, Verdict, skipped};

pub(super) const BATCH: Check = Check {
    id: "batch",
    rule: "OZ_BATCHABLE: run_batch answers each call as run does",
    advice: "set each call's status and its own outputs; give run_batch where OZ_BATCHABLE is set, and only there",
    gate: Gate::Open,
    run: Run::Stage(batch),
};

fn batch(trial: &mut StageTrial<'_>) -> Verdict {
    let instance = trial.instance()?;
    if !trial.stage.has(abi::BATCHABLE) {
        if instance.has_run_batch() {
            return Err(Finding::new("run_batch is there without OZ_BATCHABLE"));
        }
        return skipped("the stage is not OZ_BATCHABLE");
    }
    let most = instance.max_batch();
    let most = most.map_err(|trouble| Finding::new(say(&trouble)))? as usize;
    // What batches were lent stays out of reach until the instance is gone.
    let mut closed = Vec::new();
    for size in [1, 2.min(most), most] {
        trial.steps.step(&format!("a batch of {size}"));
        let inputs: Vec<Inputs> = (0..size).map(|_| trial.inputs()).collect();
        let lent = inputs.iter().map(|inputs| Lent {
            inputs,
            picture: None,
            is_guarded: true,
        });
        let lent: Vec<Lent<'_>> = lent.collect();
        let (answers, memory) = instance.run_batch(&lent, &trial.call())?;
        memory.close()?;
        closed.push(memory);
        for (index, (answer, inputs)) in answers.iter().zip(&inputs).enumerate() {
            let about = format!("call {} of a batch of {size}", index + 1);
            let alone = instance.run(inputs, &trial.call());
            if must_be_sound(&alone, &about).is_ok() {
                must_be_sound(answer, &about)?;
            }
            if !trial.is_pure() {
                continue;
            }
            if let Some(difference) = difference(&trial.stage, &alone, answer) {
                return Err(Finding::new(format!(
                    "{about}: {difference}, first by run, then by run_batch"
                )));
            }
        }
    }
    drop(instance);
    Ok(Passed::Ok)
}

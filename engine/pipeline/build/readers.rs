//! Who looks at which value, so that none is held longer than anybody looks at it.

use std::collections::BTreeSet;

use super::{Step, StepVariable};

/// The slots that a step looks at: those of its inputs, of its condition, and where it runs on
/// demand those that tell whether the steps run that may ask for it.
pub(super) fn reads(steps: &[Option<Step>], node: usize) -> BTreeSet<usize> {
    let Some(step) = &steps[node] else {
        return BTreeSet::new();
    };
    let mut reads: BTreeSet<usize> = step.input_slots.iter().flatten().copied().collect();
    let mut seen = vec![false; steps.len()];
    let mut deciding = vec![node];
    while let Some(next) = deciding.pop() {
        let Some(step) = steps[next].as_ref().filter(|_| !seen[next]) else {
            continue;
        };
        seen[next] = true;
        let variables = step.condition.iter().flat_map(|it| &it.variables);
        for variable in variables {
            match variable {
                StepVariable::Slots(slots) => reads.extend(slots),
                StepVariable::Ran(slot) => reads.extend(slot),
            }
        }
        for demander in step.demand.iter().flatten() {
            reads.extend(demander.unless.iter().flatten().flatten());
            deciding.push(demander.node);
        }
    }
    reads
}

/// How many look at each slot.
pub(super) fn readers(slots: usize, steps: &[Option<Step>], response: &[Vec<usize>]) -> Vec<u32> {
    let mut readers = vec![0; slots];
    let of_steps = steps.iter().flatten().flat_map(|step| &step.reads);
    for slot in of_steps.chain(response.iter().flatten()) {
        readers[*slot] += 1;
    }
    readers
}

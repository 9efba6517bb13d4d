//! What grows with every call, or with every instance.

use std::time::{Duration, Instant};

use omnizap_contract::Inputs;
use omnizap_host::probe::process::{Usage, usage};

use crate::check::{Check, Gate, Run};
use crate::trial::StageTrial;
use crate::verdict::{Finding, Passed, Verdict, skipped};

/// Inputs that are given again and again, so that caches fill before anything is measured.
const INPUTS: usize = 8;
/// Measurements, with rounds between two of them. What grows in each of them is never given back;
/// the allocator's own lists, which fill with every size that comes by, stop within a few.
const WINDOWS: usize = 8;
/// Rounds of a window: many, unless the stage is slow. Fewer than the least say nothing.
const ROUNDS: std::ops::RangeInclusive<u32> = 2..=200;
/// The part of the check's time that one kind of rounds may take.
const PART: u32 = 8;
/// Growth of a round that counts: of the heap exactly, of the rest beyond its noise.
const HEAP_BYTES: u64 = 8;
const RESIDENT_BYTES: u64 = 4096;

pub(super) const LEAK: Check = Check {
    id: "leak",
    rule: "memory, files and threads stay flat over calls and over instances",
    advice: "free in run what run made, in deactivate what activate made, in destroy what create made; close what was opened",
    gate: Gate::Open,
    run: Run::Stage(leak),
};

fn leak(trial: &mut StageTrial<'_>) -> Verdict {
    let inputs: Vec<Inputs> = (0..INPUTS).map(|_| trial.inputs()).collect();
    let instance = trial.instance()?;
    let time = trial.time() / PART;
    let mut turn = 0;
    trial.steps.step("run, over and over");
    let calls = grows(time, "call", || {
        turn += 1;
        let _ = instance.run(&inputs[turn % INPUTS], &trial.call());
        Ok(())
    })?;
    drop(instance);
    trial
        .steps
        .step("create, activate, run and destroy, over and over");
    let instances = grows(time, "instance", || {
        let _ = trial.instance()?.run(&inputs[0], &trial.call());
        Ok(())
    })?;
    match calls.or(instances) {
        Some(too_slow) => skipped(too_slow),
        None => Ok(Passed::Ok),
    }
}

/// Fails where something grows by every round of `work`; says so where that is too slow to be
/// repeated often enough.
fn grows(
    time: Duration,
    of: &str,
    mut work: impl FnMut() -> Result<(), Finding>,
) -> Result<Option<String>, Finding> {
    let began = Instant::now();
    let mut warm = 0;
    while warm < 2 * INPUTS as u32 && began.elapsed() < time {
        work()?;
        warm += 1;
    }
    let round = began.elapsed() / warm.max(1);
    let affordable = time.as_nanos() / round.as_nanos().max(1) / WINDOWS as u128;
    let affordable = u32::try_from(affordable).unwrap_or(u32::MAX);
    if affordable < *ROUNDS.start() {
        return Ok(Some(format!(
            "{} ms for each {of} are too many to repeat it: raise --timeout-ms",
            round.as_millis()
        )));
    }
    let rounds = affordable.min(*ROUNDS.end());
    let mut seen = vec![usage()];
    for _ in 0..WINDOWS {
        for _ in 0..rounds {
            work()?;
        }
        seen.push(usage());
    }
    match growth(&seen, u64::from(rounds)) {
        Some((what, least)) => Err(Finding::new(format!(
            "{what} grows by {least} or more with every {of}: so it did in {WINDOWS} times {rounds}"
        ))),
        None => Ok(None),
    }
}

/// What grew in every window, and by how much a round at least.
fn growth(seen: &[Usage], rounds: u64) -> Option<(&'static str, u64)> {
    let heap = |from: &Usage, to: &Usage| {
        // A difference of wrapping counters; a negative one is a large one.
        let grown = to.heap.wrapping_sub(from.heap);
        u64::from(if grown > i32::MAX as u32 { 0 } else { grown })
    };
    let least = |grown: &dyn Fn(&Usage, &Usage) -> u64| {
        let grown = seen.windows(2).map(|pair| grown(&pair[0], &pair[1]));
        grown.min().unwrap_or(0) / rounds.max(1)
    };
    let kinds: [(&str, u64, u64); 4] = [
        ("the heap (in bytes)", least(&heap), HEAP_BYTES),
        (
            "the number of open files",
            least(&|from, to| to.descriptors.saturating_sub(from.descriptors)),
            1,
        ),
        (
            "the number of threads",
            least(&|from, to| to.threads.saturating_sub(from.threads)),
            1,
        ),
        (
            "resident memory (in bytes)",
            least(&|from, to| to.resident.saturating_sub(from.resident)),
            RESIDENT_BYTES,
        ),
    ];
    let found = kinds.into_iter().find(|(_, grown, counts)| grown >= counts);
    found.map(|(what, grown, _)| (what, grown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(heap: u32, descriptors: u64) -> Usage {
        Usage {
            heap,
            descriptors,
            ..Usage::default()
        }
    }

    #[test]
    fn what_grows_in_every_window_is_a_leak() {
        let at = |heap: [u32; 4]| heap.map(|heap| used(heap, 3));
        assert_eq!(
            growth(&at([0, 1600, 3200, 4900]), 100),
            Some(("the heap (in bytes)", 16))
        );
        // A cache that fills, a counter that wraps, a heap that shrinks.
        assert_eq!(growth(&at([0, 9000, 9000, 9100]), 100), None);
        let wrapped = [u32::MAX - 99, 1500, 3100, 4700];
        assert_eq!(growth(&at(wrapped), 100), Some(("the heap (in bytes)", 16)));
        assert_eq!(growth(&at([5000, 4000, 3000, 2000]), 100), None);
        let files = [0, 100, 200, 300].map(|files| used(0, files));
        assert_eq!(growth(&files, 100), Some(("the number of open files", 1)));
    }
}

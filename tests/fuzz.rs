//! What reads bytes from strangers, on bytes that nobody wrote: the targets of `fuzz/`, each for a
//! second on its seeds and what a fixed sequence of changes makes of them. `OMNIZAP_FUZZ_SECONDS`
//! and `OMNIZAP_FUZZ_SEED` are for longer runs and other sequences; libFuzzer, which sees what it
//! reaches, is run by hand (CONTRIBUTING.md).

mod mutate;
#[allow(unreachable_pub, reason = "libFuzzer's crate shows them")]
#[path = "../fuzz/targets/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use omnizap_contract::common::digest::Sha256Hex;

use self::mutate::Mutator;
use self::targets::{TARGETS, Target};
use crate::support::program::{root, setting};

/// Accepted inputs that are kept to go on from, beside the seeds.
const MAX_KEPT: usize = 256;

macro_rules! fuzzed {
    ($($name:ident),* $(,)?) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                fuzz(stringify!($name));
            }
        )*
    };
}

fuzzed! {
    pipeline, condition, form, jpeg, png, gif, webp, bmp, tiff, safetensors, pytorch, record,
    library, values,
}

#[test]
fn every_target_is_tested_and_has_its_own_program_for_libfuzzer() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED);
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for name in names {
        let program = match name {
            "jpeg" | "png" | "gif" | "webp" | "bmp" | "tiff" => "picture",
            other => other,
        };
        assert!(
            manifest.contains(&format!("name = \"{program}\"")),
            "{name}"
        );
    }
}

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seconds = setting("OMNIZAP_FUZZ_SECONDS", 1);
    let seed = setting("OMNIZAP_FUZZ_SEED", 2026);
    let mut inputs = seeds(target);
    let of_tree = inputs.len();
    let mut accepted = inputs.iter().filter(|input| run(target, input)).count();
    assert!(accepted > 0, "no seed of {name} is accepted");
    let mut mutator = Mutator::new(seed);
    let mut count = of_tree;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        let input = mutator.mutate(&inputs, target.max_len);
        count += 1;
        if run(target, &input) {
            accepted += 1;
            if inputs.len() < of_tree + MAX_KEPT {
                inputs.push(input);
            } else {
                let place = of_tree + mutator.below(MAX_KEPT);
                inputs[place] = input;
            }
        }
    }
    eprintln!(
        "{name}: {count} inputs in {:.1} s, {accepted} of them accepted, from {of_tree} seeds and \
         the number {seed}",
        began.elapsed().as_secs_f64()
    );
}

/// Runs the target; an input that it fails on is kept.
fn run(target: &Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).unwrap_or_else(|panic| {
        let hash = Sha256Hex::of(input);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
        let kept = folder.join(format!("{}-{hash:.16}", target.name));
        let is_kept =
            std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&kept, input));
        eprintln!(
            "{} fails on {} bytes ({is_kept:?}: {}): once that is mended, put them into fuzz/seeds/{}",
            target.name,
            input.len(),
            kept.display(),
            target.name
        );
        resume_unwind(panic)
    })
}

/// What it begins with, in the same order on every machine.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let own = format!("fuzz/seeds/{}", target.name);
    let folders = std::iter::once((own.as_str(), "")).chain(target.seeds.iter().copied());
    let mut found = Vec::new();
    for (folder, ending) in folders {
        visit(&root().join(folder), ending, &mut found);
    }
    found.sort();
    let read = found.iter().map(|path| std::fs::read(path).unwrap());
    read.filter(|seed| seed.len() <= target.max_len.max(32 << 10))
        .collect()
}

fn visit(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    // A target may have no seeds but those of others.
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

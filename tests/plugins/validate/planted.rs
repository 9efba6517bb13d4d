//! Faults that the validator must find: each by the check that is for it, and by no other that
//! has nothing to do with it.

use std::collections::BTreeSet;
use std::path::Path;

use tempfile::TempDir;

use super::{FAULTY, WAYWARD, checks, ids, run, text, validate};
use crate::plugins::compile;

/// A plugin that is wrong in one way.
struct Planted {
    source: &'static str,
    flags: &'static [&'static str],
    /// Every check that fails; the first is the one that is for this fault.
    fails: &'static [&'static str],
    /// Words of what that one found.
    found: &'static str,
}

const fn planted(
    source: &'static str,
    flags: &'static [&'static str],
    fails: &'static [&'static str],
    found: &'static str,
) -> Planted {
    Planted {
        source,
        flags,
        fails,
        found,
    }
}

#[track_caller]
fn find(planted: &Planted, folder: &Path) {
    let Planted {
        source,
        flags,
        fails,
        found,
    } = planted;
    let name = format!("{}.so", flags.join("").replace(['-', '='], ""));
    let library = compile(source, flags, folder, &name);
    let is_endless = flags.contains(&"-DFAULT=ENDLESS");
    let limit = if is_endless { "1000" } else { "6000" };
    let limit = ["--timeout-ms", limit];
    let (code, report) = validate(folder, &library, &limit);
    let failed = checks(&report, "failed");
    let wanted: BTreeSet<String> = fails.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(ids(&failed), wanted, "{flags:?}: {report:#}");
    assert_eq!(code, Some(1), "{flags:?}");

    // What was seen, what was expected, and what to do.
    let named = failed.iter().find(|check| check["check"] == fails[0]);
    let named = named.unwrap();
    let said = named["found"].as_str().unwrap();
    assert!(said.contains(found), "{flags:?}: {said}");
    for field in ["expected", "advice"] {
        assert!(named[field].as_str().unwrap().len() > 10, "{named:#}");
    }
    // What does not hang on the fault is looked at all the same.
    let passed = ids(&checks(&report, "ok"));
    assert!(
        passed.contains("library") || fails[0] == "library",
        "{flags:?}"
    );

    // It fails again by itself, in the foreground.
    let again = named["reproduce"].as_str().unwrap();
    let again = again.strip_prefix("omnizap plugins validate ").unwrap();
    let mut again: Vec<&str> = again.split(' ').collect();
    if is_endless {
        again.extend(["--timeout-ms", "500"]);
    }
    let again = run(folder, &again);
    assert!(!again.status.success(), "{flags:?}: {}", text(&again));
    if again.status.code() == Some(1) {
        let said = text(&again);
        assert!(said.contains("FAILED"), "{flags:?}: {said}");
    }
}

fn find_all(all: &[Planted]) {
    let folder = TempDir::new().unwrap();
    for planted in all {
        find(planted, folder.path());
    }
}

#[test]
fn a_file_that_is_wrong_is_found_before_any_code_runs() {
    find_all(&[
        planted(FAULTY, &["-DFAULT=21"], &["magic"], "0x0000000000000007"),
        planted(FAULTY, &["-DFAULT=23"], &["abi-version"], "ABI 2.0"),
        planted(FAULTY, &["-DFAULT=24"], &["abi-version"], "1.9 or later"),
        planted(FAULTY, &["-DFAULT=22"], &["struct-size"], "40 bytes"),
        planted(
            FAULTY,
            &["-DFAULT=26"],
            &["functions"],
            "`get_factory` is NULL",
        ),
        planted(FAULTY, &["-DFAULT=25"], &["descriptors"], "two stages"),
        planted(
            WAYWARD,
            &["-DFAULT=BAD_SCHEMA"],
            &["descriptors"],
            "options_json",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=NO_DOC"],
            &["docs"],
            "`mean` has no doc line",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=NONE", "-fvisibility=default"],
            &["exports"],
            "`wayward_helper`",
        ),
    ]);
}

#[test]
fn a_library_that_is_wrong_as_a_whole_is_found() {
    find_all(&[
        planted(FAULTY, &["-DFAULT=20"], &["open"], "needs a newer kernel"),
        planted(
            WAYWARD,
            &["-DFAULT=INIT_ONCE"],
            &["init-twice"],
            "set up already",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=UNKNOWN_IDS"],
            &["unknown-ids"],
            "get_extension",
        ),
        planted(
            FAULTY,
            &["-DFAULT=11"],
            &["create"],
            "`run` of its stage is NULL",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=SLOW_CREATE"],
            &["create-fast"],
            "ms in the fastest",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=ACTIVATE_ONCE"],
            &["lifecycle"],
            "time 2",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=OPENS_IN_VALIDATE"],
            &["options"],
            "2 open files",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=LAX_VALIDATE"],
            &["options"],
            "activate said OZ_CONFIG",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=NAMELESS_REFUSAL"],
            &["options"],
            "error->option",
        ),
    ]);
}

#[test]
fn a_crash_and_a_hang_are_found_and_contained() {
    find_all(&[
        planted(WAYWARD, &["-DFAULT=SEGFAULT"], &["run"], "SIGSEGV"),
        planted(WAYWARD, &["-DFAULT=ABORTS"], &["run"], "SIGABRT"),
        planted(WAYWARD, &["-DFAULT=EXITS"], &["run"], "exit code 0"),
        planted(WAYWARD, &["-DFAULT=ENDLESS"], &["run"], "within 1000 ms"),
        planted(FAULTY, &["-DFAULT=9"], &["run"], "OZ_PANIC: index out of"),
    ]);
}

#[test]
fn an_answer_that_is_wrong_is_found() {
    find_all(&[
        planted(FAULTY, &["-DFAULT=3"], &["outputs"], "declared is [2]"),
        planted(FAULTY, &["-DFAULT=4"], &["outputs"], "NaN"),
        planted(FAULTY, &["-DFAULT=6"], &["outputs"], "not valid UTF-8"),
        planted(FAULTY, &["-DFAULT=7"], &["outputs"], "declares 3"),
        planted(FAULTY, &["-DFAULT=10"], &["outputs"], "no output `text`"),
        planted(
            WAYWARD,
            &["-DFAULT=SILENT"],
            &["errors"],
            "without a message",
        ),
        planted(WAYWARD, &["-DFAULT=GARBLED"], &["errors"], "not in UTF-8"),
    ]);
}

#[test]
fn memory_that_is_misused_is_found() {
    find_all(&[
        planted(
            WAYWARD,
            &["-DFAULT=KEEPS"],
            &["borrowed"],
            "call 2, with what earlier",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=OVERREADS"],
            &["borrowed", "odd-images"],
            "the first call",
        ),
        planted(WAYWARD, &["-DFAULT=WRITES"], &["borrowed"], "read-only"),
        planted(
            WAYWARD,
            &["-DFAULT=EMPTY"],
            &["odd-images"],
            "a picture of 0x0",
        ),
        planted(WAYWARD, &["-DFAULT=GAPS"], &["strides"], "the same picture"),
        planted(WAYWARD, &["-DFAULT=LEAK"], &["leak"], "with every call"),
        planted(
            WAYWARD,
            &["-DFAULT=LEAK_INSTANCE"],
            &["leak"],
            "with every instance",
        ),
    ]);
}

#[test]
fn calls_that_disturb_each_other_are_found() {
    find_all(&[
        planted(
            WAYWARD,
            &["-DFAULT=RANDOM"],
            &["pure", "threads", "strides"],
            "`mean` was",
        ),
        planted(WAYWARD, &["-DFAULT=RACE"], &["threads"], "other threads"),
        planted(WAYWARD, &["-DFAULT=BATCH"], &["batch"], "run_batch"),
        planted(
            WAYWARD,
            &["-DFAULT=DEAF"],
            &["cancel"],
            "after the call was cancelled",
        ),
    ]);
}

/// What is shared with every other stage and with the service itself.
#[test]
fn what_is_left_changed_in_the_process_is_found() {
    find_all(&[
        planted(
            WAYWARD,
            &["-DFAULT=IGNORES_TERM"],
            &["clean"],
            "SIGTERM does was the default and is ignored",
        ),
        planted(WAYWARD, &["-DFAULT=MASKS"], &["clean"], "signal mask"),
        planted(
            WAYWARD,
            &["-DFAULT=MOVES"],
            &["clean"],
            "the working folder was",
        ),
        planted(WAYWARD, &["-DFAULT=UMASKS"], &["clean"], "and is 000"),
        planted(WAYWARD, &["-DFAULT=SPEAKS"], &["clean"], "is C.UTF-8"),
        planted(
            WAYWARD,
            &["-DFAULT=EXPORTS"],
            &["clean"],
            "the variable WAYWARD is new",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=LIMITS"],
            &["clean"],
            "the limit of open files",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=PRINTS"],
            &["clean"],
            "it printed \"a mean was asked for",
        ),
        planted(WAYWARD, &["-DFAULT=ALARMS"], &["clean"], "the alarm was"),
        planted(
            WAYWARD,
            &["-DFAULT=LOADS_UMASK"],
            &["open-clean"],
            "after opening it and init: the umask",
        ),
    ]);
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn how_floating_point_is_left_is_found() {
    find_all(&[
        planted(
            WAYWARD,
            &["-DFAULT=ROUNDS_UP"],
            &["clean"],
            "floating point rounds",
        ),
        planted(
            WAYWARD,
            &["-DFAULT=TRAPS"],
            &["clean"],
            "floating point rounds",
        ),
    ]);
}

/// Memory that all calls write to, under OZ_THREAD_SAFE: answers are wrong only where calls overlap.
#[test]
fn memory_that_calls_share_is_found_whatever_the_seed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let library = compile(WAYWARD, &["-DFAULT=SCRATCH"], folder, "scratch.so");
    let library = library.display().to_string();
    for seed in 1..=20 {
        let seed = seed.to_string();
        let only = [&*library, "--only", "threads", "--seed", &seed];
        let output = run(folder, &only);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "seed {seed}: {said}");
        assert!(said.contains("beside calls of other threads"), "{said}");
    }
}

/// Its hash says nothing of what lies beside it.
#[test]
fn a_plugin_that_wants_libraries_from_beside_it_is_found() {
    let folder = TempDir::new().unwrap();
    let flags = ["-DFAULT=NONE", "-Wl,-rpath,$ORIGIN"];
    let library = compile(WAYWARD, &flags, folder.path(), "beside.so");
    let (code, report) = validate(folder.path(), &library, &["--only", "needs"]);
    assert_eq!(code, Some(1), "{report:#}");
    let found = report["checks"][0]["found"].as_str().unwrap();
    assert!(found.contains("libraries from $ORIGIN"), "{found}");
}

/// In the foreground, without bounds, it would take what the machine has.
#[test]
fn a_check_has_no_more_memory_than_it_may() {
    let folder = TempDir::new().unwrap();
    let library = compile(WAYWARD, &["-DFAULT=HOG"], folder.path(), "hog.so");
    let bounds = ["--only", "run", "--memory-mb", "128"];
    let (code, report) = validate(folder.path(), &library, &bounds);
    assert_eq!(code, Some(1), "{report:#}");
    let found = report["checks"][0]["found"].as_str().unwrap();
    assert!(found.contains("OZ_NO_MEMORY"), "{found}");
}

//! Finds out whether a plugin keeps to the ABI: a list of named checks on its library, each in a
//! process of its own, and a report of what they found.
//!
//! Whatever the plugin does in such a process, crash, hang or eat memory, is a finding and not the
//! end of the validation. It does run the plugin's code: look at a file of strangers with
//! [`omnizap_host::read_manifest`] first.
//!
//! `omnizap plugins validate` prints what [`validate`] finds. A plugin's author can ask for the
//! same in a test. The processes of the checks are then that test's program again, so that it needs
//! a `main` of its own: `harness = false` in its `[[test]]`.
//!
//! ```no_run
//! use std::process::Command;
//!
//! use omnizap_validator::{Plan, Start, run_child, validate};
//!
//! fn main() -> Result<(), omnizap_validator::Error> {
//!     let plan = Plan::new("target/debug/libacme.so");
//!     let arguments: Vec<String> = std::env::args().collect();
//!     if let [_, spec, word] = &arguments[..] {
//!         return run_child(&plan, spec, word);
//!     }
//!     let child = |start: &Start<'_>| {
//!         let mut command = Command::new("/proc/self/exe");
//!         command.args([start.spec, start.word]);
//!         command
//!     };
//!     let report = validate(&plan, &child, &mut ())?;
//!     assert_eq!(report.summary().failed, 0, "{report:#?}");
//!     Ok(())
//! }
//! ```
//!
//! # Layout
//!
//! - here: the validation, check after check
//! - `plan`, `job`: what is to be validated, and each check of it
//! - `report`: what a validation found, and who hears of it as it goes on
//! - `check`, `verdict`: what a check is, and what it says
//! - `checks`: the one list of them
//! - `trial`, `given`, `random`, `same`, `steps`: what they work with
//! - `alone`: one check in this process
//! - `child`: one check in a process of its own
//! - `error`: what stops a validation
//!
//! # Invariants
//!
//! - It knows nothing of a command line but for the words of advice, and prints nothing but the
//!   lines of [`run_child`].
//! - It has no unsafe code: what crosses the boundary of a library is the host's.

mod alone;
mod check;
mod checks;
mod child;
mod error;
mod given;
mod job;
mod plan;
mod random;
mod report;
mod same;
mod steps;
mod trial;
mod verdict;

use std::process::Command;
use std::time::Instant;

use omnizap_host::{file, read_manifest};

pub use alone::{reproduce, run_child};
pub use check::Check;
pub use checks::checks;
pub use child::Start;
pub use error::Error;
pub use plan::{DEFAULT_LIMIT, DEFAULT_MEMORY_MB, Plan};
pub use report::{Head, Line, Named, Report, Summary, Watch};
pub use verdict::{Finding, Passed, Verdict};

use check::Gate;
use child::Ended;
use given::Given;
use job::Job;
use verdict::skipped;

/// Runs the checks that the plan wants, each in the process that `child` gives the command of: one
/// that ends up calling [`run_child`].
///
/// # Errors
/// The file cannot be read, the plan names a check or an option that there is not, or a process
/// cannot be started; see [`Error`].
pub fn validate(
    plan: &Plan,
    child: &dyn Fn(&Start<'_>) -> Command,
    watch: &mut dyn Watch,
) -> Result<Report, Error> {
    let bytes = file::read(&plan.file)?;
    let manifest = read_manifest(&bytes).ok();
    let given = Given::read(&plan.given)?;
    if let Some(manifest) = &manifest {
        given.check(&manifest.stages)?;
    }
    let stages = manifest.iter().flat_map(|manifest| &manifest.stages);
    let stages: Vec<&str> = stages.map(|stage| stage.id.as_str()).collect();
    let jobs = Job::all(plan, &stages)?;
    let head = Head {
        file: plan.file.clone(),
        plugin: manifest.as_ref().map(|manifest| Named {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
        }),
        seed: plan.seed,
        checks: jobs.len(),
    };
    watch.planned(&head);
    let mut lines = Vec::with_capacity(jobs.len());
    // The gate that closed, and for which stage: for all where it was none's.
    let mut closed: Vec<(Option<String>, &'static str)> = Vec::new();
    for job in jobs {
        watch.began(job.check, job.stage.as_deref());
        let spec = job.to_string();
        let began = Instant::now();
        let gate = closed
            .iter()
            .find(|(stage, _)| stage.is_none() || *stage == job.stage);
        let ended = match gate {
            Some((_, gate)) => Ended {
                verdict: skipped(format!("`{gate}` failed")),
                is_crash: false,
            },
            None => child::run(plan, &spec, child).map_err(Error::Start)?,
        };
        let closes = match job.check.gate {
            Gate::Open => false,
            Gate::Crash => ended.is_crash,
            Gate::Failure => ended.verdict.is_err(),
        };
        if closes {
            closed.push((job.stage.clone(), job.check.id));
        }
        let line = Line {
            check: job.check,
            stage: job.stage,
            spec,
            verdict: ended.verdict,
            took: began.elapsed(),
        };
        watch.ended(&line);
        lines.push(line);
    }
    Ok(Report { head, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what it hears.
    #[derive(Default)]
    struct Heard(Vec<String>);

    impl Watch for Heard {
        fn planned(&mut self, head: &Head) {
            self.0.push(format!("{} checks", head.checks));
        }

        fn began(&mut self, check: &Check, _: Option<&str>) {
            self.0.push(check.id.to_owned());
        }

        fn ended(&mut self, line: &Line) {
            self.0.push(line.spec.clone());
        }
    }

    /// This file is no plugin, and `echo` says what a process of a check would.
    #[test]
    fn a_gate_that_fails_lets_the_rest_be_skipped() {
        let mut plan = Plan::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs"));
        plan.only = ["library", "entry", "open"].map(str::to_owned).into();
        plan.seed = 7;
        let child = |start: &Start<'_>| {
            let finding = Err(Finding::new(start.spec));
            let line = format!("{} verdict {}", start.word, verdict::spell(&finding));
            let mut command = Command::new("echo");
            command.arg(line);
            command
        };
        let mut heard = Heard::default();
        let report = validate(&plan, &child, &mut heard).unwrap();
        assert_eq!(report.head.plugin, None);
        let expected = Summary {
            ok: 0,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(report.summary(), expected, "{report:#?}");
        assert_eq!(report.lines[0].verdict, Err(Finding::new("library:7")));
        assert_eq!(report.lines[2].verdict, skipped("`library` failed"));
        let told = heard.0.join(" ");
        assert_eq!(told, "3 checks library library:7 entry entry:7 open open:7");
        let json = report.to_json(|line| format!("again {}", line.spec));
        assert_eq!(json["checks"][0]["reproduce"], "again library:7");
        assert_eq!(json["checks"][0]["advice"], report.lines[0].check.advice);
    }
}

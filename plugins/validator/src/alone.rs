//! One check in this very process: for people who reproduce it, or as the child of a validator.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use omnizap_contract::common::names::suggestion;
use omnizap_host::StageManifest;
use omnizap_host::probe::{Probe, process};

use crate::check::Run;
use crate::checks;
use crate::error::Error;
use crate::given::Given;
use crate::job::Job;
use crate::plan::Plan;
use crate::report::{Head, Line, Report};
use crate::steps::{Steps, VERDICT, tell};
use crate::trial::{FileTrial, LibraryTrial, Setting, StageTrial};
use crate::verdict::{Finding, Verdict, spell};

/// Runs one check again in this very process, where a debugger can follow, and calls `step` with
/// what it is about to do.
///
/// Nothing is contained here: a crash or a hang of the plugin is one of this process, and its time
/// and memory have no bounds. An `exit` that the plugin calls meanwhile ends the process with
/// code 1. Of the plan, `file`, `given` and `limit` count.
///
/// # Errors
/// No such check or stage, or an option that is wrong; see [`Error`].
pub fn reproduce(plan: &Plan, spec: &str, step: &(dyn Fn(&str) + Sync)) -> Result<Report, Error> {
    let job = Job::parse(spec)?;
    let given = given(plan)?;
    process::hold();
    let began = Instant::now();
    let verdict = perform(plan, given, &job, Steps::Shown(step));
    process::release();
    let line = Line {
        check: job.check,
        stage: job.stage,
        spec: spec.to_owned(),
        verdict: verdict?,
        took: began.elapsed(),
    };
    Ok(Report {
        head: Head {
            file: plan.file.clone(),
            plugin: None,
            seed: job.seed,
            checks: 1,
        },
        lines: vec![line],
    })
}

/// Runs one check as the process that [`validate`](crate::validate) started for it, with what
/// [`Start`](crate::Start) told, and tells the verdict on stdout.
///
/// The process is bounded from here on, and ends with the one that started it. It should do nothing
/// else before it ends, with exit code 0 where this succeeded and with any other where not.
///
/// # Errors
/// The process cannot be bounded, or what [`reproduce`] lists.
pub fn run_child(plan: &Plan, spec: &str, word: &str) -> Result<(), Error> {
    let job = Job::parse(spec)?;
    let memory = plan.memory_mb.saturating_mul(1 << 20);
    let memory = memory.saturating_add(RESERVED);
    process::bound(memory, std::os::unix::process::parent_id()).map_err(Error::Bound)?;
    let given = given(plan)?;
    let verdict = perform(plan, given, &job, Steps::Told(word))?;
    tell(word, VERDICT, &spell(&verdict));
    Ok(())
}

/// Bytes of address space that allocators and stacks of a few threads take ahead, and seldom use. They
/// count where address space is bounded, and must not take a plugin's: the C library alone takes 64 or
/// 128 MiB for a thread that allocates.
const RESERVED: u64 = 512 << 20;

/// The options that were given, checked where the file can be read.
fn given(plan: &Plan) -> Result<Given, Error> {
    let given = Given::read(&plan.given)?;
    if let Ok(manifest) = FileTrial::read(&plan.file).manifest {
        given.check(&manifest.stages)?;
    }
    Ok(given)
}

fn perform(plan: &Plan, given: Given, job: &Job, steps: Steps<'_>) -> Result<Verdict, Error> {
    let file = &*plan.file;
    let opened = || {
        let setting = Setting {
            seed: job.seed,
            given,
            limit: plan.limit,
        };
        open(file, setting, steps)
    };
    Ok(match job.check.run {
        Run::Read => checks::read(&FileTrial::read(file), job.check.id),
        Run::File(run) => run(&FileTrial::read(file)),
        Run::Described(run) => {
            let manifest = FileTrial::read(file).manifest?;
            run(find(job, &manifest.stages)?)
        }
        Run::Open(run) => {
            steps.step(OPENS);
            run(file)
        }
        Run::Library(run) => match opened() {
            Ok(library) => run(&library),
            Err(finding) => Err(finding),
        },
        Run::Stage(run) => match opened() {
            Ok(library) => {
                let stage = find(job, &library.probe.manifest().stages)?;
                run(&mut StageTrial::new(&library, Arc::new(stage.clone())))
            }
            Err(finding) => Err(finding),
        },
    })
}

/// The step before any other of an opened library.
const OPENS: &str = "open it and call init";

fn open<'a>(file: &Path, setting: Setting, steps: Steps<'a>) -> Result<LibraryTrial<'a>, Finding> {
    steps.step(OPENS);
    let probe = Probe::open(file).map_err(|error| Finding::new(error.to_string()))?;
    Ok(LibraryTrial {
        probe,
        setting,
        steps,
    })
}

/// The job's stage.
fn find<'s>(job: &Job, stages: &'s [StageManifest]) -> Result<&'s StageManifest, Error> {
    let id = job.stage.as_deref().unwrap_or_default();
    let found = stages.iter().find(|stage| stage.id == id);
    found.ok_or_else(|| {
        let ids = stages.iter().map(|stage| stage.id.as_str());
        Error::UnknownStage {
            id: id.to_owned(),
            help: suggestion(id, ids).unwrap_or_default(),
        }
    })
}

//! `omnizap plugins validate`: a list of checks on a library, each in a process of its own.
//!
//! - `check`: what a check is, and the one list of them
//! - `file`, `library`, `life`, `answers`, `memory`, `repeat`, `batch`, `cancel`, `leak`: the
//!   checks
//! - `trial`, `given`, `random`, `same`, `steps`: what they work with
//! - `alone`: one check in this process
//! - `child`: one check in a process of its own
//! - `report`: what people and programs read

mod alone;
mod answers;
mod batch;
mod cancel;
mod check;
mod child;
mod file;
mod given;
mod leak;
mod library;
mod life;
mod memory;
mod random;
mod repeat;
mod report;
mod same;
mod steps;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::Args;
use clap::builder::PossibleValuesParser;
use engine::plugin::{file as library_file, read_manifest};

use self::check::{CHECKS, Check, Gate, ids, skipped};
use self::child::Ended;
use self::given::Given;
use self::report::{Line, Report};
use crate::cli::Failure;

/// The time that one check may take.
const DEFAULT_LIMIT_MS: u64 = 20_000;
/// The shortest that makes sense: the program must start.
const LEAST_LIMIT_MS: u64 = 100;
/// The address space that the plugin may take in one check.
const DEFAULT_MEMORY_MB: u64 = 2048;
/// What the program itself needs, and more than any machine has.
const LEAST_MEMORY_MB: u64 = 32;
const MOST_MEMORY_MB: u64 = 1 << 24;
/// Wrong usage.
const EXIT_USAGE: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = "\
Each check runs in a process of its own, with a time limit and bounded memory: whatever the
plugin does there, crash, hang or leak, is a finding. It does run the plugin's code, so look
at a file of strangers with `omnizap plugins inspect` first.

Inputs are random. The seed is printed; a check that failed prints the command that runs it
again, by itself and in the foreground, where a debugger can follow:
  gdb --args omnizap plugins validate FILE --reproduce CHECK:STAGE:SEED

Examples:
  omnizap plugins validate libacme.so
  omnizap plugins validate libacme.so --only run --only outputs --seed 7
  omnizap plugins validate libacme.so --with model_path=/models/a.bin
  omnizap plugins validate --list

Exit codes: 0 nothing failed, 1 something failed, 2 bad usage.")]
pub(in crate::cli) struct ValidateArgs {
    /// The library
    #[arg(required_unless_present = "list")]
    file: Option<PathBuf>,
    /// Show every check and what it expects
    #[arg(long)]
    list: bool,
    /// Run only this check; may be repeated
    #[arg(long, value_name = "CHECK", value_parser = PossibleValuesParser::new(ids()), hide_possible_values = true)]
    only: Vec<String>,
    /// Leave out this check; may be repeated
    #[arg(long, value_name = "CHECK", value_parser = PossibleValuesParser::new(ids()), hide_possible_values = true)]
    skip: Vec<String>,
    /// Where random inputs begin [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// An option of a stage, where its default will not do; may be repeated
    #[arg(long, value_name = "OPTION=VALUE")]
    with: Vec<String>,
    /// The time that a check may take, in milliseconds [default: 20000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(LEAST_LIMIT_MS..))]
    timeout_ms: Option<u64>,
    /// The memory that the plugin may take in a check, in MiB
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MEMORY_MB,
        value_parser = clap::value_parser!(u64).range(LEAST_MEMORY_MB..=MOST_MEMORY_MB))]
    memory_mb: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Run one check again in this very process, with no limit but a --timeout-ms: what a failed
    /// check told you to run
    #[arg(long, value_name = "CHECK[:STAGE]:SEED", conflicts_with_all = ["only", "skip", "seed", "list"])]
    reproduce: Option<String>,
    /// This process is one that `validate` started; its word for lines of the protocol
    #[arg(long, hide = true, requires = "reproduce")]
    child: Option<String>,
}

pub(super) fn run(args: &ValidateArgs) -> Result<ExitCode, Failure> {
    if args.list {
        report::list(args.json);
        return Ok(ExitCode::SUCCESS);
    }
    let result = match (&args.file, &args.reproduce) {
        (Some(file), Some(spec)) => alone::reproduce(args, file, spec),
        (Some(file), None) => validate(args, file),
        (None, _) => Err(anyhow!("name the library")),
    };
    // What stops the command itself says nothing of the plugin: a missing file, a wrong option.
    match result {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(EXIT_USAGE))
        }
    }
}

/// One check of one thing.
struct Job {
    check: &'static Check,
    stage: Option<String>,
}

fn validate(args: &ValidateArgs, file: &Path) -> anyhow::Result<ExitCode> {
    let bytes = library_file::read(file)?;
    let manifest = read_manifest(&bytes).ok();
    let given = Given::read(&args.with)?;
    if let Some(manifest) = &manifest {
        given.check(&manifest.stages)?;
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let stages = manifest.iter().flat_map(|manifest| &manifest.stages);
    let stages: Vec<&str> = stages.map(|stage| stage.id.as_str()).collect();
    let jobs = jobs(args, &stages);
    let mut report = Report::new(args.json, jobs.len())?;
    report.head(file, manifest.as_ref(), seed);
    // The gate that closed, and for which stage: for all where it was none's.
    let mut closed: Vec<(Option<String>, &'static str)> = Vec::new();
    for job in jobs {
        report.begin(job.check, job.stage.as_deref());
        let spec = spec(&job, seed);
        let began = Instant::now();
        let gate = closed
            .iter()
            .find(|(stage, _)| stage.is_none() || *stage == job.stage);
        let ended = match gate {
            Some((_, gate)) => Ended {
                verdict: skipped(format!("`{gate}` failed")),
                is_crash: false,
            },
            None => child::run(&child::Start {
                file,
                spec: &spec,
                given: &args.with,
                limit: limit(args),
                memory_mb: args.memory_mb,
            })
            .context("cannot start the process of a check")?,
        };
        let closes = match job.check.gate {
            Gate::Open => false,
            Gate::Crash => ended.is_crash,
            Gate::Failure => ended.verdict.is_err(),
        };
        if closes {
            closed.push((job.stage.clone(), job.check.id));
        }
        report.end(Line {
            check: job.check,
            stage: job.stage,
            verdict: ended.verdict,
            took: began.elapsed(),
            again: again(args, file, &spec),
        });
    }
    let summary = report.finish(file, manifest.as_ref(), seed);
    Ok(if summary.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is to be run: the library's checks, then those of each stage.
fn jobs(args: &ValidateArgs, stages: &[&str]) -> Vec<Job> {
    let wanted = CHECKS.iter().filter(|check| {
        let named = |list: &[String]| list.iter().any(|id| id == check.id);
        (args.only.is_empty() || named(&args.only)) && !named(&args.skip)
    });
    let (of_stages, of_library): (Vec<&Check>, Vec<&Check>) =
        wanted.partition(|check| check.is_of_stages());
    let library = of_library
        .into_iter()
        .map(|check| Job { check, stage: None });
    let stages = stages.iter().flat_map(|stage| {
        let checks = of_stages.iter();
        checks.map(|check| Job {
            check,
            stage: Some((*stage).to_owned()),
        })
    });
    library.chain(stages).collect()
}

fn limit(args: &ValidateArgs) -> Duration {
    Duration::from_millis(args.timeout_ms.unwrap_or(DEFAULT_LIMIT_MS))
}

fn spec(job: &Job, seed: u64) -> String {
    match &job.stage {
        Some(stage) => format!("{}:{stage}:{seed}", job.check.id),
        None => format!("{}:{seed}", job.check.id),
    }
}

/// The command that runs a check again.
fn again(args: &ValidateArgs, file: &Path, spec: &str) -> String {
    let file = quote(&file.display().to_string());
    let mut command = format!("omnizap plugins validate {file} --reproduce {spec}");
    for given in &args.with {
        command = format!("{command} --with {}", quote(given));
    }
    command
}

/// A word as a shell takes it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_names_of_their_own_and_every_field() {
        for (index, check) in CHECKS.iter().enumerate() {
            let others = &CHECKS[..index];
            assert!(
                others.iter().all(|other| other.id != check.id),
                "{}",
                check.id
            );
            assert!(
                check
                    .id
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-')
            );
            assert!(check.id.len() <= 12, "{} widens the column", check.id);
            assert!(!check.rule.is_empty() && !check.advice.is_empty());
        }
    }

    #[test]
    fn a_command_to_copy_is_quoted_where_a_shell_needs_it() {
        assert_eq!(quote("a/b-1.so"), "a/b-1.so");
        assert_eq!(quote("it's a"), r"'it'\''s a'");
    }
}

//! `omnizap plugins validate`: what people and programs ask of the validator, and what they read.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use omnizap_host::probe::process;
use omnizap_validator::{
    Check, DEFAULT_LIMIT, DEFAULT_MEMORY_MB, Error, Head, Line, Passed, Plan, Report, Start,
    Summary, Watch, checks, reproduce, run_child, validate,
};
use serde_json::{Value as Json, json};

use crate::cli::{Failure, output};

/// The shortest that makes sense: the program must start.
const LEAST_LIMIT_MS: u64 = 100;
/// What the program itself needs, and more than any machine has.
const LEAST_MEMORY_MB: u64 = 32;
const MOST_MEMORY_MB: u64 = 1 << 24;
/// Wrong usage.
const EXIT_USAGE: u8 = 2;
/// The program itself, even after a new one was built in its place.
const SELF: &str = "/proc/self/exe";

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

/// The name of every check.
fn ids() -> Vec<&'static str> {
    checks().iter().map(|check| check.id).collect()
}

pub(super) fn run(args: &ValidateArgs) -> Result<ExitCode, Failure> {
    if args.list {
        list(args.json);
        return Ok(ExitCode::SUCCESS);
    }
    let result = match (&args.file, &args.reproduce) {
        (Some(file), Some(spec)) => run_one(args, file, spec),
        (Some(file), None) => run_all(args, file),
        (None, _) => Err(anyhow!("name the library")),
    };
    // What stops the command itself says nothing of the plugin: a missing file, a wrong option.
    match result {
        Ok(code) => Ok(code),
        Err(error) => {
            // What is wrong with an argument begins with the argument, but for its flag.
            let flag = match error.downcast_ref::<Error>() {
                Some(Error::Spec { .. } | Error::Seed { .. }) => "--reproduce ",
                Some(Error::Given { .. }) => "--with ",
                _ => "",
            };
            errln!("error: {flag}{error:#}");
            Ok(ExitCode::from(EXIT_USAGE))
        }
    }
}

fn run_all(args: &ValidateArgs, file: &Path) -> anyhow::Result<ExitCode> {
    let plan = plan(args, file);
    let mut printer = Printer::new(args, file)?;
    let report = validate(&plan, &command, &mut printer)?;
    Ok(printer.finish(&report))
}

/// One check in this process: for people, or as a process that [`run_all`] started.
fn run_one(args: &ValidateArgs, file: &Path, spec: &str) -> anyhow::Result<ExitCode> {
    let plan = plan(args, file);
    if let Some(word) = &args.child {
        run_child(&plan, spec, word)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.timeout_ms.is_some() {
        end_after(plan.limit);
    }
    let report = reproduce(&plan, spec, &|step| errln!("  {step}"))?;
    let mut printer = Printer::new(args, file)?;
    for line in &report.lines {
        printer.ended(line);
    }
    Ok(printer.finish(&report))
}

fn plan(args: &ValidateArgs, file: &Path) -> Plan {
    let plan = Plan::new(file);
    Plan {
        only: args.only.clone(),
        skip: args.skip.clone(),
        seed: args.seed.unwrap_or(plan.seed),
        given: args.with.clone(),
        limit: args.timeout_ms.map_or(DEFAULT_LIMIT, Duration::from_millis),
        memory_mb: args.memory_mb,
        ..plan
    }
}

/// The command of a process that does one check.
fn command(start: &Start<'_>) -> Command {
    let plan = start.plan;
    let mut command = Command::new(SELF);
    command
        .arg0("omnizap")
        .args(["plugins", "validate"])
        .arg(&plan.file)
        .args(["--reproduce", start.spec, "--child", start.word])
        .arg(format!("--timeout-ms={}", plan.limit.as_millis()))
        .arg(format!("--memory-mb={}", plan.memory_mb))
        .args(plan.given.iter().map(|given| format!("--with={given}")));
    command
}

/// Ends this process after that time, in the middle of whatever the plugin does.
fn end_after(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        errln!("FAILED: it did not end within {} ms", limit.as_millis());
        // Or the exit would pass for one of the plugin's.
        process::release();
        std::process::exit(1);
    });
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

/// Prints lines as they come, or all of them as JSON at the end.
struct Printer<'a> {
    args: &'a ValidateArgs,
    file: &'a Path,
    bar: ProgressBar,
    /// The stage whose lines are being printed.
    shown: Option<String>,
}

impl<'a> Printer<'a> {
    fn new(args: &'a ValidateArgs, file: &'a Path) -> anyhow::Result<Self> {
        // On stderr, and nothing where that is no terminal.
        let bar = output::bar(ProgressBar::new(1));
        bar.set_style(ProgressStyle::with_template(
            "[{bar:30}] {pos}/{len} {msg}",
        )?);
        Ok(Self {
            args,
            file,
            bar,
            shown: None,
        })
    }

    fn again(&self, line: &Line) -> String {
        again(self.args, self.file, &line.spec)
    }

    fn print(&self, text: &str) {
        self.bar.suspend(|| outln!("{text}"));
    }

    /// The end of it all.
    fn finish(self, report: &Report) -> ExitCode {
        self.bar.finish_and_clear();
        let summary = report.summary();
        if self.args.json {
            let document = report.to_json(|line| self.again(line));
            self.print(&format!("{document:#}"));
        } else {
            let Summary {
                ok,
                failed,
                skipped,
            } = summary;
            let all = report.lines.len();
            let s = if all == 1 { "" } else { "s" };
            self.print(&format!(
                "{all} check{s}: {ok} ok, {failed} failed, {skipped} skipped"
            ));
        }
        if summary.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

impl Watch for Printer<'_> {
    fn planned(&mut self, head: &Head) {
        self.bar.set_length(head.checks as u64);
        if self.args.json {
            return;
        }
        let name = head.plugin.as_ref().map_or_else(
            || "not a plugin that can be read".to_owned(),
            |plugin| format!("{} {}", plugin.name, plugin.version),
        );
        let (file, seed) = (head.file.display(), head.seed);
        self.print(&format!("{file}: {name}, seed {seed}"));
    }

    fn began(&mut self, check: &Check, stage: Option<&str>) {
        let stage = stage.map_or(String::new(), |stage| format!(" {stage}"));
        self.bar.set_message(format!("{}{stage}", check.id));
    }

    fn ended(&mut self, line: &Line) {
        self.bar.inc(1);
        if self.args.json {
            return;
        }
        if let Some(stage) = &line.stage
            && self.shown.as_ref() != Some(stage)
        {
            self.print(&format!("stage {stage}"));
            self.shown = Some(stage.clone());
        }
        self.print(&text(line, &self.again(line)));
    }
}

fn text(line: &Line, again: &str) -> String {
    let id = line.check.id;
    match &line.verdict {
        Ok(Passed::Ok) => format!("  ok       {id:<12} {}", line.check.rule),
        Ok(Passed::Skipped(reason)) => format!("  skipped  {id:<12} {reason}"),
        Err(finding) => format!(
            "  FAILED   {id}\n    found    {}\n    expected {}\n    do       {}\n    again    {again}",
            finding.found,
            line.check.rule,
            line.advice().unwrap_or_default()
        ),
    }
}

/// Every check, for `--list`.
fn list(is_json: bool) {
    if is_json {
        let checks = checks().iter().map(|check| {
            json!({ "check": check.id, "each_stage": check.is_of_stages(), "expected": check.rule, "advice": check.advice })
        });
        outln!("{:#}", Json::from_iter(checks));
        return;
    }
    for (title, of_stages) in [("of the library", false), ("of each stage", true)] {
        outln!("{title}");
        for check in checks() {
            if check.is_of_stages() == of_stages {
                outln!("  {:<12} {}", check.id, check.rule);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_copy_is_quoted_where_a_shell_needs_it() {
        assert_eq!(quote("a/b-1.so"), "a/b-1.so");
        assert_eq!(quote("it's a"), r"'it'\''s a'");
    }
}

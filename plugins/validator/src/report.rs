//! What people and programs read.

use std::path::Path;
use std::time::Duration;

use engine::plugin::Manifest;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use super::check::{CHECKS, Check, Passed, Verdict};

/// One check as it ended.
pub(super) struct Line {
    pub(super) check: &'static Check,
    pub(super) stage: Option<String>,
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
    /// The command that runs this one again.
    pub(super) again: String,
}

/// Prints lines as they come, or all of them as JSON at the end.
pub(super) struct Report {
    is_json: bool,
    bar: ProgressBar,
    lines: Vec<Line>,
    /// The stage whose lines are being printed.
    shown: Option<String>,
}

/// How many checks ended how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) ok: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl Report {
    pub(super) fn new(is_json: bool, checks: usize) -> anyhow::Result<Self> {
        // On stderr, and nothing where that is no terminal.
        let bar = ProgressBar::new(checks as u64);
        bar.set_style(ProgressStyle::with_template(
            "[{bar:30}] {pos}/{len} {msg}",
        )?);
        Ok(Self {
            is_json,
            bar,
            lines: Vec::new(),
            shown: None,
        })
    }

    pub(super) fn head(&self, file: &Path, manifest: Option<&Manifest>, seed: u64) {
        if self.is_json {
            return;
        }
        let name = manifest.map_or_else(
            || "not a plugin that can be read".to_owned(),
            |manifest| format!("{} {}", manifest.name, manifest.version),
        );
        self.print(&format!("{}: {name}, seed {seed}", file.display()));
    }

    pub(super) fn begin(&self, check: &Check, stage: Option<&str>) {
        let stage = stage.map_or(String::new(), |stage| format!(" {stage}"));
        self.bar.set_message(format!("{}{stage}", check.id));
    }

    pub(super) fn end(&mut self, line: Line) {
        self.bar.inc(1);
        if !self.is_json {
            if let Some(stage) = &line.stage
                && self.shown.as_ref() != Some(stage)
            {
                self.print(&format!("stage {stage}"));
                self.shown = Some(stage.clone());
            }
            self.print(&text(&line));
        }
        self.lines.push(line);
    }

    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    fn print(&self, text: &str) {
        self.bar.suspend(|| println!("{text}"));
    }

    /// The end of it all.
    pub(super) fn finish(self, file: &Path, manifest: Option<&Manifest>, seed: u64) -> Summary {
        self.bar.finish_and_clear();
        let mut summary = Summary::default();
        for line in &self.lines {
            match &line.verdict {
                Ok(Passed::Ok) => summary.ok += 1,
                Ok(Passed::Skipped(_)) => summary.skipped += 1,
                Err(_) => summary.failed += 1,
            }
        }
        if self.is_json {
            let checks: Vec<Json> = self.lines.iter().map(entry).collect();
            let document = json!({
                "file": file.display().to_string(),
                "plugin": manifest.map(|manifest| &manifest.name),
                "version": manifest.map(|manifest| &manifest.version),
                "seed": seed,
                "ok": summary.ok, "failed": summary.failed, "skipped": summary.skipped,
                "checks": checks,
            });
            self.print(&format!("{document:#}"));
        } else {
            let Summary {
                ok,
                failed,
                skipped,
            } = summary;
            let all = self.lines.len();
            let s = if all == 1 { "" } else { "s" };
            self.print(&format!(
                "{all} check{s}: {ok} ok, {failed} failed, {skipped} skipped"
            ));
        }
        summary
    }
}

fn text(line: &Line) -> String {
    let id = line.check.id;
    match &line.verdict {
        Ok(Passed::Ok) => format!("  ok       {id:<12} {}", line.check.rule),
        Ok(Passed::Skipped(reason)) => format!("  skipped  {id:<12} {reason}"),
        Err(finding) => {
            let advice = finding.advice.as_deref().unwrap_or(line.check.advice);
            format!(
                "  FAILED   {id}\n    found    {}\n    expected {}\n    do       {advice}\n    again    {}",
                finding.found, line.check.rule, line.again
            )
        }
    }
}

fn entry(line: &Line) -> Json {
    let mut entry = json!({
        "check": line.check.id,
        "stage": line.stage,
        "outcome": match &line.verdict {
            Ok(Passed::Ok) => "ok",
            Ok(Passed::Skipped(_)) => "skipped",
            Err(_) => "failed",
        },
        "expected": line.check.rule,
        "ms": u64::try_from(line.took.as_millis()).unwrap_or(u64::MAX),
        "reproduce": line.again,
    });
    match &line.verdict {
        Ok(Passed::Ok) => {}
        Ok(Passed::Skipped(reason)) => entry["reason"] = json!(reason),
        Err(finding) => {
            entry["found"] = json!(finding.found);
            entry["advice"] = json!(finding.advice.as_deref().unwrap_or(line.check.advice));
        }
    }
    entry
}

/// Every check, for `--list`.
#[expect(clippy::print_stdout, reason = "the answer of the command")]
pub(super) fn list(is_json: bool) {
    if is_json {
        let checks = CHECKS.iter().map(|check| {
            json!({ "check": check.id, "each_stage": check.is_of_stages(), "expected": check.rule, "advice": check.advice })
        });
        println!("{:#}", Json::from_iter(checks));
        return;
    }
    for (title, of_stages) in [("of the library", false), ("of each stage", true)] {
        println!("{title}");
        for check in CHECKS {
            if check.is_of_stages() == of_stages {
                println!("  {:<12} {}", check.id, check.rule);
            }
        }
    }
}

//! What a validation found, and what it tells while it goes on.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::check::Check;
use crate::verdict::{Passed, Verdict};

/// What a validation found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of what.
    pub head: Head,
    /// Each check that was to be run, in order.
    pub lines: Vec<Line>,
}

/// What is validated.
#[derive(Clone, Debug)]
pub struct Head {
    /// The library.
    pub file: PathBuf,
    /// What it says of itself; `None` where that cannot be read, and where nobody asked: one
    /// check that is run again is about its finding alone.
    pub plugin: Option<Named>,
    /// Where random inputs begin.
    pub seed: u64,
    /// How many checks are to be run, one for each stage where it is of stages.
    pub checks: usize,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One check as it ended.
#[derive(Clone, Debug)]
pub struct Line {
    /// The check.
    pub check: &'static Check,
    /// The stage that it was run on, where it is of stages.
    pub stage: Option<String>,
    /// What runs this one again: `CHECK:SEED` or `CHECK:STAGE:SEED`.
    pub spec: String,
    /// What it found.
    pub verdict: Verdict,
    /// The time that it took.
    pub took: Duration,
}

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// They passed.
    pub ok: usize,
    /// They found something.
    pub failed: usize,
    /// There was nothing to check.
    pub skipped: usize,
}

/// Hears of a validation as it goes on.
pub trait Watch {
    /// What is to be done is known.
    fn planned(&mut self, head: &Head) {
        let _ = head;
    }

    /// A check begins, on a stage where it is of stages.
    fn began(&mut self, check: &Check, stage: Option<&str>) {
        let _ = (check, stage);
    }

    /// A check ended.
    fn ended(&mut self, line: &Line) {
        let _ = line;
    }
}

/// Nobody listens.
impl Watch for () {}

impl Report {
    /// How many checks ended how.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for line in &self.lines {
            match &line.verdict {
                Ok(Passed::Ok) => summary.ok += 1,
                Ok(Passed::Skipped(_)) => summary.skipped += 1,
                Err(_) => summary.failed += 1,
            }
        }
        summary
    }

    /// The report for programs. `again` gives the command that runs a line's check again.
    #[must_use]
    pub fn to_json(&self, again: impl Fn(&Line) -> String) -> Json {
        let summary = self.summary();
        let plugin = self.head.plugin.as_ref();
        let lines = self.lines.iter();
        let checks: Vec<Json> = lines.map(|line| line.to_json(&again(line))).collect();
        json!({
            "file": self.head.file.display().to_string(),
            "plugin": plugin.map(|plugin| &plugin.name),
            "version": plugin.map(|plugin| &plugin.version),
            "seed": self.head.seed,
            "ok": summary.ok, "failed": summary.failed, "skipped": summary.skipped,
            "checks": checks,
        })
    }
}

impl Line {
    /// What to do, where the check failed.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        let finding = self.verdict.as_ref().err()?;
        Some(finding.advice.as_deref().unwrap_or(self.check.advice))
    }

    fn to_json(&self, again: &str) -> Json {
        let mut entry = json!({
            "check": self.check.id,
            "stage": self.stage,
            "outcome": match &self.verdict {
                Ok(Passed::Ok) => "ok",
                Ok(Passed::Skipped(_)) => "skipped",
                Err(_) => "failed",
            },
            "expected": self.check.rule,
            "ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "reproduce": again,
        });
        match &self.verdict {
            Ok(Passed::Ok) => {}
            Ok(Passed::Skipped(reason)) => entry["reason"] = json!(reason),
            Err(finding) => {
                entry["found"] = json!(finding.found);
                entry["advice"] = json!(self.advice());
            }
        }
        entry
    }
}

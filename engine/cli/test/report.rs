//! What came of tests, for people and for programs.

use std::process::ExitCode;
use std::time::Duration;

use engine::pipeline::case::Case;
use engine::pipeline::diagnostic::{Diagnostic, Place};
use engine::pipeline::graph::Graph;
use engine::pipeline::trial::Verdict;
use serde_json::{Value as Json, json};

use super::Chosen;

/// A test that was tried.
pub(super) struct Tried<'t> {
    pub(super) graph: &'t Graph,
    pub(super) case: &'t Case,
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
}

/// What came of tests so far.
pub(super) struct Report {
    /// What is printed at the end, where it is JSON.
    told: Option<Vec<Json>>,
    fine: usize,
    failed: usize,
}

impl Report {
    pub(super) fn new(is_json: bool) -> Self {
        Self {
            told: is_json.then(Vec::new),
            fine: 0,
            failed: 0,
        }
    }

    /// Shows which tests there are.
    pub(super) fn list(&self, chosen: &[Chosen<'_>]) {
        if self.told.is_some() {
            let tests: Vec<Json> = chosen
                .iter()
                .map(|(graph, case)| head(graph, case))
                .collect();
            outln!("{:#}", json!({ "tests": tests }));
            return;
        }
        for (graph, case) in chosen {
            let Place { file, line, column } = place(graph, case);
            outln!("{file}:{line}:{column}: {}", name(graph, case));
        }
    }

    pub(super) fn add(&mut self, tried: Tried<'_>) {
        let is_fine = tried.verdict.faults.is_empty();
        let ended = if is_fine {
            &mut self.fine
        } else {
            &mut self.failed
        };
        *ended += 1;
        if let Some(told) = &mut self.told {
            told.push(of_tried(&tried));
            return;
        }
        let word = if is_fine { "ok" } else { "failed" };
        outln!("{word:6}  {}", name(tried.graph, tried.case));
        for fault in &tried.verdict.faults {
            for line in fault.to_string().lines() {
                outln!("        {line}");
            }
        }
    }

    /// The summary.
    pub(super) fn end(&mut self) {
        let (fine, failed) = (self.fine, self.failed);
        if let Some(tests) = self.told.take() {
            let all = json!({ "tests": tests, "ok": fine, "failed": failed });
            outln!("{all:#}");
            return;
        }
        let plural = if fine + failed == 1 { "" } else { "s" };
        outln!("{} test{plural}: {fine} ok, {failed} failed", fine + failed);
    }

    pub(super) fn code(&self) -> ExitCode {
        if self.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// The pipeline and the test.
fn name(graph: &Graph, case: &Case) -> String {
    format!("{}: {}", graph.file.name.get_ref(), case.name.get_ref())
}

fn place<'g>(graph: &'g Graph, case: &Case) -> Place<'g> {
    graph.file.source.place(case.name.span().start)
}

fn head(graph: &Graph, case: &Case) -> Json {
    let Place { file, line, column } = place(graph, case);
    json!({
        "file": &**file, "line": line, "column": column,
        "pipeline": graph.file.name.get_ref(), "name": case.name.get_ref(),
    })
}

fn of_tried(tried: &Tried<'_>) -> Json {
    let verdict = &tried.verdict;
    let is_fine = verdict.faults.is_empty();
    let mut test = head(tried.graph, tried.case);
    let outcome = if is_fine { "ok" } else { "failed" };
    test["outcome"] = outcome.into();
    test["ms"] = u64::try_from(tried.took.as_millis())
        .unwrap_or(u64::MAX)
        .into();
    test["status"] = verdict.status.into();
    test["faults"] = verdict.faults.iter().map(of_fault).collect();
    if !is_fine {
        test["answer"] = verdict.answer.clone();
    }
    test
}

fn of_fault(fault: &Diagnostic) -> Json {
    let Place { file, line, column } = fault.place();
    json!({ "file": &**file, "line": line, "column": column, "message": fault.message() })
}

//! What came of a test, held against what it expects.

use std::ops::Range;

use serde_json::Value as Json;
use toml::Spanned;

use super::answer::Answered;
use crate::pipeline::case::{ANSWERED, Case};
use crate::pipeline::diagnostic::Diagnostic;
use crate::pipeline::graph::{Graph, State};
use crate::pipeline::run::StageFailure;
use crate::pipeline::trace::{Outcome, Trace};

/// What came of a test.
#[derive(Debug)]
pub struct Verdict {
    /// What of it is not as expected, each where the file says so; nothing where all is.
    pub faults: Vec<Diagnostic>,
    /// The status of the answer; none where nothing was asked.
    pub status: Option<u16>,
    /// The answer, or the error.
    pub answer: Json,
    /// What each stage did, for each run of the stages.
    pub traces: Vec<Trace>,
}

pub(super) fn of(graph: &Graph, case: &Case, answered: Answered, traces: Vec<Trace>) -> Verdict {
    let mut judging = Judging {
        graph,
        traces: &traces,
        faults: Vec::new(),
    };
    judging.outcome(case, &answered);
    judging.stages(case);
    // What is expected of an answer says nothing of an error, and the other way round.
    if answered.failure.is_some() == case.expect.is_failure() {
        for wanted in &case.expect.answer {
            for (span, fault) in wanted.faults(&answered.body) {
                judging.fault(span, fault);
            }
        }
    }
    Verdict {
        faults: judging.faults,
        status: Some(answered.status),
        answer: answered.body,
        traces,
    }
}

struct Judging<'j> {
    graph: &'j Graph,
    traces: &'j [Trace],
    faults: Vec<Diagnostic>,
}

/// How a stage ended.
enum End {
    Ran,
    /// Or it is off; why.
    Skipped(String),
    Otherwise(String),
}

impl Judging<'_> {
    fn fault(&mut self, span: Range<usize>, message: String) {
        let mut fault = Diagnostic::new(&self.graph.file.source, span, message);
        fault.conceal(&self.graph.file.secrets);
        self.faults.push(fault);
    }

    /// The status and the error.
    fn outcome(&mut self, case: &Case, answered: &Answered) {
        let expect = &case.expect;
        let found = described(answered);
        if let Some(expected) = &expect.error {
            let code = answered.failure.as_ref().map(|it| it.error.code());
            if code != Some(expected.get_ref()) {
                let expected_code = expected.get_ref();
                let fault = format!("expected the error `{expected_code}`, found {found}");
                self.fault(expected.span(), fault);
                return;
            }
        }
        let (status, span) = match &expect.status {
            Some(status) => (*status.get_ref(), status.span()),
            None if expect.error.is_some() => return,
            None => (ANSWERED, case.name.span()),
        };
        if status == answered.status {
            return;
        }
        let expected = match status {
            ANSWERED => "an answer".to_owned(),
            status => format!("the status {status}"),
        };
        self.fault(span, format!("expected {expected}, found {found}"));
    }

    fn stages(&mut self, case: &Case) {
        for stage in &case.expect.ran {
            let name = stage.get_ref();
            let not = self.ends(stage).into_iter().find_map(|end| match end {
                End::Ran => None,
                End::Skipped(reason) => Some(format!("it was skipped: {reason}")),
                End::Otherwise(how) => Some(how),
            });
            if let Some(how) = not {
                let fault = format!("expected that stage `{name}` runs, and {how}");
                self.fault(stage.span(), fault);
            }
        }
        for (stage, part) in &case.expect.skipped {
            let name = stage.get_ref();
            let part = part.as_deref().unwrap_or_default();
            let not = self.ends(stage).into_iter().find_map(|end| match end {
                End::Ran => Some("it ran".to_owned()),
                End::Skipped(reason) if reason.contains(part) => None,
                End::Skipped(reason) => Some(format!(
                    "it was for another reason: expected {part:?} in {reason:?}"
                )),
                End::Otherwise(how) => Some(how),
            });
            if let Some(how) = not {
                let fault = format!("expected that stage `{name}` is skipped, and {how}");
                self.fault(stage.span(), fault);
            }
        }
    }

    /// How a stage ended, in each run of the stages.
    fn ends(&self, stage: &Spanned<String>) -> Vec<End> {
        let mut stages = self.graph.file.stages.iter();
        let node = stages.position(|entry| entry.name.get_ref() == stage.get_ref());
        let Some(node) = node else {
            return vec![End::Otherwise("there is no such stage".to_owned())];
        };
        match &self.graph.nodes[node].state {
            State::Disabled => return vec![End::Skipped("it is switched off".to_owned())],
            State::Pruned(reason) => return vec![End::Skipped(reason.clone())],
            State::Active => {}
        }
        if self.traces.is_empty() {
            let refused = "the request was refused before any stage ran";
            return vec![End::Otherwise(refused.to_owned())];
        }
        let ends = self.traces.iter().map(|trace| {
            let mut stages = trace.stages.iter();
            let ended = stages.find(|stage| stage.node == node);
            match ended.map(|stage| &stage.outcome) {
                Some(Outcome::Ran) => End::Ran,
                Some(Outcome::Skipped(reason)) => End::Skipped(reason.clone()),
                Some(Outcome::Failed(code)) => End::Otherwise(format!("it failed: `{code}`")),
                Some(Outcome::Abandoned) => {
                    End::Otherwise("the request ended before it did".to_owned())
                }
                None => End::Otherwise("the request ended before it began".to_owned()),
            }
        });
        ends.collect()
    }
}

/// An answer in a few words.
fn described(answered: &Answered) -> String {
    let Some(StageFailure { stage, error }) = &answered.failure else {
        return "an answer".to_owned();
    };
    let (status, code, detail) = (answered.status, error.code(), error.message());
    let of = stage.as_ref().map(|stage| format!(" of stage `{stage}`"));
    format!(
        "the error {status} `{code}`{}: {detail}",
        of.unwrap_or_default()
    )
}

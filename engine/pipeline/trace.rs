//! What happened to each stage of one request, and where the time went.

use std::time::Duration;

use serde_json::{Value as Json, json};

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It gave its outputs.
    Ran,
    /// It did not run, or failed and its file says `on_error = "skip"`; why.
    Skipped(String),
    /// It failed, and the request with it; the code of its error.
    Failed(String),
    /// The request ended before it did.
    Abandoned,
}

impl Outcome {
    /// The word for it, and why, where that is told.
    #[must_use]
    pub fn told(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Ran => ("ran", None),
            Self::Skipped(reason) => ("skipped", Some(reason)),
            Self::Failed(code) => ("failed", Some(code)),
            Self::Abandoned => ("abandoned", None),
        }
    }
}

/// One stage of one request.
#[derive(Clone, Debug)]
pub struct StageTrace {
    /// The stage's node.
    pub node: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// From the start of the request until all that it depends on had ended.
    pub ready: Duration,
    /// Waiting for a place: compute threads, `max_in_flight`, between retries.
    pub queued: Duration,
    /// Running, over all attempts.
    pub ran: Duration,
    /// Attempts made.
    pub attempts: u32,
}

impl StageTrace {
    /// When it ended, from the start of the request.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.ready + self.queued + self.ran
    }
}

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The stages that came to an end, in the order of their ends.
    pub stages: Vec<StageTrace>,
    /// From the first stage's readiness to the answer.
    pub total: Duration,
}

impl Trace {
    /// The chain of stages that the answer had to wait for, first to last: from
    /// the last to end backwards, each time to the dependency that ended last.
    #[must_use]
    pub fn critical_path(&self, depends_on: impl Fn(usize) -> Vec<usize>) -> Vec<&StageTrace> {
        let mut path: Vec<&StageTrace> = Vec::new();
        let mut next = self.stages.iter().max_by_key(|stage| stage.end());
        while let Some(stage) = next {
            path.push(stage);
            let before = depends_on(stage.node);
            next = self
                .stages
                .iter()
                .filter(|other| before.contains(&other.node))
                .max_by_key(|other| other.end());
        }
        path.reverse();
        path
    }

    /// Time spent running, over all stages: more than the total where they ran
    /// at the same time.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.stages.iter().map(|stage| stage.ran).sum()
    }

    /// The trace for people and programs, with microseconds.
    #[must_use]
    pub fn to_json<'n>(
        &self,
        name: impl Fn(usize) -> &'n str,
        depends_on: impl Fn(usize) -> Vec<usize>,
    ) -> Json {
        let micros = |duration: Duration| duration.as_micros() as u64;
        let stages: Vec<Json> = self
            .stages
            .iter()
            .map(|stage| {
                let (outcome, reason) = stage.outcome.told();
                json!({
                    "stage": name(stage.node), "outcome": outcome, "reason": reason,
                    "ready_us": micros(stage.ready), "queued_us": micros(stage.queued),
                    "ran_us": micros(stage.ran), "attempts": stage.attempts,
                })
            })
            .collect();
        let path = self.critical_path(depends_on);
        let waited: Duration = path.iter().map(|stage| stage.queued + stage.ran).sum();
        json!({
            "total_us": micros(self.total),
            "sum_us": micros(self.sum()),
            "critical_path_us": micros(waited),
            "critical_path": path.iter().map(|stage| name(stage.node)).collect::<Vec<_>>(),
            "stages": stages,
        })
    }
}

//! What of a run is counted. Each stage's meters were found when it was built, so that a request
//! pays for additions only.

use std::time::Instant;

use omnizap_contract::{Error, Runner};

use super::{Run, step_of};
use crate::metrics::stage::{End, PipelineMeters, RunEnd, Why};
use crate::metrics::{Families, numbers};
use crate::pipeline::build::{Pipeline, Step};
use crate::pipeline::trace::{Outcome, StageTrace};

/// What begins the names of the metrics of stages, and of pipelines.
const OF_STAGE: &str = "omnizap_stage_";
const OF_PIPELINE: &str = "omnizap_pipeline_";

/// A run that is counted once it is dropped: as one that nobody waited for, unless it is said how
/// it ended.
pub(super) struct Counted<'p> {
    meters: &'p PipelineMeters,
    begun: Instant,
    end: RunEnd,
}

impl<'p> Counted<'p> {
    pub(super) fn begin(meters: &'p PipelineMeters) -> Self {
        Self {
            meters,
            begun: Instant::now(),
            end: RunEnd::Abandoned,
        }
    }

    pub(super) fn refused(mut self) {
        self.end = RunEnd::Refused;
    }

    /// It ended, with that error where there is one.
    pub(super) fn ended(mut self, error: Option<&Error>) {
        self.end = match error {
            None => RunEnd::Answered,
            Some(error) if error.kind().is_of_client() => RunEnd::Rejected,
            Some(_) => RunEnd::Failed,
        };
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.meters.ended(self.end, self.begun.elapsed());
    }
}

impl Run<'_> {
    /// Takes note of a stage that has come to its end.
    pub(super) fn note(&mut self, stage: StageTrace) {
        let step = step_of(self.pipeline, stage.node);
        let end = match &stage.outcome {
            Outcome::Ran => Some(End::Ran),
            Outcome::Abandoned => Some(End::Abandoned),
            Outcome::Failed(_) => Some(End::Failed),
            // One that failed and is passed over had begun.
            Outcome::Skipped(_) => (stage.attempts > 0).then_some(End::Failed),
        };
        if let Some(end) = end {
            step.meters.ended(end, stage.ran, stage.attempts);
            if may_wait(step) {
                step.meters.waited(stage.queued);
            }
        }
        self.trace.stages.push(stage);
    }

    /// Counts the error of a stage, which the request fails with or not.
    pub(super) fn count_error(step: &Step, error: &Error, is_passed_over: bool) {
        step.meters.failed(error.kind());
        if is_passed_over {
            step.meters.skipped(Why::Error);
        }
    }
}

/// True where a stage may have to wait for a place.
fn may_wait(step: &Step) -> bool {
    matches!(step.runner, Runner::Compute(_)) || step.in_flight.is_some() || step.retry > 0
}

impl Pipeline {
    /// Tells all that is counted of it: its runs, its requests in flight, its stages, and what
    /// those say of themselves.
    pub fn tell(&self, all: &mut Families) {
        let name = self.name();
        self.meters().tell(all, name);
        let admission = self.admission();
        numbers::tell(all, OF_PIPELINE, &[("pipeline", name)], &admission, false);
        for (node, step) in self.steps.iter().enumerate() {
            let Some(step) = step else { continue };
            let stage = self.graph.stage_name(node);
            let labels = [("pipeline", name), ("stage", stage)];
            step.meters.tell(all, name, stage, may_wait(step));
            let kind = &self.graph.file.stages[node].kind.spec().name;
            // Those of plugins have their vendor before their name.
            let is_foreign = kind.contains('/');
            let observed = step.runner.observed();
            numbers::tell(all, OF_STAGE, &labels, &observed.counters(), is_foreign);
            let health = observed.health();
            let states = [
                ("failing", health.failing),
                ("starting", health.starting),
                ("degraded", health.degraded),
            ];
            for (state, reason) in states {
                let [pipeline, stage] = labels;
                let name = "omnizap_stage_health";
                let help = "1 where a stage is in that state, 0 where it is not.";
                let is_so = f64::from(u8::from(reason.is_some()));
                all.gauge(name, help, &[pipeline, stage, ("state", state)], is_so);
            }
        }
    }
}

//! What is counted of each stage and of each pipeline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use omnizap_contract::ErrorKind;

use super::families::Families;
use super::histogram::{Histogram, STAGE};
use super::route::RouteMeters;

/// How a stage ended that had begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It gave its outputs.
    Ran,
    /// It failed, whether the request failed with it or not.
    Failed,
    /// The request ended before it did.
    Abandoned,
}

/// Why a stage gave nothing of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its condition is false.
    Condition,
    /// Its condition has no value.
    NoValue,
    /// Nothing that runs needs what it gives.
    Demand,
    /// What it needs is absent.
    Input,
    /// It failed, and the file says to go on without it.
    Error,
}

/// How the run of a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// With an answer.
    Answered,
    /// The request was at fault.
    Rejected,
    /// Something of ours was.
    Failed,
    /// It was not begun: those before it take too long.
    Refused,
    /// Nobody waited for it any more.
    Abandoned,
}

const ENDS: [&str; 3] = ["ran", "failed", "abandoned"];
const WHYS: [&str; 5] = ["condition", "no_value", "demand", "input", "error"];
const RUN_ENDS: [&str; 5] = ["answered", "rejected", "failed", "refused", "abandoned"];
const ERRORS: [ErrorKind; 8] = [
    ErrorKind::Malformed,
    ErrorKind::TooLarge,
    ErrorKind::UnsupportedType,
    ErrorKind::Invalid,
    ErrorKind::Busy,
    ErrorKind::Internal,
    ErrorKind::Unavailable,
    ErrorKind::Deadline,
];

/// Of one stage of a pipeline.
#[derive(Debug)]
pub struct StageMeters {
    /// By [`End`]: one that never happens takes no room.
    took: [OnceLock<Box<Histogram>>; ENDS.len()],
    waited: Histogram,
    retries: AtomicU64,
    skips: [AtomicU64; WHYS.len()],
    errors: [AtomicU64; ERRORS.len()],
    in_flight: AtomicU64,
}

/// A request that is at a stage, until it is dropped.
#[derive(Debug)]
pub struct AtStage(Arc<StageMeters>);

/// Of one pipeline.
#[derive(Debug)]
pub struct PipelineMeters {
    ends: [AtomicU64; RUN_ENDS.len()],
    took: Histogram,
    /// Its route.
    pub route: RouteMeters,
    /// The route of its settings.
    pub settings: RouteMeters,
}

impl Default for StageMeters {
    fn default() -> Self {
        let meters = Self {
            took: Default::default(),
            waited: Histogram::new(STAGE),
            retries: AtomicU64::new(0),
            skips: Default::default(),
            errors: Default::default(),
            in_flight: AtomicU64::new(0),
        };
        // Prometheus had better see the first run as a rise.
        meters.took(End::Ran);
        meters
    }
}

impl StageMeters {
    /// Counts a stage that had begun, and how often it did so.
    pub fn ended(&self, end: End, ran: Duration, attempts: u32) {
        self.took(end).observe(ran);
        if attempts > 1 {
            self.retries
                .fetch_add(u64::from(attempts - 1), Ordering::Relaxed);
        }
    }

    /// Counts how long a stage waited for a place.
    pub fn waited(&self, queued: Duration) {
        self.waited.observe(queued);
    }

    /// Counts a stage that gave nothing of its own.
    pub fn skipped(&self, why: Why) {
        self.skips[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an error by its kind.
    pub fn failed(&self, kind: ErrorKind) {
        if let Some(place) = ERRORS.iter().position(|known| *known == kind) {
            self.errors[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request that is at the stage.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> AtStage {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        AtStage(self.clone())
    }

    fn took(&self, end: End) -> &Histogram {
        self.took[end as usize].get_or_init(|| Box::new(Histogram::new(STAGE)))
    }

    /// Tells all of it; how long it waited only where it may.
    pub fn tell(&self, all: &mut Families, pipeline: &str, stage: &str, may_wait: bool) {
        let own = [("pipeline", pipeline), ("stage", stage)];
        let with = |key, value| [own[0], own[1], (key, value)];
        for (end, took) in ENDS.iter().zip(&self.took) {
            if let Some(took) = took.get() {
                let name = "omnizap_stage_duration_seconds";
                let help = "How long a stage ran, over all its attempts, without its waits.";
                all.histogram(name, help, &with("outcome", end), took);
            }
        }
        if may_wait {
            let name = "omnizap_stage_queue_duration_seconds";
            let help = "How long a stage waited for a place to run, and between attempts.";
            all.histogram(name, help, &own, &self.waited);
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (why, skips) in WHYS.iter().zip(&self.skips) {
            let name = "omnizap_stage_skips_total";
            let help = "How often a stage gave nothing of its own, by why.";
            all.total(name, help, &with("reason", why), count(skips));
        }
        for (kind, errors) in ERRORS.iter().zip(&self.errors) {
            let name = "omnizap_stage_errors_total";
            let help = "How often a stage failed, by the kind of its error.";
            all.total(name, help, &with("kind", kind.code()), count(errors));
        }
        let name = "omnizap_stage_retries_total";
        let help = "Attempts at a stage after its first.";
        all.total(name, help, &own, count(&self.retries));
        let name = "omnizap_stage_in_flight";
        let help = "Requests that are at a stage that waits or computes apart.";
        all.gauge(name, help, &own, count(&self.in_flight) as f64);
    }
}

impl Drop for AtStage {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for PipelineMeters {
    fn default() -> Self {
        Self {
            ends: Default::default(),
            took: Histogram::new(STAGE),
            route: RouteMeters::default(),
            settings: RouteMeters::default(),
        }
    }
}

impl PipelineMeters {
    /// Counts a run, and how long it took.
    pub fn ended(&self, end: RunEnd, took: Duration) {
        self.ends[end as usize].fetch_add(1, Ordering::Relaxed);
        if !matches!(end, RunEnd::Refused | RunEnd::Abandoned) {
            self.took.observe(took);
        }
    }

    /// Tells all of it but the routes.
    pub fn tell(&self, all: &mut Families, pipeline: &str) {
        let own = ("pipeline", pipeline);
        for (end, runs) in RUN_ENDS.iter().zip(&self.ends) {
            let name = "omnizap_pipeline_runs_total";
            let help = "Runs of a pipeline, by how they ended.";
            let runs = runs.load(Ordering::Relaxed);
            all.total(name, help, &[own, ("outcome", end)], runs);
        }
        let name = "omnizap_pipeline_duration_seconds";
        let help = "How long a run of a pipeline took, from its values to its answer.";
        all.histogram(name, help, &[own], &self.took);
    }
}

#[cfg(test)]
mod tests {
    use super::super::families::Format;
    use super::*;

    #[test]
    fn every_way_is_counted_under_its_name() {
        let meters = Arc::new(StageMeters::default());
        meters.ended(End::Failed, Duration::from_millis(2), 3);
        meters.waited(Duration::from_millis(1));
        for why in [
            Why::Condition,
            Why::NoValue,
            Why::Demand,
            Why::Input,
            Why::Error,
        ] {
            for _ in 0..=why as usize {
                meters.skipped(why);
            }
        }
        meters.failed(ErrorKind::Deadline);
        let at = meters.enter();
        let mut all = Families::new();
        meters.tell(&mut all, "p", "s", true);
        let text = all.text(Format::Prometheus).unwrap();
        let own = "pipeline=\"p\",stage=\"s\"";
        for wanted in [
            format!("omnizap_stage_duration_seconds_count{{{own},outcome=\"ran\"}} 0"),
            format!("omnizap_stage_duration_seconds_count{{{own},outcome=\"failed\"}} 1"),
            format!("omnizap_stage_queue_duration_seconds_count{{{own}}} 1"),
            format!("omnizap_stage_skips_total{{{own},reason=\"condition\"}} 1"),
            format!("omnizap_stage_skips_total{{{own},reason=\"no_value\"}} 2"),
            format!("omnizap_stage_skips_total{{{own},reason=\"demand\"}} 3"),
            format!("omnizap_stage_skips_total{{{own},reason=\"input\"}} 4"),
            format!("omnizap_stage_skips_total{{{own},reason=\"error\"}} 5"),
            format!("omnizap_stage_errors_total{{{own},kind=\"deadline_exceeded\"}} 1"),
            format!("omnizap_stage_errors_total{{{own},kind=\"internal\"}} 0"),
            format!("omnizap_stage_retries_total{{{own}}} 2"),
            format!("omnizap_stage_in_flight{{{own}}} 1.0"),
        ] {
            assert!(text.contains(&wanted), "no {wanted} in\n{text}");
        }
        assert!(!text.contains("outcome=\"abandoned\""), "it never happened");
        drop(at);
        assert_eq!(meters.in_flight.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn runs_are_counted_by_their_ends() {
        let meters = PipelineMeters::default();
        for (times, end) in [
            (1, RunEnd::Answered),
            (2, RunEnd::Rejected),
            (3, RunEnd::Failed),
            (4, RunEnd::Refused),
            (5, RunEnd::Abandoned),
        ] {
            for _ in 0..times {
                meters.ended(end, Duration::from_secs(1));
            }
        }
        let mut all = Families::new();
        meters.tell(&mut all, "p");
        let text = all.text(Format::Prometheus).unwrap();
        for (times, end) in RUN_ENDS.iter().enumerate().map(|(at, end)| (at + 1, end)) {
            let wanted = format!(
                "omnizap_pipeline_runs_total{{pipeline=\"p\",outcome=\"{end}\"}} {times}\n"
            );
            assert!(text.contains(&wanted), "no {wanted} in\n{text}");
        }
        assert!(text.contains("omnizap_pipeline_duration_seconds_count{pipeline=\"p\"} 6\n"));
    }
}

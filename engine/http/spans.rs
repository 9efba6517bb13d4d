//! What became of requests, for whoever collects traces.

use std::time::{Duration, Instant, SystemTime};

use warp::http::HeaderMap;

use super::reply::Response;
use super::traced;
use crate::metrics::TraceContext;
use crate::pipeline::Pipeline;
use crate::pipeline::config::Route;
use crate::pipeline::trace::{StageTrace, Trace};

/// Takes what became of each request that was meant for a pipeline. It is called where the request
/// is answered, so it must not wait.
pub trait Collector: Send + Sync {
    /// A request was answered.
    fn ended(&self, request: &RequestSpan<'_>);
}

/// A request, from its head to its answer.
#[derive(Debug)]
pub struct RequestSpan<'r> {
    /// As it was asked with.
    pub method: &'r str,
    /// The route of its pipeline, without what stands for its parameters.
    pub route: &'r str,
    /// The name of its pipeline.
    pub pipeline: &'r str,
    /// Under which it is in the log.
    pub request_id: &'r str,
    /// The trace of its caller.
    pub caller: Option<TraceContext<'r>>,
    /// Of its answer.
    pub status: u16,
    /// When its head was there.
    pub began: SystemTime,
    /// Until its answer was made.
    pub took: Duration,
    /// What became of its stages: of one run, of each of several, or of none.
    pub runs: &'r [RunSpan],
}

/// A run of the stages.
#[derive(Clone, Debug)]
pub struct RunSpan {
    /// When it began.
    pub began: SystemTime,
    /// Its stages, in the order of their ends.
    pub stages: Vec<StageSpan>,
}

/// A stage of a run.
#[derive(Clone, Debug)]
pub struct StageSpan {
    /// Its name.
    pub name: String,
    /// What became of it, its times from the beginning of the run.
    pub trace: StageTrace,
}

/// What the answer to a request carries to where it is collected.
#[derive(Clone)]
struct Runs(Vec<RunSpan>);

/// Who wants to know what became of the stages of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Its client.
    pub(super) by_client: bool,
    /// Whoever collects traces.
    pub(super) by_collector: bool,
}

/// Puts into an answer what became of the stages, where it is collected. Now the runs have ended.
pub(super) fn carry<'t>(
    response: &mut Response,
    pipeline: &Pipeline,
    traces: impl IntoIterator<Item = &'t Trace>,
    wanted: Wanted,
) {
    if !wanted.by_collector {
        return;
    }
    let now = SystemTime::now();
    let run = |trace: &Trace| RunSpan {
        began: now.checked_sub(trace.total).unwrap_or(now),
        stages: trace
            .stages
            .iter()
            .map(|stage| StageSpan {
                name: pipeline.graph.stage_name(stage.node).to_owned(),
                trace: stage.clone(),
            })
            .collect(),
    };
    let runs = traces.into_iter().map(run).collect();
    response.extensions_mut().insert(Runs(runs));
}

/// A request that is collected once it is answered.
pub(super) struct Begun {
    system: SystemTime,
    instant: Instant,
    /// The route and the name of its pipeline.
    meant_for: Option<(String, String)>,
}

impl Begun {
    /// One that comes now.
    pub(super) fn now() -> Self {
        Self {
            system: SystemTime::now(),
            instant: Instant::now(),
            meant_for: None,
        }
    }

    /// It is meant for that pipeline.
    pub(super) fn is_of(&mut self, pipeline: &Pipeline) {
        let route = pipeline.graph.file.route.as_ref();
        let path = route.map(|route| {
            let Route { path, .. } = route.get_ref();
            path.to_string()
        });
        self.meant_for = path.map(|path| (path, pipeline.name().to_owned()));
    }

    /// It is answered.
    pub(super) fn ended(
        self,
        collector: &dyn Collector,
        [method, request_id]: [&str; 2],
        headers: &HeaderMap,
        response: &mut Response,
    ) {
        let runs = response.extensions_mut().remove::<Runs>();
        let Some((route, pipeline)) = &self.meant_for else {
            return;
        };
        let runs = runs.map(|Runs(runs)| runs).unwrap_or_default();
        collector.ended(&RequestSpan {
            method,
            route,
            pipeline,
            request_id,
            caller: traced::caller(headers),
            status: response.status().as_u16(),
            began: self.system,
            took: self.instant.elapsed(),
            runs: &runs,
        });
    }
}

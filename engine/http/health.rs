//! Liveness, readiness, and the facts that `GET /health` has always shown.

use serde_json::{Map, Value as Json, json};
use warp::http::StatusCode;

use super::reply::{self, Response};
use crate::pipeline::Pipeline;

/// What the stages say of themselves.
struct Summary {
    failing: Vec<Json>,
    starting: Vec<Json>,
    degraded: Vec<Json>,
    facts: Map<String, Json>,
}

impl Summary {
    fn is_ready(&self) -> bool {
        self.failing.is_empty() && self.starting.is_empty()
    }
}

fn summarise<'p>(pipelines: impl Iterator<Item = &'p Pipeline>) -> Summary {
    let mut summary = Summary {
        failing: Vec::new(),
        starting: Vec::new(),
        degraded: Vec::new(),
        facts: Map::new(),
    };
    for pipeline in pipelines {
        for (stage, runner) in pipeline.runners() {
            let health = runner.observed().health();
            let entry = |reason: String| json!({ "pipeline": pipeline.name(), "stage": stage, "reason": reason });
            summary.failing.extend(health.failing.map(entry));
            summary.starting.extend(health.starting.map(entry));
            summary.degraded.extend(health.degraded.map(entry));
            for (name, fact) in health.facts {
                summary.facts.entry(name).or_insert(fact);
            }
        }
    }
    summary
}

/// `GET /health`: always 200 while the process answers, with the stages' facts.
pub(super) fn health<'p>(pipelines: impl Iterator<Item = &'p Pipeline>) -> Response {
    let summary = summarise(pipelines);
    let states = [
        ("failing", &summary.failing),
        ("starting", &summary.starting),
        ("degraded", &summary.degraded),
    ];
    let state = states.iter().find(|(_, stages)| !stages.is_empty());
    let status = state.map_or("ready", |(status, _)| *status);
    let mut body = Map::new();
    body.insert("ok".into(), Json::from(summary.failing.is_empty()));
    body.insert("status".into(), Json::from(status));
    body.extend(summary.facts);
    reply::ok(&Json::Object(body))
}

/// `GET /health/live`: the process answers.
pub(super) fn live() -> Response {
    reply::ok(&json!({ "ok": true }))
}

/// Whether `GET /health/ready` answers 200.
pub(super) fn is_ready<'p>(
    pipelines: impl Iterator<Item = &'p Pipeline>,
    shutting_down: bool,
) -> bool {
    summarise(pipelines).is_ready() && !shutting_down
}

/// `GET /health/ready`: 200 while every stage can serve and has started, 503 else; a stage
/// that serves less than it should is named and does not make it 503.
pub(super) fn ready<'p>(
    pipelines: impl Iterator<Item = &'p Pipeline>,
    shutting_down: bool,
) -> Response {
    let summary = summarise(pipelines);
    let ready = summary.is_ready() && !shutting_down;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "ready": ready, "shutting_down": shutting_down,
        "failing": summary.failing, "starting": summary.starting, "degraded": summary.degraded,
    });
    reply::json(status, &body)
}

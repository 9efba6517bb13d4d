//! Where the time of a request went, for who asks.

use serde_json::{Value as Json, json};

use super::schema;
use crate::pipeline::config::PipelineFile;

/// What asks for it in the query, and what tells it in the answer.
const TRACE: &str = "trace";

/// What asks for it, beside the fields of a pipeline.
pub(super) fn parameters(file: &PipelineFile) -> Vec<Json> {
    let asks = |name: &str, place: &str| {
        json!({
            "name": name, "in": place, "required": false,
            "description": "`1`, `true` or `yes`: the answer, and an error of a run, tells as \
                            `trace` where the time went",
            "schema": { "type": "string" },
        })
    };
    // A field of that name is the pipeline's own.
    let is_own = file
        .request
        .iter()
        .any(|field| field.name.get_ref() == TRACE);
    let query = (!is_own).then(|| asks(TRACE, "query"));
    query
        .into_iter()
        .chain([asks("X-Trace", "header")])
        .collect()
}

/// The same body with it, where the body has fields and none of that name.
pub(super) fn with(mut body: Json, file: &PipelineFile) -> Json {
    if body["type"] == "object" && body["properties"].get(TRACE).is_none() {
        let one = json!({ "$ref": "#/components/schemas/Trace" });
        let has_each = file.request.iter().any(|field| field.each.is_some());
        body["properties"][TRACE] = if has_each { schema::list(one) } else { one };
    }
    body
}

/// The schema that they refer to.
pub(super) fn component() -> Json {
    let time = || json!({ "type": "integer", "minimum": 0 });
    let text = || json!({ "type": "string" });
    let stage = schema::summary(&[
        ("stage", text()),
        (
            "outcome",
            json!({ "enum": ["ran", "skipped", "failed", "abandoned"] }),
        ),
        ("reason", json!({ "type": ["string", "null"] })),
        ("ready_us", time()),
        ("queued_us", time()),
        ("ran_us", time()),
        ("attempts", time()),
    ]);
    let mut trace = schema::summary(&[
        ("total_us", time()),
        ("sum_us", time()),
        ("critical_path_us", time()),
        ("critical_path", schema::list(text())),
        ("stages", schema::list(stage)),
    ]);
    trace["description"] = "where the time went, in microseconds; only where a request asks".into();
    trace
}

//! What rows are made with.

use engine::pipeline::graph::{Graph, State};
use omnizap_contract::common::digest::Hasher;
use serde_json::{Map, Value as Json, json};

use crate::cli::request::Request;

/// Fields of answers that say what was classified before, which depends on the order.
pub(super) const OMITTED: &str = "similar_images,similar_complete";

/// A digest of all that answers are made with, which tells rows apart that were made otherwise: the
/// pipeline and its options, secret ones left out, the fields of the request, what is omitted.
pub(super) fn digest(graph: &Graph, request: &Request, omitted: &[String]) -> String {
    let file = &graph.file;
    let stages = file.stages.iter().zip(&graph.nodes).map(|(entry, node)| {
        let options = entry.kind.spec().options.iter();
        let options: Map<String, Json> = options
            .filter(|option| !option.is_secret)
            .map(|option| {
                let value = entry.options.value(&option.name).clone();
                (option.name.to_string(), value)
            })
            .collect();
        let is_on = node.state == State::Active;
        json!({ "stage": entry.name.get_ref(), "is_on": is_on, "options": options })
    });
    let stages: Vec<Json> = stages.collect();
    let fields = file.request.iter().map(|field| {
        let name = field.name.get_ref();
        json!({ "field": name, "value": request.value(name).map(|value| value.to_json()) })
    });
    let fields: Vec<Json> = fields.collect();
    let all = json!({
        "text": &*file.source.text, "stages": stages, "fields": fields, "omitted": omitted,
    });
    let mut hasher = Hasher::default();
    hasher.update(all.to_string());
    format!("{:.12}", hasher.finish())
}

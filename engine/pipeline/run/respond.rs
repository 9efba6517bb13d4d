//! The response, made of what the stages gave.

use omnizap_contract::Value;
use omnizap_contract::common::round::round_json;
use serde_json::{Map, Value as Json};

use crate::pipeline::build::Pipeline;

/// Each field of the response: the latest value that fills it, else its neutral one.
pub(super) fn respond(pipeline: &Pipeline, values: &[Option<Value>]) -> Map<String, Json> {
    let fields = pipeline.graph.response.iter().zip(&pipeline.response);
    fields
        .map(|(field, slots)| {
            let value = slots.iter().find_map(|slot| values[*slot].as_ref());
            let json = value.map_or_else(|| field.neutral.clone(), Value::to_json);
            let json = match field.decimals {
                Some(decimals) => round_json(json, decimals),
                None => json,
            };
            (field.name.clone(), json)
        })
        .collect()
}

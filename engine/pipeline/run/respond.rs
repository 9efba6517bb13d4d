//! The response, made of what the stages gave.

use omnizap_contract::common::round::round_json;
use omnizap_contract::{Error, ErrorKind, Value};
use serde_json::{Map, Value as Json};

use super::StageFailure;
use crate::pipeline::build::Pipeline;
use crate::pipeline::graph::ResponseField;

/// Each field of the response: the latest value that fills it, else its neutral one. A value that
/// no further field looks at is not copied; `readers` says how many still look at each. `failed`
/// are the stages that failed and were skipped.
///
/// # Errors
/// A field that the response requires and nothing filled: such an answer is none.
pub(super) fn respond(
    pipeline: &Pipeline,
    mut values: Vec<Option<Value>>,
    mut readers: Vec<u32>,
    failed: Vec<(usize, Error)>,
) -> Result<Map<String, Json>, StageFailure> {
    let mut response = Map::with_capacity(pipeline.graph.response.len());
    for (field, slots) in pipeline.graph.response.iter().zip(&pipeline.response) {
        for slot in slots {
            readers[*slot] = readers[*slot].saturating_sub(1);
        }
        let filled = slots.iter().find(|slot| values[**slot].is_some());
        let value = filled.and_then(|slot| match readers[*slot] {
            0 => values[*slot].take(),
            _ => values[*slot].clone(),
        });
        if value.is_none() && field.is_required {
            return Err(lacks(pipeline, field, failed));
        }
        let json = value.map_or_else(|| field.neutral.clone(), Value::into_json);
        let json = match field.decimals {
            Some(decimals) => round_json(json, decimals),
            None => json,
        };
        response.insert(field.name.clone(), json);
    }
    Ok(response)
}

/// The error of an answer without a required field: that of the stage that should have given it, or
/// of one that it depends on, where one failed.
fn lacks(
    pipeline: &Pipeline,
    field: &ResponseField,
    mut failed: Vec<(usize, Error)>,
) -> StageFailure {
    // The stages that give the field, and all that those depend on, nearest first.
    let mut upstream: Vec<usize> = field.sources.iter().filter_map(|it| it.node()).collect();
    let mut seen = 0;
    while let Some(node) = upstream.get(seen).copied() {
        seen += 1;
        for before in &pipeline.graph.nodes[node].depends_on {
            if !upstream.contains(before) {
                upstream.push(*before);
            }
        }
    }
    let own = upstream
        .iter()
        .find_map(|node| failed.iter().position(|(other, _)| other == node));
    let cause = own.map(|own| failed.swap_remove(own));
    let name = &field.name;
    let message = format!("the answer lacks `{name}`, which it must have");
    let Some((node, cause)) = cause else {
        let error = Error::new(ErrorKind::Unavailable, message).with_code("incomplete_answer");
        return StageFailure { stage: None, error };
    };
    // Whatever failed, it was the stage's to give, and not a fault of the request alone.
    let kind = match cause.kind() {
        ErrorKind::Internal => ErrorKind::Unavailable,
        kind => kind,
    };
    let mut error = Error::new(kind, format!("{message}: {}", cause.message()))
        .with_code(cause.code().to_owned());
    if let Some(after) = cause.retry_after() {
        error = error.with_retry_after(after);
    }
    StageFailure {
        stage: Some(pipeline.graph.stage_name(node).to_owned()),
        error: error.with_source(cause),
    }
}

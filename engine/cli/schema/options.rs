//! The options of a stage.

use omnizap_contract::{OptionSpec, OptionType};
use serde_json::{Map, Value as Json, json};

use super::{Stage, spelt};

/// What `with` of a stage may hold.
pub(super) fn of_stage(stage: &Stage) -> Json {
    let options = stage.options.iter();
    let properties: Map<String, Json> = options
        .map(|option| (option.name.to_string(), of_option(option)))
        .collect();
    json!({
        "type": "object", "additionalProperties": false, "properties": properties,
        "description": format!("options of `{}`: {}", stage.name, stage.doc),
    })
}

/// What `with` may hold where it is not known of which stage it is: what any has of that name, and
/// others.
pub(super) fn of_any(stages: &[Stage]) -> Json {
    let mut known: Vec<(&str, Vec<Json>)> = Vec::new();
    for option in stages.iter().flat_map(|stage| &stage.options) {
        let mut own = of_option(option);
        if let Some(own) = own.as_object_mut() {
            // It is that of one stage.
            own.remove("default");
        }
        match known.iter_mut().find(|(name, _)| *name == option.name) {
            Some((_, all)) if all.contains(&own) => {}
            Some((_, all)) => all.push(own),
            None => known.push((&option.name, vec![own])),
        }
    }
    let properties = known.into_iter().map(|(name, mut all)| {
        let schema = match all.len() {
            1 => all.swap_remove(0),
            _ => json!({ "anyOf": all }),
        };
        (name.to_owned(), schema)
    });
    let properties: Map<String, Json> = properties.collect();
    json!({ "type": "object", "properties": properties })
}

fn of_option(option: &OptionSpec) -> Json {
    let mut schema = match &option.ty {
        OptionType::Bool => spelt::bool(),
        OptionType::Integer { min, max } => spelt::whole(*min, *max),
        OptionType::Number { min, max } => spelt::number(*min, *max),
        OptionType::Text => spelt::text(),
        OptionType::Choice(choices) => spelt::words(choices),
        OptionType::TextList => json!({ "anyOf": [spelt::texts(), spelt::text()] }),
    };
    // Unset, as `"${NAME:-}"` leaves it.
    let any = schema.get_mut("anyOf").and_then(Json::as_array_mut);
    if let (Some(Json::Null), Some(any)) = (&option.default, any) {
        any.push(json!({ "const": "" }));
    }
    let mut doc = option.doc.to_string();
    match &option.default {
        None => doc.push_str(" (must be set, here or in [defaults.with])"),
        Some(Json::Null) => {}
        Some(default) => schema["default"] = default.clone(),
    }
    schema["description"] = doc.into();
    schema
}

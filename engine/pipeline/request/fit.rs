//! What a field's file says of its values, checked against each other: bounds, and the default
//! against the bounds, by the rules that a sent value has.

use std::sync::Arc;

use omnizap_contract::{PortType, Value};
use serde_json::Value as Json;
use toml::Spanned;

use super::Field;
use super::place::{is_below, upper};
use crate::pipeline::reader::Reader;
use crate::pipeline::tree::{Item, Node};

/// The bounds of a number; none where no number is within them, which is a mistake.
pub(super) fn bounds(
    reader: &mut Reader<'_>,
    ty: PortType,
    min: Option<Spanned<f64>>,
    max: Option<Spanned<f64>>,
    what: &str,
) -> (Option<f64>, Option<f64>) {
    let (Some(lowest), Some(highest)) = (&min, &max) else {
        return (min.map(Spanned::into_inner), max.map(Spanned::into_inner));
    };
    let (low, high) = (*lowest.get_ref(), *highest.get_ref());
    let is_empty = match ty {
        PortType::Integer => low.ceil() > high.floor(),
        _ => low > high,
    };
    if !is_empty {
        return (Some(low), Some(high));
    }
    let kind = match ty {
        PortType::Integer => "whole number",
        _ => "number",
    };
    let at = upper(reader, highest.span(), lowest.span());
    let none = format!("{what}: no {kind} is at least {low} (`min`) and at most {high} (`max`)");
    let none = reader.at(at, none);
    reader.report(none);
    (None, None)
}

/// The value of a request that leaves the field out.
pub(super) fn default(
    reader: &mut Reader<'_>,
    field: &Field,
    required: Option<&Spanned<bool>>,
    node: &Node,
    what: &str,
) -> Option<Value> {
    if let Some(required) = required.filter(|required| *required.get_ref()) {
        // One that was taken over falls away: the file cannot take it out.
        if !is_below(reader, node.span().start, required.span().start) {
            let vain = format!("{what}: a required field has no default");
            let vain = reader.at(node.span(), vain);
            reader.report(vain.help("leave `default` out, or say required = false"));
        }
        return None;
    }
    let what = format!("`default` of {what}");
    let is_json = field.ty == PortType::Json;
    let is_of_no_type = match node.get_ref() {
        Item::Table(_) => !is_json,
        Item::Datetime(_) => true,
        _ => false,
    };
    if is_of_no_type {
        reader.wrong_type(node, &what, &expected(field.ty));
        return None;
    }
    if let (PortType::TextList, Item::List(items)) = (field.ty, node.get_ref()) {
        let mut items = items.iter();
        if let Some(wrong) = items.find(|item| item.get_ref().as_str().is_none()) {
            reader.wrong_type(wrong, &format!("an item of {what}"), "a string");
            return None;
        }
    }
    let json = if is_json {
        let json = reader.any_json(node, &what)?;
        spelt_json(reader, json, node, &what)?
    } else {
        reader.json(node, &what)?
    };
    let value = match (field.ty, &json) {
        // What no request can send, a file may: a value that is there and empty.
        (PortType::Text, Json::String(text)) if text.trim().is_empty() => {
            Ok(Some(Value::from(text.as_str())))
        }
        (PortType::TextList, Json::Array(items)) if items.is_empty() => {
            Ok(Some(Value::from(Vec::<Arc<str>>::new())))
        }
        (PortType::Text, Json::String(_))
        | (PortType::TextList, Json::Array(_))
        | (PortType::Number | PortType::Integer, Json::Number(_))
        | (PortType::Bool, Json::Bool(_))
        | (PortType::Json, _) => field.value_of_json(json),
        // It may come from the environment, and is what it spells.
        (
            PortType::TextList | PortType::Number | PortType::Integer | PortType::Bool,
            Json::String(text),
        ) => field.value_of_text(text),
        _ => {
            reader.wrong_type(node, &what, &expected(field.ty));
            return None;
        }
    };
    match value {
        Ok(value) => value,
        Err(error) => {
            let named = format!("{}: ", field.name.get_ref());
            let reason = error.message();
            let reason = reason.strip_prefix(&named).unwrap_or(reason);
            let whence = reader.whence(node);
            let wrong = reader.at(node.span(), format!("{what}{whence}: {reason}"));
            reader.report(wrong);
            None
        }
    }
}

/// What a default of JSON stands for: a text that is a JSON object, list or text is what it spells,
/// for it may come from the environment; any other text is itself. One that is as good as an object
/// or a list is a mistake.
fn spelt_json(reader: &mut Reader<'_>, json: Json, node: &Node, what: &str) -> Option<Json> {
    let Json::String(text) = &json else {
        return Some(json);
    };
    let trimmed = text.trim();
    let is_within = |open: char, close: char| {
        trimmed.len() > 1 && trimmed.starts_with(open) && trimmed.ends_with(close)
    };
    if is_within('"', '"') {
        return Some(serde_json::from_str(trimmed).unwrap_or(json));
    }
    if !is_within('{', '}') && !is_within('[', ']') {
        return Some(json);
    }
    match serde_json::from_str(trimmed) {
        Ok(spelt) => Some(spelt),
        Err(error) => {
            let whence = reader.whence(node);
            let wrong = format!("{what}{whence}: it looks like JSON and is none: {error}");
            let wrong = reader.at(node.span(), wrong);
            reader.report(wrong.help(
                "a value may also be written as TOML, such as { a = 1 } or [1, 2]; a text that only \
                 looks so stands in quotes within the quotes: '\"[..]\"'",
            ));
            None
        }
    }
}

fn expected(ty: PortType) -> String {
    let spelt = match ty {
        PortType::Text => "a string",
        PortType::TextList => "a list of strings",
        PortType::Number => "a number",
        PortType::Integer => "a whole number",
        PortType::Bool => "true or false",
        _ => "a string, a number, a bool, a list or a table",
    };
    format!("{spelt}, for it is of type {ty}")
}

//! The `[[stage]]` tables of a pipeline file.

use toml::Spanned;
use toml::de::DeValue;

use super::{MAX_IN_FLIGHT, MAX_RETRIES, MAX_STAGES, OnError, REQUEST, StageEntry};
use crate::pipeline::condition::Condition;
use crate::pipeline::diagnostic::nearest;
use crate::pipeline::options::read_options;
use crate::pipeline::reader::{Entries, Node, Reader};
use crate::pipeline::registry::Registry;

const STAGE_KEYS: [&str; 10] = [
    "uses",
    "name",
    "enabled",
    "with",
    "inputs",
    "if",
    "timeout_ms",
    "retry",
    "on_error",
    "max_in_flight",
];

/// The stages that could be read, and whether there were others.
pub(super) fn read_stages(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    registry: &Registry,
) -> (Vec<StageEntry>, bool) {
    let DeValue::Array(items) = node.get_ref() else {
        reader.wrong_type(node, "`stage`", "a list of tables, written [[stage]]");
        return (Vec::new(), true);
    };
    if items.len() > MAX_STAGES {
        let many = format!("{} stages: at most {MAX_STAGES} are allowed", items.len());
        let many = reader.at(node.span(), many);
        reader.report(many);
        return (Vec::new(), true);
    }
    let stages: Vec<_> = items
        .iter()
        .filter_map(|item| read_stage(reader, item, registry))
        .collect();
    let unreadable = stages.len() < items.len();
    (stages, unreadable)
}

fn read_stage(reader: &mut Reader<'_>, node: &Node<'_>, registry: &Registry) -> Option<StageEntry> {
    let table = reader.table(node, "`stage`")?;
    let entries = reader.entries(table, "`stage`", &STAGE_KEYS);
    let Some(uses) = entries.get("uses") else {
        let missing = reader.at(node.span(), "a stage has no `uses`");
        reader.report(missing.help(format!(
            "uses = \"...\": one of {}",
            registry.names().collect::<Vec<_>>().join(", ")
        )));
        return None;
    };
    let uses = reader.spanned_string(uses, "`uses`")?;
    let mut kind = registry.get(uses.get_ref());
    if kind.is_none() && registry.forgives(uses.get_ref()) {
        tracing::warn!(
            stage = uses.get_ref(),
            "left out: the service runs without plugins"
        );
        return None;
    }
    if kind.is_none() {
        let unknown = format!("there is no stage `{}`", uses.get_ref());
        let unknown = reader.at(uses.span(), unknown);
        reader.report(unknown.nearest(uses.get_ref(), registry.names()));
        // What was probably meant stands in, so that the rest is checked too.
        kind = nearest(uses.get_ref(), registry.names()).and_then(|name| registry.get(name));
    }
    let name = match entries.get("name") {
        Some(node) => reader.spanned_string(node, "`name`")?,
        None => uses.clone(),
    };
    if name.get_ref().contains('.') || name.get_ref() == REQUEST || name.get_ref().is_empty() {
        let reserved = reader.at(
            name.span(),
            format!("`{}` cannot name a stage", name.get_ref()),
        );
        reader.report(reserved.help("choose a name without a dot that is not `request`"));
    }

    let what = |key: &str| format!("`{key}` of stage `{}`", name.get_ref());
    let enabled = entries
        .get("enabled")
        .and_then(|node| reader.all(node, &what("enabled")))
        .unwrap_or(true)
        && kind.is_none_or(|kind| kind.withheld().is_none());
    let options = kind.map(|kind| read_options(reader, &**kind, entries.get("with"), uses.span()));
    let inputs = read_inputs(reader, &entries, &what("inputs"));
    let condition = entries.get("if").and_then(|node| {
        let text = reader.string(node, &what("if"))?;
        match Condition::parse(&text) {
            Ok(condition) => Some(Spanned::new(node.span(), condition)),
            Err(message) => {
                let wrong = reader.at(node.span(), format!("{}: {message}", what("if")));
                reader.report(wrong.help(
                    "expected an expression over ports, such as `entropy_normalized <= 0.72 && confidence_margin >= 0.08`",
                ));
                None
            }
        }
    });
    let timeout = entries
        .get("timeout_ms")
        .and_then(|node| reader.milliseconds(node, &what("timeout_ms")));
    let retry = entries
        .get("retry")
        .and_then(|node| reader.integer(node, &what("retry"), (0, i64::from(MAX_RETRIES))))
        .and_then(|retry| u32::try_from(retry).ok())
        .unwrap_or(0);
    let max_in_flight = entries
        .get("max_in_flight")
        .and_then(|node| reader.integer(node, &what("max_in_flight"), (1, MAX_IN_FLIGHT as i64)))
        .and_then(|limit| usize::try_from(limit).ok());
    let on_error = read_on_error(reader, &entries, &what("on_error"));
    Some(StageEntry {
        kind: kind?.clone(),
        options: options?,
        name,
        enabled,
        inputs,
        condition,
        timeout,
        retry,
        on_error,
        max_in_flight,
    })
}

fn read_inputs(
    reader: &mut Reader<'_>,
    entries: &Entries<'_, '_>,
    what: &str,
) -> Vec<(Spanned<String>, Spanned<String>)> {
    let Some(node) = entries.get("inputs") else {
        return Vec::new();
    };
    let Some(table) = reader.table(node, what) else {
        return Vec::new();
    };
    let mut inputs = Vec::new();
    for (port, span, node) in reader.any_entries(table).iter() {
        if let Some(from) = reader.spanned_string(node, what) {
            inputs.push((Spanned::new(span, port.to_owned()), from));
        }
    }
    inputs
}

fn read_on_error(reader: &mut Reader<'_>, entries: &Entries<'_, '_>, what: &str) -> OnError {
    let Some(node) = entries.get("on_error") else {
        return OnError::default();
    };
    match reader.string(node, what).as_deref() {
        Some("fail") | None => OnError::Fail,
        Some("skip") => OnError::Skip,
        Some(other) => {
            let wrong = format!("{what}: expected \"fail\" or \"skip\", found {other:?}");
            let wrong = reader.at(node.span(), wrong);
            reader.report(wrong);
            OnError::Fail
        }
    }
}

pub(super) fn report_duplicate_names(reader: &mut Reader<'_>, stages: &[StageEntry]) {
    for (index, stage) in stages.iter().enumerate() {
        let name = stage.name.get_ref();
        let earlier = stages[..index]
            .iter()
            .find(|earlier| earlier.name.get_ref() == name);
        if let Some(earlier) = earlier {
            let (line, _) = reader.source.position(earlier.name.span().start);
            let duplicate = reader.at(
                stage.name.span(),
                format!("two stages are named `{name}`, the other at line {line}"),
            );
            reader
                .report(duplicate.help(format!("give one a name of its own: name = \"{name}-2\"")));
        }
    }
}

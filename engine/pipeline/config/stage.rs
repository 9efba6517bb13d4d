//! The `[[stage]]` tables of a pipeline file.

use std::sync::Arc;

use omnizap_contract::common::names::nearest;
use toml::Spanned;

use super::{MAX_IN_FLIGHT, MAX_RETRIES, MAX_STAGES, OnError, REQUEST, StageEntry};
use crate::pipeline::condition::Condition;
use crate::pipeline::options::read_options;
use crate::pipeline::reader::{Entries, Reader};
use crate::pipeline::registry::Registry;
use crate::pipeline::tree::{Item, Node, Table};

const STAGE_KEYS: [&str; 11] = [
    "uses",
    "name",
    "enabled",
    "with",
    "inputs",
    "if",
    "run",
    "timeout_ms",
    "retry",
    "on_error",
    "max_in_flight",
];

/// The stages that could be read, and whether there were others.
pub(super) fn read_stages(
    reader: &mut Reader<'_>,
    node: &Node,
    defaults: &Entries<'_>,
    registry: &Registry,
) -> (Vec<StageEntry>, bool) {
    let Item::List(items) = node.get_ref() else {
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
        .filter_map(|item| read_stage(reader, item, defaults, registry))
        .collect();
    let unreadable = stages.len() < items.len();
    (stages, unreadable)
}

fn read_stage(
    reader: &mut Reader<'_>,
    node: &Node,
    defaults: &Entries<'_>,
    registry: &Registry,
) -> Option<StageEntry> {
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
    let with = entries.get("with");
    let options = kind.map(|kind| read_options(reader, &**kind, with, defaults, uses.span()));
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
    let on_error = read_word(
        reader,
        &entries,
        "on_error",
        &what,
        [OnError::Fail, OnError::Skip],
    );
    let on_demand = read_word(reader, &entries, "run", &what, [false, true]);
    Some(StageEntry {
        origin: origin(reader, table),
        kind: kind?.clone(),
        options: options?,
        name,
        enabled,
        inputs,
        condition,
        on_demand,
        timeout,
        retry,
        on_error,
        max_in_flight,
    })
}

fn read_inputs(
    reader: &mut Reader<'_>,
    entries: &Entries<'_>,
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

/// The words that `on_error` and `run` take, the one that is meant without the key first.
const WORDS: [(&str, [&str; 2]); 2] = [
    ("on_error", ["fail", "skip"]),
    ("run", ["always", "on demand"]),
];

fn read_word<T: Copy>(
    reader: &mut Reader<'_>,
    entries: &Entries<'_>,
    key: &str,
    what: &dyn Fn(&str) -> String,
    values: [T; 2],
) -> T {
    let words = WORDS.iter().find(|(known, _)| *known == key);
    let words = words.map_or([""; 2], |(_, words)| *words);
    let Some(node) = entries.get(key) else {
        return values[0];
    };
    let Some(given) = reader.string(node, &what(key)) else {
        return values[0];
    };
    if let Some(place) = words.iter().position(|word| *word == given) {
        return values[place];
    }
    let [first, second] = words;
    let wrong = format!(
        "{}: expected {first:?} or {second:?}, found {given:?}",
        what(key)
    );
    let wrong = reader.at(node.span(), wrong);
    reader.report(wrong);
    values[0]
}

/// The files that a stage's table comes from, each with the line of its first key there.
fn origin(reader: &Reader<'_>, table: &Table) -> Vec<(Arc<str>, usize)> {
    let mut spans: Vec<usize> = table.iter().map(|(key, _)| key.span().start).collect();
    let nested = ["with", "inputs"]
        .into_iter()
        .filter_map(|key| table.get(key));
    let nested = nested.filter_map(|node| node.get_ref().as_table());
    spans.extend(nested.flat_map(|table| table.iter().map(|(key, _)| key.span().start)));
    // The text of the file itself begins the texts, what it extends comes behind.
    spans.sort_unstable_by(|a, b| b.cmp(a));
    let mut found: Vec<(Arc<str>, usize)> = Vec::new();
    for span in spans {
        let place = reader.source.place(span);
        match found.last_mut() {
            Some((file, line)) if file == place.file => *line = place.line,
            _ => found.push((place.file.clone(), place.line)),
        }
    }
    found
}

pub(super) fn report_duplicate_names(reader: &mut Reader<'_>, stages: &[StageEntry]) {
    for (index, stage) in stages.iter().enumerate() {
        let name = stage.name.get_ref();
        let earlier = stages[..index]
            .iter()
            .find(|earlier| earlier.name.get_ref() == name);
        let Some(earlier) = earlier else {
            continue;
        };
        // The text of the file itself comes first: the mistake is in the upper of two files.
        let (mut here, mut other) = (stage.name.span(), earlier.name.span());
        let file = |at: usize| reader.source.file_of(at).clone();
        let is_one_file = file(here.start) == file(other.start);
        if !is_one_file && here.start > other.start {
            std::mem::swap(&mut here, &mut other);
        }
        let other = reader.source.place(other.start);
        let whose = if is_one_file {
            format!("line {}", other.line)
        } else {
            format!("line {} of {}", other.line, other.file)
        };
        let message = format!("two stages are named `{name}`, the other at {whose}");
        let own = format!("give one a name of its own: name = \"{name}-2\"");
        let help = if is_one_file {
            own
        } else {
            format!(
                "to change that one write name = \"{name}\" instead of uses; to have both, {own}"
            )
        };
        let duplicate = reader.at(here, message).help(help);
        reader.report(duplicate);
    }
}

//! The `[[stage]]` tables of a pipeline file.

use std::ops::Range;
use std::sync::Arc;

use omnizap_contract::common::names::{nearest, suggestion};
use toml::Spanned;

use super::keys::{MAX_SOURCES, ON_ERROR, RUN, STAGE, UNBOUND, names};
use super::{
    Binding, MAX_IN_FLIGHT, MAX_RETRIES, MAX_STAGES, PublishAs, Published, REQUEST, StageEntry,
};
use crate::pipeline::condition::{Condition, place_of};
use crate::pipeline::options::{conceal_misspelt, meant, names_of, read_options};
use crate::pipeline::reader::{Entries, Reader};
use crate::pipeline::registry::Registry;
use crate::pipeline::tree::{Item, Node, Table};

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
    let keys = names(&STAGE);
    let entries = stage_entries(reader, table, &keys, registry);
    let Some(uses) = entries.get("uses") else {
        let missing = reader.at(node.span(), "a stage has no `uses`");
        reader.report(missing.help(format!(
            "uses = \"...\": one of {}",
            registry.names().collect::<Vec<_>>().join(", ")
        )));
        return None;
    };
    let whence = reader.whence(uses);
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
        let unknown = format!("there is no stage `{}`{whence}", uses.get_ref());
        let unknown = reader.at(uses.span(), unknown);
        reader.report(unknown.nearest(uses.get_ref(), registry.names()));
        // What was probably meant stands in, so that the rest is checked too.
        kind = nearest(uses.get_ref(), registry.names()).and_then(|name| registry.get(name));
    }
    let name = match entries.get("name") {
        Some(node) => reader.spanned_string(node, "`name`")?,
        None => uses.clone(),
    };
    let given = name.get_ref();
    let is_reserved = given == REQUEST || given == UNBOUND || given.contains('.');
    if is_reserved || given.trim().is_empty() || given.contains(char::is_control) {
        let reserved = reader.at(name.span(), format!("{given:?} cannot name a stage"));
        reader.report(reserved.help(format!(
            "choose a name without dots and control characters that is not `{REQUEST}` or `{UNBOUND}`"
        )));
    }

    let what = |key: &str| format!("`{key}` of stage `{}`", name.get_ref());
    let enabled = entries
        .get("enabled")
        .and_then(|node| reader.all(node, &what("enabled")))
        .unwrap_or(true)
        && kind.is_none_or(|kind| kind.withheld().is_none());
    let with = entries.get("with");
    let options =
        kind.map(|kind| read_options(reader, &**kind, with, defaults, &keys, uses.span()));
    let inputs = read_inputs(reader, &entries, &what("inputs"));
    let option_spans = option_spans(with, defaults);
    let is_toggled = entries.get("enabled").is_some_and(names_variables);
    let publish = read_publish(reader, &entries, &what("publish"));
    let condition = entries
        .get("if")
        .and_then(|node| read_condition(reader, node, &what("if")));
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
    let max_wait = entries
        .get("max_wait_ms")
        .and_then(|node| reader.milliseconds(node, &what("max_wait_ms")));
    let timeout_span = entries.get("timeout_ms").map_or(0..0, Node::span);
    let on_error = read_word(reader, &entries, "on_error", &what, &ON_ERROR);
    let on_demand = read_word(reader, &entries, "run", &what, &RUN);
    Some(StageEntry {
        origin: origin(reader, table),
        kind: kind?.clone(),
        options: options?,
        name,
        enabled,
        is_toggled,
        option_spans,
        inputs,
        publish,
        condition,
        on_demand,
        timeout,
        timeout_span,
        retry,
        on_error,
        max_in_flight,
        max_wait,
    })
}

/// The keys of a stage; one that is none is told what it may be, an option of its kind among that.
fn stage_entries<'t>(
    reader: &mut Reader<'_>,
    table: &'t Table,
    keys: &[&str],
    registry: &Registry,
) -> Entries<'t> {
    let uses = table.get("uses").and_then(|uses| uses.get_ref().as_str());
    let kind = uses.and_then(|uses| registry.get(uses));
    let options = kind.map_or(&[][..], |kind| kind.spec().options.as_slice());
    let help = |key: &str| {
        let of_options = options.iter().flat_map(names_of);
        let near = nearest(key, keys.iter().copied().chain(of_options));
        let option = near.filter(|near| !keys.contains(near));
        match option.and_then(|near| meant(near, options)) {
            Some(option) => Some(format!(
                "options stand in a table of their own: with = {{ {} = .. }}",
                option.name
            )),
            None => suggestion(key, keys.iter().copied()),
        }
    };
    conceal_misspelt(reader, table, keys, options);
    reader.entries_or(table, "`stage`", keys, &help)
}

/// True where a value holds a variable of the environment.
fn names_variables(node: &Node) -> bool {
    match node.get_ref() {
        Item::String(text) => text.contains("${"),
        Item::List(items) => items.iter().any(names_variables),
        _ => false,
    }
}

fn read_condition(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Spanned<Condition>> {
    // Not filled in: what a variable holds is a value in a condition, and no part of it.
    let Item::String(text) = node.get_ref() else {
        reader.wrong_type(node, what, "an expression in quotes");
        return None;
    };
    match Condition::parse(text, reader.environment) {
        Ok(condition) => Some(Spanned::new(node.span(), condition)),
        Err(mistake) => {
            let place = place_of(&reader.source.text, &node.span(), &mistake.span);
            let wrong = reader.at(place, format!("{what}: {}", mistake.message));
            reader.report(wrong.help(mistake.help.unwrap_or_else(|| {
                "expected an expression over ports, such as `entropy_normalized <= 0.72 && confidence_margin >= 0.08`".to_owned()
            })));
            None
        }
    }
}

/// Where the file sets the options of a stage: in its own table, else in the defaults.
fn option_spans(with: Option<&Node>, defaults: &Entries<'_>) -> Vec<(String, Range<usize>)> {
    let own = with.and_then(|node| node.get_ref().as_table());
    let own = own.into_iter().flat_map(Table::iter);
    let own = own.map(|(key, node)| (key.get_ref().clone(), node.span()));
    let defaults = defaults.iter();
    own.chain(defaults.map(|(key, _, node)| (key.to_owned(), node.span())))
        .collect()
}

fn read_inputs(reader: &mut Reader<'_>, entries: &Entries<'_>, what: &str) -> Vec<Binding> {
    let Some(node) = entries.get("inputs") else {
        return Vec::new();
    };
    let Some(table) = reader.table(node, what) else {
        return Vec::new();
    };
    let mut inputs = Vec::new();
    for (port, span, node) in reader.any_entries(table).iter() {
        let port = Spanned::new(span, port.to_owned());
        let from = match node.get_ref() {
            Item::List(items) if items.is_empty() || items.len() > MAX_SOURCES => {
                let message = format!("{what}: 1 to {MAX_SOURCES} sources, found {}", items.len());
                let wrong = reader.at(node.span(), message);
                reader.report(wrong.help(format!("{UNBOUND:?} unbinds an input")));
                continue;
            }
            Item::List(items) => {
                let items = items.iter();
                let items = items.map(|item| reader.spanned_string(item, what));
                items.collect::<Option<Vec<_>>>()
            }
            _ => reader.spanned_string(node, what).map(|from| vec![from]),
        };
        if let Some(mut from) = from {
            if from.len() == 1 {
                from.retain(|from| from.get_ref() != UNBOUND);
            }
            inputs.push(Binding { port, from });
        }
    }
    inputs
}

fn read_publish(reader: &mut Reader<'_>, entries: &Entries<'_>, what: &str) -> Published {
    let Some(node) = entries.get("publish") else {
        return Published::Ports(Vec::new());
    };
    if let Item::Bool(false) = node.get_ref() {
        return Published::Nothing;
    }
    let Item::Table(table) = node.get_ref() else {
        let expected = "a table such as { category = \"style\" }, or false for nothing of it";
        reader.wrong_type(node, what, expected);
        return Published::Ports(Vec::new());
    };
    let mut ports = Vec::new();
    for (port, span, node) in reader.any_entries(table).iter() {
        let port = Spanned::new(span, port.to_owned());
        if let Item::Bool(false) = node.get_ref() {
            ports.push((port, PublishAs::Hidden));
            continue;
        }
        let Item::String(_) = node.get_ref() else {
            reader.wrong_type(node, what, "the name of a field of the response, or false");
            continue;
        };
        let Some(field) = reader.spanned_string(node, what) else {
            continue;
        };
        let name = field.get_ref();
        if name.trim().is_empty() || name.contains(char::is_control) {
            let wrong = format!("{what}: {name:?} cannot name a field of the response");
            let wrong = reader.at(field.span(), wrong);
            reader.report(wrong.help("false hides the field"));
            continue;
        }
        ports.push((port, PublishAs::Field(field)));
    }
    Published::Ports(ports)
}

fn read_word<T: Copy>(
    reader: &mut Reader<'_>,
    entries: &Entries<'_>,
    key: &str,
    what: &dyn Fn(&str) -> String,
    words: &[(&str, T)],
) -> T {
    let unset = words[0].1;
    let Some(node) = entries.get(key) else {
        return unset;
    };
    let Some(given) = reader.string(node, &what(key)) else {
        return unset;
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
        return *value;
    }
    let quoted: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let wrong = format!(
        "{}: expected {}, found {given:?}{}",
        what(key),
        quoted.join(" or "),
        reader.whence(node)
    );
    let wrong = reader.at(node.span(), wrong);
    let words = words.iter().map(|(word, _)| *word);
    reader.report(wrong.nearest(&given, words));
    unset
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

//! A stage's `with = { .. }` table, checked and coerced by the stage's option schema.

use std::ops::Range;

use omnizap_contract::common::names::{nearest, suggestion};
use omnizap_contract::{Kind, OptionFault, OptionSpec, OptionType, Options};
use serde_json::{Map, Value as Json};

use super::interpolate::without_variables;
use super::reader::{Entries, Reader};
use super::tree::{Node, Table};

/// How options begin that stand in for what a request leaves out: `default_labels` for `labels`.
const STANDS_IN: &str = "default_";

/// Reads the options of a stage: its own, else those of `[defaults.with]`, else the schema's
/// defaults. Every mistake is reported; the default stands in
/// for what is wrong, so that the ports are known all the same. `keys` are those of a stage, beside
/// `with`.
pub(super) fn read_options(
    reader: &mut Reader<'_>,
    kind: &dyn Kind,
    with: Option<&Node>,
    defaults: &Entries<'_>,
    keys: &[&str],
    stage_span: Range<usize>,
) -> Options {
    let spec = kind.spec();
    let valid: Vec<&str> = spec.options.iter().map(|option| &*option.name).collect();
    let table = with.and_then(|node| reader.table(node, "`with`"));
    let before = reader.diagnostics.len();
    let what = format!("the options of `{}`", spec.name);
    let help = |key: &str| {
        if keys.contains(&key) {
            let beside = "is a key of the stage itself: write it beside `uses`, not in `with`";
            return Some(format!("`{key}` {beside}"));
        }
        match meant(key, &spec.options) {
            Some(option) => Some(format!("did you mean `{}`?", option.name)),
            None => suggestion(key, valid.iter().copied()),
        }
    };
    let own = table.map(|table| {
        conceal_misspelt(reader, table, &valid, &spec.options);
        reader.entries_or(table, &what, &valid, &help)
    });
    let own = |name: &str| own.as_ref().and_then(|own| own.get(name));
    let given = |name: &str| own(name).or_else(|| defaults.get(name));

    for option in spec.options.iter().filter(|option| option.is_secret) {
        let both = [own(&option.name), defaults.get(&option.name)];
        let written = both.into_iter().flatten().filter(|node| is_written(node));
        reader.secrets.extend(written.map(Node::span));
    }
    let mut values = Map::new();
    for option in &spec.options {
        let value = match (given(&option.name), &option.default) {
            (Some(node), _) => read_option(reader, option, node),
            (None, Some(default)) => Some(default.clone()),
            (None, None) => {
                let missing = reader
                    .at(
                        stage_span.clone(),
                        format!("stage `{}` needs the option `{}`", spec.name, option.name),
                    )
                    .help(format!(
                        "with = {{ {} = ... }}: {} ({})",
                        option.name,
                        option.doc,
                        option.ty.expectation()
                    ));
                reader.report(missing);
                None
            }
        };
        let value = value.or_else(|| option.default.clone()).unwrap_or_default();
        values.insert(option.name.to_string(), value);
    }
    let options = Options::from_checked(values);
    let well_typed = reader.diagnostics.len() == before;
    if well_typed && let Err(faults) = kind.check(&options) {
        for fault in faults {
            let node = given(&fault.option);
            let what = told(&fault, &spec.options, || {
                node.map_or(String::new(), |node| reader.whence(node))
            });
            let span = node.map_or(stage_span.clone(), Node::span);
            reader.report(reader.at(span, what));
        }
    }
    options
}

/// What is told of a fault that a stage finds in its options, of which these are the schemas.
/// `whence` says where the value came from; of a secret nobody is told.
pub(super) fn told(
    fault: &OptionFault,
    options: &[OptionSpec],
    whence: impl FnOnce() -> String,
) -> String {
    let option = &fault.option;
    if option.is_empty() {
        // Of the stage as a whole.
        return fault.message.clone();
    }
    let is_secret = options.iter().any(|it| it.is_secret && it.name == *option);
    let whence = if is_secret { String::new() } else { whence() };
    format!("option `{option}`{whence}: {}", fault.message)
}

/// Checks a value of `[defaults.with]` that every stage sets itself: it has to fit one of these,
/// the options of its name.
pub(super) fn check_default(reader: &mut Reader<'_>, options: &[&OptionSpec], node: &Node) {
    let before = reader.diagnostics.clone();
    for option in options {
        reader.diagnostics = before.clone();
        if read_option(reader, option, node).is_some() {
            break;
        }
    }
}

/// The names by which a file may mean an option, its own first.
pub(super) fn names_of(option: &OptionSpec) -> impl Iterator<Item = &str> {
    let name = &*option.name;
    std::iter::once(name).chain(name.strip_prefix(STANDS_IN))
}

/// The option that was probably meant.
pub(super) fn meant<'o>(
    given: &str,
    options: impl IntoIterator<Item = &'o OptionSpec>,
) -> Option<&'o OptionSpec> {
    let options: Vec<&OptionSpec> = options.into_iter().collect();
    let near = nearest(given, options.iter().flat_map(|option| names_of(option)))?;
    // A name of its own goes before one that it stands in for.
    let own = options.iter().find(|option| option.name == near);
    let other = || {
        let mut each = options.iter();
        each.find(|option| names_of(option).any(|name| name == near))
    };
    own.or_else(other).copied()
}

/// Keeps the values of those keys secret that are not among the valid ones, and were probably meant
/// for a secret option.
pub(super) fn conceal_misspelt(
    reader: &mut Reader<'_>,
    table: &Table,
    valid: &[&str],
    options: &[OptionSpec],
) {
    let unknown = table.iter().filter(|(key, node)| {
        let key = key.get_ref().as_str();
        !valid.contains(&key)
            && is_written(node)
            && meant(key, options).is_some_and(|option| option.is_secret)
    });
    reader.secrets.extend(unknown.map(|(_, node)| node.span()));
}

/// True for a value that is in the file itself: what a variable holds is not.
pub(super) fn is_written(node: &Node) -> bool {
    let text = node.get_ref().as_str();
    text.is_none_or(|text| !without_variables(text).trim().is_empty())
}

fn read_option(reader: &mut Reader<'_>, option: &OptionSpec, node: &Node) -> Option<Json> {
    let what = format!("option `{}`", option.name);
    let raw = reader.json(node, &what)?;
    // An empty string leaves an option unset that may be unset: `"${NAME:-}"`.
    if raw == "" && option.default == Some(Json::Null) {
        return Some(Json::Null);
    }
    let value = option.ty.coerce(&raw);
    if value.is_none() {
        let found = if option.is_secret {
            "something else".to_owned()
        } else if node.get_ref().as_str().is_some() {
            format!("{raw}{}", reader.whence(node))
        } else {
            shown(&raw)
        };
        let wrong = reader.at(
            node.span(),
            format!(
                "{what}: expected {}, found {found}",
                option.ty.expectation()
            ),
        );
        let wrong = match (&option.ty, raw.as_str()) {
            (OptionType::Choice(choices), Some(given)) => {
                wrong.nearest(given, choices.iter().copied())
            }
            _ => wrong.help(option.doc.to_string()),
        };
        reader.report(wrong);
    }
    value
}

fn shown(raw: &Json) -> String {
    match raw {
        Json::Array(_) => "a list".into(),
        other => other.to_string(),
    }
}

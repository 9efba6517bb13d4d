//! A stage's `with = { .. }` table, checked and coerced by the stage's option schema.

use std::ops::Range;

use omnizap_contract::{Kind, OptionSpec, OptionType, Options};
use serde_json::{Map, Value as Json};

use super::reader::{Entries, Reader};
use super::tree::Node;

/// Reads the options of a stage: its own, else those of `[defaults.with]`, else the schema's
/// defaults. Every mistake is reported; the default stands in
/// for what is wrong, so that the ports are known all the same.
pub(super) fn read_options(
    reader: &mut Reader<'_>,
    kind: &dyn Kind,
    with: Option<&Node>,
    defaults: &Entries<'_>,
    stage_span: Range<usize>,
) -> Options {
    let spec = kind.spec();
    let valid: Vec<&str> = spec.options.iter().map(|option| &*option.name).collect();
    let table = with.and_then(|node| reader.table(node, "`with`"));
    let before = reader.diagnostics.len();
    let what = format!("the options of `{}`", spec.name);
    let given = table.map(|table| reader.entries(table, &what, &valid));
    let given = |name: &str| {
        let own = given.as_ref().and_then(|given| given.get(name));
        own.or_else(|| defaults.get(name))
    };

    for option in spec.options.iter().filter(|option| option.is_secret) {
        // What a variable holds is not in the file.
        let written = given(&option.name).filter(|node| {
            let text = node.get_ref().as_str().unwrap_or_default();
            !(text.starts_with("${") && text.ends_with('}'))
        });
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
            let span = given(&fault.option).map_or(stage_span.clone(), Node::span);
            let wrong = reader.at(
                span,
                format!("option `{}`: {}", fault.option, fault.message),
            );
            reader.report(wrong);
        }
    }
    options
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
            raw.to_string()
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

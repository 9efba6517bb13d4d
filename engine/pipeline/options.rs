//! A stage's `with = { .. }` table, checked and coerced by the stage's option schema.

use std::ops::Range;

use omnizap_contract::{OptionSpec, OptionType, Options, StageKind};
use serde_json::{Map, Value as Json};

use super::interpolate::parse_bool;
use super::reader::{Node, Reader};

/// Reads the options of a stage. Every mistake is reported; the default stands in
/// for what is wrong, so that the ports are known all the same.
pub(super) fn read_options(
    reader: &mut Reader<'_>,
    kind: &dyn StageKind,
    with: Option<&Node<'_>>,
    stage_span: Range<usize>,
) -> Options {
    let spec = kind.spec();
    let valid: Vec<&str> = spec.options.iter().map(|option| &*option.name).collect();
    let table = with.and_then(|node| reader.table(node, "`with`"));
    let before = reader.diagnostics.len();
    let what = format!("the options of `{}`", spec.name);
    let given = table.map(|table| reader.entries(table, &what, &valid));
    let given = |name: &str| given.as_ref().and_then(|given| given.get(name));

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

fn read_option(reader: &mut Reader<'_>, option: &OptionSpec, node: &Node<'_>) -> Option<Json> {
    let what = format!("option `{}`", option.name);
    let raw = reader.json(node, &what)?;
    // An empty string leaves an option unset that may be unset: `"${NAME:-}"`.
    if raw == "" && option.default == Some(Json::Null) {
        return Some(Json::Null);
    }
    let value = coerce(&option.ty, &raw);
    if value.is_none() {
        let found = if node.get_ref().is_str() {
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

/// The value as the schema wants it; strings become what they spell. `None` where it does not
/// fit.
#[must_use]
pub fn coerce(ty: &OptionType, raw: &Json) -> Option<Json> {
    match ty {
        OptionType::Bool => match raw {
            Json::Bool(_) => Some(raw.clone()),
            Json::String(text) => parse_bool(text).map(Json::from),
            _ => None,
        },
        OptionType::Integer { min, max } => {
            let integer = match raw {
                Json::String(text) => text.trim().parse().ok(),
                other => other.as_i64(),
            };
            integer
                .filter(|integer: &i64| (*min..=*max).contains(integer))
                .map(Json::from)
        }
        OptionType::Number { min, max } => {
            let number = match raw {
                Json::String(text) => text.trim().parse().ok(),
                other => other.as_f64(),
            };
            number
                .filter(|number: &f64| (*min..=*max).contains(number))
                .map(Json::from)
        }
        OptionType::Text => raw.is_string().then(|| raw.clone()),
        OptionType::Choice(choices) => raw
            .as_str()
            .is_some_and(|text| choices.contains(&text))
            .then(|| raw.clone()),
        OptionType::TextList => match raw {
            Json::Array(items) => items.iter().all(Json::is_string).then(|| raw.clone()),
            Json::String(text) => Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .collect(),
            ),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::OptionType;
    use serde_json::{Value as Json, json};

    use super::coerce;

    fn check(ty: &OptionType, raw: Json, expected: Option<Json>) {
        assert_eq!(coerce(ty, &raw), expected, "{raw} as {ty:?}");
    }

    #[test]
    fn strings_become_what_they_spell() {
        let number = OptionType::Number { min: 0.0, max: 1.0 };
        check(&number, json!("0.4"), Some(json!(0.4)));
        check(&number, json!(1), Some(json!(1.0)));
        check(&number, json!("nan"), None);
        check(&number, json!("1.01"), None);
        let integer = OptionType::Integer { min: 1, max: 9 };
        check(&integer, json!(" 5 "), Some(json!(5)));
        check(&integer, json!("5.5"), None);
        check(&integer, json!(0), None);
        check(&OptionType::Bool, json!("on"), Some(json!(true)));
        check(&OptionType::Bool, json!(1), None);
        check(&OptionType::Text, json!(1), None);
        check(
            &OptionType::TextList,
            json!("a, b,"),
            Some(json!(["a", "b"])),
        );
        check(&OptionType::TextList, json!(["a", 1]), None);
    }
}

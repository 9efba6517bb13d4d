//! Types as JSON Schema (2020-12, as OpenAPI 3.1 has it).

use omnizap_contract::{JsonShape, OptionSpec, OptionType, PortType};
use serde_json::{Map, Value as Json, json};

/// Up to here a whole number is one in every reader of JSON.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// A number as JSON writes it: without a fraction where it has none.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a whole number within the bounds of those that are exact"
)]
pub(super) fn number(number: f64) -> Json {
    if number.fract() == 0.0 && number.abs() <= LARGEST_EXACT {
        Json::from(number as i64)
    } else {
        Json::from(number)
    }
}

/// A number of bytes as people say it, where it is a round one.
pub(super) fn size(bytes: usize) -> String {
    let units = [("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units
        .iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

/// What a value of a port looks like in an answer, as `Value::to_json` shows it.
pub(super) fn of_port(ty: PortType, shape: &JsonShape) -> Json {
    match ty {
        PortType::Bytes => summary(&[("bytes", json!({ "type": "integer", "minimum": 0 }))]),
        PortType::Image => summary(&[
            ("width", json!({ "type": "integer", "minimum": 1 })),
            ("height", json!({ "type": "integer", "minimum": 1 })),
            ("channels", json!({ "type": "integer", "minimum": 1 })),
        ]),
        PortType::Embedding => summary(&[
            ("model", json!({ "type": "string" })),
            ("vector", list(json!({ "type": "number" }))),
        ]),
        PortType::Scores => map(json!({ "type": "number" })),
        PortType::Tensor => summary(&[
            ("dtype", json!({ "type": "string" })),
            ("shape", list(json!({ "type": "integer", "minimum": 0 }))),
        ]),
        PortType::Text => json!({ "type": "string" }),
        PortType::TextList => list(json!({ "type": "string" })),
        PortType::Number => json!({ "type": "number" }),
        PortType::Integer => json!({ "type": "integer", "format": "int64" }),
        PortType::Bool => json!({ "type": "boolean" }),
        PortType::Json => of_shape(shape),
    }
}

/// What JSON of a shape looks like.
pub(super) fn of_shape(shape: &JsonShape) -> Json {
    match shape {
        JsonShape::Any => json!({}),
        JsonShape::Text => json!({ "type": "string" }),
        JsonShape::Number => json!({ "type": "number" }),
        JsonShape::Integer => json!({ "type": "integer", "format": "int64" }),
        JsonShape::Bool => json!({ "type": "boolean" }),
        JsonShape::Nullable(shape) => or_null(of_shape(shape)),
        JsonShape::List(shape) => list(of_shape(shape)),
        JsonShape::Map(shape) => map(of_shape(shape)),
        JsonShape::Object(members) => {
            let members = members.iter();
            let members: Vec<_> = members
                .map(|(name, shape)| (name.as_str(), of_shape(shape)))
                .collect();
            summary(&members)
        }
    }
}

pub(super) fn list(items: Json) -> Json {
    json!({ "type": "array", "items": items })
}

fn map(values: Json) -> Json {
    json!({ "type": "object", "additionalProperties": values })
}

/// An object with all of these members, and perhaps others.
pub(super) fn summary(members: &[(&str, Json)]) -> Json {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let members = members.iter();
    let members: Map<String, Json> = members
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({ "type": "object", "required": names, "properties": members })
}

/// The same with `null` among its values.
pub(super) fn or_null(schema: Json) -> Json {
    or(schema, &Json::Null)
}

/// The same with that value among its values.
pub(super) fn or(mut schema: Json, value: &Json) -> Json {
    if fits(&schema, value) {
        return schema;
    }
    let ty = schema.get("type").and_then(Json::as_str);
    match ty {
        Some(ty) if value.is_null() && schema.get("enum").is_none() => {
            schema["type"] = json!([ty, "null"]);
            schema
        }
        _ => json!({ "anyOf": [schema, { "const": value }] }),
    }
}

/// True for a value that a schema of this module takes, as far as its type and members tell.
fn fits(schema: &Json, value: &Json) -> bool {
    if let Some(any) = schema.get("anyOf").and_then(Json::as_array) {
        return any.iter().any(|one| fits(one, value));
    }
    if let Some(only) = schema.get("const") {
        return only == value;
    }
    let types: Vec<&str> = match schema.get("type") {
        None => return true,
        Some(Json::String(ty)) => vec![ty],
        Some(types) => {
            let types = types.as_array().into_iter().flatten();
            types.filter_map(Json::as_str).collect()
        }
    };
    if !types.iter().any(|ty| is_of(value, ty)) {
        return false;
    }
    match value {
        Json::Array(items) => {
            let of_items = schema.get("items");
            of_items.is_none_or(|schema| items.iter().all(|item| fits(schema, item)))
        }
        Json::Object(members) => {
            let required = schema.get("required").and_then(Json::as_array);
            let mut required = required.into_iter().flatten().filter_map(Json::as_str);
            let known = |name: &str| schema.get("properties").and_then(|all| all.get(name));
            let others = schema.get("additionalProperties");
            required.all(|name| members.contains_key(name))
                && members.iter().all(|(name, member)| {
                    let schema = known(name).or(others);
                    schema.is_none_or(|schema| fits(schema, member))
                })
        }
        _ => true,
    }
}

fn is_of(value: &Json, ty: &str) -> bool {
    match ty {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// What the value of a public option looks like.
pub(super) fn of_option(option: &OptionSpec) -> Json {
    let mut schema = match &option.ty {
        OptionType::Bool => json!({ "type": "boolean" }),
        OptionType::Integer { .. } => json!({ "type": "integer", "format": "int64" }),
        OptionType::Number { .. } => json!({ "type": "number" }),
        OptionType::Text => json!({ "type": "string" }),
        OptionType::Choice(choices) => json!({ "type": "string", "enum": choices }),
        OptionType::TextList => list(json!({ "type": "string" })),
    };
    if option.default == Some(Json::Null) {
        schema = or_null(schema);
    }
    schema["description"] = Json::from(&*option.doc);
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_stands_for_nothing_is_taken_in_where_it_does_not_fit() {
        let text = || json!({ "type": "string" });
        let labels: JsonShape = r#"[{"label": "text", "by": {"*": "number?"}}]"#.parse().unwrap();
        let labels = || of_port(PortType::Json, &labels);
        for (schema, value, expected) in [
            (text(), json!(""), text()),
            (text(), Json::Null, json!({ "type": ["string", "null"] })),
            (
                text(),
                json!(0),
                json!({ "anyOf": [{ "type": "string" }, { "const": 0 }] }),
            ),
            (json!({}), Json::Null, json!({})),
            (labels(), json!([]), labels()),
            (
                labels(),
                json!([{ "label": "x", "by": { "a": null } }]),
                labels(),
            ),
            (
                labels(),
                json!([{ "label": "x" }]),
                json!({ "anyOf": [labels(), { "const": [{ "label": "x" }] }] }),
            ),
        ] {
            assert_eq!(or(schema, &value), expected, "{value}");
        }
        let number = of_port(PortType::Number, &JsonShape::Any);
        assert_eq!(or(number.clone(), &json!(0.0)), number);
        let whole = of_port(PortType::Integer, &JsonShape::Any);
        assert_ne!(or(whole.clone(), &json!(0.5)), whole);
    }

    #[test]
    fn numbers_without_a_fraction_are_whole() {
        assert_eq!(number(1.0).to_string(), "1");
        assert_eq!(number(-0.5).to_string(), "-0.5");
        assert_eq!(number(1e300).to_string(), "1e+300");
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1000, "1000 bytes"),
            (3 << 10, "3 KiB"),
            (32 << 20, "32 MiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}

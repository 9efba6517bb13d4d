//! The tables of a pipeline file and their keys.

use engine::pipeline::condition::MAX_EXPRESSION_LEN;
use engine::pipeline::config::keys::{Key, Limit, MAX_SOURCES, TABLES, Table, Unset, types_of};
use omnizap_contract::PortType;
use serde_json::{Map, Value as Json, json};

use super::{Stage, options, spelt};

/// The definition of the options of all stages.
const ANY_STAGE: &str = "with-any";
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const STAGE: &str = "[[stage]]";
const FIELD: &str = "a field of [request]";
const TEST: &str = "[[test]]";
const EXPECT: &str = "[test.expect]";
const CHECK: &str = "a place of [test.expect.answer]";
const PLACE: &str = "[[stage]] of a file that extends another";

/// The schema of pipeline files that may name these stages.
pub(super) fn schema(stages: &[Stage]) -> Json {
    let mut definitions = Map::new();
    for stage in stages {
        definitions.insert(with(stage), options::of_stage(stage));
    }
    definitions.insert(ANY_STAGE.into(), options::of_any(stages));
    let of_file = TABLES.iter().find(|table| table.title == "the file");
    let keys = of_file.map_or(&[][..], |table| table.keys);
    let mut file = object(keys, &mut |key| section(key, stages));
    // A file that changes another holds only what differs.
    file["if"] = json!({ "not": { "required": ["extends"] } });
    file["then"] = whole(keys);
    let head = json!({
        "$schema": DIALECT,
        "title": "A pipeline of OmniZap Classifier",
        "description": format!("Made by omnizap {}.", env!("CARGO_PKG_VERSION")),
        "$defs": definitions,
    });
    merged(head, file)
}

/// What a file needs that extends no other.
fn whole(keys: &[Key]) -> Json {
    let sections = keys.iter().filter_map(|key| {
        let (table, place) = inner(key)?;
        let required = required(table.keys);
        let needs = (!required.is_empty()).then(|| json!({ "required": required }))?;
        let needs = match place {
            Place::Itself => needs,
            Place::Items => json!({ "items": needs }),
            Place::Members => json!({ "additionalProperties": needs }),
        };
        Some((key.name.to_owned(), needs))
    });
    let sections: Map<String, Json> = sections.collect();
    json!({ "required": required(keys), "properties": sections })
}

fn required(keys: &[Key]) -> Vec<&'static str> {
    let required = keys.iter();
    let required = required.filter(|key| matches!(key.unset, Unset::Required));
    required.map(|key| key.name).collect()
}

/// Where the table of a section is.
#[derive(Clone, Copy)]
enum Place {
    Itself,
    Items,
    Members,
}

/// The table of a key of the file, where it has one.
fn inner(key: &Key) -> Option<(&'static Table, Place)> {
    let name = key.name;
    let (title, place) = match key.value {
        "table" => (format!("[{name}]"), Place::Itself),
        "list of tables" => (format!("[[{name}]]"), Place::Items),
        "table of tables" => (format!("a field of [{name}]"), Place::Members),
        _ => return None,
    };
    let table = TABLES.iter().find(|table| table.title == title)?;
    Some((table, place))
}

/// A section of the file.
fn section(key: &Key, stages: &[Stage]) -> Json {
    let Some((table, place)) = inner(key) else {
        return value(key);
    };
    let mut inside = match table.title {
        STAGE => stage(table, stages),
        FIELD => field(table),
        TEST => test(table),
        _ => object(table.keys, &mut value),
    };
    if table.title == "[response]" {
        for key in table.keys {
            let title = format!("[[response.{}]]", key.name);
            if let Some(forms) = TABLES.iter().find(|table| table.title == title) {
                let mut items = object(forms.keys, &mut value);
                items["required"] = required(forms.keys).into();
                let mut list = json!({ "type": "array", "items": items });
                if let Limit::Most(most, _) = key.limit {
                    list["maxItems"] = most.into();
                }
                inside["properties"][key.name] = described(list, Some(*key));
            }
        }
    }
    if table.title == "[defaults]" {
        inside["properties"]["with"] = described(any_stage(), key_of(table, "with"));
    }
    match place {
        Place::Itself => inside,
        Place::Items => {
            let mut list = json!({ "type": "array", "items": inside });
            if let Limit::Most(most, _) = key.limit {
                list["maxItems"] = most.into();
            }
            list
        }
        Place::Members => json!({ "type": "object", "additionalProperties": inside }),
    }
}

fn any_stage() -> Json {
    json!({ "$ref": format!("#/$defs/{ANY_STAGE}") })
}

/// The name of the definition of a stage's options.
fn with(stage: &Stage) -> String {
    // A slash would be a step within a reference, and no stage has a dot in its name.
    format!("with.{}", stage.name.replace('/', "."))
}

fn key_of(table: &Table, name: &str) -> Option<Key> {
    table.keys.iter().find(|key| key.name == name).copied()
}

/// A table with these keys, and no others.
fn object(keys: &[Key], value: &mut dyn FnMut(&Key) -> Json) -> Json {
    let properties: Map<String, Json> = keys
        .iter()
        .map(|key| (key.name.to_owned(), described(value(key), Some(*key))))
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// The same with what is said of a key.
fn described(mut schema: Json, key: Option<Key>) -> Json {
    let Some(key) = key else {
        return schema;
    };
    let mut doc = key.doc.to_owned();
    if let Limit::Means(limit) = key.limit {
        doc.push_str(&format!(" ({limit})"));
    }
    match key.unset {
        Unset::Required | Unset::Nothing => {}
        Unset::Word(word) => schema["default"] = word.into(),
        Unset::Number(number) => schema["default"] = number.into(),
        Unset::Milliseconds(time) => {
            schema["default"] = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into();
        }
        Unset::Means(text) => doc.push_str(&format!("; without it: {text}")),
    }
    schema["description"] = doc.into();
    schema
}

/// What a value of a key may be, as the list of keys says it.
fn value(key: &Key) -> Json {
    if let Limit::Words(words) = key.limit {
        return spelt::words(&words());
    }
    match key.value {
        "bool" => spelt::bool(),
        "bool, or a list of them" => {
            let list = json!({ "type": "array", "items": spelt::bool() });
            json!({ "anyOf": [spelt::bool(), list] })
        }
        "whole number" => match key.limit {
            Limit::Range(min, max) => spelt::whole(min, max),
            _ => spelt::any_whole(),
        },
        "number" => spelt::any_number(),
        "text" => spelt::text(),
        "list of texts" => spelt::texts(),
        "table, list or text" => json!({ "type": ["object", "array", "string"] }),
        "list of statuses and codes" => {
            let status = spelt::any_whole();
            json!({ "type": "array", "minItems": 1, "items": { "anyOf": [spelt::text(), status] } })
        }
        "table" | "table of tables" => json!({ "type": "object" }),
        "list of tables" => json!({ "type": "array", "items": { "type": "object" } }),
        // Whatever else it is, the readers know.
        _ => json!({}),
    }
}

/// A field of the request. A key that does nothing for its type is a mistake.
fn field(table: &Table) -> Json {
    let mut field = object(table.keys, &mut value);
    let types = table.keys.first().map_or(&[][..], types_of);
    let each = types.iter().map(|ty: &PortType| {
        let own = table.keys.iter().filter(|key| types_of(key).contains(ty));
        let own: Vec<&str> = own.map(|key| key.name).collect();
        json!({
            "if": { "required": ["type"], "properties": { "type": { "const": ty.name() } } },
            "then": { "propertyNames": { "enum": own } },
        })
    });
    field["allOf"] = each.collect();
    field
}

/// A test: what it names of stages and fields is not known here.
fn test(table: &Table) -> Json {
    object(table.keys, &mut |key| match key.name {
        "mock" => of_any_name(json!({ "type": "object" })),
        "fail" => of_any_name(spelt::text()),
        "expect" => object(keys_of(EXPECT), &mut |key| match key.name {
            "status" => spelt::whole(200, 599),
            "skipped" => json!({ "anyOf": [spelt::texts(), of_any_name(spelt::text())] }),
            "answer" => {
                let checks = object(keys_of(CHECK), &mut value);
                let alone = json!({ "not": { "type": "object" } });
                of_any_name(json!({ "anyOf": [alone, checks] }))
            }
            _ => value(key),
        }),
        _ => value(key),
    })
}

/// A table whose keys are the file's own.
fn of_any_name(value: Json) -> Json {
    json!({ "type": "object", "additionalProperties": value })
}

fn keys_of(title: &str) -> &'static [Key] {
    let table = TABLES.iter().find(|table| table.title == title);
    table.map_or(&[], |table| table.keys)
}

/// A stage, whose options follow from what it uses.
fn stage(table: &Table, stages: &[Stage]) -> Json {
    let place = TABLES.iter().find(|table| table.title == PLACE);
    let place = place.map_or(&[][..], |table| table.keys);
    let keys: Vec<Key> = table.keys.iter().chain(place).copied().collect();
    let mut stage = object(&keys, &mut |key| match key.name {
        "uses" => uses(stages),
        "with" => json!({ "type": "object" }),
        "inputs" => {
            let list = json!({
                "type": "array", "items": { "type": "string" }, "minItems": 1,
                "maxItems": MAX_SOURCES,
            });
            let source = json!({ "anyOf": [{ "type": "string" }, list] });
            json!({ "type": "object", "additionalProperties": source })
        }
        "publish" => {
            let shown = json!({ "anyOf": [{ "type": "string" }, { "const": false }] });
            let table = json!({ "type": "object", "additionalProperties": shown });
            json!({ "anyOf": [table, { "const": false }] })
        }
        "if" => json!({ "type": "string", "maxLength": MAX_EXPRESSION_LEN }),
        _ => value(key),
    });
    let mut each: Vec<Json> = stages
        .iter()
        .map(|known| {
            let reference = format!("#/$defs/{}", with(known));
            json!({
                "if": { "required": ["uses"], "properties": { "uses": { "const": known.name } } },
                "then": { "properties": { "with": { "$ref": reference } } },
            })
        })
        .collect();
    each.push(json!({
        "if": { "not": { "required": ["uses"] } },
        "then": { "required": ["name"], "properties": { "with": any_stage() } },
    }));
    stage["allOf"] = each.into();
    stage
}

/// What a stage may use: one that is known, one of a plugin, or what a variable says.
fn uses(stages: &[Stage]) -> Json {
    let mut any: Vec<Json> = stages
        .iter()
        .map(|stage| json!({ "const": stage.name, "description": stage.doc }))
        .collect();
    any.push(json!({
        "type": "string", "pattern": "^[^/]+/.+$|\\$\\{",
        "description": "a stage of a plugin, VENDOR/NAME",
    }));
    json!({ "anyOf": any })
}

/// The members of both.
fn merged(mut first: Json, second: Json) -> Json {
    if let (Json::Object(first), Json::Object(second)) = (&mut first, second) {
        first.extend(second);
    }
    first
}

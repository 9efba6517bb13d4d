//! `omnizap schema`: every shipped file keeps to it, and what is misspelt does not.

use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::plugins::compile;
use crate::support::program::{omnizap, root};

const COLOURS: &str = "plugins/examples/dominant-colours/dominant_colours.c";

/// Keywords that say something to people alone.
const SAID: [&str; 12] = [
    "$schema",
    "$defs",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "contentEncoding",
    "contentMediaType",
    // Looked at with the others.
    "then",
    "properties",
    "required",
];

/// What of a value does not keep to a schema, each with its place. As much of JSON Schema 2020-12 as
/// the program's own schemas use; a keyword that is not known here fails the test.
pub(super) fn faults(root: &Json, schema: &Json, value: &Json) -> Vec<String> {
    let mut found = Vec::new();
    Checker {
        root,
        found: &mut found,
    }
    .check(schema, value, "");
    found
}

struct Checker<'a> {
    root: &'a Json,
    found: &'a mut Vec<String>,
}

impl Checker<'_> {
    fn fits(&self, schema: &Json, value: &Json) -> bool {
        faults(self.root, schema, value).is_empty()
    }

    fn check(&mut self, schema: &Json, value: &Json, at: &str) {
        let Json::Object(keywords) = schema else {
            if schema == false {
                self.found.push(format!("{at}: nothing may be here"));
            }
            return;
        };
        for (keyword, said) in keywords {
            let fault = self.keyword(keyword, said, schema, value, at);
            if let Some(fault) = fault {
                self.found.push(format!("{at}: {fault}"));
            }
        }
        self.members(schema, value, at);
    }

    /// What a keyword finds wrong with the value itself.
    fn keyword(
        &mut self,
        keyword: &str,
        said: &Json,
        schema: &Json,
        value: &Json,
        at: &str,
    ) -> Option<String> {
        let wrong = |is_wrong: bool| is_wrong.then(|| format!("{value} against {keyword} {said}"));
        let each = || said.as_array().unwrap().iter();
        let chars = value.as_str().map(|text| text.chars().count() as u64);
        let items = value.as_array().map(|items| items.len() as u64);
        match keyword {
            "$ref" => {
                let path = said.as_str().unwrap().strip_prefix('#').unwrap();
                let root = self.root;
                let led = root
                    .pointer(path)
                    .unwrap_or_else(|| panic!("{said} leads nowhere"));
                self.check(led, value, at);
                None
            }
            "type" => {
                let types = match said {
                    Json::Array(types) => types.clone(),
                    one => vec![one.clone()],
                };
                let mut types = types.iter().map(|ty| ty.as_str().unwrap());
                wrong(!types.any(|ty| is_of(value, ty)))
            }
            "const" => wrong(value != said),
            "enum" => wrong(!each().any(|one| one == value)),
            "anyOf" => wrong(!each().any(|one| self.fits(one, value))),
            "allOf" => {
                for one in each() {
                    self.check(one, value, at);
                }
                None
            }
            "not" => wrong(self.fits(said, value)),
            "if" => {
                if self.fits(said, value) {
                    self.check(&schema["then"], value, at);
                }
                None
            }
            "pattern" => {
                let form = Regex::new(said.as_str().unwrap()).unwrap();
                wrong(value.as_str().is_some_and(|text| !form.is_match(text)))
            }
            "minimum" => wrong(value.as_f64() < said.as_f64().filter(|_| value.is_number())),
            "maximum" => wrong(value.is_number() && value.as_f64() > said.as_f64()),
            "minLength" => wrong(chars.is_some_and(|chars| chars < said.as_u64().unwrap())),
            "maxLength" => wrong(chars.is_some_and(|chars| chars > said.as_u64().unwrap())),
            "minItems" => wrong(items.is_some_and(|items| items < said.as_u64().unwrap())),
            "maxItems" => wrong(items.is_some_and(|items| items > said.as_u64().unwrap())),
            "items" | "additionalProperties" | "propertyNames" => None,
            known => {
                assert!(
                    SAID.contains(&known),
                    "the keyword {known} is not known here"
                );
                None
            }
        }
    }

    /// What is wrong with what is in the value.
    fn members(&mut self, schema: &Json, value: &Json, at: &str) {
        if let (Json::Array(items), Some(of_items)) = (value, schema.get("items")) {
            for (index, item) in items.iter().enumerate() {
                self.check(of_items, item, &format!("{at}/{index}"));
            }
        }
        let Json::Object(members) = value else {
            return;
        };
        let required = schema.get("required").and_then(Json::as_array);
        for name in required.into_iter().flatten() {
            let name = name.as_str().unwrap();
            if !members.contains_key(name) {
                self.found.push(format!("{at}: `{name}` is missing"));
            }
        }
        for (name, member) in members {
            let at = format!("{at}/{name}");
            if let Some(names) = schema.get("propertyNames") {
                self.check(names, &json!(name), &at);
            }
            let own = schema.get("properties").and_then(|all| all.get(name));
            if let Some(schema) = own.or(schema.get("additionalProperties")) {
                self.check(schema, member, &at);
            }
        }
    }
}

fn is_of(value: &Json, ty: &str) -> bool {
    match ty {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    }
}

fn schema(arguments: &[&str]) -> Json {
    let data = TempDir::new().unwrap();
    let output = omnizap(data.path())
        .arg("schema")
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// TOML as the JSON that a validator sees.
fn parsed(text: &str) -> Json {
    fn of(value: toml::Value) -> Json {
        match value {
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(integer) => integer.into(),
            toml::Value::Float(float) => float.into(),
            toml::Value::Boolean(bool) => bool.into(),
            toml::Value::Datetime(time) => time.to_string().into(),
            toml::Value::Array(items) => items.into_iter().map(of).collect(),
            toml::Value::Table(table) => {
                let members = table.into_iter();
                members.map(|(name, value)| (name, of(value))).collect()
            }
        }
    }
    let table: toml::Table = text.parse().unwrap();
    of(toml::Value::Table(table))
}

/// Every shipped pipeline.
fn shipped() -> Vec<PathBuf> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "toml") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    visit(&root().join("pipelines"), &mut found);
    found
}

#[test]
fn every_shipped_pipeline_keeps_to_the_schema() {
    let schema = schema(&[]);
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let files = shipped();
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let found = faults(&schema, &schema, &parsed(&text));
        assert!(found.is_empty(), "{}: {found:#?}", file.display());
    }
}

#[test]
fn what_is_misspelt_or_out_of_bounds_does_not() {
    let schema = schema(&[]);
    let file = |stage: &str| {
        format!(
            "[pipeline]\nname = \"a\"\n[request]\nfile = {{ type = \"bytes\" }}\n[[stage]]\n{stage}\n"
        )
    };
    let found = |text: &str| faults(&schema, &schema, &parsed(text));
    for fine in [
        file("uses = \"decode\""),
        file("uses = \"decode\"\nretry = \"${RETRY:-3}\"\nenabled = [\"${A}\", true]"),
        file("uses = \"decode\"\nwith = { max_pixels = \"1000\" }\npublish = false"),
        file("uses = \"acme/look\"\nwith = { anything = 1 }"),
        file("uses = \"decode\"\ninputs = { file = [\"request.file\", \"x.file\"] }"),
        "extends = \"x.toml\"\n[[stage]]\nname = \"mine\"\nwith = { anything = 1 }\n".to_owned(),
        "extends = \"x.toml\"\n[request]\nlabels = { max_items = 3 }\n".to_owned(),
    ] {
        assert_eq!(found(&fine), Vec::<String>::new(), "{fine}");
    }
    for (wrong, place) in [
        (file("uses = \"decod\""), "/stage/0/uses"),
        (
            file("uses = \"decode\"\nwith = { max_pixel = 9 }"),
            "/stage/0/with/max_pixel",
        ),
        (
            file("uses = \"decode\"\nwith = { max_pixels = 0 }"),
            "/stage/0/with/max_pixels",
        ),
        (
            file("uses = \"decode\"\nwith = { orientation = \"aply\" }"),
            "/stage/0/with/orientation",
        ),
        (
            file("uses = \"decode\"\non_eror = \"skip\""),
            "/stage/0/on_eror",
        ),
        (
            file("uses = \"decode\"\non_error = \"skp\""),
            "/stage/0/on_error",
        ),
        (file("uses = \"decode\"\nretry = 9"), "/stage/0/retry"),
        (
            file("uses = \"decode\"\nenabled = \"maybe\""),
            "/stage/0/enabled",
        ),
        (file("name = \"decode\""), "/stage/0: `uses` is missing"),
        (
            file("uses = \"decode\"").replace("bytes\"", "bytes\", max_chars = 3"),
            "/request/file",
        ),
        (
            file("uses = \"decode\"").replace("[pipeline]", "[pipelin]"),
            "/pipelin",
        ),
        (
            "[pipeline]\nroute = \"GET /x\"\n".to_owned(),
            "/pipeline: `name` is missing",
        ),
    ] {
        let found = found(&wrong);
        assert!(
            found.iter().any(|fault| fault.starts_with(place)),
            "{wrong}: {found:?}"
        );
    }
}

#[test]
fn stages_of_plugins_are_known_once_their_library_is_named() {
    let folder = TempDir::new().unwrap();
    let library = compile(COLOURS, &[], folder.path(), "colours.so");
    let schema = schema(&["--plugin", library.to_str().unwrap()]);
    let options = &schema["$defs"]["with.example.dominant-colours"];
    let known = options["properties"].as_object().unwrap();
    assert!(!known.is_empty(), "{options}");
    let file = |option: &str| {
        parsed(&format!(
            "[pipeline]\nname = \"a\"\n[[stage]]\nuses = \"example/dominant-colours\"\n\
             with = {{ {option} = 2 }}\n"
        ))
    };
    let name = known.keys().next().unwrap();
    assert_eq!(faults(&schema, &schema, &file(name)), Vec::<String>::new());
    assert_eq!(faults(&schema, &schema, &file("colour")).len(), 1);
    // What is no plugin is told, and nothing is printed that could be taken for a schema.
    let output = omnizap(folder.path())
        .args(["schema", "--plugin", "Cargo.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Cargo.toml"));
}

//! Every key of a pipeline file, once: the readers take from here what they accept, and
//! `pipelines/README.md` shows it, which a test keeps so.

use std::fmt;
use std::time::Duration;

use omnizap_contract::PortType;
use omnizap_contract::common::digest::DIGITS;

use super::{
    DEFAULT_DEADLINE, MAX_DESCRIPTION, MAX_IN_FLIGHT, MAX_RETRIES, MAX_STAGES, OnError,
    PLUGINS_FILE, REST,
};
use crate::pipeline::case::MAX_CASES;
use crate::pipeline::condition::{MAX_DEPTH, MAX_EXPRESSION_LEN, MAX_STEPS};
use crate::pipeline::interpolate::MAX_NESTED;
use crate::pipeline::layers::{MAX_FILE_LEN, MAX_LAYERS};
use crate::pipeline::reader::DAY_MS;
use crate::pipeline::request::{
    DEFAULT_ITEM_MAX_CHARS, DEFAULT_MAX_CHARS, DEFAULT_MAX_ITEMS, Field, LARGEST_BODY,
    LARGEST_COUNT, LIMIT_KEYS, UnknownFields,
};
use crate::pipeline::template;

/// Most plugins of one file.
pub const MAX_PLUGINS: usize = 64;
/// Most sources of one input.
pub const MAX_SOURCES: usize = 16;
/// What unbinds an input.
pub const UNBOUND: &str = "none";

/// The words of `on_error`, that which is meant without the key first.
pub(super) const ON_ERROR: [(&str, OnError); 3] = [
    ("fail", OnError::Fail),
    ("skip", OnError::Skip),
    ("skip all", OnError::SkipAll),
];
/// The words of `run`, and whether they mean on demand.
pub(super) const RUN: [(&str, bool); 2] = [("always", false), ("on demand", true)];

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// How it is written.
    pub name: &'static str,
    /// What its value is.
    pub value: &'static str,
    /// What holds without it.
    pub unset: Unset,
    /// What its value may be.
    pub limit: Limit,
    /// One line for people.
    pub doc: &'static str,
}

/// What holds without a key.
#[derive(Clone, Copy, Debug)]
pub enum Unset {
    /// The file is refused.
    Required,
    /// Nothing of what it would say.
    Nothing,
    /// That, in words.
    Means(&'static str),
    /// That word.
    Word(&'static str),
    /// That number.
    Number(usize),
    /// So many milliseconds.
    Milliseconds(Duration),
}

impl fmt::Display for Unset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required => f.write_str("must be there"),
            Self::Nothing => f.write_str("none"),
            Self::Means(text) => f.write_str(text),
            Self::Word(word) => write!(f, "`{word:?}`"),
            Self::Number(number) => f.write_str(&grouped(*number as u128)),
            Self::Milliseconds(duration) => f.write_str(&grouped(duration.as_millis())),
        }
    }
}

/// What the value of a key may be.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// Anything of its type.
    Any,
    /// What the words say.
    Means(&'static str),
    /// A whole number from one to the other.
    Range(i64, i64),
    /// At most so many of these.
    Most(usize, &'static str),
    /// One of these words.
    Words(fn() -> Vec<&'static str>),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Means(text) => f.write_str(text),
            Self::Range(low, high) => {
                let [low, high] = [low, high].map(|bound| grouped(bound.unsigned_abs().into()));
                write!(f, "{low} to {high}")
            }
            Self::Most(most, what) => write!(f, "at most {} {what}", grouped(*most as u128)),
            Self::Words(words) => {
                let words: Vec<_> = words().iter().map(|word| format!("`{word:?}`")).collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

/// A number as TOML may write it: `30_000`. Up to four digits are read without help.
#[must_use]
pub fn grouped(number: u128) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push('_');
        }
        shown.push(digit);
    }
    shown
}

/// A table of a pipeline file.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// As the file writes it.
    pub title: &'static str,
    /// What may stand in it.
    pub keys: &'static [Key],
}

/// Every table, in the order of the documentation.
pub const TABLES: [Table; 13] = [
    Table {
        title: "the file",
        keys: &FILE,
    },
    Table {
        title: "[pipeline]",
        keys: &PIPELINE,
    },
    Table {
        title: "a field of [request]",
        keys: &FIELD,
    },
    Table {
        title: "[response]",
        keys: &RESPONSE,
    },
    Table {
        title: "[[response.error]]",
        keys: &ERROR,
    },
    Table {
        title: "[[response.each_error]]",
        keys: &ERROR_OF_EACH,
    },
    Table {
        title: "[defaults]",
        keys: &DEFAULTS,
    },
    Table {
        title: "[[stage]]",
        keys: &STAGE,
    },
    Table {
        title: "[[stage]] of a file that extends another",
        keys: &PLACE,
    },
    Table {
        title: "[[plugin]]",
        keys: &PLUGIN,
    },
    Table {
        title: "[[test]]",
        keys: &TEST,
    },
    Table {
        title: "[test.expect]",
        keys: &EXPECT,
    },
    Table {
        title: "a place of [test.expect.answer]",
        keys: &CHECK,
    },
];

/// The sections of a file. `extends` is taken out before the others are read.
pub(super) const FILE: [Key; 8] = [
    Key {
        name: "extends",
        value: "text",
        unset: Unset::Nothing,
        limit: Limit::Means("`\"builtin:NAME\"`, or a path from the folder of this file"),
        doc: "the file that this one changes; it holds only what differs then",
    },
    Key {
        name: "pipeline",
        value: "table",
        unset: Unset::Required,
        limit: Limit::Any,
        doc: "its name, its route, bounds on its requests",
    },
    Key {
        name: "request",
        value: "table of tables",
        unset: Unset::Means("no fields"),
        limit: Limit::Any,
        doc: "the fields that a client may send, by name",
    },
    Key {
        name: "response",
        value: "table",
        unset: Unset::Nothing,
        limit: Limit::Any,
        doc: "what an answer must have, and what it looks like",
    },
    Key {
        name: "defaults",
        value: "table",
        unset: Unset::Nothing,
        limit: Limit::Any,
        doc: "options for all stages",
    },
    Key {
        name: "stage",
        value: "list of tables",
        unset: Unset::Means("no stages"),
        limit: Limit::Most(MAX_STAGES, "of them"),
        doc: "the stages, from top to bottom",
    },
    Key {
        name: "plugin",
        value: "list of tables",
        unset: Unset::Nothing,
        limit: Limit::Most(MAX_PLUGINS, "of them"),
        doc: "libraries that this file may name stages of; `plugins.toml` beside it allows them to all",
    },
    Key {
        name: "test",
        value: "list of tables",
        unset: Unset::Nothing,
        limit: Limit::Most(MAX_CASES, "of them"),
        doc: "requests and what has to come of them: `omnizap test` tries them, and a service passes over them",
    },
];

/// The keys of `[pipeline]`.
pub(super) const PIPELINE: [Key; 11] = [
    Key {
        name: "name",
        value: "text",
        unset: Unset::Required,
        limit: Limit::Means("no other file served beside it has the same"),
        doc: "what commands and `GET /pipelines` call it",
    },
    Key {
        name: "description",
        value: "text",
        unset: Unset::Nothing,
        limit: Limit::Most(MAX_DESCRIPTION, "characters"),
        doc: "what it does, for clients: `GET /openapi.json` and `/docs` show it",
    },
    Key {
        name: "route",
        value: "text",
        unset: Unset::Means("HTTP does not reach it"),
        limit: Limit::Means("a method and a path"),
        doc: "where clients reach it",
    },
    Key {
        name: "settings_route",
        value: "text",
        unset: Unset::Nothing,
        limit: Limit::Means("`GET` and a path"),
        doc: "where its settings in force are shown",
    },
    Key {
        name: "admin",
        value: "bool",
        unset: Unset::Means("false"),
        limit: Limit::Any,
        doc: "its routes are for administrators: they want one of `OMNIZAP_ADMIN_KEYS`, which only a service on a loopback address goes without",
    },
    Key {
        name: "deadline_ms",
        value: "whole number",
        unset: Unset::Milliseconds(DEFAULT_DEADLINE),
        limit: Limit::Range(1, DAY_MS),
        doc: "the longest that all stages of one request may take together: 504 beyond",
    },
    Key {
        name: "one_of",
        value: "list of texts",
        unset: Unset::Nothing,
        limit: Limit::Means("two fields of [request] or more, none required, none with a default"),
        doc: "a request brings exactly one of these fields: 422 else",
    },
    Key {
        name: "max_body_bytes",
        value: "whole number",
        unset: Unset::Means("as the service"),
        limit: Limit::Range(1, LARGEST_BODY),
        doc: "largest body: 413 beyond",
    },
    Key {
        name: "max_in_flight",
        value: "whole number",
        unset: Unset::Means("as the service"),
        limit: Limit::Range(1, LARGEST_COUNT),
        doc: "most requests to it at one time: 429 beyond",
    },
    Key {
        name: "max_fields",
        value: "whole number",
        unset: Unset::Means("as the service"),
        limit: Limit::Range(1, LARGEST_COUNT),
        doc: "most parts of a form, members of a JSON body, fields of a query string, each: 422 beyond",
    },
    Key {
        name: "unknown_fields",
        value: "text",
        unset: Unset::Word("tell"),
        limit: Limit::Words(unknown_fields),
        doc: "what a field means that is not in [request]: its name in the header `X-Unknown-Fields`, or 422",
    },
];

fn unknown_fields() -> Vec<&'static str> {
    [UnknownFields::Tell, UnknownFields::Refuse]
        .map(UnknownFields::name)
        .into()
}

/// The keys of a field of `[request]`.
const FIELD: [Key; 18] = [
    Key {
        name: "type",
        value: "text",
        unset: Unset::Required,
        limit: Limit::Words(field_types),
        doc: "what it is",
    },
    Key {
        name: "from",
        value: "text",
        unset: Unset::Word("body"),
        limit: Limit::Words(sources),
        doc: "where it stands in a request",
    },
    Key {
        name: "required",
        value: "bool",
        unset: Unset::Means("false"),
        limit: Limit::Any,
        doc: "a request without it is refused: 422",
    },
    Key {
        name: "default",
        value: "as the field",
        unset: Unset::Nothing,
        limit: Limit::Means("within the field's own bounds; not where it is required"),
        doc: "its value where a request leaves it out",
    },
    Key {
        name: "one_line",
        value: "bool",
        unset: Unset::Means("false"),
        limit: Limit::Any,
        doc: "blanks around it go, a control character in it is 422",
    },
    Key {
        name: "max_chars",
        value: "whole number",
        unset: Unset::Number(DEFAULT_MAX_CHARS),
        limit: Limit::Range(1, Field::LARGEST_BOUND),
        doc: "longest text, in characters; of JSON, the text of a form that holds it",
    },
    Key {
        name: "max_items",
        value: "whole number",
        unset: Unset::Number(DEFAULT_MAX_ITEMS),
        limit: Limit::Range(1, Field::LARGEST_BOUND),
        doc: "most items, of all fields of its name together",
    },
    Key {
        name: "item_max_chars",
        value: "whole number",
        unset: Unset::Number(DEFAULT_ITEM_MAX_CHARS),
        limit: Limit::Range(1, Field::LARGEST_BOUND),
        doc: "longest item, in characters",
    },
    Key {
        name: "min",
        value: "number",
        unset: Unset::Nothing,
        limit: Limit::Means("not above `max`"),
        doc: "smallest number",
    },
    Key {
        name: "max",
        value: "number",
        unset: Unset::Nothing,
        limit: Limit::Means("not below `min`"),
        doc: "largest number",
    },
    Key {
        name: "max_bytes",
        value: "whole number",
        unset: Unset::Means("the body's own"),
        limit: Limit::Range(1, Field::LARGEST_BOUND),
        doc: "largest file: 413 beyond; of a text the file of its `data_url`",
    },
    Key {
        name: "accept",
        value: "list of texts",
        unset: Unset::Means("all"),
        limit: Limit::Means("media types, such as `\"image/png\"` or `\"image/*\"`"),
        doc: "what an upload may say that it is: 415 else",
    },
    Key {
        name: "filename",
        value: "text",
        unset: Unset::Nothing,
        limit: Limit::Means("a name of its own"),
        doc: "the text port and the field of the response that hold how the upload is called",
    },
    Key {
        name: "content_type",
        value: "text",
        unset: Unset::Nothing,
        limit: Limit::Means("a name of its own"),
        doc: "the same for the media type that it says",
    },
    Key {
        name: "data_url",
        value: "text",
        unset: Unset::Nothing,
        limit: Limit::Means("a name of its own"),
        doc: "the bytes port that gets the file of a text that is a `data:` URL; the field has no value then",
    },
    Key {
        name: "each",
        value: "whole number",
        unset: Unset::Means("it comes once"),
        limit: Limit::Range(1, Field::MOST_EACH),
        doc: "it may come so many times, and the stages run once for each; one field of a file has it",
    },
    Key {
        name: "any_name",
        value: "bool",
        unset: Unset::Means("false"),
        limit: Limit::Means("one field of a file has it"),
        doc: "it is also every file of a form that is no other field, whatever its name",
    },
    Key {
        name: "ignored",
        value: "bool",
        unset: Unset::Means("false"),
        limit: Limit::Any,
        doc: "clients may send it, and nothing is made of it",
    },
];

fn field_types() -> Vec<&'static str> {
    Field::TYPES.map(PortType::name).into()
}

fn sources() -> Vec<&'static str> {
    Field::sources().into()
}

/// The types of fields that a key of a field is for; nothing for a key of another table.
#[must_use]
pub fn types_of(key: &Key) -> &'static [PortType] {
    let mut known = Field::KEYS.iter();
    let known = known.find(|(name, _)| *name == key.name);
    known.map_or(&[], |(_, types)| *types)
}

/// The keys of `[response]`.
pub(super) const RESPONSE: [Key; 6] = [
    Key {
        name: "require",
        value: "list of texts",
        unset: Unset::Nothing,
        limit: Limit::Means("fields that a stage publishes"),
        doc: "fields that every answer has: `check` wants a stage that is sure to give each, and an answer without one is 503",
    },
    Key {
        name: "order",
        value: "list of texts",
        unset: Unset::Means("as the stages come"),
        limit: Limit::Means("fields, and `\"...\"` for all others"),
        doc: "the order of the fields of an answer",
    },
    Key {
        name: "template",
        value: "table, list or text",
        unset: Unset::Means("those fields"),
        limit: Limit::Any,
        doc: "what an answer looks like: `\"{name}\"` is the value of that field, `\"{each}\"` the list of what came of each item",
    },
    Key {
        name: "each",
        value: "table, list or text",
        unset: Unset::Means("those fields"),
        limit: Limit::Means("only with a field of [request] that has `each`"),
        doc: "what stands in that list for an item; `\"{index}\"` is its place, from 0",
    },
    Key {
        name: "each_error",
        value: "list of tables",
        unset: Unset::Means("the request fails with the first item that fails"),
        limit: Limit::Most(MAX_ERRORS, "of them"),
        doc: "what stands in that list for an item that failed, the first that suits",
    },
    Key {
        name: "error",
        value: "list of tables",
        unset: Unset::Means("`detail`, `code`, `stage`, `request_id`"),
        limit: Limit::Most(MAX_ERRORS, "of them"),
        doc: "the answer to a request that failed, the first that suits",
    },
];
const _: () = assert!(
    is_same(template::EACH, "each")
        && is_same(template::INDEX, "index")
        && is_same(template::ERROR, "error")
);

/// Most forms of errors of one list.
pub(super) const MAX_ERRORS: usize = 64;
/// Statuses of errors.
pub(super) const LEAST_STATUS: i64 = 400;
pub(super) const LARGEST_STATUS: i64 = 599;

/// Which errors a form is for.
const OF: Key = Key {
    name: "of",
    value: "list of statuses and codes",
    unset: Unset::Means("all others"),
    limit: Limit::Means("such as `[422, \"busy\"]`"),
    doc: "the errors that it is for",
};
/// What an error looks like.
const TEMPLATE_OF_ERROR: Key = Key {
    name: "template",
    value: "table, list or text",
    unset: Unset::Required,
    limit: Limit::Any,
    doc: "what it looks like: `\"{error.detail}\"`, and `code`, `status`, `stage`; `\"{request_id}\"`",
};

/// The keys of a `[[response.error]]`.
pub(super) const ERROR: [Key; 3] = [
    OF,
    Key {
        name: "status",
        value: "whole number",
        unset: Unset::Means("that of the error"),
        limit: Limit::Range(LEAST_STATUS, LARGEST_STATUS),
        doc: "the status of the answer",
    },
    TEMPLATE_OF_ERROR,
];

/// The keys of a `[[response.each_error]]`.
pub(super) const ERROR_OF_EACH: [Key; 2] = [OF, TEMPLATE_OF_ERROR];
const _: () = assert!(is_same(REST, "..."));

/// The keys of `[defaults]`.
pub(super) const DEFAULTS: [Key; 1] = [Key {
    name: "with",
    value: "table",
    unset: Unset::Nothing,
    limit: Limit::Means("options that a stage of the file has"),
    doc: "options for every stage that has one of that name and does not set it itself",
}];

/// The keys of a `[[stage]]`.
pub(super) const STAGE: [Key; 13] = [
    Key {
        name: "uses",
        value: "text",
        unset: Unset::Required,
        limit: Limit::Means("a built-in stage, or `VENDOR/NAME` of a plugin"),
        doc: "what it does",
    },
    Key {
        name: "name",
        value: "text",
        unset: Unset::Means("what it uses"),
        limit: Limit::Means("unlike those of the others, without dots, not `request` or `none`"),
        doc: "what other stages, conditions and messages call it",
    },
    Key {
        name: "enabled",
        value: "bool, or a list of them",
        unset: Unset::Means("true"),
        limit: Limit::Any,
        doc: "false takes it out; of a list all must be true",
    },
    Key {
        name: "with",
        value: "table",
        unset: Unset::Means("those of `[defaults.with]`, else its own"),
        limit: Limit::Means("the options of what it uses"),
        doc: "its options",
    },
    Key {
        name: "inputs",
        value: "table",
        unset: Unset::Means("bound by name and type"),
        limit: Limit::Most(MAX_SOURCES, "sources each"),
        doc: "binds an input by hand: `\"stage.port\"`, `\"request.field\"`, a list of them, or `\"none\"`",
    },
    Key {
        name: "publish",
        value: "table, or `false`",
        unset: Unset::Means("what it publishes by itself"),
        limit: Limit::Means("no pixels, tensors or bytes"),
        doc: "the field of the response that shows an output, or false for none; false alone shows nothing of it",
    },
    Key {
        name: "if",
        value: "text",
        unset: Unset::Means("it always runs"),
        limit: Limit::Most(MAX_EXPRESSION_LEN, "bytes"),
        doc: "a condition: where it is false, or has no value, the stage is skipped",
    },
    Key {
        name: "run",
        value: "text",
        unset: Unset::Word(RUN[0].0),
        limit: Limit::Words(run_words),
        doc: "on demand: only where something that runs takes what it gives",
    },
    Key {
        name: "timeout_ms",
        value: "whole number",
        unset: Unset::Means("the deadline"),
        limit: Limit::Range(1, DAY_MS),
        doc: "the longest that one attempt may run, waiting not counted: 504 beyond",
    },
    Key {
        name: "retry",
        value: "whole number",
        unset: Unset::Number(0),
        limit: Limit::Range(0, MAX_RETRIES as i64),
        doc: "how often it is tried again after what may pass by itself",
    },
    Key {
        name: "on_error",
        value: "text",
        unset: Unset::Word(ON_ERROR[0].0),
        limit: Limit::Words(on_error_words),
        doc: "what its failure means: the request fails, or the stage counts as skipped",
    },
    Key {
        name: "max_in_flight",
        value: "whole number",
        unset: Unset::Nothing,
        limit: Limit::Range(1, MAX_IN_FLIGHT as i64),
        doc: "most runs of it at one time, over all requests; others wait",
    },
    Key {
        name: "max_wait_ms",
        value: "whole number",
        unset: Unset::Means("the deadline"),
        limit: Limit::Range(1, DAY_MS),
        doc: "the longest wait for a place to run: 429 beyond",
    },
];

fn run_words() -> Vec<&'static str> {
    RUN.map(|(word, _)| word).into()
}

fn on_error_words() -> Vec<&'static str> {
    ON_ERROR.map(|(word, _)| word).into()
}

/// What a `[[stage]]` of a file that extends another may say of its place; taken out when the files
/// are laid over each other.
const PLACE: [Key; 2] = [
    Key {
        name: "after",
        value: "text",
        unset: Unset::Means("where it was; a new one at the end"),
        limit: Limit::Means("the name of a stage, and not beside `before`"),
        doc: "moves it right behind that stage",
    },
    Key {
        name: "before",
        value: "text",
        unset: Unset::Means("where it was; a new one at the end"),
        limit: Limit::Means("the name of a stage, and not beside `after`"),
        doc: "moves it right before that stage",
    },
];

/// The keys of a `[[plugin]]`.
pub(super) const PLUGIN: [Key; 2] = [
    Key {
        name: "path",
        value: "text",
        unset: Unset::Required,
        limit: Limit::Means("from the folder of the file"),
        doc: "the library",
    },
    Key {
        name: "sha256",
        value: "text",
        unset: Unset::Required,
        limit: Limit::Means("64 hexadecimal digits"),
        doc: "the SHA-256 that it must have: `omnizap plugins allow --write` says it",
    },
];
const _: () = assert!(DIGITS == 64 && is_same(PLUGINS_FILE, "plugins.toml"));

/// The keys of a `[[test]]`.
pub(super) const TEST: [Key; 6] = [
    Key {
        name: "name",
        value: "text",
        unset: Unset::Required,
        limit: Limit::Means("unlike those of the other tests of the file"),
        doc: "what it shows",
    },
    Key {
        name: "picture",
        value: "text",
        unset: Unset::Nothing,
        limit: Limit::Means(
            "a path from the folder of the file, `\"builtin:NAME\"`, or a `data:` URL",
        ),
        doc: "the file for the one field of the request that takes a file",
    },
    Key {
        name: "request",
        value: "table",
        unset: Unset::Nothing,
        limit: Limit::Means("fields of [request], and what an upload says of itself"),
        doc: "what is sent; of a field that takes a file, as `picture`",
    },
    Key {
        name: "mock",
        value: "table of tables",
        unset: Unset::Means("all stages run"),
        limit: Limit::Means("stages, and of each outputs with their values"),
        doc: "stages that are not run: they give these values, and no others",
    },
    Key {
        name: "fail",
        value: "table",
        unset: Unset::Nothing,
        limit: Limit::Means("stages, and of each the code of an error, such as `\"unavailable\"`"),
        doc: "stages that are not run: they fail so",
    },
    Key {
        name: "expect",
        value: "table",
        unset: Unset::Means("an answer, whatever it says"),
        limit: Limit::Any,
        doc: "what has to come of it",
    },
];

/// What a `[[test]]` may expect.
pub(super) const EXPECT: [Key; 5] = [
    Key {
        name: "status",
        value: "whole number",
        unset: Unset::Means("200, or any with `error`"),
        limit: Limit::Means("a status of HTTP"),
        doc: "the status of the answer",
    },
    Key {
        name: "error",
        value: "text",
        unset: Unset::Means("no error"),
        limit: Limit::Means("a code, such as `\"missing_field\"`"),
        doc: "the error that the request fails with",
    },
    Key {
        name: "ran",
        value: "list of texts",
        unset: Unset::Nothing,
        limit: Limit::Means("stages"),
        doc: "stages that run, mocked ones too",
    },
    Key {
        name: "skipped",
        value: "list of texts, or table",
        unset: Unset::Nothing,
        limit: Limit::Means("stages; in a table each with a part of the reason"),
        doc: "stages that do not run, because they are skipped or off",
    },
    Key {
        name: "answer",
        value: "table",
        unset: Unset::Nothing,
        limit: Limit::Means("places such as `category` or `\"top_labels[0].label\"`"),
        doc: "what is where in the answer: a value, or a table of what holds of it",
    },
];

/// What may be said of a place in the answer of a `[[test]]`, beside a value alone.
pub(super) const CHECK: [Key; 9] = [
    Key {
        name: "equals",
        value: "any",
        unset: Unset::Nothing,
        limit: Limit::Any,
        doc: "it is that, as if the value stood alone; for tables",
    },
    Key {
        name: "about",
        value: "number, or list or table of them",
        unset: Unset::Nothing,
        limit: Limit::Means("only with `within`"),
        doc: "it is that, but for so much in each number",
    },
    Key {
        name: "within",
        value: "number",
        unset: Unset::Nothing,
        limit: Limit::Means("not below 0, and only with `about`"),
        doc: "how far each number may be off",
    },
    Key {
        name: "at_least",
        value: "number",
        unset: Unset::Nothing,
        limit: Limit::Any,
        doc: "it is a number that is not smaller",
    },
    Key {
        name: "at_most",
        value: "number",
        unset: Unset::Nothing,
        limit: Limit::Any,
        doc: "it is a number that is not larger",
    },
    Key {
        name: "contains",
        value: "any",
        unset: Unset::Nothing,
        limit: Limit::Any,
        doc: "a text holds that text; a list has that item, a table meaning one with these members; an object has a member of that name, or these members",
    },
    Key {
        name: "size",
        value: "whole number",
        unset: Unset::Nothing,
        limit: Limit::Any,
        doc: "how many characters, items or members it has",
    },
    Key {
        name: "absent",
        value: "bool",
        unset: Unset::Nothing,
        limit: Limit::Any,
        doc: "true: there is no such place; false: there is, whatever it holds",
    },
    Key {
        name: "null",
        value: "bool",
        unset: Unset::Nothing,
        limit: Limit::Any,
        doc: "true: it is null, which TOML cannot write; false: it is there and is not",
    },
];

/// What the readers of the request accept and what is shown of it here are the same, or this does
/// not compile.
const _: () = {
    let mut at = 0;
    assert!(FIELD.len() == Field::KEYS.len());
    while at < FIELD.len() {
        assert!(is_same(FIELD[at].name, Field::KEYS[at].0));
        at += 1;
    }
    let own = PIPELINE.len() - LIMIT_KEYS.len();
    at = 0;
    while at < LIMIT_KEYS.len() {
        assert!(is_same(PIPELINE[own + at].name, LIMIT_KEYS[at]));
        at += 1;
    }
};

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// The names of keys, for a reader.
pub(super) fn names(keys: &'static [Key]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}

/// What a pipeline has at most, whatever its file says, each with what it is.
pub const BOUNDS: [(&str, u64); 9] = [
    ("bytes of a file", MAX_FILE_LEN),
    ("files that extend each other", MAX_LAYERS as u64),
    ("stages of a pipeline", MAX_STAGES as u64),
    ("plugins of a file", MAX_PLUGINS as u64),
    ("tests of a file", MAX_CASES as u64),
    (
        "variables inside each other's defaults, `${A:-${B:-c}}`",
        MAX_NESTED as u64,
    ),
    ("bytes of an `if`", MAX_EXPRESSION_LEN as u64),
    ("parts of an `if` inside each other", MAX_DEPTH as u64),
    (
        "steps of an `if` for one request; one that takes more has no value",
        MAX_STEPS as u64,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::config::read_pipeline;
    use crate::pipeline::diagnostic::SourceText;
    use crate::pipeline::layers::Layers;
    use crate::pipeline::registry::Registry;

    /// What is wrong with a file.
    fn mistakes(text: &str) -> String {
        let source = SourceText::new("test.toml", text);
        let none = |_: &str, _: &str| Err(String::new());
        let (layers, mistakes) = Layers::parse(&source, &|_| None, &none);
        let Ok(layers) = layers else {
            panic!("{text}: {mistakes}");
        };
        let (_, mistakes) = read_pipeline(&layers, &Registry::default(), &|_| None);
        mistakes.to_string()
    }

    /// A file with a key in a table, as far as the reader of the file alone sees it.
    fn file(table: &Table, key: &Key, value: &str) -> Option<String> {
        let line = format!("{} = {value}", key.name);
        let ty = types_of(key).first().map_or("text", |ty| ty.name());
        Some(match table.title {
            "a field of [request]" if key.name == "type" => format!("[request]\nx = {{ {line} }}"),
            "a field of [request]" => format!("[request]\nx = {{ type = \"{ty}\", {line} }}"),
            "[[stage]]" if key.name == "uses" => format!("[[stage]]\n{line}"),
            "[[stage]]" => format!("[[stage]]\nuses = \"x\"\n{line}"),
            "[[response.error]]" | "[[response.each_error]]" if key.name == "template" => {
                format!("{}\n{line}", table.title)
            }
            "[[response.error]]" | "[[response.each_error]]" => {
                format!("{}\ntemplate = \"\"\n{line}", table.title)
            }
            "[[test]]" if key.name == "name" => format!("[[test]]\n{line}"),
            "[[test]]" => format!("[[test]]\nname = \"x\"\n{line}"),
            "[test.expect]" => format!("[[test]]\nname = \"x\"\n[test.expect]\n{line}"),
            "a place of [test.expect.answer]" => {
                format!("[[test]]\nname = \"x\"\nexpect.answer.x = {{ {line} }}")
            }
            // `extends` is read before, and plugins are.
            "the file" | "[[plugin]]" | "[[stage]] of a file that extends another" => return None,
            title => format!("{title}\n{line}"),
        })
    }

    #[test]
    fn every_key_is_known_to_its_reader_and_within_the_bounds_that_are_shown() {
        let mut bounds = 0;
        for table in &TABLES {
            for key in table.keys {
                let Some(text) = file(table, key, "\"\"") else {
                    continue;
                };
                let said = mistakes(&text);
                assert!(!said.contains("unknown key"), "{text}: {said}");
                let Limit::Range(low, high) = key.limit else {
                    continue;
                };
                let said = file(table, key, &(low - 1).to_string()).map(|text| mistakes(&text));
                let range = format!("from {low} to {high}");
                assert!(said.is_some_and(|said| said.contains(&range)), "{key:?}");
                bounds += 1;
            }
        }
        assert_eq!(bounds, 14);
    }

    #[test]
    fn numbers_are_shown_as_toml_writes_them() {
        for (number, shown) in [
            (0, "0"),
            (4096, "4096"),
            (30_000, "30_000"),
            (1 << 20, "1_048_576"),
        ] {
            assert_eq!(grouped(number), shown);
        }
    }
}

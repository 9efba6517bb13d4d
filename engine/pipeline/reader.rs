//! Reads typed values out of a spanned TOML tree, and collects every mistake on the way.

use std::ops::Range;
use std::time::Duration;

use omnizap_contract::common::names::suggestion;
use omnizap_contract::option::parse_bool;
use serde_json::{Map, Value as Json};
use toml::Spanned;

use super::diagnostic::{
    Diagnostic, Diagnostics, MAX_QUOTED, SAVE_AS_UTF8, SourceText, quoted, shortened,
};
use super::interpolate::{Environment, interpolate};
use super::tree::{self, Item, Mistake, Node, Table};

/// The longest time that a file may set, in milliseconds.
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A file that is being read: its text, the variables it may use, and what was
/// found wrong with it so far.
pub(super) struct Reader<'a> {
    pub(super) source: SourceText,
    pub(super) environment: Environment<'a>,
    pub(super) diagnostics: Diagnostics,
    /// Where it holds secrets.
    pub(super) secrets: Vec<Range<usize>>,
}

/// One value of a TOML table by key, the keys checked.
#[derive(Default)]
pub(super) struct Entries<'t>(Vec<(&'t str, Range<usize>, &'t Node)>);

impl<'t> Entries<'t> {
    pub(super) fn get(&self, key: &str) -> Option<&'t Node> {
        self.0
            .iter()
            .find(|entry| entry.0 == key)
            .map(|entry| entry.2)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'t str, Range<usize>, &'t Node)> {
        self.0.iter().cloned()
    }
}

impl<'a> Reader<'a> {
    /// A file of which nothing was read yet.
    pub(super) fn new(source: &SourceText, environment: Environment<'a>) -> Self {
        Self {
            source: source.clone(),
            environment,
            diagnostics: Diagnostics::default(),
            secrets: Vec::new(),
        }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn at(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.source, span, message)
    }

    /// The tree of the text that begins at a byte of the source, without mistakes; else those are
    /// reported.
    pub(super) fn parse(&mut self, start: usize) -> Option<Table> {
        if let Some((at, what)) = self.source.unreadable() {
            let unreadable = self.at(at..at, what).help(SAVE_AS_UTF8);
            self.report(unreadable);
            return None;
        }
        let (root, mistakes) = tree::parse(&self.source.text[start..], start);
        if mistakes.is_empty() {
            return Some(root);
        }
        for Mistake {
            span,
            message,
            is_of_key,
        } in mistakes
        {
            let wrong = self.at(span, format!("not TOML: {message}"));
            self.report(if is_of_key {
                wrong.without_texts()
            } else {
                wrong.without_likely_secrets()
            });
        }
        None
    }

    /// The entries of a table, in the order of the file; a key that is not among
    /// the valid ones is reported and left out.
    pub(super) fn entries<'t>(
        &mut self,
        table: &'t Table,
        what: &str,
        valid: &[&str],
    ) -> Entries<'t> {
        let help = |key: &str| suggestion(key, valid.iter().copied());
        self.entries_or(table, what, valid, &help)
    }

    /// The same; `help` gives the way out of a key that is not valid.
    pub(super) fn entries_or<'t>(
        &mut self,
        table: &'t Table,
        what: &str,
        valid: &[&str],
        help: &dyn Fn(&str) -> Option<String>,
    ) -> Entries<'t> {
        let entries = self.any_entries(table);
        let (known, unknown): (Vec<_>, Vec<_>) = entries
            .0
            .into_iter()
            .partition(|entry| valid.contains(&entry.0));
        for (key, span, _) in unknown {
            let shown = shortened(key, MAX_QUOTED);
            let unknown = self.at(span, format!("unknown key `{shown}` in {what}"));
            self.report(match help(key) {
                Some(help) => unknown.help(help),
                None => unknown,
            });
        }
        Entries(known)
    }

    /// The entries of a table whose keys are the user's own.
    pub(super) fn any_entries<'t>(&self, table: &'t Table) -> Entries<'t> {
        let entries = table.iter();
        Entries(
            entries
                .map(|(key, value)| (key.get_ref().as_str(), key.span(), value))
                .collect(),
        )
    }

    pub(super) fn table<'t>(&mut self, node: &'t Node, what: &str) -> Option<&'t Table> {
        let table = node.get_ref().as_table();
        if table.is_none() {
            // No text becomes a table, so that what its variables hold does not matter.
            let found = match node.get_ref() {
                Item::String(text) => format!("the string {}", quoted(text)),
                _ => self.found(node),
            };
            self.wrong(node, what, "a table", &found);
        }
        table
    }

    /// Reports a value that is of another type, or that does not spell what it should.
    pub(super) fn wrong_type(&mut self, node: &Node, what: &str, expected: &str) {
        let found = self.found(node);
        self.wrong(node, what, expected, &found);
    }

    fn wrong(&mut self, node: &Node, what: &str, expected: &str, found: &str) {
        let wrong = format!("{what}: expected {expected}, found {found}");
        let wrong = self.at(node.span(), wrong);
        self.report(wrong);
    }

    /// What a message says behind the value of a string with variables: where it is from.
    pub(super) fn whence(&self, node: &Node) -> String {
        self.source.whence(node.span())
    }

    /// A value as a message shows it; a string with what it is once its variables are filled in.
    fn found(&self, node: &Node) -> String {
        match node.get_ref() {
            Item::String(text) => match interpolate(text, self.environment) {
                Ok(filled) if filled != *text => {
                    format!("{}{}", quoted(&filled), self.whence(node))
                }
                _ => format!("the string {}", quoted(text)),
            },
            Item::Integer(integer) => format!("the integer {integer}"),
            Item::HugeInteger(integer) => {
                format!("the integer {}", shortened(integer, MAX_QUOTED))
            }
            Item::Float(float) => format!("the float {}", shortened(float, MAX_QUOTED)),
            Item::Bool(bool) => format!("`{bool}`"),
            Item::Datetime(datetime) => format!("the date {datetime}"),
            Item::List(_) => "a list".into(),
            Item::Table(_) => "a table".into(),
        }
    }

    /// A string with its variables filled in.
    pub(super) fn string(&mut self, node: &Node, what: &str) -> Option<String> {
        let Some(text) = node.get_ref().as_str() else {
            self.wrong_type(node, what, "a string");
            return None;
        };
        self.fill(text, node.span())
    }

    pub(super) fn spanned_string(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        let text = self.string(node, what)?;
        Some(Spanned::new(node.span(), text))
    }

    fn fill(&mut self, text: &str, span: Range<usize>) -> Option<String> {
        match interpolate(text, self.environment) {
            Ok(filled) => Some(filled.into_owned()),
            Err(error) => {
                let wrong = self.at(span, error.to_string()).help(error.help());
                self.report(wrong);
                None
            }
        }
    }

    /// A bool, or a string that spells one once its variables are filled in.
    pub(super) fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.get_ref() {
            Item::Bool(bool) => Some(*bool),
            Item::String(text) => {
                let filled = self.fill(text, node.span())?;
                let bool = parse_bool(&filled);
                if bool.is_none() {
                    self.wrong_type(node, what, "true or false");
                }
                bool
            }
            _ => {
                self.wrong_type(node, what, "true or false");
                None
            }
        }
    }

    /// A bool, or a list of them that is true where all are.
    pub(super) fn all(&mut self, node: &Node, what: &str) -> Option<bool> {
        let Item::List(items) = node.get_ref() else {
            return self.bool(node, what);
        };
        let bools: Vec<_> = items.iter().map(|item| self.bool(item, what)).collect();
        bools
            .into_iter()
            .try_fold(true, |all, bool| Some(all && bool?))
    }

    /// A whole number within inclusive bounds, or a string that spells one.
    pub(super) fn integer(&mut self, node: &Node, what: &str, bounds: (i64, i64)) -> Option<i64> {
        let expected = format!("a whole number from {} to {}", bounds.0, bounds.1);
        let integer = match node.get_ref() {
            Item::Integer(integer) => Some(*integer),
            Item::String(text) => self.fill(text, node.span())?.trim().parse().ok(),
            _ => None,
        };
        let integer = integer.filter(|integer| (bounds.0..=bounds.1).contains(integer));
        if integer.is_none() {
            self.wrong_type(node, what, &expected);
        }
        integer
    }

    /// A duration in milliseconds, at least one and at most a day.
    pub(super) fn milliseconds(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let milliseconds = self.integer(node, what, (1, DAY_MS))?;
        Some(Duration::from_millis(milliseconds.unsigned_abs()))
    }

    /// Any value but a table as JSON, the variables of its strings filled in.
    pub(super) fn json(&mut self, node: &Node, what: &str) -> Option<Json> {
        self.json_of(node, what, false)
    }

    /// Any value as JSON, tables as objects.
    pub(super) fn any_json(&mut self, node: &Node, what: &str) -> Option<Json> {
        self.json_of(node, what, true)
    }

    fn json_of(&mut self, node: &Node, what: &str, with_tables: bool) -> Option<Json> {
        Some(match node.get_ref() {
            Item::String(text) => Json::from(self.fill(text, node.span())?),
            Item::Bool(bool) => Json::from(*bool),
            Item::Integer(integer) => Json::from(*integer),
            Item::HugeInteger(_) => {
                self.wrong_type(node, what, "an integer of at most 64 bits");
                return None;
            }
            Item::Float(float) => match float.parse::<f64>() {
                Ok(float) if float.is_finite() => Json::from(float),
                _ => {
                    self.wrong_type(node, what, "a finite number");
                    return None;
                }
            },
            Item::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items.iter() {
                    list.push(self.json_of(item, what, with_tables)?);
                }
                Json::Array(list)
            }
            Item::Table(table) if with_tables => {
                let mut object = Map::new();
                for (key, value) in table.iter() {
                    let value = self.json_of(value, what, with_tables)?;
                    object.insert(key.get_ref().clone(), value);
                }
                Json::Object(object)
            }
            Item::Datetime(_) | Item::Table(_) => {
                let expected = if with_tables {
                    "a string, a number, a bool, a list or a table"
                } else {
                    "a string, a number, a bool or a list"
                };
                self.wrong_type(node, what, expected);
                return None;
            }
        })
    }
}

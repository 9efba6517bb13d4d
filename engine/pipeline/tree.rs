//! A TOML file as a tree that owns its text. Spans count from the beginning of all the texts of a
//! pipeline, so that trees of several files can be laid over each other and a mistake still points
//! into the file that holds it.

mod mistakes;

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) use self::mistakes::Mistake;

/// A value with its place.
pub(super) type Node = Spanned<Item>;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Item {
    String(String),
    Integer(i64),
    /// An integer of more than 64 bits, as it is written.
    HugeInteger(String),
    /// A float, as it is written.
    Float(String),
    Bool(bool),
    /// A date or a time, as it is written.
    Datetime(String),
    List(Vec<Node>),
    Table(Table),
}

/// Keys and their values, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(Vec<(Spanned<String>, Node)>);

/// Parses a text whose first byte has the place `start` among all texts. What could be read comes
/// with the mistakes.
pub(super) fn parse(text: &str, start: usize) -> (Table, Vec<Mistake>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut mistakes = mistakes::mistakes(text, &errors);
    for mistake in &mut mistakes {
        mistake.span = shifted(mistake.span.clone(), start);
    }
    (table(root.get_ref(), start), mistakes)
}

fn shifted(span: Range<usize>, start: usize) -> Range<usize> {
    span.start + start..span.end + start
}

fn table(table: &DeTable<'_>, start: usize) -> Table {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let span = shifted(key.span(), start);
            let key = Spanned::new(span, Cow::clone(key.get_ref()).into_owned());
            (key, node(value, start))
        })
        .collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    Table(entries)
}

fn node(value: &Spanned<DeValue<'_>>, start: usize) -> Node {
    let item = match value.get_ref() {
        DeValue::String(text) => Item::String(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Item::Integer(integer),
            Err(_) => Item::HugeInteger(integer.to_string()),
        },
        DeValue::Float(float) => Item::Float(float.as_str().to_owned()),
        DeValue::Boolean(bool) => Item::Bool(*bool),
        DeValue::Datetime(datetime) => Item::Datetime(datetime.to_string()),
        DeValue::Array(items) => Item::List(items.iter().map(|item| node(item, start)).collect()),
        DeValue::Table(entries) => Item::Table(table(entries, start)),
    };
    Spanned::new(shifted(value.span(), start), item)
}

impl Item {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_list(&self) -> Option<&[Node]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn as_table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.0.iter().find(|(known, _)| known.get_ref() == key);
        entry.map(|(_, node)| node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Spanned<String>, Node)> {
        self.0.iter()
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Node> {
        let place = self
            .0
            .iter()
            .position(|(known, _)| known.get_ref() == key)?;
        Some(self.0.remove(place).1)
    }

    /// Puts a value in the place of the one of the same key, or at the end.
    pub(super) fn insert(&mut self, key: Spanned<String>, node: Node) {
        match self.0.iter_mut().find(|entry| entry.0 == key) {
            Some(entry) => *entry = (key, node),
            None => self.0.push((key, node)),
        }
    }

    /// The value of a key, to be changed.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Item> {
        let mut entries = self.0.iter_mut();
        let entry = entries.find(|(known, _)| known.get_ref() == key);
        entry.map(|(_, node)| node.get_mut())
    }

    /// Lays another table over this one: tables key by key for `depth` levels, else the other's
    /// values take the place of these.
    pub(super) fn lay_over(&mut self, over: Self, depth: usize) {
        for (key, node) in over.0 {
            let below = self.get_mut(key.get_ref());
            match (below, node.into_parts()) {
                (Some(Item::Table(below)), (_, Item::Table(over))) if depth > 0 => {
                    below.lay_over(over, depth - 1);
                }
                (_, (span, item)) => self.insert(key, Spanned::new(span, item)),
            }
        }
    }
}

/// A node taken apart.
trait IntoParts {
    fn into_parts(self) -> (Range<usize>, Item);
}

impl IntoParts for Node {
    fn into_parts(self) -> (Range<usize>, Item) {
        (self.span(), self.into_inner())
    }
}

impl IntoIterator for Table {
    type Item = (Spanned<String>, Node);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

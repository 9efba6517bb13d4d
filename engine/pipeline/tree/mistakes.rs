//! What the TOML parser found wrong, for people: each with a place, a key that is there twice with
//! the place of the first, and without what only follows from another.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use crate::pipeline::diagnostic::{MAX_QUOTED, shortened};

/// Most keys that are there twice that are told; each costs a parse or two.
const MAX_CLASHES: usize = 16;

/// How the parser calls a key that is there already.
const DUPLICATE: &str = "duplicate key";
/// What is said of the one error that the parser gives without a place.
const TOO_DEEP: &str = "a key has too many parts";

/// What is wrong with a text.
#[derive(Debug)]
pub(in crate::pipeline) struct Mistake {
    /// Its bytes.
    pub(in crate::pipeline) span: Range<usize>,
    /// What it is.
    pub(in crate::pipeline) message: String,
    /// True where a key is at fault, whatever its value.
    pub(in crate::pipeline) is_of_key: bool,
}

impl Mistake {
    fn of_key(span: Range<usize>, message: String) -> Self {
        Self {
            span,
            message,
            is_of_key: true,
        }
    }
}

/// The mistakes of a text, by the parser's errors.
pub(super) fn mistakes(text: &str, errors: &[Error]) -> Vec<Mistake> {
    let other = errors.iter().filter(|error| !is_clash(error));
    let mut found: Vec<Mistake> = Vec::new();
    for error in other {
        match error.span() {
            Some(span) => found.push(Mistake {
                span,
                message: error.message().trim().to_owned(),
                is_of_key: false,
            }),
            None if found.iter().any(|it| it.message == TOO_DEEP) => {}
            None => found.push(Mistake::of_key(too_deep(text), TOO_DEEP.to_owned())),
        }
    }
    // After broken syntax a key may be in a table that it is not meant for.
    let trusted = found.iter().map(|it| it.span.start).min();
    if errors.iter().any(is_clash) {
        let clashes = clashes(text).into_iter();
        found.extend(clashes.filter(|it| trusted.is_none_or(|end| it.span.start < end)));
    }
    found
}

/// The first line of a text with which the parser gives an error without a place.
fn too_deep(text: &str) -> Range<usize> {
    let ends: Vec<usize> = text
        .match_indices('\n')
        .map(|(newline, _)| newline + 1)
        .chain([text.len()])
        .collect();
    let is_well = |end: &usize| {
        let (_, errors) = DeTable::parse_recoverable(&text[..*end]);
        errors.iter().all(|error| error.span().is_some())
    };
    let line = ends.partition_point(is_well).min(ends.len() - 1);
    let start = line.checked_sub(1).map_or(0, |before| ends[before]);
    let line = &text[start..ends[line]];
    let start = start + line.len() - line.trim_start().len();
    start..start + line.trim().len()
}

/// True for a key that is there already, or that makes a table of what is none.
fn is_clash(error: &Error) -> bool {
    let message = error.message();
    message.starts_with(DUPLICATE) || message.starts_with("cannot extend value of type")
}

/// The keys that clash with an earlier one. Each is given another name before the next is looked
/// for, so that what is in a table of that name clashes with nothing.
fn clashes(text: &str) -> Vec<Mistake> {
    let mut renamed = text.to_owned();
    let mut keys = Vec::new();
    let mut looked_at = 0;
    while keys.len() < MAX_CLASHES {
        let Some((span, message)) = next_clash(&renamed, looked_at) else {
            break;
        };
        // Whatever was renamed is before the key, so that all counts alike from the end.
        let original = |at: usize| text.len() - (renamed.len() - at);
        let original = original(span.start)..original(span.end);
        let name = format!("\"\\u0000{}\"", keys.len());
        looked_at = span.start + name.len();
        renamed.replace_range(span.clone(), &name);
        keys.push((span.start, original, message));
    }
    let (root, _) = DeTable::parse_recoverable(&renamed);
    let mut found: Vec<Mistake> = Vec::new();
    let mut of_two_kinds: Vec<usize> = Vec::new();
    for (at, original, message) in keys {
        let key = &text[original.clone()];
        let first = first_in(root.get_ref(), at, &unquoted(key)).filter(|first| *first < at);
        let clash = Clash {
            message,
            key,
            header: header(text, original.start),
            line: line_of(text, original.start),
            first: first.map(|first| First {
                line: line_of(&renamed, first),
                header: header(&renamed, first),
            }),
        };
        if let Some(first) = clash.first_of_another_kind() {
            // The many `[[stage]]` after one `[stage]` are one mistake.
            if of_two_kinds.contains(&first.line) {
                continue;
            }
            of_two_kinds.push(first.line);
        }
        found.push(Mistake::of_key(original, clash.message()));
    }
    found
}

/// A key that is there already.
struct Clash<'t> {
    /// What the parser says.
    message: String,
    /// As it is written.
    key: &'t str,
    line: usize,
    /// The header of a table that it is in.
    header: Option<&'t str>,
    first: Option<First<'t>>,
}

/// The first of two keys.
struct First<'t> {
    line: usize,
    header: Option<&'t str>,
}

impl Clash<'_> {
    /// The first where one of the two is `[name]` and the other `[[name]]`.
    fn first_of_another_kind(&self) -> Option<&First<'_>> {
        let is_list = |header: &str| header.starts_with("[[");
        let first = self.first.as_ref()?;
        (is_list(self.header?) != is_list(first.header?)).then_some(first)
    }

    fn message(&self) -> String {
        let key = shortened(self.key, MAX_QUOTED);
        let header = self.header.map(|header| shortened(header, MAX_QUOTED));
        if let (Some(first), Some(header)) = (self.first_of_another_kind(), &header) {
            let other = if header.starts_with("[[") {
                format!("[{key}]")
            } else {
                format!("[[{key}]]")
            };
            let line = first.line;
            return format!("`{header}` is `{other}` at line {line}: write both the same way");
        }
        let what = match header {
            Some(header) if self.message == DUPLICATE => format!("duplicate table `{header}`"),
            None if self.message == DUPLICATE => format!("{DUPLICATE} `{key}`"),
            _ => format!("{}, `{key}`", self.message),
        };
        match &self.first {
            Some(first) if first.line == self.line => {
                format!("{what}: the first is in the same line")
            }
            Some(first) => format!("{what}: the first is at line {}", first.line),
            None => what,
        }
    }
}

/// The first clash from a byte on, and what the parser says of it.
fn next_clash(text: &str, from: usize) -> Option<(Range<usize>, String)> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let clashes = errors.iter().filter(|error| is_clash(error));
    let placed = clashes.filter_map(|error| Some((error.span()?, error.message())));
    let (span, message) = placed
        .filter(|(span, _)| span.start >= from)
        .min_by_key(|(span, _)| span.start)?;
    Some((span, message.trim().to_owned()))
}

/// The key that this is a way to write.
fn unquoted(key: &str) -> String {
    let alone = format!("{key} = 0");
    let (alone, _) = DeTable::parse_recoverable(&alone);
    let name = alone.get_ref().keys().next();
    name.map(|name| name.get_ref().to_string())
        .unwrap_or_default()
}

/// The first byte of the key that is beside the one at this byte and has that name.
fn first_in(table: &DeTable<'_>, at: usize, name: &str) -> Option<usize> {
    if table.keys().any(|key| key.span().start == at) {
        let first = table.keys().find(|key| key.get_ref() == name)?;
        return Some(first.span().start);
    }
    table
        .iter()
        .find_map(|(_, value)| first_within(value, at, name))
}

fn first_within(value: &Spanned<DeValue<'_>>, at: usize, name: &str) -> Option<usize> {
    match value.get_ref() {
        DeValue::Table(table) => first_in(table, at, name),
        DeValue::Array(items) => items.iter().find_map(|item| first_within(item, at, name)),
        _ => None,
    }
}

/// From 1.
fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The header of a table that a key is in, with its brackets.
fn header(text: &str, key: usize) -> Option<&str> {
    let start = text[..key].rfind('\n').map_or(0, |newline| newline + 1);
    let before = text[start..key].trim_start();
    if !before.starts_with('[') || before.contains(['=', '{', ',']) {
        return None;
    }
    let close = if before.starts_with("[[") { "]]" } else { "]" };
    let line = text[start..].lines().next()?.trim_start();
    let end = line.find(close)? + close.len();
    Some(&line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mistakes of a text: the line of each, what is marked there, and what is said.
    fn found(text: &str) -> Vec<(usize, &str, String)> {
        let (_, errors) = DeTable::parse_recoverable(text);
        let mut found = mistakes(text, &errors);
        found.sort_by_key(|it| it.span.start);
        let placed = found.into_iter();
        placed
            .map(|it| (line_of(text, it.span.start), &text[it.span], it.message))
            .collect()
    }

    #[track_caller]
    fn check(text: &str, wanted: &[(usize, &str, &str)]) {
        let found = found(text);
        let found: Vec<_> = found
            .iter()
            .map(|(at, key, said)| (*at, *key, &**said))
            .collect();
        assert_eq!(found, wanted, "{text}");
    }

    #[test]
    fn a_key_that_is_there_twice_is_told_with_the_first() {
        check(
            "a = 1\nb = 2\na = 3\n\"a\" = 4\n",
            &[
                (3, "a", "duplicate key `a`: the first is at line 1"),
                (4, "\"a\"", "duplicate key `\"a\"`: the first is at line 1"),
            ],
        );
        check(
            "x = { type = 1, type = 2 }",
            &[(
                1,
                "type",
                "duplicate key `type`: the first is in the same line",
            )],
        );
        check(
            "a.b = 1\na.b.c = 2\n",
            &[(
                2,
                "b",
                "cannot extend value of type integer with a dotted key, `b`: the first is at line 1",
            )],
        );
        check(
            "a = [1, { x = 1,\n x = 2 }]",
            &[(2, "x", "duplicate key `x`: the first is at line 1")],
        );
    }

    #[test]
    fn what_is_in_a_table_that_is_there_twice_clashes_with_nothing() {
        let table = "duplicate table `[request]`: the first is at line 1";
        check(
            "[request]\nx = 1\n[request]\nx = 2\n[request] # again\nx = 3\n",
            &[(3, "request", table), (5, "request", table)],
        );
        check(
            "[[stage]]\nuses = 1\nwith = { a = 1 }\n[stage.with]\na = 2\n[stage.with]\na = 3\n",
            &[
                (
                    4,
                    "with",
                    "duplicate table `[stage.with]`: the first is at line 3",
                ),
                (
                    6,
                    "with",
                    "duplicate table `[stage.with]`: the first is at line 3",
                ),
            ],
        );
        // A key that is there twice in the second table is a mistake of its own.
        check(
            "[a]\nx = 1\n[a]\nx = 2\nx = 3\n",
            &[
                (3, "a", "duplicate table `[a]`: the first is at line 1"),
                (5, "x", "duplicate key `x`: the first is at line 4"),
            ],
        );
    }

    #[test]
    fn a_table_and_a_list_of_tables_of_one_name_are_one_mistake() {
        check(
            "[stage]\nuses = 1\n[[stage]]\nuses = 2\n[[stage]]\nuses = 3\n",
            &[(
                3,
                "stage",
                "`[[stage]]` is `[stage]` at line 1: write both the same way",
            )],
        );
        check(
            "[[stage]]\nuses = 1\n[stage]\nuses = 2\n[[stage]]\nuses = 3\n",
            &[(
                3,
                "stage",
                "`[stage]` is `[[stage]]` at line 1: write both the same way",
            )],
        );
    }

    #[test]
    fn after_broken_syntax_a_key_that_is_there_twice_says_nothing() {
        let text = "[a]\nx = { b = 1\n[a]\nx = 2\n";
        let found = found(text);
        assert!(!found.is_empty());
        let mut said = found.iter().map(|(_, _, said)| said);
        assert!(said.all(|said| !said.starts_with("duplicate")), "{found:?}");
        let text = "a = 1\na = 2\nb = \n";
        check(
            &text.replace("b = ", "b = 1"),
            &[(2, "a", "duplicate key `a`: the first is at line 1")],
        );
    }

    #[test]
    fn only_so_many_keys_are_looked_for() {
        let text = "a = 1\n".repeat(1000);
        assert_eq!(found(&text).len(), MAX_CLASHES);
    }

    #[test]
    fn a_key_of_too_many_parts_has_a_place() {
        let deep = format!("[a{}]", ".a".repeat(3000));
        let text = format!("b = 1\n\n {deep} # so deep\nc = 1\n");
        check(&text, &[(3, &format!("{deep} # so deep"), TOO_DEEP)]);
        check(&deep, &[(1, &deep, TOO_DEEP)]);
        let text = format!("b = \"\"\"\n[a]\n\"\"\"\n{0}\n{0}\n", &deep);
        check(&text, &[(4, &deep, TOO_DEEP)]);
    }
}

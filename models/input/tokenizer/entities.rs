//! HTML character references, as Python's `html.unescape` and ftfy read them.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The named references of HTML: a name, with its semicolon where it needs one, and code points.
const TABLE: &str = include_str!("entities.txt");

static NAMED: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    TABLE
        .lines()
        .filter_map(|line| {
            let (name, points) = line.split_once(' ')?;
            let characters = points
                .split(' ')
                .filter_map(|point| char::from_u32(u32::from_str_radix(point, 16).ok()?));
            Some((name, characters.collect()))
        })
        .collect()
});

/// The longest name of the table, in bytes.
const LONGEST: usize = 32;

/// The characters of bytes 0x80 to 0x9F in Windows-1252; the unassigned stand for themselves.
pub(super) const WINDOWS_1252: [char; 32] = [
    '\u{20AC}', '\u{81}', '\u{201A}', '\u{192}', '\u{201E}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2C6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8D}', '\u{17D}', '\u{8F}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201C}', '\u{201D}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2DC}', '\u{2122}', '\u{161}', '\u{203A}', '\u{153}', '\u{9D}', '\u{17E}', '\u{178}',
];

/// Replaces references as a browser does: numbers with or without semicolon, names by the longest
/// prefix that is one.
pub(super) fn unescape(text: &str) -> String {
    replace(text, |rest| {
        if let Some(number) = rest.strip_prefix('#') {
            let (value, length) = number_reference(number)?;
            return Some((numbered(value), 1 + length));
        }
        let name = name_prefix(rest, LONGEST);
        let semicolon = usize::from(rest[name.len()..].starts_with(';') && name.len() < LONGEST);
        let name = &rest[..name.len() + semicolon];
        if let Some(characters) = NAMED.get(name) {
            return Some((characters.clone(), name.len()));
        }
        let lengths = name.char_indices().map(|(at, _)| at).filter(|&at| at > 1);
        let prefix = lengths
            .rev()
            .find_map(|at| Some((NAMED.get(&name[..at])?, at)));
        prefix.map(|(characters, length)| (characters.clone(), length))
    })
}

/// Replaces the references that are unambiguous: those that end in a semicolon, and names in
/// capitals whose small form is one (ftfy's `unescape_html`).
pub(super) fn unescape_strictly(text: &str) -> String {
    replace(text, |rest| {
        let body = rest.strip_prefix('#').unwrap_or(rest);
        let length = body.bytes().take_while(u8::is_ascii_alphanumeric).count();
        if !(1..=24).contains(&length) || !body[length..].starts_with(';') {
            return None;
        }
        let whole = rest.len() - body.len() + length + 1;
        if rest.starts_with('#') {
            let (value, read) = number_reference(body)?;
            let complete = read == length + 1;
            return complete.then(|| (numbered(value), whole));
        }
        let name = &rest[..whole];
        if let Some(characters) = NAMED.get(name) {
            return Some((characters.clone(), whole));
        }
        let small = name.to_ascii_lowercase();
        let capital = name == name.to_ascii_uppercase()
            && unescape(&format!("&{name}")) == format!("&{name}");
        let characters = capital.then(|| NAMED.get(small.as_str())).flatten()?;
        Some((characters.to_uppercase(), whole))
    })
}

/// Copies `text`, asking `reference` what the text after each `&` stands for and how long it is.
fn replace(text: &str, reference: impl Fn(&str) -> Option<(String, usize)>) -> String {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        output.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match reference(rest) {
            Some((characters, length)) => {
                output.push_str(&characters);
                rest = &rest[length..];
            }
            None => output.push('&'),
        }
    }
    output.push_str(rest);
    output
}

/// The longest start of `text` that could be a name, at most `most` characters.
fn name_prefix(text: &str, most: usize) -> &str {
    let stop = |c: char| matches!(c, '\t' | '\n' | '\u{C}' | ' ' | '<' | '&' | '#' | ';');
    let end = text
        .char_indices()
        .take(most)
        .find(|(_, c)| stop(*c))
        .map(|(at, _)| at);
    let end = end.unwrap_or_else(|| {
        text.char_indices()
            .nth(most)
            .map_or(text.len(), |(at, _)| at)
    });
    &text[..end]
}

/// The value of `123;` or `x7B;` and how many bytes it takes; values beyond Unicode are 0x110000.
fn number_reference(text: &str) -> Option<(u32, usize)> {
    let (digits, radix) = match text.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let count = digits
        .chars()
        .take_while(|digit| digit.is_digit(radix))
        .count();
    if count == 0 {
        return None;
    }
    let value = digits[..count]
        .chars()
        .filter_map(|digit| digit.to_digit(radix))
        .fold(0u32, |value, digit| (value * radix + digit).min(0x11_0000));
    let semicolon = usize::from(digits[count..].starts_with(';'));
    Some((value, text.len() - digits.len() + count + semicolon))
}

/// What a number stands for: browsers read 0x80 to 0x9F as Windows-1252, and drop what is no text.
fn numbered(value: u32) -> String {
    match value {
        0 | 0xD800..=0xDFFF | 0x11_0000.. => '\u{FFFD}'.to_string(),
        0x0D => '\r'.to_string(),
        0x80..=0x9F => WINDOWS_1252[(value - 0x80) as usize].to_string(),
        0x01..=0x08 | 0x0B | 0x0E..=0x1F | 0x7F | 0xFDD0..=0xFDEF => String::new(),
        _ if value & 0xFFFE == 0xFFFE => String::new(),
        _ => char::from_u32(value).map(String::from).unwrap_or_default(),
    }
}

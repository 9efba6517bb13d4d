//! Reads the plain part of YAML that the files of `deploy` are written in: mappings and lists by
//! indentation, quoted and plain scalars, lists in brackets, comments. All else is a mistake, so
//! that no file says what a reader of another version takes for something else.

use serde_json::{Map, Value as Json};

/// A line that says something.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

/// The one document of a file.
pub(super) fn read(text: &str) -> Result<Json, String> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (number, kept) = (index + 1, without_comment(line).trim_end());
        let text = kept.trim_start_matches(' ');
        if text.starts_with('\t') || text == "---" {
            return Err(format!(
                "line {number}: a tab or a second document: {text:?}"
            ));
        }
        if !text.is_empty() {
            let indent = kept.len() - text.len();
            lines.push(Line {
                number,
                indent,
                text,
            });
        }
    }
    let mut rest = lines.as_slice();
    let indent = rest.first().ok_or("an empty file")?.indent;
    let value = block(&mut rest, indent)?;
    match rest.first() {
        None => Ok(value),
        Some(line) => Err(format!(
            "line {}: at another depth: {}",
            line.number, line.text
        )),
    }
}

/// A comment begins at a `#` after a blank, outside quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, char) in line.char_indices() {
        match quote {
            Some(open) if char == open => quote = None,
            Some(_) => {}
            None if char == '#' && before.is_whitespace() => return &line[..at],
            None if "'\"".contains(char) && !before.is_alphanumeric() => quote = Some(char),
            None => {}
        }
        before = char;
    }
    line
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// A key and what stands behind it.
fn entry(text: &str) -> Option<(&str, &str)> {
    let (key, rest) = text.split_once(':')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let is_key = !key.is_empty() && key.chars().all(is_plain);
    (is_key && (rest.is_empty() || rest.starts_with(' '))).then(|| (key, rest.trim_start()))
}

fn block(lines: &mut &[Line<'_>], indent: usize) -> Result<Json, String> {
    let first = lines.first().ok_or("nothing where a value was expected")?;
    if is_item(first.text) {
        return list(lines, indent);
    }
    if entry(first.text).is_some() {
        return mapping(lines, indent);
    }
    let value = scalar(first.text).map_err(|error| format!("line {}: {error}", first.number))?;
    *lines = &lines[1..];
    Ok(value)
}

fn list(lines: &mut &[Line<'_>], indent: usize) -> Result<Json, String> {
    let mut found = Vec::new();
    while let Some(line) = lines.first().copied() {
        if line.indent != indent || !is_item(line.text) {
            break;
        }
        let inner = line.text[1..].trim_start();
        if inner.is_empty() {
            return Err(format!("line {}: an item without a value", line.number));
        }
        // What stands behind the dash is a line of its own, and what follows at its depth is of it.
        let deeper = indent + line.text.len() - inner.len();
        let mut own = vec![Line {
            indent: deeper,
            text: inner,
            ..line
        }];
        let below = lines[1..].iter().take_while(|line| line.indent > indent);
        own.extend(below.copied());
        *lines = &lines[own.len()..];
        let mut rest = own.as_slice();
        found.push(block(&mut rest, deeper)?);
        if let Some(line) = rest.first() {
            return Err(format!("line {}: at another depth", line.number));
        }
    }
    Ok(Json::Array(found))
}

fn mapping(lines: &mut &[Line<'_>], indent: usize) -> Result<Json, String> {
    let mut found = Map::new();
    while let Some(line) = lines.first().copied() {
        if line.indent != indent || is_item(line.text) {
            break;
        }
        let wrong = |what: &str| format!("line {}: {what}: {}", line.number, line.text);
        let (key, rest) = entry(line.text).ok_or_else(|| wrong("no key"))?;
        *lines = &lines[1..];
        let next = lines.first().copied();
        let value = match next {
            _ if !rest.is_empty() => scalar(rest).map_err(|error| wrong(&error))?,
            Some(next) if next.indent > indent => block(lines, next.indent)?,
            Some(next) if next.indent == indent && is_item(next.text) => list(lines, indent)?,
            _ => Json::Null,
        };
        if found.insert(key.to_owned(), value).is_some() {
            return Err(wrong("twice"));
        }
    }
    Ok(Json::Object(found))
}

fn scalar(text: &str) -> Result<Json, String> {
    let inside = |open: char, close: char| text.strip_prefix(open)?.strip_suffix(close);
    if text.starts_with('"') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    if let Some(inner) = inside('\'', '\'') {
        return Ok(Json::from(inner.replace("''", "'")));
    }
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|_| "quote what is in brackets".to_owned());
    }
    if text.starts_with(|c: char| "'{&*!|>%@`?".contains(c)) || text.contains(": ") {
        return Err("quote it".to_owned());
    }
    Ok(match text {
        "true" => Json::from(true),
        "false" => Json::from(false),
        // YAML 1.1 takes these for true or false, or for nothing.
        "yes" | "no" | "on" | "off" | "null" | "~" => return Err("quote it".to_owned()),
        _ => text.parse::<i64>().map_or_else(|_| text.into(), Json::from),
    })
}

#[test]
fn what_is_plain_is_read_and_what_is_not_is_a_mistake() {
    let text =
        "# about\na: 1\nb:\n  - c: x # why\n    d: \"y # z\"\n  - 'it''s'\ne:\n- [\"f\"]\ng:\n";
    let expected = serde_json::json!({
        "a": 1, "b": [{ "c": "x", "d": "y # z" }, "it's"], "e": [["f"]], "g": null,
    });
    assert_eq!(read(text), Ok(expected));
    for wrong in [
        "",
        "a: 1\na: 2\n",
        "a:\n\t- b\n",
        "a: 1\n  b: 2\n",
        "a:\n    b: 1\n  c: 2\n",
        "a: |\n  text\n",
        "a: b: c\n",
        "a: [b]\n",
        "a: yes\n",
        "a: \"b\n",
        "a\n---\nb\n",
        "- a\nb: 1\n",
    ] {
        assert!(read(wrong).is_err(), "{wrong:?}");
    }
}

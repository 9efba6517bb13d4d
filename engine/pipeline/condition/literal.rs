//! Where a place of a text is in the TOML string that spells it.

use std::ops::Range;

/// Where a range of the text that the TOML string at `at` spells is among all the texts.
pub(crate) fn place_of(texts: &str, at: &Range<usize>, range: &Range<usize>) -> Range<usize> {
    let literal = texts.get(at.clone()).unwrap_or_default();
    let place = place_in_literal(literal, range);
    at.start + place.start..at.start + place.end
}

/// The bytes of a TOML string, its quotes included, that spell a range of its text. The whole
/// string where that cannot be told.
fn place_in_literal(literal: &str, range: &Range<usize>) -> Range<usize> {
    let quotes = ["\"\"\"", "'''", "\"", "'"];
    let Some(quote) = quotes.into_iter().find(|quote| literal.starts_with(quote)) else {
        return 0..literal.len();
    };
    let Some(inner) = literal.get(quote.len()..literal.len().saturating_sub(quote.len())) else {
        return 0..literal.len();
    };
    let mut at = quote.len();
    let mut rest = inner;
    // A line end right behind the opening quotes belongs to them.
    if quote.len() == 3 {
        let trimmed = rest
            .strip_prefix("\r\n")
            .or_else(|| rest.strip_prefix('\n'));
        at += rest.len() - trimmed.unwrap_or(rest).len();
        rest = trimmed.unwrap_or(rest);
    }
    let has_escapes = quote.starts_with('"');
    let (mut text, mut start, mut end) = (0, None, None);
    while let Some(char) = rest.chars().next() {
        let (written, spelt) = if char == '\\' && has_escapes {
            escape(rest)
        } else if rest.starts_with("\r\n") {
            // TOML's parser makes one line end of it.
            (2, 1)
        } else {
            (char.len_utf8(), char.len_utf8())
        };
        // What spells nothing belongs to neither side.
        if spelt > 0 && text >= range.start {
            start.get_or_insert(at);
        }
        if spelt > 0 && text >= range.end {
            end.get_or_insert(at);
        }
        at += written;
        text += spelt;
        rest = rest.get(written..).unwrap_or_default();
    }
    let start = start.unwrap_or(at);
    start..end.unwrap_or(at).max(start)
}

/// How many bytes an escape is long, and how many its character is.
fn escape(rest: &str) -> (usize, usize) {
    let digits = match rest.as_bytes().get(1) {
        Some(b'u') => 4,
        Some(b'U') => 8,
        Some(b'x') => 2,
        Some(byte) if byte.is_ascii_whitespace() => {
            // A line end behind a backslash goes, and the blanks behind it.
            let blanks = rest[1..].find(|char: char| !char.is_ascii_whitespace());
            return (1 + blanks.unwrap_or(rest.len() - 1), 0);
        }
        Some(_) => return (2, 1),
        None => return (1, 0),
    };
    let char = rest.get(2..2 + digits);
    let char = char.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let char = char.and_then(char::from_u32);
    (2 + digits, char.map_or(1, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::place_in_literal;

    #[test]
    fn a_place_is_found_whatever_the_quotes() {
        for (literal, range, expected) in [
            (r#""a == b""#, 5..6, "b"),
            ("'a == b'", 0..1, "a"),
            ("\"\"\"\na &&\nb\"\"\"", 5..6, "b"),
            ("'''\r\na &&\r\nb'''", 5..6, "b"),
            (r#""a == \"x\" && b""#, 12..13, "b"),
            (r#""\u00e9 && b""#, 6..7, "b"),
            ("\"\"\"a && \\\n   b\"\"\"", 5..6, "b"),
            (r#""ab""#, 2..2, ""),
        ] {
            let place = place_in_literal(literal, &range);
            assert_eq!(&literal[place], expected, "{literal}");
        }
    }
}

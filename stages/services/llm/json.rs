//! JSON as Python's reader takes it, and a little more: what language models and their servers
//! send is not always JSON by the letter.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value as Json;

/// Reads a text.
///
/// Beside JSON it takes what Python takes: `NaN` and infinities (both become null), and halves of
/// surrogate pairs. And what models write all the same: commas at the end of a list or an object,
/// control characters and needless backslashes within quotes.
///
/// # Errors
/// What [`serde_json`] says of the text as it is.
pub(super) fn read(text: &str) -> Result<Json, serde_json::Error> {
    serde_json::from_str(text)
        .or_else(|fault| serde_json::from_str(&by_the_letter(text)).map_err(|_| fault))
}

/// Reads the bytes of a body, in the encoding that they begin with.
///
/// # Errors
/// As [`read`].
pub(super) fn read_bytes(bytes: &[u8]) -> Result<Json, serde_json::Error> {
    read(&decoded(bytes))
}

/// A body as text: UTF-8, 16 or 32, by its mark or by where its first zeros are, as Python finds
/// it (RFC 4627, section 3).
pub(super) fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    match bytes {
        [0xff, 0xfe, 0, 0, rest @ ..] => utf_32(rest, u32::from_le_bytes),
        [0, 0, 0xfe, 0xff, rest @ ..] => utf_32(rest, u32::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        [0, 0, _, _, ..] => utf_32(bytes, u32::from_be_bytes),
        [0, _, _, _, ..] => utf_16(bytes, u16::from_be_bytes),
        [_, 0, 0, 0, ..] => utf_32(bytes, u32::from_le_bytes),
        [_, 0, _, _, ..] => utf_16(bytes, u16::from_le_bytes),
        _ => String::from_utf8_lossy(bytes),
    }
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'static, str> {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let letters =
        char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER));
    Cow::Owned(letters.collect())
}

fn utf_32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> Cow<'static, str> {
    let units = bytes
        .chunks_exact(4)
        .map(|four| unit([four[0], four[1], four[2], four[3]]));
    let letters = units.map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
    Cow::Owned(letters.collect())
}

/// The text with what JSON does not have written as JSON has it.
fn by_the_letter(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' => quoted(rest, &mut kept),
            ']' | '}' => {
                let end = kept.trim_end().len();
                if kept[..end].ends_with(',') {
                    kept.truncate(end - 1);
                }
                kept.push(first);
                1
            }
            'N' | 'I' | '-' | '0'..='9' => number(rest, &mut kept),
            _ => {
                kept.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    kept
}

/// Copies a number, null for one that JSON does not have; how many bytes it took.
fn number(text: &str, kept: &mut String) -> usize {
    for name in ["NaN", "Infinity", "-Infinity"] {
        if text.starts_with(name) {
            kept.push_str("null");
            return name.len();
        }
    }
    let is_within = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    // What begins like a name and is none is copied, to be refused by the reader.
    let end = text
        .find(|c: char| !is_within(c))
        .unwrap_or(text.len())
        .max(1);
    let digits = &text[..end];
    let is_too_large = digits.parse::<f64>().is_ok_and(f64::is_infinite);
    kept.push_str(if is_too_large { "null" } else { digits });
    end
}

/// Copies a text in quotes, which the given text begins with; how many bytes it took.
fn quoted(text: &str, kept: &mut String) -> usize {
    kept.push('"');
    let mut at = 1;
    while let Some(c) = text[at..].chars().next() {
        at += c.len_utf8();
        match c {
            '"' => {
                kept.push('"');
                break;
            }
            '\\' => at += escaped(&text[at..], kept),
            // JSON has them behind a backslash only.
            c if c < ' ' => {
                let _ = write!(kept, "\\u{:04x}", u32::from(c));
            }
            c => kept.push(c),
        }
    }
    at
}

/// Copies what stands behind a backslash; how many bytes it took.
fn escaped(text: &str, kept: &mut String) -> usize {
    match text.chars().next() {
        Some('u') => {
            let second = text.get(5..).and_then(|rest| rest.strip_prefix("\\u"));
            match (unit(&text[1..]), second.and_then(unit)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => {
                    kept.push('\\');
                    kept.push_str(&text[..11]);
                    11
                }
                // Half of a pair is no letter.
                (Some(0xd800..=0xdfff), _) => {
                    kept.push(char::REPLACEMENT_CHARACTER);
                    5
                }
                _ => {
                    kept.push_str("\\u");
                    1
                }
            }
        }
        Some(c @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => {
            kept.push('\\');
            kept.push(c);
            1
        }
        // A backslash that stands for nothing.
        Some(_) | None => 0,
    }
}

/// The four hexadecimal digits that a text begins with.
fn unit(text: &str) -> Option<u32> {
    let digits = text.get(..4)?;
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_python_takes_is_taken() {
        for (text, expected) in [
            (r#" {"a": [1, "NaN"]} "#, json!({"a": [1, "NaN"]})),
            (
                r#"{"a": NaN, "b": [-Infinity, Infinity, -1.5e3]}"#,
                json!({"a": null, "b": [null, null, -1500.0]}),
            ),
            ("[1e999, -1e999, 1e-9, 0]", json!([null, null, 1e-9, 0])),
            (
                r#"["\ud83d", "\udc31\ud83d\udc31", "\ud83d\n", "\ud83dx"]"#,
                json!(["\u{fffd}", "\u{fffd}\u{1f431}", "\u{fffd}\n", "\u{fffd}x"]),
            ),
            (r#"{"a": 1, "a": 2}"#, json!({"a": 2})),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_models_write_all_the_same_is_taken() {
        for (text, expected) in [
            ("{\"a\": [1, ], }", json!({"a": [1]})),
            (
                "[\"a\nb\", \"c\\'d\", \"e\\\\\", \",]\"]",
                json!(["a\nb", "c'd", "e\\", ",]"]),
            ),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "words",
            "Nothing",
            "Ina",
            "-",
            "{'a': 1}",
            "[1] [2]",
            "\"\\",
            "\"\\u12",
            "[\"\\ud83d",
            "nan",
            "[\"\\u00é\"]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_body_is_read_in_the_encoding_that_it_begins_with() {
        let text = r#"{"a": "é🐱"}"#;
        let mut little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let four = |unit: fn(u32) -> [u8; 4]| -> Vec<u8> {
            text.chars().flat_map(|c| unit(u32::from(c))).collect()
        };
        let marked = |mark: &[u8], rest: &[u8]| [mark, rest].concat();
        for bytes in [
            text.as_bytes().to_vec(),
            marked(&[0xef, 0xbb, 0xbf], text.as_bytes()),
            little.clone(),
            marked(&[0xff, 0xfe], &little),
            big.clone(),
            marked(&[0xfe, 0xff], &big),
            four(u32::to_le_bytes),
            marked(&[0xff, 0xfe, 0, 0], &four(u32::to_le_bytes)),
            four(u32::to_be_bytes),
            marked(&[0, 0, 0xfe, 0xff], &four(u32::to_be_bytes)),
        ] {
            assert_eq!(
                read_bytes(&bytes).unwrap(),
                json!({"a": "é🐱"}),
                "{bytes:x?}"
            );
        }
        little.pop();
        assert!(read_bytes(&little).is_err());
        assert_eq!(decoded(b"\xff\xff"), "\u{fffd}\u{fffd}");
        assert_eq!(decoded(b""), "");
    }
}

//! A JSON body to raw fields.

use std::borrow::Cow;
use std::collections::HashSet;

use omnizap_contract::{Error, ErrorKind};

use super::super::raw::{Raw, RawFields};
use super::super::text::{Charset, Unicode};
use crate::pipeline::request::quoted;

/// The members of the object that a body is; at most `max_members`. What it is `said` to be in
/// counts where it is none of the encodings of JSON.
///
/// # Errors
/// [`ErrorKind::Malformed`] for a body that is no object, [`ErrorKind::Invalid`] for too many
/// members, and for one that is given twice.
pub(super) fn split(
    body: &[u8],
    said: Option<&Charset>,
    max_members: Option<usize>,
) -> Result<RawFields, Error> {
    let as_said = || said.and_then(|said| said.decode(body));
    let Some(text) = text(body).or_else(as_said) else {
        return Err(malformed(&match said {
            Some(said) => said.unreadable().to_string(),
            None => "expected text in UTF-8, UTF-16 or UTF-32, found bytes that are none".into(),
        }));
    };
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text).map_err(|error| malformed(&error.to_string()))?;
    if let Some(max) = max_members.filter(|max| members.len() > *max) {
        let many = format!("the JSON object has more than {max} members");
        return Err(Error::new(ErrorKind::Invalid, many).with_code("too_many_fields"));
    }
    if let Some(name) = repeated_member(text.as_bytes()) {
        let twice = format!("{} is given twice in the JSON object", quoted(&name));
        return Err(Error::new(ErrorKind::Invalid, twice).with_code("repeated_field"));
    }
    let mut fields = RawFields::default();
    for (name, value) in members {
        fields.add(name, Raw::Json(value));
    }
    Ok(fields)
}

fn malformed(what: &str) -> Error {
    let message = format!("the request body is not a JSON object: {what}");
    Error::new(ErrorKind::Malformed, message).with_code("malformed_json")
}

/// The encoding of JSON, and the length of its byte order mark: told by the mark, else by where
/// there are zeros, since the first two characters are ASCII (RFC 4627, section 3).
fn encoding(body: &[u8]) -> (Unicode, usize) {
    let utf16 = |is_big| Unicode::Utf16 { is_big };
    let utf32 = |is_big| Unicode::Utf32 { is_big };
    Unicode::of_mark(body).unwrap_or(match body {
        [0, 0, _, _, ..] => (utf32(true), 0),
        [0, _, ..] => (utf16(true), 0),
        [_, 0, 0, 0, ..] => (utf32(false), 0),
        [_, 0, ..] => (utf16(false), 0),
        _ => (Unicode::Utf8, 0),
    })
}

/// The text of JSON, whatever it is said to be in: none of its encodings needs that (RFC 8259,
/// section 11). `None` for bytes that are not in the encoding that they seem to be in.
fn text(body: &[u8]) -> Option<Cow<'_, str>> {
    let (encoding, mark) = encoding(body);
    encoding.decode(&body[mark..])
}

/// A name that an object has twice at its outermost level, where a parser would keep the last one
/// in silence (RFC 8259, section 4). The text is known to be an object without mistakes.
fn repeated_member(object: &[u8]) -> Option<String> {
    let mut names = HashSet::new();
    let (mut depth, mut is_name) = (0_usize, false);
    let mut at = 0;
    while let Some(byte) = object.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                is_name = depth == 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => is_name = depth == 1,
            b':' => is_name = false,
            b'"' => {
                let end = end_of_string(object, at);
                if is_name {
                    // Two spellings may be one name: "a" and "\u0061".
                    let name: String = serde_json::from_slice(object.get(at..=end)?).ok()?;
                    if let Some(twice) = names.replace(name) {
                        return Some(twice);
                    }
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that begins at a quote ends.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(rest) = text.get(at..) {
        match rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            Some(found) if rest[found] == b'"' => return at + found,
            Some(escape) => at += escape + 2,
            None => break,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_given_twice_is_found_however_it_is_spelt() {
        for (object, expected) in [
            ("{}", None),
            (r#"{"a": 1, "b": "a", "c": {"a": 2}}"#, None),
            (r#"{"a": [{"b": 1}, "a", "b"], "b": "\",\"a\":"}"#, None),
            (r#"{"a": {"b": 1, "b": 2}}"#, None),
            (r#" { "a" : 1 , "a" : 1 } "#, Some("a")),
            (r#"{"a": {}, "b": [], "\u0061": "x"}"#, Some("a")),
            (r#"{"": 1, "x\"y": 2, "": 3}"#, Some("")),
            (r#"{"a": "\\", "b": 1, "b": 2}"#, Some("b")),
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(object).is_ok());
            assert_eq!(
                repeated_member(object.as_bytes()).as_deref(),
                expected,
                "{object}"
            );
        }
    }

    #[test]
    fn json_is_read_in_every_encoding_that_it_may_be_in() {
        let object = r#"{"theme": "ação 🐱"}"#;
        let utf16 = |is_big: bool| -> Vec<u8> {
            let bytes = |unit: u16| {
                if is_big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            };
            object.encode_utf16().flat_map(bytes).collect()
        };
        let utf32 = |is_big: bool| -> Vec<u8> {
            let bytes = |char| {
                let code = u32::from(char);
                if is_big {
                    code.to_be_bytes()
                } else {
                    code.to_le_bytes()
                }
            };
            object.chars().flat_map(bytes).collect()
        };
        let marked = |mark: &[u8], body: Vec<u8>| [mark, &body].concat();
        for body in [
            object.as_bytes().to_vec(),
            marked(b"\xef\xbb\xbf", object.as_bytes().to_vec()),
            utf16(true),
            utf16(false),
            marked(b"\xfe\xff", utf16(true)),
            marked(b"\xff\xfe", utf16(false)),
            utf32(true),
            utf32(false),
            marked(b"\0\0\xfe\xff", utf32(true)),
            marked(b"\xff\xfe\0\0", utf32(false)),
        ] {
            assert_eq!(text(&body).as_deref(), Some(object), "{body:?}");
            // Whatever it is said to be in.
            for said in ["utf-8", "latin1", "utf-32", "cp437"] {
                let said = Charset::of(said.as_bytes());
                assert!(split(&body, said.as_ref(), None).is_ok());
            }
        }
        for bad in [
            &b"{\"a\": \"\xe7\"}"[..],
            b"\xff\xfe{",
            b"\xff\xfe\0\xd8",
            b"\0\0\xfe\xff\0\x11\0\0",
        ] {
            let error = split(bad, None, None).unwrap_err();
            assert_eq!(error.code(), "malformed_json", "{bad:?}");
        }
        let latin1 = b"{\"a\": \"\xe7\"}";
        let mut fields = split(latin1, Charset::of(b"latin1").as_ref(), None).unwrap();
        assert!(matches!(fields.take("a").pop(), Some(Raw::Json(text)) if text == "ç"));
        let error = split(latin1, Charset::of(b"cp437").as_ref(), None).unwrap_err();
        assert!(error.message().contains("\"cp437\""), "{error}");
        assert_eq!(error.code(), "malformed_json");
    }
}

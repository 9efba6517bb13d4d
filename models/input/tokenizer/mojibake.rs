//! Text that was UTF-8 and has been read as something else, such as `cafÃ©`, made whole again.
//!
//! A port of the part of ftfy (Robyn Speer, Apache-2.0) that CLIP's tokenizer goes through; its
//! character maps and patterns are in `mojibake.json`, which `mojibake.py` makes.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Regex, bytes};
use serde::Deserialize;
use serde_json::Map;

use super::entities::WINDOWS_1252;

/// More layers of misreading than any text has.
const MOST_LAYERS: usize = 8;

#[derive(Deserialize)]
struct Data {
    /// What bytes 0x80 to 0xFF are in each encoding, in the order in which they are tried.
    encodings: Map<String, serde_json::Value>,
    bad: String,
    utf8: String,
    not_before_utf8: String,
}

struct Tables {
    encodings: Vec<Encoding>,
    /// Unlikely neighbours: a sign of misread text.
    bad: Regex,
    /// What looks like misread UTF-8 in the middle of other text.
    utf8: Regex,
    not_before_utf8: Regex,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let data: Data = serde_json::from_str(include_str!("mojibake.json"))
        .expect("the embedded table is valid JSON");
    let pattern = |pattern: &str| Regex::new(pattern).expect("the embedded patterns are valid");
    Tables {
        encodings: data
            .encodings
            .iter()
            .map(|(name, characters)| Encoding::new(name, characters.as_str().unwrap_or_default()))
            .collect(),
        bad: pattern(&data.bad),
        utf8: pattern(&data.utf8),
        not_before_utf8: pattern(&data.not_before_utf8),
    }
});

/// UTF-8 that would be valid if a space were the byte 0xA0.
static SPACED: LazyLock<bytes::Regex> = LazyLock::new(|| {
    byte_pattern(
        r"[\xc2\xc3\xc5\xce\xd0\xd9][ ]|[\xe2\xe3][ ][\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf][ ]|\xf0[ ][\x80-\xbf][\x80-\xbf]|\xf0[\x80-\xbf][ ][\x80-\xbf]|\xf0[\x80-\xbf][\x80-\xbf][ ]",
    )
});

/// UTF-8 some of whose bytes have been lost: 0x1A stands for a lost one.
static LOSSY: LazyLock<bytes::Regex> = LazyLock::new(|| {
    byte_pattern(
        r"[\xc2-\xdf]\x1a|[\xc2-\xc3][?]|\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]|\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]|[\xe0-\xef][\x1a?][\x1a\x80-\xbf]|[\xe0-\xef][\x1a\x80-\xbf][\x1a?]|[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]|\x1a",
    )
});

fn byte_pattern(pattern: &str) -> bytes::Regex {
    bytes::RegexBuilder::new(pattern)
        .unicode(false)
        .build()
        .expect("the pattern is a constant and valid")
}

/// A single-byte encoding.
struct Encoding {
    bytes: HashMap<char, u8>,
    /// Takes what it has no character for, and writes U+FFFD as 0x1A.
    sloppy: bool,
    macintosh: bool,
}

impl Encoding {
    fn new(name: &str, characters: &str) -> Self {
        let sloppy = name.starts_with("sloppy");
        let ascii = (0..0x80u8)
            .filter(|byte| !(sloppy && *byte == 0x1A))
            .map(|byte| (char::from(byte), byte));
        let substitute = sloppy.then_some(('\u{FFFD}', 0x1A));
        let bytes = ascii
            .chain(substitute)
            .chain(characters.chars().zip(0x80..=0xFF))
            .collect();
        Self {
            bytes,
            sloppy,
            macintosh: name == "macroman",
        }
    }

    /// The text's bytes, if it could have been read from this encoding.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        text.chars().map(|c| self.bytes.get(&c).copied()).collect()
    }
}

/// Whether a text looks misread.
fn is_bad(text: &str) -> bool {
    TABLES.bad.is_match(text)
}

/// Undoes misreadings, one in another if need be.
pub(super) fn fix(text: String) -> String {
    let mut text = text;
    for _ in 0..MOST_LAYERS {
        match fix_once(&text) {
            Some(fixed) if fixed != text => text = fixed,
            _ => break,
        }
    }
    text
}

/// Nothing when there is nothing to do.
fn fix_once(text: &str) -> Option<String> {
    if text.is_ascii() || !is_bad(text) {
        return None;
    }
    for encoding in &TABLES.encodings {
        let Some(mut bytes) = encoding.encode(text) else {
            continue;
        };
        if !encoding.macintosh && SPACED.is_match(&bytes) {
            bytes = restore_spaces(&bytes);
        }
        if encoding.sloppy {
            bytes = LOSSY
                .replace_all(&bytes, "\u{FFFD}".as_bytes())
                .into_owned();
        }
        if let Some(fixed) = decode(&bytes) {
            return Some(fixed);
        }
    }
    let mended = mend_parts(text);
    if mended != text {
        return Some(mended);
    }
    // Latin-1 that was meant to be Windows-1252.
    let latin = text.chars().all(|c| u32::from(c) < 0x100);
    let unassigned = |c: char| matches!(c, '\u{81}' | '\u{8D}' | '\u{8F}' | '\u{90}' | '\u{9D}');
    let controls = text.chars().any(|c| matches!(c, '\u{80}'..='\u{9F}'));
    (controls && (!latin || !text.chars().all(unassigned))).then(|| {
        text.chars()
            .map(|c| match c {
                '\u{80}'..='\u{9F}' => WINDOWS_1252[c as usize - 0x80],
                _ => c,
            })
            .collect()
    })
}

/// Puts 0xA0 back where something took it for a space.
fn restore_spaces(bytes: &[u8]) -> Vec<u8> {
    // `à` before another word; not before what follows `Ã` in Portuguese.
    let mut graves = Vec::with_capacity(bytes.len() + 8);
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let words: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
        match after.split_first() {
            Some((b' ', next))
                if byte == 0xC3 && !words.iter().any(|word| next.starts_with(word)) =>
            {
                graves.extend_from_slice(b"\xC3\xA0 ");
                rest = next;
            }
            _ => {
                graves.push(byte);
                rest = after;
            }
        }
    }
    let restored = SPACED.replace_all(&graves, |found: &bytes::Captures| {
        found[0]
            .iter()
            .map(|&byte| if byte == b' ' { 0xA0 } else { byte })
            .collect::<Vec<u8>>()
    });
    restored.into_owned()
}

/// Mends the parts of a text that look misread, where the whole cannot be.
fn mend_parts(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = TABLES.utf8.find_at(text, from) {
        let before = text[..found.start()].chars().next_back();
        let blocked =
            before.is_some_and(|c| TABLES.not_before_utf8.is_match(c.encode_utf8(&mut [0; 4])));
        if blocked {
            from = found.start() + found.as_str().chars().next().map_or(1, char::len_utf8);
            continue;
        }
        output.push_str(&text[copied..found.start()]);
        let part = found.as_str();
        if part.len() < text.len() && is_bad(part) {
            output.push_str(&fix(part.to_owned()));
        } else {
            output.push_str(part);
        }
        copied = found.end();
        from = found.end();
    }
    output.push_str(&text[copied..]);
    output
}

/// Reads UTF-8, also where a character beyond U+FFFF was written as two surrogates or a null as
/// two bytes.
fn decode(bytes: &[u8]) -> Option<String> {
    if !bytes.iter().any(|byte| matches!(byte, 0xED | 0xC0)) {
        return String::from_utf8(bytes.to_vec()).ok();
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return String::from_utf8(plain).ok(),
            [0xC0, 0x80, after @ ..] => {
                plain.push(0);
                after
            }
            [
                0xED,
                a @ 0xA0..=0xAF,
                b @ 0x80..=0xBF,
                0xED,
                c @ 0xB0..=0xBF,
                d @ 0x80..=0xBF,
                after @ ..,
            ] => {
                let bits = |byte: u8, mask: u8| u32::from(byte & mask);
                let point = 0x10000
                    + (bits(*a, 0x0F) << 16
                        | bits(*b, 0x3F) << 10
                        | bits(*c, 0x0F) << 6
                        | bits(*d, 0x3F));
                plain.extend(char::from_u32(point)?.encode_utf8(&mut [0; 4]).bytes());
                after
            }
            [byte, after @ ..] => {
                plain.push(*byte);
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misread_text_is_mended() {
        // From ftfy 6.3.1.
        for (broken, whole) in [
            ("cafÃ©", "café"),
            ("voilÃ  le travail", "voilà le travail"),
            ("âœ” No problems", "✔ No problems"),
            ("ðŸ˜€ and don’t", "😀 and don’t"),
            ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"),
        ] {
            assert_eq!(fix(broken.to_owned()), whole);
        }
    }

    #[test]
    fn whole_text_is_left_alone() {
        for text in [
            "café",
            "São Paulo",
            "É isso aí",
            "Привет",
            "红色",
            "ÅÄÖ åäö",
            "😀❤️",
            "½ °C",
        ] {
            assert_eq!(fix(text.to_owned()), text);
        }
    }
}

//! The key in what a server says: it is not logged, neither whole nor in part, however it is
//! written: as it is, as URLs, pages and JSON write it, in base64, or in hexadecimal digits.

use std::collections::HashSet;
use std::ops::Range;

use self::form::forms;
use self::view::View;

mod form;
mod view;

/// Shortest key that is a secret, and shortest part of one, in bytes. Servers without keys take any
/// word, which may be a part of any answer.
const MIN_SECRET_BYTES: usize = 8;
/// Most escape sequences inside each other that are undone, as of JSON within JSON.
const MAX_UNDONE: usize = 3;
/// What stands for the key.
const HIDDEN: &str = "***";

/// The text without the key, and without any part of it that would help to guess it: servers repeat
/// the key where they refuse it, some cut off, some in other letters. A few letters stay, as in
/// `sk-...last`.
pub(super) fn hide(text: &str, key: &str) -> String {
    if key.len() < MIN_SECRET_BYTES {
        return text.to_owned();
    }
    let forms = forms(key);
    let parts: HashSet<&[u8]> = forms
        .iter()
        .flat_map(|form| form.windows(MIN_SECRET_BYTES))
        .collect();
    let places = places(text, MIN_SECRET_BYTES, |part| parts.contains(part));
    without(text, places)
}

/// The text without the whole key, where the text itself is used: a word that shares some letters
/// with the key stays.
pub(super) fn hide_whole(text: &str, key: &str) -> String {
    if key.len() < MIN_SECRET_BYTES {
        return text.to_owned();
    }
    let places = forms(key)
        .iter()
        .flat_map(|form| places(text, form.len(), |part| part == form.as_slice()))
        .collect();
    without(text, places)
}

/// Where so many bytes that are secret stand, without case, in the text as it is and as it reads
/// once it is undone.
fn places(text: &str, count: usize, is_secret: impl Fn(&[u8]) -> bool) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut view = View::of(text);
    for _ in 0..=MAX_UNDONE {
        let small = view.bytes.to_ascii_lowercase();
        for (at, part) in small.windows(count).enumerate() {
            if is_secret(part) {
                places.push(view.place(at, count));
            }
        }
        match view.undone() {
            Some(undone) => view = undone,
            None => break,
        }
    }
    places
}

/// The text with what stands at these places hidden.
fn without(text: &str, mut places: Vec<Range<usize>>) -> String {
    places.sort_unstable_by_key(|place| place.start);
    let mut shown = String::with_capacity(text.len());
    let mut end = 0;
    for place in places {
        if place.start > end || shown.is_empty() {
            // Keys are ASCII: places begin and end between letters.
            shown.push_str(text.get(end..place.start).unwrap_or_default());
            shown.push_str(HIDDEN);
        }
        end = end.max(place.end);
    }
    shown.push_str(text.get(end..).unwrap_or_default());
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-SECRET-0123456789abcdef";

    #[test]
    fn a_key_that_a_server_repeats_is_hidden() {
        for (said, expected) in [
            ("wrong key sk-secret-1, sk-secret-1", "wrong key ***, ***"),
            ("sk-secret-1", "***"),
            ("sk-secret-1sk-secret-1", "***"),
            ("sk-secret-1 at the beginning", "*** at the beginning"),
            ("sk-secr", "sk-secr"),
            ("", ""),
            ("ação sk-secret-1 ção", "ação *** ção"),
        ] {
            assert_eq!(hide(said, "sk-secret-1"), expected, "{said}");
        }
        assert_eq!(hide("{\"x\": 1}", "x"), "{\"x\": 1}", "no secret");
        assert_eq!(hide("anything", ""), "anything");
    }

    #[test]
    fn a_part_of_a_key_is_hidden_too() {
        for said in [
            "Incorrect API key provided: Bearer sk-SECRET-0123456789abcdef.",
            "Incorrect API key provided: sk-SECRET-01234567****",
            "the page ends within sk-SECRET-0123",
            "authorization: bearer SK-SECRET-0123456789ABCDEF",
            "<td>sk-SECRET-0123456789abcdef</td><td>sk-SECRET-0123456789abcdef</td>",
            "..ET-0123456789abcdef",
        ] {
            let shown = hide(said, KEY).to_lowercase();
            assert!(shown.contains("***"), "{shown}");
            for part in KEY.to_lowercase().as_bytes().windows(8) {
                let part = std::str::from_utf8(part).unwrap();
                assert!(!shown.contains(part), "{shown}");
            }
        }
        let few = "Incorrect API key provided: sk-SE***cdef";
        assert_eq!(hide(few, KEY), few, "a few letters say which key it was");
    }

    /// One with what URLs, pages and JSON write otherwise.
    const ODD: &str = "sk+A/b=c&d<e>\"f'g%h-0123456789+/QwErTy";

    fn percent(text: &str, is_kept: impl Fn(u8) -> bool) -> String {
        let written = text.bytes().map(|byte| match byte {
            byte if is_kept(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        written.collect()
    }

    #[test]
    fn a_key_is_hidden_however_it_is_written() {
        let url = percent(ODD, |byte| byte.is_ascii_alphanumeric());
        let page = ODD
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#x27;");
        let json = ODD.replace('"', "\\\"").replace('/', "\\/");
        let unicode: String = ODD
            .chars()
            .map(|c| match c {
                c if c.is_ascii_alphanumeric() => c.to_string(),
                c => format!("\\u{:04x}", u32::from(c)),
            })
            .collect();
        let every = |write: fn(u8) -> String| ODD.bytes().map(write).collect::<Vec<_>>().concat();
        for written in [
            url.clone(),
            url.to_lowercase(),
            percent(ODD, |_| false),
            percent(&url, |byte| byte != b'%'),
            percent(&page, |byte| !b"&;".contains(&byte)),
            page.clone(),
            page.replace("&amp;", "&#38;").replace('+', "&plus;"),
            page.replace('+', "&#043;").replace('/', "&#x2F;"),
            page.replace('&', "&amp;"),
            json.clone(),
            json.replace('\\', "\\\\"),
            unicode.to_uppercase().replace("\\U", "\\u"),
            unicode.replace('\\', "\\\\"),
            unicode,
            every(|byte| format!("{byte:02x}")),
            every(|byte| format!("\\x{byte:02X}")),
        ] {
            let said = format!("wrong key: {written}. Find yours at ..");
            assert_eq!(
                hide(&said, ODD),
                "wrong key: ***. Find yours at ..",
                "{said}"
            );
            assert_eq!(
                hide_whole(&said, ODD),
                "wrong key: ***. Find yours at ..",
                "{said}"
            );
            // Cut off within it.
            let cut = &written[..written.len() / 2];
            let shown = hide(cut, ODD);
            assert!(
                shown.starts_with("***") && shown.len() < 16,
                "{cut}: {shown}"
            );
        }
    }

    #[test]
    fn a_key_is_hidden_in_base64_wherever_it_stands() {
        // `Bearer sk-SECRET-0123456789abcdef`, the key alone, `u:KEY`, `us:KEY`.
        for written in [
            "QmVhcmVyIHNrLVNFQ1JFVC0wMTIzNDU2Nzg5YWJjZGVm",
            "c2stU0VDUkVULTAxMjM0NTY3ODlhYmNkZWY=",
            "dTpzay1TRUNSRVQtMDEyMzQ1Njc4OWFiY2RlZg==",
            "dXM6c2stU0VDUkVULTAxMjM0NTY3ODlhYmNkZWY=",
        ] {
            for said in [
                written.to_owned(),
                written.to_lowercase(),
                written.replace('=', "%3D"),
            ] {
                let shown = hide(&said, KEY);
                assert!(shown.contains("***"), "{shown}");
                let left = shown.replace("***", "");
                // What encodes what stands before the key, and the last bits of it.
                assert!(left.len() <= 16, "{said}: {shown}");
            }
        }
        // The letters of URLs.
        let key = "sk-~~~???>>>-0123";
        assert_eq!(
            hide("c2stfn5-Pz8_Pj4-LTAxMjM", key)
                .replace("***", "")
                .len(),
            1
        );
    }

    #[test]
    fn what_only_looks_like_a_form_of_it_stays() {
        for said in [
            "50% of &amp; \\u002b 0123456 c2stU0V",
            "%73%6b-SECR",
            "cGxhaW4gd29yZHMgdGhhdCBhcmUgbm8ga2V5",
        ] {
            assert_eq!(hide(said, "sk-SECRET-0123456789abcdef"), said);
        }
    }

    #[test]
    fn in_what_is_used_only_the_whole_key_is_hidden() {
        assert_eq!(hide_whole("kawaii cats", "kawaii cat-9"), "kawaii cats");
        assert_eq!(hide_whole("a sk-secret-1 b", "sk-secret-1"), "a *** b");
        assert_eq!(hide_whole("a cat", "cat"), "a cat");
    }
}

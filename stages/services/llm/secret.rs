//! The key in what a server says: it is not logged, neither whole nor in part.

use std::collections::HashSet;

/// Shortest key that is a secret, and shortest part of one, in bytes. Servers without keys take any
/// word, which may be a part of any answer.
const MIN_SECRET_BYTES: usize = 8;
/// What stands for the key.
const HIDDEN: &str = "***";

/// The text without the key, and without any part of it that would help to guess it: servers repeat
/// the key where they refuse it, some cut off, some in other letters. A few letters stay, as in
/// `sk-...last`.
pub(super) fn hide(text: &str, key: &str) -> String {
    let key = key.to_ascii_lowercase();
    // A slice of letters beyond ASCII is in no key: parts begin and end between letters.
    let parts: HashSet<&[u8]> = key.as_bytes().windows(MIN_SECRET_BYTES).collect();
    let lower = text.to_ascii_lowercase();
    let mut shown = String::with_capacity(text.len());
    let mut end = 0;
    for (at, part) in lower.as_bytes().windows(MIN_SECRET_BYTES).enumerate() {
        if !parts.contains(part) {
            continue;
        }
        if at > end || shown.is_empty() {
            shown.push_str(text.get(end..at).unwrap_or_default());
            shown.push_str(HIDDEN);
        }
        end = at + MIN_SECRET_BYTES;
    }
    shown.push_str(text.get(end..).unwrap_or_default());
    shown
}

/// The text without the whole key, where the text itself is used: a word that shares some letters
/// with the key stays.
pub(super) fn hide_whole(text: String, key: &str) -> String {
    if key.len() < MIN_SECRET_BYTES || !text.contains(key) {
        return text;
    }
    text.replace(key, HIDDEN)
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

    #[test]
    fn in_what_is_used_only_the_whole_key_is_hidden() {
        assert_eq!(
            hide_whole("kawaii cats".into(), "kawaii cat-9"),
            "kawaii cats"
        );
        assert_eq!(
            hide_whole("a sk-secret-1 b".into(), "sk-secret-1"),
            "a *** b"
        );
        assert_eq!(hide_whole("a cat".into(), "cat"), "a cat");
    }
}

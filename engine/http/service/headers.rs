//! Headers of an answer that hold names from elsewhere: written so that no name can be more than a
//! name, of visible ASCII, and of a bounded length.

use std::fmt::{self, Write as _};
use std::time::Duration;

use warp::http::HeaderValue;

use crate::pipeline::request::is_token_char;

/// Names, sent by the client, that the pipeline takes nothing from.
pub(super) const UNKNOWN_FIELDS: &str = "x-unknown-fields";
/// How long each stage ran (W3C Server Timing).
pub(super) const SERVER_TIMING: &str = "server-timing";

/// Most names in `X-Unknown-Fields`.
const MAX_UNKNOWN_NAMES: usize = 16;
/// Longest list in it, in bytes.
const MAX_UNKNOWN_BYTES: usize = 1024;
/// Longest name of a stage in `Server-Timing`, in bytes.
const MAX_TIMING_NAME: usize = 64;
/// Longest list in it, in bytes, the total not counted.
const MAX_TIMING_BYTES: usize = 4096;
/// What stands where something was left out.
const CUT: &str = "...";

/// The names between commas; what is no character of a token (RFC 9110) is percent-encoded.
pub(super) fn unknown_fields(names: &[String]) -> Option<HeaderValue> {
    let mut list = String::new();
    for (index, name) in names.iter().enumerate() {
        // One that has no room as it is has none encoded, and may be as long as a body.
        let shown = match name.as_str() {
            "" => "\"\"".to_owned(),
            long if long.len() > MAX_UNKNOWN_BYTES => String::new(),
            name => percent_encoded(name, |char| is_token_char(char) && char != '%'),
        };
        let comma = if index == 0 { "" } else { ", " };
        let len = list.len() + comma.len() + shown.len();
        if index == MAX_UNKNOWN_NAMES || shown.is_empty() || len > MAX_UNKNOWN_BYTES {
            let _ = write!(list, "{comma}{CUT}");
            break;
        }
        let _ = write!(list, "{comma}{shown}");
    }
    let is_told = !list.is_empty();
    is_told.then(|| HeaderValue::from_str(&list).ok()).flatten()
}

/// How long each stage ran, in milliseconds, and the request as a whole. A name is a token there:
/// what a token cannot hold is `_`, and the name itself is the description then.
pub(super) fn server_timing<'s>(
    stages: impl Iterator<Item = (&'s str, Duration)>,
    total: Duration,
) -> Option<HeaderValue> {
    let mut list = String::new();
    for (stage, ran) in stages {
        let before = list.len();
        let _ = write!(list, "{};dur={}, ", metric(stage), Milliseconds(ran));
        if list.len() > MAX_TIMING_BYTES {
            list.truncate(before);
            break;
        }
    }
    let _ = write!(list, "total;dur={}", Milliseconds(total));
    HeaderValue::from_str(&list).ok()
}

/// Written with three decimals, from whole microseconds: a fraction takes ten times as long, and there
/// is one a stage in each answer.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = (self.0.as_nanos() + 500) / 1000;
        write!(f, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

fn metric(stage: &str) -> String {
    let token = |char: char| if is_token_char(char) { char } else { '_' };
    let name: String = stage.chars().take(MAX_TIMING_NAME).map(token).collect();
    if name == stage {
        return name;
    }
    let is_plain = |char: char| char == ' ' || char.is_ascii_graphic() && char != '%';
    let described = percent_encoded(stage, is_plain);
    let cut = &described[..described.len().min(MAX_TIMING_NAME)];
    // Within quotes a backslash stands before what would end them (RFC 9110, section 5.6.4).
    let quoted = cut.replace('\\', "\\\\").replace('"', "\\\"");
    let name = if name.is_empty() { "_" } else { &name };
    format!("{name};desc=\"{quoted}\"")
}

/// A text in ASCII: the bytes of every character that is not plain by their number.
fn percent_encoded(text: &str, is_plain: impl Fn(char) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for char in text.chars() {
        if is_plain(char) {
            encoded.push(char);
            continue;
        }
        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(names: &[&str]) -> Option<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let value = unknown_fields(&names)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn unknown_names_cannot_be_more_than_names() {
        assert_eq!(unknown(&[]), None);
        for (names, expected) in [
            (&["lables", "thme"][..], "lables, thme"),
            (
                &["a b", "c,d", "e\r\nX-F: g"],
                "a%20b, c%2Cd, e%0D%0AX-F%3A%20g",
            ),
            (&["ação", "100%", ""], "a%C3%A7%C3%A3o, 100%25, \"\""),
        ] {
            assert_eq!(unknown(names).unwrap(), expected);
        }
        let many = ["n"; 100];
        let shown = unknown(&many).unwrap();
        assert_eq!(shown.matches('n').count(), MAX_UNKNOWN_NAMES);
        assert!(shown.ends_with(", ..."), "{shown}");
        let long = "x".repeat(2000);
        assert_eq!(unknown(&[&long]).unwrap(), "...");
        assert_eq!(unknown(&["a", &long]).unwrap(), "a, ...");
    }

    #[test]
    fn names_of_stages_are_tokens_in_the_timing() {
        let ran = Duration::from_micros(1500);
        for (name, expected) in [
            ("first", "first;dur=1.500"),
            ("a,b", "a_b;desc=\"a,b\";dur=1.500"),
            ("a;dur=9", "a_dur_9;desc=\"a;dur=9\";dur=1.500"),
            ("acme/look", "acme_look;desc=\"acme/look\";dur=1.500"),
            ("ü\n", "__;desc=\"%C3%BC%0A\";dur=1.500"),
            ("\"\\", "__;desc=\"\\\"\\\\\";dur=1.500"),
        ] {
            let value = server_timing([(name, ran)].into_iter(), ran).unwrap();
            let expected = format!("{expected}, total;dur=1.500");
            assert_eq!(value.to_str().unwrap(), expected);
        }
        let long = "ü".repeat(1000);
        let many = std::iter::repeat_n((long.as_str(), ran), 1000);
        let value = server_timing(many, ran).unwrap();
        assert!(value.len() < MAX_TIMING_BYTES + 32, "{}", value.len());
        assert!(value.to_str().unwrap().ends_with("total;dur=1.500"));
    }
}

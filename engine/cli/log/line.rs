//! The text of an event, as one line that nothing can break out of.

use std::fmt::Write as _;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// Longest text of an event; of a longer one the end is left out.
const MAX_BYTES: usize = 64 << 10;

/// What stands before the lines of an event after its first.
const INDENT: &str = "    ";

/// What is left as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keeps {
    /// Escape sequences: the subscriber makes them on a terminal, and escapes those of others.
    pub(super) colours: bool,
    /// New lines; what follows one is indented, so that it passes for no event.
    pub(super) lines: bool,
}

/// The text without control characters but those that are kept, and with a new line at its end.
pub(super) fn clean(text: &str, keeps: Keeps) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let end = text.floor_char_boundary(MAX_BYTES);
    let mut line = String::with_capacity(end + 1);
    for char in text[..end].chars() {
        match char {
            '\n' if keeps.lines => {
                line.push('\n');
                line.push_str(INDENT);
            }
            '\u{1b}' if keeps.colours => line.push(char),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\0'..='\u{7f}' if char.is_control() => {
                let _ = write!(line, "\\x{:02x}", u32::from(char));
            }
            // New lines of some viewers too.
            '\u{2028}' | '\u{2029}' => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(char));
            }
            char if char.is_control() => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(char));
            }
            char => line.push(char),
        }
    }
    if end < text.len() {
        let _ = write!(line, "... ({} bytes more)", text.len() - end);
    }
    line.push('\n');
    line
}

/// A line as the subscriber writes one, for what does not come through it.
pub(super) fn stamped(level: &str, text: &str) -> String {
    format!("{} {level:>5} {text}", now())
}

/// The time as the subscriber writes it.
pub(super) fn now() -> String {
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_line() {
        let text = "a\nb\r\tc\u{1b}[31m\u{7}\0\u{7f}\u{9b}\u{85}\u{2028}é\n";
        let plain = clean(text, Keeps::default());
        assert_eq!(
            plain,
            "a\\nb\\r\\tc\\x1b[31m\\x07\\x00\\x7f\\u{9b}\\u{85}\\u{2028}é\n"
        );
        let colours = Keeps {
            colours: true,
            ..Keeps::default()
        };
        assert!(clean(text, colours).contains("\u{1b}[31m\\x07"));
        let lines = Keeps {
            lines: true,
            ..Keeps::default()
        };
        assert_eq!(clean("a\n  b\r\n", lines), "a\n      b\\r\n");
        assert_eq!(clean("a", Keeps::default()), "a\n");
    }

    #[test]
    fn a_long_text_loses_its_end() {
        let long = "é".repeat(MAX_BYTES);
        let line = clean(&long, Keeps::default());
        assert!(line.len() < MAX_BYTES + 100, "{}", line.len());
        assert!(line.ends_with("é... (65536 bytes more)\n"));
    }

    #[test]
    fn a_stamped_line_looks_like_the_others() {
        let line = stamped("WARN", "gone\n");
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.contains('T') && time.ends_with('Z'), "{line}");
        assert_eq!(rest, " WARN gone\n");
    }
}

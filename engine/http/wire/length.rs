//! Whether a head says that its body is longer than any can be. hyper tells of a length that is
//! almost the largest number of 64 bits that the head is too large, and of a larger one that it is
//! malformed; what is too large is the body (RFC 9110, section 15.5.14).

use memchr::memchr;

/// The longest line that is looked at.
const MAX_LINE: usize = 4 << 10;
const NAME: &[u8] = b"content-length";
/// The largest length that hyper takes (hyper 1.12, `body/length.rs`).
const MOST: u64 = u64::MAX - 2;

/// What is known of the length that a head tells.
#[derive(Debug, Default)]
pub(super) struct Length {
    /// What has come of a line.
    line: Vec<u8>,
    has_begun: bool,
    has_ended: bool,
    /// How many lines tell a length.
    told: usize,
    is_beyond: bool,
}

impl Length {
    /// Looks at bytes of the head, and at nothing behind it.
    pub(super) fn look(&mut self, mut bytes: &[u8]) {
        while !self.has_ended && !bytes.is_empty() {
            let end = memchr(b'\n', bytes);
            let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            // One byte more shows that the line is too long.
            let room = (MAX_LINE + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if end.is_some() {
                self.end_line();
            }
            bytes = rest;
        }
    }

    /// True where the head tells one length, and no body is so long.
    pub(super) fn is_beyond(&self) -> bool {
        self.told == 1 && self.is_beyond
    }

    fn end_line(&mut self) {
        let line = self.line.trim_ascii_end();
        if line.is_empty() {
            // Blank lines before the head are none of it.
            self.has_ended = self.has_begun;
        } else if let Some(value) = value(line) {
            self.told += 1;
            self.is_beyond = self.line.len() <= MAX_LINE && is_beyond(value);
        }
        self.has_begun |= !line.is_empty();
        self.line.clear();
    }
}

/// The value of a line that tells a length.
fn value(line: &[u8]) -> Option<&[u8]> {
    let (name, rest) = line.split_at_checked(NAME.len())?;
    let value = rest.strip_prefix(b":")?;
    name.eq_ignore_ascii_case(NAME)
        .then_some(value.trim_ascii())
}

fn is_beyond(value: &[u8]) -> bool {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok();
    // A number that is none of 64 bits is larger.
    let is_taken = || number.is_some_and(|n| n.parse::<u64>().is_ok_and(|n| n <= MOST));
    is_number && !is_taken()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of the lines of a head, in pieces of that size.
    fn is_beyond_in(lines: &str, size: usize) -> bool {
        let head = format!("\r\nPOST /t HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        let behind = "Content-Length: 99999999999999999999\r\n";
        let mut length = Length::default();
        for piece in (head + behind).as_bytes().chunks(size) {
            length.look(piece);
        }
        length.is_beyond()
    }

    #[test]
    fn a_length_that_no_body_has_is_told_from_one_that_is_none() {
        let digits = format!("Content-Length: {}", "9".repeat(1000));
        let long = format!("Content-Length: {}", "9".repeat(2 * MAX_LINE));
        for (lines, expected) in [
            ("Content-Length: 18446744073709551615", true),
            ("content-length:18446744073709551614\t", true),
            ("CONTENT-LENGTH: \t18446744073709551616", true),
            (&digits, true),
            ("X: y\r\nContent-Length: 99999999999999999999\r\nZ: 1", true),
            ("Content-Length: 18446744073709551613", false),
            ("Content-Length: 000000000000000000000000005", false),
            ("Content-Length: 5", false),
            ("Content-Length: -1", false),
            ("Content-Length: +99999999999999999999", false),
            ("Content-Length: 99999999999999999999x", false),
            ("Content-Length:", false),
            ("X-Content-Length: 99999999999999999999", false),
            ("Content-Length : 99999999999999999999", false),
            (
                "Content-Length: 2\r\nContent-Length: 99999999999999999999",
                false,
            ),
            (&long, false),
            ("X: y", false),
        ] {
            for size in [1, 7, usize::MAX] {
                assert_eq!(is_beyond_in(lines, size), expected, "{lines} by {size}");
            }
        }
    }
}

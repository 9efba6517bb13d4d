//! Bytes of a client to text: percent-encoding, and encodings other than UTF-8.

mod charset;
mod unicode;

use std::borrow::Cow;

use encoding_rs::WINDOWS_1252;

pub(super) use self::charset::{Charset, Unreadable};
pub(super) use self::unicode::Unicode;

/// The byte order mark, as a character.
const MARK: char = '\u{feff}';

/// A text without its percent-encoding (RFC 3986, section 2.1), and with a blank for each `+`
/// where it is of a query string; `None` where a `%` is not followed by two digits.
pub(super) fn decoded(text: &str, is_query: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (byte, after) = hex_pair(rest)?;
                bytes.push(byte);
                rest = after;
            }
            b'+' if is_query => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    Some(bytes)
}

/// The same where a `%` that is not followed by two digits is a `%`.
pub(super) fn decoded_leniently(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let encoded = (first == b'%').then(|| hex_pair(after)).flatten();
        let (byte, after) = encoded.unwrap_or((first, after));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

/// The byte that two hexadecimal digits at the beginning are, and what follows them.
fn hex_pair(text: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = digit(*high)? * 16 + digit(*low)?;
    Some((u8::try_from(byte).ok()?, after))
}

/// Bytes as text: as their byte order mark says; else in the encoding that they are said to be in,
/// where they can be; else in UTF-8; else in Latin-1, as browsers read it (windows-1252), in which
/// all bytes are text.
///
/// # Errors
/// They are said to be in one in which ASCII may be something else, and are not, or in one that is
/// not read here, and what they say is not sure without it.
pub(super) fn decode<'b>(
    bytes: &'b [u8],
    said: Option<&Charset>,
) -> Result<Cow<'b, str>, Unreadable> {
    if let Some((unicode, mark)) = Unicode::of_mark(bytes)
        && (unicode == Unicode::Utf8 || said.is_none_or(Charset::may_be_marked))
        && let Some(text) = unicode.decode(&bytes[mark..])
    {
        return Ok(text);
    }
    let Some(said) = said else {
        return Ok(guessed(bytes));
    };
    if let Some(text) = said.decode(bytes) {
        return Ok(text);
    }
    if said.holds_ascii() {
        return Ok(guessed(bytes));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if said.is_sure_of(text) => Ok(Cow::Borrowed(text)),
        _ => Err(said.unreadable()),
    }
}

/// The name of a field or of a file, which is read in any case.
pub(super) fn decode_name<'b>(bytes: &'b [u8], said: Option<&Charset>) -> Cow<'b, str> {
    decode(bytes, said).unwrap_or_else(|_| guessed(bytes))
}

/// The same of one that stands in a header: what surrounds it is ASCII.
pub(super) fn decode_name_in_header<'b>(bytes: &'b [u8], said: Option<&Charset>) -> Cow<'b, str> {
    decode_name(bytes, said.filter(|said| said.holds_ascii()))
}

/// Bytes of which nothing is said, or nothing that is so.
fn guessed(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

/// A text without the byte order mark that it may begin with.
pub(super) fn unmarked(text: &str) -> &str {
    text.strip_prefix(MARK).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_is_said_to_be_and_else_as_it_can_be() {
        let said = |name: &str| Charset::of(name.as_bytes());
        for (bytes, charset, expected) in [
            (&b"plain"[..], None, "plain"),
            ("ação".as_bytes(), None, "ação"),
            (b"a\xe7\xe3o", None, "ação"),
            (b"a\xe7\xe3o", said("ISO-8859-1"), "ação"),
            (b"a\xe7\xe3o", said(" latin1 "), "ação"),
            (b"\x80 5", said("windows-1252"), "€ 5"),
            ("ação".as_bytes(), said("iso-8859-1"), "aÃ§Ã£o"),
            ("ação".as_bytes(), said("us-ascii"), "ação"),
            ("ação".as_bytes(), said("no such thing"), "ação"),
            (b"\xef\xbb\xbfa", said("utf-8"), "a"),
            (b"a\x00\xe7\x00", said("utf-16le"), "aç"),
            (b"\x83\x65\x83\x58\x83\x67", said("Shift_JIS"), "テスト"),
            (b"\xcb\xee\xf2", said("cp1251"), "Лот"),
            // Not what it is said to be.
            (b"a\xe7\xe3o", said("utf-8"), "ação"),
            (b"cat", said("utf-16"), "cat"),
            ("ação".as_bytes(), said("utf-32"), "ação"),
            // By names of Python.
            (b"a\xe7\xe3o", said("latin-1"), "ação"),
            (b"a\0\0\0\xe7\0\0\0", said("utf_32"), "aç"),
            (b"\0\0\0a\0\0\0\xe7", said("utf-32-be"), "aç"),
            // Not read here, and sure without it.
            (b"cat, dog\r\n", said("cp437"), "cat, dog\r\n"),
            ("ação".as_bytes(), said("unheard-of"), "ação"),
            (b"cat", said("utf-7"), "cat"),
        ] {
            let text = decode(bytes, charset.as_ref()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(text, expected, "{bytes:?} {charset:?}");
        }
    }

    #[test]
    fn a_mark_says_how_a_text_is_written() {
        let said = |name: &str| Charset::of(name.as_bytes());
        for (bytes, charset, expected) in [
            (&b"\xef\xbb\xbfa\xc3\xa7"[..], None, "aç"),
            (b"\xef\xbb\xbfa\xc3\xa7", said("latin1"), "aç"),
            (b"\xff\xfea\0\xe7\0", None, "aç"),
            (b"\xfe\xff\0a\0\xe7", None, "aç"),
            (b"\xfe\xff\0a\0\xe7", said("utf-16"), "aç"),
            (b"\xfe\xff\0a\0\xe7", said("utf-8"), "aç"),
            (b"\xff\xfe\0\0a\0\0\0", said("utf-32"), "a"),
            (b"\0\0\xfe\xff\0\0\0a", said("unheard-of"), "a"),
            // Letters, and a mark of nothing.
            (b"\xff\xfe", said("windows-1251"), "яю"),
            (b"\xff\xfea", None, "ÿþa"),
        ] {
            let text = decode(bytes, charset.as_ref()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(text, expected, "{bytes:?} {charset:?}");
        }
        assert_eq!(unmarked("\u{feff}a"), "a");
        assert_eq!(unmarked("a\u{feff}"), "a\u{feff}");
    }

    #[test]
    fn a_text_that_nobody_can_read_is_refused_and_a_name_is_not() {
        for (bytes, name) in [
            (&b"a\x87\xc6o"[..], "cp437"),
            (b"a\x87\xc6o", "ibm437"),
            (b"\x83\x81\xa3", "cp037"),
            (b"c\0\0\0a\0", "utf-32"),
            (b"\0\0\x11\0", "utf-32"),
            (b"a\0b", "utf-16le"),
            (b"c\0\0\0", "ucs-4"),
            (b"\x1b$)C\x0e3*\x0f", "iso-2022-kr"),
            (b"a+AOcA4w-o", "utf-7"),
            (b"~{VPND~}", "hz-gb-2312"),
        ] {
            let charset = Charset::of(name.as_bytes()).unwrap();
            let error = decode(bytes, Some(&charset)).expect_err(name).to_string();
            assert!(error.contains(charset.name()), "{error}");
            assert!(error.contains("send it in UTF-8"), "{error}");
            assert!(!decode_name(bytes, Some(&charset)).is_empty());
        }
        let wide = Charset::of(b"utf-16le").unwrap();
        assert_eq!(decode_name_in_header(b"file", Some(&wide)), "file");
        let latin1 = Charset::of(b"latin1").unwrap();
        assert_eq!(decode_name_in_header(b"a\xe7", Some(&latin1)), "aç");
    }

    #[test]
    fn percent_encoding_is_strict_or_lenient() {
        for (text, strict, lenient) in [
            ("a%20b+c", Some("a b+c"), "a b+c"),
            ("%C3%A7", Some("ç"), "ç"),
            ("100%", None, "100%"),
            ("%zz%2", None, "%zz%2"),
            ("%+1", None, "%+1"),
        ] {
            let given = decoded(text, false);
            assert_eq!(given, strict.map(|text| text.as_bytes().to_vec()), "{text}");
            assert_eq!(decoded_leniently(text.as_bytes()), lenient.as_bytes());
        }
        assert_eq!(decoded("a+b", true).unwrap(), b"a b");
    }
}

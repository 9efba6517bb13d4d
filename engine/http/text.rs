//! Bytes of a client to text: percent-encoding, and encodings other than UTF-8.

use std::borrow::Cow;

use encoding_rs::{Encoding, WINDOWS_1252};

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

/// The encoding of a name such as `ISO-8859-1`; `None` for a name that nobody knows, and for
/// ASCII, which says nothing of the bytes that are not.
pub(super) fn charset(name: &[u8]) -> Option<&'static Encoding> {
    let name = name.trim_ascii();
    let is_ascii = [&b"us-ascii"[..], b"ascii"];
    if is_ascii
        .iter()
        .any(|ascii| name.eq_ignore_ascii_case(ascii))
    {
        return None;
    }
    Encoding::for_label_no_replacement(name)
}

/// Bytes as text: in the encoding that they are said to be in, where they can be; else in UTF-8;
/// else in Latin-1, as browsers read it (windows-1252), in which all bytes are text.
pub(super) fn decode<'b>(bytes: &'b [u8], said: Option<&'static Encoding>) -> Cow<'b, str> {
    if let Some(encoding) = said {
        let (text, had_errors) = encoding.decode_with_bom_removal(bytes);
        if !had_errors {
            return text;
        }
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_is_said_to_be_and_else_as_it_can_be() {
        let said = |name: &str| charset(name.as_bytes());
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
        ] {
            assert_eq!(decode(bytes, charset), expected, "{bytes:?} {charset:?}");
        }
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

//! `value; name=value; name="value"`: the parameters of `Content-Type` and `Content-Disposition`,
//! as clients write them and not only as RFC 9110 does. Names have no case and come in any order,
//! a value without quotes ends at the next semicolon, and what stands in quotes is never taken for
//! a parameter. `name*` (RFC 8187) and `name*0`, `name*1` (RFC 2231) are understood.

use super::super::text::{Charset, decode_name, decode_name_in_header, decoded_leniently};

/// Most parameters of a header; further ones are not looked at.
const MAX_PARAMETERS: usize = 64;

/// A header's value and its parameters.
#[derive(Debug)]
pub(super) struct Parameters {
    value: String,
    /// Names in lower case, in the order in which they came.
    list: Vec<(String, Vec<u8>)>,
}

impl Parameters {
    pub(super) fn parse(header: &[u8]) -> Self {
        let (value, mut rest) = until(header, b";");
        let value = String::from_utf8_lossy(value.trim_ascii()).to_ascii_lowercase();
        let mut list = Vec::new();
        while list.len() < MAX_PARAMETERS {
            let Some(start) = rest.iter().position(|byte| !is_between(*byte)) else {
                break;
            };
            let (name, after) = until(&rest[start..], b"=;");
            let Some(given) = after.strip_prefix(b"=") else {
                // A word alone.
                rest = after;
                continue;
            };
            let quoted = given.trim_ascii_start().strip_prefix(b"\"");
            let (value, after) = if let Some(quoted) = quoted {
                unquoted(quoted)
            } else {
                let (value, after) = until(given, b";");
                (value.trim_ascii().to_vec(), after)
            };
            let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
            list.push((name, value));
            rest = after;
        }
        Self { value, list }
    }

    /// The header's value before its parameters, in lower case.
    pub(super) fn value(&self) -> &str {
        &self.value
    }

    /// A parameter as it was sent; the last of several.
    pub(super) fn raw(&self, name: &str) -> Option<&[u8]> {
        let mut list = self.list.iter().rev();
        let found = list.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_slice())
    }

    /// A parameter as text: what says its encoding itself goes first. `said` is the encoding of
    /// one that does not.
    pub(super) fn text(&self, name: &str, said: Option<&Charset>) -> Option<String> {
        if let Some(extended) = self.raw(&format!("{name}*")) {
            return Some(text_of_extended(extended, said));
        }
        self.continued(name, said).or_else(|| {
            let value = self.raw(name)?;
            Some(decode_name_in_header(value, said).into_owned())
        })
    }

    /// The encoding that the parameter `charset` says.
    pub(super) fn charset(&self) -> Option<Charset> {
        self.raw("charset").and_then(Charset::of)
    }

    /// A value in pieces (RFC 2231, section 3).
    fn continued(&self, name: &str, said: Option<&Charset>) -> Option<String> {
        let mut whole = Vec::new();
        let mut own = None;
        for number in 0..self.list.len() {
            if let Some(piece) = self.raw(&format!("{name}*{number}*")) {
                let piece = match number {
                    0 => {
                        let (charset, piece) = split_extended(piece);
                        own = charset;
                        piece
                    }
                    _ => piece,
                };
                whole.extend(decoded_leniently(piece));
            } else if let Some(piece) = self.raw(&format!("{name}*{number}")) {
                whole.extend_from_slice(piece);
            } else if number == 0 {
                return None;
            } else {
                break;
            }
        }
        (!self.list.is_empty()).then(|| decode_named(&whole, own.as_ref(), said))
    }
}

fn is_between(byte: u8) -> bool {
    byte == b';' || byte.is_ascii_whitespace()
}

/// What stands before the first of some bytes, and the rest from it on.
fn until<'t>(text: &'t [u8], ends: &[u8]) -> (&'t [u8], &'t [u8]) {
    let end = text.iter().position(|byte| ends.contains(byte));
    text.split_at(end.unwrap_or(text.len()))
}

/// What stands in quotes, from behind the first of them, and what follows. A backslash stands for
/// itself unless a quote or another follows it, since paths hold them. A quote ends the value where
/// a parameter may end; another one is part of the name of a file, if a last one follows, and else
/// the quotes are part of it too.
fn unquoted(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut at = 0;
    // Where the parameter that a bare quote is in would end, and whether that is behind a quote.
    let mut segment: Option<(usize, bool)> = None;
    while let Some(byte) = text.get(at) {
        at += 1;
        match (byte, text.get(at)) {
            (b'\\', Some(escaped @ (b'"' | b'\\'))) => {
                value.push(*escaped);
                at += 1;
            }
            (b'"', _) => {
                let after = text[at..].trim_ascii_start();
                if after.is_empty() || after.starts_with(b";") {
                    return (value, after);
                }
                let (end, is_quoted) = match segment {
                    Some(known) if known.0 >= at => known,
                    _ => {
                        let (rest, _) = until(&text[at..], b";");
                        (at + rest.len(), rest.trim_ascii_end().ends_with(b"\""))
                    }
                };
                segment = Some((end, is_quoted));
                if !is_quoted {
                    let whole = [b"\"", text[..end].trim_ascii_end()].concat();
                    return (whole, &text[end..]);
                }
                value.push(b'"');
            }
            _ => value.push(*byte),
        }
    }
    (value, &[])
}

/// `UTF-8'en'na%C3%AFve` as text; without its two quotes it says no encoding.
fn text_of_extended(value: &[u8], said: Option<&Charset>) -> String {
    let (own, encoded) = split_extended(value);
    decode_named(&decoded_leniently(encoded), own.as_ref(), said)
}

/// A value in the encoding that it says itself, else in that of what it stands in.
fn decode_named(value: &[u8], own: Option<&Charset>, said: Option<&Charset>) -> String {
    let text = match own {
        Some(_) => decode_name(value, own),
        None => decode_name_in_header(value, said),
    };
    text.into_owned()
}

fn split_extended(value: &[u8]) -> (Option<Charset>, &[u8]) {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(_language), Some(encoded)) => (Charset::of(name), encoded),
        _ => (None, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disposition(header: &str) -> (Option<String>, Option<String>) {
        let parameters = Parameters::parse(header.as_bytes());
        assert_eq!(parameters.value(), "form-data", "{header}");
        let text = |name| parameters.text(name, None);
        (text("name"), text("filename"))
    }

    #[test]
    fn names_and_files_are_found_however_they_are_written() {
        for (header, name, filename) in [
            (r#"form-data; name="file""#, "file", None),
            (
                r#"form-data; name="file"; filename="a.png""#,
                "file",
                Some("a.png"),
            ),
            (
                r#"form-data; filename="a.png"; name="file""#,
                "file",
                Some("a.png"),
            ),
            (
                r#"Form-Data;NAME="file";FileName="a.png""#,
                "file",
                Some("a.png"),
            ),
            (
                r"form-data; name = file ; filename = my cat.png ",
                "file",
                Some("my cat.png"),
            ),
            (
                r#"form-data; filename="my name.png"; name="file""#,
                "file",
                Some("my name.png"),
            ),
            (
                r#"form-data; filename="name=x; name.png"; name="file""#,
                "file",
                Some("name=x; name.png"),
            ),
            (
                r#"form-data; filename="; name=x"; name=file"#,
                "file",
                Some("; name=x"),
            ),
            (r#"form-data; xname="x"; name="file""#, "file", None),
            (r#"form-data; alone; name="file";"#, "file", None),
            (r#"form-data; name="file"; filename="""#, "file", Some("")),
            (r#"form-data; name="file"; filename="#, "file", Some("")),
            // Quotes and backslashes.
            (
                r#"form-data; name="file"; filename="a\"b\\c.png""#,
                "file",
                Some(r#"a"b\c.png"#),
            ),
            (
                r#"form-data; name="file"; filename="C:\cat\b.png""#,
                "file",
                Some(r"C:\cat\b.png"),
            ),
            (
                r#"form-data; name="file"; filename="a"b.png""#,
                "file",
                Some(r#"a"b.png"#),
            ),
            (
                r#"form-data; name="file"; filename="a%22b.png""#,
                "file",
                Some("a%22b.png"),
            ),
            (
                r#"form-data; name="file"; filename="a.png"#,
                "file",
                Some("a.png"),
            ),
            (
                r#"form-data; filename="a"b; name="file""#,
                "file",
                Some(r#""a"b"#),
            ),
            (
                r#"form-data; filename="a"b";name="file""#,
                "file",
                Some(r#"a"b"#),
            ),
            // The last of several.
            (r#"form-data; name="a"; name="file""#, "file", None),
        ] {
            let expected = (Some(name.to_owned()), filename.map(str::to_owned));
            assert_eq!(disposition(header), expected, "{header}");
        }
        assert_eq!(disposition("form-data"), (None, None));
        assert_eq!(disposition("form-data; filename=\"name=x\"").0, None);
    }

    #[test]
    fn extended_values_are_decoded() {
        for (parameters, expected) in [
            (
                "filename*=UTF-8''gat%C3%A3o%20%F0%9F%90%B1.png",
                "gatão 🐱.png",
            ),
            ("filename*=utf-8'pt-BR'a%C3%A7%C3%A3o", "ação"),
            ("FILENAME*=\"UTF-8''a%C3%A7%C3%A3o\"", "ação"),
            ("filename*=iso-8859-1'en'%A3%20rates", "£ rates"),
            ("filename*=utf-32be''%00%00%00%E7", "ç"),
            ("filename*=cp437''a%87.png", "a‡.png"),
            ("filename=\"=?utf-8?B?YQ==?=\"; filename*=UTF-8''b", "b"),
            ("filename*=UTF-8''b; filename=\"a\"", "b"),
            ("filename*=a%20b", "a b"),
            ("filename*=UTF-8''100%", "100%"),
            ("filename*=UTF-8''it's", "it's"),
            ("filename*0=\"a \"; filename*1=b", "a b"),
            ("filename*1=b; filename*0=a; filename=c", "ab"),
            (
                "filename*0*=UTF-8''%C3; filename*1*=%A7; filename*2=%41",
                "ç%41",
            ),
        ] {
            let header = format!("form-data; name=\"file\"; {parameters}");
            let expected = (Some("file".to_owned()), Some(expected.to_owned()));
            assert_eq!(disposition(&header), expected, "{header}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_read_too() {
        let header = b"form-data; name=\"a\xe7\xe3o\"; filename=\"\xe7.png\"";
        let parameters = Parameters::parse(header);
        // What stands in a header is no wide text, whatever is said of the form.
        for said in [None, Charset::of(b"utf-16le"), Charset::of(b"utf-32")] {
            let text = |name| parameters.text(name, said.as_ref()).unwrap();
            assert_eq!(
                (text("name"), text("filename")),
                ("ação".into(), "ç.png".into())
            );
        }
    }

    #[test]
    fn boundaries_need_no_quotes() {
        for boundary in ["----=_Part_0_12.34", "a/b:c=d?e", "(a),'b'+_-.", "x"] {
            for header in [
                format!("multipart/form-data; boundary={boundary}"),
                format!("Multipart/Form-Data;charset=utf-8; BOUNDARY=\"{boundary}\" ;x=y"),
            ] {
                let parameters = Parameters::parse(header.as_bytes());
                assert_eq!(parameters.value(), "multipart/form-data");
                assert_eq!(parameters.raw("boundary"), Some(boundary.as_bytes()));
            }
        }
    }

    #[test]
    fn a_header_of_any_bytes_is_read_in_bounds() {
        for header in [
            &b""[..],
            b";",
            b";;==;\"",
            b"a;b=\"\\",
            b"a; *=b; *0=c",
            b"\xff;\xff=\xff",
        ] {
            let parameters = Parameters::parse(header);
            assert_eq!(parameters.text("name", None), None, "{header:?}");
        }
        let many = Parameters::parse("a=b;".repeat(10_000).as_bytes());
        assert!(many.list.len() <= MAX_PARAMETERS);
        let quotes = Parameters::parse(format!("a; n=\"{}", "\" ".repeat(10_000)).as_bytes());
        assert_eq!(quotes.list.len(), 1);
    }
}

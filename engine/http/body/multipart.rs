//! A multipart form (RFC 7578) to raw fields: what browsers and the clients of the Python service
//! send. The whole body is here already, so its parts are views of it and nothing is copied.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use omnizap_contract::{Error, ErrorKind};

use super::super::limits::Limits;
use super::super::raw::{Raw, RawFields};
use super::super::text::Charset;
use super::parameters::Parameters;
use crate::pipeline::request::Upload;

/// The field that says the encoding of a form's texts (RFC 7578, section 4.6).
const CHARSET_FIELD: &str = "_charset_";
/// Longest head of a part, in bytes.
const MAX_PART_HEAD: usize = 16 << 10;
/// Longest boundary, in bytes: RFC 2046 allows 70, and clients write longer ones.
const MAX_BOUNDARY: usize = 1024;
const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// The fields of a form; a part without a name is none.
///
/// # Errors
/// [`ErrorKind::Malformed`] for a body that is no form, [`ErrorKind::Invalid`] for too many parts.
pub(super) fn split(
    content_type: &Parameters,
    body: &Bytes,
    limits: &Limits,
) -> Result<RawFields, Error> {
    let boundary = content_type.raw("boundary").map(<[u8]>::trim_ascii_end);
    let boundary = match boundary {
        Some(boundary) if (1..=MAX_BOUNDARY).contains(&boundary.len()) => boundary,
        Some(_) => {
            let wrong = format!("its boundary is empty or longer than {MAX_BOUNDARY} bytes");
            return Err(malformed(&wrong));
        }
        None => return Err(malformed("its Content-Type has no boundary")),
    };
    let delimiter = [b"\r\n--", boundary].concat();
    let of_form = content_type.charset();
    let mut of_field = None;
    let mut parts = Vec::new();
    for part in Parts::begin(body, &delimiter)? {
        if parts.len() == limits.max_parts {
            let many = format!("the form has more than {} parts", limits.max_parts);
            return Err(Error::new(ErrorKind::Invalid, many).with_code("too_many_parts"));
        }
        let part = Part::read(body, part?, of_form.as_ref())?;
        match &part {
            Part { name, data, .. } if name.as_deref() == Some(CHARSET_FIELD) => {
                of_field = Charset::of(data);
            }
            _ => parts.push(part),
        }
    }
    let of_others = of_field.or(of_form);
    let mut fields = RawFields::default();
    for part in parts {
        if let Some(name) = part.name {
            let raw = Raw::Part {
                data: part.data,
                filename: part.filename,
                content_type: part.content_type,
                charset: part.charset.or_else(|| of_others.clone()),
            };
            fields.add(name, raw);
        }
    }
    Ok(fields)
}

fn malformed(what: &str) -> Error {
    let message = format!("the multipart form is malformed: {what}");
    Error::new(ErrorKind::Malformed, message).with_code("malformed_multipart")
}

/// Where each part of a form begins and ends.
struct Parts<'b> {
    body: &'b [u8],
    delimiter: memmem::Finder<'b>,
    /// Where the next part begins; `None` behind the last.
    at: Option<usize>,
}

/// A delimiter: what stands before it ends where it begins.
struct Delimiter {
    start: usize,
    end: usize,
    is_last: bool,
}

impl<'b> Parts<'b> {
    /// Finds the first part. What stands before it counts for nothing.
    fn begin(body: &'b [u8], delimiter: &'b [u8]) -> Result<Self, Error> {
        let mut parts = Self {
            body,
            delimiter: memmem::Finder::new(delimiter),
            at: None,
        };
        // The first delimiter may begin the body, without the line end that belongs to it.
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let blank = body.iter().take_while(|byte| is_line_end(byte)).count();
        let rest = &body[blank..];
        let at_start = rest.strip_prefix(&delimiter[2..]);
        let at_start = at_start.and_then(|after| parts.ending(blank, body.len() - after.len()));
        let Some(first) = at_start.or_else(|| parts.delimiter_from(0)) else {
            return Err(malformed("the boundary of its Content-Type is not in it"));
        };
        parts.at = (!first.is_last).then_some(first.end);
        Ok(parts)
    }

    /// The first delimiter from a position on.
    fn delimiter_from(&self, from: usize) -> Option<Delimiter> {
        let mut from = from;
        loop {
            let start = from + self.delimiter.find(self.body.get(from..)?)?;
            let end = start + self.delimiter.needle().len();
            if let Some(delimiter) = self.ending(start, end) {
                return Some(delimiter);
            }
            // A line that only begins as the delimiter does.
            from = end;
        }
    }

    /// The delimiter whose boundary ends at `end`, where its line ends there too.
    fn ending(&self, start: usize, end: usize) -> Option<Delimiter> {
        let after = &self.body[end..];
        if after.starts_with(b"--") {
            return Some(Delimiter {
                start,
                end: end + 2,
                is_last: true,
            });
        }
        let padding = after.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
        let padding = padding.count();
        after[padding..].starts_with(b"\r\n").then_some(Delimiter {
            start,
            end: end + padding + 2,
            is_last: false,
        })
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Place, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at.take()?;
        let rest = &self.body[start..];
        let (head, data) = if rest.starts_with(b"\r\n") {
            (start..start, start + 2)
        } else {
            let searched = &rest[..rest.len().min(MAX_PART_HEAD)];
            let Some(len) = memmem::find(searched, BLANK_LINE) else {
                return Some(Err(malformed(&format!(
                    "a part has no blank line behind its headers, within {MAX_PART_HEAD} bytes"
                ))));
            };
            (start..start + len, start + len + BLANK_LINE.len())
        };
        // From the data on: what begins it cannot end it.
        let Some(next) = self.delimiter_from(data) else {
            return Some(Err(malformed("it breaks off before its last boundary")));
        };
        self.at = (!next.is_last).then_some(next.end);
        let data = data..next.start;
        Some(Ok(Place { head, data }))
    }
}

/// Where a part is in its body.
struct Place {
    head: Range<usize>,
    data: Range<usize>,
}

/// A part of a form.
struct Part {
    name: Option<String>,
    filename: Option<String>,
    content_type: Option<String>,
    /// What the part itself says of its text.
    charset: Option<Charset>,
    data: Bytes,
}

impl Part {
    fn read(body: &Bytes, place: Place, said: Option<&Charset>) -> Result<Self, Error> {
        let mut disposition = None;
        let mut content_type = None;
        for line in unfolded(&body[place.head]) {
            let Some(colon) = memchr::memchr(b':', &line) else {
                return Err(malformed("a header of a part has no colon"));
            };
            let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-disposition") {
                disposition = Some(Parameters::parse(value));
            } else if name.eq_ignore_ascii_case(b"content-type") {
                content_type = Some(value.to_vec());
            }
        }
        let text = |name: &str| disposition.as_ref()?.text(name, said);
        let content_type = content_type.as_deref();
        let declared = content_type.and_then(|value| std::str::from_utf8(value).ok());
        let declared = declared.filter(|value| Upload::is_media_type(value));
        Ok(Self {
            name: text("name"),
            filename: text("filename").map(without_folders),
            content_type: declared.map(str::to_owned),
            charset: content_type.and_then(|value| Parameters::parse(value).charset()),
            data: body.slice(place.data),
        })
    }
}

/// The lines of a head; one that begins with a blank goes on with the line before it.
fn unfolded(head: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut start = 0;
    while start < head.len() {
        let end = memmem::find(&head[start..], b"\r\n").map_or(head.len(), |end| start + end);
        let line = &head[start..end];
        start = end + 2;
        match (line.first(), lines.last_mut()) {
            (Some(b' ' | b'\t'), Some(before)) => {
                before.push(b' ');
                before.extend_from_slice(line.trim_ascii());
            }
            _ => lines.push(line.to_vec()),
        }
    }
    lines
}

/// The name of a file without the folders that old Windows browsers send with it.
fn without_folders(filename: String) -> String {
    let is_path = filename.get(1..3) == Some(":\\") || filename.starts_with("\\\\");
    match filename.rsplit_once('\\') {
        Some((_, name)) if is_path => name.to_owned(),
        _ => filename,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(content_type: &str, body: &[u8]) -> Result<RawFields, Error> {
        let body = Bytes::copy_from_slice(body);
        let content_type = Parameters::parse(content_type.as_bytes());
        split(&content_type, &body, &Limits::default())
    }

    /// What one field of a form is: its data, its name as a file, its media type.
    fn field(body: &[u8], name: &str) -> Option<(Vec<u8>, Option<String>, Option<String>)> {
        let mut fields = form("multipart/form-data; boundary=b", body).unwrap();
        match fields.take(name).pop()? {
            Raw::Part {
                data,
                filename,
                content_type,
                ..
            } => Some((data.to_vec(), filename, content_type)),
            other => panic!("{other:?}"),
        }
    }

    fn data(body: &[u8]) -> Vec<u8> {
        field(body, "f").unwrap().0
    }

    const HEAD: &str = "Content-Disposition: form-data; name=f\r\n\r\n";

    #[test]
    fn a_part_is_what_stands_between_two_delimiters() {
        let one = |before: &str, data: &str, after: &str| -> Vec<u8> {
            format!("{before}--b\r\n{HEAD}{data}\r\n--b{after}").into_bytes()
        };
        for (before, content, after) in [
            ("", "x", "--\r\n"),
            ("", "x", "--"),
            ("", "x", "--epilogue\r\n--b\r\n"),
            ("", "x", " \t\r\n\r\n\r\n--b--"),
            ("\r\n", "x", "--"),
            ("\n", "x", "--"),
            ("preamble\r\n", "x", "--"),
            ("--bc preamble\r\n", "x", "--"),
            ("", "", "--"),
            ("", "\r\n", "--"),
            ("", "--b", "--"),
            ("", "\n--b\n--b--", "--"),
            // Lines that begin as the delimiter does.
            ("", "a\r\n--bc\r\n--b c\r\n--b-\r\n", "--"),
        ] {
            let body = one(before, content, after);
            assert_eq!(data(&body), content.as_bytes(), "{body:?}");
        }
        let padded = format!("--b  \t\r\n{HEAD}x\r\n--b--");
        assert_eq!(data(padded.as_bytes()), b"x");
        let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let body = [&b"--b\r\n"[..], HEAD.as_bytes(), &all, b"\r\n--b--"].concat();
        assert_eq!(data(&body), all);
    }

    #[test]
    fn heads_of_parts_are_read_as_they_are_written() {
        let with = |head: &str| format!("--b\r\n{head}\r\n\r\nx\r\n--b--").into_bytes();
        let data = b"x".to_vec();
        for (head, filename, content_type) in [
            ("content-disposition:form-data;name=f", None, None),
            (
                "CONTENT-DISPOSITION : form-data;\r\n name=\"f\"",
                None,
                None,
            ),
            (
                "Content-Type: Image/PNG; a=\"b c\"\r\nX-Other: 1\r\nContent-Disposition: \
                 form-data; filename=\"C:\\cats\\a.png\"; name=\"f\"",
                Some("a.png"),
                Some("Image/PNG; a=\"b c\""),
            ),
            (
                "Content-Disposition: form-data; name=f; filename=\"\\\\\\\\host\\a.png\"\r\n\
                 Content-Type: png",
                Some("a.png"),
                None,
            ),
            (
                "Content-Disposition: form-data; name=g\r\nContent-Disposition: x; name=f",
                None,
                None,
            ),
        ] {
            let expected = (
                data.clone(),
                filename.map(str::to_owned),
                content_type.map(str::to_owned),
            );
            assert_eq!(field(&with(head), "f"), Some(expected), "{head}");
        }
        // Without a name it is no field.
        let fields = form(
            "multipart/form-data; boundary=b",
            &with("Content-Type: a/b"),
        )
        .unwrap();
        assert_eq!(fields.into_names().count(), 0);
        let headless = b"--b\r\n\r\nx\r\n--b--";
        let fields = form("multipart/form-data; boundary=b", headless).unwrap();
        assert_eq!(fields.into_names().count(), 0);
    }

    #[test]
    fn the_encoding_of_texts_is_told_by_the_part_the_form_or_the_request() {
        let charset_of = |content_type: &str, part: &str, charset: &str| {
            let body = format!(
                "--b\r\nContent-Disposition: form-data; name=f{part}\r\n\r\nx\r\n\
                 --b\r\nContent-Disposition: form-data; name=_charset_\r\n\r\n{charset}\r\n--b--"
            );
            let mut fields = form(content_type, body.as_bytes()).unwrap();
            let field = fields.take("f").pop();
            assert_eq!(fields.into_names().count(), 0, "`_charset_` is no field");
            match field {
                Some(Raw::Part { charset, .. }) => charset.map(|it| it.name().to_owned()),
                other => panic!("{other:?}"),
            }
        };
        let plain = "multipart/form-data; boundary=b";
        let of_request = "multipart/form-data; charset=koi8-r; boundary=b";
        let of_part = "\r\nContent-Type: text/plain; charset=\"ISO-8859-1\"";
        for (content_type, part, charset, expected) in [
            (plain, "", "?", None),
            (plain, "", "UTF-8", Some("UTF-8")),
            (plain, "", "utf-32", Some("UTF-32LE")),
            (plain, "", "cp437", Some("cp437")),
            (of_request, "", "?", Some("KOI8-R")),
            (of_request, "", "utf-8", Some("UTF-8")),
            (of_request, of_part, "utf-8", Some("windows-1252")),
        ] {
            let found = charset_of(content_type, part, charset);
            assert_eq!(
                found.as_deref(),
                expected,
                "{content_type} {part} {charset}"
            );
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let plain = "multipart/form-data; boundary=b";
        for (content_type, body) in [
            ("multipart/form-data", &b"--b--"[..]),
            ("multipart/form-data; boundary=", b"--b--"),
            (plain, b""),
            (plain, b"hello"),
            (plain, b"--b"),
            (plain, b"--b\r\nhello"),
            (
                plain,
                b"--b\nContent-Disposition: form-data; name=f\n\nx\n--b--\n",
            ),
            (plain, b"--b\r\nhello\r\n--b--"),
            (plain, b"--b\r\nhello\r\n\r\nx\r\n--b--"),
            (
                plain,
                b"--b\r\nContent-Disposition: form-data; name=f\r\n\r\nx",
            ),
        ] {
            let error = form(content_type, body).unwrap_err();
            assert_eq!(error.code(), "malformed_multipart", "{body:?}");
        }
        let long = "b".repeat(MAX_BOUNDARY + 1);
        let error = form(&format!("multipart/form-data; boundary={long}"), b"").unwrap_err();
        assert_eq!(error.code(), "malformed_multipart");
        let long = format!("--b\r\nX: {}\r\n\r\nx\r\n--b--", "y".repeat(MAX_PART_HEAD));
        let error = form(plain, long.as_bytes()).unwrap_err();
        assert!(error.message().contains("no blank line"), "{error}");
        let many = format!("--b\r\n{HEAD}x\r\n").repeat(Limits::default().max_parts + 1);
        let error = form(plain, format!("{many}--b--").as_bytes()).unwrap_err();
        assert_eq!(error.code(), "too_many_parts");
        assert_eq!(form(plain, b"--b--").unwrap().into_names().count(), 0);
    }
}

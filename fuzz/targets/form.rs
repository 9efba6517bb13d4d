//! A multipart form: the first line is its Content-Type, the rest the body. What is in it is in the
//! body, and a form that is written of it again is read as the same.

use bytes::Bytes;
use engine::http::{Limits, split_form};

/// Longest message of a refusal.
const MAX_MESSAGE: usize = 2048;

pub fn run(data: &[u8]) -> bool {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (content_type, body) = match end {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let body = Bytes::copy_from_slice(body);
    let limits = Limits::default();
    let fields = match split_form(content_type, &body, &limits) {
        Ok(fields) => fields,
        Err(error) => {
            assert!(error.kind().is_of_client(), "{error:?}");
            super::check_message(error.message(), MAX_MESSAGE);
            assert!(!error.code().is_empty());
            return false;
        }
    };
    assert!(fields.len() <= limits.max_parts, "{} fields", fields.len());
    let sent: usize = fields.iter().map(|(_, data)| data.len()).sum();
    assert!(sent <= body.len(), "{sent} bytes of {}", body.len());
    let fields = fields.into_iter();
    let plain: Vec<(String, Bytes)> = fields.filter(|(name, _)| is_plain(name)).collect();
    let boundary = boundary_for(&body);
    let again = write(&plain, &boundary);
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let read = split_form(content_type.as_bytes(), &again, &limits);
    let read = read.unwrap_or_else(|error| panic!("what was written is refused: {error:?}"));
    assert_eq!(read, plain);
    true
}

/// A name that stands in quotes as it is, and says nothing about the form.
fn is_plain(name: &str) -> bool {
    let plain =
        |char: char| char.is_ascii_graphic() && !matches!(char, '"' | '\\' | '%' | '&' | ';');
    name != "_charset_" && !name.is_empty() && name.chars().all(plain)
}

/// A boundary that is nowhere in the body.
fn boundary_for(body: &[u8]) -> String {
    let is_free = |boundary: &String| {
        let mut windows = body.windows(boundary.len());
        windows.all(|window| window != boundary.as_bytes())
    };
    let mut boundaries = (0..=body.len()).map(|number| format!("again{number}b"));
    boundaries
        .find(is_free)
        .expect("more boundaries than bytes")
}

fn write(fields: &[(String, Bytes)], boundary: &str) -> Bytes {
    let mut body = Vec::new();
    for (name, data) in fields {
        let head =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body.into()
}

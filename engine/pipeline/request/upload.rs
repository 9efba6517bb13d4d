//! A file that comes as text in a JSON body: base64 (RFC 4648), alone or in a `data:` URL
//! (RFC 2397), which declares a media type as a part of a form does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use omnizap_contract::{Error, ErrorKind};

use super::value::quoted;
use super::{Field, is_token_char};

/// Longest media type that an upload may declare, in bytes.
const MAX_MEDIA_TYPE: usize = 255;

/// A file, and what its sender says of it.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its content.
    pub data: Bytes,
    /// The media type that was declared, if any.
    pub content_type: Option<String>,
}

impl Field {
    /// The file that a text holds: base64, or a `data:` URL of base64.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a text that is neither, [`ErrorKind::UnsupportedType`] for a
    /// declared media type that is not accepted, [`ErrorKind::TooLarge`] over the field's
    /// `max_bytes`; each names the field.
    pub fn upload_of_text(&self, text: &str) -> Result<Upload, Error> {
        let (declared, encoded) = self.data_url(text)?.unwrap_or((None, text));
        if let Some(declared) = declared {
            self.check_accepted(declared)?;
        }
        // Before anything is set aside for it.
        self.check_size(decoded_len(encoded))?;
        let data = STANDARD
            .decode(encoded.as_bytes())
            .map_err(|error| self.invalid(format!("not base64: {error}")))?;
        Ok(Upload {
            data: data.into(),
            content_type: declared.map(str::to_owned),
        })
    }

    /// The media type and the base64 of a `data:` URL; `None` for a text that is none.
    fn data_url<'t>(&self, text: &'t str) -> Result<Option<(Option<&'t str>, &'t str)>, Error> {
        // No base64 holds a colon, so nothing is taken for a URL that is not one.
        let Some((scheme, rest)) = text.split_once(':') else {
            return Ok(None);
        };
        if !scheme.eq_ignore_ascii_case("data") {
            return Ok(None);
        }
        let url = rest
            .split_once(',')
            .and_then(|(head, data)| Some((head.rsplit_once(';')?, data)));
        let Some(((declared, encoding), data)) = url else {
            let form = "expected a data: URL such as data:image/png;base64,iVBORw0KGgo=";
            return Err(self.invalid(form));
        };
        if !encoding.trim().eq_ignore_ascii_case("base64") {
            return Err(self.invalid("a data: URL must be in base64"));
        }
        let declared = declared.trim();
        if declared.is_empty() {
            return Ok(Some((None, data)));
        }
        if !is_media_type(declared) {
            let found = quoted(declared);
            return Err(self.invalid(format!("{found} in a data: URL is no media type")));
        }
        Ok(Some((Some(declared), data)))
    }

    /// Whether a file of that many bytes is within the bounds.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], naming the field, where it is not.
    pub fn check_size(&self, len: usize) -> Result<(), Error> {
        match self.max_bytes {
            Some(max) if len > max => {
                let name = self.name.get_ref();
                let large = format!("{name}: a file of {len} bytes, at most {max} are allowed");
                Err(Error::new(ErrorKind::TooLarge, large).with_code("field_too_large"))
            }
            _ => Ok(()),
        }
    }

    /// Whether an upload may declare that media type.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedType`], naming the field and what it takes, where it may not.
    pub(crate) fn check_accepted(&self, declared: &str) -> Result<(), Error> {
        let essence = declared.split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        let mut ranges = self.accept.iter();
        if self.accept.is_empty() || ranges.any(|range| matches_range(range, &essence)) {
            return Ok(());
        }
        let name = self.name.get_ref();
        let expected = self.accept.join(" or ");
        let refused =
            format!("{name}: a file of type {essence} is not accepted, expected {expected}");
        Err(Error::new(ErrorKind::UnsupportedType, refused).with_code("unsupported_file_type"))
    }
}

/// True where a media type matches `image/*`, `image/png` or `*/*`.
fn matches_range(range: &str, essence: &str) -> bool {
    match range.strip_suffix('*') {
        Some("*/") => true,
        Some(prefix) => essence.starts_with(prefix),
        None => essence == range,
    }
}

fn is_media_type(text: &str) -> bool {
    let mut parts = text.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    let is_token = |part: &str| !part.is_empty() && part.chars().all(is_token_char);
    let has_kind = essence
        .split_once('/')
        .is_some_and(|(kind, of)| is_token(kind) && is_token(of));
    let is_plain = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    has_kind && is_plain && text.len() <= MAX_MEDIA_TYPE
}

/// How many bytes a base64 text stands for.
fn decoded_len(text: &str) -> usize {
    let ends = text.bytes().rev().take(2);
    let padding = ends.take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_what_base64_stands_for_is_known_before() {
        for len in 0..10 {
            let text = STANDARD.encode(vec![7; len]);
            assert_eq!(decoded_len(&text), len, "{text}");
        }
    }

    #[test]
    fn ranges_take_the_types_that_are_meant() {
        for (range, essence, expected) in [
            ("image/*", "image/png", true),
            ("image/*", "imagery/png", false),
            ("image/png", "image/png", true),
            ("image/png", "image/png2", false),
            ("*/*", "text/html", true),
            ("*", "text/html", true),
        ] {
            assert_eq!(matches_range(range, essence), expected, "{range} {essence}");
        }
    }
}

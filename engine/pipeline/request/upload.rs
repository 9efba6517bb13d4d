//! A file that comes as text in a JSON body: base64 (RFC 4648), alone or in a `data:` URL
//! (RFC 2397), which declares a media type as a part of a form does. Of base64 every form is taken
//! that there is: in lines, of the alphabet for URLs, and without its padding.

use std::borrow::Cow;
use std::fmt;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};
use bytes::Bytes;
use omnizap_contract::{Error, ErrorKind};

use super::value::quoted;
use super::{Field, is_token_char};

/// Longest media type that an upload may declare, in bytes.
const MAX_MEDIA_TYPE: usize = 255;
/// What decodes base64 once it is [`plain`].
static BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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
        let url = self.data_url(text)?;
        let is_url = url.is_some();
        let (declared, encoded) = url.unwrap_or((None, text));
        if let Some(declared) = declared {
            self.check_accepted(declared)?;
        }
        // Before anything is set aside for it.
        self.check_size(decoded_len(encoded, is_url))?;
        let encoded = plain(encoded, is_url);
        let data = BASE64
            .decode(encoded.as_ref())
            .map_err(|error| self.invalid(NotBase64 { error, is_url }))?;
        Ok(Upload {
            data: data.into(),
            content_type: declared.map(str::to_owned),
        })
    }

    /// True for a text that is a `data:` URL, well-formed or not: it names a media type, or says how
    /// it is encoded. What people write behind `data:` is none.
    #[must_use]
    pub fn is_data_url(text: &str) -> bool {
        let text = text.trim_start();
        let head = text.split_once(',').map(|(head, _)| head);
        Self::begins_data_url(text.as_bytes())
            && head.is_some_and(|head| head.contains(['/', ';']) && !head.contains(' '))
    }

    /// True for what may be one.
    pub(crate) fn begins_data_url(text: &[u8]) -> bool {
        let begin = text.trim_ascii_start().get(..5);
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(b"data:"))
    }

    /// The media type and the base64 of a `data:` URL; `None` for a text that is none.
    fn data_url<'t>(&self, text: &'t str) -> Result<Option<(Option<&'t str>, &'t str)>, Error> {
        // No base64 holds a colon, so nothing is taken for a URL that is not one.
        let Some((scheme, rest)) = text.split_once(':') else {
            return Ok(None);
        };
        if !scheme.trim_start().eq_ignore_ascii_case("data") {
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
        if !Upload::is_media_type(declared) {
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

impl Upload {
    /// True for a text that may be the media type of an upload.
    pub(crate) fn is_media_type(text: &str) -> bool {
        let mut parts = text.split(';');
        let essence = parts.next().unwrap_or_default().trim();
        let is_token = |part: &str| !part.is_empty() && part.chars().all(is_token_char);
        let has_kind = essence
            .split_once('/')
            .is_some_and(|(kind, of)| is_token(kind) && is_token(of));
        let is_plain = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        has_kind && is_plain && text.len() <= MAX_MEDIA_TYPE
    }
}

/// Base64 in its plain form: without what stands between its lines, of the usual alphabet, and
/// without the percent-encoding that a URL may have.
fn plain(text: &str, is_url: bool) -> Cow<'_, [u8]> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut plain = Vec::with_capacity(text.len());
    plain.extend(symbols(text, is_url).map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        _ => byte,
    }));
    Cow::Owned(plain)
}

/// The bytes of a text that mean something: none of those between its lines.
fn symbols(text: &str, is_url: bool) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    let bytes = std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let (byte, after) = match escaped(rest) {
            Some(byte) if is_url => (byte, &after[2..]),
            _ => (first, after),
        };
        rest = after;
        Some(byte)
    });
    bytes.filter(|byte| !byte.is_ascii_whitespace())
}

/// The byte that a text begins with as `%2B`.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// How many bytes a base64 text stands for; at least so many where it is none.
fn decoded_len(text: &str, is_url: bool) -> usize {
    let digits = symbols(text, is_url).filter(|byte| *byte != b'=').count();
    digits / 4 * 3 + (digits % 4).saturating_sub(1)
}

/// Why a text is not base64.
struct NotBase64 {
    error: DecodeError,
    is_url: bool,
}

impl fmt::Display for NotBase64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not base64: ")?;
        match self.error {
            DecodeError::InvalidByte(_, b'=') => f.write_str("found = before its end")?,
            DecodeError::InvalidByte(_, byte) if byte.is_ascii_graphic() => {
                write!(f, "found {:?}", char::from(byte))?;
            }
            DecodeError::InvalidByte(..) => f.write_str("found a character that is not of it")?,
            DecodeError::InvalidLength(_)
            | DecodeError::InvalidLastSymbol { .. }
            | DecodeError::InvalidPadding => f.write_str("it is cut off")?,
        }
        if !self.is_url {
            f.write_str(", expected base64 or a data: URL of it")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn the_length_of_what_base64_stands_for_is_known_before() {
        for len in 0..10 {
            let data = vec![0xfb; len];
            for text in [STANDARD.encode(&data), URL_SAFE_NO_PAD.encode(&data)] {
                assert_eq!(decoded_len(&text, false), len, "{text}");
                let lines = text.replace('A', "A\r\n\t ");
                assert_eq!(decoded_len(&lines, false), len, "{lines}");
                let escaped = text.replace('+', "%2B").replace('=', "%3d");
                assert_eq!(decoded_len(&escaped, true), len, "{escaped}");
            }
        }
    }

    #[test]
    fn every_form_of_base64_is_taken() {
        let data: Vec<u8> = (0..=255).collect();
        let decode = |text: &str, is_url| BASE64.decode(plain(text, is_url).as_ref());
        let standard = STANDARD.encode(&data);
        let lines: Vec<&[u8]> = standard.as_bytes().chunks(76).collect();
        for text in [
            standard.clone(),
            standard.trim_end_matches('=').to_owned(),
            URL_SAFE_NO_PAD.encode(&data),
            format!(
                " {}\r\n",
                String::from_utf8(lines.join(&b"\r\n"[..])).unwrap()
            ),
            standard.replace('/', "_"),
        ] {
            assert_eq!(
                decode(&text, false).as_deref(),
                Ok(data.as_slice()),
                "{text}"
            );
            let escaped = text
                .replace('+', "%2B")
                .replace('/', "%2f")
                .replace('=', "%3D");
            assert_eq!(
                decode(&escaped, true).as_deref(),
                Ok(data.as_slice()),
                "{escaped}"
            );
        }
        for (text, reason) in [
            ("http://a", "found ':'"),
            ("aGk%3D", "found '%'"),
            ("a", "it is cut off"),
            ("aGk=aGk=", "found = before its end"),
            ("aé", "found a character that is not of it"),
        ] {
            let error = decode(text, false).unwrap_err();
            let is_url = false;
            let shown = NotBase64 { error, is_url }.to_string();
            let expected = format!("not base64: {reason}, expected base64 or a data: URL of it");
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    fn a_text_about_data_is_no_url() {
        for (text, expected) in [
            ("data:image/png;base64,AAAA", true),
            (" DATA:image/png,AAAA", true),
            ("data:;base64,AAAA", true),
            ("data: what was measured, and where", false),
            ("Data: a/b, c", false),
            ("data:", false),
            ("date, data:", false),
            ("", false),
        ] {
            assert_eq!(Field::is_data_url(text), expected, "{text}");
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

//! Where a PNG file says how it wants to be turned: the chunk eXIf, and texts from before there was one.
//!
//! As Pillow finds it: of two that say the same the later counts, and it may stand behind the pixels,
//! where ImageMagick puts it.

use std::borrow::Cow;

use fdeflate::decompress_to_vec_bounded;
use image::metadata::Orientation;

use super::super::exif;
use super::chunks::Chunk;

/// Most bytes that a text or a profile may have, inflated where it was packed, as for Pillow: more are a
/// bomb.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;

/// The keyword of EXIF data as lines of hexadecimal digits, which is how ImageMagick wrote it.
const RAW_PROFILE: &[u8] = b"Raw profile type exif";

/// The keyword of an XMP packet.
const XMP: &[u8] = b"XML:com.adobe.xmp";

/// What was found, as it stands in the file.
#[derive(Clone, Copy, Default)]
pub(super) struct Turn<'a> {
    exif: Option<&'a [u8]>,
    profile: Option<Text<'a>>,
    xmp: Option<Text<'a>>,
}

/// The text of a chunk.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    is_packed: bool,
}

impl<'a> Turn<'a> {
    /// Notes what a chunk says. Behind the pixels checksums are not looked at, as Pillow does not.
    pub(super) fn note(&mut self, chunk: &Chunk<'a>, is_before_pixels: bool) {
        let is_sound = || chunk.is_whole && (!is_before_pixels || chunk.has_right_checksum());
        if chunk.name == *b"eXIf" {
            if is_sound() {
                self.exif = Some(chunk.data);
            }
            return;
        }
        let Some((keyword, rest)) = split(chunk.data) else {
            return;
        };
        if !matches!(keyword, b"exif" | RAW_PROFILE | XMP) || !is_sound() {
            return;
        }
        let text = match &chunk.name {
            b"tEXt" => Some(Text {
                bytes: rest,
                is_packed: false,
            }),
            b"zTXt" => rest.strip_prefix(&[0]).map(|bytes| Text {
                bytes,
                is_packed: true,
            }),
            b"iTXt" => international(rest),
            _ => None,
        };
        match (text, keyword) {
            (Some(text), b"exif") if chunk.name == *b"tEXt" => self.exif = Some(text.bytes),
            (Some(text), RAW_PROFILE) => self.profile = Some(text),
            (Some(text), XMP) => self.xmp = Some(text),
            _ => {}
        }
    }

    /// How the picture wants to be turned. Broken data turns nothing.
    pub(super) fn read(&self) -> Orientation {
        let profile = match (self.exif, self.profile) {
            (None, Some(profile)) => profile.read().and_then(|text| digits(&text)),
            _ => None,
        };
        let xmp = self.xmp.and_then(|xmp| xmp.read());
        exif::turn(self.exif.or(profile.as_deref()), xmp.as_deref())
    }
}

impl<'a> Text<'a> {
    fn read(&self) -> Option<Cow<'a, [u8]>> {
        if self.is_packed {
            inflated(self.bytes).map(Cow::Owned)
        } else {
            (self.bytes.len() <= MAX_TEXT_BYTES).then_some(Cow::Borrowed(self.bytes))
        }
    }
}

/// What a profile or a text inflates to, where it is not too much.
pub(super) fn inflated(bytes: &[u8]) -> Option<Vec<u8>> {
    decompress_to_vec_bounded(bytes, MAX_TEXT_BYTES).ok()
}

/// The text of an iTXt chunk, behind its keyword.
fn international(rest: &[u8]) -> Option<Text<'_>> {
    let ([flag, method], rest) = rest.split_first_chunk()?;
    let (_language, rest) = split(rest)?;
    let (_keyword, bytes) = split(rest)?;
    let is_packed = *flag != 0;
    (!is_packed || *method == 0).then_some(Text { bytes, is_packed })
}

/// What stands before the first zero byte, and behind it.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// The bytes of a raw profile: an empty line, its name and its length come first.
fn digits(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.splitn(4, |byte| *byte == b'\n').nth(3)?;
    let digits = lines.iter().filter(|byte| !byte.is_ascii_whitespace());
    let values: Option<Vec<u8>> = digits
        .map(|&digit| (digit as char).to_digit(16).map(|value| value as u8))
        .collect();
    let values = values?;
    let (pairs, rest) = values.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| high << 4 | low);
    rest.is_empty().then(|| bytes.collect())
}

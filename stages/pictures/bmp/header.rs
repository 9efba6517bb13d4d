//! What the headers of a bitmap say: that of the file, if there is one, and that of the picture.

use std::ops::Range;

use image::ImageFormat;
use omnizap_contract::Error;

use super::masks::Masks;
use super::palette::Palette;
use crate::colour::MAX_PROFILE;
use crate::fault;
use crate::limits::Limits;

/// The length of a file header.
const FILE_HEADER: usize = 14;
/// The lengths of the headers of Windows; the shortest is that of OS/2 1 too.
const CORE: usize = 12;
const INFO: usize = 40;
const V2: usize = 52;
const V3: usize = 56;
const V4: usize = 108;
const V5: usize = 124;
/// OS/2 2 writes as much of its header as it has to say something: from the sides on.
const OS2_LEAST: usize = 16;
const OS2: usize = 64;
/// Most entries of a palette, of which 256 count.
const MAX_ENTRIES: u32 = 65_536;
/// `MBED`: the profile is in the file.
const EMBEDDED: u32 = 0x4D42_4544;

/// What is to be known of a picture before its pixels are read.
pub(super) struct Header {
    /// At least 1.
    pub(super) width: u32,
    /// At least 1.
    pub(super) height: u32,
    /// Whether the first row of the file is the topmost.
    pub(super) is_top_down: bool,
    pub(super) coding: Coding,
    /// Where the pixels begin. May lie behind the file's end.
    pub(super) data: usize,
    /// Where the ICC profile is.
    pub(super) icc: Option<Range<usize>>,
}

/// How the pixels are written.
pub(super) enum Coding {
    Indices { bits: u8, palette: Palette },
    Runs { kind: Runs, palette: Palette },
    Colours { bytes: u8, masks: Masks },
}

impl Coding {
    pub(super) fn has_alpha(&self) -> bool {
        matches!(self, Self::Colours { masks, .. } if masks.has_alpha())
    }
}

/// What a run repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// Two indices in turn.
    Rle4,
    /// An index.
    Rle8,
    /// A colour: OS/2 alone has these.
    Rle24,
}

/// What a header names as compression.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Runs(Runs),
    /// So many masks stand in the header or behind it.
    Masks(usize),
}

/// The parts of a picture's header, in the order of the format.
struct Parts<'f> {
    /// The header and all behind it.
    from: &'f [u8],
    length: usize,
    width: i64,
    height: i64,
    bits: u16,
    compression: u32,
    entries: u32,
}

/// True where a file begins with the header of a bitmap, without a file header: numbers that fit
/// together, since there is no signature.
pub(crate) fn is_bare(file: &[u8]) -> bool {
    let Some(length) = number(file, 0).map(|length| length as usize) else {
        return false;
    };
    let has_depth = |at| matches!(short(file, at), Some(1 | 2 | 4 | 8 | 16 | 24 | 32));
    match length {
        CORE => short(file, 8) == Some(1) && has_depth(10),
        INFO | V2 | V3 | OS2 | V4 | V5 => {
            matches!(number(file, 4), Some(1..=0xFF_FFFF))
                // Some write 0 planes.
                && matches!(short(file, 12), Some(0 | 1))
                && has_depth(14)
                && matches!(number(file, 16), Some(0..=6))
        }
        _ => false,
    }
}

/// Reads the headers and the palette.
///
/// # Errors
/// `TooLarge` where a limit is exceeded, `Invalid` where what is said makes no sense or the file ends,
/// `UnsupportedType` for rare kinds.
pub(super) fn read(file: &[u8], limits: Limits) -> Result<Header, Error> {
    let (start, offset) = if file.starts_with(b"BM") {
        (FILE_HEADER, number(file, 10).ok_or_else(truncated)?)
    } else {
        (0, 0)
    };
    let parts = Parts::read(file.get(start..).unwrap_or_default())?;
    let (width, height) = sides(&parts, limits)?;
    let compression = compression(&parts)?;
    // Masks that the header has no room for stand behind it.
    let behind = match compression {
        Compression::Masks(masks) if parts.length < V2 => 4 * masks,
        _ => 0,
    };
    let end = start + parts.length + behind;
    let step = if parts.length == CORE { 3 } else { 4 };
    let mut data = offset as usize;
    let palette = if parts.bits <= 8 {
        let count = match parts.entries {
            0 => 1 << parts.bits,
            count => count,
        };
        if count > MAX_ENTRIES {
            return Err(broken("the palette is too large"));
        }
        let length = step * count as usize;
        // Some say that the pixels follow the header at once, and mean the palette's end.
        if data == FILE_HEADER + parts.length && start > 0 {
            data += length;
        }
        if data == 0 {
            data = end + length;
        }
        let entries = file.get(end..).unwrap_or_default();
        let entries = &entries[..length.min(256 * step).min(entries.len())];
        let palette = Palette::new(entries, step);
        let is_byte_each = parts.bits == 8 || compression != Compression::None;
        if is_byte_each {
            palette.or_gray(count as usize)
        } else {
            palette
        }
    } else {
        Palette::new(&[], step)
    };
    if data == 0 {
        data = end;
    }
    Ok(Header {
        width,
        height,
        is_top_down: parts.height < 0,
        coding: coding(&parts, compression, palette)?,
        data,
        icc: profile(&parts, start),
    })
}

impl<'f> Parts<'f> {
    fn read(from: &'f [u8]) -> Result<Self, Error> {
        let length = number(from, 0).ok_or_else(truncated)? as usize;
        let is_known = matches!(length, CORE | V4 | V5) || (OS2_LEAST..=OS2).contains(&length);
        if !is_known {
            return Err(broken(format!("its header is of {length} bytes")));
        }
        let header = from.get(..length).ok_or_else(truncated)?;
        // A part that is left out is 0.
        let long = |at| number(header, at).unwrap_or_default();
        let short = |at| short(header, at).unwrap_or_default();
        Ok(if length == CORE {
            Self {
                from,
                length,
                width: short(4).into(),
                height: short(6).into(),
                bits: short(10),
                compression: 0,
                entries: 0,
            }
        } else {
            Self {
                from,
                length,
                width: long(4).cast_signed().into(),
                height: long(8).cast_signed().into(),
                bits: short(14),
                compression: long(16),
                entries: long(32),
            }
        })
    }

    /// True for a header of OS/2 2, whose numbers of compressions are others.
    fn is_os2(&self) -> bool {
        self.length > CORE && self.length <= OS2 && ![INFO, V2, V3].contains(&self.length)
    }
}

fn sides(parts: &Parts, limits: Limits) -> Result<(u32, u32), Error> {
    let height = parts.height.unsigned_abs();
    if parts.width <= 0 || height == 0 {
        return Err(broken(format!("it is of {}x{height} pixels", parts.width)));
    }
    // Both were of 32 bits.
    let (width, height) = (parts.width as u32, height as u32);
    limits.check(width, height)?;
    Ok((width, height))
}

fn compression(parts: &Parts) -> Result<Compression, Error> {
    use Runs::{Rle4, Rle8, Rle24};
    let reason = match (parts.compression, parts.bits) {
        (0, _) => return Ok(Compression::None),
        (1, 1 | 2 | 4 | 8) => return Ok(Compression::Runs(Rle8)),
        (2, 1 | 2 | 4 | 8) => return Ok(Compression::Runs(Rle4)),
        (4, 24) if parts.is_os2() => return Ok(Compression::Runs(Rle24)),
        (3, 16 | 24 | 32) => return Ok(Compression::Masks(3)),
        (6, 16 | 24 | 32) => return Ok(Compression::Masks(4)),
        (3, 1) if parts.is_os2() => "it is compressed as a fax",
        (4, _) => "there is a JPEG in it",
        (5, _) => "there is a PNG in it",
        (compression, bits) => {
            return Err(broken(format!(
                "compression {compression} of {bits} bits is none"
            )));
        }
    };
    Err(fault::rare_kind(ImageFormat::Bmp, reason))
}

fn coding(parts: &Parts, compression: Compression, palette: Palette) -> Result<Coding, Error> {
    let masks = match compression {
        Compression::Runs(kind) => return Ok(Coding::Runs { kind, palette }),
        Compression::Masks(masks) => masks_of(parts, masks)?,
        Compression::None => [0; 4],
    };
    let usual = match (parts.bits, compression) {
        (1 | 2 | 4 | 8, _) => {
            let bits = parts.bits as u8;
            return Ok(Coding::Indices { bits, palette });
        }
        (16, _) => [0x7C00, 0x3E0, 0x1F, 0],
        // As Pillow has it: four masks that are all 0 mean alpha, and none at all mean none.
        (32, Compression::Masks(_)) => [0xFF_0000, 0xFF00, 0xFF, 0xFF00_0000],
        (24 | 32, _) => [0xFF_0000, 0xFF00, 0xFF, 0],
        (64, _) => {
            let reason = "it has 64 bits a pixel";
            return Err(fault::rare_kind(ImageFormat::Bmp, reason));
        }
        (bits, _) => return Err(broken(format!("it has {bits} bits a pixel"))),
    };
    let masks = if masks == [0; 4] { usual } else { masks };
    Ok(Coding::Colours {
        bytes: (parts.bits / 8) as u8,
        masks: Masks::new(masks),
    })
}

/// The masks of red, green, blue and alpha, in the header or behind it.
fn masks_of(parts: &Parts, count: usize) -> Result<[u32; 4], Error> {
    let count = if parts.length >= V3 { 4 } else { count };
    let mut masks = [0; 4];
    for (index, mask) in masks.iter_mut().take(count).enumerate() {
        *mask = number(parts.from, INFO.min(parts.length) + 4 * index).ok_or_else(truncated)?;
    }
    let [red, green, blue, alpha] = masks;
    // Pillow looks at alpha only where a pixel is of 32 bits, as for the two usual kinds of 16.
    let is_usual = matches!(
        (red, green, blue),
        (0x7C00, 0x3E0, 0x1F) | (0xF800, 0x7E0, 0x1F)
    );
    let is_without = parts.bits == 24 || parts.bits == 16 && is_usual;
    Ok([red, green, blue, if is_without { 0 } else { alpha }])
}

/// Where the ICC profile is: only the last version has one.
fn profile(parts: &Parts, start: usize) -> Option<Range<usize>> {
    if parts.length < V5 || number(parts.from, 56)? != EMBEDDED {
        return None;
    }
    let from = start.checked_add(number(parts.from, 112)? as usize)?;
    let length = number(parts.from, 116)? as usize;
    (length > 0 && length <= MAX_PROFILE).then(|| from..from.saturating_add(length))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*number))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let number = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*number))
}

fn truncated() -> Error {
    fault::truncated(ImageFormat::Bmp)
}

fn broken(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    fault::broken(ImageFormat::Bmp, reason)
}

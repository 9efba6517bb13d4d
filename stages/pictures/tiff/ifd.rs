//! Header and first directory of the file, and the values of its tags.

use image::ImageFormat;
use omnizap_contract::Error;

use crate::fault;

/// The tags that are looked at.
pub(super) mod tag {
    pub(in super::super) const WIDTH: u16 = 256;
    pub(in super::super) const HEIGHT: u16 = 257;
    pub(in super::super) const BITS_PER_SAMPLE: u16 = 258;
    pub(in super::super) const COMPRESSION: u16 = 259;
    pub(in super::super) const PHOTOMETRIC: u16 = 262;
    pub(in super::super) const FILL_ORDER: u16 = 266;
    pub(in super::super) const STRIP_OFFSETS: u16 = 273;
    pub(in super::super) const ORIENTATION: u16 = 274;
    pub(in super::super) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(in super::super) const ROWS_PER_STRIP: u16 = 278;
    pub(in super::super) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(in super::super) const PLANAR_CONFIGURATION: u16 = 284;
    pub(in super::super) const T4_OPTIONS: u16 = 292;
    pub(in super::super) const PREDICTOR: u16 = 317;
    pub(in super::super) const COLOR_MAP: u16 = 320;
    pub(in super::super) const TILE_WIDTH: u16 = 322;
    pub(in super::super) const TILE_HEIGHT: u16 = 323;
    pub(in super::super) const TILE_OFFSETS: u16 = 324;
    pub(in super::super) const TILE_BYTE_COUNTS: u16 = 325;
    pub(in super::super) const EXTRA_SAMPLES: u16 = 338;
    pub(in super::super) const SAMPLE_FORMAT: u16 = 339;
    pub(in super::super) const JPEG_TABLES: u16 = 347;
    pub(in super::super) const JPEG_STREAM: u16 = 513;
    pub(in super::super) const JPEG_STREAM_LENGTH: u16 = 514;
    pub(in super::super) const YCBCR_COEFFICIENTS: u16 = 529;
    pub(in super::super) const YCBCR_SUBSAMPLING: u16 = 530;
    pub(in super::super) const REFERENCE_BLACK_WHITE: u16 = 532;
    pub(in super::super) const XMP: u16 = 700;
    pub(in super::super) const ICC_PROFILE: u16 = 34675;

    /// Of all that a directory may hold, only these are kept.
    pub(super) const ALL: [u16; 29] = [
        WIDTH,
        HEIGHT,
        BITS_PER_SAMPLE,
        COMPRESSION,
        PHOTOMETRIC,
        FILL_ORDER,
        STRIP_OFFSETS,
        ORIENTATION,
        SAMPLES_PER_PIXEL,
        ROWS_PER_STRIP,
        STRIP_BYTE_COUNTS,
        PLANAR_CONFIGURATION,
        T4_OPTIONS,
        PREDICTOR,
        COLOR_MAP,
        TILE_WIDTH,
        TILE_HEIGHT,
        TILE_OFFSETS,
        TILE_BYTE_COUNTS,
        EXTRA_SAMPLES,
        SAMPLE_FORMAT,
        JPEG_TABLES,
        JPEG_STREAM,
        JPEG_STREAM_LENGTH,
        YCBCR_COEFFICIENTS,
        YCBCR_SUBSAMPLING,
        REFERENCE_BLACK_WHITE,
        XMP,
        ICC_PROFILE,
    ];
}

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// The number that up to eight bytes make.
    #[inline]
    pub(super) fn number(self, bytes: &[u8]) -> u64 {
        // Samples are so many that the usual sizes count.
        match (self, bytes) {
            (Self::Little, &[a, b]) => return u16::from_le_bytes([a, b]).into(),
            (Self::Big, &[a, b]) => return u16::from_be_bytes([a, b]).into(),
            (Self::Little, &[a, b, c, d]) => return u32::from_le_bytes([a, b, c, d]).into(),
            (Self::Big, &[a, b, c, d]) => return u32::from_be_bytes([a, b, c, d]).into(),
            _ => {}
        }
        let add = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        match self {
            Self::Little => bytes.iter().rev().fold(0, add),
            Self::Big => bytes.iter().fold(0, add),
        }
    }
}

/// Byte order, and whether offsets have 64 bits. Some writers swap the version's bytes, which
/// Pillow forgives.
fn header(file: &[u8]) -> Option<(Order, bool)> {
    match file.first_chunk()? {
        b"II\x2a\0" | b"II\0\x2a" => Some((Order::Little, false)),
        b"MM\0\x2a" | b"MM\x2a\0" => Some((Order::Big, false)),
        b"II\x2b\0" => Some((Order::Little, true)),
        b"MM\0\x2b" => Some((Order::Big, true)),
        _ => None,
    }
}

/// A kind of TIFF that is not read: `what` it has.
pub(super) fn unread(what: &str) -> Error {
    fault::unread_kind(ImageFormat::Tiff, what)
}

/// The values of one tag, where they stand in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    order: Order,
    kind: u16,
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        size_of_kind(self.kind).map_or(0, |size| self.bytes.len() / size)
    }

    /// A whole number that is not negative.
    pub(super) fn get(&self, index: usize) -> Option<u64> {
        let size = size_of_kind(self.kind)?;
        let at = index.checked_mul(size)?;
        let number = self
            .order
            .number(self.bytes.get(at..at.checked_add(size)?)?);
        let sign = 8 * size as u32 - 1;
        match self.kind {
            1 | 3 | 4 | 7 | 13 | 16 | 18 => Some(number),
            // Signed ones.
            6 | 8 | 9 | 17 => (number >> sign == 0).then_some(number),
            _ => None,
        }
    }

    /// A fraction or a whole number.
    pub(super) fn real(&self, index: usize) -> Option<f32> {
        let at = index.checked_mul(8)?;
        let parts = || {
            let bytes = self.bytes.get(at..at.checked_add(8)?)?;
            let (above, below) = bytes.split_at(4);
            Some((self.order.number(above), self.order.number(below)))
        };
        match self.kind {
            5 => parts().map(|(above, below)| quotient(above as f64, below as f64)),
            10 => parts().map(|(above, below)| {
                quotient(
                    f64::from(above as u32 as i32),
                    f64::from(below as u32 as i32),
                )
            }),
            11 => {
                let bytes = self.bytes.get(4 * index..4 * index + 4)?;
                Some(f32::from_bits(self.order.number(bytes) as u32))
            }
            _ => self.get(index).map(|value| value as f32),
        }
    }
}

/// As libtiff has it: nothing by nothing is nothing.
fn quotient(above: f64, below: f64) -> f32 {
    if below == 0.0 {
        0.0
    } else {
        (above / below) as f32
    }
}

/// How many bytes a value of a type takes.
fn size_of_kind(kind: u16) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 | 17 | 18 => Some(8),
        _ => None,
    }
}

/// The first directory of a file. The others are pages, small copies and masks.
pub(super) struct Directory<'a> {
    pub(super) file: &'a [u8],
    pub(super) order: Order,
    entries: Vec<(u16, Values<'a>)>,
}

impl<'a> Directory<'a> {
    /// Reads the entries. One whose values lie outside of the file is left out: most are of no
    /// concern to the picture.
    ///
    /// # Errors
    /// `Invalid` where there is no directory, or it ends early.
    pub(super) fn open(file: &'a [u8]) -> Result<Self, Error> {
        let truncated = || fault::truncated(ImageFormat::Tiff);
        let (order, is_big) = header(file).ok_or_else(fault::not_an_image)?;
        // Sizes of an offset, of the number of entries, and of an entry.
        let (word, count, entry) = if is_big { (8, 8, 20) } else { (4, 2, 12) };
        let read = |at: u64, size: usize| -> Option<&'a [u8]> {
            let at = usize::try_from(at).ok()?;
            file.get(at..at.checked_add(size)?)
        };
        let number = |at: u64, size| read(at, size).map(|bytes| order.number(bytes));

        let start = number(word as u64, word).ok_or_else(truncated)?;
        if start == 0 {
            return Err(fault::broken(ImageFormat::Tiff, "it has no directory"));
        }
        let entries_of_file = number(start, count).ok_or_else(truncated)?;
        let mut entries = Vec::new();
        for index in 0..entries_of_file {
            let at = (index.saturating_mul(entry)).saturating_add(start + count as u64);
            let Some(bytes) = read(at, entry as usize) else {
                return Err(truncated());
            };
            let tag = order.number(&bytes[..2]) as u16;
            if !tag::ALL.contains(&tag) {
                continue;
            }
            let kind = order.number(&bytes[2..4]) as u16;
            let values = order.number(&bytes[4..4 + word]);
            let inline = &bytes[4 + word..];
            let Some(size) =
                size_of_kind(kind).and_then(|size| usize::try_from(values).ok()?.checked_mul(size))
            else {
                continue;
            };
            let found = if size <= word {
                inline.get(..size)
            } else {
                read(order.number(inline), size)
            };
            let Some(bytes) = found.filter(|bytes| !bytes.is_empty()) else {
                continue;
            };
            entries.retain(|&(known, _)| known != tag);
            entries.push((tag, Values { order, kind, bytes }));
        }
        Ok(Self {
            file,
            order,
            entries,
        })
    }

    pub(super) fn find(&self, tag: u16) -> Option<Values<'a>> {
        let found = self.entries.iter().find(|(known, _)| *known == tag);
        found.map(|&(_, values)| values)
    }

    /// The first value of a tag.
    pub(super) fn value(&self, tag: u16) -> Option<u64> {
        self.find(tag)?.get(0)
    }
}

//! How a camera says that its picture wants to be turned: the tag Orientation of EXIF data, or of XMP.
//!
//! As Pillow's `ImageOps.exif_transpose` reads it. A reader of its own, since EXIF data is hostile like
//! the rest of a file, and one tag is wanted of it: nothing is allocated, and what is broken turns
//! nothing.

use image::metadata::Orientation;
use memchr::memmem;

/// What some writers put in front of the TIFF header, as in a JPEG's segment.
const PREFIX: &[u8] = b"Exif\0\0";

/// The tag (TIFF 6.0, section 8; EXIF 2.32, section 4.6.4).
const ORIENTATION: u16 = 274;

/// How a picture wants to be turned: as its EXIF data says, which begins with the TIFF header or with
/// `Exif\0\0` and that, and as its XMP packet says where there is
/// no such tag in the EXIF data.
pub(super) fn turn(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    exif.and_then(orientation_tag)
        .or_else(|| xmp.and_then(orientation_in_xmp))
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

/// The number that the tag has, 0 where it is none that turns anything; nothing where there is no tag.
fn orientation_tag(exif: &[u8]) -> Option<u8> {
    let mut tiff = exif;
    while let Some(rest) = tiff.strip_prefix(PREFIX) {
        tiff = rest;
    }
    let order = match tiff.first_chunk::<4>()? {
        // The magic number is 42 in the file's order; some writers turn that about.
        b"II\x2a\0" | b"II\0\x2a" => Order::Little,
        b"MM\0\x2a" | b"MM\x2a\0" => Order::Big,
        _ => return None,
    };
    let directory = tiff.get(order.long(tiff.get(4..8)?)? as usize..)?;
    let (count, entries) = directory.split_at_checked(2)?;
    let mut found = None;
    // As many entries as there are, whatever is claimed: at most 65,535.
    for entry in entries
        .as_chunks::<12>()
        .0
        .iter()
        .take(order.short(count)?.into())
    {
        match value(tiff, order, entry) {
            Entry::Other => {}
            Entry::Orientation(number) => found = Some(number),
            // Nothing behind it is believed.
            Entry::Broken => break,
        }
    }
    found
}

/// One entry of a directory.
enum Entry {
    /// The tag, and its number.
    Orientation(u8),
    /// Another tag, or one without a value.
    Other,
    /// It points out of the data.
    Broken,
}

fn value(tiff: &[u8], order: Order, entry: &[u8; 12]) -> Entry {
    let read = || -> Option<(u16, u16, u32, u32)> {
        Some((
            order.short(&entry[0..2])?,
            order.short(&entry[2..4])?,
            order.long(&entry[4..8])?,
            order.long(&entry[8..12])?,
        ))
    };
    let Some((tag, kind, count, at)) = read() else {
        return Entry::Broken;
    };
    let Some(size) = size_of(kind) else {
        return Entry::Other;
    };
    let bytes = u64::from(count) * size;
    let data = if bytes > 4 {
        let at = u64::from(at);
        match (at + bytes <= tiff.len() as u64).then(|| tiff.get(at as usize..)) {
            Some(Some(data)) => data,
            _ => return Entry::Broken,
        }
    } else {
        &entry[8..12]
    };
    if tag != ORIENTATION || bytes == 0 {
        return Entry::Other;
    }
    Entry::Orientation(order.number(kind, data).unwrap_or(0))
}

/// How many bytes a value of a type takes (TIFF 6.0, section 2, and LONG8 of BigTIFF).
fn size_of(kind: u16) -> Option<u64> {
    match kind {
        // BYTE, ASCII, SBYTE, UNDEFINED
        1 | 2 | 6 | 7 => Some(1),
        // SHORT, SSHORT
        3 | 8 => Some(2),
        // LONG, SLONG, FLOAT, IFD
        4 | 9 | 11 | 13 => Some(4),
        // RATIONAL, SRATIONAL, DOUBLE, LONG8
        5 | 10 | 12 | 16 => Some(8),
        _ => None,
    }
}

/// The order of bytes.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn short(self, bytes: &[u8]) -> Option<u16> {
        let bytes = *bytes.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    fn long(self, bytes: &[u8]) -> Option<u32> {
        let bytes = *bytes.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }

    /// The first value where its type is one of numbers and it is a whole one of those that a tag of
    /// this kind has. A BYTE is none to Pillow, which takes it for text.
    fn number(self, kind: u16, data: &[u8]) -> Option<u8> {
        let second = || self.long(data.get(4..)?);
        let whole = |value: f64| (1..=8).find(|number| f64::from(*number) == value);
        match kind {
            3 | 8 => self.short(data)?.try_into().ok(),
            4 | 9 | 13 => self.long(data)?.try_into().ok(),
            6 => data.first().copied(),
            5 | 10 => whole(f64::from(self.long(data)?) / f64::from(second()?)),
            11 => whole(f32::from_bits(self.long(data)?).into()),
            12 => whole(f64::from_bits(self.long8(data)?)),
            16 => self.long8(data)?.try_into().ok(),
            _ => None,
        }
    }

    fn long8(self, bytes: &[u8]) -> Option<u64> {
        let bytes = *bytes.first_chunk()?;
        Some(match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        })
    }
}

/// The digit of the first `tiff:Orientation="6"` or `<tiff:Orientation>6<` of an XMP packet.
fn orientation_in_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = xmp;
    while let Some(at) = memmem::find(rest, NAME) {
        rest = rest.get(at + NAME.len()..)?;
        let value = rest.strip_prefix(b"=\"").or(rest.strip_prefix(b">"));
        if let Some(digit) = value.and_then(|value| value.first())
            && digit.is_ascii_digit()
        {
            return Some(digit - b'0');
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orientation_of(exif: &[u8]) -> Orientation {
        turn(Some(exif), None)
    }

    /// A TIFF header and one directory of the entries given.
    fn exif(is_big: bool, entries: &[(u16, u16, u32, [u8; 4])]) -> Vec<u8> {
        let short = |n: u16| {
            if is_big {
                n.to_be_bytes()
            } else {
                n.to_le_bytes()
            }
        };
        let long = |n: u32| {
            if is_big {
                n.to_be_bytes()
            } else {
                n.to_le_bytes()
            }
        };
        let mut bytes = if is_big { b"MM\0\x2a" } else { b"II\x2a\0" }.to_vec();
        bytes.extend(long(8));
        bytes.extend(short(entries.len() as u16));
        for &(tag, kind, count, value) in entries {
            bytes.extend(short(tag));
            bytes.extend(short(kind));
            bytes.extend(long(count));
            bytes.extend(value);
        }
        bytes.extend(long(0));
        bytes
    }

    #[test]
    fn every_orientation_is_read_in_either_order_and_as_short_or_long() {
        for number in 1..=8 {
            let expected = Orientation::from_exif(number).unwrap();
            for (is_big, kind, value) in [
                (false, 3, [number, 0, 0, 0]),
                (false, 4, [number, 0, 0, 0]),
                (true, 3, [0, number, 0, 0]),
                (true, 4, [0, 0, 0, number]),
            ] {
                let plain = exif(
                    is_big,
                    &[(256, 3, 1, [9; 4]), (ORIENTATION, kind, 1, value)],
                );
                assert_eq!(orientation_of(&plain), expected);
                let prefixed = [PREFIX, &plain].concat();
                assert_eq!(orientation_of(&prefixed), expected);
            }
        }
    }

    /// Nobody should write them so; Pillow turns them.
    #[test]
    fn numbers_of_other_types_are_read_as_pillow_does() {
        let at_the_end = 8 + 2 + 12 + 4;
        let pointer = u32::to_le_bytes(at_the_end);
        let fraction = |numerator: u32, denominator: u32| {
            [numerator.to_le_bytes(), denominator.to_le_bytes()].concat()
        };
        for (kind, value, behind, expected) in [
            (6, [6, 0, 0, 0], Vec::new(), 6),
            (8, [6, 0, 0, 0], Vec::new(), 6),
            (9, [6, 0, 0, 0], Vec::new(), 6),
            (13, [6, 0, 0, 0], Vec::new(), 6),
            (11, 6f32.to_le_bytes(), Vec::new(), 6),
            (11, f32::NAN.to_le_bytes(), Vec::new(), 1),
            (5, pointer, fraction(12, 2), 6),
            (10, pointer, fraction(6, 1), 6),
            (5, pointer, fraction(13, 2), 1),
            (5, pointer, fraction(6, 0), 1),
            (12, pointer, 6f64.to_le_bytes().to_vec(), 6),
            (16, pointer, 6u64.to_le_bytes().to_vec(), 6),
            (1, [6, 0, 0, 0], Vec::new(), 1),
            (7, [6, 0, 0, 0], Vec::new(), 1),
        ] {
            let mut bytes = exif(false, &[(ORIENTATION, kind, 1, value)]);
            bytes.extend(behind);
            let expected = Orientation::from_exif(expected).unwrap();
            assert_eq!(orientation_of(&bytes), expected, "type {kind}");
        }
    }

    #[test]
    fn what_is_broken_turns_nothing() {
        let six = [6, 0, 0, 0];
        let good = exif(false, &[(ORIENTATION, 3, 1, six)]);
        for length in 0..good.len() {
            let cut = orientation_of(&good[..length]);
            // The pointer to the next directory may be missing.
            let expected = if length < good.len() - 4 {
                Orientation::NoTransforms
            } else {
                Orientation::Rotate90
            };
            assert_eq!(cut, expected, "cut at {length}");
        }
        for entries in [
            // No number, a number that is none of the eight, text, a fraction elsewhere, no value at all.
            &[(ORIENTATION, 99, 1, six)][..],
            &[(ORIENTATION, 3, 1, [9, 0, 0, 0])],
            &[(ORIENTATION, 4, 1, [6, 0, 1, 0])],
            &[(ORIENTATION, 2, 1, [b'6', 0, 0, 0])],
            &[(ORIENTATION, 5, 1, six)],
            &[(ORIENTATION, 3, 0, six)],
            // What comes behind an entry that points out of the data.
            &[(271, 2, 900, [9, 9, 9, 9]), (ORIENTATION, 3, 1, six)],
            &[(271, 12, u32::MAX, [0xFF; 4]), (ORIENTATION, 3, 1, six)],
        ] {
            assert_eq!(
                orientation_of(&exif(false, entries)),
                Orientation::NoTransforms
            );
        }
        let mut far = good;
        far[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(orientation_of(&far), Orientation::NoTransforms);
    }

    #[test]
    fn xmp_turns_what_exif_says_nothing_of() {
        let xmp: &[u8] = b"<x tiff:Orientation='3' tiff:Orientation=\"6\"/>";
        let element: &[u8] = b"<tiff:Orientation>8</tiff:Orientation>";
        assert_eq!(turn(None, Some(xmp)), Orientation::Rotate90);
        assert_eq!(turn(None, Some(element)), Orientation::Rotate270);
        assert_eq!(
            turn(None, Some(b"tiff:Orientation=\"")),
            Orientation::NoTransforms
        );
        let upright = exif(false, &[(ORIENTATION, 3, 1, [1, 0, 0, 0])]);
        assert_eq!(turn(Some(&upright), Some(xmp)), Orientation::NoTransforms);
        assert_eq!(turn(Some(b"rubbish"), Some(xmp)), Orientation::Rotate90);
        assert_eq!(turn(None, None), Orientation::NoTransforms);
    }
}

//! How a camera was held: the orientation in EXIF data, and where it has none, in XMP.

/// The orientation, 1 to 8, in the TIFF structure that EXIF data is.
pub(super) fn orientation(mut tiff: &[u8]) -> Option<u8> {
    // Some programs write the name twice.
    while let Some(rest) = tiff.strip_prefix(b"Exif\0\0") {
        tiff = rest;
    }
    let is_little = match tiff.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let number = |at: usize, size: usize| {
        let bytes = tiff.get(at..at.checked_add(size)?)?;
        let add = |all: u32, byte: &u8| all << 8 | u32::from(*byte);
        Some(if is_little {
            bytes.iter().rev().fold(0, add)
        } else {
            bytes.iter().fold(0, add)
        })
    };
    let directory = number(4, 4)? as usize;
    let count = number(directory, 2)? as usize;
    // Where a tag stands twice, the last counts, as in Pillow's dictionary.
    let mut found = None;
    for entry in (0..count).map(|index| directory + 2 + 12 * index) {
        let Some(tag) = number(entry, 2) else {
            break;
        };
        if tag != 0x0112 || number(entry + 4, 4)? != 1 {
            continue;
        }
        // Most write a SHORT, as they should; some a LONG, or a signed one.
        let value = match number(entry + 2, 2)? {
            3 | 8 => number(entry + 8, 2),
            4 | 9 => number(entry + 8, 4),
            6 => number(entry + 8, 1),
            _ => None,
        };
        found = value.and_then(|value| u8::try_from(value).ok());
    }
    found
}

/// The orientation in an XMP packet: `tiff:Orientation="6"`, or as an element.
pub(super) fn orientation_of_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = xmp;
    while let Some(at) = rest.windows(NAME.len()).position(|window| window == NAME) {
        rest = &rest[at + NAME.len()..];
        let value = rest.strip_prefix(b"=\"").or(rest.strip_prefix(b">"));
        if let Some(digit @ b'0'..=b'9') = value.and_then(<[u8]>::first) {
            return Some(digit - b'0');
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{orientation, orientation_of_xmp};

    #[test]
    fn shorts_and_longs_of_either_order_are_read() {
        let short = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let long = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\0";
        assert_eq!(orientation(short), Some(6));
        assert_eq!(orientation(long), Some(8));
        assert_eq!(
            orientation(&[b"Exif\0\0", short.as_slice()].concat()),
            Some(6)
        );
        for length in 0..short.len() - 4 {
            assert_eq!(orientation(&short[..length.min(18)]), None);
        }
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), None);
    }

    #[test]
    fn xmp_is_read_as_attribute_and_element() {
        assert_eq!(orientation_of_xmp(b"<a tiff:Orientation=\"6\"/>"), Some(6));
        assert_eq!(orientation_of_xmp(b"<tiff:Orientation>3</"), Some(3));
        assert_eq!(
            orientation_of_xmp(b"tiff:Orientation='3' tiff:Orientation"),
            None
        );
    }
}

//! What the pixels' own header says: RFC 6386, section 9.1, and "WebP Lossless Bitstream
//! Specification", section 3.

/// The header of a picture's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// At least 1.
    pub(super) width: u32,
    /// At least 1.
    pub(super) height: u32,
    pub(super) is_lossless: bool,
    /// Whether lossless pixels may be clear.
    pub(super) has_alpha: bool,
}

/// None where there is no such header.
pub(super) fn head(content: &[u8], is_lossless: bool) -> Option<Head> {
    if is_lossless {
        lossless(content)
    } else {
        lossy(content)
    }
}

fn lossy(content: &[u8]) -> Option<Head> {
    let &[
        tag,
        _,
        _,
        0x9d,
        0x01,
        0x2a,
        width_low,
        width,
        height_low,
        height,
    ] = content.first_chunk()?
    else {
        return None;
    };
    // A picture is a key frame of a video.
    if tag & 1 != 0 {
        return None;
    }
    // The highest bits say how players scale it.
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    let (width, height) = (side(width_low, width), side(height_low, height));
    (width > 0 && height > 0).then_some(Head {
        width,
        height,
        is_lossless: false,
        has_alpha: false,
    })
}

fn lossless(content: &[u8]) -> Option<Head> {
    let &[0x2f, a, b, c, d] = content.first_chunk()? else {
        return None;
    };
    let bits = u32::from_le_bytes([a, b, c, d]);
    let version = bits >> 29;
    (version == 0).then_some(Head {
        width: 1 + (bits & 0x3fff),
        height: 1 + (bits >> 14 & 0x3fff),
        is_lossless: true,
        has_alpha: bits >> 28 & 1 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_sides_and_alpha() {
        let lossy = *b"\x10\0\0\x9d\x01\x2a\x21\xc0\x0a\x40";
        let expected = Head {
            width: 33,
            height: 10,
            is_lossless: false,
            has_alpha: false,
        };
        assert_eq!(head(&lossy, false), Some(expected));
        assert_eq!(head(&lossy[..9], false), None);
        assert_eq!(head(&lossy, true), None);
        let bits = 32u32 | 9 << 14 | 1 << 28;
        let mut lossless = vec![0x2f];
        lossless.extend(bits.to_le_bytes());
        let expected = Head {
            is_lossless: true,
            has_alpha: true,
            ..expected
        };
        assert_eq!(head(&lossless, true), Some(expected));
        lossless[4] |= 0x20;
        assert_eq!(head(&lossless, true), None);
    }
}

//! The ways in which Unicode is written in bytes, and the mark that tells which it is.

use std::borrow::Cow;

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Unicode {
    Utf8,
    Utf16 { is_big: bool },
    Utf32 { is_big: bool },
}

impl Unicode {
    /// The length of the longest mark, in bytes.
    pub(in crate::http) const LONGEST_MARK: usize = 4;

    /// What a byte order mark at the beginning says, and how long it is.
    pub(in crate::http) fn of_mark(bytes: &[u8]) -> Option<(Self, usize)> {
        Some(match bytes {
            [0, 0, 0xfe, 0xff, ..] => (Self::Utf32 { is_big: true }, 4),
            [0xff, 0xfe, 0, 0, ..] => (Self::Utf32 { is_big: false }, 4),
            [0xfe, 0xff, ..] => (Self::Utf16 { is_big: true }, 2),
            [0xff, 0xfe, ..] => (Self::Utf16 { is_big: false }, 2),
            [0xef, 0xbb, 0xbf, ..] => (Self::Utf8, 3),
            _ => return None,
        })
    }

    /// The text that bytes without a mark are; `None` for those that are none.
    pub(in crate::http) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Utf8 => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
            Self::Utf16 { is_big } => {
                let (units, []) = bytes.as_chunks::<2>() else {
                    return None;
                };
                let unit = |unit: &[u8; 2]| {
                    if is_big {
                        u16::from_be_bytes(*unit)
                    } else {
                        u16::from_le_bytes(*unit)
                    }
                };
                let chars = char::decode_utf16(units.iter().map(unit));
                Cow::Owned(chars.collect::<Result<String, _>>().ok()?)
            }
            Self::Utf32 { is_big } => {
                let (units, []) = bytes.as_chunks::<4>() else {
                    return None;
                };
                let char = |unit: &[u8; 4]| {
                    char::from_u32(if is_big {
                        u32::from_be_bytes(*unit)
                    } else {
                        u32::from_le_bytes(*unit)
                    })
                };
                Cow::Owned(units.iter().map(char).collect::<Option<String>>()?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "aç🐱";

    #[test]
    fn text_is_read_as_its_mark_says() {
        let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            TEXT.encode_utf16().flat_map(bytes).collect()
        };
        let utf32 = |bytes: fn(u32) -> [u8; 4]| -> Vec<u8> {
            let codes = TEXT.chars().map(u32::from);
            codes.flat_map(bytes).collect()
        };
        let all: [(&[u8], Vec<u8>); 5] = [
            (b"\xef\xbb\xbf", TEXT.into()),
            (b"\xfe\xff", utf16(u16::to_be_bytes)),
            (b"\xff\xfe", utf16(u16::to_le_bytes)),
            (b"\0\0\xfe\xff", utf32(u32::to_be_bytes)),
            (b"\xff\xfe\0\0", utf32(u32::to_le_bytes)),
        ];
        for (mark, bytes) in all {
            let (unicode, len) = Unicode::of_mark(&[mark, &bytes].concat()).unwrap();
            assert_eq!(len, mark.len());
            assert!(len <= Unicode::LONGEST_MARK);
            assert_eq!(unicode.decode(&bytes).as_deref(), Some(TEXT), "{unicode:?}");
            assert_eq!(unicode.decode(&bytes[..bytes.len() - 1]), None, "cut off");
        }
        for unmarked in [&b""[..], b"a", b"\xef\xbb", b"\xff", b"\0\0\0a"] {
            assert_eq!(Unicode::of_mark(unmarked), None, "{unmarked:?}");
        }
        let surrogate = Unicode::Utf16 { is_big: false };
        assert_eq!(surrogate.decode(b"\0\xd8"), None, "half a pair");
        let beyond = Unicode::Utf32 { is_big: true };
        assert_eq!(beyond.decode(b"\0\x11\0\0"), None, "no character");
    }
}

//! Huffman tables, and bits read by them.

use omnizap_contract::Error;

use super::fault_of::{broken, truncated};

/// How many bits are looked up at once.
const LOOKAHEAD: u32 = 8;
/// The buffer is filled up to this many bits.
const FILLED: u32 = 57;

/// What becomes of a stream that ends before its picture does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// It is refused: half a picture would be taken for the whole one.
    Refuse,
    /// As if an end marker stood there, which leaves the rest gray: libtiff's way.
    EndMarker,
}

/// A table as a file holds it.
pub(super) struct Spec {
    counts: [u8; 17],
    values: [u8; 256],
}

impl Spec {
    /// `values` are at most 256.
    pub(super) fn new(by_length: &[u8; 16], values: &[u8]) -> Self {
        let mut spec = Self {
            counts: [0; 17],
            values: [0; 256],
        };
        spec.counts[1..].copy_from_slice(by_length);
        for (to, from) in spec.values.iter_mut().zip(values) {
            *to = *from;
        }
        spec
    }
}

/// A table made ready.
pub(super) struct Table {
    /// Length and value of the code that the next eight bits begin with; length 9 where it is longer.
    lookup: [u16; 1 << LOOKAHEAD],
    /// The largest code of each length, -1 where there is none.
    largest: [i32; 18],
    offset: [i32; 18],
    values: [u8; 256],
}

impl Table {
    /// # Errors
    /// `Invalid` where the codes are none of a tree, or a DC value is of more than 15 bits.
    pub(super) fn new(spec: &Spec, is_dc: bool) -> Result<Self, Error> {
        let mut table = Self {
            lookup: [((LOOKAHEAD + 1) << LOOKAHEAD) as u16; 1 << LOOKAHEAD],
            largest: [-1; 18],
            offset: [0; 18],
            values: spec.values,
        };
        table.largest[17] = 0xF_FFFF;
        let (mut code, mut at) = (0_i32, 0_usize);
        for length in 1..=16_u32 {
            let count = spec.counts[length as usize];
            table.offset[length as usize] = at as i32 - code;
            for _ in 0..count {
                if at >= 256 {
                    return Err(broken("a Huffman table of too many codes"));
                }
                if length <= LOOKAHEAD {
                    let first = (code as usize) << (LOOKAHEAD - length);
                    let found = (length << LOOKAHEAD) as u16 | u16::from(spec.values[at]);
                    let of_code = table.lookup.iter_mut().skip(first);
                    for entry in of_code.take(1 << (LOOKAHEAD - length)) {
                        *entry = found;
                    }
                }
                code += 1;
                at += 1;
            }
            if count > 0 {
                table.largest[length as usize] = code - 1;
                // No code is all ones.
                if code >= 1 << length {
                    return Err(broken("a Huffman table that is no tree"));
                }
            }
            code <<= 1;
        }
        if is_dc && spec.values[..at].iter().any(|&value| value > 15) {
            return Err(broken("a Huffman table of too large values"));
        }
        Ok(table)
    }
}

/// The bits of entropy-coded data, up to a marker.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    pub(super) at: usize,
    at_end: AtEnd,
    buffer: u64,
    left: u32,
    /// The marker that was met; 0 is none.
    pub(super) marker: u8,
    /// Whether more bits were wanted than stand before the marker; the rest are zeros.
    pub(super) is_short: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], at: usize, at_end: AtEnd) -> Self {
        Self {
            data,
            at,
            at_end,
            buffer: 0,
            left: 0,
            marker: 0,
            is_short: false,
        }
    }

    /// Forgets what was read ahead.
    pub(super) fn discard(&mut self) {
        self.left = 0;
    }

    /// Reads ahead, as `jpeg_fill_bit_buffer` of jdhuff.c: as much as fits, which is what decides
    /// whether a file without an end marker is whole.
    fn fill(&mut self, wanted: u32) -> Result<(), Error> {
        while self.marker == 0 && self.left < FILLED {
            let rest = self.data.get(self.at..).unwrap_or_default();
            if let Some(eight) = rest.first_chunk::<8>() {
                let eight = u64::from_be_bytes(*eight);
                // A byte of eight is 0xFF where its complement is zero.
                let has_ff =
                    (!eight).wrapping_sub(0x0101_0101_0101_0101) & eight & 0x8080_8080_8080_8080;
                if has_ff == 0 {
                    let bytes = ((64 - self.left) / 8).min(7);
                    self.buffer = self.buffer << (8 * bytes) | eight >> (64 - 8 * bytes);
                    self.left += 8 * bytes;
                    self.at += bytes as usize;
                    continue;
                }
            }
            let Some((&byte, rest)) = rest.split_first() else {
                self.ended()?;
                break;
            };
            self.at += 1;
            if byte == 0xFF {
                let Some(fill) = rest.iter().position(|&byte| byte != 0xFF) else {
                    self.at = self.data.len();
                    self.ended()?;
                    break;
                };
                self.at += fill + 1;
                if rest[fill] != 0 {
                    self.marker = rest[fill];
                    break;
                }
            }
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.left += 8;
        }
        if wanted > self.left {
            self.is_short = true;
            self.buffer <<= FILLED - self.left;
            self.left = FILLED;
        }
        Ok(())
    }

    #[cold]
    fn ended(&mut self) -> Result<(), Error> {
        match self.at_end {
            AtEnd::Refuse => Err(truncated()),
            AtEnd::EndMarker => {
                self.marker = 0xD9;
                Ok(())
            }
        }
    }

    /// The next `count` bits, at most 16.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> Result<i32, Error> {
        if self.left < count {
            self.fill(count)?;
        }
        self.left -= count;
        Ok((self.buffer >> self.left) as i32 & ((1 << count) - 1))
    }

    /// The next `count` bits as a signed number (T.81, figure F.12).
    #[inline]
    pub(super) fn signed(&mut self, count: u32) -> Result<i32, Error> {
        if count == 0 {
            return Ok(0);
        }
        let value = self.take(count)?;
        let is_negative = value < 1 << (count - 1);
        Ok(value - if is_negative { (1 << count) - 1 } else { 0 })
    }

    /// The value of the next code, 0 where there is no such code.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, Error> {
        if self.left < LOOKAHEAD {
            self.fill(0)?;
            if self.left < LOOKAHEAD {
                return self.long_symbol(table, 1);
            }
        }
        let ahead = (self.buffer >> (self.left - LOOKAHEAD)) as u8;
        let found = table.lookup[usize::from(ahead)];
        let length = u32::from(found >> LOOKAHEAD);
        if length > LOOKAHEAD {
            return self.long_symbol(table, length);
        }
        self.left -= length;
        Ok(found as u8)
    }

    fn long_symbol(&mut self, table: &Table, mut length: u32) -> Result<u8, Error> {
        let mut code = self.take(length)?;
        while code > table.largest[length as usize] {
            code = code << 1 | self.take(1)?;
            length += 1;
        }
        if length > 16 {
            return Ok(0);
        }
        let place = code + table.offset[length as usize];
        Ok(table.values[place as u8 as usize])
    }
}

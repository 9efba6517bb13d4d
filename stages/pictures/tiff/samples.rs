//! Single samples of a row, of any size, as bytes or as numbers.

use super::ifd::Order;
use super::layout::{Colours, Layout, Numbers};

/// How a sample becomes a byte.
pub(super) enum Narrow {
    Byte,
    /// The heaviest byte of a whole number of so many bytes.
    Heaviest {
        size: usize,
        at: usize,
    },
    /// Fewer bits than a byte has, and what each value becomes.
    Few {
        bits: usize,
        bytes: Vec<u8>,
    },
    /// More bits than a byte has, packed.
    Packed {
        bits: usize,
    },
    /// From 0 to 1.
    Float(Wide),
}

impl Narrow {
    pub(super) fn of(layout: &Layout) -> Self {
        let order = layout.predictor.order(layout.order);
        let heaviest = |size| Self::Heaviest {
            size,
            at: if order == Order::Little { size - 1 } else { 0 },
        };
        match (layout.numbers, layout.bits) {
            (Numbers::Float, _) => Self::Float(Wide::of(layout)),
            (_, 8) => Self::Byte,
            (_, 16) => heaviest(2),
            (_, 32) => heaviest(4),
            (_, bits @ 0..8) => {
                let most = (1 << bits) - 1_u32;
                let is_index = matches!(layout.colours, Colours::Palette(_));
                let byte = |value: u32| {
                    if is_index {
                        value
                    } else {
                        value * 255 / most.max(1)
                    }
                };
                Self::Few {
                    bits: bits as usize,
                    bytes: (0..=most).map(|value| byte(value) as u8).collect(),
                }
            }
            (_, bits) => Self::Packed {
                bits: bits as usize,
            },
        }
    }

    /// The sample at an index of a row.
    pub(super) fn get(&self, row: &[u8], index: usize) -> u8 {
        let byte = |at: usize| row.get(at).copied().unwrap_or(0);
        match self {
            Self::Byte => byte(index),
            Self::Heaviest { size, at } => byte(size * index + at),
            Self::Few { bits, bytes } => {
                let at = bits * index;
                let two = u16::from_be_bytes([byte(at / 8), byte(at / 8 + 1)]);
                let value = two << (at % 8) >> (16 - bits);
                bytes[usize::from(value)]
            }
            Self::Packed { bits } => {
                let at = bits * index;
                let first = u16::from_be_bytes([byte(at / 8), byte(at / 8 + 1)]);
                (first << (at % 8) >> 8) as u8
            }
            Self::Float(wide) => {
                let value = wide.get(row, index).clamp(0.0, 1.0);
                // Not a number becomes 0.
                (value * 255.0 + 0.5) as u8
            }
        }
    }
}

impl Narrow {
    /// A row of one sample a pixel.
    pub(super) fn row(&self, row: &[u8], out: &mut [u8]) {
        match self {
            Self::Few { bits, bytes } if 8 % bits == 0 => {
                let pixels = out.chunks_mut(8 / bits);
                for (&byte, pixels) in row.iter().zip(pixels) {
                    let mut rest = byte;
                    for pixel in pixels {
                        *pixel = bytes[usize::from(rest >> (8 - bits))];
                        rest = rest.checked_shl(*bits as u32).unwrap_or(0);
                    }
                }
            }
            _ => {
                for (index, pixel) in out.iter_mut().enumerate() {
                    *pixel = self.get(row, index);
                }
            }
        }
    }
}

/// How a sample becomes a number.
#[derive(Clone, Copy)]
pub(super) struct Wide {
    order: Order,
    numbers: Numbers,
    size: usize,
}

impl Wide {
    pub(super) fn of(layout: &Layout) -> Self {
        Self {
            order: layout.predictor.order(layout.order),
            numbers: layout.numbers,
            size: layout.bits as usize / 8,
        }
    }

    /// The sample at an index of a row.
    pub(super) fn get(&self, row: &[u8], index: usize) -> f32 {
        let at = self.size * index;
        let Some(bytes) = row.get(at..at + self.size) else {
            return 0.0;
        };
        let number = self.order.number(bytes);
        match (self.numbers, self.size) {
            (Numbers::Float, 4) => f32::from_bits(number as u32),
            (Numbers::Float, _) => f64::from_bits(number) as f32,
            (Numbers::Signed, 2) => f32::from(number as u16 as i16),
            (Numbers::Signed, _) => number as u32 as i32 as f32,
            (Numbers::Unsigned, _) => number as f32,
        }
    }

    /// What gray numbers of any range become.
    ///
    /// Nothing in the file says which of them is white. What people write has one of a few
    /// ranges: those of a byte, as they are; of 16 bits; of all bits; for fractions those up to 1
    /// too. It is the first that all but a few numbers are in: a pixel that went wrong shall not
    /// make the others dark.
    pub(super) fn gray(&self, values: &[f32]) -> Vec<u8> {
        let is_within = |most: f32| {
            let above = values.iter().filter(|&&value| value > most).count();
            above.saturating_mul(1000) <= values.len()
        };
        let top = || {
            let finite = values.iter().copied().filter(|value| value.is_finite());
            finite.fold(0.0, f32::max)
        };
        let is_fraction = self.numbers == Numbers::Float && is_within(1.0);
        let factor = match (self.numbers, self.size) {
            _ if is_fraction => 255.0,
            _ if is_within(255.0) => 1.0,
            (Numbers::Signed, 2) => 1.0 / 128.0,
            _ if is_within(65_535.0) => 1.0 / 256.0,
            (Numbers::Float, _) => 255.0 / top(),
            (Numbers::Signed, _) => 1.0 / (1 << 23) as f32,
            (Numbers::Unsigned, _) => 1.0 / (1 << 24) as f32,
        };
        // Fractions are rounded, parts of whole numbers are cut as elsewhere.
        let half = if is_fraction { 0.5 } else { 0.0 };
        let byte = |&value: &f32| (value * factor + half) as u8;
        values.iter().map(byte).collect()
    }
}

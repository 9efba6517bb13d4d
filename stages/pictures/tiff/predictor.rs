//! Samples that were stored as differences from their left neighbours.

use omnizap_contract::Error;

use super::ifd::{Order, unread};

/// How a row was made smaller before it was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    /// Differences of whole numbers.
    Horizontal,
    /// Differences of bytes, those of the same weight side by side.
    Float,
}

impl Predictor {
    /// Reads the tag; `bits` are those of a sample.
    ///
    /// # Errors
    /// `UnsupportedType` where differences are of samples that libtiff does not know either.
    pub(super) fn of(value: u64, bits: u32, is_float: bool) -> Result<Self, Error> {
        match value {
            1 => Ok(Self::None),
            2 if matches!(bits, 8 | 16 | 32 | 64) => Ok(Self::Horizontal),
            2 => Err(unread(&format!("differences of {bits}-bit samples"))),
            3 if is_float => Ok(Self::Float),
            other => Err(unread(&format!("the predictor {other}"))),
        }
    }

    /// Makes the samples of a row out of their differences. `step` is how many samples lie between
    /// two of the same kind. What floats become is in big-endian order.
    pub(super) fn undo(self, row: &mut [u8], bits: u32, step: usize, order: Order) {
        match (self, bits) {
            (Self::None, _) => {}
            (Self::Horizontal, 8) => add_bytes(row, step),
            (Self::Horizontal, _) => add_numbers(row, bits as usize / 8, step, order),
            (Self::Float, _) => {
                add_bytes(row, step);
                gather(row, bits as usize / 8);
            }
        }
    }

    /// The order of the bytes of a sample behind [`Self::undo`].
    pub(super) fn order(self, order: Order) -> Order {
        if self == Self::Float {
            Order::Big
        } else {
            order
        }
    }
}

fn add_bytes(row: &mut [u8], step: usize) {
    for at in step..row.len() {
        row[at] = row[at].wrapping_add(row[at - step]);
    }
}

fn add_numbers(row: &mut [u8], size: usize, step: usize, order: Order) {
    let back = step * size;
    let mut at = back;
    while at + size <= row.len() {
        let left = order.number(&row[at - back..at - back + size]);
        let sum = order.number(&row[at..at + size]).wrapping_add(left);
        let bytes = sum.to_le_bytes();
        let own = &mut row[at..at + size];
        own.copy_from_slice(&bytes[..size]);
        if order == Order::Big {
            own.reverse();
        }
        at += size;
    }
}

/// Puts the bytes of each sample together, the heaviest first.
fn gather(row: &mut [u8], size: usize) {
    let samples = row.len() / size;
    let apart = row.to_vec();
    for (sample, bytes) in row.chunks_exact_mut(size).enumerate() {
        for (weight, byte) in bytes.iter_mut().enumerate() {
            *byte = apart[weight * samples + sample];
        }
    }
}

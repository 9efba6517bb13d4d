//! What a picture is, as its frame header says, and how much it takes.

use omnizap_contract::Error;

use super::fault_of::{broken, rare};
use crate::limits::Limits;

/// How samples are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Baseline and extended, by Huffman codes.
    Sequential,
    /// Progressive, by Huffman codes.
    Progressive,
    /// By the arithmetic coder.
    Arithmetic {
        /// In scans that refine each other.
        progressive: bool,
    },
    /// Without a transform.
    Lossless,
}

/// One of the colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factor, 1 to 4.
    pub(super) across: u8,
    /// Sampling factor, 1 to 4.
    pub(super) down: u8,
    /// Number of its quantization table.
    pub(super) quantization: u8,
}

/// The header of a frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) coding: Coding,
    pub(super) precision: u8,
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) components: Vec<Component>,
}

/// The header of a scan.
pub(super) struct Scan {
    /// Number of the component, and those of its DC and AC tables.
    pub(super) components: Vec<(usize, u8, u8)>,
    /// First coefficient, in zigzag order.
    pub(super) first: u8,
    /// Last coefficient.
    pub(super) last: u8,
    /// Bit of the scan before this one, 0 for the first.
    pub(super) high: u8,
    /// Bit of this scan.
    pub(super) low: u8,
}

/// Sizes of a component, in samples of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// That belong to the picture.
    pub(super) width: usize,
    /// That belong to the picture.
    pub(super) height: usize,
    /// In blocks that belong to the picture.
    pub(super) blocks_across: usize,
    /// In blocks that belong to the picture.
    pub(super) blocks_down: usize,
    /// In blocks, with those that fill the last units of interleaved scans.
    pub(super) padded_across: usize,
    /// In blocks, with those that fill the last units of interleaved scans.
    pub(super) padded_down: usize,
}

impl Extent {
    /// Blocks that are kept.
    pub(super) fn blocks(&self) -> u64 {
        self.padded_across as u64 * self.padded_down as u64
    }
}

impl Frame {
    /// Refuses what nobody decodes, and what exceeds a limit.
    ///
    /// # Errors
    /// `Invalid`, `UnsupportedType` or `TooLarge`.
    pub(super) fn check(&self, limits: Limits) -> Result<(), Error> {
        if self.height == 0 {
            return Err(rare(
                "whose height stands behind its data (in a DNL segment)",
            ));
        }
        if self.width == 0 {
            return Err(broken("a frame without pixels"));
        }
        limits.check(self.width.into(), self.height.into())?;
        if self.precision != 8 {
            return Err(rare(&format!("of {} bits a sample", self.precision)));
        }
        if !matches!(self.components.len(), 1 | 3 | 4) {
            return Err(rare(&format!("of {} components", self.components.len())));
        }
        let mut sampling = self
            .components
            .iter()
            .flat_map(|each| [each.across, each.down]);
        if sampling.any(|factor| !(1..=4).contains(&factor)) {
            return Err(broken("a sampling factor that is none"));
        }
        let (across, down) = self.most();
        let divides = |each: &Component| {
            across.is_multiple_of(each.across.into()) && down.is_multiple_of(each.down.into())
        };
        if self.components.iter().all(divides) {
            Ok(())
        } else {
            // As libjpeg: JERR_FRACT_SAMPLE_NOTIMPL.
            Err(rare("whose colours are sampled in no whole ratio"))
        }
    }

    /// The largest sampling factors.
    pub(super) fn most(&self) -> (usize, usize) {
        let across = self.components.iter().map(|each| each.across).max();
        let down = self.components.iter().map(|each| each.down).max();
        (
            across.unwrap_or(1).max(1).into(),
            down.unwrap_or(1).max(1).into(),
        )
    }

    /// Units of interleaved scans, across and down.
    pub(super) fn units(&self) -> (usize, usize) {
        let (across, down) = self.most();
        (
            usize::from(self.width).div_ceil(8 * across),
            usize::from(self.height).div_ceil(8 * down),
        )
    }

    /// Sizes of each component.
    pub(super) fn extents(&self) -> Vec<Extent> {
        let (most_across, most_down) = self.most();
        let (units_across, units_down) = self.units();
        let of = |each: &Component| {
            let (across, down) = (usize::from(each.across), usize::from(each.down));
            let (width, height) = (usize::from(self.width), usize::from(self.height));
            Extent {
                width: (width * across).div_ceil(most_across),
                height: (height * down).div_ceil(most_down),
                blocks_across: (width * across).div_ceil(8 * most_across),
                blocks_down: (height * down).div_ceil(8 * most_down),
                padded_across: units_across * across,
                padded_down: units_down * down,
            }
        };
        self.components.iter().map(of).collect()
    }

    /// Bytes of all planes of samples.
    pub(super) fn plane_bytes(&self) -> u64 {
        64 * self.blocks()
    }

    /// Blocks of all components.
    pub(super) fn blocks(&self) -> u64 {
        self.extents().iter().map(Extent::blocks).sum()
    }
}

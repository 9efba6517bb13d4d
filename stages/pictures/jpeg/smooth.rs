//! Smoothing between blocks of a progressive picture whose last scans are missing, as jdcoefct.c of
//! libjpeg-turbo does it: what is not known of a block is guessed from the means around it.

use super::frame::{Extent, Frame, Scan};
use super::scan::{Block, Kept};
use super::stream::NATURAL_ORDER;

/// How many coefficients are looked at, in zigzag order.
const LOOKED_AT: usize = 10;

/// What of a component's coefficients is known: the bit that is still missing below, below zero
/// where there is nothing.
type Known = [i8; LOOKED_AT];

/// Weights of a block's mean and those around it.
type Weights = [i64; 25];

/// What scans have told of each component.
pub(super) struct Progress {
    known: Vec<Known>,
    /// As it was before the last scan of the component.
    before: Vec<Known>,
    scans: usize,
    /// The last row of units that the last scan had data for.
    good_units: usize,
}

impl Progress {
    pub(super) fn new(components: usize) -> Self {
        Self {
            known: vec![[-1; LOOKED_AT]; components],
            before: vec![[0; LOOKED_AT]; components],
            scans: 0,
            good_units: 0,
        }
    }

    /// Takes in a scan that had data up to a row of units.
    pub(super) fn add(&mut self, scan: &Scan, good_units: usize) {
        self.scans += 1;
        self.good_units = good_units;
        for &(component, ..) in &scan.components {
            let known = &mut self.known[component];
            if self.scans > 1 {
                self.before[component] = *known;
            }
            let band = usize::from(scan.first)..=usize::from(scan.last);
            for (at, bit) in known.iter_mut().enumerate() {
                if band.contains(&at) {
                    *bit = scan.low as i8;
                }
            }
        }
    }

    /// True where libjpeg smooths.
    pub(super) fn is_unrefined(&self, quantization: &[Option<[u16; 64]>]) -> bool {
        let is_whole = |steps: &Option<[u16; 64]>| {
            let looked_at = NATURAL_ORDER.iter().take(LOOKED_AT);
            steps.is_some_and(|steps| {
                looked_at
                    .map(|&at| steps[usize::from(at)])
                    .all(|step| step != 0)
            })
        };
        quantization.iter().all(is_whole)
            && self.known.iter().all(|known| known[0] >= 0)
            && self
                .known
                .iter()
                .any(|known| known[1..] != [0; LOOKED_AT - 1])
    }

    /// A block with guesses where nothing is known.
    pub(super) fn smoothed(
        &self,
        kept: &Kept,
        frame: &Frame,
        extent: &Extent,
        (component, across, down): (usize, usize, usize),
        steps: &[u16; 64],
    ) -> Block {
        let each_down = usize::from(frame.components[component].down);
        let unit = down / each_down;
        let known = if unit <= self.good_units {
            self.known[component]
        } else if self.scans > 1 {
            self.before[component]
        } else {
            [-1; LOOKED_AT]
        };
        let rows = rows(extent, each_down, frame.units().1, down);
        let last = extent.blocks_across - 1;
        let columns = [
            across.saturating_sub(2),
            across.saturating_sub(1),
            across,
            (across + 1).min(last),
            (across + 2).min(last),
        ];
        let mut means = [0; 25];
        for (to, (row, column)) in means.iter_mut().zip(
            rows.iter()
                .flat_map(|row| columns.map(|column| (*row, column))),
        ) {
            *to = kept.block(component, column, row)[0].into();
        }
        let mut block = *kept.block(component, across, down);
        guess(&mut block, &means, known, steps);
        block
    }
}

/// The rows of blocks two above to two below a row. As in libjpeg, the last unit counts rows by those
/// that it has itself.
fn rows(extent: &Extent, each_down: usize, units: usize, down: usize) -> [usize; 5] {
    let (unit, within) = (down / each_down, down % each_down);
    let in_unit = match extent.blocks_down % each_down {
        rest if unit + 1 == units && rest != 0 => rest,
        _ => each_down,
    };
    let (row, count) = (unit * in_unit + within, in_unit * units);
    let above = if row > 0 { down - 1 } else { down };
    let below = if row + 1 < count { down + 1 } else { down };
    [
        if row > 1 { down - 2 } else { above },
        above,
        down,
        below,
        if row + 2 < count { down + 2 } else { below },
    ]
}

fn guess(block: &mut Block, means: &[i64; 25], known: Known, steps: &[u16; 64]) {
    let is_mean_alone = known[1..] == [-1; LOOKED_AT - 1];
    let weights: &[Weights] = if is_mean_alone { &WIDE } else { &NARROW };
    let sum = |weights: &Weights| {
        let products = weights
            .iter()
            .zip(means)
            .map(|(weight, mean)| weight * mean);
        i64::from(steps[0]) * products.sum::<i64>()
    };
    let rounded = |sum: i64, step: u16| {
        let step = i64::from(step);
        (((step << 7) + sum.abs()) / (step << 8), sum < 0)
    };
    for (weights, (&place, bit)) in weights
        .iter()
        .zip(NATURAL_ORDER[1..].iter().zip(&known[1..]))
    {
        let place = usize::from(place);
        if *bit == 0 || block[place] != 0 {
            continue;
        }
        let (mut guessed, is_negative) = rounded(sum(weights), steps[place]);
        if *bit > 0 {
            guessed = guessed.min((1 << *bit) - 1);
        }
        block[place] = if is_negative { -guessed } else { guessed } as i16;
    }
    if is_mean_alone {
        let (mean, is_negative) = rounded(sum(&MEAN), steps[0]);
        block[0] = if is_negative { -mean } else { mean } as i16;
    }
}

/// For the first coefficients in zigzag order, where some are known.
#[rustfmt::skip]
const NARROW: [Weights; 5] = [
    [ 0, 0,  0, 0, 0,   0,  0,  0,   0, 0,  -7, 50,   0, -50,  7,   0,   0,   0,   0,  0,  0, 0,  0, 0, 0],
    [ 0, 0, -7, 0, 0,   0,  0, 50,   0, 0,   0,  0,   0,   0,  0,   0,   0, -50,   0,  0,  0, 0,  7, 0, 0],
    [ 0, 0, -1, 0, 0,   0,  0, 13,   0, 0,   0,  0, -24,   0,  0,   0,   0,  13,   0,  0,  0, 0, -1, 0, 0],
    [ 0,-1,  0, 1, 0,  -1, 10,  0, -10, 1,   0,  0,   0,   0,  0,   1, -10,   0,  10, -1,  0, 1,  0,-1, 0],
    [ 0, 0,  0, 0, 0,   0,  0,  0,   0, 0,  -1, 13, -24,  13, -1,   0,   0,   0,   0,  0,  0, 0,  0, 0, 0],
];

/// Where none is known.
#[rustfmt::skip]
const WIDE: [Weights; 9] = [
    [-1,-1,  0, 1, 1,  -3, 13,  0, -13, 3,  -3, 38,   0, -38,  3,  -3,  13,   0, -13,  3, -1,-1,  0, 1, 1],
    [-1,-3, -3,-3,-1,  -1, 13, 38,  13,-1,   0,  0,   0,   0,  0,   1, -13, -38, -13,  1,  1, 3,  3, 3, 1],
    [ 0, 0,  1, 0, 0,   0,  2,  7,   2, 0,   0, -5, -14,  -5,  0,   0,   2,   7,   2,  0,  0, 0,  1, 0, 0],
    [-1, 0,  0, 0, 1,   0,  9,  0,  -9, 0,   0,  0,   0,   0,  0,   0,  -9,   0,   9,  0,  1, 0,  0, 0,-1],
    [ 0, 0,  0, 0, 0,   0,  2, -5,   2, 0,   1,  7, -14,   7,  1,   0,   2,  -5,   2,  0,  0, 0,  0, 0, 0],
    [ 0, 0,  0, 0, 0,   0,  1,  0,  -1, 0,   0,  2,   0,  -2,  0,   0,   1,   0,  -1,  0,  0, 0,  0, 0, 0],
    [ 0, 0,  0, 0, 0,   0,  1, -3,   1, 0,   0,  0,   0,   0,  0,   0,  -1,   3,  -1,  0,  0, 0,  0, 0, 0],
    [ 0, 0,  0, 0, 0,   0,  1,  0,  -1, 0,   0, -3,   0,   3,  0,   0,   1,   0,  -1,  0,  0, 0,  0, 0, 0],
    [ 0, 0,  0, 0, 0,   0,  1,  2,   1, 0,   0,  0,   0,   0,  0,   0,  -1,  -2,  -1,  0,  0, 0,  0, 0, 0],
];

/// For the mean itself, where none is known.
#[rustfmt::skip]
const MEAN: Weights =
    [-2,-6, -8,-6,-2,  -6,  6, 42,   6,-6,  -8, 42, 152,  42, -8,  -6,   6,  42,   6, -6, -2,-6, -8,-6,-2];

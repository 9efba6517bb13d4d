//! Pillow's antialiased resampling of 8-bit images (`Resample.c`), one axis at a time, in the same
//! fixed-point arithmetic, for a range of the output only.

use std::ops::Range;

use pulp::NullaryFnOnce;

use crate::config::Interpolation;

/// Fractional bits of a weight: 32 less 8 of the pixel, less 2 for sign and overshoot.
const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);

/// What each output position of one axis takes from the source.
pub(super) struct Axis {
    /// For each output position, its first source position and its weights in `weights`.
    taps: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

impl Axis {
    /// Positions `kept` of an axis of `length` positions resized to `resized`.
    pub(super) fn new(
        length: usize,
        resized: usize,
        kept: Range<usize>,
        filter: Interpolation,
    ) -> Self {
        let scale = length as f64 / resized as f64;
        let filter_scale = scale.max(1.0);
        let support = radius(filter) * filter_scale;
        let mut taps = Vec::with_capacity(kept.len());
        let mut weights = Vec::new();
        let mut exact = Vec::new();
        for position in kept {
            let centre = (position as f64 + 0.5) * scale;
            // A cast to an integer truncates and saturates at 0, as Pillow's two steps do.
            let first = (centre - support + 0.5) as usize;
            let last = ((centre + support + 0.5) as usize).min(length);
            exact.clear();
            exact.extend(
                (first..last)
                    .map(|source| weight(filter, (source as f64 - centre + 0.5) / filter_scale)),
            );
            let sum: f64 = exact.iter().sum();
            let start = weights.len();
            weights.extend(
                exact
                    .iter()
                    .map(|weight| fixed(if sum == 0.0 { *weight } else { weight / sum })),
            );
            taps.push((first, start..weights.len()));
        }
        Self { taps, weights }
    }

    /// The source positions that any output position takes from.
    pub(super) fn source(&self) -> Range<usize> {
        let start = self.taps.first().map_or(0, |(first, _)| *first);
        let end = self
            .taps
            .iter()
            .map(|(first, weights)| first + weights.len())
            .max();
        start..end.unwrap_or(start)
    }
}

fn radius(filter: Interpolation) -> f64 {
    match filter {
        Interpolation::Bilinear => 1.0,
        Interpolation::Bicubic => 2.0,
    }
}

/// The filter at a distance of `x` output pixels.
fn weight(filter: Interpolation, x: f64) -> f64 {
    let x = x.abs();
    match filter {
        Interpolation::Bilinear => (1.0 - x).max(0.0),
        Interpolation::Bicubic => {
            const A: f64 = -0.5;
            if x < 1.0 {
                ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                (((x - 5.0) * x + 8.0) * x - 4.0) * A
            } else {
                0.0
            }
        }
    }
}

/// Rounds half away from zero.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION) + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Resamples every row of `source` (rows of `pitch` bytes, `C` channels a pixel) along its length.
pub(super) fn across<const C: usize>(source: &[u8], pitch: usize, axis: &Axis) -> Vec<u8> {
    pulp::Arch::new().dispatch(Across::<C> {
        source,
        pitch,
        axis,
    })
}

struct Across<'a, const C: usize> {
    source: &'a [u8],
    pitch: usize,
    axis: &'a Axis,
}

/// Source pixels that one step of the inner loop weighs, side by side in SIMD lanes.
const STEP: usize = 8;

impl<const C: usize> NullaryFnOnce for Across<'_, C> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn call(self) -> Vec<u8> {
        let Self {
            source,
            pitch,
            axis,
        } = self;
        let mut output = Vec::with_capacity(source.len() / pitch * axis.taps.len() * C);
        for row in source.chunks_exact(pitch) {
            for (first, range) in &axis.taps {
                let weights = &axis.weights[range.clone()];
                let pixels = &row[first * C..(first + weights.len()) * C];
                output.extend_from_slice(&weigh::<C>(pixels, weights).map(clip));
            }
        }
        output
    }
}

/// The weighted sum of neighbouring pixels, for each channel.
#[inline(always)]
fn weigh<const C: usize>(pixels: &[u8], weights: &[i32]) -> [i32; C] {
    let mut sums = [HALF; C];
    let (blocks, rest) = weights.as_chunks::<STEP>();
    let (near, far) = pixels.split_at(blocks.len() * STEP * C);
    // Lane l of channel c holds the sum over the l-th pixel of each step.
    let mut lanes = [[0i32; STEP]; C];
    for (block, pixels) in blocks.iter().zip(near.chunks_exact(STEP * C)) {
        for c in 0..C {
            for l in 0..STEP {
                lanes[c][l] += i32::from(pixels[l * C + c]) * block[l];
            }
        }
    }
    for c in 0..C {
        sums[c] += lanes[c].iter().sum::<i32>();
    }
    for (weight, pixel) in rest.iter().zip(far.chunks_exact(C)) {
        for c in 0..C {
            sums[c] += i32::from(pixel[c]) * weight;
        }
    }
    sums
}

/// Resamples the columns of `source`, whose first row is the axis' first source position.
pub(super) fn down(source: Vec<u8>, pitch: usize, axis: &Axis) -> Vec<u8> {
    pulp::Arch::new().dispatch(Down {
        source: &source,
        pitch,
        axis,
    })
}

struct Down<'a> {
    source: &'a [u8],
    pitch: usize,
    axis: &'a Axis,
}

impl NullaryFnOnce for Down<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn call(self) -> Vec<u8> {
        let Self {
            source,
            pitch,
            axis,
        } = self;
        let start = axis.source().start;
        let mut output = Vec::with_capacity(axis.taps.len() * pitch);
        let mut sums = vec![HALF; pitch];
        for (first, range) in &axis.taps {
            let weights = &axis.weights[range.clone()];
            let rows = source[(first - start) * pitch..].chunks_exact(pitch);
            sums.fill(HALF);
            for (&weight, row) in weights.iter().zip(rows) {
                for (sum, &byte) in sums.iter_mut().zip(row) {
                    *sum += i32::from(byte) * weight;
                }
            }
            output.extend(sums.iter().map(|&sum| clip(sum)));
        }
        output
    }
}

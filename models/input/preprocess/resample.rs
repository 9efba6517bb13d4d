//! Pillow's antialiased resampling of 8-bit images (`Resample.c`), one axis at a time, in the same
//! fixed-point arithmetic, for a range of the output only.

#[cfg(target_arch = "x86_64")]
mod pairs;

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

/// `sum + value * weight`. Weights add up to less than 2 even without their signs, so that nothing
/// overflows; a check of that would keep a debug build from using SIMD.
#[inline(always)]
fn add(sum: i32, value: i32, weight: i32) -> i32 {
    sum.wrapping_add(value.wrapping_mul(weight))
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Resamples `source`, of rows of `pitch` bytes with `C` channels a pixel, whose first row is the
/// first source position of the vertical axis. As in Pillow rows come first, and are rounded to bytes.
///
/// One row at a time is resampled and added to each output row that takes from it, so that nothing is
/// kept of an image that is far higher than its output.
pub(super) fn resample<const C: usize>(
    source: &[u8],
    pitch: usize,
    horizontal: &Axis,
    vertical: &Axis,
) -> Vec<u8> {
    pulp::Arch::new().dispatch(Resample::<C> {
        source,
        pitch,
        horizontal,
        vertical,
    })
}

struct Resample<'a, const C: usize> {
    source: &'a [u8],
    pitch: usize,
    horizontal: &'a Axis,
    vertical: &'a Axis,
}

impl<const C: usize> NullaryFnOnce for Resample<'_, C> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn call(self) -> Vec<u8> {
        let Self {
            source,
            pitch,
            horizontal,
            vertical,
        } = self;
        let narrow = horizontal.taps.len() * C;
        let mut sums = vec![HALF; vertical.taps.len() * narrow];
        // Output rows before this one have all they take.
        let mut open = 0;
        let mut lines = Lines::<C>::new(horizontal, pitch);
        let mut position = vertical.source().start;
        for rows in source.chunks(AT_ONCE * pitch) {
            for line in lines.of(rows) {
                let ended =
                    |(first, weights): &(usize, Range<usize>)| first + weights.len() <= position;
                open += vertical.taps[open..]
                    .iter()
                    .take_while(|tap| ended(tap))
                    .count();
                let sums = sums.chunks_exact_mut(narrow).skip(open);
                for (sums, (first, range)) in sums.zip(&vertical.taps[open..]) {
                    if *first > position {
                        break;
                    }
                    // Ends need not grow with beginnings to the last position.
                    let Some(weight) = vertical.weights[range.clone()].get(position - first) else {
                        continue;
                    };
                    for (sum, &byte) in sums.iter_mut().zip(line) {
                        *sum = add(*sum, i32::from(byte), *weight);
                    }
                }
                position += 1;
            }
        }
        sums.into_iter().map(clip).collect()
    }
}

/// Rows that are resampled at once.
const AT_ONCE: usize = 2;

/// Rows resampled along their length.
struct Lines<'a, const C: usize> {
    axis: &'a Axis,
    pitch: usize,
    way: Way<C>,
    /// The output of the last rows, of this length each.
    made: [Vec<u8>; AT_ONCE],
    length: usize,
}

/// How it is done.
enum Way<const C: usize> {
    /// With room for the sums of a row.
    Spread(Spread, Vec<i32>),
    #[cfg(target_arch = "x86_64")]
    Pairs(pairs::Pairs<C>),
    Each,
}

impl<'a, const C: usize> Lines<'a, C> {
    fn new(axis: &'a Axis, pitch: usize) -> Self {
        let length = axis.taps.len() * C;
        let is_short = axis.source().len() * SPREAD_FROM <= axis.taps.len();
        let way = match is_short {
            true => Way::Spread(Spread::new(axis, C), vec![0; length]),
            #[cfg(target_arch = "x86_64")]
            false => pairs::Pairs::new(axis, pitch).map_or(Way::Each, Way::Pairs),
            #[cfg(not(target_arch = "x86_64"))]
            false => Way::Each,
        };
        // One way writes a byte too many.
        let made = [(); AT_ONCE].map(|()| vec![0; length + 1]);
        Self {
            axis,
            pitch,
            way,
            made,
            length,
        }
    }

    /// Of one or two rows.
    #[inline(always)]
    fn of(&mut self, rows: &[u8]) -> impl Iterator<Item = &[u8]> {
        let count = rows.len() / self.pitch;
        let each = rows.chunks_exact(self.pitch);
        let lines = self.made.iter_mut().map(|line| &mut line[..self.length]);
        match &mut self.way {
            #[cfg(target_arch = "x86_64")]
            Way::Pairs(pairs) => pairs.across(rows, &mut self.made),
            Way::Spread(spread, sums) => {
                for (row, line) in each.zip(lines) {
                    spread.across::<C>(row, sums, line);
                }
            }
            Way::Each => {
                for (row, line) in each.zip(lines) {
                    across::<C>(row, self.axis, line);
                }
            }
        }
        let length = self.length;
        self.made
            .iter()
            .take(count)
            .map(move |line| &line[..length])
    }
}

/// What each position of a short source gives to the outputs: a row of few pixels is made wide
/// with one product for many outputs at a time.
struct Spread {
    /// The source position of the first of `gives`.
    start: usize,
    /// For each source position its weights in `weights`, which begin at this value of the output.
    gives: Vec<(usize, Range<usize>)>,
    /// Each once for every channel.
    weights: Vec<i32>,
}

/// Spreading pays where an axis grows at least so many times.
const SPREAD_FROM: usize = 4;

impl Spread {
    fn new(axis: &Axis, channels: usize) -> Self {
        let mut gives = Vec::new();
        let mut weights = Vec::new();
        for position in axis.source() {
            let start = weights.len();
            let takes = |(first, range): &&(usize, Range<usize>)| {
                (*first..first + range.len()).contains(&position)
            };
            let output = axis.taps.iter().position(|tap| takes(&tap)).unwrap_or(0);
            // Outputs that take from one position lie side by side.
            for (first, range) in axis.taps.iter().filter(takes) {
                let weight = axis.weights[range.start + position - first];
                weights.extend(std::iter::repeat_n(weight, channels));
            }
            gives.push((output * channels, start..weights.len()));
        }
        Self {
            start: axis.source().start,
            gives,
            weights,
        }
    }

    /// Resamples a row along its length. `sums`: room for a row of the output.
    #[inline(always)]
    fn across<const C: usize>(&self, row: &[u8], sums: &mut [i32], output: &mut [u8]) {
        sums.fill(HALF);
        let pixels = &row.as_chunks::<C>().0[self.start..];
        for (pixel, (first, range)) in pixels.iter().zip(&self.gives) {
            let weights = &self.weights[range.clone()];
            let sums = &mut sums[*first..][..weights.len()];
            let pixel = pixel.map(i32::from);
            // The pixel over and over, as many lanes as end with a whole one.
            let mut lanes = [[0; C]; STEP];
            lanes.fill(pixel);
            let lanes = lanes.as_flattened();
            let groups = sums.chunks_mut(STEP * C).zip(weights.chunks(STEP * C));
            for (sums, weights) in groups {
                for ((sum, weight), value) in sums.iter_mut().zip(weights).zip(lanes) {
                    *sum = add(*sum, *value, *weight);
                }
            }
        }
        for (output, sum) in output.iter_mut().zip(sums) {
            *output = clip(*sum);
        }
    }
}

/// Resamples a row along its length.
#[inline(always)]
fn across<const C: usize>(row: &[u8], axis: &Axis, output: &mut [u8]) {
    let (output, _) = output.as_chunks_mut::<C>();
    for (output, (first, range)) in output.iter_mut().zip(&axis.taps) {
        let weights = &axis.weights[range.clone()];
        let pixels = &row[first * C..(first + weights.len()) * C];
        *output = match weights.len() < STEP {
            true => weigh_few(pixels, weights, [HALF; C]),
            false => weigh(pixels, weights),
        }
        .map(clip);
    }
}

/// Source pixels that one step of the inner loop weighs, side by side in SIMD lanes.
const STEP: usize = 8;

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
                lanes[c][l] = add(lanes[c][l], i32::from(pixels[l * C + c]), block[l]);
            }
        }
    }
    for c in 0..C {
        sums[c] += lanes[c].iter().sum::<i32>();
    }
    weigh_few(far, rest, sums)
}

/// The same of few pixels, added to `sums`.
#[inline(always)]
fn weigh_few<const C: usize>(pixels: &[u8], weights: &[i32], mut sums: [i32; C]) -> [i32; C] {
    for (weight, pixel) in weights.iter().zip(pixels.as_chunks::<C>().0) {
        for c in 0..C {
            sums[c] = add(sums[c], i32::from(pixel[c]), *weight);
        }
    }
    sums
}

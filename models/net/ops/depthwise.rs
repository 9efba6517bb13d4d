//! Depthwise convolutions on channels-last maps.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::activation::Activation;
use super::flex;
use super::map::Map;
use super::padding::{Padding, padded_stock};

/// A depthwise convolution, ready to run.
///
/// A channel multiplier `m` is kept as `m` plain convolutions side by side: output channel
/// `p * channels + c` is the `p`-th of input channel `c`. (PyTorch interleaves them.)
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    /// `[multiplier, kernel height * kernel width, channels]`
    pub(crate) weight: Tensor<3>,
    /// `[multiplier, channels]`
    pub(crate) bias: Tensor<2>,
    /// Height and width of the kernel, both odd.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
}

/// Convolves, then `act`.
pub(crate) fn depthwise(x: &Map, conv: &Depthwise, act: Activation) -> Map {
    let opened = (
        flex::open(x.data.clone()),
        flex::open(conv.weight.clone()),
        flex::open(conv.bias.clone()),
    );
    let [height, width] = conv.places(x);
    let data = match opened {
        (Ok(input), Ok(weight), Ok(bias)) => {
            let rows = Rows::new(x, conv, weight.read(), bias.read(), act);
            let padded = rows.pad_all(input.read());
            let outputs = rows.multiplier * rows.channels;
            let mut output = vec![0.0; x.n * height * width * outputs];
            output
                .par_chunks_mut(width * outputs)
                .enumerate()
                .for_each(|(row, output)| {
                    let image = &padded[row / height * x.height * rows.pitch()..];
                    rows.convolve(image, 0, row % height, output);
                });
            flex::tensor(output, [x.n * height * width, outputs])
        }
        _ => depthwise_stock(x, conv, act),
    };
    Map {
        data,
        n: x.n,
        height,
        width,
    }
}

impl Depthwise {
    /// Height and width of what it makes of a map.
    pub(super) fn places(&self, x: &Map) -> [usize; 2] {
        let [kh, kw] = self.kernel;
        [
            self.padding.place(kh, self.stride, x.height).1,
            self.padding.place(kw, self.stride, x.width).1,
        ]
    }
}

/// A depthwise convolution of the rows of a map, which have zeros left and right.
pub(super) struct Rows<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    multiplier: usize,
    channels: usize,
    kernel: [usize; 2],
    stride: usize,
    act: Activation,
    /// Rows and pixels of the map.
    size: [usize; 2],
    /// Zeros above and left of the map.
    before: [usize; 2],
    /// Output pixels of a row.
    width: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        x: &Map,
        conv: &Depthwise,
        weight: &'a [f32],
        bias: &'a [f32],
        act: Activation,
    ) -> Self {
        let [multiplier, _, channels] = conv.weight.dims();
        let [kh, kw] = conv.kernel;
        let (above, _) = conv.padding.place(kh, conv.stride, x.height);
        let (left, width) = conv.padding.place(kw, conv.stride, x.width);
        Self {
            weight,
            bias,
            multiplier,
            channels,
            kernel: conv.kernel,
            stride: conv.stride,
            act,
            size: [x.height, x.width],
            before: [above, left],
            width,
        }
    }

    /// Length of a padded row. No padding puts more than half of the kernel after the map.
    pub(super) fn pitch(&self) -> usize {
        (self.before[1] + self.size[1] + self.kernel[1] / 2) * self.channels
    }

    /// Where the pixels of a padded row are; around them it must be zero.
    pub(super) fn pixels(&self) -> Range<usize> {
        let left = self.before[1] * self.channels;
        left..left + self.size[1] * self.channels
    }

    /// The rows of the map that an output row is made of.
    pub(super) fn under(&self, row: usize) -> Range<usize> {
        let top = row * self.stride;
        top.saturating_sub(self.before[0])
            ..(top + self.kernel[0] - self.before[0]).min(self.size[0])
    }

    /// Output rows to make at a time, so that no more than so many numbers of padded rows are held;
    /// one at least.
    pub(super) fn at_once(&self, held: usize) -> usize {
        (held / self.pitch()).saturating_sub(self.kernel[0]) / self.stride + 1
    }

    /// One output row, from padded rows of which the first is the `base`-th of the map.
    pub(super) fn convolve(&self, padded: &[f32], base: usize, row: usize, output: &mut [f32]) {
        let [kh, kw] = self.kernel;
        let under = self.under(row);
        let first = under.start + self.before[0] - row * self.stride;
        let outputs = self.multiplier * self.channels;
        let arch = pulp::Arch::new();
        for phase in 0..self.multiplier {
            let weight = (phase * kh + first) * kw * self.channels;
            arch.dispatch(Row {
                input: &padded[(under.start - base) * self.pitch()..],
                pitch: self.pitch(),
                weight: &self.weight[weight..][..under.len() * kw * self.channels],
                bias: &self.bias[phase * self.channels..][..self.channels],
                output: &mut output[phase * self.channels..],
                places: Places {
                    width: self.width,
                    outputs,
                    channels: self.channels,
                },
                kernel: kw,
                stride: self.stride,
                act: self.act,
            });
        }
    }

    /// A copy of maps with zeros left and right of each row.
    fn pad_all(&self, input: &[f32]) -> Vec<f32> {
        let row = self.pixels().len();
        let mut padded = vec![0.0; input.len() / row * self.pitch()];
        padded
            .par_chunks_mut(self.pitch())
            .with_min_len(8)
            .zip(input.par_chunks(row))
            .for_each(|(padded, input)| padded[self.pixels()].copy_from_slice(input));
        padded
    }
}

/// The same with Burn's own operations.
fn depthwise_stock(x: &Map, conv: &Depthwise, act: Activation) -> Tensor<2> {
    let [multiplier, _, channels] = conv.weight.dims();
    let [kh, kw] = conv.kernel;
    let image = padded_stock(x, conv.kernel, conv.stride, conv.padding);
    let options = ConvOptions::new([conv.stride; 2], [0, 0], [1, 1], channels);
    let phases = (0..multiplier).map(|phase| {
        let weight = conv.weight.clone().narrow(0, phase, 1).permute([2, 0, 1]);
        let bias = conv.bias.clone().narrow(0, phase, 1).reshape([channels]);
        conv2d(
            image.clone(),
            weight.reshape([channels, 1, kh, kw]),
            Some(bias),
            options.clone(),
        )
    });
    let output = Tensor::cat(phases.collect(), 1).permute([0, 2, 3, 1]);
    let [n, height, width, outputs] = output.dims();
    act.stock(output.reshape([n * height * width, outputs]))
}

/// Where the pixels of an output row are.
#[derive(Clone, Copy)]
struct Places {
    width: usize,
    /// Distance of two output pixels.
    outputs: usize,
    channels: usize,
}

/// One output row of one phase of a depthwise convolution.
struct Row<'a> {
    /// From the first input row under the kernel on, padded.
    input: &'a [f32],
    pitch: usize,
    /// The rows of the kernel that lie inside the map.
    weight: &'a [f32],
    bias: &'a [f32],
    output: &'a mut [f32],
    places: Places,
    kernel: usize,
    stride: usize,
    act: Activation,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (self.kernel, self.stride) {
            (3, 1) => self.tiles::<S, 3, 1>(simd),
            (5, 1) => self.tiles::<S, 5, 1>(simd),
            (7, 1) => self.tiles::<S, 7, 1>(simd),
            (3, 2) => self.tiles::<S, 3, 2>(simd),
            (5, 2) => self.tiles::<S, 5, 2>(simd),
            (7, 2) => self.tiles::<S, 7, 2>(simd),
            _ => self.any(simd),
        }
    }
}

/// Output pixels that are summed side by side in registers.
const TILE: usize = 4;

impl Row<'_> {
    /// Tiles of output pixels, each by vectors of channels: so all that a tile reads lies together.
    /// The last tile overlaps the one before it; channels that are over go to [`Row::place`].
    #[inline(always)]
    fn tiles<S: Simd, const K: usize, const STRIDE: usize>(mut self, simd: S) {
        let Places {
            width,
            outputs,
            channels,
        } = self.places;
        if width < TILE {
            return self.any(simd);
        }
        let rows = self.weight.len() / (K * channels);
        let whole = channels / S::F32_LANES * S::F32_LANES;
        for left in (0..width).step_by(TILE) {
            let left = left.min(width - TILE);
            for c in (0..whole).step_by(S::F32_LANES) {
                let bias = load::<S>(&self.bias[c..]);
                let mut sums = [bias; TILE];
                for ky in 0..rows {
                    let input = &self.input[ky * self.pitch + left * STRIDE * channels + c..];
                    let weight = &self.weight[ky * K * channels + c..];
                    let mut taps = [bias; K];
                    for (kx, tap) in taps.iter_mut().enumerate() {
                        *tap = load::<S>(&weight[kx * channels..]);
                    }
                    for x in 0..(TILE - 1) * STRIDE + K {
                        let pixel = load::<S>(&input[x * channels..]);
                        for (t, sum) in sums.iter_mut().enumerate() {
                            if x >= t * STRIDE && x - t * STRIDE < K {
                                *sum = simd.mul_add_e_f32s(pixel, taps[x - t * STRIDE], *sum);
                            }
                        }
                    }
                }
                for (t, sum) in sums.into_iter().enumerate() {
                    let output = &mut self.output[(left + t) * outputs + c..][..S::F32_LANES];
                    S::as_mut_simd_f32s(output).0[0] = self.act.apply(simd, sum);
                }
            }
        }
        let rest = whole..channels;
        if !rest.is_empty() {
            for x in 0..width {
                self.place(simd, x, rest.clone());
            }
        }
    }

    /// Any kernel and stride, pixel by pixel.
    #[inline(always)]
    fn any<S: Simd>(mut self, simd: S) {
        let Places {
            width, channels, ..
        } = self.places;
        for x in 0..width {
            for c in (0..channels).step_by(S::F32_LANES) {
                self.place(simd, x, c..channels.min(c + S::F32_LANES));
            }
        }
    }

    /// One output pixel, at most a vector of channels.
    #[inline(always)]
    fn place<S: Simd>(&mut self, simd: S, x: usize, c: Range<usize>) {
        let Places {
            outputs, channels, ..
        } = self.places;
        let mut sum = simd.partial_load_f32s(&self.bias[c.clone()]);
        for (tap, weight) in self.weight.chunks_exact(channels).enumerate() {
            let (ky, kx) = (tap / self.kernel, tap % self.kernel);
            let pixel = &self.input[ky * self.pitch + (x * self.stride + kx) * channels..];
            let pixel = simd.partial_load_f32s(&pixel[c.clone()]);
            sum = simd.mul_add_e_f32s(pixel, simd.partial_load_f32s(&weight[c.clone()]), sum);
        }
        let sum = self.act.apply(simd, sum);
        let at = x * outputs + c.start;
        simd.partial_store_f32s(&mut self.output[at..at + c.len()], sum);
    }
}

/// The first vector of a slice.
#[inline(always)]
fn load<S: Simd>(slice: &[f32]) -> S::f32s {
    S::as_simd_f32s(&slice[..S::F32_LANES]).0[0]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, map, random};
    use super::*;

    #[test]
    fn depthwise_is_burns_convolution() {
        // Every kernel, full and partial tiles of pixels, full and partial vectors of channels.
        for (kernel, stride) in [
            ([3, 3], 1),
            ([3, 3], 2),
            ([7, 7], 1),
            ([7, 7], 2),
            ([1, 11], 1),
            ([5, 5], 1),
            ([5, 5], 2),
        ] {
            for (height, width, channels) in [(1, 1, 3), (6, 9, 16), (13, 8, 20), (3, 2, 40)] {
                for (multiplier, act, padding) in [
                    (1, Activation::Nothing, Padding::Half),
                    (2, Activation::Gelu, Padding::Half),
                    (1, Activation::Relu6, Padding::Same),
                ] {
                    let x = map(2, height, width, channels);
                    let conv = Depthwise {
                        weight: random([multiplier, kernel[0] * kernel[1], channels], 2),
                        bias: random([multiplier, channels], 3),
                        kernel,
                        stride,
                        padding,
                    };
                    let ours = depthwise(&x, &conv, act);
                    let what = format!(
                        "{kernel:?}/{stride} {padding:?} on {height}x{width}x{channels}, x{multiplier}"
                    );
                    assert_close(ours.data, depthwise_stock(&x, &conv, act), &what);
                }
            }
        }
    }
}

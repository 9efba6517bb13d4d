//! Convolutions on channels-last maps: depthwise ones by a kernel of our own, dense ones with few
//! input channels as patches for a matrix product.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::module::{conv2d, unfold4d};
use burn::tensor::ops::{ConvOptions, UnfoldOptions};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Activation, Map, Padding, flex};

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
    let [multiplier, _, channels] = conv.weight.dims();
    let [kh, kw] = conv.kernel;
    let (above, height) = conv.padding.place(kh, conv.stride, x.height);
    let (left, width) = conv.padding.place(kw, conv.stride, x.width);
    let outputs = multiplier * channels;
    let opened = (
        flex::open(x.data.clone()),
        flex::open(conv.weight.clone()),
        flex::open(conv.bias.clone()),
    );
    let data = match opened {
        (Ok(input), Ok(weight), Ok(bias)) => {
            // No padding puts more than half of the kernel after the map.
            let (padded, pitch) = pad(input.read(), x, channels, [left, kw / 2]);
            let mut output = vec![0.0; x.n * height * width * outputs];
            let arch = pulp::Arch::new();
            output
                .par_chunks_mut(width * outputs)
                .enumerate()
                .for_each(|(row, output)| {
                    let image = row / height;
                    let top = (row % height * conv.stride) as isize - above as isize;
                    let first = (-top).max(0) as usize;
                    let last = kh.min((x.height as isize - top) as usize);
                    let start = (image * x.height) as isize + top + first as isize;
                    for phase in 0..multiplier {
                        arch.dispatch(Row {
                            input: &padded[start as usize * pitch..],
                            pitch,
                            weight: &weight.read()[(phase * kh + first) * kw * channels
                                ..(phase * kh + last) * kw * channels],
                            bias: &bias.read()[phase * channels..][..channels],
                            output: &mut output[phase * channels..],
                            places: Places {
                                width,
                                outputs,
                                channels,
                            },
                            kernel: kw,
                            stride: conv.stride,
                            act,
                        });
                    }
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

/// A map as `[n, channels, height, width]` with zeros around it: by hand, for there may be more
/// on one side than on the other.
fn padded_stock(x: &Map, kernel: [usize; 2], stride: usize, padding: Padding) -> Tensor<4> {
    let around = |kernel, size| {
        let (before, places) = padding.place(kernel, stride, size);
        let after = ((places - 1) * stride + kernel).saturating_sub(size + before);
        (before, after)
    };
    let (above, below) = around(kernel[0], x.height);
    let (left, right) = around(kernel[1], x.width);
    x.data
        .clone()
        .reshape([x.n, x.height, x.width, x.channels()])
        .permute([0, 3, 1, 2])
        .pad((left, right, above, below), 0.0)
}

/// Copies a map with zero pixels left and right of each row: the copy, and the length of a row.
fn pad(input: &[f32], x: &Map, channels: usize, [left, right]: [usize; 2]) -> (Vec<f32>, usize) {
    let row = x.width * channels;
    let pitch = (left + x.width + right) * channels;
    let mut padded = vec![0.0; x.n * x.height * pitch];
    padded
        .par_chunks_mut(pitch)
        .with_min_len(8)
        .zip(input.par_chunks(row))
        .for_each(|(padded, input)| {
            padded[left * channels..][..row].copy_from_slice(input);
        });
    (padded, pitch)
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

/// A dense convolution's input as a matrix: `kernel` x `kernel` patches of the image
/// `[n, height, width, channels]`, one a row, in the order row, column, channel.
pub(crate) fn patches(x: &Map, kernel: usize, stride: usize, padding: Padding) -> Map {
    let channels = x.channels();
    let (above, height) = padding.place(kernel, stride, x.height);
    let (before, width) = padding.place(kernel, stride, x.width);
    let columns = kernel * kernel * channels;
    let data = match flex::open(x.data.clone()) {
        Ok(input) => {
            let input = input.read();
            let mut output = vec![0.0; x.n * height * width * columns];
            output
                .par_chunks_mut(width * columns)
                .enumerate()
                .for_each(|(row, output)| {
                    let (image, oy) = (row / height, row % height);
                    for ky in 0..kernel {
                        let Some(y) = (oy * stride + ky)
                            .checked_sub(above)
                            .filter(|&y| y < x.height)
                        else {
                            continue;
                        };
                        let line = &input[(image * x.height + y) * x.width * channels..]
                            [..x.width * channels];
                        for (ox, patch) in output.chunks_exact_mut(columns).enumerate() {
                            let left = ox * stride;
                            let first = before.saturating_sub(left).min(kernel);
                            let last = kernel
                                .min((x.width + before).saturating_sub(left))
                                .max(first);
                            let source = (left + first - before) * channels
                                ..(left + last - before) * channels;
                            patch
                                [(ky * kernel + first) * channels..(ky * kernel + last) * channels]
                                .copy_from_slice(&line[source]);
                        }
                    }
                });
            flex::tensor(output, [x.n * height * width, columns])
        }
        Err(_) => patches_stock(x, kernel, stride, padding),
    };
    Map {
        data,
        n: x.n,
        height,
        width,
    }
}

/// The same with Burn's own operations.
fn patches_stock(x: &Map, kernel: usize, stride: usize, padding: Padding) -> Tensor<2> {
    let channels = x.channels();
    let image = padded_stock(x, [kernel; 2], stride, padding);
    let options = UnfoldOptions::new([stride; 2], [0; 2], [1, 1]);
    // [n, channels * kernel * kernel, places], the rows in the order channel, row, column.
    let unfolded = unfold4d(image, [kernel; 2], options);
    let [n, _, places] = unfolded.dims();
    unfolded
        .reshape([n, channels, kernel * kernel, places])
        .permute([0, 3, 2, 1])
        .reshape([n * places, kernel * kernel * channels])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    fn map(n: usize, height: usize, width: usize, channels: usize) -> Map {
        Map {
            data: random([n * height * width, channels], 1),
            n,
            height,
            width,
        }
    }

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

    #[test]
    fn patches_are_burns() {
        for (kernel, stride, padding) in [
            (3, 2, Padding::Half),
            (4, 4, Padding::Nothing),
            (2, 2, Padding::Nothing),
            (14, 14, Padding::Nothing),
            (3, 1, Padding::Half),
            (3, 2, Padding::Same),
        ] {
            for (height, width, channels) in [(14, 28, 3), (28, 14, 12), (15, 15, 3)] {
                let x = map(2, height, width, channels);
                let ours = patches(&x, kernel, stride, padding);
                let what = format!("{kernel}/{stride} {padding:?} of {height}x{width}x{channels}");
                assert_close(ours.data, patches_stock(&x, kernel, stride, padding), &what);
            }
        }
    }
}

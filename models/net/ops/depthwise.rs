//! Depthwise convolutions on channels-last maps.
//!
//! The rows that a kernel looks at are copied first, zeros around them, [`BLOCK`] channels at a time:
//! there a pixel's neighbours lie beside it, so that all that is summed for some pixels is one piece of
//! memory whose length the compiler knows.

use std::cell::RefCell;
use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use pulp::{Simd, WithSimd};

use super::activation::Activation;
use super::flex::{self, room};
use super::held::part;
use super::map::Map;
use super::padding::{Padding, padded_stock};
use super::share;

/// Channels that lie together: a vector of AVX-512, two of AVX2, four of NEON.
const BLOCK: usize = 16;
/// Floats of copied rows that a thread holds at a time: they should stay in its second cache.
const HELD: usize = 1 << 16;

/// [`BLOCK`] channels of a pixel or of a tap.
type Block = [f32; BLOCK];

/// A depthwise convolution, ready to run.
///
/// A channel multiplier `m` is kept as `m` plain convolutions side by side: output channel
/// `p * channels + c` is the `p`-th of input channel `c`. (PyTorch interleaves them.)
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    /// `[multiplier, blocks, kernel height * kernel width, BLOCK]`, the last block filled up with
    /// zeros.
    weight: Tensor<4>,
    /// `[multiplier, channels]`
    bias: Tensor<2>,
    /// Height and width of the kernel, both odd.
    kernel: [usize; 2],
    stride: usize,
    padding: Padding,
}

impl Depthwise {
    /// With stride 1 and as many zeros around a map as half of the kernel; `weight` is
    /// `[multiplier, kernel height * kernel width, channels]`, `bias` `[multiplier, channels]`.
    pub(crate) fn new(weight: Tensor<3>, bias: Tensor<2>, kernel: [usize; 2]) -> Self {
        Self {
            weight: in_blocks(weight),
            bias,
            kernel,
            stride: 1,
            padding: Padding::Half,
        }
    }

    /// The same, `stride` pixels on at a time.
    pub(crate) fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same with other zeros around a map.
    pub(crate) fn with_padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// Outputs a channel, and channels.
    pub(super) fn outputs(&self) -> [usize; 2] {
        self.bias.dims()
    }

    /// Height and width of what it makes of a map of this height and width.
    pub(super) fn places(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        let [kh, kw] = self.kernel;
        [
            self.padding.place(kh, self.stride, height).1,
            self.padding.place(kw, self.stride, width).1,
        ]
    }

    /// Its weight and bias; [`None`] on other devices.
    pub(super) fn open(&self) -> Option<[flex::Buffer; 2]> {
        let weight = flex::open(self.weight.clone()).ok()?;
        Some([weight, flex::open(self.bias.clone()).ok()?])
    }
}

/// `[multiplier, taps, channels]` to `[multiplier, blocks, taps, BLOCK]`.
fn in_blocks(weight: Tensor<3>) -> Tensor<4> {
    let [multiplier, taps, channels] = weight.dims();
    let blocks = channels.div_ceil(BLOCK);
    match flex::open(weight) {
        Ok(weight) => {
            let mut blocked = vec![0.0; multiplier * blocks * taps * BLOCK];
            let (to, _) = blocked.as_chunks_mut::<BLOCK>();
            for (row, from) in weight.read().chunks_exact(channels).enumerate() {
                let (phase, tap) = (row / taps, row % taps);
                for (block, from) in from.chunks(BLOCK).enumerate() {
                    let to = &mut to[(phase * blocks + block) * taps + tap];
                    to[..from.len()].copy_from_slice(from);
                }
            }
            flex::tensor(blocked, [multiplier, blocks, taps, BLOCK])
        }
        Err(weight) => {
            let over = [multiplier, taps, blocks * BLOCK - channels];
            let zeros = Tensor::zeros(over, &weight.device());
            Tensor::cat(vec![weight, zeros], 2)
                .reshape([multiplier, taps, blocks, BLOCK])
                .swap_dims(1, 2)
        }
    }
}

/// Convolves, then `act`.
pub(crate) fn depthwise(x: &Map, conv: &Depthwise, act: Activation) -> Map {
    let [height, width] = conv.places(x.size());
    let data = match (flex::open(x.data.clone()), conv.open()) {
        (Ok(input), Some([weight, bias])) => {
            let rows = Rows::new(x.size(), conv, weight.read(), bias.read(), act);
            let outputs = rows.multiplier * rows.channels;
            let row = x.width * x.channels();
            let input = input.read();
            let mut output = room(x.n * height * width * outputs);
            let most = rows.at_once(HELD);
            let at_once = share::rows_of_a_piece(x.n, height, most, share::threads());
            let (image, piece) = (height * width * outputs, at_once * width * outputs);
            share::pieces_of_images(&mut output, image, piece, |n, i, output| {
                let image = &input[n * x.height * row..][..x.height * row];
                HELD_ROWS.with_borrow_mut(|held| {
                    rows.convolve_all(image, i * at_once, held, output);
                });
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

thread_local! {
    /// What a thread keeps from one convolution to the next, so that it need be neither asked for nor
    /// zeroed.
    static HELD_ROWS: RefCell<Vec<f32>> = RefCell::default();
}

/// A depthwise convolution of the rows of a map.
pub(super) struct Rows<'a> {
    weight: &'a [Block],
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
    /// Of a map of this height and width.
    pub(super) fn new(
        size: [usize; 2],
        conv: &Depthwise,
        weight: &'a [f32],
        bias: &'a [f32],
        act: Activation,
    ) -> Self {
        let [multiplier, channels] = conv.outputs();
        let [kh, kw] = conv.kernel;
        let (above, _) = conv.padding.place(kh, conv.stride, size[0]);
        let (left, width) = conv.padding.place(kw, conv.stride, size[1]);
        Self {
            weight: weight.as_chunks().0,
            bias,
            multiplier,
            channels,
            kernel: conv.kernel,
            stride: conv.stride,
            act,
            size,
            before: [above, left],
            width,
        }
    }

    fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    /// Pixels of a padded row. No padding puts more than half of the kernel after the map.
    fn line(&self) -> usize {
        self.before[1] + self.size[1] + self.kernel[1] / 2
    }

    /// Length of a padded row, `[blocks, pixels, BLOCK]`.
    pub(super) fn pitch(&self) -> usize {
        self.blocks() * self.line() * BLOCK
    }

    /// The rows of the map that an output row is made of.
    pub(super) fn under(&self, row: usize) -> Range<usize> {
        let top = row * self.stride;
        top.saturating_sub(self.before[0])
            ..(top + self.kernel[0] - self.before[0]).min(self.size[0])
    }

    /// The rows of the map that some output rows are made of.
    pub(super) fn under_all(&self, rows: &Range<usize>) -> Range<usize> {
        self.under(rows.start).start..self.under(rows.end - 1).end
    }

    /// Output rows to make at a time, so that no more than so many numbers of padded rows are held;
    /// one at least.
    pub(super) fn at_once(&self, held: usize) -> usize {
        (held / self.pitch()).saturating_sub(self.kernel[0]) / self.stride + 1
    }

    /// Copies a row `[pixels, channels]` of the map into a padded row, over whatever was there.
    pub(super) fn pad(&self, row: &[f32], padded: &mut [f32]) {
        let (padded, _) = padded.as_chunks_mut::<BLOCK>();
        let pixels = self.before[1]..self.before[1] + self.size[1];
        for (block, line) in padded.chunks_exact_mut(self.line()).enumerate() {
            let first = block * BLOCK;
            let width = BLOCK.min(self.channels - first);
            line[..pixels.start].fill([0.0; BLOCK]);
            line[pixels.end..].fill([0.0; BLOCK]);
            let pixels = line[pixels.clone()].iter_mut();
            for (to, from) in pixels.zip(row.chunks_exact(self.channels)) {
                let from = &from[first..first + width];
                match from.as_array::<BLOCK>() {
                    Some(from) => *to = *from,
                    None => {
                        to[..width].copy_from_slice(from);
                        to[width..].fill(0.0);
                    }
                }
            }
        }
    }

    /// Output rows of one image, from the `first` on, as many as `output` has.
    pub(super) fn convolve_all(
        &self,
        image: &[f32],
        first: usize,
        held: &mut Vec<f32>,
        output: &mut [f32],
    ) {
        let length = self.width * self.multiplier * self.channels;
        let under = self.under_all(&(first..first + output.len() / length));
        let padded = part(held, under.len() * self.pitch());
        let row = self.size[1] * self.channels;
        for (padded, y) in padded.chunks_exact_mut(self.pitch()).zip(under.clone()) {
            self.pad(&image[y * row..][..row], padded);
        }
        for (i, output) in output.chunks_exact_mut(length).enumerate() {
            self.convolve(padded, under.start, first + i, output);
        }
    }

    /// One output row, from padded rows of which the first is the `base`-th of the map.
    pub(super) fn convolve(&self, padded: &[f32], base: usize, row: usize, output: &mut [f32]) {
        let under = self.under(row);
        let first = under.start + self.before[0] - row * self.stride;
        let padded = &padded[(under.start - base) * self.pitch()..];
        pulp::Arch::new().dispatch(Row {
            rows: self,
            padded: padded.as_chunks().0,
            kernel: first..first + under.len(),
            output,
        });
    }
}

/// The same with Burn's own operations.
fn depthwise_stock(x: &Map, conv: &Depthwise, act: Activation) -> Tensor<2> {
    let [multiplier, channels] = conv.outputs();
    let [kh, kw] = conv.kernel;
    let image = padded_stock(x, conv.kernel, conv.stride, conv.padding);
    let options = ConvOptions::new([conv.stride; 2], [0, 0], [1, 1], channels);
    let [_, blocks, taps, _] = conv.weight.dims();
    let weight = conv.weight.clone().swap_dims(2, 3);
    let weight = weight.reshape([multiplier, blocks * BLOCK, taps]);
    let phases = (0..multiplier).map(|phase| {
        let weight = weight.clone().narrow(0, phase, 1).narrow(1, 0, channels);
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

/// One output row of a depthwise convolution.
struct Row<'a> {
    rows: &'a Rows<'a>,
    /// From the first input row under the kernel on.
    padded: &'a [Block],
    /// The rows of the kernel that lie inside the map.
    kernel: Range<usize>,
    output: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Eight sums side by side keep two units busy that take four cycles each for a
        // multiplication.
        match (self.rows.width, self.rows.kernel[1], self.rows.stride) {
            (8.., 3, 1) => self.tiles::<S, ByRows<3, 10>, 8, 1>(simd),
            (8.., 5, 1) => self.tiles::<S, ByRows<5, 12>, 8, 1>(simd),
            (8.., 7, 1) if holds_seven_taps::<S>() => self.tiles::<S, ByRows<7, 14>, 8, 1>(simd),
            (8.., _, 1) => self.tiles::<S, ByTaps<1>, 8, 1>(simd),
            (8.., _, 2) => self.tiles::<S, ByTaps<2>, 8, 1>(simd),
            (4.., 3, 1) if S::F32_LANES < BLOCK => self.tiles::<S, ByRows<3, 6>, 4, 2>(simd),
            (4.., _, 1) if S::F32_LANES < BLOCK => self.tiles::<S, ByTaps<1>, 4, 2>(simd),
            (4.., _, 2) if S::F32_LANES < BLOCK => self.tiles::<S, ByTaps<2>, 4, 2>(simd),
            (4.., _, 1) => self.tiles::<S, ByTaps<1>, 4, 1>(simd),
            (4.., _, 2) => self.tiles::<S, ByTaps<2>, 4, 1>(simd),
            _ => self.tiles::<S, ByTaps<1>, 1, 1>(simd),
        }
    }
}

/// Whether a processor has registers for eight sums, the seven taps of a row of a kernel, and a pixel.
fn holds_seven_taps<S: Simd>() -> bool {
    matches!(S::F32_LANES, 4 | 16)
}

impl Row<'_> {
    /// All of it, `TILE` output pixels by `V` vectors at a time. The last tile overlaps the one before
    /// it.
    #[allow(clippy::needless_range_loop, reason = "see `Sum`")]
    #[inline(always)]
    fn tiles<S: Simd, Kernel: Sum, const TILE: usize, const V: usize>(self, simd: S) {
        let Rows {
            channels,
            multiplier,
            act,
            width,
            kernel: [kh, kw],
            ..
        } = *self.rows;
        let (blocks, line) = (self.rows.blocks(), self.rows.line());
        for (phase, block) in (0..multiplier * blocks).map(|i| (i / blocks, i % blocks)) {
            let taps = &self.rows.weight[(phase * blocks + block) * kh * kw..][..kh * kw];
            let under = Under {
                lines: &self.padded[block * line..],
                pitch: blocks * line,
                taps: &taps[self.kernel.start * kw..self.kernel.end * kw],
                width: kw,
            };
            for v in (0..BLOCK / S::F32_LANES).step_by(V) {
                // The channels of each vector; none of them behind the last one.
                let places: [Range<usize>; V] = std::array::from_fn(|w| {
                    let first = block * BLOCK + (v + w) * S::F32_LANES;
                    let last = channels.min(first + S::F32_LANES);
                    phase * channels + first.min(last)..phase * channels + last
                });
                let mut biases = [simd.splat_f32s(0.0); V];
                for w in 0..V {
                    biases[w] = simd.partial_load_f32s(&self.rows.bias[places[w].clone()]);
                }
                for left in (0..width).step_by(TILE) {
                    let left = left.min(width - TILE);
                    let first = left * self.rows.stride;
                    let mut sums =
                        Kernel::add::<S, TILE, V>(simd, &under, v, first, [biases; TILE]);
                    if act != Activation::Nothing {
                        for t in 0..TILE {
                            act.apply_all(simd, &mut sums[t]);
                        }
                    }
                    let pixel = multiplier * channels;
                    let pixels = &mut self.output[left * pixel..][..TILE * pixel];
                    for t in 0..TILE {
                        for w in 0..V {
                            let to = &mut pixels[t * pixel..][places[w].clone()];
                            if to.len() == S::F32_LANES {
                                S::as_mut_simd_f32s(to).0[0] = sums[t][w];
                            } else {
                                simd.partial_store_f32s(to, sums[t][w]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a row is summed of, of one block of channels and one output of each.
struct Under<'a> {
    /// The padded rows under the kernel.
    lines: &'a [Block],
    /// Blocks from one of them to the next.
    pitch: usize,
    /// The rows of the kernel one after the other.
    taps: &'a [Block],
    /// Taps of a row of the kernel.
    width: usize,
}

/// How products are added to sums. Loops over sums are plain ones: the compiler does not see through
/// iterators and closures so deep inside, and would keep the sums in memory.
trait Sum {
    /// Adds all of `TILE` output pixels and of `V` vectors from the `v`-th of the block on, where the
    /// first of the pixels sees padded pixels from the `first` on.
    fn add<S: Simd, const TILE: usize, const V: usize>(
        simd: S,
        under: &Under,
        v: usize,
        first: usize,
        sums: [[S::f32s; V]; TILE],
    ) -> [[S::f32s; V]; TILE];
}

/// With the `K` taps of a row of the kernel in registers, so that each of the `SEEN` pixels is loaded
/// once; with stride 1.
struct ByRows<const K: usize, const SEEN: usize>;

impl<const K: usize, const SEEN: usize> Sum for ByRows<K, SEEN> {
    #[allow(clippy::needless_range_loop, reason = "see `Sum`")]
    #[inline(always)]
    fn add<S: Simd, const TILE: usize, const V: usize>(
        simd: S,
        under: &Under,
        v: usize,
        first: usize,
        mut sums: [[S::f32s; V]; TILE],
    ) -> [[S::f32s; V]; TILE] {
        const { assert!(SEEN == TILE - 1 + K) };
        let rows = under.taps.as_chunks::<K>().0;
        for ky in 0..rows.len() {
            let seen = &under.lines[ky * under.pitch + first..][..SEEN];
            let seen = seen.as_array::<SEEN>().unwrap_or(&[[0.0; BLOCK]; SEEN]);
            for w in 0..V {
                let taps: [S::f32s; K] = std::array::from_fn(|k| load::<S>(&rows[ky][k], v + w));
                for x in 0..SEEN {
                    let pixel = load::<S>(&seen[x], v + w);
                    for t in 0..TILE {
                        if x >= t && x - t < K {
                            sums[t][w] = simd.mul_add_e_f32s(pixel, taps[x - t], sums[t][w]);
                        }
                    }
                }
            }
        }
        sums
    }
}

/// Any kernel, one tap after the other, so that no more registers than one are needed beside the sums.
struct ByTaps<const STRIDE: usize>;

impl<const STRIDE: usize> Sum for ByTaps<STRIDE> {
    #[allow(clippy::needless_range_loop, reason = "see `Sum`")]
    #[inline(always)]
    fn add<S: Simd, const TILE: usize, const V: usize>(
        simd: S,
        under: &Under,
        v: usize,
        first: usize,
        mut sums: [[S::f32s; V]; TILE],
    ) -> [[S::f32s; V]; TILE] {
        // Pixels from the first to the last under a tap.
        let span = (TILE - 1) * STRIDE + 1;
        for ky in 0..under.taps.len() / under.width {
            let taps = &under.taps[ky * under.width..][..under.width];
            let seen = &under.lines[ky * under.pitch + first..][..span - 1 + under.width];
            for (tap, pixels) in taps.iter().zip(seen.windows(span)) {
                for w in 0..V {
                    let tap = load::<S>(tap, v + w);
                    for t in 0..TILE {
                        let pixel = load::<S>(&pixels[t * STRIDE], v + w);
                        sums[t][w] = simd.mul_add_e_f32s(pixel, tap, sums[t][w]);
                    }
                }
            }
        }
        sums
    }
}

/// A vector of a block.
#[inline(always)]
fn load<S: Simd>(block: &Block, v: usize) -> S::f32s {
    S::as_simd_f32s(block).0[v]
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
            for (height, width, channels) in
                [(1, 1, 3), (6, 9, 16), (13, 8, 20), (5, 6, 40), (3, 2, 40)]
            {
                for (multiplier, act, padding) in [
                    (1, Activation::Nothing, Padding::Half),
                    (2, Activation::Gelu, Padding::Half),
                    (1, Activation::Relu6, Padding::Same),
                ] {
                    let x = map(2, height, width, channels);
                    let weight = random([multiplier, kernel[0] * kernel[1], channels], 2);
                    let bias = random([multiplier, channels], 3);
                    let conv = Depthwise::new(weight, bias, kernel)
                        .with_stride(stride)
                        .with_padding(padding);
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

//! A depthwise convolution and the two matrix products behind it, in one go.
//!
//! What lies between the products is four times as wide as what goes in and comes out. So each
//! thread takes some rows of pixels through all three operations, in memory of its own that its
//! second cache holds, and no thread waits for another in between.

use std::cell::RefCell;

use super::activation::Activation;
use super::depthwise::{Depthwise, Rows, depthwise};
use super::flex::{self, room};
use super::held::{part, second_cache};
use super::map::Map;
use super::matrix::{Dense, Layer, Rounder, Then, linear, run};
use super::share;

/// Floats that a thread holds at a time: rows behind the depthwise convolution, between the products
/// and behind them. The more rows, the fewer are padded twice.
fn most_held() -> usize {
    second_cache() / 4 * 3
}

/// A convolutional feed-forward network: depthwise convolution, dense layer, activation, dense
/// layer, and the input added. Anasosalu Vasu et al., FastViT, <https://arxiv.org/abs/2303.14189>.
pub(crate) struct ConvFfn<'a> {
    /// Of one output a channel, with stride 1.
    pub(crate) depthwise: &'a Depthwise,
    /// Behind the depthwise convolution.
    pub(crate) first: Layer<'a>,
    /// Behind the first dense layer.
    pub(crate) act: Activation,
    /// Back to the channels of the input.
    pub(crate) second: Layer<'a>,
}

/// `x + second(act(first(depthwise(x))))`
pub(crate) fn conv_ffn(x: &Map, block: &ConvFfn) -> Map {
    fused(x, block, share::threads()).unwrap_or_else(|| one_by_one(x, block))
}

/// The operations after each other.
fn one_by_one(x: &Map, block: &ConvFfn) -> Map {
    let mixed = depthwise(x, block.depthwise, Activation::Nothing);
    let (weight, bias) = block.first;
    let hidden = linear(mixed.data, weight, bias, Then::Act(block.act));
    let (weight, bias) = block.second;
    x.with(linear(hidden, weight, bias, Then::Add(x.data.clone())))
}

/// All of it, some rows at a time, in pieces for so many threads; [`None`] on other devices.
fn fused(x: &Map, block: &ConvFfn, threads: usize) -> Option<Map> {
    let input = flex::open(x.data.clone()).ok()?;
    let [weight, bias] = block.depthwise.open()?;
    let (first, second) = (
        Dense::open(block.first.0, block.first.1)?,
        Dense::open(block.second.0, block.second.1)?,
    );
    let row = x.width * x.channels();
    let at_once = run(first.columns());
    let held = 2 * row + x.width * at_once;
    let inside = Inside {
        rows: Rows::new(
            x.size(),
            block.depthwise,
            weight.read(),
            bias.read(),
            Activation::Nothing,
        ),
        act: block.act,
        rounder: first.rounder(&second),
        row,
        at_once,
        first,
        second,
    };
    let rows = share::rows_of_a_piece(x.n, x.height, most_held() / held, threads);
    let input = input.read();
    let mut output = room(input.len());
    let image = x.height * row;
    share::pieces_of_images(&mut output, image, rows * row, |n, i, output| {
        let image = &input[n * image..][..image];
        HELD_ROWS.with_borrow_mut(|held| inside.run(held, image, i * rows, output));
    });
    Some(x.with(flex::tensor(
        output,
        [x.n * x.height * x.width, x.channels()],
    )))
}

/// A block, open.
struct Inside<'a> {
    rows: Rows<'a>,
    first: Dense,
    act: Activation,
    second: Dense,
    rounder: Option<Rounder>,
    /// Elements of a row of pixels of the input and the output.
    row: usize,
    /// Channels between the products that are computed at a time, so that many rows pass a weight at
    /// once; what the second product makes of them is summed as if they were all there.
    at_once: usize,
}

/// What a thread keeps from block to block, so that it need be neither asked for nor zeroed.
#[derive(Default)]
struct Held {
    /// Padded rows of the input.
    padded: Vec<f32>,
    /// Rows behind the depthwise convolution.
    mixed: Vec<f32>,
    /// Rows between the products.
    hidden: Vec<f32>,
    /// The same rounded.
    rounded: Vec<u32>,
}

thread_local! {
    static HELD_ROWS: RefCell<Held> = RefCell::default();
}

impl Inside<'_> {
    /// Output rows of one image, from the `first` on, as many as `output` has.
    fn run(&self, held: &mut Held, image: &[f32], first: usize, output: &mut [f32]) {
        let rows = first..first + output.len() / self.row;
        let mixed = part(&mut held.mixed, output.len());
        self.rows
            .convolve_all(image, first, &mut held.padded, mixed);
        let residual = &image[rows.start * self.row..rows.end * self.row];
        let (first, second) = (self.first.weight(), self.second.weight());
        let (pixels, all) = (output.len() / self.second.columns(), self.first.columns());
        for start in (0..all).step_by(self.at_once) {
            let now = start..all.min(start + self.at_once);
            let next = now.end..all.min(now.end + self.at_once);
            let hidden = part(&mut held.hidden, pixels * now.len());
            let widened = self.first.product(mixed, self.act, None);
            let widened = widened.of_columns(&now).before(second.depths(&now));
            let rounded = self.rounder.map(|rounder| {
                let words = part(&mut held.rounded, hidden.len() / 2);
                widened.run_rounded(rounder, hidden, words);
                (rounder, &*words)
            });
            if rounded.is_none() {
                widened.run_alone(hidden);
            }
            let residual = Some(residual);
            let narrowed = self.second.product(hidden, Activation::Nothing, residual);
            let mut narrowed = narrowed.of_depths(&now);
            if !next.is_empty() {
                narrowed = narrowed.before(first.columns(&next));
            }
            match rounded {
                Some((rounder, words)) => narrowed.run_of_rounded(rounder, words, output),
                None => narrowed.run_alone(output),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, map, matrix, matrix_in, random};
    use super::super::with_stock_operations;
    use super::*;
    use crate::precision::Precision;

    #[test]
    fn a_block_is_its_operations() {
        // One row of pixels and many, heights that no number of pieces divides, few and many channels.
        for (height, width, channels, hidden, kernel) in [
            (1, 1, 3, 12, 7),
            (13, 9, 8, 32, 7),
            (24, 10, 40, 100, 7),
            (16, 16, 32, 128, 5),
            (7, 64, 16, 2048, 3),
        ] {
            let dense = |from, to, seed| (matrix(from, to), random([to], seed));
            let (first, second) = (dense(channels, hidden, 4), dense(hidden, channels, 5));
            let depthwise = Depthwise::new(
                random([1, kernel * kernel, channels], 2),
                random([1, channels], 3),
                [kernel; 2],
            );
            for n in [1, 3] {
                let x = map(n, height, width, channels);
                let block = ConvFfn {
                    depthwise: &depthwise,
                    first: (&first.0, Some(&first.1)),
                    act: Activation::Gelu,
                    second: (&second.0, Some(&second.1)),
                };
                let expected = with_stock_operations(|| one_by_one(&x, &block)).data;
                let size = expected.clone().abs().max().into_scalar::<f32>();
                for threads in [1, 2, 5] {
                    let ours = fused(&x, &block, threads).expect("the CPU").data / size;
                    let what = format!("{n}x{height}x{width}x{channels} for {threads}");
                    assert_close(ours, expected.clone() / size, &what);
                }
            }
        }
    }

    #[test]
    fn hidden_channels_in_parts_are_summed_as_all_at_once() {
        for precision in [Precision::F32, Precision::Bf16] {
            for (channels, hidden) in [
                (24, 1000),
                (40, 320),
                (16, 321),
                // Rounded in between where the processor does so: chunks of which the last ends with
                // half a panel; several runs, and more rows than are rounded at once.
                (24, 1040),
                (2048, 336),
            ] {
                let [first, second] = [(channels, hidden), (hidden, channels)]
                    .map(|(from, to)| (matrix_in(precision, from, to), random([to], 3)));
                let (taps, bias) = (random([1, 9, channels], 4), random([1, channels], 5));
                let depthwise = Depthwise::new(taps, bias, [3; 2]);
                let block = ConvFfn {
                    depthwise: &depthwise,
                    first: (&first.0, Some(&first.1)),
                    act: Activation::Gelu,
                    second: (&second.0, Some(&second.1)),
                };
                let x = map(1, 9, 7, channels);
                let values = |map: Map| map.data.into_data().try_into_vec::<f32>().unwrap();
                let expected = values(one_by_one(&x, &block));
                let found = values(fused(&x, &block, 2).expect("the CPU"));
                assert_eq!(found, expected, "{precision:?}, {channels} and {hidden}");
            }
        }
    }
}

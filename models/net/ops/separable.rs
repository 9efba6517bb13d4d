//! Whole inverted residual blocks. What lies inside a block is several times as wide as what goes in
//! and comes out, so that writing it to memory and reading it again would take longer than computing
//! it: each thread makes some rows of the inside at a time, in memory of its own that its second
//! cache holds, and turns them into rows of the output before it goes on.

use std::cell::RefCell;

use super::activation::Activation;
use super::depthwise::{Depthwise, Rows, depthwise, part};
use super::flex;
use super::map::Map;
use super::matrix::{Dense, Layer, Then, linear};
use super::share;

/// Floats of the inside that a thread holds at a time.
const HELD: usize = 1 << 16;
/// Fewest output rows of a thread: the rows around them are made twice.
const FEWEST_ROWS: usize = 6;

/// The convolutions of an inverted residual block, with ReLU6 behind the first two.
pub(crate) struct InvertedResidual<'a> {
    /// Brings the input to the channels of the depthwise convolution.
    pub(crate) expand: Option<Layer<'a>>,
    pub(crate) depthwise: &'a Depthwise,
    pub(crate) project: Layer<'a>,
    /// Whether the input is added to the output, which has its shape then.
    pub(crate) residual: bool,
}

/// Runs the block.
pub(crate) fn inverted_residual(x: &Map, block: &InvertedResidual) -> Map {
    match split(x, block.depthwise) {
        Some(band) => fused(x, block, band).unwrap_or_else(|| one_by_one(x, block)),
        None => one_by_one(x, block),
    }
}

/// Output rows of a task, where there are enough to give every thread some.
fn split(x: &Map, depthwise: &Depthwise) -> Option<usize> {
    let [height, _] = depthwise.places(x);
    let bands = share::threads().div_ceil(x.n);
    let band = height.div_ceil(bands);
    (bands == 1 || band >= FEWEST_ROWS).then_some(band)
}

/// The operations after each other.
fn one_by_one(x: &Map, block: &InvertedResidual) -> Map {
    let hidden = match block.expand {
        Some((weight, bias)) => x.with(linear(x.data.clone(), weight, bias, Then::RELU6)),
        None => x.clone(),
    };
    let hidden = hidden.turned(|x| depthwise(x, block.depthwise, Activation::Relu6));
    let (weight, bias) = block.project;
    let then = match block.residual {
        true => Then::Add(x.data.clone()),
        false => Then::Nothing,
    };
    hidden.turned(|x| x.with(linear(x.data.clone(), weight, bias, then)))
}

/// All of it row by row; [`None`] on other devices.
fn fused(x: &Map, block: &InvertedResidual, band: usize) -> Option<Map> {
    let input = flex::open(x.data.clone()).ok()?;
    let [weight, bias] = block.depthwise.open()?;
    let expand = match block.expand {
        Some((weight, bias)) => Some(Dense::open(weight, bias)?),
        None => None,
    };
    let project = Dense::open(block.project.0, block.project.1)?;
    let depthwise = block.depthwise;
    let [multiplier, channels] = depthwise.outputs();
    let [height, width] = depthwise.places(x);
    if multiplier != 1 {
        return None;
    }
    let inside = Inside {
        rows: Rows::new(x, depthwise, weight.read(), bias.read(), Activation::Relu6),
        expand,
        residual: block.residual,
        input: x.width * x.channels(),
        output: width * project.columns(),
        wide: x.width * channels,
        hidden: width * channels,
        project,
    };
    let mut output = flex::room(x.n * height * inside.output);
    let (image, piece) = (height * inside.output, band * inside.output);
    let input = input.read();
    share::pieces_of_images(&mut output, image, piece, |n, i, output| {
        let image = x.height * inside.input;
        inside.run(&input[n * image..][..image], i * band, output);
    });
    Some(Map {
        data: flex::tensor(output, [x.n * height * width, inside.project.columns()]),
        n: x.n,
        height,
        width,
    })
}

/// A block, open.
struct Inside<'a> {
    expand: Option<Dense>,
    rows: Rows<'a>,
    project: Dense,
    residual: bool,
    /// Length of a row of the input, of the output, and of what lies before the depthwise
    /// convolution and the projection.
    input: usize,
    output: usize,
    wide: usize,
    hidden: usize,
}

/// What a thread keeps from block to block, so that it need be neither asked for nor zeroed.
#[derive(Default)]
struct Held {
    /// A row behind the first convolution.
    wide: Vec<f32>,
    /// Padded rows before the depthwise convolution.
    before: Vec<f32>,
    /// Rows behind it.
    behind: Vec<f32>,
}

thread_local! {
    static HELD_ROWS: RefCell<Held> = RefCell::default();
}

impl Inside<'_> {
    /// Output rows of one image, from the `first` on, as many as `output` has.
    fn run(&self, image: &[f32], first: usize, output: &mut [f32]) {
        HELD_ROWS.with_borrow_mut(|held| self.run_with(held, image, first, output));
    }

    fn run_with(&self, held: &mut Held, image: &[f32], first: usize, output: &mut [f32]) {
        let pitch = self.rows.pitch();
        let at_once = self.rows.at_once(HELD);
        // The rows of the map that are made, the first of them at the start of the buffer.
        let mut made = self.rows.under(first).start..self.rows.under(first).start;
        for (chunk, output) in output.chunks_mut(at_once * self.output).enumerate() {
            let row = first + chunk * at_once;
            let rows = row..row + output.len() / self.output;
            let needed = self.rows.under_all(&rows);
            let before = part(&mut held.before, needed.len().max(made.len()) * pitch);
            let behind = part(&mut held.behind, rows.len() * self.hidden);
            // What the last rows have in common with these is moved to the start.
            let kept = needed.start.min(made.end)..made.end;
            let from = (kept.start - made.start) * pitch;
            before.copy_within(from..from + kept.len() * pitch, 0);
            for y in kept.end.max(needed.start)..needed.end {
                let padded = &mut before[(y - needed.start) * pitch..][..pitch];
                self.widen(
                    &image[y * self.input..][..self.input],
                    &mut held.wide,
                    padded,
                );
            }
            made = needed;
            for (row, behind) in rows.clone().zip(behind.chunks_exact_mut(self.hidden)) {
                self.rows.convolve(before, made.start, row, behind);
            }
            let residual = self
                .residual
                .then(|| &image[rows.start * self.input..rows.end * self.input]);
            self.project
                .multiply(behind, Activation::Nothing, residual, output);
        }
    }

    /// One padded row before the depthwise convolution.
    fn widen(&self, input: &[f32], wide: &mut Vec<f32>, padded: &mut [f32]) {
        let Some(expand) = &self.expand else {
            return self.rows.pad(input, padded);
        };
        let wide = part(wide, self.wide);
        expand.multiply(input, Activation::Relu6, None, wide);
        self.rows.pad(wide, padded);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, map, matrix, random};
    use super::super::{Padding, with_stock_operations};
    use super::*;

    #[test]
    fn a_block_is_its_operations() {
        // Heights of one band and of several, and more rows than are held at a time.
        for (height, width, input, hidden, output, kernel, stride) in [
            (1, 1, 3, 18, 5, 3, 1),
            (13, 9, 8, 8, 12, 3, 1),
            (24, 10, 8, 48, 8, 3, 1),
            (25, 11, 8, 40, 20, 5, 2),
            (40, 40, 12, 72, 12, 5, 1),
            (31, 64, 16, 96, 24, 3, 2),
        ] {
            let dense = |from, to, seed| (matrix(from, to), random([to], seed));
            let (expand, project) = (dense(input, hidden, 4), dense(hidden, output, 5));
            let (weight, bias) = (
                random([1, kernel * kernel, hidden], 2),
                random([1, hidden], 3),
            );
            let depthwise = Depthwise::new(weight, bias, [kernel; 2])
                .with_stride(stride)
                .with_padding(Padding::Same);
            for n in [1, 3] {
                let x = map(n, height, width, input);
                let block = InvertedResidual {
                    expand: (input != hidden).then_some((&expand.0, Some(&expand.1))),
                    depthwise: &depthwise,
                    project: (&project.0, Some(&project.1)),
                    residual: stride == 1 && input == output,
                };
                let expected = with_stock_operations(|| one_by_one(&x, &block)).data;
                let size = expected.clone().abs().max().into_scalar::<f32>();
                for band in [1, 7, height] {
                    let ours = fused(&x, &block, band).expect("the CPU").data / size;
                    let what = format!("{n}x{height}x{width}x{input}, rows by {band}");
                    assert_close(ours, expected.clone() / size, &what);
                }
                let chosen = inverted_residual(&x, &block).data / size;
                assert_close(chosen, expected / size, "as it is chosen");
            }
        }
    }
}

//! A depthwise convolution between two others, in one go: inverted residual blocks, and the stems of
//! networks.
//!
//! What lies inside is several times as large as what goes in and comes out, so that writing it to
//! memory and reading it again would take longer than computing it: each thread makes some rows of the
//! inside at a time, in memory of its own that its second cache holds, and turns them into rows of the
//! output before it goes on.

use std::cell::RefCell;
use std::ops::Range;

use super::activation::Activation;
use super::depthwise::{Depthwise, Rows, depthwise};
use super::flex;
use super::held::{part, second_cache};
use super::map::Map;
use super::matrix::{Dense, Layer, Then, linear};
use super::patches::{Window, patches};
use super::share;

/// Fewest output rows of a thread: the rows around them are made twice.
const FEWEST_ROWS: usize = 6;
/// Pixels that are widened at a time, where there are so many: each reads all of the weight.
const WIDENED: usize = 96;

/// The convolutions, each with an activation behind it.
pub(crate) struct Separable<'a> {
    pub(crate) widen: Widen<'a>,
    pub(crate) depthwise: &'a Depthwise,
    /// A 1x1 convolution.
    pub(crate) project: Layer<'a>,
    /// Behind each of the three.
    pub(crate) acts: [Activation; 3],
    /// Whether the input is added to the output, which has its shape then. No activation goes before.
    pub(crate) residual: bool,
}

/// What makes the input of the depthwise convolution.
#[derive(Clone, Copy)]
pub(crate) enum Widen<'a> {
    /// It is the input of all.
    Nothing,
    /// A 1x1 convolution.
    Point(Layer<'a>),
    /// A convolution of few channels.
    Dense(Window, Layer<'a>),
}

impl Widen<'_> {
    /// Height and width of what it makes of a map of this height and width.
    fn places(&self, size: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Dense(window, _) => window.places(size),
            Self::Nothing | Self::Point(_) => size,
        }
    }
}

/// Runs all three.
pub(crate) fn separable(x: &Map, block: &Separable) -> Map {
    match split(x, block) {
        Some(band) => fused(x, block, band).unwrap_or_else(|| one_by_one(x, block)),
        None => one_by_one(x, block),
    }
}

/// Output rows of a task, where there are enough to give every thread some.
fn split(x: &Map, block: &Separable) -> Option<usize> {
    let [height, _] = block.depthwise.places(block.widen.places(x.size()));
    let bands = share::threads().div_ceil(x.n);
    let band = height.div_ceil(bands);
    (bands == 1 || band >= FEWEST_ROWS).then_some(band)
}

/// The operations after each other.
fn one_by_one(x: &Map, block: &Separable) -> Map {
    let acts = block.acts;
    let wide = match block.widen {
        Widen::Nothing => x.clone(),
        Widen::Point((weight, bias)) => {
            x.with(linear(x.data.clone(), weight, bias, Then::Act(acts[0])))
        }
        Widen::Dense(window, (weight, bias)) => patches(x, window)
            .turned(|x| x.with(linear(x.data.clone(), weight, bias, Then::Act(acts[0])))),
    };
    let hidden = wide.turned(|x| depthwise(x, block.depthwise, acts[1]));
    let (weight, bias) = block.project;
    let then = match block.residual {
        true => Then::Add(x.data.clone()),
        false => Then::Act(acts[2]),
    };
    hidden.turned(|x| x.with(linear(x.data.clone(), weight, bias, then)))
}

/// All of it row by row; [`None`] on other devices.
fn fused(x: &Map, block: &Separable, band: usize) -> Option<Map> {
    let input = flex::open(x.data.clone()).ok()?;
    let depthwise = block.depthwise;
    let [weight, bias] = depthwise.open()?;
    let open = |(weight, bias): Layer| Dense::open(weight, bias);
    let widen = match block.widen {
        Widen::Nothing => Open::Nothing,
        Widen::Point(layer) => Open::Point(open(layer)?),
        Widen::Dense(window, layer) => Open::Dense(window, open(layer)?),
    };
    let project = open(block.project)?;
    let [multiplier, channels] = depthwise.outputs();
    if multiplier != 1 {
        return None;
    }
    let size = block.widen.places(x.size());
    let [height, width] = depthwise.places(size);
    let inside = Inside {
        widen,
        rows: Rows::new(size, depthwise, weight.read(), bias.read(), block.acts[1]),
        acts: [block.acts[0], block.acts[2]],
        residual: block.residual,
        size: x.size(),
        input: x.width * x.channels(),
        wide: size[1] * channels,
        together: WIDENED.div_ceil(size[1]),
        hidden: width * channels,
        output: width * project.columns(),
        project,
    };
    let mut output = flex::room(x.n * height * inside.output);
    let (image, piece) = (height * inside.output, band * inside.output);
    let input = input.read();
    share::pieces_of_images(&mut output, image, piece, |n, i, output| {
        let image = &input[n * x.height * inside.input..][..x.height * inside.input];
        HELD_ROWS.with_borrow_mut(|held| inside.run(held, image, i * band, output));
    });
    Some(Map {
        data: flex::tensor(output, [x.n * height * width, inside.project.columns()]),
        n: x.n,
        height,
        width,
    })
}

/// [`Widen`], open.
enum Open {
    Nothing,
    Point(Dense),
    Dense(Window, Dense),
}

/// A block, open.
struct Inside<'a> {
    widen: Open,
    rows: Rows<'a>,
    project: Dense,
    /// Behind the first convolution and behind the last.
    acts: [Activation; 2],
    residual: bool,
    /// Height and width of the input.
    size: [usize; 2],
    /// Length of a row of the input, of what lies before the depthwise convolution and the
    /// projection, and of the output.
    input: usize,
    wide: usize,
    hidden: usize,
    output: usize,
    /// Rows that are widened at a time.
    together: usize,
}

/// What a thread keeps from block to block, so that it need be neither asked for nor zeroed.
#[derive(Default)]
struct Held {
    /// Patches of the rows that are widened.
    patches: Vec<f32>,
    /// Rows behind the first convolution.
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
    fn run(&self, held: &mut Held, image: &[f32], first: usize, output: &mut [f32]) {
        let pitch = self.rows.pitch();
        let at_once = self.rows.at_once(second_cache() / 2);
        // The rows of the map that are made, the first of them at the start of the buffer.
        let mut made = self.rows.under(first).start..self.rows.under(first).start;
        for (chunk, output) in output.chunks_mut(at_once * self.output).enumerate() {
            let row = first + chunk * at_once;
            let rows = row..row + output.len() / self.output;
            let needed = self.rows.under_all(&rows);
            let before = part(&mut held.before, needed.len().max(made.len()) * pitch);
            // What the last rows have in common with these is moved to the start.
            let kept = needed.start.min(made.end)..made.end;
            let from = (kept.start - made.start) * pitch;
            before.copy_within(from..from + kept.len() * pitch, 0);
            let new = kept.end.max(needed.start)..needed.end;
            let padded = &mut before[(new.start - needed.start) * pitch..][..new.len() * pitch];
            for (i, padded) in padded.chunks_mut(self.together * pitch).enumerate() {
                let y = new.start + i * self.together;
                let rows = y..y + padded.len() / pitch;
                let wide = self.wide(image, rows, &mut held.patches, &mut held.wide);
                for (row, padded) in wide
                    .chunks_exact(self.wide)
                    .zip(padded.chunks_exact_mut(pitch))
                {
                    self.rows.pad(row, padded);
                }
            }
            made = needed;
            let behind = part(&mut held.behind, rows.len() * self.hidden);
            for (row, behind) in rows.clone().zip(behind.chunks_exact_mut(self.hidden)) {
                self.rows.convolve(before, made.start, row, behind);
            }
            let residual = self
                .residual
                .then(|| &image[rows.start * self.input..rows.end * self.input]);
            self.project
                .multiply(behind, self.acts[1], residual, output);
        }
    }

    /// Rows before the depthwise convolution.
    fn wide<'a>(
        &self,
        image: &'a [f32],
        rows: Range<usize>,
        patches: &'a mut Vec<f32>,
        wide: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let own = |rows: &Range<usize>| &image[rows.start * self.input..rows.end * self.input];
        let (dense, input) = match &self.widen {
            Open::Nothing => return own(&rows),
            Open::Point(dense) => (dense, own(&rows)),
            Open::Dense(window, dense) => {
                let [_, places] = window.places(self.size);
                let row = places * window.length(self.input / self.size[1]);
                let patches = part(patches, rows.len() * row);
                for (y, patches) in rows.clone().zip(patches.chunks_exact_mut(row)) {
                    window.row(image, self.size, y, patches);
                }
                (dense, &*patches)
            }
        };
        let wide = part(wide, rows.len() * self.wide);
        dense.multiply(input, self.acts[0], None, wide);
        wide
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, map, matrix, random};
    use super::super::{Padding, with_stock_operations};
    use super::*;

    #[test]
    fn an_inverted_residual_block_is_its_operations() {
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
                let block = Separable {
                    widen: match input == hidden {
                        true => Widen::Nothing,
                        false => Widen::Point((&expand.0, Some(&expand.1))),
                    },
                    depthwise: &depthwise,
                    project: (&project.0, Some(&project.1)),
                    acts: [Activation::Relu6, Activation::Relu6, Activation::Nothing],
                    residual: stride == 1 && input == output,
                };
                let what = format!("{n}x{height}x{width}x{input}");
                assert_is_its_operations(&x, &block, &what);
            }
        }
    }

    #[test]
    fn a_stem_is_its_operations() {
        for (height, width, hidden, output, padding) in [
            (1, 1, 8, 8, Padding::Half),
            (37, 20, 24, 12, Padding::Same),
            (50, 96, 64, 64, Padding::Half),
        ] {
            let window = Window {
                kernel: 3,
                stride: 2,
                padding,
            };
            let dense = |from, to, seed| (matrix(from, to), random([to], seed));
            let (first, project) = (dense(27, hidden, 4), dense(hidden, output, 5));
            for stride in [1, 2] {
                let weight = random([1, 9, hidden], 2);
                let depthwise = Depthwise::new(weight, random([1, hidden], 3), [3; 2])
                    .with_stride(stride)
                    .with_padding(padding);
                for n in [1, 3] {
                    let block = Separable {
                        widen: Widen::Dense(window, (&first.0, Some(&first.1))),
                        depthwise: &depthwise,
                        project: (&project.0, Some(&project.1)),
                        acts: [Activation::Gelu, Activation::Relu6, Activation::Gelu],
                        residual: false,
                    };
                    let what = format!("{n}x{height}x{width}, {window:?}, {stride}");
                    assert_is_its_operations(&map(n, height, width, 3), &block, &what);
                }
            }
        }
    }

    fn assert_is_its_operations(x: &Map, block: &Separable, what: &str) {
        let expected = with_stock_operations(|| one_by_one(x, block)).data;
        let size = expected.clone().abs().max().into_scalar::<f32>();
        for band in [1, 7, x.height] {
            let ours = fused(x, block, band).expect("the CPU").data / size;
            let what = format!("{what}, rows by {band}");
            assert_close(ours, expected.clone() / size, &what);
        }
        let chosen = separable(x, block).data / size;
        assert_close(chosen, expected / size, &format!("{what}, as it is chosen"));
    }
}

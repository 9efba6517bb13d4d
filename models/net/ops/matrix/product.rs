//! Products with a packed weight, tile by tile.

use std::hint::black_box;
use std::ops::{Range, RangeFrom};

#[cfg(target_arch = "x86_64")]
use pulp::bytemuck::cast_slice;
use pulp::{Simd, WithSimd};

use super::after::After;
#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::bf16::{self, Rounder};
use super::blocks::{self, Block, LONGEST, Part};
use super::packed::{PANEL, Pair};
use crate::net::ops::share;
use crate::net::ops::tiles::{InTiles, MOST_ROWS, TileRows, by_rows, in_tiles};

/// Depths of the runs in which so many are summed.
pub(in crate::net::ops) const fn run(depth: usize) -> usize {
    blocks::run(depth, LONGEST)
}

/// Depths that are worked through between two looks ahead, and fewer of them where so many are left.
const STEPS: usize = 32;
const FEW: usize = 16;

/// Depths that are written one after the other.
const UNROLLED: usize = 4;

/// Multiplications below which a second thread does not pay.
const PARALLEL: usize = 1 << 18;

/// Bytes of rows that one task works through, panel by panel: they should stay in the second cache.
const TASK: usize = 1 << 18;

/// Rows of a product.
#[derive(Clone, Copy)]
pub(in crate::net::ops) struct Product<'a> {
    /// `[rows, depth]`
    pub(super) input: &'a [f32],
    pub(super) depth: usize,
    pub(super) weight: Packed<'a>,
    pub(super) after: After<'a>,
}

/// A weight, or a part of one, in its precision.
#[derive(Clone, Copy)]
pub(in crate::net::ops) enum Packed<'a> {
    F32(Part<'a, [f32; PANEL]>),
    Bf16(Part<'a, Pair>),
}

impl<'a> Packed<'a> {
    /// Some columns, from the first one of a panel on.
    pub(in crate::net::ops) fn columns(self, columns: &Range<usize>) -> Self {
        match self {
            Self::F32(part) => Self::F32(part.columns(columns)),
            Self::Bf16(part) => Self::Bf16(part.columns(columns)),
        }
    }

    /// Some of the depth, from an even number on.
    pub(in crate::net::ops) fn depths(self, depths: &Range<usize>) -> Self {
        match self {
            Self::F32(part) => Self::F32(part.steps(depths.clone())),
            Self::Bf16(part) => Self::Bf16(part.steps(depths.start / 2..bf16::pairs(depths.end))),
        }
    }

    /// This one, when `next` is multiplied with behind it.
    fn before(self, next: Self) -> Self {
        match (self, next) {
            (Self::F32(part), Self::F32(next)) => Self::F32(part.before(next)),
            (Self::Bf16(part), Self::Bf16(next)) => Self::Bf16(part.before(next)),
            _ => self,
        }
    }
}

impl<'a> Product<'a> {
    /// With some columns of the weight alone, from the first one of a panel on: those of the output.
    pub(in crate::net::ops) fn of_columns(self, columns: &Range<usize>) -> Self {
        Self {
            weight: self.weight.columns(columns),
            after: self.after.of_columns(columns),
            ..self
        }
    }

    /// With some of the weight's depth alone, which is all that `input` has. The first part of the
    /// depth comes first: the others are added to what the output holds then.
    pub(in crate::net::ops) fn of_depths(self, depths: &Range<usize>) -> Self {
        Self {
            weight: self.weight.depths(depths),
            depth: depths.len(),
            ..self
        }
    }

    /// This one, when `next` is multiplied with behind it.
    pub(in crate::net::ops) fn before(self, next: Packed<'a>) -> Self {
        Self {
            weight: self.weight.before(next),
            ..self
        }
    }

    /// All rows, shared among the threads: each task takes some rows through all panels.
    pub(super) fn run(&self, rows: usize, output: &mut [f32]) {
        let columns = self.after.columns;
        let threads = share::threads();
        if rows * self.depth * columns < PARALLEL || rows < 2 {
            self.run_alone(output);
            return;
        }
        let fitting = (TASK / 4 / self.depth).max(MOST_ROWS);
        let task = share::rows_of_a_piece(1, rows, fitting, threads);
        share::pieces(output, task * columns, |i, output| {
            self.rows(i * task..).run_alone(output);
        });
    }

    /// As many rows as `output` has, by this thread alone.
    pub(in crate::net::ops) fn run_alone(&self, output: &mut [f32]) {
        match self.weight {
            Packed::F32(part) => Task(*self, part, output).run(),
            Packed::Bf16(part) => bf16::run(&self.rows_of(part), output),
        }
    }

    /// The same, with what comes of it rounded to `[rows, columns / 2]` words for a product with the
    /// next weight. `held` is room for sums, as much as the output would have.
    pub(in crate::net::ops) fn run_rounded(
        &self,
        rounder: Rounder,
        held: &mut [f32],
        words: &mut [u32],
    ) {
        rounder.round(&self.rows_in_bf16(), held, words);
    }

    /// The same, of rows that were rounded so; those of `self` are not looked at.
    pub(in crate::net::ops) fn run_of_rounded(
        &self,
        rounder: Rounder,
        words: &[u32],
        output: &mut [f32],
    ) {
        rounder.multiply(words, &self.rows_in_bf16(), output);
    }

    fn rows_in_bf16(&self) -> bf16::Rows<'a> {
        match self.weight {
            Packed::Bf16(part) => self.rows_of(part),
            Packed::F32(_) => unreachable!("there are rounders for weights in bfloat16 alone"),
        }
    }

    fn rows_of(&self, weight: Part<'a, Pair>) -> bf16::Rows<'a> {
        bf16::Rows {
            input: self.input,
            depth: self.depth,
            weight,
            after: self.after,
        }
    }

    /// The rows from a first one on.
    fn rows(&self, from: RangeFrom<usize>) -> Self {
        Self {
            input: &self.input[from.start * self.depth..],
            after: self.after.rows_from(from.start),
            ..*self
        }
    }
}

/// As many rows of a product as the output has, its weight in single precision.
struct Task<'a>(Product<'a>, Part<'a, [f32; PANEL]>, &'a mut [f32]);

impl Task<'_> {
    fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = avx512::Singles::find() {
            self.run_by(kernel);
            return;
        }
        pulp::Arch::new().dispatch(self);
    }

    #[cfg(target_arch = "x86_64")]
    fn run_by(self, kernel: avx512::Singles) {
        let Self(product, weight, output) = self;
        kernel.run(avx512::Job {
            words: cast_slice(product.input),
            length: product.depth,
            weight,
            run: weight.run(LONGEST),
            after: product.after,
            output,
            rounded: None,
        });
    }
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        in_tiles(simd, self);
    }
}

impl InTiles for Task<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const V: usize, const R: usize>(self, simd: S) {
        let Self(product, part, output) = self;
        let rows = output.len() / product.after.columns;
        for block in part.blocks(V * S::F32_LANES, part.run(LONGEST), rows.div_ceil(R), STEPS) {
            let mut place = Place {
                product,
                output,
                block,
            };
            by_rows::<S, V, R>(simd, rows, &mut place);
        }
    }
}

/// Where tiles are computed: within a block.
struct Place<'a> {
    product: Product<'a>,
    output: &'a mut [f32],
    block: Block<'a, [f32; PANEL]>,
}

impl TileRows for Place<'_> {
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, row: usize) {
        let Product { depth, after, .. } = self.product;
        let block = &mut self.block;
        let input = &self.product.input[row * depth..];
        let rows = std::array::from_fn(|r| &input[r * depth..][block.steps.clone()]);
        let columns = (block.panel, block.place());
        let mut sums = multiply::<S, V, R>(simd, &rows, columns, || block.ahead.look());
        let output = &mut self.output[row * after.columns..];
        after.rows_from(row).block(simd, block, &mut sums, output);
    }
}

/// `R` rows times `V` vectors of columns, from a column of their panel on. `ahead` is called now and
/// then.
#[inline(always)]
fn multiply<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: &[&[f32]; R],
    columns: (&[[f32; PANEL]], usize),
    mut ahead: impl FnMut(),
) -> [[S::f32s; V]; R] {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let done = steps::<S, V, R, STEPS>(simd, &mut sums, rows, columns, 0, &mut ahead);
    let done = steps::<S, V, R, FEW>(simd, &mut sums, rows, columns, done, &mut ahead);
    steps::<S, V, R, 1>(simd, &mut sums, rows, columns, done, &mut || ());
    sums
}

/// Adds the products of `LENGTH` depths, as often as there are so many from one on, and returns up to
/// where. Within them nothing is left to be checked, as the compiler knows how many they are.
#[allow(
    clippy::needless_range_loop,
    reason = "iterators so deep inside are not seen through"
)]
#[inline(always)]
fn steps<S: Simd, const V: usize, const R: usize, const LENGTH: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; R],
    rows: &[&[f32]; R],
    (panel, column): (&[[f32; PANEL]], usize),
    from: usize,
    ahead: &mut impl FnMut(),
) -> usize {
    let count = (rows[0].len() - from) / LENGTH;
    let panel = panel[from..].as_chunks::<LENGTH>().0;
    for (i, columns) in panel[..count].iter().enumerate() {
        ahead();
        let mut values: [&[f32; LENGTH]; R] =
            std::array::from_fn(|r| &rows[r][from..].as_chunks().0[i]);
        if LENGTH > UNROLLED {
            // Or the compiler would see that they lie equally far apart, and compute all addresses
            // from the first at each depth, where registers can hold them.
            values = black_box(values);
        }
        let mut k = 0;
        while k + UNROLLED <= LENGTH {
            for k in k..k + UNROLLED {
                add_products(simd, sums, &values, k, &columns[k][column..]);
            }
            k += UNROLLED;
        }
        while k < LENGTH {
            add_products(simd, sums, &values, k, &columns[k][column..]);
            k += 1;
        }
    }
    from + count * LENGTH
}

/// Adds the products of the `k`-th value of each row with a row of columns. Loops are plain ones here
/// and above: the compiler does not see through iterators and closures so deep inside, and would keep
/// sums in memory.
#[inline(always)]
fn add_products<S: Simd, const V: usize, const R: usize, const LENGTH: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; R],
    values: &[&[f32; LENGTH]; R],
    k: usize,
    columns: &[f32],
) {
    let columns = &S::as_simd_f32s(&columns[..V * S::F32_LANES]).0[..V];
    for (values, sums) in values.iter().zip(sums) {
        let value = simd.splat_f32s(values[k]);
        for (column, sum) in columns.iter().zip(sums) {
            *sum = simd.mul_add_e_f32s(value, *column, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ops::activation::Activation;
    use crate::net::ops::matrix::Panels;
    use crate::net::ops::testing::{matrix, random};

    /// The processor at hand runs some of them; whoever has another runs the others.
    #[test]
    fn every_width_of_vectors_gives_the_same() {
        // Whole, half and broken panels, one run and several, every height of a tile.
        for (rows, depth, columns) in [
            (29, 50, 75),
            (27, 64, 48),
            (13, 7, 32),
            (31, 1001, 64),
            (3, 33, 16),
            (26, 20, 200),
        ] {
            let weight = matrix(depth, columns);
            let Panels::F32(panels) = &weight.panels else {
                unreachable!("a weight in single precision, on the processor");
            };
            let panels: Vec<f32> = panels.clone().into_data().try_into_vec().unwrap();
            let part = Part::new(panels.as_chunks().0, columns);
            let values = |seed| -> Vec<f32> {
                let values = random([rows * depth.max(columns)], seed);
                values.into_data().try_into_vec().unwrap()
            };
            let (input, residual) = (values(1), values(2));
            for (act, has_residual) in [
                (Activation::Gelu, true),
                (Activation::GeluTanh, true),
                (Activation::Gelu, false),
                (Activation::Nothing, true),
                (Activation::Relu6, false),
            ] {
                let product = Product {
                    input: &input[..rows * depth],
                    depth,
                    weight: Packed::F32(part),
                    after: After {
                        bias: Some(&residual[..columns]),
                        residual: has_residual.then_some(&residual[..rows * columns]),
                        act,
                        columns,
                    },
                };
                let run = |simd: &dyn Fn(Task<'_>)| {
                    let mut output = vec![f32::NAN; rows * columns];
                    simd(Task(product, part, &mut output));
                    output
                };
                let scalar = run(&|task| pulp::Scalar::new().vectorize(task));
                assert!(scalar.iter().all(|value| value.is_finite()));
                let check = |other: Vec<f32>, what: &str| {
                    for (a, b) in scalar.iter().zip(&other) {
                        let near = (a - b).abs() < 1e-5 * a.abs().max((depth as f32).sqrt());
                        assert!(near, "{what}, {rows}x{depth}x{columns}: {a} and {b}");
                    }
                };
                #[cfg(target_arch = "x86_64")]
                {
                    if let Some(simd) = pulp::x86::V3::try_new() {
                        check(run(&|task| Simd::vectorize(simd, task)), "AVX2");
                    }
                    if let Some(simd) = pulp::x86::V4::try_new() {
                        check(run(&|task| Simd::vectorize(simd, task)), "AVX-512");
                    }
                    if let Some(kernel) = avx512::Singles::find() {
                        check(run(&|task| task.run_by(kernel)), "the kernel of AVX-512");
                    }
                }
                check(run(&|task| task.run()), "the best");
            }
        }
    }
}

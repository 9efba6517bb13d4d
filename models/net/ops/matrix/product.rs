//! Products with a packed weight, tile by tile.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::after::After;
use super::bf16::{self, Pair};
use super::packed::PANEL;
use crate::net::ops::share;
use crate::net::ops::tiles::{InTiles, TileRows, by_rows, in_tiles};

/// Most rows of a tile: with two vectors a row, what 32 registers hold.
const MOST_ROWS: usize = 12;

/// Products that are summed one after the other: rounding errors grow with the length of such a
/// sum, so long ones are summed in runs.
const RUN: usize = 256;

/// Depths that are worked through between two looks at where the rows end.
const BLOCK: usize = 32;

/// Multiplications below which a second thread does not pay.
const PARALLEL: usize = 1 << 18;

/// Bytes of rows that one task works through, panel by panel: they should stay in the second cache.
const TASK: usize = 1 << 18;

/// Rows of a product.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    /// `[rows, depth]`
    pub(super) input: &'a [f32],
    pub(super) depth: usize,
    pub(super) panels: Packed<'a>,
    pub(super) after: After<'a>,
}

/// The panels of a weight, in its precision.
#[derive(Clone, Copy)]
pub(super) enum Packed<'a> {
    F32(&'a [f32]),
    Bf16(&'a [Pair]),
}

impl<'a> Product<'a> {
    /// All rows, shared among the threads: each task takes some rows through all panels.
    pub(super) fn run(&self, rows: usize, output: &mut [f32]) {
        let columns = self.after.columns;
        let threads = share::threads();
        if rows * self.depth * columns < PARALLEL || rows < 2 {
            self.run_alone(output);
            return;
        }
        let share = rows.div_ceil(threads);
        let fitting = (TASK / 4 / self.depth).max(MOST_ROWS);
        let task = match share <= fitting {
            true => share,
            false => fitting / MOST_ROWS * MOST_ROWS,
        };
        share::pieces(output, task * columns, |i, output| {
            self.rows(i * task..).run_alone(output);
        });
    }

    /// As many rows as `output` has, by this thread alone.
    pub(super) fn run_alone(&self, output: &mut [f32]) {
        match self.panels {
            Packed::F32(panels) => pulp::Arch::new().dispatch(Task(*self, panels, output)),
            Packed::Bf16(panels) => bf16::run(self.input, self.depth, panels, self.after, output),
        }
    }

    /// The rows from a first one on.
    fn rows(&self, from: std::ops::RangeFrom<usize>) -> Self {
        Self {
            input: &self.input[from.start * self.depth..],
            after: self.after.rows_from(from.start),
            ..*self
        }
    }
}

/// As many rows of a product as the output has, its panels in single precision.
struct Task<'a>(Product<'a>, &'a [f32], &'a mut [f32]);

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        in_tiles(simd, self);
    }
}

impl InTiles for Task<'_> {
    /// Tiles of `R` rows by `V` vectors, panel by panel, so that a panel is read once for the rows.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize, const R: usize>(self, simd: S) {
        let Self(product, panels, output) = self;
        let columns = product.after.columns;
        let rows = output.len() / columns;
        for (number, panel) in panels.chunks_exact(product.depth * PANEL).enumerate() {
            let mut place = Place {
                product,
                output,
                panel,
                first: number * PANEL,
            };
            by_rows::<S, V, R>(simd, rows, &mut place);
        }
    }
}

/// Where tiles are computed: within a panel.
struct Place<'a> {
    product: Product<'a>,
    output: &'a mut [f32],
    /// `[depth, PANEL]`
    panel: &'a [f32],
    /// First column of the panel.
    first: usize,
}

impl TileRows for Place<'_> {
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, row: usize) {
        let Product { depth, after, .. } = self.product;
        let input = &self.product.input[row * depth..];
        let rows: [&[f32]; R] = std::array::from_fn(|r| &input[r * depth..][..depth]);
        let (after, output) = (
            after.rows_from(row),
            &mut self.output[row * after.columns..],
        );
        for part in (0..PANEL).step_by(V * S::F32_LANES) {
            if self.first + part >= after.columns {
                break;
            }
            let sums = multiply::<S, V, R>(simd, &rows, (self.panel, part));
            after.tile(simd, self.first + part, sums, output);
        }
    }
}

/// `R` rows times `V` vectors of columns of a panel, from a column on: a sum of the sums of [`RUN`]
/// products.
#[inline(always)]
fn multiply<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: &[&[f32]; R],
    panel: (&[f32], usize),
) -> [[S::f32s; V]; R] {
    let depth = rows[0].len();
    let mut totals = [[simd.splat_f32s(0.0); V]; R];
    for start in (0..depth).step_by(RUN) {
        let sums = run::<S, V, R>(simd, rows, start..depth.min(start + RUN), panel);
        for (totals, sums) in totals.iter_mut().zip(sums) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = simd.add_f32s(*total, sum);
            }
        }
    }
    totals
}

/// The part of a product at some depths.
#[inline(always)]
fn run<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: &[&[f32]; R],
    depths: Range<usize>,
    (panel, column): (&[f32], usize),
) -> [[S::f32s; V]; R] {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let rows: [&[f32]; R] = std::array::from_fn(|r| &rows[r][depths.clone()]);
    let panel = (panel[depths.start * PANEL..].as_chunks().0, column);
    let done = blocks::<S, V, R, BLOCK>(simd, &mut sums, &rows, panel, 0);
    blocks::<S, V, R, 1>(simd, &mut sums, &rows, panel, done);
    sums
}

/// Adds the products of as many blocks of `LENGTH` depths as there are from a depth on, and returns up
/// to where. Within a block, whose length the compiler knows, nothing is left to be checked.
#[inline(always)]
fn blocks<S: Simd, const V: usize, const R: usize, const LENGTH: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; R],
    rows: &[&[f32]; R],
    (panel, column): (&[[f32; PANEL]], usize),
    from: usize,
) -> usize {
    let count = (rows[0].len() - from) / LENGTH;
    let panel = panel[from..].as_chunks::<LENGTH>().0;
    for (i, columns) in panel[..count].iter().enumerate() {
        let values: [&[f32; LENGTH]; R] =
            std::array::from_fn(|r| &rows[r][from..].as_chunks().0[i]);
        for (k, columns) in columns.iter().enumerate() {
            let values: [f32; R] = std::array::from_fn(|r| values[r][k]);
            add_products(simd, sums, values, &columns[column..]);
        }
    }
    from + count * LENGTH
}

/// Adds the products of one value of each row with a row of columns.
#[inline(always)]
fn add_products<S: Simd, const V: usize, const R: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; R],
    values: [f32; R],
    columns: &[f32],
) {
    let columns = S::as_simd_f32s(&columns[..V * S::F32_LANES]).0;
    let columns: [S::f32s; V] = std::array::from_fn(|v| columns[v]);
    for (value, sums) in values.into_iter().zip(sums) {
        let value = simd.splat_f32s(value);
        for (column, sum) in columns.iter().zip(sums) {
            *sum = simd.mul_add_e_f32s(value, *column, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ops::activation::Activation;
    use crate::net::ops::testing::{matrix, random};

    /// The processor at hand runs one of them; whoever has another runs the others.
    #[test]
    fn every_width_of_vectors_gives_the_same() {
        let (rows, depth, columns) = (29, 50, 75);
        let weight = matrix(depth, columns);
        let panels: Vec<f32> = weight.f32_panels().into_data().try_into_vec().unwrap();
        let values = |seed| -> Vec<f32> {
            let values = random([rows * depth.max(columns)], seed);
            values.into_data().try_into_vec().unwrap()
        };
        let (input, residual) = (values(1), values(2));
        let product = Product {
            input: &input[..rows * depth],
            depth,
            panels: Packed::F32(&panels),
            after: After {
                bias: Some(&residual[..columns]),
                residual: Some(&residual[..rows * columns]),
                act: Activation::Gelu,
                columns,
            },
        };
        let run = |simd: &dyn Fn(Task<'_>)| {
            let mut output = vec![f32::NAN; rows * columns];
            simd(Task(product, &panels, &mut output));
            output
        };
        let scalar = run(&|task| pulp::Scalar::new().vectorize(task));
        assert!(scalar.iter().all(|value| value.is_finite()));
        let near = |other: &[f32]| {
            scalar
                .iter()
                .zip(other)
                .all(|(a, b)| (a - b).abs() < 1e-5 * a.abs().max(1.0))
        };
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(simd) = pulp::x86::V3::try_new() {
                assert!(near(&run(&|task| Simd::vectorize(simd, task))), "AVX2");
            }
            if let Some(simd) = pulp::x86::V4::try_new() {
                assert!(near(&run(&|task| Simd::vectorize(simd, task))), "AVX-512");
            }
        }
        assert!(
            near(&run(&|task| pulp::Arch::new().dispatch(task))),
            "the best"
        );
    }
}

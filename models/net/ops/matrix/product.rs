//! Products with a packed weight, tile by tile.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::packed::PANEL;
use crate::net::ops::activation::Activation;
use crate::net::ops::share;

/// Most rows of a tile: with two vectors a row, what 32 registers hold.
const MOST_ROWS: usize = 12;

/// Products that are summed one after the other: rounding errors grow with the length of such a
/// sum, so long ones are summed in runs.
const RUN: usize = 256;

/// Depths that are worked through between two looks at where the rows end.
const BLOCK: usize = 32;
/// The same of what is over.
const UNROLLED: usize = 4;

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
    pub(super) panels: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    /// `[rows, columns]`
    pub(super) residual: Option<&'a [f32]>,
    pub(super) act: Activation,
    pub(super) columns: usize,
}

impl<'a> Product<'a> {
    /// All rows, shared among the threads: each task takes some rows through all panels.
    pub(super) fn run(&self, rows: usize, output: &mut [f32]) {
        let arch = pulp::Arch::new();
        let threads = share::threads();
        if rows * self.depth * self.columns < PARALLEL || rows < 2 {
            arch.dispatch(Task(*self, output));
            return;
        }
        let share = rows.div_ceil(threads);
        let fitting = (TASK / 4 / self.depth).max(MOST_ROWS);
        let task = match share <= fitting {
            true => share,
            false => fitting / MOST_ROWS * MOST_ROWS,
        };
        share::pieces(output, task * self.columns, |i, output| {
            arch.dispatch(Task(self.rows(i * task..), output));
        });
    }

    /// As many rows as `output` has, by this thread alone.
    pub(super) fn run_alone(&self, output: &mut [f32]) {
        pulp::Arch::new().dispatch(Task(*self, output));
    }

    /// The rows from a first one on.
    fn rows(&self, from: std::ops::RangeFrom<usize>) -> Self {
        Self {
            input: &self.input[from.start * self.depth..],
            residual: self
                .residual
                .map(|residual| &residual[from.start * self.columns..]),
            ..*self
        }
    }
}

/// As many rows of a product as the output has.
struct Task<'a>(Product<'a>, &'a mut [f32]);

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.tiles::<S, 2, 12>(simd),
            8 => self.tiles::<S, 2, 6>(simd),
            4 => self.tiles::<S, 2, 8>(simd),
            _ => self.tiles::<S, 1, 4>(simd),
        }
    }
}

impl Task<'_> {
    /// Tiles of `R` rows by `V` vectors, panel by panel, so that a panel is read once for the rows.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize, const R: usize>(self, simd: S) {
        let Self(product, output) = self;
        let rows = output.len() / product.columns;
        for (number, panel) in product
            .panels
            .chunks_exact(product.depth * PANEL)
            .enumerate()
        {
            let mut row = 0;
            while row < rows {
                let mut place = Place {
                    product: product.rows(row..),
                    output: &mut output[row * product.columns..],
                    panel,
                    first: number * PANEL,
                };
                row += match rows - row {
                    left if left >= R => place.tile::<S, V, R>(simd),
                    left if left >= 8 && R > 8 => place.tile::<S, V, 8>(simd),
                    left if left >= 4 => place.tile::<S, V, 4>(simd),
                    left if left >= 2 => place.tile::<S, V, 2>(simd),
                    _ => place.tile::<S, V, 1>(simd),
                };
            }
        }
    }
}

/// Where tiles are computed: from a row on, within a panel.
struct Place<'a> {
    product: Product<'a>,
    output: &'a mut [f32],
    /// `[depth, PANEL]`
    panel: &'a [f32],
    /// First column of the panel.
    first: usize,
}

impl Place<'_> {
    /// `R` rows of the panel. Returns how many.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(&mut self, simd: S) -> usize {
        let depth = self.product.depth;
        let rows: [&[f32]; R] = std::array::from_fn(|r| &self.product.input[r * depth..][..depth]);
        for part in (0..PANEL).step_by(V * S::F32_LANES) {
            if self.first + part >= self.product.columns {
                break;
            }
            let sums = multiply::<S, V, R>(simd, &rows, &self.panel[part..]);
            if self.first + part + V * S::F32_LANES <= self.product.columns {
                self.finish_whole(simd, self.first + part, sums);
                continue;
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    self.finish(simd, r, self.first + part + v * S::F32_LANES, sum);
                }
            }
        }
        R
    }

    /// What follows the sums of a tile whose columns, from `column` on, are all there: without
    /// masks, which small products would spend as much time on as on their sums.
    #[inline(always)]
    fn finish_whole<S: Simd, const V: usize, const R: usize>(
        &mut self,
        simd: S,
        column: usize,
        mut sums: [[S::f32s; V]; R],
    ) {
        let Product {
            columns,
            bias,
            residual,
            act,
            ..
        } = self.product;
        let width = V * S::F32_LANES;
        if let Some(bias) = bias {
            let bias = S::as_simd_f32s(&bias[column..column + width]).0;
            for sums in &mut sums {
                for v in 0..V {
                    sums[v] = simd.add_f32s(sums[v], bias[v]);
                }
            }
        }
        if act != Activation::Nothing {
            for sums in &mut sums {
                for sum in sums {
                    *sum = act.apply(simd, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let place = r * columns + column..r * columns + column + width;
            let output = S::as_mut_simd_f32s(&mut self.output[place.clone()]).0;
            match residual {
                Some(residual) => {
                    let residual = S::as_simd_f32s(&residual[place]).0;
                    for v in 0..V {
                        output[v] = simd.add_f32s(sums[v], residual[v]);
                    }
                }
                None => output[..V].copy_from_slice(&sums[..V]),
            }
        }
    }

    /// What follows the sums of one row, a vector of columns from `column` on.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, row: usize, column: usize, mut sum: S::f32s) {
        let Product {
            columns,
            bias,
            residual,
            act,
            ..
        } = self.product;
        let end = columns.min(column + S::F32_LANES);
        if column >= end {
            return;
        }
        if let Some(bias) = bias {
            sum = simd.add_f32s(sum, simd.partial_load_f32s(&bias[column..end]));
        }
        sum = act.apply(simd, sum);
        let place = row * columns + column..row * columns + end;
        if let Some(residual) = residual {
            sum = simd.add_f32s(sum, simd.partial_load_f32s(&residual[place.clone()]));
        }
        simd.partial_store_f32s(&mut self.output[place], sum);
    }
}

/// `R` rows times `V` vectors of columns of a panel, from its start on: a sum of the sums of
/// [`RUN`] products.
#[inline(always)]
fn multiply<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: &[&[f32]; R],
    panel: &[f32],
) -> [[S::f32s; V]; R] {
    let depth = rows[0].len();
    let mut totals = run::<S, V, R>(simd, rows, 0..depth.min(RUN), panel);
    for start in (RUN..depth).step_by(RUN) {
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
    panel: &[f32],
) -> [[S::f32s; V]; R] {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let rows: [&[f32]; R] = std::array::from_fn(|r| &rows[r][depths.clone()]);
    let panel = &panel[depths.start * PANEL..];
    let done = blocks::<S, V, R, BLOCK>(simd, &mut sums, &rows, panel, 0);
    let done = blocks::<S, V, R, UNROLLED>(simd, &mut sums, &rows, panel, done);
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
    panel: &[f32],
    from: usize,
) -> usize {
    let count = (rows[0].len() - from) / LENGTH;
    let columns = panel[from * PANEL..].as_chunks::<PANEL>().0;
    let columns = columns.as_chunks::<LENGTH>().0;
    for (i, columns) in columns.iter().take(count).enumerate() {
        let values: [&[f32; LENGTH]; R] =
            std::array::from_fn(|r| &rows[r][from..].as_chunks().0[i]);
        for (k, columns) in columns.iter().enumerate() {
            let values: [f32; R] = std::array::from_fn(|r| values[r][k]);
            add_products(simd, sums, values, columns);
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
    use crate::net::ops::testing::{matrix, random};

    /// The processor at hand runs one of them; whoever has another runs the others.
    #[test]
    fn every_width_of_vectors_gives_the_same() {
        let (rows, depth, columns) = (29, 50, 75);
        let weight = matrix(depth, columns);
        let panels: Vec<f32> = weight.panels.into_data().try_into_vec().unwrap();
        let values = |seed| -> Vec<f32> {
            let values = random([rows * depth.max(columns)], seed);
            values.into_data().try_into_vec().unwrap()
        };
        let (input, residual) = (values(1), values(2));
        let product = Product {
            input: &input[..rows * depth],
            depth,
            panels: &panels,
            bias: Some(&residual[..columns]),
            residual: Some(&residual[..rows * columns]),
            act: Activation::Gelu,
            columns,
        };
        let run = |simd: &dyn Fn(Task<'_>)| {
            let mut output = vec![f32::NAN; rows * columns];
            simd(Task(product, &mut output));
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

//! Matrix products with weights that were packed when they were folded, and what follows them
//! (bias, activation, residual) done while a tile of the result is still in the first cache.
//!
//! After K. Goto and R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS
//! 34(3), 2008, <https://doi.org/10.1145/1356052.1356053>, with one side packed for good: a tile of `R` rows by two vectors of columns stays
//! in registers while the whole depth of the product runs past.

use std::ops::Range;

use burn::tensor::Tensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Activation, Then, flex};

/// Columns of a panel: two vectors of AVX-512, four of AVX2, eight of NEON.
pub(crate) const PANEL: usize = 32;

/// Most rows of a tile: with two vectors a row, what 32 registers hold.
const MOST_ROWS: usize = 12;

/// Products that are summed one after the other: rounding errors grow with the length of such a
/// sum, so long ones are summed in runs.
const RUN: usize = 256;

/// Steps of the inner loop that are written one after the other.
const UNROLLED: usize = 4;

/// Multiplications below which a second thread does not pay.
const PARALLEL: usize = 1 << 18;

/// Bytes of rows that one task works through, panel by panel: they should stay in the second cache.
const TASK: usize = 1 << 18;

/// A weight `[in, out]`, packed: `[panels, in, PANEL]`, a panel being [`PANEL`] columns, the last
/// one filled up with zeros.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) panels: Tensor<3>,
    /// Columns.
    pub(crate) output: usize,
}

/// Panels of a weight with so many columns.
pub(crate) const fn panels(output: usize) -> usize {
    output.div_ceil(PANEL)
}

/// Packs a weight given by `at(input, output)`.
pub(crate) fn pack(input: usize, output: usize, at: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut packed = vec![0.0; panels(output) * input * PANEL];
    for (panel, values) in packed.chunks_exact_mut(input * PANEL).enumerate() {
        let columns = PANEL.min(output - panel * PANEL);
        for (row, values) in values.chunks_exact_mut(PANEL).enumerate() {
            for (column, value) in values[..columns].iter_mut().enumerate() {
                *value = at(row, panel * PANEL + column);
            }
        }
    }
    packed
}

/// `x [rows, in]` times the weight, plus `bias [out]`, then `then`.
pub(crate) fn linear(
    x: Tensor<2>,
    weight: &Matrix,
    bias: Option<&Tensor<1>>,
    then: Then,
) -> Tensor<2> {
    let opened = (flex::open(x.clone()), flex::open(weight.panels.clone()));
    let (Ok(input), Ok(panels)) = opened else {
        return linear_stock(x, weight, bias, then);
    };
    drop(x);
    let bias = bias.cloned().map(flex::open);
    let bias = match &bias {
        Some(Ok(bias)) => Some(bias.read()),
        _ => None,
    };
    let (act, residual) = match then {
        Then::Nothing => (Activation::Nothing, None),
        Then::Act(act) => (act, None),
        Then::Add(residual) => (Activation::Nothing, flex::open(residual).ok()),
    };
    let [_, depth, _] = weight.panels.dims();
    let rows = input.read().len() / depth;
    let product = Product {
        input: input.read(),
        depth,
        panels: panels.read(),
        bias,
        residual: residual.as_ref().map(flex::Buffer::read),
        act,
        columns: weight.output,
    };
    let mut output = vec![0.0; rows * weight.output];
    product.run(rows, &mut output);
    flex::tensor(output, [rows, weight.output])
}

/// The same with Burn's own operations.
fn linear_stock(x: Tensor<2>, weight: &Matrix, bias: Option<&Tensor<1>>, then: Then) -> Tensor<2> {
    let [panels, depth, _] = weight.panels.dims();
    let plain = weight
        .panels
        .clone()
        .permute([1, 0, 2])
        .reshape([depth, panels * PANEL])
        .narrow(1, 0, weight.output);
    let y = x.matmul(plain);
    let y = match bias {
        Some(bias) => y + bias.clone().unsqueeze(),
        None => y,
    };
    match then {
        Then::Nothing => y,
        Then::Act(act) => act.stock(y),
        Then::Add(residual) => y + residual,
    }
}

/// A weight and its bias, open, for products that one thread computes between other work.
pub(super) struct Dense {
    panels: flex::Buffer,
    bias: Option<flex::Buffer>,
    depth: usize,
    columns: usize,
}

impl Dense {
    /// [`None`] on other devices.
    pub(super) fn open(weight: &Matrix, bias: Option<&Tensor<1>>) -> Option<Self> {
        let [_, depth, _] = weight.panels.dims();
        let bias = match bias {
            Some(bias) => Some(flex::open(bias.clone()).ok()?),
            None => None,
        };
        Some(Self {
            panels: flex::open(weight.panels.clone()).ok()?,
            bias,
            depth,
            columns: weight.output,
        })
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// As many rows as `output` has; `residual` is added behind the activation.
    pub(super) fn multiply(
        &self,
        input: &[f32],
        act: Activation,
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let product = Product {
            input,
            depth: self.depth,
            panels: self.panels.read(),
            bias: self.bias.as_ref().map(flex::Buffer::read),
            residual,
            act,
            columns: self.columns,
        };
        pulp::Arch::new().dispatch(Task(product, output));
    }
}

/// Rows of a product.
#[derive(Clone, Copy)]
struct Product<'a> {
    /// `[rows, depth]`
    input: &'a [f32],
    depth: usize,
    panels: &'a [f32],
    bias: Option<&'a [f32]>,
    /// `[rows, columns]`
    residual: Option<&'a [f32]>,
    act: Activation,
    columns: usize,
}

impl<'a> Product<'a> {
    /// All rows, shared among the threads: each task takes some rows through all panels.
    fn run(&self, rows: usize, output: &mut [f32]) {
        let arch = pulp::Arch::new();
        let threads = rayon::current_num_threads();
        if threads == 1 || rows * self.depth * self.columns < PARALLEL || rows < 2 {
            arch.dispatch(Task(*self, output));
            return;
        }
        let share = rows.div_ceil(threads);
        let fitting = (TASK / 4 / self.depth).max(MOST_ROWS);
        let task = match share <= fitting {
            true => share,
            false => fitting / MOST_ROWS * MOST_ROWS,
        };
        output
            .par_chunks_mut(task * self.columns)
            .enumerate()
            .for_each(|(i, output)| {
                arch.dispatch(Task(self.rows(i * task..), output));
            });
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
    // Whole blocks of known length, in which nothing is left to be checked.
    let blocks = panel.as_chunks::<{ UNROLLED * PANEL }>().0;
    let count = blocks.len().min(depths.len() / UNROLLED);
    for (i, block) in blocks[..count].iter().enumerate() {
        let values: [&[f32; UNROLLED]; R] = std::array::from_fn(|r| &rows[r].as_chunks().0[i]);
        for k in 0..UNROLLED {
            let values: [f32; R] = std::array::from_fn(|r| values[r][k]);
            add_products(simd, &mut sums, values, &block[k * PANEL..]);
        }
    }
    for k in count * UNROLLED..depths.len() {
        let values: [f32; R] = std::array::from_fn(|r| rows[r][k]);
        add_products(simd, &mut sums, values, &panel[k * PANEL..]);
    }
    sums
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
    use super::super::testing::{assert_close, matrix, random};
    use super::*;

    #[test]
    fn a_packed_weight_is_the_weight() {
        let packed = pack(2, 33, |from, to| (from * 100 + to) as f32);
        assert_eq!(packed.len(), 2 * 2 * PANEL);
        assert_eq!(packed[..3], [0.0, 1.0, 2.0]);
        assert_eq!(packed[PANEL], 100.0);
        assert_eq!(packed[2 * PANEL..][..2], [32.0, 0.0]);
        assert_eq!(packed[3 * PANEL], 132.0);
    }

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

    #[test]
    fn products_are_burns() {
        // Every height of a tile, whole and broken panels, below and above the size at which
        // threads share the rows.
        let shapes = (1..=26).map(|rows| (rows, 27, 40)).chain([
            (1, 64, 512),
            (150, 64, 64),
            (1500, 33, 97),
            (64, 700, 256),
        ]);
        for (rows, input, output) in shapes {
            // Sums of a few hundred products, so that the difference stays one of rounding.
            let x = random([rows, input], 1) / (input as f32).sqrt();
            let weight = matrix(input, output);
            let bias = random([output], 2);
            let residual = random([rows, output], 3);
            for bias in [None, Some(&bias)] {
                for then in [
                    |_| Then::Nothing,
                    |_| Then::GELU,
                    |_| Then::RELU6,
                    Then::Add,
                ] {
                    let what = format!("{rows}x{input}x{output}, bias {}", bias.is_some());
                    assert_close(
                        linear(x.clone(), &weight, bias, then(residual.clone())),
                        linear_stock(x.clone(), &weight, bias, then(residual.clone())),
                        &what,
                    );
                }
            }
        }
    }
}

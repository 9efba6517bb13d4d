//! What follows the sums of a product, done while they are still in registers.

use std::ops::Range;

use pulp::Simd;

use super::blocks::Block;
use crate::net::ops::activation::Activation;

/// Bias, activation and residual, and how the result lies.
#[derive(Clone, Copy)]
pub(super) struct After<'a> {
    pub(super) bias: Option<&'a [f32]>,
    /// `[rows, columns]`, added behind the activation.
    pub(super) residual: Option<&'a [f32]>,
    pub(super) act: Activation,
    pub(super) columns: usize,
}

impl<'a> After<'a> {
    /// That of the rows from one on.
    pub(super) fn rows_from(&self, row: usize) -> Self {
        Self {
            residual: self.residual.map(|all| &all[row * self.columns..]),
            ..*self
        }
    }

    /// That of some columns alone, where there is no residual.
    pub(super) fn of_columns(self, columns: &Range<usize>) -> Self {
        Self {
            bias: self.bias.map(|all| &all[columns.clone()]),
            columns: columns.len(),
            ..self
        }
    }

    /// Finishes the sums of a block of the weight, or keeps them in the output until the next blocks
    /// have been added. The sums are lent: given away, all of them would be copied, twice a tile.
    #[inline(always)]
    pub(super) fn block<S: Simd, T, const V: usize, const R: usize>(
        &self,
        simd: S,
        block: &Block<'_, T>,
        sums: &mut [[S::f32s; V]; R],
        output: &mut [f32],
    ) {
        if !block.is_first {
            self.add(simd, block.column, sums, output);
        }
        let nothing = Self {
            bias: None,
            residual: None,
            act: Activation::Nothing,
            columns: self.columns,
        };
        let after = if block.is_last { *self } else { nothing };
        after.tile(simd, block.column, sums, output);
    }

    /// Adds sums to those that a tile of the output holds.
    #[inline(always)]
    fn add<S: Simd, const V: usize, const R: usize>(
        &self,
        simd: S,
        column: usize,
        sums: &mut [[S::f32s; V]; R],
        output: &[f32],
    ) {
        for (r, sums) in sums.iter_mut().enumerate() {
            let row = &output[r * self.columns..][..self.columns];
            for (v, sum) in sums.iter_mut().enumerate() {
                let held = &row[self.columns.min(column + v * S::F32_LANES)..];
                let held = match held.get(..S::F32_LANES) {
                    Some(whole) => S::as_simd_f32s(whole).0[0],
                    None => simd.partial_load_f32s(held),
                };
                *sum = simd.add_f32s(held, *sum);
            }
        }
    }

    /// Finishes a tile, the first `R` rows of `output` from a column on; columns that are beyond the
    /// last are left out.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(
        &self,
        simd: S,
        column: usize,
        sums: &mut [[S::f32s; V]; R],
        output: &mut [f32],
    ) {
        if column + V * S::F32_LANES <= self.columns {
            self.whole(simd, column, sums, output);
            return;
        }
        for (row, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                self.broken(simd, row, column + v * S::F32_LANES, *sum, output);
            }
        }
    }

    /// A tile whose columns, from `column` on, are all there: without masks, which small products
    /// would spend as much time on as on their sums.
    #[inline(always)]
    fn whole<S: Simd, const V: usize, const R: usize>(
        &self,
        simd: S,
        column: usize,
        sums: &mut [[S::f32s; V]; R],
        output: &mut [f32],
    ) {
        let width = V * S::F32_LANES;
        if let Some(bias) = self.bias {
            let bias = S::as_simd_f32s(&bias[column..column + width]).0;
            for sums in sums.iter_mut() {
                for v in 0..V {
                    sums[v] = simd.add_f32s(sums[v], bias[v]);
                }
            }
        }
        if self.act != Activation::Nothing {
            for sums in sums.iter_mut() {
                self.act.apply_all(simd, sums);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let place = r * self.columns + column..r * self.columns + column + width;
            let output = S::as_mut_simd_f32s(&mut output[place.clone()]).0;
            match self.residual {
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

    /// One row, a vector of columns from `column` on.
    #[inline(always)]
    fn broken<S: Simd>(
        &self,
        simd: S,
        row: usize,
        column: usize,
        mut sum: S::f32s,
        output: &mut [f32],
    ) {
        let end = self.columns.min(column + S::F32_LANES);
        if column >= end {
            return;
        }
        if let Some(bias) = self.bias {
            sum = simd.add_f32s(sum, simd.partial_load_f32s(&bias[column..end]));
        }
        sum = self.act.apply(simd, sum);
        let place = row * self.columns + column..row * self.columns + end;
        if let Some(residual) = self.residual {
            sum = simd.add_f32s(sum, simd.partial_load_f32s(&residual[place.clone()]));
        }
        simd.partial_store_f32s(&mut output[place], sum);
    }
}

//! What follows the sums of a product, done while they are still in registers.

use pulp::Simd;

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

impl After<'_> {
    /// That of the rows from one on.
    pub(super) fn rows_from(&self, row: usize) -> Self {
        Self {
            residual: self.residual.map(|all| &all[row * self.columns..]),
            ..*self
        }
    }

    /// Finishes a tile, the first `R` rows of `output` from a column on; columns that are beyond the
    /// last are left out.
    #[inline(always)]
    pub(super) fn tile<S: Simd, const V: usize, const R: usize>(
        &self,
        simd: S,
        column: usize,
        sums: [[S::f32s; V]; R],
        output: &mut [f32],
    ) {
        if column + V * S::F32_LANES <= self.columns {
            self.whole(simd, column, sums, output);
            return;
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                self.broken(simd, row, column + v * S::F32_LANES, sum, output);
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
        mut sums: [[S::f32s; V]; R],
        output: &mut [f32],
    ) {
        let width = V * S::F32_LANES;
        if let Some(bias) = self.bias {
            let bias = S::as_simd_f32s(&bias[column..column + width]).0;
            for sums in &mut sums {
                for v in 0..V {
                    sums[v] = simd.add_f32s(sums[v], bias[v]);
                }
            }
        }
        if self.act != Activation::Nothing {
            for sums in &mut sums {
                for sum in sums {
                    *sum = self.act.apply(simd, *sum);
                }
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

//! Vectors in a quarter of the memory: one byte a number and one scale a row, with a
//! bound of what that costs.
//!
//! A row `x` of length 1 is kept as `s·c`, where `c` are whole numbers from -127 to 127
//! and `s` is the largest magnitude of `x` over 127; what is left over is `e = x - s·c`,
//! and its length is kept. A question `q` is rounded likewise to `t·d` with 16 bits,
//! `f = q - t·d`. Then `x·q = s·t·(c·d) + e·q + s·c·f`, and by Cauchy and Schwarz
//!
//! `|x·q - s·t·(c·d)| <= |e|·|q| + |s·c|·|f|`.
//!
//! `c·d` is computed in whole numbers, exactly. To the bound comes what `f32` rounds
//! off, in this estimate and in the product of floats that it stands for: at most
//! `(dim + 32)·2^-24` for vectors of length 1, in whatever order it is summed (N. J.
//! Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1). So a
//! row whose estimate plus bound is below the k-th best estimate minus bound is certain
//! not to be among the k best of a scan over the floats.

use super::kernels::{CODE_MAX, code_products};

/// No vector is longer than this: they are of length 1, as far as `f32` can say.
const LENGTH_MAX: f32 = 1.000_1;

/// What `f32` may round off, a number of a vector.
const ROUNDING: f32 = 6.0e-8;

/// Rows of codes side by side.
#[derive(Clone, Debug, Default)]
pub(super) struct Codes {
    /// `[rows, dim]`, -127 to 127.
    codes: Vec<i8>,
    /// `[rows]`: what a code of 1 stands for.
    scales: Vec<f32>,
    /// `[rows]`: the length of what the codes leave out, rounded up.
    errors: Vec<f32>,
}

impl Codes {
    pub(super) fn with_capacity(rows: usize, dim: usize) -> Self {
        Self {
            codes: Vec::with_capacity(rows * dim),
            scales: Vec::with_capacity(rows),
            errors: Vec::with_capacity(rows),
        }
    }

    /// Adds a vector of length 1.
    pub(super) fn push(&mut self, vector: &[f32]) {
        let largest = vector.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        // A vector whose numbers are all too small has no direction either.
        let scale = (largest / CODE_MAX as f32).max(f32::MIN_POSITIVE);
        let mut left = 0.0f64;
        for &x in vector {
            let limit = CODE_MAX as f32;
            let code = (x / scale).round().clamp(-limit, limit);
            self.codes.push(code as i8);
            let error = f64::from(x) - f64::from(scale) * f64::from(code);
            left += error * error;
        }
        self.scales.push(scale);
        self.errors
            .push((left.sqrt() * (1.0 + 1e-6)) as f32 + f32::MIN_POSITIVE);
    }

    /// `[dim]`
    #[inline]
    pub(super) fn row(&self, row: usize, dim: usize) -> &[i8] {
        &self.codes[row * dim..][..dim]
    }

    /// What a code of 1 stands for in that row.
    #[inline]
    pub(super) fn scale(&self, row: usize) -> f32 {
        self.scales[row]
    }

    /// The cosine of a row as estimated by a product of its codes, and how far off that
    /// may be.
    #[inline]
    pub(super) fn estimate(&self, row: usize, product: i32, question: &Question) -> Estimate {
        Estimate {
            cosine: product as f32 * (self.scales[row] * question.scale),
            margin: self.errors[row] * question.row_weight + question.margin,
        }
    }

    /// The products of the rows from `first` on with a question.
    pub(super) fn products(&self, first: usize, question: &Question, products: &mut [i32]) {
        let dim = question.codes.len();
        let rows = self.codes[first * dim..].chunks_exact(dim);
        code_products(rows, &question.codes, products);
    }
}

/// A cosine within `margin` of `cosine`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) cosine: f32,
    pub(super) margin: f32,
}

/// What rows are compared with.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// `[dim]`, of length 1.
    pub(super) vector: Vec<f32>,
    /// `[dim]`, rounded to as many bits as no product overflows with, at most 16.
    pub(super) codes: Vec<i16>,
    /// What a code of 1 stands for.
    scale: f32,
    /// How much of a row's own error its margin has.
    row_weight: f32,
    /// What every margin has.
    margin: f32,
}

impl Question {
    /// `vector` is of length 1.
    pub(super) fn new(vector: Vec<f32>) -> Self {
        let dim = vector.len();
        // dim · 127 · limit < 2^31: no sum of products overflows.
        let limit = (i32::MAX as usize / (CODE_MAX as usize * dim.max(1))).clamp(1, 32_767) as f32;
        let largest = vector.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let scale = (largest / limit).max(f32::MIN_POSITIVE);
        let mut codes = Vec::with_capacity(dim);
        let mut left = 0.0f64;
        for &x in &vector {
            let code = (x / scale).round().clamp(-limit, limit);
            codes.push(code as i16);
            let error = f64::from(x) - f64::from(scale) * f64::from(code);
            left += error * error;
        }
        let left = (left.sqrt() * (1.0 + 1e-6)) as f32;
        Self {
            vector,
            codes,
            scale,
            row_weight: LENGTH_MAX + left,
            margin: LENGTH_MAX * left + (dim as f32 + 32.0) * ROUNDING,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector_index::kernels::product;
    use crate::vector_index::normalised;

    /// Vectors on which rounding to bytes does badly, beside such on which it does well.
    pub(crate) fn vectors(dim: usize, random: &mut fastrand::Rng) -> Vec<Vec<f32>> {
        let mut vectors: Vec<Vec<f32>> = (0..50)
            .map(|_| (0..dim).map(|_| random.f32() - 0.5).collect())
            .collect();
        for power in [1, 3, 9, 31] {
            // A few numbers large, the others small: most codes are 0 or 1.
            let skewed = |random: &mut fastrand::Rng| (random.f32() - 0.5).powi(power);
            vectors.extend((0..20).map(|_| (0..dim).map(|_| skewed(random)).collect()));
        }
        vectors.push(
            (0..dim)
                .map(|n| if n == 0 { 1.0 } else { 0.5 / 127.0 })
                .collect(),
        );
        vectors.push((0..dim).map(|n| if n == 0 { 1.0 } else { 1e-30 }).collect());
        vectors.push(vec![1e-20; dim]);
        vectors
            .iter()
            .filter_map(|vector| normalised(vector))
            .collect()
    }

    #[test]
    fn no_product_of_floats_is_outside_the_margin_of_its_estimate() {
        let mut random = fastrand::Rng::with_seed(5);
        for dim in [1, 2, 3, 16, 33, 100, 512, 1536] {
            let vectors = vectors(dim, &mut random);
            let mut codes = Codes::default();
            vectors.iter().for_each(|vector| codes.push(vector));
            let mut products = vec![0; vectors.len()];
            for asked in &vectors {
                let question = Question::new(asked.clone());
                codes.products(0, &question, &mut products);
                for (row, vector) in vectors.iter().enumerate() {
                    let found = codes.estimate(row, products[row], &question);
                    let off = (product(vector, asked) - found.cosine).abs();
                    assert!(off <= found.margin, "{dim}: {off} > {}", found.margin);
                }
            }
        }
    }

    #[test]
    fn the_margin_of_an_ordinary_vector_is_small() {
        let mut random = fastrand::Rng::with_seed(6);
        let vector: Vec<f32> = (0..512).map(|_| random.f32() - 0.5).collect();
        let vector = normalised(&vector).unwrap();
        let mut codes = Codes::default();
        codes.push(&vector);
        let question = Question::new(vector);
        let mut products = [0];
        codes.products(0, &question, &mut products);
        let found = codes.estimate(0, products[0], &question);
        assert!(found.margin < 0.01, "{}", found.margin);
    }
}

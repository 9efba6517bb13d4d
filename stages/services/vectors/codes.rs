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

use super::kernels::{CODE_MAX, LINE, Line, WideLine, code_products};
use super::normalised;

/// No vector is longer than this: they are of length 1, as far as `f32` can say.
const LENGTH_MAX: f32 = 1.000_1;

/// What `f32` may round off, a number of a vector.
const ROUNDING: f32 = 6.0e-8;

/// Rows of codes side by side.
#[derive(Clone, Debug, Default)]
pub(super) struct Codes {
    /// `[rows, lines]`
    lines: Vec<Line>,
    /// `[rows]`
    fits: Vec<Fit>,
    /// Lines a row.
    width: usize,
}

/// How the codes of a row stand for its vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// What a code of 1 stands for.
    pub(super) scale: f32,
    /// The length of what the codes leave out, rounded up.
    pub(super) error: f32,
}

impl Codes {
    pub(super) fn with_capacity(rows: usize, dim: usize) -> Self {
        let width = dim.div_ceil(LINE);
        Self {
            lines: Vec::with_capacity(rows * width),
            fits: Vec::with_capacity(rows),
            width,
        }
    }

    /// Adds a vector of length 1. All are of one dimension.
    pub(super) fn push(&mut self, vector: &[f32]) -> Fit {
        self.width = vector.len().div_ceil(LINE);
        let largest = vector.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        // A vector whose numbers are all too small has no direction either.
        let scale = (largest / CODE_MAX as f32).max(f32::MIN_POSITIVE);
        let mut left = 0.0f64;
        for numbers in vector.chunks(LINE) {
            let mut line = Line([0; LINE]);
            for (code, &x) in line.0.iter_mut().zip(numbers) {
                *code = rounded(x / scale, CODE_MAX as f32) as i8;
                let error = f64::from(x) - f64::from(scale) * f64::from(*code);
                left += error * error;
            }
            self.lines.push(line);
        }
        let error = (left.sqrt() * (1.0 + 1e-6)) as f32 + f32::MIN_POSITIVE;
        let fit = Fit { scale, error };
        self.fits.push(fit);
        fit
    }

    /// Forgets a row: whatever it is compared with, it is left out.
    pub(super) fn clear(&mut self, row: usize) {
        self.lines[row * self.width..][..self.width].fill(Line([0; LINE]));
        self.fits[row] = Fit::GONE;
    }

    #[inline]
    pub(super) fn row(&self, row: usize) -> &[Line] {
        &self.lines[row * self.width..][..self.width]
    }

    #[inline]
    pub(super) fn fit(&self, row: usize) -> Fit {
        self.fits[row]
    }

    /// The vector of length 1 that the codes of a row point to, `[dim]`; zeros where it is gone.
    /// From the row's own it is no farther than twice what the codes leave out.
    pub(super) fn vector(&self, row: usize, dim: usize) -> Vec<f32> {
        let codes = self.row(row).iter().flat_map(|line| line.0);
        let vector: Vec<f32> = codes.take(dim).map(f32::from).collect();
        normalised(&vector).unwrap_or(vector)
    }

    /// Adds a row as others have it: what its codes leave out is not known from them any more.
    pub(super) fn push_copy(&mut self, from: &Self, row: usize) -> Fit {
        self.width = from.width;
        self.lines.extend_from_slice(from.row(row));
        self.fits.push(from.fit(row));
        from.fit(row)
    }

    /// True where a vector has these very codes, and as much left over.
    pub(super) fn are_of(&self, row: usize, vector: &[f32]) -> bool {
        let mut other = Self::with_capacity(1, vector.len());
        other.push(vector) == self.fit(row) && other.row(0) == self.row(row)
    }

    /// Of every row.
    pub(super) fn fits(&self) -> &[Fit] {
        &self.fits
    }

    /// The products of the rows from `first` on with a question.
    pub(super) fn products(&self, first: usize, question: &Question, products: &mut [i32]) {
        let width = self.width.max(1);
        let rows = self.lines[first * self.width..].chunks_exact(width);
        code_products(rows, &question.codes, products);
    }
}

/// The nearest whole number of magnitude up to `limit`.
#[inline]
fn rounded(x: f32, limit: f32) -> i32 {
    // Cheaper than `round`, which is a call where the processor is not known to have it.
    (x + 0.5f32.copysign(x)).clamp(-limit, limit) as i32
}

/// A cosine within `margin` of `cosine`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) cosine: f32,
    pub(super) margin: f32,
}

impl Fit {
    /// Of a row that is gone: its cosine is less than any that is asked for.
    const GONE: Self = Self {
        scale: 0.0,
        error: f32::NEG_INFINITY,
    };

    /// The cosine of a row as estimated by a product of its codes, and how far off that
    /// may be.
    #[inline]
    pub(super) fn estimate(self, product: i32, question: &Question) -> Estimate {
        Estimate {
            cosine: product as f32 * (self.scale * question.scale),
            margin: self.error * question.row_weight + question.margin,
        }
    }
}

/// What rows are compared with.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// `[dim]`, of length 1.
    pub(super) vector: Vec<f32>,
    /// The vector rounded to as many bits as no product overflows with, at most 16.
    pub(super) codes: Vec<WideLine>,
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
        let mut codes = vec![WideLine([[0; LINE / 2]; 2]); dim.div_ceil(LINE)];
        let mut left = 0.0f64;
        for (line, numbers) in codes.iter_mut().zip(vector.chunks(LINE)) {
            for (code, &x) in line.0.as_flattened_mut().iter_mut().zip(numbers) {
                *code = rounded(x / scale, limit) as i16;
                let error = f64::from(x) - f64::from(scale) * f64::from(*code);
                left += error * error;
            }
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
    use crate::vectors::kernels::product;
    use crate::vectors::normalised;

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
            for vector in &vectors {
                codes.push(vector);
            }
            let mut products = vec![0; vectors.len()];
            for asked in &vectors {
                let question = Question::new(asked.clone());
                codes.products(0, &question, &mut products);
                for (row, vector) in vectors.iter().enumerate() {
                    let found = codes.fit(row).estimate(products[row], &question);
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
        let found = codes.fit(0).estimate(products[0], &question);
        assert!(found.margin < 0.01, "{}", found.margin);
    }
}

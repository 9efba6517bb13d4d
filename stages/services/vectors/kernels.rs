//! Sums of products, for every instruction set that `pulp` knows.
//!
//! Rows of bytes are read four times as fast as rows of floats, and memory is what a
//! scan waits for. The widest sets that the processor has are taken at run time:
//! AVX-512BW, AVX2 with FMA, else plain Rust.

use pulp::{Arch, Simd, WithSimd};

/// Largest magnitude of a code.
pub(super) const CODE_MAX: i32 = 127;

/// Codes in a [`Line`].
pub(super) const LINE: usize = 64;

/// Codes of a row, as many as the processor fetches at a time. Rows are filled up with
/// zeros, which change no product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [i8; LINE]);

impl Line {
    /// Something of it, for [`touch`].
    #[inline]
    pub(super) fn first(&self) -> u32 {
        self.0[0] as u32
    }
}

/// What is multiplied with a [`Line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct WideLine(pub(super) [[i16; LINE / 2]; 2]);

impl From<&Line> for WideLine {
    fn from(line: &Line) -> Self {
        let wide = |half: usize| -> [i16; LINE / 2] {
            std::array::from_fn(|place| i16::from(line.0[half * (LINE / 2) + place]))
        };
        Self([wide(0), wide(1)])
    }
}

/// The product of each row of codes with the question, as many lines each: exact, as
/// long as no sum leaves the range of an `i32` (see `Question::new`). Rows past the end
/// of `products` are not looked at.
pub(super) fn code_products<'a>(
    rows: impl Iterator<Item = &'a [Line]>,
    question: &[WideLine],
    products: &mut [i32],
) {
    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => simd.vectorize(
            #[inline(always)]
            || x86::products_512(simd, rows, question, products),
        ),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => simd.vectorize(
            #[inline(always)]
            || x86::products_256(simd, rows, question, products),
        ),
        _ => {
            for (row, product) in rows.zip(products) {
                *product = plain_product(row, question);
            }
        }
    }
}

/// Fetches what lies apart, given something of each of its lines: with nothing else to do
/// the processor waits for many of them at a time, where products let it look no further
/// than the next row or two.
pub(super) fn touch(lines: impl Iterator<Item = u32>) {
    std::hint::black_box(lines.fold(0, |all, line| all ^ line));
}

fn plain_product(row: &[Line], question: &[WideLine]) -> i32 {
    let pairs = row.iter().zip(question);
    let codes = pairs.flat_map(|(line, wide)| line.0.iter().zip(wide.0.as_flattened()));
    codes.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256i, __m512i};

    use pulp::bytemuck::cast;
    use pulp::x86::{V3, V4};

    use super::{Line, WideLine};

    /// 32 codes a step, widened to 16 bits, multiplied and added in pairs. Two sums
    /// side by side: each addition waits for the one before it.
    #[inline(always)]
    pub(super) fn products_512<'a>(
        simd: V4,
        rows: impl Iterator<Item = &'a [Line]>,
        question: &[WideLine],
        products: &mut [i32],
    ) {
        // As the processor wants it: else every row would copy it first.
        let question: Vec<[__m512i; 2]> = question.iter().map(|line| cast(line.0)).collect();
        let zero: __m512i = cast([0i32; 16]);
        for (row, product) in rows.zip(products) {
            let mut sums = [zero; 2];
            for (line, wide) in row.iter().zip(&question) {
                let halves: [__m256i; 2] = cast(line.0);
                for lane in 0..2 {
                    let codes = simd.avx512bw._mm512_cvtepi8_epi16(halves[lane]);
                    let product = simd.avx512bw._mm512_madd_epi16(codes, wide[lane]);
                    sums[lane] = simd.avx512f._mm512_add_epi32(sums[lane], product);
                }
            }
            let sum = simd.avx512f._mm512_add_epi32(sums[0], sums[1]);
            *product = simd.avx512f._mm512_reduce_add_epi32(sum);
        }
    }

    /// The same, 16 codes a step.
    #[inline(always)]
    pub(super) fn products_256<'a>(
        simd: V3,
        rows: impl Iterator<Item = &'a [Line]>,
        question: &[WideLine],
        products: &mut [i32],
    ) {
        let question: Vec<[__m256i; 4]> = question.iter().map(|line| cast(line.0)).collect();
        let zero: __m256i = cast([0i32; 8]);
        for (row, product) in rows.zip(products) {
            let mut sums = [zero; 4];
            for (line, wide) in row.iter().zip(&question) {
                let quarters: [[i8; 16]; 4] = cast(line.0);
                for lane in 0..4 {
                    let codes = simd.avx2._mm256_cvtepi8_epi16(cast(quarters[lane]));
                    let product = simd.avx2._mm256_madd_epi16(codes, wide[lane]);
                    sums[lane] = simd.avx2._mm256_add_epi32(sums[lane], product);
                }
            }
            let low = simd.avx2._mm256_add_epi32(sums[0], sums[1]);
            let high = simd.avx2._mm256_add_epi32(sums[2], sums[3]);
            let lanes: [i32; 8] = cast(simd.avx2._mm256_add_epi32(low, high));
            *product = lanes.iter().sum();
        }
    }
}

/// The sum of the products of two vectors of one length. The same two vectors always
/// give the same bits on one machine.
pub(super) fn product(a: &[f32], b: &[f32]) -> f32 {
    Arch::new().dispatch(Product { a, b })
}

struct Product<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl WithSimd for Product<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (a, a_rest) = S::as_simd_f32s(self.a);
        let (b, b_rest) = S::as_simd_f32s(self.b);
        // Four sums side by side: each addition waits for the one before it.
        let zero = simd.splat_f32s(0.0);
        let (mut s0, mut s1, mut s2, mut s3) = (zero, zero, zero, zero);
        let (a4, a1) = a.as_chunks::<4>();
        let (b4, b1) = b.as_chunks::<4>();
        for (a, b) in a4.iter().zip(b4) {
            s0 = simd.mul_add_e_f32s(a[0], b[0], s0);
            s1 = simd.mul_add_e_f32s(a[1], b[1], s1);
            s2 = simd.mul_add_e_f32s(a[2], b[2], s2);
            s3 = simd.mul_add_e_f32s(a[3], b[3], s3);
        }
        for (a, b) in a1.iter().zip(b1) {
            s0 = simd.mul_add_e_f32s(*a, *b, s0);
        }
        let sum = simd.add_f32s(simd.add_f32s(s0, s1), simd.add_f32s(s2, s3));
        let mut rest = 0.0;
        for (a, b) in a_rest.iter().zip(b_rest) {
            rest += a * b;
        }
        simd.reduce_sum_f32s(sum) + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(lines: usize, random: &mut fastrand::Rng) -> Vec<Line> {
        let line = |_| Line(std::array::from_fn(|_| random.i8(-127..=127)));
        (0..lines).map(line).collect()
    }

    fn question(lines: usize, random: &mut fastrand::Rng) -> Vec<WideLine> {
        let mut half = || std::array::from_fn(|_| random.i16(..));
        let line = |_| WideLine([half(), half()]);
        (0..lines).map(line).collect()
    }

    #[test]
    fn products_are_those_of_plain_arithmetic() {
        let mut random = fastrand::Rng::with_seed(3);
        for lines in [0, 1, 2, 3, 7, 8, 12] {
            let question = question(lines, &mut random);
            let rows: Vec<_> = (0..5).map(|_| row(lines, &mut random)).collect();
            let mut products = [0; 5];
            code_products(rows.iter().map(Vec::as_slice), &question, &mut products);
            for (row, product) in rows.iter().zip(products) {
                let codes = row.iter().flat_map(|line| line.0);
                let wide = question.iter().flat_map(|line| line.0).flatten();
                let pairs = codes.zip(wide).map(|(a, b)| i32::from(a) * i32::from(b));
                assert_eq!(product, pairs.sum::<i32>(), "{lines}");
                assert_eq!(product, plain_product(row, &question), "{lines}");
            }
        }
        for dim in [
            1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 100, 512, 513,
        ] {
            // Small whole numbers: every order of additions gives the same.
            let a: Vec<f32> = (0..dim).map(|n| (n % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..dim).map(|n| (n % 5) as f32 - 2.0).collect();
            let plain: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(product(&a, &b), plain, "{dim}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn narrower_instruction_sets_give_the_same() {
        let Some(simd) = pulp::x86::V3::try_new() else {
            eprintln!("no AVX2 here: nothing to compare");
            return;
        };
        let mut random = fastrand::Rng::with_seed(4);
        for lines in [0, 1, 2, 3, 8] {
            let (row, question) = (row(lines, &mut random), question(lines, &mut random));
            let mut products = [0];
            let rows = std::iter::once(row.as_slice());
            simd.vectorize(|| x86::products_256(simd, rows, &question, &mut products));
            assert_eq!(products[0], plain_product(&row, &question), "{lines}");
        }
    }
}

//! Sums of products, for every instruction set that `pulp` knows.
//!
//! Rows of bytes are read four times as fast as rows of floats, and memory is what a
//! scan waits for. The widest sets that the processor has are taken at run time:
//! AVX-512BW, AVX2 with FMA, else plain Rust.

use pulp::{Arch, Simd, WithSimd};

/// Largest magnitude of a code.
pub(super) const CODE_MAX: i32 = 127;

/// The product of each row of codes with the question, `[dim]` each: exact, as long as
/// no sum leaves the range of an `i32` (see `Question::new`). Rows past the end of
/// `products` are not looked at.
pub(super) fn code_products<'a>(
    rows: impl Iterator<Item = &'a [i8]>,
    question: &[i16],
    products: &mut [i32],
) {
    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => simd.vectorize(
            #[inline(always)]
            || {
                for (row, product) in rows.zip(products) {
                    *product = x86::product_512(simd, row, question);
                }
            },
        ),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => simd.vectorize(
            #[inline(always)]
            || {
                for (row, product) in rows.zip(products) {
                    *product = x86::product_256(simd, row, question);
                }
            },
        ),
        _ => {
            for (row, product) in rows.zip(products) {
                *product = plain_product(row, question);
            }
        }
    }
}

fn plain_product(row: &[i8], question: &[i16]) -> i32 {
    let pairs = row.iter().zip(question);
    pairs.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256i, __m512i};

    use pulp::bytemuck::cast;
    use pulp::x86::{V3, V4};

    use super::plain_product;

    /// 32 codes a step, widened to 16 bits, multiplied and added in pairs. Two sums
    /// side by side: each addition waits for the one before it.
    #[inline(always)]
    pub(super) fn product_512(simd: V4, row: &[i8], question: &[i16]) -> i32 {
        let (rows, row_rest) = row.as_chunks::<32>();
        let (questions, question_rest) = question.as_chunks::<32>();
        let zero: __m512i = cast([0i32; 16]);
        let mut sums = [zero; 2];
        let (row_pairs, row_last) = rows.as_chunks::<2>();
        let (question_pairs, question_last) = questions.as_chunks::<2>();
        for (row, question) in row_pairs.iter().zip(question_pairs) {
            for lane in 0..2 {
                let wide = simd.avx512bw._mm512_cvtepi8_epi16(cast(row[lane]));
                let product = simd.avx512bw._mm512_madd_epi16(wide, cast(question[lane]));
                sums[lane] = simd.avx512f._mm512_add_epi32(sums[lane], product);
            }
        }
        for (row, question) in row_last.iter().zip(question_last) {
            let wide = simd.avx512bw._mm512_cvtepi8_epi16(cast(*row));
            let product = simd.avx512bw._mm512_madd_epi16(wide, cast(*question));
            sums[0] = simd.avx512f._mm512_add_epi32(sums[0], product);
        }
        let sum = simd.avx512f._mm512_add_epi32(sums[0], sums[1]);
        simd.avx512f._mm512_reduce_add_epi32(sum) + plain_product(row_rest, question_rest)
    }

    /// The same, 16 codes a step.
    #[inline(always)]
    pub(super) fn product_256(simd: V3, row: &[i8], question: &[i16]) -> i32 {
        let (rows, row_rest) = row.as_chunks::<16>();
        let (questions, question_rest) = question.as_chunks::<16>();
        let zero: __m256i = cast([0i32; 8]);
        let mut sums = [zero; 2];
        let (row_pairs, row_last) = rows.as_chunks::<2>();
        let (question_pairs, question_last) = questions.as_chunks::<2>();
        for (row, question) in row_pairs.iter().zip(question_pairs) {
            for lane in 0..2 {
                let wide = simd.avx2._mm256_cvtepi8_epi16(cast(row[lane]));
                let product = simd.avx2._mm256_madd_epi16(wide, cast(question[lane]));
                sums[lane] = simd.avx2._mm256_add_epi32(sums[lane], product);
            }
        }
        for (row, question) in row_last.iter().zip(question_last) {
            let wide = simd.avx2._mm256_cvtepi8_epi16(cast(*row));
            let product = simd.avx2._mm256_madd_epi16(wide, cast(*question));
            sums[0] = simd.avx2._mm256_add_epi32(sums[0], product);
        }
        let lanes: [i32; 8] = cast(simd.avx2._mm256_add_epi32(sums[0], sums[1]));
        lanes.iter().sum::<i32>() + plain_product(row_rest, question_rest)
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

    #[test]
    fn products_are_those_of_plain_arithmetic_at_every_dimension() {
        let mut random = fastrand::Rng::with_seed(3);
        for dim in [
            1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 100, 512, 513,
        ] {
            let question: Vec<i16> = (0..dim).map(|_| random.i16(..)).collect();
            let codes: Vec<i8> = (0..5 * dim).map(|_| random.i8(-127..=127)).collect();
            let mut products = [0; 5];
            code_products(codes.chunks_exact(dim), &question, &mut products);
            for (row, product) in codes.chunks_exact(dim).zip(products) {
                assert_eq!(product, plain_product(row, &question), "{dim}");
            }
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
        for dim in [1, 15, 16, 31, 32, 33, 48, 100, 512] {
            let question: Vec<i16> = (0..dim).map(|_| random.i16(..)).collect();
            let row: Vec<i8> = (0..dim).map(|_| random.i8(-127..=127)).collect();
            let product = simd.vectorize(|| x86::product_256(simd, &row, &question));
            assert_eq!(product, plain_product(&row, &question), "{dim}");
        }
    }
}

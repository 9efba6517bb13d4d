//! The kernel for processors with AVX512-BF16 (Zen 4, Cooper Lake, Sapphire Rapids and later).

#![allow(unsafe_code, reason = "the instruction, and its types")]

use std::arch::x86_64::{
    __m256bh, __m512, __m512bh, __m512i, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_set1_epi32,
    _mm512_setzero_ps,
};
use std::hint::black_box;

use pulp::bytemuck::cast;
use pulp::x86::V4;
use pulp::{Simd, f32x16};

use super::{Block, MOST_ROWS, PANEL, Pair, RUN, STEPS, Task, grow, pairs};

/// Numbers of a vector of single precision.
const LANES: usize = 16;

/// Vectors of a panel.
const VECTORS: usize = PANEL / LANES;

/// Pairs of depths that are written one after the other.
const UNROLLED: usize = 4;

/// Proof that the processor has what the kernel needs.
#[derive(Clone, Copy)]
pub(super) struct Kernel(V4);

impl Kernel {
    pub(super) fn find() -> Option<Self> {
        let simd = V4::try_new()?;
        std::arch::is_x86_feature_detected!("avx512bf16").then_some(Self(simd))
    }

    /// Proof that it has all that V4 stands for.
    pub(super) fn simd(self) -> V4 {
        self.0
    }

    pub(super) fn run(self, task: Task<'_>) {
        // SAFETY: the processor has AVX512-BF16 and all that V4 stands for, or there were no kernel.
        unsafe { tiles(self.0, task) }
    }
}

/// The task, tile by tile, block by block.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,fxsr")]
fn tiles(simd: V4, task: Task<'_>) {
    let Task {
        input,
        depth,
        weight,
        after,
        rounded,
        output,
    } = task;
    let (rows, pairs) = (output.len() / after.columns, pairs(depth));
    grow(rounded, rows * pairs);
    for (words, row) in rounded
        .chunks_exact_mut(pairs)
        .zip(input.chunks_exact(depth))
    {
        round(row, words);
    }
    for mut block in weight.blocks(PANEL, RUN, rows.div_ceil(MOST_ROWS), STEPS) {
        let mut row = 0;
        while row < rows {
            let words = &rounded[row * pairs..];
            let (after, output) = (after.rows_from(row), &mut output[row * after.columns..]);
            macro_rules! tile {
                ($rows:expr) => {{
                    let mut sums = multiply::<{ $rows }>(words, pairs, &mut block);
                    after.block(simd, &block, &mut sums, output);
                    $rows
                }};
            }
            row += match rows - row {
                MOST_ROWS.. => tile!(MOST_ROWS),
                8.. => tile!(8),
                4.. => tile!(4),
                2.. => tile!(2),
                _ => tile!(1),
            };
        }
    }
}

/// Rounds a row, two numbers to a word.
#[target_feature(enable = "avx512bf16,avx512f")]
#[inline]
pub(super) fn round(row: &[f32], words: &mut [u32]) {
    let (whole, left) = V4::as_simd_f32s(row);
    let (into, last) = words.split_at_mut(whole.len() * LANES / 2);
    for (into, values) in into.as_chunks_mut().0.iter_mut().zip(whole) {
        *into = round_vector(*values);
    }
    let mut values = [0.0; LANES];
    values[..left.len()].copy_from_slice(left);
    last.copy_from_slice(&round_vector(cast(values))[..last.len()]);
}

/// Rounds a vector. One instruction rounds two; the emulator that this is tried on does that wrongly.
#[target_feature(enable = "avx512bf16,avx512f")]
#[inline]
fn round_vector(values: f32x16) -> [u32; LANES / 2] {
    let rounded = _mm512_cvtneps_pbh(cast(values));
    // SAFETY: both are 32 bytes, and any bits are words.
    unsafe { std::mem::transmute::<__m256bh, [u32; LANES / 2]>(rounded) }
}

/// The first `R` rows of `[rows, pairs]` times a block.
#[target_feature(enable = "avx512bf16,avx512f")]
#[inline]
fn multiply<const R: usize>(
    rows: &[u32],
    pairs: usize,
    block: &mut Block<'_, Pair>,
) -> [[f32x16; VECTORS]; R] {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; R];
    let rows: [&[u32]; R] = std::array::from_fn(|row| &rows[row * pairs..][block.steps.clone()]);
    // Pieces of known length, in which nothing is left to be checked, and whose addresses registers
    // hold: the compiler would compute them anew for each pair.
    let (pieces, left) = vectors(block.panel).as_chunks::<STEPS>();
    for (i, piece) in pieces.iter().enumerate() {
        block.ahead.look();
        let words: [&[u32; STEPS]; R] = std::array::from_fn(|row| &rows[row].as_chunks().0[i]);
        let words = black_box(words);
        let mut k = 0;
        while k < STEPS {
            for k in k..k + UNROLLED {
                for (sums, words) in sums.iter_mut().zip(&words) {
                    add_products(sums, words[k], piece[k]);
                }
            }
            k += UNROLLED;
        }
    }
    for (k, columns) in left.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(rows) {
            add_products(sums, row[pieces.len() * STEPS + k], *columns);
        }
    }
    let mut found = [[cast([0.0_f32; LANES]); VECTORS]; R];
    for (found, sums) in found.iter_mut().zip(sums) {
        for (found, sum) in found.iter_mut().zip(sums) {
            *found = cast(sum);
        }
    }
    found
}

/// Adds the products of two numbers of a row with a pair, those of the second depth first.
#[target_feature(enable = "avx512bf16,avx512f")]
#[inline]
fn add_products(sums: &mut [__m512; VECTORS], word: u32, columns: [__m512bh; VECTORS]) {
    let word = as_bf16(_mm512_set1_epi32(word.cast_signed()));
    for (sum, columns) in sums.iter_mut().zip(columns) {
        *sum = _mm512_dpbf16_ps(*sum, word, columns);
    }
}

/// The pairs as vectors.
fn vectors(panel: &[Pair]) -> &[[__m512bh; VECTORS]] {
    const {
        assert!(size_of::<Pair>() == size_of::<[__m512bh; VECTORS]>());
        assert!(align_of::<Pair>() == align_of::<[__m512bh; VECTORS]>());
    }
    // SAFETY: both are as large and as aligned, and any bits are numbers of bfloat16.
    unsafe { std::slice::from_raw_parts(panel.as_ptr().cast(), panel.len()) }
}

/// The same bits.
#[target_feature(enable = "avx512bf16,avx512f")]
#[inline]
fn as_bf16(words: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, and any bits are numbers of bfloat16.
    unsafe { std::mem::transmute(words) }
}

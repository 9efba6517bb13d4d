//! Rows rounded for the kernel of processors with AVX512-BF16 (Zen 4, Cooper Lake, Sapphire Rapids and
//! later).

#![allow(unsafe_code, reason = "what is done by instructions of its own")]

use pulp::Simd;
use pulp::bytemuck::cast;
use pulp::x86::V4;

use super::{LONGEST, Rows, Task, pairs};
use crate::net::ops::held::part;
use crate::net::ops::matrix::avx512::{Job, LANES, Pairs, round_vector};

impl Pairs {
    /// What comes of it goes to the words, where there are some, see [`Job::rounded`].
    pub(super) fn run_task(self, task: Task<'_>, into: Option<&mut [u32]>) {
        let Task {
            input,
            depth,
            weight,
            after,
            rounded,
            output,
        } = task;
        let (rows, pairs) = (output.len() / after.columns, pairs(depth));
        let words = part(rounded, rows * pairs);
        // SAFETY: the processor has AVX512-BF16, or there were no kernel.
        unsafe { round_all(input, depth, words, pairs) };
        self.run(Job {
            words,
            length: pairs,
            weight,
            run: weight.run(LONGEST),
            after,
            output,
            rounded: into,
        });
    }

    /// Of rows that are rounded, `[rows, pairs]`; those of `rows` are not looked at.
    pub(super) fn multiply(self, words: &[u32], rows: &Rows<'_>, output: &mut [f32]) {
        let Rows {
            depth,
            weight,
            after,
            ..
        } = *rows;
        self.run(Job {
            words,
            length: pairs(depth),
            weight,
            run: weight.run(LONGEST),
            after,
            output,
            rounded: None,
        });
    }
}

/// Rounds rows, `[rows, depth]` to `[rows, pairs]`.
#[target_feature(enable = "avx512bf16,avx512f")]
fn round_all(input: &[f32], depth: usize, words: &mut [u32], pairs: usize) {
    let rows = words.chunks_exact_mut(pairs);
    for (words, row) in rows.zip(input.chunks_exact(depth)) {
        round(row, words);
    }
}

/// Rounds a row, two numbers to a word.
#[target_feature(enable = "avx512bf16,avx512f")]
#[inline]
pub(super) fn round(row: &[f32], words: &mut [u32]) {
    let (whole, left) = V4::as_simd_f32s(row);
    let (into, last) = words.split_at_mut(whole.len() * LANES / 2);
    for (into, values) in into.as_chunks_mut().0.iter_mut().zip(whole) {
        *into = round_vector(cast(*values));
    }
    let mut values = [0.0; LANES];
    values[..left.len()].copy_from_slice(left);
    last.copy_from_slice(&round_vector(cast(values))[..last.len()]);
}

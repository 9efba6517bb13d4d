//! What a word of a row is: a number of single precision, or two of bfloat16.

#![allow(unsafe_code, reason = "instructions")]

use std::arch::x86_64::{
    __m256bh, __m512, __m512bh, __m512i, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps,
    _mm512_set1_epi32, _mm512_set1_ps,
};

use pulp::x86::V4;

use super::{LANES, Tile};
use crate::net::ops::matrix::blocks::Step;
use crate::net::ops::matrix::packed::{PANEL, Pair};

/// A kind of word, and proof that the processor has what its kernel needs.
pub(super) trait Word: Sized {
    /// A step of a panel: `PANEL` words.
    type Step: Step;

    /// `sum` and the products of a word with a vector of a panel.
    ///
    /// # Safety
    ///
    /// The processor has what the word's kernel proves.
    unsafe fn add_products(sum: __m512, word: u32, columns: __m512) -> __m512;

    /// Rounds a vector to words of two, where words are that.
    ///
    /// # Safety
    ///
    /// The processor has what the word's kernel proves, and there is room for half as many words.
    unsafe fn round(_: __m512, _: *mut u32) {}

    /// [`super::tile`], in the instructions that the word's kernel needs.
    ///
    /// # Safety
    ///
    /// The processor has what the word's kernel proves.
    unsafe fn tile<const R: usize, const V: usize>(simd: V4, tile: Tile<'_, '_, Self::Step>);
}

/// [`Word::tile`].
macro_rules! tile_in {
    ($instructions:literal) => {
        #[target_feature(enable = $instructions)]
        #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
        #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,fxsr")]
        unsafe fn tile<const R: usize, const V: usize>(simd: V4, tile: Tile<'_, '_, Self::Step>) {
            // SAFETY: the processor has the instructions.
            unsafe { super::tile::<Self, R, V>(simd, tile) }
        }
    };
}

/// Numbers of single precision, where there is AVX-512.
#[derive(Clone, Copy)]
pub(in crate::net::ops::matrix) struct Singles(V4);

impl Singles {
    pub(in crate::net::ops::matrix) fn find() -> Option<Self> {
        V4::try_new().map(Self)
    }

    /// Proof that the processor has all that V4 stands for.
    pub(super) fn simd(self) -> V4 {
        self.0
    }
}

impl Word for Singles {
    type Step = [f32; PANEL];

    #[inline(always)]
    unsafe fn add_products(sum: __m512, word: u32, columns: __m512) -> __m512 {
        // SAFETY: the processor has AVX-512.
        unsafe { _mm512_fmadd_ps(_mm512_set1_ps(f32::from_bits(word)), columns, sum) }
    }

    tile_in!("avx512f");
}

/// Two numbers of bfloat16, where there is AVX512-BF16 besides (Zen 4, Cooper Lake, Sapphire Rapids and
/// later).
#[derive(Clone, Copy, Debug)]
pub(in crate::net::ops::matrix) struct Pairs(V4);

impl Pairs {
    pub(in crate::net::ops::matrix) fn find() -> Option<Self> {
        let simd = V4::try_new()?;
        std::arch::is_x86_feature_detected!("avx512bf16").then_some(Self(simd))
    }

    /// Proof that the processor has all that V4 stands for.
    pub(in crate::net::ops::matrix) fn simd(self) -> V4 {
        self.0
    }
}

impl Word for Pairs {
    type Step = Pair;

    /// Those of the second depth first.
    #[inline(always)]
    unsafe fn add_products(sum: __m512, word: u32, columns: __m512) -> __m512 {
        // SAFETY: the processor has AVX512-BF16; all are of 64 bytes, and any bits are numbers.
        unsafe {
            let word = _mm512_set1_epi32(word.cast_signed());
            let (word, columns) = (
                std::mem::transmute::<__m512i, __m512bh>(word),
                std::mem::transmute::<__m512, __m512bh>(columns),
            );
            _mm512_dpbf16_ps(sum, word, columns)
        }
    }

    #[inline(always)]
    unsafe fn round(vector: __m512, to: *mut u32) {
        // SAFETY: the processor has AVX512-BF16, and there is room.
        unsafe {
            to.cast::<[u32; LANES / 2]>().write(round_vector(vector));
        }
    }

    tile_in!("avx512bf16");
}

/// Rounds a vector. One instruction rounds two; the emulator that this is tried on does that wrongly.
#[target_feature(enable = "avx512bf16,avx512f")]
#[inline]
pub(in crate::net::ops::matrix) fn round_vector(values: __m512) -> [u32; LANES / 2] {
    let rounded = _mm512_cvtneps_pbh(values);
    // SAFETY: both are 32 bytes, and any bits are words.
    unsafe { std::mem::transmute::<__m256bh, [u32; LANES / 2]>(rounded) }
}

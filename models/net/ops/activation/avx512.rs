//! GELU where there is AVX-512, whose registers hold a table: x less its tail, and the tail a polynomial
//! for each of sixteen pieces of |x|, whose coefficients one instruction looks up for sixteen numbers.

use std::arch::x86_64::{
    __m512, _mm512_abs_ps, _mm512_castps_si512, _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_max_ps,
    _mm512_min_ps, _mm512_permutexvar_ps, _mm512_set1_ps, _mm512_setr_ps, _mm512_setzero_ps,
    _mm512_sub_ps,
};

/// Pieces of |x| from one whole number to the next.
const PIECES: f32 = 2.75;
/// Where less than a tenth of a millionth is left; it is in the last piece.
const END: f32 = 5.6;
/// So large that there are no bits for halves: added, it rounds, and the lowest bits are the number of
/// the piece.
const ROUNDS: f32 = 12_582_912.0;

/// The coefficients of `a (1 - Phi(a))` for each piece, those of the lowest power first; the variable is
/// the distance from the middle of the piece, in pieces. Minimax fits of our own; the largest error of
/// GELU is 3.3e-7.
#[rustfmt::skip]
const TAIL: [[f32; 16]; 5] = [
    [
        0.0, 0.130_205_36, 0.169_839_6, 0.150_170_68,
        0.106_032_84, 0.062_760_316, 0.031_770_494, 0.013_889_978,
        0.005_272_455, 0.001_742_975_6, 5.027_528_4e-4, 1.266_853e-4,
        2.790_960_2e-5, 5.378_661e-6, 9.070_987e-7, 1.339_104_2e-7,
    ],
    [
        0.181_818_38, 0.080_829_97, 0.003_934_792, -0.037_227_18,
        -0.046_755_113, -0.037_958_436, -0.023_994_803, -0.012_482_972,
        -0.005_473_805, -0.002_048_465, -6.590_049_6e-4, -1.830_909_5e-4,
        -4.406_615e-5, -9.207_614e-6, -1.672_941e-6, -2.646_194e-7,
    ],
    [
        -0.052_755_572, -0.046_112_377, -0.029_785_02, -0.011_783_130_5,
        0.001_058_997_4, 0.006_595_298_6, 0.006_737_435, 0.004_628_910_7,
        0.002_477_313_9, 0.001_085_103_8, 3.980_564e-4, 1.238_585_7e-4,
        3.294_715e-5, 7.531_424_7e-6, 1.484_857_3e-6, 2.531_596_7e-7,
    ],
    [
        1.411_030_8e-5, 0.004_171_930_7, 0.006_149_622_6, 0.005_380_213_3,
        0.003_044_918_4, 7.897_585e-4, -4.752_185e-4, -7.830_314_6e-4,
        -6.021_94e-4, -3.331_189_5e-4, -1.457_182e-4, -5.235_078e-5,
        -1.574_930_9e-5, -4.013_381_4e-6, -8.727_627_7e-7, -1.627_973_6e-7,
    ],
    [
        0.001_138_627_1, 8.351_299_3e-4, 1.307_726_9e-4, -4.604_985_6e-4,
        -6.338_729e-4, -4.557_948_3e-4, -1.807_006_2e-4, 5.225_027e-6,
        6.815_592e-5, 5.983_555e-5, 3.385_234e-5, 1.457_985_5e-5,
        5.056_027_5e-6, 1.449_863_1e-6, 3.490_327e-7, 7.121_558e-8,
    ],
];

/// The table, in registers.
#[derive(Clone, Copy)]
pub(in crate::net::ops) struct Gelu([__m512; 5]);

impl Gelu {
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(in crate::net::ops) fn new() -> Self {
        Self([
            vector(TAIL[0]),
            vector(TAIL[1]),
            vector(TAIL[2]),
            vector(TAIL[3]),
            vector(TAIL[4]),
        ])
    }

    /// x Phi(x): GELU in its exact form. <https://arxiv.org/abs/1606.08415>
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(in crate::net::ops) fn of(self, x: __m512) -> __m512 {
        let a = _mm512_min_ps(_mm512_abs_ps(x), _mm512_set1_ps(END));
        let pieces = _mm512_set1_ps(PIECES);
        let rounds = _mm512_set1_ps(ROUNDS);
        let rounded = _mm512_fmadd_ps(a, pieces, rounds);
        let piece = _mm512_castps_si512(rounded);
        let from_middle = _mm512_fmsub_ps(a, pieces, _mm512_sub_ps(rounded, rounds));
        let [none, one, two, three, four] = self.0;
        let mut tail = _mm512_permutexvar_ps(piece, four);
        for power in [three, two, one, none] {
            let coefficient = _mm512_permutexvar_ps(piece, power);
            tail = _mm512_fmadd_ps(tail, from_middle, coefficient);
        }
        // In this order what is no number stays none.
        _mm512_sub_ps(_mm512_max_ps(_mm512_setzero_ps(), x), tail)
    }
}

/// The numbers as a vector.
#[target_feature(enable = "avx512f")]
#[inline]
fn vector(numbers: [f32; 16]) -> __m512 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = numbers;
    _mm512_setr_ps(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code, reason = "the instructions")]

    use pulp::bytemuck::cast;

    use super::super::Activation;
    use super::super::tests::exact;
    use super::*;

    #[target_feature(enable = "avx512f")]
    fn all(x: &mut [[f32; 16]]) {
        for x in x {
            *x = cast(Gelu::new().of(cast(*x)));
        }
    }

    #[test]
    fn it_is_gelu_wherever_there_is_avx_512() {
        if pulp::x86::V4::try_new().is_none() {
            return;
        }
        let mut numbers: Vec<[f32; 16]> = (-20_000_i16..20_000)
            .map(|i| std::array::from_fn(|j| (f32::from(i) + j as f32 / 16.0) / 2_500.0))
            .collect();
        let special = [
            0.0,
            -0.0,
            1e-30,
            5.6,
            -5.7,
            1e30,
            -1e30,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        numbers.push(std::array::from_fn(|i| special[i % special.len()]));
        let mut found = numbers.clone();
        // SAFETY: the processor has AVX-512.
        unsafe { all(&mut found) };
        for (x, found) in numbers.as_flattened().iter().zip(found.as_flattened()) {
            let expected = match *x {
                f32::NEG_INFINITY => 0.0,
                x => exact(Activation::Gelu, f64::from(x)),
            };
            let found = f64::from(*found);
            let error = (found - expected).abs() / expected.abs().max(1.0);
            let same = found == expected || found.is_nan() && x.is_nan();
            assert!(same || error < 3.5e-7, "{x}: {found}, not {expected}");
        }
    }
}

//! The error function in SIMD: z P(z^2) / Q(z^2) on |z| <= 4, beyond which it is 1 in single
//! precision. The coefficients are a minimax fit of our own; the largest error is 3.4e-7.

use pulp::Simd;

const P: [f32; 7] = [
    1.128_378_6,
    0.213_940_13,
    0.052_432_895,
    0.004_292_842_5,
    1.555_302_3e-4,
    -1.990_270_4e-6,
    1.921_690_4e-8,
];
const Q: [f32; 5] = [
    1.0,
    0.522_927_17,
    0.120_797_75,
    0.015_550_702,
    0.001_097_981_2,
];

/// x Phi(x) = x / 2 (1 + erf(x / sqrt 2)): GELU in its exact form.
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let limit = simd.splat_f32s(4.0);
    let scaled = simd.mul_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    let z = simd.max_f32s(simd.min_f32s(scaled, limit), simd.neg_f32s(limit));
    let t = simd.mul_f32s(z, z);
    let p = polynomial(simd, t, &P);
    let q = polynomial(simd, t, &Q);
    let erf = simd.div_f32s(simd.mul_f32s(z, p), q);
    let half = simd.mul_f32s(x, simd.splat_f32s(0.5));
    simd.mul_add_e_f32s(half, erf, half)
}

#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, t: S::f32s, coefficients: &[f32; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        sum = simd.mul_add_e_f32s(sum, t, simd.splat_f32s(coefficients[i]));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gelu(f32);

    impl pulp::WithSimd for Gelu {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            simd.reduce_sum_f32s(gelu(simd, simd.splat_f32s(self.0))) / S::F32_LANES as f32
        }
    }

    /// erf in double precision: the Maclaurin series, or 1 less the continued fraction of erfc.
    fn erf(z: f64) -> f64 {
        if z.abs() > 3.0 {
            let x = z.abs();
            let tail = (1..60).rev().fold(x, |f, n| x + f64::from(n) / 2.0 / f);
            return z.signum() * (1.0 - (-x * x).exp() / (tail * std::f64::consts::PI.sqrt()));
        }
        let mut term = z;
        let mut sum = z;
        for n in 1..100 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn gelu_is_exact_to_single_precision() {
        let arch = pulp::Arch::new();
        for i in -80_000..=80_000 {
            let x = i as f32 / 8_000.0;
            let exact = 0.5 * f64::from(x) * (1.0 + erf(f64::from(x) / std::f64::consts::SQRT_2));
            let error = (f64::from(arch.dispatch(Gelu(x))) - exact).abs();
            assert!(
                error < 1e-6 * f64::from(x.abs()).max(1.0),
                "gelu({x}) is off by {error:e}"
            );
        }
        assert!((arch.dispatch(Gelu(50.0)) - 50.0).abs() < 1e-4);
        assert!(arch.dispatch(Gelu(-50.0)).abs() < 1e-4);
    }
}

//! What is done to each element of a result while it is still in a register, in SIMD and by Burn's
//! own operations.
//!
//! The error function is z P(z^2) / Q(z^2) on |z| <= 4 and the hyperbolic tangent the same on
//! |z| <= 9, beyond which both are 1 in single precision. The coefficients are minimax fits of our
//! own; the largest error of either is 3.4e-7.

use burn::tensor::{Tensor, activation};
use pulp::Simd;

use crate::config;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// The identity.
    Nothing,
    /// GELU, in its exact form.
    Gelu,
    /// GELU's approximation by a hyperbolic tangent.
    GeluTanh,
    /// GELU's approximation x sigmoid(1.702 x).
    QuickGelu,
    /// 0 to 6, and cut off there. <https://arxiv.org/abs/1704.04861>
    Relu6,
}

impl From<config::Activation> for Activation {
    fn from(act: config::Activation) -> Self {
        match act {
            config::Activation::Gelu => Self::Gelu,
            config::Activation::GeluTanh => Self::GeluTanh,
            config::Activation::QuickGelu => Self::QuickGelu,
        }
    }
}

const ERF_P: [f32; 7] = [
    1.128_378_6,
    0.213_940_13,
    0.052_432_895,
    0.004_292_842_5,
    1.555_302_3e-4,
    -1.990_270_4e-6,
    1.921_690_4e-8,
];
const ERF_Q: [f32; 5] = [
    1.0,
    0.522_927_17,
    0.120_797_75,
    0.015_550_702,
    0.001_097_981_2,
];

const TANH_P: [f32; 5] = [
    1.0,
    0.133_809_85,
    0.003_495_538_6,
    2.060_825_7e-5,
    1.335_351_9e-8,
];
const TANH_Q: [f32; 5] = [
    1.0,
    0.467_143,
    0.025_876_796,
    3.285_553_2e-4,
    7.776_089_3e-7,
];

/// The factor of quick GELU, x sigmoid(1.702 x).
const QUICK: f32 = 1.702;

impl Activation {
    /// One vector of values.
    #[inline(always)]
    pub(super) fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        match self {
            Self::Nothing => x,
            Self::Gelu => gelu(simd, x),
            Self::GeluTanh => {
                // sqrt(2 / pi) (x + 0.044715 x^3)
                let square = simd.mul_f32s(x, x);
                let scale = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
                let factor = simd.mul_add_e_f32s(
                    square,
                    simd.splat_f32s(0.044_715 * scale),
                    simd.splat_f32s(scale),
                );
                gate(simd, x, simd.mul_f32s(x, factor))
            }
            // sigmoid(2 z) is (1 + tanh(z)) / 2.
            Self::QuickGelu => gate(simd, x, simd.mul_f32s(x, simd.splat_f32s(QUICK / 2.0))),
            Self::Relu6 => {
                let positive = simd.max_f32s(x, simd.splat_f32s(0.0));
                simd.min_f32s(positive, simd.splat_f32s(6.0))
            }
        }
    }

    /// The same with Burn's own operations.
    pub(super) fn stock<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Nothing => x,
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x * QUICK),
            Self::Relu6 => x.clamp(0.0, 6.0),
        }
    }
}

/// x / 2 (1 + tanh(z))
#[inline(always)]
fn gate<S: Simd>(simd: S, x: S::f32s, z: S::f32s) -> S::f32s {
    let tanh = odd(simd, z, 9.0, &TANH_P, &TANH_Q);
    let half = simd.mul_f32s(x, simd.splat_f32s(0.5));
    simd.mul_add_e_f32s(half, tanh, half)
}

/// x Phi(x) = x / 2 (1 + erf(x / sqrt 2)): GELU in its exact form.
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let z = simd.mul_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    let erf = odd(simd, z, 4.0, &ERF_P, &ERF_Q);
    let half = simd.mul_f32s(x, simd.splat_f32s(0.5));
    simd.mul_add_e_f32s(half, erf, half)
}

/// z P(z^2) / Q(z^2), z being held within a limit.
#[inline(always)]
fn odd<S: Simd, const P: usize, const Q: usize>(
    simd: S,
    z: S::f32s,
    limit: f32,
    p: &[f32; P],
    q: &[f32; Q],
) -> S::f32s {
    let limit = simd.splat_f32s(limit);
    let z = simd.max_f32s(simd.min_f32s(z, limit), simd.neg_f32s(limit));
    let t = simd.mul_f32s(z, z);
    let p = polynomial(simd, t, p);
    let q = polynomial(simd, t, q);
    simd.div_f32s(simd.mul_f32s(z, p), q)
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

    struct Activate(Activation, f32);

    impl pulp::WithSimd for Activate {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let value = self.0.apply(simd, simd.splat_f32s(self.1));
            simd.reduce_sum_f32s(value) / S::F32_LANES as f32
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

    /// The activation in double precision, by its definition.
    fn exact(act: Activation, x: f64) -> f64 {
        match act {
            Activation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
            Activation::GeluTanh => {
                let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + z.tanh())
            }
            Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Nothing => x,
        }
    }

    /// Those that grow like x.
    const GELUS: [Activation; 3] = [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
    ];

    #[test]
    fn activations_are_exact_to_single_precision() {
        let arch = pulp::Arch::new();
        for act in [Activation::Nothing, Activation::Relu6]
            .into_iter()
            .chain(GELUS)
        {
            for i in -80_000..=80_000 {
                let x = i as f32 / 8_000.0;
                let found = f64::from(arch.dispatch(Activate(act, x)));
                let error = (found - exact(act, f64::from(x))).abs();
                assert!(
                    error < 1e-6 * f64::from(x.abs()).max(1.0),
                    "{act:?} of {x} is off by {error:e}"
                );
            }
        }
        for act in GELUS {
            assert!((arch.dispatch(Activate(act, 50.0)) - 50.0).abs() < 1e-4);
            assert!(arch.dispatch(Activate(act, -50.0)).abs() < 1e-4);
        }
    }

    #[test]
    fn activations_are_burns() {
        use super::super::testing::random;
        let x = random([7, 33], 1) * 6.0;
        let values: Vec<f32> = x.clone().into_data().try_into_vec().unwrap();
        let arch = pulp::Arch::new();
        for act in GELUS {
            let stock: Vec<f32> = act.stock(x.clone()).into_data().try_into_vec().unwrap();
            for (x, stock) in values.iter().zip(stock) {
                let ours = arch.dispatch(Activate(act, *x));
                assert!(
                    (ours - stock).abs() < 5e-6,
                    "{act:?} of {x}: {ours}, {stock}"
                );
            }
        }
    }
}

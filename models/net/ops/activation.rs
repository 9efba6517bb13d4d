//! What is done to each element of a result while it is still in a register, in SIMD and by Burn's
//! own operations.
//!
//! GELU is x less what the tail of the normal distribution takes of it, and that tail the sixteenth
//! power of a polynomial, the other way up: the form of formula 7.1.28 in M. Abramowitz and I. Stegun,
//! Handbook of Mathematical Functions, 1964. The hyperbolic tangent is z P(z^2) / Q(z^2) on |z| <= 9,
//! beyond which it is 1 in single precision. Matrix products have another form of GELU where there is
//! AVX-512, see [`avx512`]. The coefficients are minimax fits of our own; the largest
//! error is 5.2e-7 of GELU and 3.4e-7 of the tangent.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;

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

/// `(2 / erfc(a / sqrt 2))^(1 / 16)`, of a's powers from none on.
const TAIL: [f32; 7] = [
    1.044_274,
    0.052_071_776,
    0.022_091_825,
    0.003_397_747,
    5.878_929e-5,
    4.441_982e-5,
    6.467_161e-6,
];
/// Where less than a hundred-millionth of x is left.
const TAIL_END: f32 = 6.0;

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

    /// Several vectors: two share a division, as nothing else takes a processor so long.
    #[allow(
        clippy::needless_range_loop,
        reason = "iterators so deep inside are not seen through"
    )]
    #[inline(always)]
    pub(super) fn apply_all<S: Simd, const N: usize>(self, simd: S, all: &mut [S::f32s; N]) {
        if N == 2 && self == Self::Gelu {
            let (a, b) = (within(simd, all[0]), within(simd, all[1]));
            let (power_of_a, power_of_b) = (power(simd, a), power(simd, b));
            let product = simd.mul_f32s(power_of_a, power_of_b);
            let over = simd.div_f32s(simd.splat_f32s(-1.0), product);
            let tail = simd.mul_f32s(simd.mul_f32s(a, power_of_b), over);
            all[0] = without_tail(simd, all[0], tail);
            let tail = simd.mul_f32s(simd.mul_f32s(b, power_of_a), over);
            all[1] = without_tail(simd, all[1], tail);
            return;
        }
        for i in 0..N {
            all[i] = self.apply(simd, all[i]);
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

/// x Phi(x): GELU in its exact form. <https://arxiv.org/abs/1606.08415>
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let a = within(simd, x);
    let tail = simd.div_f32s(a, power(simd, a));
    without_tail(simd, x, simd.sub_f32s(simd.splat_f32s(0.0), tail))
}

/// |x|, held within where anything is left.
#[inline(always)]
fn within<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    simd.min_f32s(size(simd, x), simd.splat_f32s(TAIL_END))
}

/// |x|. pulp's own is called each time, not inlined.
#[inline(always)]
fn size<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    simd.and_f32s(x, simd.splat_f32s(f32::from_bits(0x7fff_ffff)))
}

/// What `a` is divided by to give `a (1 - Phi(a))`: less than 2e9.
#[inline(always)]
fn power<S: Simd>(simd: S, a: S::f32s) -> S::f32s {
    let root = polynomial(simd, a, &TAIL);
    let second = simd.mul_f32s(root, root);
    let fourth = simd.mul_f32s(second, second);
    let eighth = simd.mul_f32s(fourth, fourth);
    simd.mul_f32s(eighth, eighth)
}

/// max(x, 0) and the tail, which is given with its sign. What is no number stays none.
#[inline(always)]
fn without_tail<S: Simd>(simd: S, x: S::f32s, tail: S::f32s) -> S::f32s {
    let twice = simd.add_f32s(x, size(simd, x));
    simd.mul_add_e_f32s(twice, simd.splat_f32s(0.5), tail)
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

    /// Two vectors at once, each of one value.
    struct ActivateTwo(Activation, [f32; 2]);

    impl pulp::WithSimd for ActivateTwo {
        type Output = [f32; 2];

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> [f32; 2] {
            let mut both = self.1.map(|value| simd.splat_f32s(value));
            self.0.apply_all(simd, &mut both);
            both.map(|value| simd.reduce_sum_f32s(value) / S::F32_LANES as f32)
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
    pub(super) fn exact(act: Activation, x: f64) -> f64 {
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
    fn two_at_once_are_each_alone() {
        let arch = pulp::Arch::new();
        let values = [-1e30, -50.0, -5.0, -0.7, -1e-20, 0.0, 0.3, 2.0, 9.0, 1e30];
        let pairs = values.iter().flat_map(|&x| values.map(|y| [x, y]));
        for (act, pair) in GELUS
            .into_iter()
            .flat_map(|act| pairs.clone().map(move |pair| (act, pair)))
        {
            for (value, found) in pair.into_iter().zip(arch.dispatch(ActivateTwo(act, pair))) {
                let alone = arch.dispatch(Activate(act, value));
                let near = (found - alone).abs() <= 3e-7 * alone.abs().max(1.0);
                assert!(near, "{act:?} of {value} in {pair:?}: {found}, not {alone}");
            }
        }
        for odd in [f32::NAN, f32::INFINITY] {
            let [found, _] = arch.dispatch(ActivateTwo(Activation::Gelu, [odd, 1.0]));
            let alone = arch.dispatch(Activate(Activation::Gelu, odd));
            assert!(found.to_bits() == odd.to_bits() && alone.to_bits() == odd.to_bits());
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

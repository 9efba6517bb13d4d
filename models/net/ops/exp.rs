//! The exponential function, in SIMD.
//!
//! 2^t is 2^i 2^f with i the whole number next to t; 2^i is made of its bits, and 2^f for
//! |f| <= 1/2 is the polynomial of degree 6 that meets it at the Chebyshev nodes.

use pulp::Simd;

/// Of 2^f, from the constant on. What they leave is 2.6e-9.
const EXP2: [f32; 7] = [
    1.0,
    std::f32::consts::LN_2,
    0.240_226_5,
    0.055_503_27,
    0.009_618_057,
    0.001_340_042_8,
    1.546_144_5e-4,
];

/// Numbers are whole from here to twice that.
const WHOLE: f32 = 12_582_912.0;
/// What an exponent of 0 is kept as.
const BIAS: f32 = 127.0;
/// Bits behind the exponent.
const MANTISSA: u32 = 23;
/// The least exponent of a normal number.
const LEAST: f32 = -126.0;

/// 2^t for t below 127; what is less than the least normal number becomes that.
#[inline(always)]
pub(super) fn exp2<S: Simd>(simd: S, t: S::f32s) -> S::f32s {
    // In this order a t that is no number remains one that is none.
    let t = simd.max_f32s(simd.splat_f32s(LEAST), t);
    let offset = simd.splat_f32s(WHOLE + BIAS);
    let whole = simd.add_f32s(t, offset);
    let f = simd.sub_f32s(t, simd.sub_f32s(whole, offset));
    let mut sum = simd.splat_f32s(EXP2[6]);
    for coefficient in EXP2[..6].iter().rev() {
        sum = simd.mul_add_e_f32s(sum, f, simd.splat_f32s(*coefficient));
    }
    // The lowest bits of `whole` count i + 127; the others are shifted out.
    let bits = simd.transmute_u32s_f32s(whole);
    let bits = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(MANTISSA));
    simd.mul_f32s(sum, simd.transmute_f32s_u32s(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp2(f32);

    impl pulp::WithSimd for Exp2 {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let power = exp2(simd, simd.splat_f32s(self.0));
            simd.reduce_max_f32s(power)
        }
    }

    #[test]
    fn powers_of_two_are_exact_to_single_precision() {
        let arch = pulp::Arch::new();
        for i in -126_000..=126_000 {
            let t = i as f32 / 1000.0;
            let exact = f64::from(t).exp2();
            let error = (f64::from(arch.dispatch(Exp2(t))) / exact - 1.0).abs();
            assert!(error < 2e-7, "2^{t} is off by {error:e} of itself");
        }
        for whole in [-126, -3, 0, 5] {
            assert_eq!(arch.dispatch(Exp2(whole as f32)), (whole as f32).exp2());
        }
    }

    #[test]
    fn what_is_far_below_is_next_to_nothing_and_no_number_stays_none() {
        let arch = pulp::Arch::new();
        for t in [-127.0, -1e4, f32::MIN, f32::NEG_INFINITY] {
            let power = arch.dispatch(Exp2(t));
            assert!((0.0..=f32::MIN_POSITIVE).contains(&power), "2^{t}: {power}");
        }
        let power = pulp::Scalar::new().vectorize(Exp2(1.0));
        assert_eq!(power, 2.0);
        assert!(arch.dispatch(NotANumber).is_nan());
    }

    struct NotANumber;

    impl pulp::WithSimd for NotANumber {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let power = exp2(simd, simd.splat_f32s(f32::NAN));
            simd.reduce_sum_f32s(power)
        }
    }
}

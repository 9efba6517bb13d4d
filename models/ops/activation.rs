//! What is done to each element of a result while it is still in a register.

use burn::tensor::{Tensor, activation};
use pulp::Simd;

use super::erf;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// The identity.
    Nothing,
    /// GELU, in its exact form.
    Gelu,
    /// 0 to 6, and cut off there. <https://arxiv.org/abs/1704.04861>
    Relu6,
}

impl Activation {
    #[inline(always)]
    pub(super) fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        match self {
            Self::Nothing => x,
            Self::Gelu => erf::gelu(simd, x),
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
            Self::Relu6 => x.clamp(0.0, 6.0),
        }
    }
}

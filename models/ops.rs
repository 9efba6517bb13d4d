//! The operations that the towers are made of, on channels-last activations.
//!
//! Each has a kernel of ours for the CPU backend and a path of stock Burn operations for every
//! other device; a test holds the two against each other. Activations are `[rows, channels]`, a
//! row being a pixel or a token, so that a 1x1 convolution is one matrix product and everything
//! else runs along contiguous channels.

mod conv;
mod elementwise;
mod erf;
mod flex;
mod norm;

use burn::tensor::Tensor;

pub(crate) use conv::{Depthwise, depthwise, patches};
pub(crate) use elementwise::scale_channels;
pub(crate) use norm::layer_norm;

/// A feature map `[n, height, width, channels]`, stored as `[n * height * width, channels]`.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) data: Tensor<2>,
    pub(crate) n: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Map {
    /// The same places with other channels.
    pub(crate) fn with(&self, data: Tensor<2>) -> Self {
        Self { data, ..*self }
    }

    pub(crate) fn channels(&self) -> usize {
        self.data.dims()[1]
    }
}

/// What follows a matrix product, done in the same pass as its bias.
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// GELU, in its exact form.
    Gelu,
    /// The residual is added.
    Add(Tensor<2>),
}

/// A dense layer: `x [rows, in]` times `weight [in, out]`, plus `bias [out]`, then `then`.
pub(crate) fn linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<&Tensor<1>>,
    then: Then,
) -> Tensor<2> {
    elementwise::finish(x.matmul(weight), bias, then)
}

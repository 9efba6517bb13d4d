//! The layers that several blocks share.

use burn::tensor::Tensor;
use burn::tensor::activation;

use crate::error::Error;
use crate::net::ops::{self, Activation, ConvFfn, Depthwise, Map, Matrix, Then};
use crate::net::weights::Scope;

/// A matrix product and a bias: a dense layer or a 1x1 convolution.
pub(crate) struct Linear {
    weight: Matrix,
    /// `[out]`
    bias: Option<Tensor<1>>,
}

impl Linear {
    pub(crate) fn new(input: usize, output: usize, scope: &mut Scope) -> Result<Self, Error> {
        let mut linear = Self::without_bias(input, output, scope)?;
        linear.bias = Some(scope.take("bias", [output])?);
        Ok(linear)
    }

    pub(crate) fn without_bias(
        input: usize,
        output: usize,
        scope: &mut Scope,
    ) -> Result<Self, Error> {
        Ok(Self {
            weight: scope.take_matrix(input, output)?,
            bias: None,
        })
    }

    /// What it is made of, for operations that run it among others.
    pub(super) fn parts(&self) -> (&Matrix, Option<&Tensor<1>>) {
        (&self.weight, self.bias.as_ref())
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>, then: Then) -> Tensor<2> {
        ops::linear(x, &self.weight, self.bias.as_ref(), then)
    }

    /// A map to one of other channels.
    pub(super) fn turned(&self, x: Map, then: Then) -> Map {
        x.turned(|x| x.with(self.forward(x.data.clone(), then)))
    }
}

/// Layer normalisation over channels.
pub(super) struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f32,
}

impl LayerNorm {
    pub(super) fn new(channels: usize, eps: f32, scope: &mut Scope) -> Result<Self, Error> {
        Ok(Self {
            weight: scope.take("weight", [channels])?,
            bias: scope.take("bias", [channels])?,
            eps,
        })
    }

    /// `[rows, channels]` to the same.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// A depthwise convolution with bias, padded by half of its kernel.
pub(super) fn depthwise(
    input: usize,
    output: usize,
    kernel: [usize; 2],
    stride: usize,
    scope: &mut Scope,
) -> Result<Depthwise, Error> {
    let multiplier = output / input;
    let weight = scope.take("weight", [multiplier, kernel[0] * kernel[1], input])?;
    let bias = scope.take("bias", [multiplier, input])?;
    Ok(Depthwise::new(weight, bias, kernel).with_stride(stride))
}

/// Two dense layers with an activation between.
pub(super) struct Mlp {
    first: Linear,
    second: Linear,
    act: Activation,
}

impl Mlp {
    pub(super) fn new(
        channels: usize,
        hidden: usize,
        act: Activation,
        scope: &mut Scope,
    ) -> Result<Self, Error> {
        Ok(Self {
            first: Linear::new(channels, hidden, &mut scope.at("fc1"))?,
            second: Linear::new(hidden, channels, &mut scope.at("fc2"))?,
            act,
        })
    }

    /// This network behind a depthwise convolution.
    pub(super) fn behind<'a>(&'a self, depthwise: &'a Depthwise) -> ConvFfn<'a> {
        ConvFfn {
            depthwise,
            first: self.first.parts(),
            act: self.act,
            second: self.second.parts(),
        }
    }

    /// `residual + mlp(x)`, all `[rows, channels]`.
    pub(super) fn forward(&self, x: Tensor<2>, residual: Tensor<2>) -> Tensor<2> {
        let hidden = self.first.forward(x, Then::Act(self.act));
        self.second.forward(hidden, Then::Add(residual))
    }
}

/// Squeeze and excitation: channels scaled by a gate made of their own means, then GELU.
/// <https://arxiv.org/abs/1709.01507>
pub(super) struct SqueezeExcite {
    reduce: Linear,
    expand: Linear,
}

impl SqueezeExcite {
    pub(super) fn new(channels: usize, reduced: usize, scope: &mut Scope) -> Result<Self, Error> {
        Ok(Self {
            reduce: Linear::new(channels, reduced, &mut scope.at("reduce").exact())?,
            expand: Linear::new(reduced, channels, &mut scope.at("expand").exact())?,
        })
    }

    pub(super) fn forward(&self, x: Map, act: bool) -> Map {
        let squeezed = activation::relu(self.reduce.forward(ops::means(&x), Then::Nothing));
        let gate = activation::sigmoid(self.expand.forward(squeezed, Then::Nothing));
        ops::scale_channels(x, gate, act)
    }
}

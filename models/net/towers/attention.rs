//! Multi-headed self-attention over the tokens of each image or text.

use burn::tensor::Tensor;

use super::layers::Linear;
use crate::error::Error;
use crate::net::ops::{self, Sequences, Then};
use crate::net::weights::Scope;

/// Self-attention with queries, keys and values from one projection.
/// <https://arxiv.org/abs/1706.03762>
pub(super) struct Attention {
    qkv: Linear,
    output: Linear,
    channels: usize,
    heads: usize,
}

impl Attention {
    pub(super) fn new(channels: usize, heads: usize, scope: &mut Scope) -> Result<Self, Error> {
        Ok(Self {
            qkv: Linear::new(channels, 3 * channels, &mut scope.at("qkv"))?,
            output: Linear::new(channels, channels, &mut scope.at("proj"))?,
            channels,
            heads,
        })
    }

    /// `residual + attention(x)`, both `[rows, channels]`.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        residual: Tensor<2>,
        sequences: &Sequences,
    ) -> Tensor<2> {
        let qkv = self.qkv.forward(x, Then::Nothing);
        let mixed = ops::attention(qkv, sequences, self.heads);
        self.output.forward(mixed, Then::Add(residual))
    }

    /// The same of one row of each sequence, which sees all of it: `x [rows, channels]`, `residual`
    /// and the result `[sequences, channels]`; `places` are the rows' numbers.
    pub(super) fn forward_one(
        &self,
        x: Tensor<2>,
        residual: Tensor<2>,
        sequences: &Sequences,
        places: &[usize],
    ) -> Tensor<2> {
        let queries = self.project(0, 1, ops::rows(x.clone(), places));
        let keys_values = self.project(1, 2, x);
        let mixed = ops::attention_of_one(queries, keys_values, sequences, self.heads, None);
        self.output.forward(mixed, Then::Add(residual))
    }

    /// So many of queries, keys and values, from one of them on.
    fn project(&self, first: usize, count: usize, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = self.qkv.parts();
        let (first, count) = (first * self.channels, count * self.channels);
        let Some(weight) = weight.columns(first..first + count) else {
            let all = ops::linear(x, weight, bias, Then::Nothing);
            return all.narrow(1, first, count);
        };
        let bias = bias.map(|bias| bias.clone().narrow(0, first, count));
        ops::linear(x, &weight, bias.as_ref(), Then::Nothing)
    }
}

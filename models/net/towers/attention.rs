//! Multi-headed self-attention over the tokens of each image or text.

use burn::tensor::{Tensor, activation};

use super::layers::Linear;
use crate::error::Error;
use crate::net::ops::Then;
use crate::net::weights::Scope;

/// Self-attention with queries, keys and values from one projection.
/// <https://arxiv.org/abs/1706.03762>
pub(super) struct Attention {
    qkv: Linear,
    output: Linear,
    heads: usize,
}

impl Attention {
    pub(super) fn new(channels: usize, heads: usize, scope: &mut Scope) -> Result<Self, Error> {
        Ok(Self {
            qkv: Linear::new(channels, 3 * channels, &mut scope.at("qkv"))?,
            output: Linear::new(channels, channels, &mut scope.at("proj"))?,
            heads,
        })
    }

    /// `residual + attention(x)`, both `[n * tokens, channels]`; `mask` `[tokens, tokens]` is added
    /// to the scores.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        residual: Tensor<2>,
        tokens: usize,
        mask: Option<&Tensor<2>>,
    ) -> Tensor<2> {
        let [rows, channels] = x.dims();
        let (n, head) = (rows / tokens, channels / self.heads);
        let qkv = self
            .qkv
            .forward(x, Then::Nothing)
            .reshape([n, tokens, 3, self.heads, head]);
        let part = |i: usize| {
            let part = qkv
                .clone()
                .narrow(2, i, 1)
                .reshape([n, tokens, self.heads, head]);
            part.permute([0, 2, 1, 3])
        };
        let scores = (part(0) * (head as f32).powf(-0.5)).matmul(part(1).transpose());
        let scores = match mask {
            Some(mask) => scores + mask.clone().unsqueeze::<4>(),
            None => scores,
        };
        let mixed: Tensor<4> = activation::softmax(scores, 3).matmul(part(2));
        let mixed = mixed.permute([0, 2, 1, 3]).reshape([rows, channels]);
        self.output.forward(mixed, Then::Add(residual))
    }
}

//! Attention pooling: one learnt query attends to all tokens of an image, then a feed-forward
//! network. SigLIP's, <https://arxiv.org/abs/2303.15343>, after <https://arxiv.org/abs/2106.04560>.

use burn::tensor::Tensor;

use super::block::BlockSizes;
use super::layers::{LayerNorm, Linear, Mlp};
use crate::error::Error;
use crate::net::ops::{self, Sequences, Then};
use crate::net::weights::Scope;

/// From all tokens to one vector.
pub(super) struct AttentionPool {
    /// `[1, heads, 1, head]`, projected and scaled.
    query: Tensor<4>,
    keys_values: Linear,
    output: Linear,
    norm: LayerNorm,
    mlp: Mlp,
}

impl AttentionPool {
    pub(super) fn new(sizes: BlockSizes, scope: &mut Scope) -> Result<Self, Error> {
        let BlockSizes {
            width,
            heads,
            hidden,
            norm_eps,
            activation,
        } = sizes;
        Ok(Self {
            query: scope.take("query", [1, heads, 1, width / heads])?,
            keys_values: Linear::new(width, 2 * width, &mut scope.at("kv"))?,
            output: Linear::new(width, width, &mut scope.at("proj"))?,
            norm: LayerNorm::new(width, norm_eps, &mut scope.at("norm"))?,
            mlp: Mlp::new(width, hidden, activation.into(), scope)?,
        })
    }

    /// `[rows, width]` to `[sequences, width]`.
    pub(super) fn forward(&self, x: Tensor<2>, sequences: &Sequences) -> Tensor<2> {
        let [_, heads, _, head] = self.query.dims();
        let query = self.query.clone().reshape([1, heads * head]);
        let queries = query.repeat_dim(0, sequences.count());
        let keys_values = self.keys_values.forward(x, Then::Nothing);
        let mixed = ops::attention_of_one(queries, keys_values, sequences, heads, Some(1.0));
        let pooled = self.output.forward(mixed, Then::Nothing);
        self.mlp.forward(self.norm.forward(pooled.clone()), pooled)
    }
}

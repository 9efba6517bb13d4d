//! The block that transformers for images and for texts are made of.

use burn::tensor::Tensor;

use super::attention::Attention;
use super::layers::{LayerNorm, Mlp};
use crate::config::Activation;
use crate::error::Error;
use crate::net::ops::{self, Sequences};
use crate::net::weights::Scope;

/// What the blocks of one transformer have in common.
#[derive(Clone, Copy)]
pub(super) struct BlockSizes {
    /// Channels of a token.
    pub(super) width: usize,
    /// Attention heads.
    pub(super) heads: usize,
    /// Hidden channels of the feed-forward network.
    pub(super) hidden: usize,
    /// Epsilon of the layer norms.
    pub(super) norm_eps: f32,
    /// The activation of the feed-forward network.
    pub(super) activation: Activation,
}

impl BlockSizes {
    /// So many blocks, the parts `blocks.0` and on.
    pub(super) fn blocks(
        self,
        count: usize,
        scope: &mut Scope,
    ) -> Result<Vec<TransformerBlock>, Error> {
        (0..count)
            .map(|i| TransformerBlock::new(self, &mut scope.at(format_args!("blocks.{i}"))))
            .collect()
    }
}

/// Attention and a feed-forward network, each behind a layer norm and beside a skip connection.
pub(super) struct TransformerBlock {
    attention_norm: LayerNorm,
    attention: Attention,
    mlp_norm: LayerNorm,
    mlp: Mlp,
}

impl TransformerBlock {
    fn new(sizes: BlockSizes, scope: &mut Scope) -> Result<Self, Error> {
        let BlockSizes {
            width,
            heads,
            hidden,
            norm_eps,
            activation,
        } = sizes;
        Ok(Self {
            attention_norm: LayerNorm::new(width, norm_eps, &mut scope.at("norm1"))?,
            attention: Attention::new(width, heads, &mut scope.at("attention"))?,
            mlp_norm: LayerNorm::new(width, norm_eps, &mut scope.at("norm2"))?,
            mlp: Mlp::new(width, hidden, activation.into(), scope)?,
        })
    }

    /// `[rows, width]` to the same.
    pub(super) fn forward(&self, x: Tensor<2>, sequences: &Sequences) -> Tensor<2> {
        let normal = self.attention_norm.forward(x.clone());
        let x = self.attention.forward(normal, x, sequences);
        self.mlp.forward(self.mlp_norm.forward(x.clone()), x)
    }

    /// The same where one row of each sequence is wanted, which sees all of it: `[rows, width]` to
    /// `[sequences, width]`; `places` are the rows' numbers.
    fn forward_one(&self, x: Tensor<2>, sequences: &Sequences, places: &[usize]) -> Tensor<2> {
        let one = ops::rows(x.clone(), places);
        let normal = self.attention_norm.forward(x);
        let one = self.attention.forward_one(normal, one, sequences, places);
        self.mlp.forward(self.mlp_norm.forward(one.clone()), one)
    }
}

/// Blocks one after the other, where one row of each sequence is wanted in the end, which sees all
/// of it: `[rows, width]` to `[sequences, width]`; `places` are the rows' numbers. Of the last
/// block only those rows are computed, keys and values aside.
pub(super) fn forward_to_one(
    blocks: &[TransformerBlock],
    x: Tensor<2>,
    sequences: &Sequences,
    places: &[usize],
) -> Tensor<2> {
    let Some((last, blocks)) = blocks.split_last() else {
        return ops::rows(x, places);
    };
    let x = blocks
        .iter()
        .fold(x, |x, block| block.forward(x, sequences));
    last.forward_one(x, sequences, places)
}

//! Sizes of a FastViT image tower.

use serde::{Deserialize, Serialize};

use super::check::{ensure, kernel};
use crate::error::Error;

/// What mixes the tokens of one FastViT stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenMixer {
    /// A reparameterised depthwise convolution.
    RepMixer,
    /// Multi-headed self-attention.
    Attention,
}

/// The normalisation before attention in FastViT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionNorm {
    /// Batch norm (MCi0 to MCi2): folds into the projection after it.
    #[default]
    Batch,
    /// Layer norm over channels, eps 1e-5 (MCi3, MCi4).
    Layer,
}

/// Conditional positional encoding of a FastViT stage: a depthwise convolution with a skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PositionalEncoding {
    /// Height and width of the kernel; square and odd.
    pub spatial_shape: [usize; 2],
}

/// Sizes of a FastViT image tower; lists have one entry a stage.
///
/// FastViT: <https://arxiv.org/abs/2303.14189>, MobileCLIP: <https://arxiv.org/abs/2311.17049>.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FastVitConfig {
    /// Blocks.
    pub layers: Vec<usize>,
    /// Channels.
    pub embed_dims: Vec<usize>,
    /// Hidden channels of the feed-forward network, in multiples of the stage's channels.
    pub mlp_ratios: Vec<usize>,
    /// Whether the stage starts by halving the resolution (it does whenever channels change).
    pub downsamples: Vec<bool>,
    /// Whether that downsampling has squeeze and excitation.
    pub se_downsamples: Vec<bool>,
    /// What mixes tokens.
    pub token_mixers: Vec<TokenMixer>,
    /// Positional encoding, where there is one.
    pub pos_embs: Vec<Option<PositionalEncoding>>,
    /// Kernel of the RepMixer.
    #[serde(default = "three")]
    pub repmixer_kernel_size: usize,
    /// Kernel of the downsampling convolution.
    #[serde(default = "seven")]
    pub down_patch_size: usize,
    /// Whether the large kernel convolution is followed by an activation.
    #[serde(default = "yes")]
    pub lkc_use_act: bool,
    /// Whether the stem's blocks have the 1x1 scale branch.
    #[serde(default = "yes")]
    pub stem_use_scale_branch: bool,
    /// Output channels of the last convolution, in multiples of the last stage's.
    #[serde(default = "two")]
    pub cls_ratio: f32,
    /// Channels of an attention head.
    #[serde(default = "thirty_two")]
    pub attention_head_dim: usize,
    /// Normalisation before attention.
    #[serde(default)]
    pub attention_norm: AttentionNorm,
}

impl FastVitConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        let stages = self.layers.len();
        let lengths = [
            ("embed_dims", self.embed_dims.len()),
            ("mlp_ratios", self.mlp_ratios.len()),
            ("downsamples", self.downsamples.len()),
            ("se_downsamples", self.se_downsamples.len()),
            ("token_mixers", self.token_mixers.len()),
            ("pos_embs", self.pos_embs.len()),
        ];
        ensure((1..=8).contains(&stages), || {
            format!("{stages} stages, expected 1 to 8")
        })?;
        for (name, length) in lengths {
            ensure(length == stages, || {
                format!("{name} has {length} entries, layers has {stages}")
            })?;
        }
        for (i, &dim) in self.embed_dims.iter().enumerate() {
            ensure(dim > 0, || format!("embed_dims[{i}] is 0"))?;
            let previous = self.embed_dims[i.saturating_sub(1)];
            ensure(dim % previous == 0, || {
                format!("embed_dims[{i}] = {dim} is no multiple of the stage before ({previous})")
            })?;
            if self.token_mixers[i] == TokenMixer::Attention {
                let head = self.attention_head_dim;
                ensure(head > 0 && dim % head == 0, || {
                    format!("embed_dims[{i}] = {dim} is no multiple of attention_head_dim {head}")
                })?;
            }
            if let Some(PositionalEncoding {
                spatial_shape: [h, w],
            }) = self.pos_embs[i]
            {
                ensure(h == w, || {
                    format!("pos_embs[{i}] is {h}x{w}, expected a square")
                })?;
                kernel(h, "pos_embs")?;
            }
        }
        kernel(self.repmixer_kernel_size, "repmixer_kernel_size")?;
        kernel(self.down_patch_size, "down_patch_size")?;
        ensure(
            self.cls_ratio >= 1.0 && self.cls_ratio.fract() == 0.0,
            || format!("cls_ratio {} is no whole number", self.cls_ratio),
        )
    }

    /// Whether stage `i` starts by halving the resolution.
    pub(crate) fn downsamples(&self, i: usize) -> bool {
        self.downsamples[i] || self.embed_dims[i] != self.embed_dims[i.saturating_sub(1)]
    }

    /// Channels between the two layers of the squeeze and excitation in the downsampling of stage
    /// `i`: a quarter, rounded to a multiple of eight.
    pub(crate) fn downsampling_reduced(&self, i: usize) -> usize {
        ((self.embed_dims[i] as f32 / 4.0 + 4.0) as usize / 8 * 8).max(8)
    }

    /// Channels after the last convolution.
    pub(crate) fn features(&self) -> usize {
        let width = self.embed_dims[self.embed_dims.len() - 1];
        (width as f32 * self.cls_ratio) as usize
    }

    /// Channels between the two layers of the last squeeze and excitation: a sixteenth, rounded.
    pub(crate) fn last_reduced(&self) -> usize {
        ((self.features() as f32 / 16.0 + 0.5) as usize).max(1)
    }
}

fn yes() -> bool {
    true
}
fn three() -> usize {
    3
}
fn seven() -> usize {
    7
}
fn thirty_two() -> usize {
    32
}
fn two() -> f32 {
    2.0
}

//! Sizes of a plain vision transformer.

use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::check::ensure;
use crate::error::Error;

/// How a plain vision transformer cuts the image into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchEmbedding {
    /// Three convolutions, 4x4/4, 2x2/2 and 2x2/2, with batch norm and GELU after the first two.
    ConvStem,
    /// One convolution of this kernel and stride; as in timm it has a bias where the tokens are not
    /// normalised before the first block.
    Patch(usize),
}

/// How a vision transformer makes one vector of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Pool {
    /// A class token beside the patches', projected.
    #[default]
    #[serde(rename = "token")]
    Class,
    /// One learnt query attends to all patches, then a feed-forward network; no projection.
    #[serde(rename = "map")]
    Attention,
}

/// Sizes of a plain vision transformer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct VitConfig {
    /// How the image becomes tokens.
    pub patch: PatchEmbedding,
    /// Channels of a token.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden channels of the feed-forward network, in multiples of the width.
    pub mlp_ratio: usize,
    /// Whether the tokens are normalised before the first block.
    pub pre_norm: bool,
    /// How its tokens become one vector.
    #[serde(default)]
    pub pool: Pool,
    /// Whether the class token has a positional embedding too.
    pub class_position: bool,
    /// Epsilon of the layer norms.
    pub norm_eps: f32,
    /// The activation of the feed-forward networks.
    #[serde(default, rename = "act")]
    pub activation: Activation,
}

impl VitConfig {
    pub(super) fn check(&self, image_size: usize, embed_dim: usize) -> Result<(), Error> {
        ensure(
            self.heads > 0 && self.width.is_multiple_of(self.heads),
            || {
                format!(
                    "width {} is no multiple of {} heads",
                    self.width, self.heads
                )
            },
        )?;
        ensure(self.width.is_multiple_of(4), || {
            format!("width {} is no multiple of 4", self.width)
        })?;
        if self.pool == Pool::Attention {
            ensure(self.width == embed_dim, || {
                format!(
                    "width {} is not embed_dim {embed_dim}, and attention pooling has no projection",
                    self.width
                )
            })?;
            ensure(!self.class_position, || {
                "class_position is true, and attention pooling has no class token".into()
            })?;
        }
        let patch = self.patch_size();
        ensure(patch > 0 && image_size.is_multiple_of(patch), || {
            format!("image_size {image_size} is no multiple of the patch {patch}")
        })
    }

    /// Side of a patch in pixels.
    pub(crate) fn patch_size(&self) -> usize {
        match self.patch {
            PatchEmbedding::ConvStem => 16,
            PatchEmbedding::Patch(size) => size,
        }
    }
}

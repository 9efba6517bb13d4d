//! Sizes of a text tower.

use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::check::{ensure, kernel};
use crate::error::Error;

/// Entries of the vocabulary of CLIP's tokenizer.
pub(crate) const CLIP_VOCABULARY: usize = 49_408;

/// The largest vocabulary of a tokenizer beside the weights.
const MOST_VOCABULARY: usize = 1 << 20;

/// How a text becomes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextTokenizer {
    /// CLIP's, which is part of the program.
    #[default]
    Clip,
    /// The `tokenizer.json` beside the weights, of texts without punctuation and capitals, as SigLIP's.
    File,
}

/// Which token a text's embedding is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum TextPool {
    /// The first end token, whose id is the highest.
    #[default]
    #[serde(rename = "argmax")]
    End,
    /// The last, padding or not.
    #[serde(rename = "last")]
    Last,
}

/// Sizes of a text tower: CLIP's transformer, causal or not.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TextConfig {
    /// Tokens of a text, padding included.
    pub context_length: usize,
    /// How a text becomes tokens.
    #[serde(default)]
    pub tokenizer: TextTokenizer,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Channels of the vocabulary's table, where they are fewer than those of a token.
    #[serde(default)]
    pub token_width: Option<usize>,
    /// Whether their embeddings are kept in half precision: large vocabularies are most of a model.
    #[serde(default)]
    pub half_precision_tokens: bool,
    /// Channels of a token.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Hidden channels of the feed-forward network, in multiples of the width.
    #[serde(default = "four")]
    pub mlp_ratio: f32,
    /// Whether a token sees only those before it.
    pub causal: bool,
    /// The activation of the feed-forward networks.
    #[serde(default, rename = "act")]
    pub activation: Activation,
    /// Epsilon of the layer norms.
    #[serde(default = "hundred_thousandth")]
    pub norm_eps: f32,
    /// Which token the embedding is taken from.
    #[serde(default)]
    pub pool: TextPool,
    /// Whether the projection of that token has a bias.
    #[serde(default, rename = "proj_bias")]
    pub projection_bias: bool,
    /// Kernel of the RepMixer blocks around the transformer (MobileCLIP-S0 of the first generation).
    #[serde(default)]
    pub repmixer_kernel_size: Option<usize>,
}

impl TextConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        ensure((2..=4096).contains(&self.context_length), || {
            format!(
                "context_length {} is not between 2 and 4096",
                self.context_length
            )
        })?;
        match self.tokenizer {
            TextTokenizer::Clip => ensure(self.vocab_size == CLIP_VOCABULARY, || {
                format!(
                    "vocab_size {} is not that of CLIP's tokenizer ({CLIP_VOCABULARY})",
                    self.vocab_size
                )
            })?,
            TextTokenizer::File => {
                ensure((1..=MOST_VOCABULARY).contains(&self.vocab_size), || {
                    format!(
                        "vocab_size {} is not between 1 and {MOST_VOCABULARY}",
                        self.vocab_size
                    )
                })?
            }
        }
        ensure(self.token_width.is_none_or(|width| width > 0), || {
            "token_width is 0".into()
        })?;
        ensure(self.width > 0 && self.hidden() > 0, || {
            format!(
                "text width {} with mlp_ratio {} leaves no channels",
                self.width, self.mlp_ratio
            )
        })?;
        ensure(
            self.heads > 0 && self.width.is_multiple_of(self.heads),
            || {
                format!(
                    "text width {} is no multiple of {} heads",
                    self.width, self.heads
                )
            },
        )?;
        if let Some(size) = self.repmixer_kernel_size {
            kernel(size, "repmixer_kernel_size")?;
        }
        Ok(())
    }

    /// Whether tokens behind the first end token change nothing.
    pub(crate) fn reads_to_the_end_only(&self) -> bool {
        self.causal && self.repmixer_kernel_size.is_none() && self.pool == TextPool::End
    }

    /// Hidden channels of the feed-forward network.
    pub(crate) fn hidden(&self) -> usize {
        (self.width as f32 * self.mlp_ratio) as usize
    }
}

fn hundred_thousandth() -> f32 {
    1e-5
}
fn four() -> f32 {
    4.0
}

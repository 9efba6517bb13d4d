//! The numbers that make a model: both towers' sizes and the image preprocessing.
//!
//! A published variant's come from its preset; a small model of the same family brings its own as
//! JSON, in the manner of open_clip's model configurations.

mod inverted_residual;
mod joined;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::tokenizer::VOCABULARY_SIZE;

/// The largest vocabulary of a tokenizer beside the weights.
const MOST_VOCABULARY: usize = 1 << 20;

pub(crate) use inverted_residual::InvertedResidualBlock;
pub use inverted_residual::{InvertedResidualConfig, InvertedResidualStage};
pub use joined::{JoinedConfig, PhotographConfig};

/// A whole model: image tower, text tower and the dimension that they share.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ModelConfig {
    /// The architecture's name, as errors show it.
    pub name: String,
    /// Length of the embeddings of both towers.
    pub embed_dim: usize,
    /// The image tower.
    #[serde(rename = "vision_cfg")]
    pub vision: VisionConfig,
    /// The text tower.
    #[serde(rename = "text_cfg")]
    pub text: TextConfig,
    /// Whether it was trained to give each label a probability of its own, sigmoid of scaled cosine
    /// plus a bias, as SigLIP.
    #[serde(default)]
    pub logit_bias: bool,
}

/// The image tower: what it expects and what it is made of.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct VisionConfig {
    /// Preprocessing of the image.
    #[serde(flatten)]
    pub image: ImageConfig,
    /// The layers.
    #[serde(flatten)]
    pub tower: Tower,
}

/// How an image becomes the tower's input: resized to a square, normalised.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ImageConfig {
    /// Side of the square input in pixels.
    #[serde(rename = "image_size")]
    pub size: usize,
    /// Subtracted from each channel after scaling to 0..1.
    pub mean: [f32; 3],
    /// What each channel is then divided by.
    pub std: [f32; 3],
    /// The resampling filter.
    pub interpolation: Interpolation,
    /// How it becomes a square.
    #[serde(default, rename = "resize_mode")]
    pub resize: Resize,
}

/// How an image of any shape becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shortest side to the square's, then the centre of the longer one.
    #[default]
    Shortest,
    /// Both sides to the square's.
    Squash,
}

/// Pillow's antialiased resampling filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// A triangle of support 1.
    Bilinear,
    /// Keys' cubic with a = -0.5, of support 2.
    Bicubic,
}

/// The families of image towers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "family")]
pub enum Tower {
    /// FastViT with the changes of MobileCLIP (`fastvit_mci*` in timm).
    #[serde(rename = "fastvit_mci")]
    FastVit(FastVitConfig),
    /// A plain vision transformer, behind a convolutional or a linear patch embedding.
    #[serde(rename = "vit")]
    Vit(VitConfig),
    /// Two towers in one space, for drawings and for photographs.
    #[serde(rename = "joined")]
    Joined(Box<JoinedConfig>),
}

impl Tower {
    /// Its family in one word, for listings.
    pub fn family(&self) -> &'static str {
        match self {
            Self::FastVit(_) => "FastViT",
            Self::Vit(_) => "ViT",
            Self::Joined(_) => "joined",
        }
    }
}

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

/// The activation between the two layers of a transformer's feed-forward network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU in its exact form, x Phi(x). <https://arxiv.org/abs/1606.08415>
    #[default]
    Gelu,
    /// Its approximation by a hyperbolic tangent.
    GeluTanh,
    /// Its approximation x sigmoid(1.702 x), which OpenAI's CLIP has.
    QuickGelu,
}

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
fn hundred_thousandth() -> f32 {
    1e-5
}
fn two() -> f32 {
    2.0
}
fn four() -> f32 {
    4.0
}

/// What becomes of an image before a tower takes it.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) image: &'a ImageConfig,
    /// What the shortest side becomes before the centre is cut out.
    pub(crate) edge: usize,
}

impl ModelConfig {
    /// Parses and checks a configuration in JSON.
    ///
    /// # Errors
    /// [`Error::BadConfig`] with the place and the reason.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let config: Self =
            serde_json::from_str(json).map_err(|error| Error::BadConfig(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Gives the transformers of both towers another activation.
    pub(crate) fn set_activation(&mut self, activation: Activation) {
        if let Tower::Vit(tower) = &mut self.vision.tower {
            tower.activation = activation;
        }
        self.text.activation = activation;
    }

    /// Checks that sizes fit together, so that building a tower cannot fail on them.
    ///
    /// # Errors
    /// [`Error::BadConfig`] with the first contradiction.
    pub fn check(&self) -> Result<(), Error> {
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        ensure(
            !self.name.is_empty() && self.name.len() <= 64 && self.name.chars().all(named),
            || {
                format!(
                    "name '{}' is not 1 to 64 letters, digits, '-', '_' and '.'",
                    self.name
                )
            },
        )?;
        ensure(self.embed_dim > 0, || "embed_dim is 0".into())?;
        let image = &self.vision.image;
        image.check()?;
        match &self.vision.tower {
            Tower::FastVit(tower) => tower.check()?,
            Tower::Vit(tower) => tower.check(image.size, self.embed_dim)?,
            Tower::Joined(towers) => towers.check(self.embed_dim)?,
        }
        self.text.check()
    }

    /// What becomes of an image for each tower: one entry, or two for joined towers.
    pub(crate) fn inputs(&self) -> Vec<Input<'_>> {
        let whole = |image| Input {
            image,
            edge: image.size,
        };
        let mut inputs = vec![whole(&self.vision.image)];
        if let Tower::Joined(towers) = &self.vision.tower {
            inputs.push(Input {
                image: &towers.photographs.image,
                edge: towers.photographs.edge,
            });
        }
        inputs
    }

    /// Numbers that the text tower gives.
    pub(crate) fn text_dim(&self) -> usize {
        match &self.vision.tower {
            Tower::Joined(towers) => towers.text_dim(),
            _ => self.embed_dim,
        }
    }
}

impl ImageConfig {
    fn check(&self) -> Result<(), Error> {
        ensure((16..=1024).contains(&self.size), || {
            format!("image_size {} is not between 16 and 1024", self.size)
        })?;
        ensure(self.std.iter().all(|std| *std > 0.0), || {
            format!("std {:?} has an entry that is not positive", self.std)
        })
    }
}

impl FastVitConfig {
    fn check(&self) -> Result<(), Error> {
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
}

impl VitConfig {
    fn check(&self, image_size: usize, embed_dim: usize) -> Result<(), Error> {
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

impl TextConfig {
    fn check(&self) -> Result<(), Error> {
        ensure((2..=4096).contains(&self.context_length), || {
            format!(
                "context_length {} is not between 2 and 4096",
                self.context_length
            )
        })?;
        match self.tokenizer {
            TextTokenizer::Clip => ensure(self.vocab_size == VOCABULARY_SIZE, || {
                format!(
                    "vocab_size {} is not that of CLIP's tokenizer ({VOCABULARY_SIZE})",
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

    /// Hidden channels of the feed-forward network.
    pub(crate) fn hidden(&self) -> usize {
        (self.width as f32 * self.mlp_ratio) as usize
    }
}

fn kernel(size: usize, name: &str) -> Result<(), Error> {
    ensure(size % 2 == 1 && size <= 31, || {
        format!("{name} is {size}, expected an odd number up to 31")
    })
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::BadConfig(reason()))
    }
}

//! The numbers that make a model: both towers' sizes and the image preprocessing.
//!
//! A published variant's come from its preset; a small model of the same family brings its own as
//! JSON, in the manner of open_clip's model configurations.

mod activation;
mod check;
mod cost;
mod fastvit;
mod image;
mod inverted_residual;
mod joined;
mod text;
mod vit;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use check::ensure;

pub use activation::Activation;
pub use fastvit::{AttentionNorm, FastVitConfig, PositionalEncoding, TokenMixer};
pub use image::{ImageConfig, Interpolation, Resize};
pub(crate) use inverted_residual::InvertedResidualBlock;
pub use inverted_residual::{InvertedResidualConfig, InvertedResidualStage};
pub use joined::{JoinedConfig, PhotographConfig};
pub(crate) use text::CLIP_VOCABULARY;
pub use text::{TextConfig, TextPool, TextTokenizer};
pub use vit::{PatchEmbedding, Pool, VitConfig};

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

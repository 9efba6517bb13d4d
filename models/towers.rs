//! The towers in their folded, inference-only form: each block holds the few tensors that it needs
//! to run, laid out for the operations in [`crate::ops`], and knows nothing of checkpoints.

mod attention;
mod block;
mod fastvit;
mod layers;
mod pool;
mod table;
mod text;
mod vit;

use burn::tensor::{Device, Tensor};

use crate::config::{ModelConfig, Tower};
use crate::error::Error;
use crate::ops::Map;
use crate::weights::{Scope, Weights};

pub(crate) use fastvit::{downsampling_reduced, last_features, last_reduced};
pub(crate) use text::TextTower;

/// Both towers, the temperature and the bias.
pub(crate) struct Towers {
    pub(crate) image: ImageTower,
    pub(crate) text: TextTower,
    /// Natural logarithm of the factor on cosines.
    pub(crate) logit_scale: f32,
    /// What is added to scaled cosines before a sigmoid, where the model was trained with one.
    pub(crate) logit_bias: Option<f32>,
}

/// An image tower.
pub(crate) enum ImageTower {
    FastVit(Box<fastvit::FastVit>),
    Vit(Box<vit::Vit>),
}

impl Towers {
    /// Puts folded weights onto a device.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::WrongShape`] when the weights are those of another
    /// architecture.
    pub(crate) fn new(
        config: &ModelConfig,
        mut weights: Weights,
        device: &Device,
    ) -> Result<Self, Error> {
        let scale = weights.take::<1>("logit_scale", [1], device)?;
        let bias = config
            .logit_bias
            .then(|| weights.take::<1>("logit_bias", [1], device))
            .transpose()?;
        let mut scope = Scope::new(&mut weights, "image", device);
        let image = match &config.vision.tower {
            Tower::FastVit(tower) => ImageTower::FastVit(Box::new(fastvit::FastVit::new(
                tower,
                config.embed_dim,
                &mut scope,
            )?)),
            Tower::Vit(tower) => {
                let size = config.vision.image.size;
                ImageTower::Vit(Box::new(vit::Vit::new(
                    tower,
                    size,
                    config.embed_dim,
                    &mut scope,
                )?))
            }
        };
        let mut scope = Scope::new(&mut weights, "text", device);
        let text = TextTower::new(&config.text, config.embed_dim, &mut scope)?;
        Ok(Self {
            image,
            text,
            logit_scale: scale.into_scalar::<f32>(),
            logit_bias: bias.map(Tensor::into_scalar::<f32>),
        })
    }
}

impl ImageTower {
    /// Embeds normalised images `[n, side, side, 3]`: `[n, dim]`, of any length.
    pub(crate) fn forward(&self, images: Map) -> Tensor<2> {
        match self {
            Self::FastVit(tower) => tower.forward(images),
            Self::Vit(tower) => tower.forward(images),
        }
    }
}

//! The towers in their folded, inference-only form: each block holds the few tensors that it needs
//! to run, laid out for the operations in [`crate::net::ops`], and knows nothing of checkpoints.

mod attention;
mod block;
mod fastvit;
mod joined;
mod layers;
mod mobilenet;
mod pool;
mod table;
mod text;
mod vit;

use burn::tensor::{DType, Device, Tensor};

use crate::config::{ModelConfig, Tower};
use crate::error::Error;
use crate::net::ops::Map;
use crate::net::weights::{Scope, Weights};
use crate::precision::Precision;

pub(crate) use layers::Linear;
pub(crate) use mobilenet::InvertedResidualNet;
pub(crate) use text::{Text, TextTower};

/// Both towers, the temperature and the bias.
pub(crate) struct Towers {
    image: ImageTower,
    text: TextTower,
    /// Natural logarithm of the factor on cosines.
    pub(crate) logit_scale: f32,
    /// What is added to scaled cosines before a sigmoid, where the model was trained with one.
    pub(crate) logit_bias: Option<f32>,
}

/// An image tower.
enum ImageTower {
    FastVit(Box<fastvit::FastVit>),
    Vit(Box<vit::Vit>),
    Joined(Box<joined::Joined>),
}

impl Towers {
    /// Puts folded weights onto a device, those of matrix products in a precision.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::WrongShape`] when the weights are those of another
    /// architecture.
    pub(crate) fn new(
        config: &ModelConfig,
        mut weights: Weights,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, Error> {
        let mut number = |name: &str| {
            let data = weights.take_data(name, &[1], DType::F32)?;
            Ok::<f32, Error>(data.iter::<f32>().sum())
        };
        let logit_scale = number("logit_scale")?;
        let logit_bias = config
            .logit_bias
            .then(|| number("logit_bias"))
            .transpose()?;
        let mut scope = Scope::new(&mut weights, "image", device).with_precision(precision);
        let image = match &config.vision.tower {
            Tower::FastVit(tower) => ImageTower::FastVit(Box::new(fastvit::FastVit::new(
                tower,
                config.embed_dim,
                &mut scope,
            )?)),
            Tower::Joined(towers) => {
                ImageTower::Joined(Box::new(joined::Joined::new(towers, &mut scope)?))
            }
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
        let mut scope = Scope::new(&mut weights, "text", device).with_precision(precision);
        let text = TextTower::new(&config.text, config.text_dim(), &mut scope)?;
        Ok(Self {
            image,
            text,
            logit_scale,
            logit_bias,
        })
    }

    /// Embeds images, one or two maps of them as [`ModelConfig::inputs`] says: `[n, dim]`, of any
    /// length.
    pub(crate) fn embed_images(&self, mut inputs: Vec<Map>) -> Tensor<2> {
        let second = inputs.pop();
        match (&self.image, inputs.pop(), second) {
            (ImageTower::Joined(towers), Some(first), Some(second)) => {
                towers.forward(first, second)
            }
            (ImageTower::FastVit(tower), None, Some(images)) => tower.forward(images),
            (ImageTower::Vit(tower), None, Some(images)) => tower.forward(images),
            _ => unreachable!("as many maps as the configuration has inputs"),
        }
    }

    /// Embeds texts: `[n, dim]`, of any length.
    pub(crate) fn embed_texts(&self, texts: &[Text]) -> Tensor<2> {
        let embedded = self.text.forward(texts);
        match &self.image {
            ImageTower::Joined(towers) => towers.text(embedded),
            _ => embedded,
        }
    }
}

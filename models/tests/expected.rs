//! Reading what `reference.py` made, and comparing with it.

use std::path::{Path, PathBuf};

use omnizap_models::{Model, PixelView};
use safetensors::SafeTensors;

/// Images and texts with the embeddings that PyTorch gives them in fp32.
pub(crate) struct Expected {
    pub(crate) side: usize,
    /// `[side, side, 3]` bytes each.
    pub(crate) images: Vec<Vec<u8>>,
    pub(crate) texts: Vec<String>,
    pub(crate) image_features: Vec<Vec<f32>>,
    pub(crate) text_features: Vec<Vec<f32>>,
    pub(crate) logit_scale: f32,
}

/// How far two sets of vectors of length 1 are apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Distance {
    pub(crate) cosine: f64,
    pub(crate) difference: f32,
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

impl Expected {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let texts = metadata.metadata().as_ref().unwrap()["texts"]
            .split('\n')
            .map(str::to_owned)
            .collect();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let rows = |name: &str| {
            let tensor = tensors.tensor(name).unwrap();
            let width = *tensor.shape().last().unwrap();
            let values: Vec<f32> = tensor
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            values
                .chunks(width)
                .map(<[f32]>::to_vec)
                .collect::<Vec<_>>()
        };
        let images = tensors.tensor("images").unwrap();
        let side = images.shape()[1];
        Self {
            side,
            images: images
                .data()
                .chunks(side * side * 3)
                .map(<[u8]>::to_vec)
                .collect(),
            texts,
            image_features: rows("image_features"),
            text_features: rows("text_features"),
            logit_scale: rows("logit_scale")[0][0],
        }
    }

    /// Embeds the images and the texts: the worst of each.
    pub(crate) fn compare(&self, model: &Model) -> (Distance, Distance) {
        assert!((model.logit_scale() - self.logit_scale).abs() < 1e-4 * self.logit_scale);
        let pixels: Vec<_> = self
            .images
            .iter()
            .map(|image| model.preprocess(&PixelView::rgb(self.side, self.side, image).unwrap()))
            .collect();
        let images = model.encode_images(&pixels).unwrap();
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        let texts = model.encode_texts(&texts).unwrap();
        (
            distance(&images, &self.image_features),
            distance(&texts, &self.text_features),
        )
    }
}

/// The smallest cosine and the largest difference of one number.
pub(crate) fn distance(a: &[Vec<f32>], b: &[Vec<f32>]) -> Distance {
    assert_eq!(a.len(), b.len());
    let mut worst = Distance {
        cosine: 1.0,
        difference: 0.0,
    };
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.len(), b.len());
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        let difference = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        worst.cosine = worst.cosine.min(cosine);
        worst.difference = worst.difference.max(difference);
    }
    worst
}

impl Distance {
    /// What is asked of every tower in single precision.
    pub(crate) fn assert_equal(&self, what: &str) {
        assert!(
            self.cosine >= 0.99999 && self.difference <= 1e-4,
            "{what}: {self:?}"
        );
    }
}

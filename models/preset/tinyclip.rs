//! TinyCLIP: CLIP made small by inheriting and distilling a larger one's weights.
//!
//! Sizes and accuracies are those that its authors publish
//! (<https://github.com/microsoft/Cream/tree/main/TinyCLIP>).

use super::entry::{Preset, TRANSFORMERS_CONFIG, Weights};
use super::parts::{MIT, OPENAI_MEAN, OPENAI_STD, model, text};
use crate::config::{
    Activation, ImageConfig, Interpolation, ModelConfig, PatchEmbedding, Pool, Resize, TextConfig,
    Tower, VitConfig,
};

/// Small before large.
pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "TinyCLIP-ViT-40M-32-Text-19M",
        weights: &[weights(
            "laion400m",
            "wkcn/TinyCLIP-ViT-40M-32-Text-19M-LAION400M",
            59.8,
        )],
        params_millions: (39.7, 44.5),
        licence: MIT,
        described_in: Some(TRANSFORMERS_CONFIG),
        config: || tiny("TinyCLIP-ViT-40M-32-Text-19M", 32),
    },
    Preset {
        name: "TinyCLIP-ViT-39M-16-Text-19M",
        weights: &[weights(
            "yfcc15m",
            "wkcn/TinyCLIP-ViT-39M-16-Text-19M-YFCC15M",
            63.5,
        )],
        params_millions: (38.6, 44.5),
        licence: MIT,
        described_in: Some(TRANSFORMERS_CONFIG),
        config: || tiny("TinyCLIP-ViT-39M-16-Text-19M", 16),
    },
];

/// Weights in the files that transformers publishes.
const fn weights(tag: &'static str, repository: &'static str, accuracy: f32) -> Weights {
    Weights {
        files: &["model.safetensors", "pytorch_model.bin"],
        beside: &[TRANSFORMERS_CONFIG],
        ..super::parts::weights(tag, repository, accuracy)
    }
}

fn tiny(name: &str, patch: usize) -> ModelConfig {
    let image = ImageConfig {
        size: 224,
        mean: OPENAI_MEAN,
        std: OPENAI_STD,
        interpolation: Interpolation::Bicubic,
        resize: Resize::Shortest,
    };
    let tower = Tower::Vit(VitConfig {
        patch: PatchEmbedding::Patch(patch),
        width: 512,
        layers: 12,
        heads: 8,
        mlp_ratio: 4,
        pre_norm: true,
        pool: Pool::Class,
        class_position: true,
        norm_eps: 1e-5,
        activation: Activation::QuickGelu,
    });
    let text = TextConfig {
        layers: 6,
        activation: Activation::QuickGelu,
        ..text(512, true)
    };
    model(name, 512, tower, image, text)
}

//! SigLIP2: image and text towers that were trained to give each pair a probability of its own, on
//! texts of many languages. <https://arxiv.org/abs/2502.14786>
//!
//! Sizes are those of open_clip's model configurations and of timm's `vit_base_patch*_siglip_*`,
//! accuracies those of open_clip's table of results.

use super::entry::{Licence, Preset, TOKENIZER, Weights};
use super::parts::{model, weights};
use crate::config::{
    Activation, ImageConfig, Interpolation, ModelConfig, PatchEmbedding, Pool, Resize, TextConfig,
    TextPool, TextTokenizer, Tower, VitConfig,
};

const APACHE_2: Licence = Licence {
    name: "apache-2.0",
    url: "https://www.apache.org/licenses/LICENSE-2.0",
    summary: "Apache License 2.0: any use, also a commercial one, as long as its notices are kept",
    research_only: false,
};

/// Small before large.
pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "ViT-B-32-SigLIP2-256",
        weights: &[Weights {
            beside: &[TOKENIZER],
            ..weights("webli", "timm/ViT-B-32-SigLIP2-256", 74.0)
        }],
        params_millions: (94.6, 282.3),
        licence: APACHE_2,
        described_in: None,
        // timm gives this one of the two the approximation in its image tower.
        config: || siglip("ViT-B-32-SigLIP2-256", 256, 32, Activation::GeluTanh),
    },
    Preset {
        name: "ViT-B-16-SigLIP2",
        weights: &[Weights {
            beside: &[TOKENIZER],
            ..weights("webli", "timm/ViT-B-16-SigLIP2", 78.2)
        }],
        params_millions: (92.9, 282.3),
        licence: APACHE_2,
        described_in: None,
        config: || siglip("ViT-B-16-SigLIP2", 224, 16, Activation::Gelu),
    },
];

fn siglip(name: &str, size: usize, patch: usize, activation: Activation) -> ModelConfig {
    let image = ImageConfig {
        size,
        mean: [0.5; 3],
        std: [0.5; 3],
        interpolation: Interpolation::Bicubic,
        resize: Resize::Squash,
    };
    let tower = Tower::Vit(VitConfig {
        patch: PatchEmbedding::Patch(patch),
        width: 768,
        layers: 12,
        heads: 12,
        mlp_ratio: 4,
        pre_norm: false,
        pool: Pool::Attention,
        class_position: false,
        norm_eps: 1e-6,
        activation,
    });
    let text = TextConfig {
        context_length: 64,
        tokenizer: TextTokenizer::File,
        vocab_size: 256_000,
        token_width: None,
        half_precision_tokens: true,
        width: 768,
        heads: 12,
        layers: 12,
        mlp_ratio: 4.0,
        causal: false,
        activation: Activation::GeluTanh,
        norm_eps: 1e-6,
        pool: TextPool::Last,
        projection_bias: true,
        repmixer_kernel_size: None,
    };
    ModelConfig {
        logit_bias: true,
        ..model(name, 768, tower, image, text)
    }
}

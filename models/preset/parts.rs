//! What the entries of several families are made of.

use super::entry::{Licence, Weights};
use crate::config::{
    Activation, CLIP_VOCABULARY, ImageConfig, ModelConfig, PatchEmbedding, Pool, TextConfig,
    TextPool, TextTokenizer, Tower, VisionConfig, VitConfig,
};

/// The statistics of OpenAI's CLIP.
pub(super) const OPENAI_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
pub(super) const OPENAI_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

pub(super) const MIT: Licence = Licence {
    name: "mit",
    url: "https://opensource.org/license/mit",
    summary: "MIT licence: any use, also a commercial one, as long as its notice is kept",
    research_only: false,
};

/// The largest image tower, patches of 14 pixels.
pub(super) const VIT_L_14: Tower = Tower::Vit(VitConfig {
    patch: PatchEmbedding::Patch(14),
    width: 1024,
    layers: 24,
    heads: 16,
    mlp_ratio: 4,
    pre_norm: true,
    pool: Pool::Class,
    class_position: true,
    norm_eps: 1e-5,
    activation: Activation::Gelu,
});

/// Weights in the files that open_clip publishes, as the preset describes them.
pub(super) const fn weights(tag: &'static str, repository: &'static str, accuracy: f32) -> Weights {
    Weights {
        tag,
        repository,
        files: &["open_clip_model.safetensors", "open_clip_pytorch_model.bin"],
        beside: &[],
        imagenet_zero_shot: accuracy,
        out_of_scope: None,
        adapt: |_| (),
    }
}

pub(super) fn model(
    name: &str,
    embed_dim: usize,
    tower: Tower,
    image: ImageConfig,
    text: TextConfig,
) -> ModelConfig {
    ModelConfig {
        name: name.to_owned(),
        embed_dim,
        vision: VisionConfig { image, tower },
        text,
        logit_bias: false,
    }
}

/// A text transformer of twelve blocks with heads of 64 channels.
pub(super) fn text(width: usize, causal: bool) -> TextConfig {
    TextConfig {
        context_length: 77,
        tokenizer: TextTokenizer::Clip,
        vocab_size: CLIP_VOCABULARY,
        token_width: None,
        half_precision_tokens: false,
        width,
        heads: width / 64,
        layers: 12,
        mlp_ratio: 4.0,
        causal,
        activation: Activation::Gelu,
        norm_eps: 1e-5,
        pool: TextPool::End,
        projection_bias: false,
        repmixer_kernel_size: None,
    }
}

//! CLIP as OpenAI published it, trained anew by LAION and DataComp on public data.
//!
//! Sizes and normalisation are those of open_clip's model and pretrained configurations, accuracies
//! those of its table of results (<https://github.com/mlfoundations/open_clip>).

use super::entry::{OPEN_CLIP_CONFIG, Preset, Weights};
use super::parts::{MIT, OPENAI_MEAN, OPENAI_STD, VIT_L_14, model, text, weights};
use crate::config::{
    Activation, ImageConfig, Interpolation, PatchEmbedding, Pool, Resize, Tower, VitConfig,
};

/// Small before large.
pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "ViT-B-32",
        weights: &[
            carded(
                "datacomp_xl_s13b_b90k",
                "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
                69.2,
            ),
            carded(
                "laion2b_s34b_b79k",
                "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
                66.6,
            ),
            openai("timm/vit_base_patch32_clip_224.openai", 63.3),
        ],
        params_millions: (87.9, 63.4),
        licence: MIT,
        described_in: Some(OPEN_CLIP_CONFIG),
        config: || model("ViT-B-32", 512, vit_base(32), image(224), text(512, true)),
    },
    Preset {
        name: "ViT-B-32-256",
        weights: &[carded(
            "datacomp_s34b_b86k",
            "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
            72.8,
        )],
        params_millions: (87.9, 63.4),
        licence: MIT,
        described_in: Some(OPEN_CLIP_CONFIG),
        config: || {
            model(
                "ViT-B-32-256",
                512,
                vit_base(32),
                image(256),
                text(512, true),
            )
        },
    },
    Preset {
        name: "ViT-B-16",
        weights: &[
            carded(
                "datacomp_xl_s13b_b90k",
                "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
                73.5,
            ),
            carded(
                "laion2b_s34b_b88k",
                "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
                70.2,
            ),
            openai("timm/vit_base_patch16_clip_224.openai", 68.3),
        ],
        params_millions: (86.2, 63.4),
        licence: MIT,
        described_in: Some(OPEN_CLIP_CONFIG),
        config: || model("ViT-B-16", 512, vit_base(16), image(224), text(512, true)),
    },
    Preset {
        name: "ViT-L-14",
        weights: &[
            carded(
                "datacomp_xl_s13b_b90k",
                "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
                79.2,
            ),
            Weights {
                // The only one of these that was trained on other statistics.
                adapt: |config| {
                    config.vision.image.mean = [0.5; 3];
                    config.vision.image.std = [0.5; 3];
                },
                ..carded(
                    "laion2b_s32b_b82k",
                    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
                    75.3,
                )
            },
            openai("timm/vit_large_patch14_clip_224.openai", 75.5),
        ],
        params_millions: (304.0, 123.7),
        licence: MIT,
        described_in: Some(OPEN_CLIP_CONFIG),
        config: || model("ViT-L-14", 768, VIT_L_14, image(224), text(768, true)),
    },
];

/// Weights whose card has OpenAI's section on what is out of scope.
const fn carded(tag: &'static str, repository: &'static str, accuracy: f32) -> Weights {
    Weights {
        out_of_scope: Some(
            "Any deployed use case of the model - whether commercial or not - is currently out of \
             scope.",
        ),
        ..weights(tag, repository, accuracy)
    }
}

/// OpenAI's own weights, which have another activation than those trained anew.
const fn openai(repository: &'static str, accuracy: f32) -> Weights {
    Weights {
        adapt: |config| config.set_activation(Activation::QuickGelu),
        ..carded("openai", repository, accuracy)
    }
}

const fn image(size: usize) -> ImageConfig {
    ImageConfig {
        size,
        mean: OPENAI_MEAN,
        std: OPENAI_STD,
        interpolation: Interpolation::Bicubic,
        resize: Resize::Shortest,
    }
}

fn vit_base(patch: usize) -> Tower {
    Tower::Vit(VitConfig {
        patch: PatchEmbedding::Patch(patch),
        width: 768,
        layers: 12,
        heads: 12,
        mlp_ratio: 4,
        pre_norm: true,
        pool: Pool::Class,
        class_position: true,
        norm_eps: 1e-5,
        activation: Activation::Gelu,
    })
}

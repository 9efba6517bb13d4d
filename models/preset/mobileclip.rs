//! MobileCLIP in both generations, for research only.
//!
//! Sizes are those of timm's `fastvit_mci*`, `vit_base_mci_224` and `vit_large_patch14_clip_224`
//! and of open_clip's model configurations; accuracies and parameter counts those that the authors
//! publish with the weights (<https://github.com/apple/ml-mobileclip>).

use super::entry::{Licence, Preset, Weights};
use super::parts::{OPENAI_MEAN, OPENAI_STD, VIT_L_14, model, text, weights};
use crate::config::{
    Activation, AttentionNorm, FastVitConfig, ImageConfig, Interpolation, PatchEmbedding, Pool,
    PositionalEncoding, Resize, TextConfig, TokenMixer, Tower, VitConfig,
};

const APPLE_AMLR: Licence = Licence {
    name: "apple-amlr",
    url: "https://github.com/apple/ml-mobileclip/blob/main/LICENSE_weights_data",
    summary: "Apple Machine Learning Research Model licence: for research purposes only, no \
              commercial use of the weights or of what is derived from them",
    research_only: true,
};

/// The first generation first, small before large.
pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "MobileCLIP-S0",
        weights: &[Weights {
            files: &["mobileclip_s0.pt"],
            ..weights("datacompdr", "apple/MobileCLIP-S0", 67.8)
        }],
        params_millions: (11.4, 42.4),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            let text = TextConfig {
                layers: 4,
                repmixer_kernel_size: Some(11),
                ..text(512, false)
            };
            model(
                "MobileCLIP-S0",
                512,
                mci(&[2, 6, 10, 2], 64),
                PLAIN_256,
                text,
            )
        },
    },
    Preset {
        name: "MobileCLIP-S1",
        weights: &[weights("datacompdr", "apple/MobileCLIP-S1-OpenCLIP", 72.6)],
        params_millions: (21.5, 63.4),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            let tower = mci(&[4, 12, 20, 4], 64);
            model("MobileCLIP-S1", 512, tower, PLAIN_256, text(512, false))
        },
    },
    Preset {
        name: "MobileCLIP-S2",
        weights: &[weights("datacompdr", "apple/MobileCLIP-S2-OpenCLIP", 74.4)],
        params_millions: (35.7, 63.4),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            let tower = mci(&[4, 12, 24, 4], 80);
            model("MobileCLIP-S2", 512, tower, PLAIN_256, text(512, false))
        },
    },
    Preset {
        name: "MobileCLIP-B",
        weights: &[
            weights("datacompdr", "apple/MobileCLIP-B-OpenCLIP", 76.8),
            weights("datacompdr_lt", "apple/MobileCLIP-B-LT-OpenCLIP", 77.2),
        ],
        params_millions: (86.3, 63.4),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            model(
                "MobileCLIP-B",
                512,
                VIT_B_HYBRID,
                PLAIN_224,
                text(512, true),
            )
        },
    },
    Preset {
        name: "MobileCLIP2-S0",
        weights: &[weights("dfndr2b", "timm/MobileCLIP2-S0-OpenCLIP", 71.5)],
        params_millions: (11.4, 63.4),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            let tower = mci(&[2, 6, 10, 2], 64);
            model("MobileCLIP2-S0", 512, tower, PLAIN_256, text(512, false))
        },
    },
    Preset {
        name: "MobileCLIP2-S2",
        weights: &[weights("dfndr2b", "timm/MobileCLIP2-S2-OpenCLIP", 77.2)],
        params_millions: (35.7, 63.4),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            let tower = mci(&[4, 12, 24, 4], 80);
            model("MobileCLIP2-S2", 512, tower, PLAIN_256, text(512, false))
        },
    },
    Preset {
        name: "MobileCLIP2-B",
        weights: &[weights("dfndr2b", "timm/MobileCLIP2-B-OpenCLIP", 79.4)],
        params_millions: (86.3, 63.4),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            model(
                "MobileCLIP2-B",
                512,
                VIT_B_HYBRID,
                PLAIN_224,
                text(512, true),
            )
        },
    },
    Preset {
        name: "MobileCLIP2-S3",
        weights: &[weights("dfndr2b", "timm/MobileCLIP2-S3-OpenCLIP", 80.7)],
        params_millions: (125.1, 123.6),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            let tower = mci_five_stages(&[2, 12, 24, 4, 2], 96);
            model("MobileCLIP2-S3", 768, tower, OPENAI_256, text(768, false))
        },
    },
    Preset {
        name: "MobileCLIP2-S4",
        weights: &[weights("dfndr2b", "timm/MobileCLIP2-S4-OpenCLIP", 81.9)],
        params_millions: (321.6, 123.6),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            let tower = mci_five_stages(&[2, 12, 24, 4, 4], 128);
            model("MobileCLIP2-S4", 768, tower, OPENAI_256, text(768, false))
        },
    },
    Preset {
        name: "MobileCLIP2-L-14",
        weights: &[weights("dfndr2b", "timm/MobileCLIP2-L-14-OpenCLIP", 81.9)],
        params_millions: (304.3, 123.6),
        licence: APPLE_AMLR,
        described_in: None,
        config: || {
            let image = ImageConfig {
                size: 224,
                interpolation: Interpolation::Bicubic,
                ..OPENAI_256
            };
            model("MobileCLIP2-L-14", 768, VIT_L_14, image, text(768, false))
        },
    },
];

/// The image as it is, in 0..1.
const PLAIN_256: ImageConfig = ImageConfig {
    size: 256,
    mean: [0.0; 3],
    std: [1.0; 3],
    interpolation: Interpolation::Bilinear,
    resize: Resize::Shortest,
};

const PLAIN_224: ImageConfig = ImageConfig {
    size: 224,
    ..PLAIN_256
};

const OPENAI_256: ImageConfig = ImageConfig {
    mean: OPENAI_MEAN,
    std: OPENAI_STD,
    ..PLAIN_256
};

const VIT_B_HYBRID: Tower = Tower::Vit(VitConfig {
    patch: PatchEmbedding::ConvStem,
    width: 768,
    layers: 12,
    heads: 12,
    mlp_ratio: 4,
    pre_norm: false,
    pool: Pool::Class,
    class_position: false,
    norm_eps: 1e-6,
    activation: Activation::Gelu,
});

/// MCi0 to MCi2: four stages, the last with attention, squeeze and excitation on the way to the
/// last two.
fn mci(layers: &[usize; 4], width: usize) -> Tower {
    use TokenMixer::{Attention, RepMixer};
    Tower::FastVit(FastVitConfig {
        layers: layers.to_vec(),
        embed_dims: (0..4).map(|stage| width << stage).collect(),
        mlp_ratios: vec![3; 4],
        downsamples: vec![false, true, true, true],
        se_downsamples: vec![false, false, true, true],
        token_mixers: vec![RepMixer, RepMixer, RepMixer, Attention],
        pos_embs: vec![None, None, None, Some(SEVEN_BY_SEVEN)],
        repmixer_kernel_size: 3,
        down_patch_size: 7,
        lkc_use_act: true,
        stem_use_scale_branch: true,
        cls_ratio: 2.0,
        attention_head_dim: 32,
        attention_norm: AttentionNorm::Batch,
    })
}

/// MCi3 and MCi4: five stages, the last two with attention behind a layer norm.
fn mci_five_stages(layers: &[usize; 5], width: usize) -> Tower {
    use TokenMixer::{Attention, RepMixer};
    Tower::FastVit(FastVitConfig {
        layers: layers.to_vec(),
        embed_dims: (0..5).map(|stage| width << stage).collect(),
        mlp_ratios: vec![4; 5],
        downsamples: vec![false, true, true, true, true],
        se_downsamples: vec![false; 5],
        token_mixers: vec![RepMixer, RepMixer, RepMixer, Attention, Attention],
        pos_embs: vec![None, None, None, Some(SEVEN_BY_SEVEN), Some(SEVEN_BY_SEVEN)],
        repmixer_kernel_size: 3,
        down_patch_size: 7,
        lkc_use_act: true,
        stem_use_scale_branch: false,
        cls_ratio: 2.0,
        attention_head_dim: 32,
        attention_norm: AttentionNorm::Layer,
    })
}

const SEVEN_BY_SEVEN: PositionalEncoding = PositionalEncoding {
    spatial_shape: [7, 7],
};

//! FastViT with the changes of MobileCLIP: a convolutional stem, stages of RepMixer or attention
//! blocks, a last convolution and a projection. <https://arxiv.org/abs/2303.14189>

use burn::tensor::Tensor;

use super::attention::Attention;
use super::layers::{LayerNorm, Linear, Mlp, SqueezeExcite, depthwise};
use crate::config::{AttentionNorm, FastVitConfig, TokenMixer};
use crate::error::Error;
use crate::net::ops::{
    self, Activation, Depthwise, Map, Padding, Separable, Sequences, Then, Widen, Window,
};
use crate::net::weights::Scope;

/// The image tower.
pub(crate) struct FastVit {
    stem: Stem,
    stages: Vec<Stage>,
    last: Depthwise,
    squeeze: SqueezeExcite,
    head: Linear,
}

impl FastVit {
    pub(super) fn new(
        config: &FastVitConfig,
        embed_dim: usize,
        scope: &mut Scope,
    ) -> Result<Self, Error> {
        let stages = (0..config.layers.len())
            .map(|i| Stage::new(config, i, &mut scope.at(format_args!("stages.{i}"))))
            .collect::<Result<_, _>>()?;
        let width = config.embed_dims[config.embed_dims.len() - 1];
        let features = config.features();
        Ok(Self {
            stem: Stem::new(config.embed_dims[0], &mut scope.at("stem"))?,
            stages,
            last: depthwise(width, features, [3, 3], 1, &mut scope.at("last"))?,
            squeeze: SqueezeExcite::new(features, config.last_reduced(), &mut scope.at("last.se"))?,
            head: Linear::new(features, embed_dim, &mut scope.at("head").exact())?,
        })
    }

    /// `[n, side, side, 3]` to `[n, embed_dim]`.
    pub(super) fn forward(&self, images: Map) -> Tensor<2> {
        let x = self.stem.forward(images);
        let x = self.stages.iter().fold(x, |x, stage| stage.forward(x));
        let x = x.turned(|x| ops::depthwise(x, &self.last, Activation::Nothing));
        let x = self.squeeze.forward(x, true);
        let means = ops::means(&x);
        x.leave();
        self.head.forward(means, Then::Nothing)
    }
}

/// Two strided 3x3 convolutions, dense and depthwise, and a 1x1 convolution: a quarter of the
/// resolution.
struct Stem {
    dense: Linear,
    depthwise: Depthwise,
    point: Linear,
}

impl Stem {
    fn new(width: usize, scope: &mut Scope) -> Result<Self, Error> {
        Ok(Self {
            dense: Linear::new(3 * 3 * 3, width, &mut scope.at("0").exact())?,
            depthwise: depthwise(width, width, [3, 3], 2, &mut scope.at("1"))?,
            point: Linear::new(width, width, &mut scope.at("2"))?,
        })
    }

    fn forward(&self, images: Map) -> Map {
        let window = Window {
            kernel: 3,
            stride: 2,
            padding: Padding::Half,
        };
        let stem = Separable {
            widen: Widen::Dense(window, self.dense.parts()),
            depthwise: &self.depthwise,
            project: self.point.parts(),
            acts: [Activation::Gelu; 3],
            residual: false,
        };
        images.turned(|images| ops::separable(images, &stem))
    }
}

/// Blocks of one resolution.
struct Stage {
    downsample: Option<Downsample>,
    position: Option<Depthwise>,
    blocks: Vec<Block>,
}

impl Stage {
    fn new(config: &FastVitConfig, i: usize, scope: &mut Scope) -> Result<Self, Error> {
        let width = config.embed_dims[i];
        let downsample = config
            .downsamples(i)
            .then(|| Downsample::new(config, i, &mut scope.at("downsample")))
            .transpose()?;
        let position = config.pos_embs[i]
            .map(|encoding| {
                depthwise(
                    width,
                    width,
                    encoding.spatial_shape,
                    1,
                    &mut scope.at("position"),
                )
            })
            .transpose()?;
        let blocks = (0..config.layers[i])
            .map(|block| Block::new(config, i, &mut scope.at(format_args!("blocks.{block}"))))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            downsample,
            position,
            blocks,
        })
    }

    fn forward(&self, x: Map) -> Map {
        let x = match &self.downsample {
            Some(downsample) => x.turned(|x| downsample.forward(x)),
            None => x,
        };
        let x = match &self.position {
            Some(position) => x.turned(|x| ops::depthwise(x, position, Activation::Nothing)),
            None => x,
        };
        self.blocks.iter().fold(x, |x, block| block.forward(x))
    }
}

/// A large strided depthwise convolution and a 1x1 convolution: half the resolution.
struct Downsample {
    large: Depthwise,
    squeeze: Option<SqueezeExcite>,
    act: bool,
    point: Linear,
}

impl Downsample {
    fn new(config: &FastVitConfig, i: usize, scope: &mut Scope) -> Result<Self, Error> {
        let (before, width) = (config.embed_dims[i.saturating_sub(1)], config.embed_dims[i]);
        let squeeze = config.se_downsamples[i]
            .then(|| SqueezeExcite::new(width, config.downsampling_reduced(i), &mut scope.at("se")))
            .transpose()?;
        Ok(Self {
            large: depthwise(
                before,
                width,
                [config.down_patch_size; 2],
                2,
                &mut scope.at("large"),
            )?,
            squeeze,
            act: config.lkc_use_act,
            point: Linear::new(width, width, &mut scope.at("point"))?,
        })
    }

    fn forward(&self, x: &Map) -> Map {
        let x = match &self.squeeze {
            Some(squeeze) => {
                let x = ops::depthwise(x, &self.large, Activation::Nothing);
                squeeze.forward(x, self.act)
            }
            None => {
                let act = if self.act {
                    Activation::Gelu
                } else {
                    Activation::Nothing
                };
                ops::depthwise(x, &self.large, act)
            }
        };
        self.point.turned(x, Then::GELU)
    }
}

/// A token mixer and a convolutional feed-forward network.
struct Block {
    mixer: Mixer,
    spatial: Depthwise,
    mlp: Mlp,
}

/// What mixes tokens, its skip connection included.
enum Mixer {
    RepMixer(Depthwise),
    Attention {
        norm: Option<LayerNorm>,
        attention: Box<Attention>,
    },
}

impl Block {
    fn new(config: &FastVitConfig, i: usize, scope: &mut Scope) -> Result<Self, Error> {
        let width = config.embed_dims[i];
        let mixer = match config.token_mixers[i] {
            TokenMixer::RepMixer => {
                let kernel = [config.repmixer_kernel_size; 2];
                Mixer::RepMixer(depthwise(width, width, kernel, 1, &mut scope.at("mixer"))?)
            }
            TokenMixer::Attention => {
                let norm = match config.attention_norm {
                    AttentionNorm::Batch => None,
                    AttentionNorm::Layer => {
                        Some(LayerNorm::new(width, 1e-5, &mut scope.at("norm"))?)
                    }
                };
                let heads = width / config.attention_head_dim;
                Mixer::Attention {
                    norm,
                    attention: Box::new(Attention::new(width, heads, &mut scope.at("attention"))?),
                }
            }
        };
        Ok(Self {
            mixer,
            spatial: depthwise(width, width, [7, 7], 1, &mut scope.at("spatial"))?,
            mlp: Mlp::new(width, width * config.mlp_ratios[i], Activation::Gelu, scope)?,
        })
    }

    fn forward(&self, x: Map) -> Map {
        let x = match &self.mixer {
            Mixer::RepMixer(conv) => x.turned(|x| ops::depthwise(x, conv, Activation::Nothing)),
            Mixer::Attention { norm, attention } => {
                let normal = match norm {
                    Some(norm) => norm.forward(x.data.clone()),
                    None => x.data.clone(),
                };
                let sequences = Sequences::equal(x.n, x.height * x.width);
                x.with(attention.forward(normal, x.data.clone(), &sequences))
            }
        };
        x.turned(|x| ops::conv_ffn(x, &self.mlp.behind(&self.spatial)))
    }
}

//! A plain vision transformer: patches, a class token, blocks, the class token projected, or no class
//! token and attention pooling.
//! <https://arxiv.org/abs/2010.11929>; with a convolutional stem it is MobileCLIP-B's image tower.

use burn::tensor::Tensor;

use super::block::{BlockSizes, TransformerBlock, forward_to_one};
use super::layers::{LayerNorm, Linear};
use super::pool::AttentionPool;
use crate::config::{PatchEmbedding, Pool, VitConfig};
use crate::error::Error;
use crate::net::ops::{self, Map, Padding, Sequences, Then, Window};
use crate::net::weights::Scope;

/// The image tower.
pub(crate) struct Vit {
    patch: Vec<Patches>,
    /// `[1, 1, width]`, its positional embedding included.
    class: Option<Tensor<3>>,
    /// `[1, patches, width]`
    position: Tensor<3>,
    pre_norm: Option<LayerNorm>,
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
    head: Head,
}

/// What makes one vector of the tokens.
enum Head {
    /// The first one, projected.
    Class(Box<Linear>),
    Attention(Box<AttentionPool>),
}

/// A convolution whose kernels do not overlap, GELU after all but the last.
struct Patches {
    size: usize,
    linear: Linear,
    act: bool,
}

impl Vit {
    pub(super) fn new(
        config: &VitConfig,
        image: usize,
        embed_dim: usize,
        scope: &mut Scope,
    ) -> Result<Self, Error> {
        let width = config.width;
        let side = image / config.patch_size();
        let patch = match config.patch {
            PatchEmbedding::ConvStem => {
                let narrow = width / 4;
                let mut conv = |i: usize, size: usize, input: usize, output: usize| {
                    let linear = Linear::new(
                        size * size * input,
                        output,
                        &mut scope.at(format_args!("patch.{i}")).exact(),
                    )?;
                    Ok::<_, Error>(Patches {
                        size,
                        linear,
                        act: i < 2,
                    })
                };
                vec![
                    conv(0, 4, 3, narrow)?,
                    conv(1, 2, narrow, narrow)?,
                    conv(2, 2, narrow, width)?,
                ]
            }
            PatchEmbedding::Patch(size) => {
                let (input, scope) = (size * size * 3, &mut scope.at("patch.0").exact());
                let linear = match config.pre_norm {
                    true => Linear::without_bias(input, width, scope)?,
                    false => Linear::new(input, width, scope)?,
                };
                vec![Patches {
                    size,
                    linear,
                    act: false,
                }]
            }
        };
        let pre_norm = config
            .pre_norm
            .then(|| LayerNorm::new(width, config.norm_eps, &mut scope.at("pre_norm")))
            .transpose()?;
        let sizes = BlockSizes {
            width,
            heads: config.heads,
            hidden: width * config.mlp_ratio,
            norm_eps: config.norm_eps,
            activation: config.activation,
        };
        let blocks = sizes.blocks(config.layers, scope)?;
        let (class, head) = match config.pool {
            Pool::Class => (
                Some(scope.take("class", [1, 1, width])?),
                Head::Class(Box::new(Linear::new(
                    width,
                    embed_dim,
                    &mut scope.at("head").exact(),
                )?)),
            ),
            Pool::Attention => {
                let pool = AttentionPool::new(sizes, &mut scope.at("pool"))?;
                (None, Head::Attention(Box::new(pool)))
            }
        };
        Ok(Self {
            patch,
            class,
            position: scope.take("position", [1, side * side, width])?,
            pre_norm,
            blocks,
            norm: LayerNorm::new(width, config.norm_eps, &mut scope.at("norm"))?,
            head,
        })
    }

    /// `[n, side, side, 3]` to `[n, embed_dim]`.
    pub(super) fn forward(&self, images: Map) -> Tensor<2> {
        let x = self.patch.iter().fold(images, |x, patch| {
            let window = Window {
                kernel: patch.size,
                stride: patch.size,
                padding: Padding::Nothing,
            };
            let x = x.turned(|x| ops::patches(x, window));
            let then = if patch.act { Then::GELU } else { Then::Nothing };
            patch.linear.turned(x, then)
        });
        let (n, width) = (x.n, x.channels());
        let patches = x.data.reshape([n, x.height * x.width, width]) + self.position.clone();
        let x = match &self.class {
            Some(class) => Tensor::cat(vec![class.clone().repeat_dim(0, n), patches], 1),
            None => patches,
        };
        let tokens = x.dims()[1];
        let x = x.reshape([n * tokens, width]);
        let x = match &self.pre_norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let sequences = Sequences::equal(n, tokens);
        match &self.head {
            Head::Class(projection) => {
                let places: Vec<usize> = (0..n).map(|image| image * tokens).collect();
                let class = forward_to_one(&self.blocks, x, &sequences, &places);
                projection.forward(self.norm.forward(class), Then::Nothing)
            }
            Head::Attention(pool) => {
                let blocks = self.blocks.iter();
                let x = blocks.fold(x, |x, block| block.forward(x, &sequences));
                pool.forward(self.norm.forward(x), &sequences)
            }
        }
    }
}

//! CLIP's text transformer: token and position embeddings, pre-norm blocks, the end token or the last
//! one projected. <https://arxiv.org/abs/2103.00020>
//!
//! The first MobileCLIP-S0 has a convolutional block before and after its four transformer blocks.

use burn::tensor::{Int, Tensor, TensorData};

use super::block::{BlockSizes, TransformerBlock};
use super::layers::{LayerNorm, Linear, Mlp, depthwise};
use super::table::TokenTable;
use crate::config::{TextConfig, TextPool};
use crate::error::Error;
use crate::net::ops::{self, Activation, Depthwise, Map, Then};
use crate::net::weights::Scope;

/// A text as the tower takes it.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    /// Its tokens, as many as the context is long.
    pub(crate) ids: &'a [u32],
    /// Where the first end token is.
    pub(crate) end: usize,
}

/// The text tower.
pub(crate) struct TextTower {
    tokens: TokenTable,
    /// To the width, where the vocabulary's table is narrower.
    token_projection: Option<Linear>,
    /// `[context, width]`
    positions: Tensor<2>,
    before: Option<ConvBlock>,
    blocks: Vec<TransformerBlock>,
    after: Option<ConvBlock>,
    norm: LayerNorm,
    projection: Linear,
    causal: bool,
    pool: TextPool,
}

impl TextTower {
    pub(super) fn new(
        config: &TextConfig,
        embed_dim: usize,
        scope: &mut Scope,
    ) -> Result<Self, Error> {
        let width = config.width;
        let mut conv_block = |name: &str| {
            config
                .repmixer_kernel_size
                .map(|kernel| ConvBlock::new(width, config.hidden(), kernel, &mut scope.at(name)))
                .transpose()
        };
        let (before, after) = (conv_block("before")?, conv_block("after")?);
        let sizes = BlockSizes {
            width,
            heads: config.heads,
            hidden: config.hidden(),
            norm_eps: config.norm_eps,
            activation: config.activation,
        };
        let blocks = sizes.blocks(config.layers, scope)?;
        let token_projection = config
            .token_width
            .map(|narrow| {
                Linear::without_bias(narrow, width, &mut scope.at("token_projection").exact())
            })
            .transpose()?;
        Ok(Self {
            tokens: TokenTable::new(
                config.vocab_size,
                config.token_width.unwrap_or(width),
                config.half_precision_tokens,
                scope,
            )?,
            token_projection,
            positions: scope.take("positions", [config.context_length, width])?,
            before,
            blocks,
            after,
            norm: LayerNorm::new(width, config.norm_eps, &mut scope.at("norm"))?,
            projection: Linear::new(width, embed_dim, &mut scope.at("projection").exact())?,
            causal: config.causal,
            pool: config.pool,
        })
    }

    /// Embeds texts: `[n, dim]`, of any length.
    pub(crate) fn forward(&self, texts: &[Text]) -> Tensor<2> {
        let n = texts.len();
        let context = self.positions.dims()[0];
        // Without a look ahead, what follows the last end token changes nothing.
        let length = match (self.causal, self.pool) {
            (true, TextPool::End) => texts
                .iter()
                .map(|text| text.end + 1)
                .max()
                .unwrap_or(context),
            _ => context,
        };
        let ids: Vec<u32> = texts
            .iter()
            .flat_map(|text| &text.ids[..length])
            .copied()
            .collect();
        let embedded = self.tokens.rows(&ids);
        let embedded = match &self.token_projection {
            Some(projection) => projection.forward(embedded, Then::Nothing),
            None => embedded,
        };
        let width = embedded.dims()[1];
        let embedded = embedded.reshape([n, length, width]);
        let x = embedded + self.positions.clone().narrow(0, 0, length).unsqueeze::<3>();
        let x = x.reshape([n * length, width]);

        let mask = self.causal.then(|| self.mask(length));
        let x = convolve(self.before.as_ref(), x, n);
        let x = self
            .blocks
            .iter()
            .fold(x, |x, block| block.forward(x, length, mask.as_ref()));
        let x = convolve(self.after.as_ref(), x, n);

        let places = texts.iter().enumerate().map(|(i, text)| {
            let place = match self.pool {
                TextPool::End => text.end,
                TextPool::Last => length - 1,
            };
            (i * length + place) as i32
        });
        let places = TensorData::new(places.collect(), [n]);
        let places = Tensor::<1, Int>::from_data(places, self.tokens.device());
        self.projection
            .forward(self.norm.forward(x.select(0, places)), Then::Nothing)
    }

    /// Minus infinity above the diagonal.
    fn mask(&self, length: usize) -> Tensor<2> {
        let values: Vec<f32> = (0..length * length)
            .map(|i| {
                if i % length > i / length {
                    f32::NEG_INFINITY
                } else {
                    0.0
                }
            })
            .collect();
        Tensor::from_data(
            TensorData::new(values, [length, length]),
            self.tokens.device(),
        )
    }
}

fn convolve(block: Option<&ConvBlock>, x: Tensor<2>, n: usize) -> Tensor<2> {
    match block {
        Some(block) => block.forward(x, n),
        None => x,
    }
}

/// A RepMixer and a convolutional feed-forward network along the text.
struct ConvBlock {
    mixer: Depthwise,
    spatial: Depthwise,
    mlp: Mlp,
}

impl ConvBlock {
    fn new(width: usize, hidden: usize, kernel: usize, scope: &mut Scope) -> Result<Self, Error> {
        Ok(Self {
            mixer: depthwise(width, width, [1, kernel], 1, &mut scope.at("mixer"))?,
            spatial: depthwise(width, width, [1, kernel], 1, &mut scope.at("spatial"))?,
            mlp: Mlp::new(width, hidden, Activation::Gelu, scope)?,
        })
    }

    fn forward(&self, x: Tensor<2>, n: usize) -> Tensor<2> {
        let width = x.dims()[0] / n;
        let x = Map {
            data: x,
            n,
            height: 1,
            width,
        };
        let x = ops::depthwise(&x, &self.mixer, Activation::Nothing);
        let mixed = ops::depthwise(&x, &self.spatial, Activation::Nothing);
        self.mlp.forward(mixed.data, x.data)
    }
}

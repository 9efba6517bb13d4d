//! CLIP's text transformer: token and position embeddings, pre-norm blocks, the end token
//! projected. <https://arxiv.org/abs/2103.00020>
//!
//! The first MobileCLIP-S0 has a convolutional block before and after its four transformer blocks.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::block::{BlockSizes, TransformerBlock};
use super::layers::{LayerNorm, Linear, Mlp, depthwise};
use crate::config::TextConfig;
use crate::error::Error;
use crate::ops::{self, Activation, Depthwise, Map, Then};
use crate::tokenizer::Tokens;
use crate::weights::Scope;

/// The text tower.
pub(crate) struct TextTower {
    /// `[vocabulary, token_width]`
    tokens: Tensor<2>,
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
    device: Device,
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
            norm_eps: 1e-5,
            activation: config.activation,
        };
        let blocks = sizes.blocks(config.layers, scope)?;
        let narrow = config.token_width.unwrap_or(width);
        let tokens: Tensor<2> = scope.take("tokens", [config.vocab_size, narrow])?;
        let token_projection = config
            .token_width
            .map(|narrow| Linear::without_bias(narrow, width, &mut scope.at("token_projection")))
            .transpose()?;
        Ok(Self {
            device: tokens.device(),
            tokens,
            token_projection,
            positions: scope.take("positions", [config.context_length, width])?,
            before,
            blocks,
            after,
            norm: LayerNorm::new(width, 1e-5, &mut scope.at("norm"))?,
            projection: Linear::new(width, embed_dim, &mut scope.at("projection"))?,
            causal: config.causal,
        })
    }

    /// Embeds texts: `[n, dim]`, of any length.
    pub(crate) fn forward(&self, texts: &[Tokens]) -> Tensor<2> {
        let n = texts.len();
        let context = self.positions.dims()[0];
        // Without a look ahead, what follows the last end token changes nothing.
        let length = match self.causal {
            true => texts
                .iter()
                .map(|text| text.end() + 1)
                .max()
                .unwrap_or(context),
            false => context,
        };
        let ids: Vec<i32> = texts
            .iter()
            .flat_map(|text| text.ids()[..length].iter().map(|&id| id as i32))
            .collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [n * length]), &self.device);
        let embedded = self.tokens.clone().select(0, ids);
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

        let ends: Vec<i32> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| (i * length + text.end()) as i32)
            .collect();
        let ends = Tensor::<1, Int>::from_data(TensorData::new(ends, [n]), &self.device);
        self.projection
            .forward(self.norm.forward(x.select(0, ends)), Then::Nothing)
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
        Tensor::from_data(TensorData::new(values, [length, length]), &self.device)
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

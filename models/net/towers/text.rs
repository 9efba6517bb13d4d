//! CLIP's text transformer: token and position embeddings, pre-norm blocks, the end token or the last
//! one projected. <https://arxiv.org/abs/2103.00020>
//!
//! The first MobileCLIP-S0 has a convolutional block before and after its four transformer blocks.

use burn::tensor::{DType, Tensor};

use super::block::{BlockSizes, TransformerBlock, forward_to_one};
use super::layers::{LayerNorm, Linear, Mlp, depthwise};
use super::table::TokenTable;
use crate::config::{TextConfig, TextPool};
use crate::error::Error;
use crate::net::ops::{self, Activation, Depthwise, Map, Sequences, Then};
use crate::net::weights::Scope;

/// Tokens that are computed at once: so many that reading the weights costs little, and so few that
/// memory stays bounded.
const MOST_TOKENS_AT_ONCE: usize = 77 * 16;

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
    /// `[context, width]`, added where the rows of the tokens are read.
    positions: Vec<f32>,
    context: usize,
    width: usize,
    blocks: Vec<TransformerBlock>,
    /// Before and after the blocks.
    convolutions: Option<[ConvBlock; 2]>,
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
        let convolutions = match config.repmixer_kernel_size {
            Some(kernel) => {
                let mut block = |name: &str| {
                    ConvBlock::new(width, config.hidden(), kernel, &mut scope.at(name))
                };
                Some([block("before")?, block("after")?])
            }
            None => None,
        };
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
        let shape = [config.context_length, width];
        let (positions, _) = scope.take_data("positions", &shape, DType::F32)?;
        Ok(Self {
            tokens: TokenTable::new(
                config.vocab_size,
                config.token_width.unwrap_or(width),
                config.half_precision_tokens,
                scope,
            )?,
            token_projection,
            positions: positions.iter::<f32>().collect(),
            context: config.context_length,
            width,
            blocks,
            convolutions,
            norm: LayerNorm::new(width, config.norm_eps, &mut scope.at("norm"))?,
            projection: Linear::new(width, embed_dim, &mut scope.at("projection").exact())?,
            causal: config.causal,
            pool: config.pool,
        })
    }

    /// Embeds texts: `[n, dim]`, of any length.
    pub(crate) fn forward(&self, texts: &[Text]) -> Tensor<2> {
        // Side by side are those that begin alike.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&number| texts[number].ids);
        let new = || Batch {
            sequences: match self.causal {
                true => Sequences::causal(),
                false => Sequences::default(),
            },
            shares: self.shares(),
            ..Batch::default()
        };
        let mut batch = new();
        let mut outputs = Vec::new();
        for &number in &order {
            let (ids, place) = self.read(&texts[number]);
            if !batch.has_room(ids) {
                outputs.push(self.run(&batch));
                batch = new();
            }
            batch.push(ids, place);
        }
        outputs.push(self.run(&batch));
        let mut places = vec![0; texts.len()];
        for (place, number) in order.into_iter().enumerate() {
            places[number] = place;
        }
        ops::rows(Tensor::cat(outputs, 0), &places)
    }

    /// Whether tokens with the same ones before them are the same in every text.
    fn shares(&self) -> bool {
        self.causal && self.convolutions.is_none()
    }

    /// The tokens of a text that have a say, and which one its embedding is taken from.
    fn read<'a>(&self, text: &Text<'a>) -> (&'a [u32], usize) {
        match self.pool {
            // What follows the end token is seen by no token before it.
            TextPool::End if self.shares() => (&text.ids[..=text.end], text.end),
            TextPool::End => (text.ids, text.end),
            TextPool::Last => (text.ids, self.context - 1),
        }
    }

    /// Embeds a batch: `[texts, dim]`.
    fn run(&self, batch: &Batch) -> Tensor<2> {
        let Batch {
            sequences, places, ..
        } = batch;
        let x = self.embed(batch);
        let x = match &self.convolutions {
            Some([before, after]) => {
                let x = before.forward(x, sequences.count());
                let blocks = self.blocks.iter();
                let x = blocks.fold(x, |x, block| block.forward(x, sequences));
                ops::rows(after.forward(x, sequences.count()), places)
            }
            None => forward_to_one(&self.blocks, x, sequences, places),
        };
        self.projection.forward(self.norm.forward(x), Then::Nothing)
    }

    /// A batch's tokens at their positions: `[rows, width]`.
    fn embed(&self, batch: &Batch) -> Tensor<2> {
        let mut tokens = self.tokens.rows(&batch.ids);
        let positions = batch.positions.iter();
        let positions =
            positions.flat_map(|position| &self.positions[position * self.width..][..self.width]);
        match &self.token_projection {
            Some(projection) => {
                let tokens = self.tokens.tensor(tokens, self.tokens.width());
                let positions = positions.copied().collect();
                let positions = self.tokens.tensor(positions, self.width);
                projection.forward(tokens, Then::Add(positions))
            }
            None => {
                for (token, position) in tokens.iter_mut().zip(positions) {
                    *token += position;
                }
                self.tokens.tensor(tokens, self.width)
            }
        }
    }
}

/// Texts that are computed at once.
#[derive(Default)]
struct Batch {
    /// Of each row its token.
    ids: Vec<u32>,
    /// Of each row its place in the text.
    positions: Vec<usize>,
    sequences: Sequences,
    /// Of each text the row that its embedding is taken from.
    places: Vec<usize>,
    /// Whether texts that begin alike have the rows of that in common.
    shares: bool,
    /// The rows of the last text.
    last: Vec<usize>,
}

impl Batch {
    /// How many tokens a text has in common with the last one.
    fn known(&self, ids: &[u32]) -> usize {
        let known = self.last.iter().zip(ids);
        match self.shares {
            true => known
                .take_while(|(row, id)| self.ids[**row] == **id)
                .count(),
            false => 0,
        }
    }

    /// Whether a text can be computed with what is there.
    fn has_room(&self, ids: &[u32]) -> bool {
        self.ids.is_empty() || self.ids.len() + ids.len() - self.known(ids) <= MOST_TOKENS_AT_ONCE
    }

    /// Adds a text whose embedding is taken from its token `place`.
    fn push(&mut self, ids: &[u32], place: usize) {
        let known = self.known(ids);
        let own = &ids[known..];
        self.last.truncate(known);
        self.sequences.push(&self.last, own.len());
        self.last.extend(self.ids.len()..self.ids.len() + own.len());
        self.ids.extend_from_slice(own);
        self.positions.extend(known..ids.len());
        self.places.push(self.last[place]);
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

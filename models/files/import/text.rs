//! Importing a text tower, keys as open_clip, under `text` or at the root, or as transformers under
//! `text_model` spells them. The convolutional blocks of the first MobileCLIP-S0, which open_clip
//! has not, are spelled as timm spells image blocks.

use super::fold::{Affine, Branches, Conv, Shape, rep_mixer};
use super::transfer::{BlockKeys, BlockShape, OPEN_CLIP, Projection, TRANSFORMERS, Transfer};
use crate::config::TextConfig;
use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::net::weights::Weights;

/// Where a checkpoint keeps the parts of the tower.
struct Keys {
    tokens: &'static str,
    positions: &'static str,
    blocks: &'static str,
    block: &'static BlockKeys,
    norm: &'static str,
    projection: &'static str,
    how: Projection,
}

/// A model with a text tower of its own kind.
const UNDER_TEXT: Keys = Keys {
    tokens: "text.token_embedding.weight",
    positions: "text.positional_embedding",
    blocks: "text.transformer.resblocks",
    block: &OPEN_CLIP,
    norm: "text.ln_final",
    projection: "text.text_projection",
    how: Projection::Parameter,
};

/// One without.
const AT_ROOT: Keys = Keys {
    tokens: "token_embedding.weight",
    positions: "positional_embedding",
    blocks: "transformer.resblocks",
    block: &OPEN_CLIP,
    norm: "ln_final",
    projection: "text_projection",
    how: Projection::Parameter,
};

const TEXT_MODEL: Keys = Keys {
    tokens: "text_model.embeddings.token_embedding.weight",
    positions: "text_model.embeddings.position_embedding.weight",
    blocks: "text_model.encoder.layers",
    block: &TRANSFORMERS,
    norm: "text_model.final_layer_norm",
    projection: "text_projection",
    how: Projection::WithoutBias,
};

impl Keys {
    /// Those of this checkpoint.
    fn of(checkpoint: &Checkpoint) -> &'static Self {
        let blocks = |keys: &&Keys| checkpoint.has_under(keys.blocks);
        let others = [&AT_ROOT, &TEXT_MODEL];
        others.into_iter().find(blocks).unwrap_or(&UNDER_TEXT)
    }
}

pub(super) fn import(
    config: &TextConfig,
    embed_dim: usize,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let (width, hidden) = (config.width, config.hidden());
    let keys = Keys::of(checkpoint);
    let mut transfer = Transfer {
        checkpoint,
        weights,
    };
    let shape = [config.vocab_size, config.token_width.unwrap_or(width)];
    match config.half_precision_tokens {
        true => transfer.half_tensor(keys.tokens, "text.tokens", &shape)?,
        false => transfer.tensor(keys.tokens, "text.tokens", &shape)?,
    }
    if let Some(narrow) = config.token_width {
        let key = "text.token_projection.weight";
        let projection = transfer.checkpoint.take(key, &[width, narrow])?;
        let at = |from: usize, to: usize| projection[to * narrow + from];
        let weights = &mut *transfer.weights;
        weights.put_matrix("text.token_projection.weight", [narrow, width], at);
    }
    let shape = [config.context_length, width];
    transfer.tensor(keys.positions, "text.positions", &shape)?;

    // Convolutional blocks are the first and the last of the same list.
    let first = usize::from(config.repmixer_kernel_size.is_some());
    if let Some(kernel) = config.repmixer_kernel_size {
        for (index, to) in [(0, "text.before"), (first + config.layers, "text.after")] {
            let from = format!("{}.{index}", keys.blocks);
            let Transfer {
                checkpoint,
                weights,
            } = &mut transfer;
            conv_block(width, hidden, kernel, &from, to, checkpoint, weights)?;
        }
    }
    let shape = BlockShape { width, hidden };
    for i in 0..config.layers {
        let (from, to) = (
            format!("{}.{}", keys.blocks, first + i),
            format!("text.blocks.{i}"),
        );
        transfer.block(keys.block, &from, &to, shape)?;
    }
    transfer.norm(keys.norm, "text.norm", width)?;
    let how = match config.projection_bias {
        true => Projection::Dense,
        false => keys.how,
    };
    transfer.projection(how, keys.projection, "text.projection", [width, embed_dim])
}

fn conv_block(
    width: usize,
    hidden: usize,
    kernel: usize,
    from: &str,
    to: &str,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let shape = Shape::depthwise(width, [1, kernel]);
    // The kernel's height is 1, for which its authors have no scale branch.
    let branches = Branches {
        full: true,
        scale: false,
        identity: true,
    };
    rep_mixer(checkpoint, &format!("{from}.token_mixer"), shape, branches)?.put_depthwise(
        weights,
        &format!("{to}.mixer"),
        width,
    );
    Conv::take_with_norm(checkpoint, &format!("{from}.mlp.conv"), shape)?.put_depthwise(
        weights,
        &format!("{to}.spatial"),
        width,
    );
    Conv::take(
        checkpoint,
        &format!("{from}.mlp.fc1"),
        Shape::dense(hidden, width, 1),
    )?
    .put_linear(weights, &format!("{to}.fc1"));
    let scale = Affine::take_layer_scale(checkpoint, &format!("{from}.layer_scale.gamma"), width)?;
    Conv::take(
        checkpoint,
        &format!("{from}.mlp.fc2"),
        Shape::dense(width, hidden, 1),
    )?
    .then(&scale)
    .put_linear(weights, &format!("{to}.fc2"));
    Ok(())
}

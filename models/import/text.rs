//! Importing a text tower, keys as open_clip spells them, under `text` or at the root. The
//! convolutional blocks of the first MobileCLIP-S0, which open_clip has not, are spelled as timm
//! spells image blocks.

use super::fold::{Affine, Branches, Conv, Shape, rep_mixer};
use super::transfer::{BlockShape, OPEN_CLIP, Projection, Transfer};
use crate::checkpoint::Checkpoint;
use crate::config::TextConfig;
use crate::error::Error;
use crate::weights::Weights;

pub(super) fn import(
    config: &TextConfig,
    embed_dim: usize,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let (width, hidden) = (config.width, config.hidden());
    // A model without a text tower of its own kind has the tower's keys at the root.
    let prefix = match checkpoint.has("token_embedding.weight") {
        true => "",
        false => "text.",
    };
    let key = |part: &str| format!("{prefix}{part}");
    let mut transfer = Transfer {
        checkpoint,
        weights,
    };
    let shape = [config.vocab_size, config.token_width.unwrap_or(width)];
    transfer.tensor(&key("token_embedding.weight"), "text.tokens", &shape)?;
    if let Some(narrow) = config.token_width {
        let name = key("token_projection.weight");
        let projection = transfer.checkpoint.take(&name, &[width, narrow])?;
        let at = |from: usize, to: usize| projection[to * narrow + from];
        let weights = &mut *transfer.weights;
        weights.put_matrix("text.token_projection.weight", [narrow, width], at);
    }
    let shape = [config.context_length, width];
    transfer.tensor(&key("positional_embedding"), "text.positions", &shape)?;

    // Convolutional blocks are the first and the last of the same list.
    let first = usize::from(config.repmixer_kernel_size.is_some());
    let blocks = key("transformer.resblocks");
    if let Some(kernel) = config.repmixer_kernel_size {
        for (index, to) in [(0, "text.before"), (first + config.layers, "text.after")] {
            let from = format!("{blocks}.{index}");
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
            format!("{blocks}.{}", first + i),
            format!("text.blocks.{i}"),
        );
        transfer.block(&OPEN_CLIP, &from, &to, shape)?;
    }
    transfer.norm(&key("ln_final"), "text.norm", width)?;
    let shape = [width, embed_dim];
    transfer.projection(
        Projection::Parameter,
        &key("text_projection"),
        "text.projection",
        shape,
    )
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

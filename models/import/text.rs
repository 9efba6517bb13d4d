//! Importing a text tower, keys as open_clip under `text` spells them. The convolutional blocks of
//! the first MobileCLIP-S0, which open_clip has not, are spelled as timm spells image blocks.

use super::fold::{Affine, Branches, Conv, Shape, rep_mixer};
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
    let shape = [config.vocab_size, width];
    copy(
        checkpoint,
        "text.token_embedding.weight",
        weights,
        "text.tokens",
        &shape,
    )?;
    let shape = [config.context_length, width];
    copy(
        checkpoint,
        "text.positional_embedding",
        weights,
        "text.positions",
        &shape,
    )?;

    // Convolutional blocks are the first and the last of the same list.
    let first = usize::from(config.repmixer_kernel_size.is_some());
    if let Some(kernel) = config.repmixer_kernel_size {
        conv_block(width, hidden, kernel, 0, "text.before", checkpoint, weights)?;
        conv_block(
            width,
            hidden,
            kernel,
            first + config.layers,
            "text.after",
            checkpoint,
            weights,
        )?;
    }
    for i in 0..config.layers {
        let (from, to) = (
            format!("text.transformer.resblocks.{}", first + i),
            format!("text.blocks.{i}"),
        );
        let vectors = [
            ("ln_1.weight", "norm1.weight"),
            ("ln_1.bias", "norm1.bias"),
            ("ln_2.weight", "norm2.weight"),
            ("ln_2.bias", "norm2.bias"),
        ];
        for (key, name) in vectors {
            copy(
                checkpoint,
                &format!("{from}.{key}"),
                weights,
                &format!("{to}.{name}"),
                &[width],
            )?;
        }
        // Attention's own projection spells its parts with an underscore.
        let matrices = [
            ("attn.in_proj_", "attention.qkv", 3 * width, width),
            ("attn.out_proj.", "attention.proj", width, width),
            ("mlp.c_fc.", "fc1", hidden, width),
            ("mlp.c_proj.", "fc2", width, hidden),
        ];
        for (key, name, output, input) in matrices {
            let (from, to) = (format!("{from}.{key}"), format!("{to}.{name}"));
            copy_linear(checkpoint, &from, weights, &to, output, input)?;
        }
    }
    copy(
        checkpoint,
        "text.ln_final.weight",
        weights,
        "text.norm.weight",
        &[width],
    )?;
    copy(
        checkpoint,
        "text.ln_final.bias",
        weights,
        "text.norm.bias",
        &[width],
    )?;
    // Saved the other way round than every other matrix.
    let shape = [width, embed_dim];
    let projection = checkpoint.take("text.text_projection", &shape)?;
    weights.put_matrix("text.projection.weight", shape, |from, to| {
        projection[from * embed_dim + to]
    });
    Ok(())
}

fn conv_block(
    width: usize,
    hidden: usize,
    kernel: usize,
    index: usize,
    to: &str,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let from = format!("text.transformer.resblocks.{index}");
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

/// Takes a tensor over as it is.
pub(super) fn copy(
    checkpoint: &mut Checkpoint,
    key: &str,
    weights: &mut Weights,
    name: &str,
    shape: &[usize],
) -> Result<(), Error> {
    weights.put(name, checkpoint.take(key, shape)?, shape);
    Ok(())
}

/// Takes a dense layer over, its matrix packed: `prefix` before `weight` and `bias`.
pub(super) fn copy_linear(
    checkpoint: &mut Checkpoint,
    prefix: &str,
    weights: &mut Weights,
    name: &str,
    output: usize,
    input: usize,
) -> Result<(), Error> {
    let weight = checkpoint.take(&format!("{prefix}weight"), &[output, input])?;
    weights.put_matrix(format!("{name}.weight"), [input, output], |from, to| {
        weight[to * input + from]
    });
    copy(
        checkpoint,
        &format!("{prefix}bias"),
        weights,
        &format!("{name}.bias"),
        &[output],
    )
}

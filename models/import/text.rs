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
        let tensors: [(&str, &str, &[usize]); 12] = [
            ("ln_1.weight", "norm1.weight", &[width]),
            ("ln_1.bias", "norm1.bias", &[width]),
            (
                "attn.in_proj_weight",
                "attention.qkv.weight",
                &[3 * width, width],
            ),
            ("attn.in_proj_bias", "attention.qkv.bias", &[3 * width]),
            (
                "attn.out_proj.weight",
                "attention.proj.weight",
                &[width, width],
            ),
            ("attn.out_proj.bias", "attention.proj.bias", &[width]),
            ("ln_2.weight", "norm2.weight", &[width]),
            ("ln_2.bias", "norm2.bias", &[width]),
            ("mlp.c_fc.weight", "fc1.weight", &[hidden, width]),
            ("mlp.c_fc.bias", "fc1.bias", &[hidden]),
            ("mlp.c_proj.weight", "fc2.weight", &[width, hidden]),
            ("mlp.c_proj.bias", "fc2.bias", &[width]),
        ];
        for (key, name, shape) in tensors {
            copy(
                checkpoint,
                &format!("{from}.{key}"),
                weights,
                &format!("{to}.{name}"),
                shape,
            )?;
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
    let projection = checkpoint.take("text.text_projection", &[width, embed_dim])?;
    let transposed = (0..embed_dim).flat_map(|to| (0..width).map(move |from| (from, to)));
    let projection = transposed
        .map(|(from, to)| projection[from * embed_dim + to])
        .collect();
    weights.put("text.projection.weight", projection, &[embed_dim, width]);
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

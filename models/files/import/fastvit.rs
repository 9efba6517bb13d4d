//! Folding a FastViT image tower, keys as timm's `fastvit_mci*` under `visual.trunk` spells them.

use super::fold::{Affine, Branches, Conv, Shape, mobile_one, phases, rep_mixer, wide};
use crate::config::{AttentionNorm, FastVitConfig, TokenMixer};
use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::net::weights::Weights;

const TRUNK: &str = "visual.trunk";

pub(super) fn import(
    config: &FastVitConfig,
    embed_dim: usize,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    stem(config, checkpoint, weights)?;
    for i in 0..config.layers.len() {
        stage(config, i, checkpoint, weights)?;
    }
    let width = config.embed_dims[config.embed_dims.len() - 1];
    let features = config.features();
    let order = phases(features, width);
    let shape = Shape::depthwise(features, [3, 3]);
    let branches = Branches {
        full: true,
        scale: true,
        identity: features == width,
    };
    mobile_one(checkpoint, &format!("{TRUNK}.final_conv"), shape, branches)?.put_depthwise(
        weights,
        "image.last",
        width,
    );
    let squeeze = format!("{TRUNK}.final_conv.se");
    squeeze_excite(
        checkpoint,
        &squeeze,
        config.last_reduced(),
        &order,
        weights,
        "image.last.se",
    )?;
    let head = Conv::take_dense(checkpoint, &format!("{TRUNK}.head.fc"), embed_dim, features)?;
    head.reorder_input(&order).put_linear(weights, "image.head");
    Ok(())
}

fn stem(
    config: &FastVitConfig,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let width = config.embed_dims[0];
    let strided = Branches {
        full: true,
        scale: config.stem_use_scale_branch,
        identity: false,
    };
    mobile_one(
        checkpoint,
        &format!("{TRUNK}.stem.0"),
        Shape::dense(width, 3, 3),
        strided,
    )?
    .put_patches(weights, "image.stem.0");
    mobile_one(
        checkpoint,
        &format!("{TRUNK}.stem.1"),
        Shape::depthwise(width, [3, 3]),
        strided,
    )?
    .put_depthwise(weights, "image.stem.1", width);
    point(checkpoint, &format!("{TRUNK}.stem.2"), width)?.put_linear(weights, "image.stem.2");
    Ok(())
}

/// A MobileOne block with a 1x1 kernel.
fn point(checkpoint: &mut Checkpoint, prefix: &str, width: usize) -> Result<Conv, Error> {
    let branches = Branches {
        full: true,
        scale: false,
        identity: true,
    };
    mobile_one(checkpoint, prefix, Shape::dense(width, width, 1), branches)
}

fn stage(
    config: &FastVitConfig,
    i: usize,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let width = config.embed_dims[i];
    let (from, to) = (format!("{TRUNK}.stages.{i}"), format!("image.stages.{i}"));
    if config.downsamples(i) {
        downsample(config, i, checkpoint, weights)?;
    }
    if let Some(encoding) = config.pos_embs[i] {
        let shape = Shape::depthwise(width, encoding.spatial_shape);
        let folded = format!("{from}.pos_emb.reparam_conv");
        let conv = if checkpoint.has(&format!("{folded}.weight")) {
            Conv::take(checkpoint, &folded, shape)?
        } else {
            Conv::take(checkpoint, &format!("{from}.pos_emb.pos_enc"), shape)?
                .add(&Conv::identity(shape), 1.0)
        };
        conv.put_depthwise(weights, &format!("{to}.position"), width);
    }
    for block in 0..config.layers[i] {
        let (from, to) = (
            format!("{from}.blocks.{block}"),
            format!("{to}.blocks.{block}"),
        );
        match config.token_mixers[i] {
            TokenMixer::RepMixer => {
                let kernel = config.repmixer_kernel_size;
                let branches = Branches {
                    full: true,
                    scale: kernel > 1,
                    identity: true,
                };
                let shape = Shape::depthwise(width, [kernel; 2]);
                rep_mixer(checkpoint, &format!("{from}.token_mixer"), shape, branches)?
                    .put_depthwise(weights, &format!("{to}.mixer"), width);
                feed_forward(config, i, &from, "layer_scale", &to, checkpoint, weights)?;
            }
            TokenMixer::Attention => {
                attention(config, i, &from, &to, checkpoint, weights)?;
                feed_forward(config, i, &from, "layer_scale_2", &to, checkpoint, weights)?;
            }
        }
    }
    Ok(())
}

fn downsample(
    config: &FastVitConfig,
    i: usize,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let (before, width) = (config.embed_dims[i.saturating_sub(1)], config.embed_dims[i]);
    let from = format!("{TRUNK}.stages.{i}.downsample.proj");
    let to = format!("image.stages.{i}.downsample");
    let order = phases(width, before);
    let shape = Shape::depthwise(width, [config.down_patch_size; 2]);
    let folded = format!("{from}.0.reparam_conv");
    let large = if checkpoint.has(&format!("{folded}.weight")) {
        Conv::take(checkpoint, &folded, shape)?
    } else {
        let small = Shape::depthwise(width, [3, 3]);
        let small = Conv::take_with_norm(checkpoint, &format!("{from}.0.small_conv"), small)?;
        Conv::take_with_norm(checkpoint, &format!("{from}.0.large_conv"), shape)?.add(&small, 1.0)
    };
    large.put_depthwise(weights, &format!("{to}.large"), before);
    if config.se_downsamples[i] {
        let reduced = config.downsampling_reduced(i);
        squeeze_excite(
            checkpoint,
            &format!("{from}.0.se"),
            reduced,
            &order,
            weights,
            &format!("{to}.se"),
        )?;
    }
    point(checkpoint, &format!("{from}.1"), width)?
        .reorder_input(&order)
        .put_linear(weights, &format!("{to}.point"));
    Ok(())
}

/// Squeeze and excitation of channels that are in another order than the checkpoint's.
fn squeeze_excite(
    checkpoint: &mut Checkpoint,
    from: &str,
    reduced: usize,
    order: &[usize],
    weights: &mut Weights,
    to: &str,
) -> Result<(), Error> {
    let channels = order.len();
    Conv::take(
        checkpoint,
        &format!("{from}.fc1"),
        Shape::dense(reduced, channels, 1),
    )?
    .reorder_input(order)
    .put_linear(weights, &format!("{to}.reduce"));
    Conv::take(
        checkpoint,
        &format!("{from}.fc2"),
        Shape::dense(channels, reduced, 1),
    )?
    .reorder_output(order)
    .put_linear(weights, &format!("{to}.expand"));
    Ok(())
}

/// The convolutional feed-forward network: its batch norm goes into the depthwise convolution,
/// the layer scale into the last layer.
fn feed_forward(
    config: &FastVitConfig,
    i: usize,
    from: &str,
    layer_scale: &str,
    to: &str,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let width = config.embed_dims[i];
    let hidden = width * config.mlp_ratios[i];
    Conv::take_with_norm(
        checkpoint,
        &format!("{from}.mlp.conv"),
        Shape::depthwise(width, [7, 7]),
    )?
    .put_depthwise(weights, &format!("{to}.spatial"), width);
    Conv::take(
        checkpoint,
        &format!("{from}.mlp.fc1"),
        Shape::dense(hidden, width, 1),
    )?
    .put_linear(weights, &format!("{to}.fc1"));
    let scale =
        Affine::take_layer_scale(checkpoint, &format!("{from}.{layer_scale}.gamma"), width)?;
    Conv::take(
        checkpoint,
        &format!("{from}.mlp.fc2"),
        Shape::dense(width, hidden, 1),
    )?
    .then(&scale)
    .put_linear(weights, &format!("{to}.fc2"));
    Ok(())
}

/// Attention: a batch norm before it goes into the projection to queries, keys and values, the
/// layer scale into the output projection.
fn attention(
    config: &FastVitConfig,
    i: usize,
    from: &str,
    to: &str,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let width = config.embed_dims[i];
    let mut qkv = Conv {
        shape: Shape::dense(3 * width, width, 1),
        weight: wide(checkpoint.take(
            &format!("{from}.token_mixer.qkv.weight"),
            &[3 * width, width],
        )?),
        bias: vec![0.0; 3 * width],
    };
    match config.attention_norm {
        AttentionNorm::Batch => {
            let norm = Affine::take(checkpoint, &format!("{from}.norm"), width)?;
            for (row, bias) in qkv.weight.chunks_exact_mut(width).zip(&mut qkv.bias) {
                *bias = row
                    .iter()
                    .zip(&norm.shift)
                    .map(|(weight, shift)| weight * shift)
                    .sum();
                row.iter_mut()
                    .zip(&norm.scale)
                    .for_each(|(weight, scale)| *weight *= scale);
            }
        }
        AttentionNorm::Layer => {
            for name in ["weight", "bias"] {
                let values = checkpoint.take(&format!("{from}.norm.{name}"), &[width])?;
                weights.put(format!("{to}.norm.{name}"), values, &[width]);
            }
        }
    }
    qkv.put_linear(weights, &format!("{to}.attention.qkv"));
    let scale =
        Affine::take_layer_scale(checkpoint, &format!("{from}.layer_scale_1.gamma"), width)?;
    Conv::take_dense(
        checkpoint,
        &format!("{from}.token_mixer.proj"),
        width,
        width,
    )?
    .then(&scale)
    .put_linear(weights, &format!("{to}.attention.proj"));
    Ok(())
}

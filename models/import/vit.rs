//! Importing a plain vision transformer, keys as timm under `visual.trunk` spells them.

use super::fold::{Conv, Shape};
use super::text::{copy, copy_linear};
use crate::checkpoint::Checkpoint;
use crate::config::{PatchEmbedding, VitConfig};
use crate::error::Error;
use crate::weights::Weights;

const TRUNK: &str = "visual.trunk";

pub(super) fn import(
    config: &VitConfig,
    image_size: usize,
    embed_dim: usize,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let width = config.width;
    patches(config, checkpoint, weights)?;
    positions(
        config,
        (image_size / config.patch_size()).pow(2),
        checkpoint,
        weights,
    )?;
    let mut norm = |from: &str, to: &str| {
        copy(
            checkpoint,
            &format!("{TRUNK}.{from}.weight"),
            weights,
            &format!("image.{to}.weight"),
            &[width],
        )?;
        copy(
            checkpoint,
            &format!("{TRUNK}.{from}.bias"),
            weights,
            &format!("image.{to}.bias"),
            &[width],
        )
    };
    if config.pre_norm {
        norm("norm_pre", "pre_norm")?;
    }
    norm("norm", "norm")?;
    for i in 0..config.layers {
        norm(&format!("blocks.{i}.norm1"), &format!("blocks.{i}.norm1"))?;
        norm(&format!("blocks.{i}.norm2"), &format!("blocks.{i}.norm2"))?;
    }
    let hidden = width * config.mlp_ratio;
    let mut linear = |from: &str, to: &str, output: usize, input: usize| {
        let (from, to) = (format!("{TRUNK}.{from}."), format!("image.{to}"));
        copy_linear(checkpoint, &from, weights, &to, output, input)
    };
    for i in 0..config.layers {
        linear(
            &format!("blocks.{i}.attn.qkv"),
            &format!("blocks.{i}.attention.qkv"),
            3 * width,
            width,
        )?;
        linear(
            &format!("blocks.{i}.attn.proj"),
            &format!("blocks.{i}.attention.proj"),
            width,
            width,
        )?;
        linear(
            &format!("blocks.{i}.mlp.fc1"),
            &format!("blocks.{i}.fc1"),
            hidden,
            width,
        )?;
        linear(
            &format!("blocks.{i}.mlp.fc2"),
            &format!("blocks.{i}.fc2"),
            width,
            hidden,
        )?;
    }
    linear("head", "head", embed_dim, width)
}

fn patches(
    config: &VitConfig,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let width = config.width;
    match config.patch {
        PatchEmbedding::ConvStem => {
            let narrow = width / 4;
            let shapes = [
                Shape::dense(narrow, 3, 4),
                Shape::dense(narrow, narrow, 2),
                Shape::dense(width, narrow, 2),
            ];
            for (i, shape) in shapes.into_iter().enumerate() {
                let from = format!("{TRUNK}.patch_embed.backbone.{i}");
                let conv = if i < 2 {
                    Conv::take_with_norm(checkpoint, &from, shape)?
                } else {
                    Conv::take(checkpoint, &format!("{from}.conv"), shape)?
                };
                conv.put_patches(weights, &format!("image.patch.{i}"));
            }
            Ok(())
        }
        PatchEmbedding::Patch(size) => {
            let shape = Shape::dense(width, 3, size);
            let conv =
                Conv::take_without_bias(checkpoint, &format!("{TRUNK}.patch_embed.proj"), shape)?;
            conv.put_patches(weights, "image.patch.0");
            Ok(())
        }
    }
}

/// The class token takes its own positional embedding in.
fn positions(
    config: &VitConfig,
    patches: usize,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let width = config.width;
    let first = usize::from(config.class_position);
    let mut class = checkpoint.take(&format!("{TRUNK}.cls_token"), &[1, 1, width])?;
    let positions = checkpoint.take(&format!("{TRUNK}.pos_embed"), &[1, first + patches, width])?;
    let (own, others) = positions.split_at(first * width);
    class
        .iter_mut()
        .zip(own)
        .for_each(|(class, position)| *class += position);
    weights.put("image.class", class, &[1, 1, width]);
    weights.put("image.position", others.to_vec(), &[1, patches, width]);
    Ok(())
}

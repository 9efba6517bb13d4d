//! Importing a plain vision transformer, keys as timm under `visual.trunk`, as open_clip's own under
//! `visual` or as transformers under `vision_model` spells them.

use super::fold::{Conv, Shape};
use super::transfer::{BlockKeys, BlockShape, OPEN_CLIP, Projection, TIMM, TRANSFORMERS, Transfer};
use crate::config::{PatchEmbedding, Pool, VitConfig};
use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::net::weights::Weights;

/// Where a checkpoint keeps the parts of the tower.
struct Keys {
    patch: &'static str,
    class: &'static str,
    positions: &'static str,
    /// Whether those two have leading dimensions of 1.
    batched: bool,
    pre_norm: &'static str,
    blocks: &'static str,
    block: &'static BlockKeys,
    norm: &'static str,
    head: &'static str,
    projection: Projection,
}

const TRUNK: Keys = Keys {
    patch: "visual.trunk.patch_embed.proj",
    class: "visual.trunk.cls_token",
    positions: "visual.trunk.pos_embed",
    batched: true,
    pre_norm: "visual.trunk.norm_pre",
    blocks: "visual.trunk.blocks",
    block: &TIMM,
    norm: "visual.trunk.norm",
    head: "visual.trunk.head",
    projection: Projection::Dense,
};

const OWN: Keys = Keys {
    patch: "visual.conv1",
    class: "visual.class_embedding",
    positions: "visual.positional_embedding",
    batched: false,
    pre_norm: "visual.ln_pre",
    blocks: "visual.transformer.resblocks",
    block: &OPEN_CLIP,
    norm: "visual.ln_post",
    head: "visual.proj",
    projection: Projection::Parameter,
};

const VISION_MODEL: Keys = Keys {
    patch: "vision_model.embeddings.patch_embedding",
    class: "vision_model.embeddings.class_embedding",
    positions: "vision_model.embeddings.position_embedding.weight",
    batched: false,
    // Spelled so there.
    pre_norm: "vision_model.pre_layrnorm",
    blocks: "vision_model.encoder.layers",
    block: &TRANSFORMERS,
    norm: "vision_model.post_layernorm",
    head: "visual_projection",
    projection: Projection::WithoutBias,
};

impl Keys {
    /// Those of this checkpoint.
    fn of(checkpoint: &Checkpoint) -> &'static Self {
        let blocks = |keys: &&Keys| checkpoint.has_under(keys.blocks);
        [&OWN, &VISION_MODEL]
            .into_iter()
            .find(blocks)
            .unwrap_or(&TRUNK)
    }
}

pub(super) fn import(
    config: &VitConfig,
    image_size: usize,
    embed_dim: usize,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let width = config.width;
    let keys = Keys::of(checkpoint);
    patches(config, keys, checkpoint, weights)?;
    let count = (image_size / config.patch_size()).pow(2);
    positions(config, keys, count, checkpoint, weights)?;
    let mut transfer = Transfer {
        checkpoint,
        weights,
    };
    if config.pre_norm {
        transfer.norm(keys.pre_norm, "image.pre_norm", width)?;
    }
    let shape = BlockShape {
        width,
        hidden: width * config.mlp_ratio,
    };
    for i in 0..config.layers {
        let (from, to) = (format!("{}.{i}", keys.blocks), format!("image.blocks.{i}"));
        transfer.block(keys.block, &from, &to, shape)?;
    }
    transfer.norm(keys.norm, "image.norm", width)?;
    match config.pool {
        Pool::Class => {
            let shape = [width, embed_dim];
            transfer.projection(keys.projection, keys.head, "image.head", shape)
        }
        Pool::Attention => attention_pool(config, &mut transfer),
    }
}

/// Attention pooling, which only timm's layout has. The query is projected and scaled here: it is the
/// same for every image.
fn attention_pool(config: &VitConfig, transfer: &mut Transfer) -> Result<(), Error> {
    const FROM: &str = "visual.trunk.attn_pool";
    const TO: &str = "image.pool";
    let (width, hidden) = (config.width, config.width * config.mlp_ratio);
    let head = width / config.heads;
    let latent = transfer
        .checkpoint
        .take(&format!("{FROM}.latent"), &[1, 1, width])?;
    let query = Conv::take_dense(transfer.checkpoint, &format!("{FROM}.q"), width, width)?;
    let scale = (head as f64).powf(-0.5);
    let query = query
        .weight
        .chunks_exact(width)
        .zip(&query.bias)
        .map(|(row, bias)| {
            let product = row.iter().zip(&latent).map(|(a, b)| a * f64::from(*b));
            ((product.sum::<f64>() + bias) * scale) as f32
        });
    let shape = [1, config.heads, 1, head];
    transfer
        .weights
        .put(format!("{TO}.query"), query.collect(), &shape);
    for (from, to, output, input) in [
        ("kv", "kv", 2 * width, width),
        ("proj", "proj", width, width),
        ("mlp.fc1", "fc1", hidden, width),
        ("mlp.fc2", "fc2", width, hidden),
    ] {
        let (from, to) = (format!("{FROM}.{from}."), format!("{TO}.{to}"));
        transfer.linear(&from, &to, output, input)?;
    }
    transfer.norm(&format!("{FROM}.norm"), &format!("{TO}.norm"), width)
}

fn patches(
    config: &VitConfig,
    keys: &Keys,
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
                let from = format!("visual.trunk.patch_embed.backbone.{i}");
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
            let conv = match config.pre_norm {
                true => Conv::take_without_bias(checkpoint, keys.patch, shape)?,
                false => Conv::take(checkpoint, keys.patch, shape)?,
            };
            conv.put_patches(weights, "image.patch.0");
            Ok(())
        }
    }
}

/// The class token, where there is one, takes its own positional embedding in.
fn positions(
    config: &VitConfig,
    keys: &Keys,
    patches: usize,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    let width = config.width;
    let first = usize::from(config.class_position);
    let [class, positions] = match keys.batched {
        true => [vec![1, 1, width], vec![1, first + patches, width]],
        false => [vec![width], vec![first + patches, width]],
    };
    let positions = checkpoint.take(keys.positions, &positions)?;
    let (own, others) = positions.split_at(first * width);
    weights.put("image.position", others.to_vec(), &[1, patches, width]);
    if config.pool == Pool::Class {
        let mut class = checkpoint.take(keys.class, &class)?;
        class
            .iter_mut()
            .zip(own)
            .for_each(|(class, position)| *class += position);
        weights.put("image.class", class, &[1, 1, width]);
    }
    Ok(())
}

//! The layout of Apple's own checkpoints (`mobileclip_s0.pt` ... `mobileclip_blt.pt`), renamed to
//! that of open_clip and timm. <https://github.com/apple/ml-mobileclip>

use crate::error::Error;
use crate::files::checkpoint::{Checkpoint, Entry};

const IMAGE: &str = "image_encoder.model.";
const TEXT: &str = "text_encoder.";

/// What a part of a key is called in timm's FastViT.
const FASTVIT: &[(&str, &str)] = &[
    ("patch_embed.", "stem."),
    ("rbr_conv", "conv_kxk"),
    ("rbr_scale", "conv_scale"),
    ("rbr_skip", "identity"),
    ("conv_exp.", "final_conv."),
    ("lkb_origin", "large_conv"),
    ("lkb_reparam", "reparam_conv"),
    ("convffn", "mlp"),
    ("se.reduce", "se.fc1"),
    ("se.expand", "se.fc2"),
];

/// What a part of a key is called in timm's vision transformer.
const VIT: &[(&str, &str)] = &[
    ("patch_emb.", "patch_embed.backbone."),
    ("block.conv", "conv"),
    ("block.norm", "bn"),
    ("post_transformer_norm.", "norm."),
    ("pre_norm_mha.0", "norm1"),
    ("pre_norm_mha.1", "attn"),
    ("pre_norm_ffn.0", "norm2"),
    ("pre_norm_ffn.1", "mlp.fc1"),
    ("pre_norm_ffn.4", "mlp.fc2"),
    ("qkv_proj.", "qkv."),
    ("out_proj.", "proj."),
    ("transformer.", "blocks."),
];

/// What a part of a key is called in open_clip's text transformer.
const TEXT_PARTS: &[(&str, &str)] = &[
    ("projection_layer", "text_projection"),
    ("embedding_layer", "token_embedding"),
    (
        "positional_embedding.pos_embed.pos_embed",
        "positional_embedding",
    ),
    ("final_layer_norm", "ln_final"),
    ("pre_norm_mha.0", "ln_1"),
    ("pre_norm_mha.1", "attn"),
    ("pre_norm_ffn.0", "ln_2"),
    ("pre_norm_ffn.1", "mlp.c_fc"),
    ("pre_norm_ffn.4", "mlp.c_proj"),
    ("qkv_proj.weight", "in_proj_weight"),
    ("qkv_proj.bias", "in_proj_bias"),
    ("transformer.", "transformer.resblocks."),
    ("rbr_conv", "conv_kxk"),
    ("rbr_skip", "identity"),
    ("convffn", "mlp"),
];

/// Renames Apple's layout to open_clip's; any other is left alone.
pub(super) fn to_open_clip(checkpoint: &mut Checkpoint) -> Result<(), Error> {
    if !checkpoint.keys().any(|key| key.starts_with(IMAGE)) {
        return Ok(());
    }
    let fastvit = checkpoint
        .keys()
        .any(|key| key.starts_with("image_encoder.model.patch_embed."));
    let stages = Stages::find(checkpoint);
    checkpoint.rename(|key, entry| {
        if let Some(key) = key.strip_prefix(TEXT) {
            let name = layer_scales(replace(key, TEXT_PARTS));
            let entry = if name == "positional_embedding" {
                drop_unit_dims(entry, &name, 2)?
            } else {
                entry
            };
            return Ok(vec![(format!("text.{name}"), entry)]);
        }
        let Some(key) = key.strip_prefix(IMAGE) else {
            return Ok(vec![(key.to_owned(), entry)]);
        };
        match key {
            "head.proj" => projection("visual.trunk.head.fc", entry),
            "classifier.proj" => projection("visual.trunk.head", entry),
            "pos_embed.pos_embed.pos_embed" => {
                let name = "visual.trunk.pos_embed".to_owned();
                let entry = drop_unit_dims(entry, &name, 3)?;
                Ok(vec![(name, entry)])
            }
            _ if fastvit => {
                let name = layer_scales(stages.rename(&replace(key, FASTVIT)));
                Ok(vec![(format!("visual.trunk.{name}"), entry)])
            }
            _ => Ok(vec![(format!("visual.trunk.{}", replace(key, VIT)), entry)]),
        }
    })
}

fn replace(key: &str, parts: &[(&str, &str)]) -> String {
    parts
        .iter()
        .fold(key.to_owned(), |key, (from, to)| key.replace(from, to))
}

/// `layer_scale` to `layer_scale.gamma`, numbered ones too.
fn layer_scales(key: String) -> String {
    match key.rsplit_once('.') {
        Some((_, last)) if last.starts_with("layer_scale") => format!("{key}.gamma"),
        _ => key,
    }
}

/// A projection `[in, out]` without bias as a dense layer `[out, in]` with a bias of zero.
fn projection(name: &str, entry: Entry) -> Result<Vec<(String, Entry)>, Error> {
    let shape = entry.shape();
    let [input, output] = shape[..] else {
        // Taken later, where the shape is checked and named.
        return Ok(vec![(format!("{name}.weight"), entry)]);
    };
    let values = entry.values(name)?;
    let transposed = (0..output).flat_map(|to| (0..input).map(move |from| (from, to)));
    let values = transposed
        .map(|(from, to)| values[from * output + to])
        .collect();
    Ok(vec![
        (
            format!("{name}.weight"),
            Entry::Made {
                shape: vec![output, input],
                values,
            },
        ),
        (
            format!("{name}.bias"),
            Entry::Made {
                shape: vec![output],
                values: vec![0.0; output],
            },
        ),
    ])
}

/// Drops leading dimensions of one until `rank` are left.
fn drop_unit_dims(entry: Entry, name: &str, rank: usize) -> Result<Entry, Error> {
    let mut shape = entry.shape();
    while shape.len() > rank && shape[0] == 1 {
        shape.remove(0);
    }
    Ok(Entry::Made {
        shape,
        values: entry.values(name)?,
    })
}

/// Apple's flat list of stages and downsamplings.
struct Stages {
    /// The places in the list at which a downsampling starts a stage.
    starts: Vec<usize>,
}

impl Stages {
    fn find(checkpoint: &Checkpoint) -> Self {
        let mut starts: Vec<usize> = checkpoint
            .keys()
            .filter_map(|key| {
                key.strip_prefix(IMAGE)?
                    .strip_prefix("network.")?
                    .split_once('.')
            })
            .filter(|(_, rest)| rest.starts_with("proj."))
            .filter_map(|(place, _)| place.parse().ok())
            .collect();
        starts.sort_unstable();
        starts.dedup();
        Self { starts }
    }

    /// `network.3.proj` to `stages.2.downsample.proj`, `network.6.pe` to `stages.3.pos_emb.pos_enc`,
    /// everything else to blocks of its stage.
    fn rename(&self, key: &str) -> String {
        let parsed = key
            .strip_prefix("network.")
            .and_then(|rest| rest.split_once('.'));
        let Some((place, rest)) =
            parsed.and_then(|(place, rest)| Some((place.parse::<usize>().ok()?, rest)))
        else {
            return key.to_owned();
        };
        let stage = self.starts.iter().filter(|start| **start <= place).count();
        if rest.starts_with("proj.") {
            format!("stages.{stage}.downsample.{rest}")
        } else if let Some(rest) = rest.strip_prefix("pe.") {
            format!("stages.{stage}.pos_emb.pos_enc.{rest}")
        } else if rest.starts_with("reparam_conv.") {
            format!("stages.{stage}.pos_emb.{rest}")
        } else {
            format!("stages.{stage}.blocks.{rest}")
        }
    }
}

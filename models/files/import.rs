//! From a training-time checkpoint to folded weights: batch norms, parallel branches, identities
//! and layer scales become one convolution or matrix each. Every tensor of the checkpoint is used
//! exactly once, or the import fails and says which was not.

mod apple;
mod fastvit;
mod fold;
mod inverted_residual;
mod joined;
mod text;
mod transfer;
mod vit;

use crate::config::{ModelConfig, Tower};
use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::net::weights::Weights;

#[cfg(test)]
pub(crate) use inverted_residual::efficientnet;
pub(crate) use inverted_residual::folded;

/// Takes a dense layer, whose weight and bias are `NAME.weight` and `NAME.bias`, as it is.
///
/// # Errors
/// As [`import`].
pub(crate) fn dense(
    checkpoint: &mut Checkpoint,
    name: &str,
    [input, output]: [usize; 2],
    weights: &mut Weights,
) -> Result<(), Error> {
    fold::Conv::take_dense(checkpoint, name, output, input)?.put_linear(weights, name);
    Ok(())
}

/// Folds a checkpoint in one of open_clip's layouts or in Apple's.
///
/// # Errors
/// [`Error::MissingKey`], [`Error::UnusedKeys`], [`Error::WrongShape`], [`Error::NotFinite`] and
/// [`Error::Unreadable`], each naming the tensor as the checkpoint spells it, or as open_clip does
/// where it is in Apple's layout.
pub(crate) fn import(mut checkpoint: Checkpoint, config: &ModelConfig) -> Result<Weights, Error> {
    apple::to_open_clip(&mut checkpoint)?;
    let mut weights = Weights::default();
    match &config.vision.tower {
        Tower::FastVit(tower) => {
            fastvit::import(tower, config.embed_dim, &mut checkpoint, &mut weights)?
        }
        Tower::Joined(towers) => joined::import(towers, &mut checkpoint, &mut weights)?,
        Tower::Vit(tower) => {
            let size = config.vision.image.size;
            vit::import(tower, size, config.embed_dim, &mut checkpoint, &mut weights)?;
        }
    }
    text::import(
        &config.text,
        config.text_dim(),
        &mut checkpoint,
        &mut weights,
    )?;
    weights.put("logit_scale", checkpoint.take("logit_scale", &[1])?, &[1]);
    if config.logit_bias {
        weights.put("logit_bias", checkpoint.take("logit_bias", &[1])?, &[1]);
    }
    checkpoint.finish()?;
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::checkpoint::Entry;

    /// Configuration and checkpoint.
    type Fixture = (&'static str, &'static [u8]);
    /// What becomes of a tensor.
    type Change<'a> = dyn Fn(&str, Entry) -> Vec<(String, Entry)> + 'a;

    const FIXTURES: [Fixture; 3] = [
        (
            include_str!("../tests/fixtures/vit-openclip.json"),
            include_bytes!("../tests/fixtures/vit-openclip.safetensors"),
        ),
        (
            include_str!("../tests/fixtures/vit-transformers.json"),
            include_bytes!("../tests/fixtures/vit-transformers.safetensors"),
        ),
        (
            include_str!("../tests/fixtures/siglip.json"),
            include_bytes!("../tests/fixtures/siglip.safetensors"),
        ),
    ];

    /// Every tensor of every layout in turn: named as the file spells it.
    #[test]
    fn any_key_missing_misshapen_or_unknown_is_named() {
        for (json, bytes) in FIXTURES {
            let config = ModelConfig::from_json(json).unwrap();
            let name = &config.name;
            let open = || Checkpoint::from_safetensors(bytes, name).unwrap();
            let refused = |change: &Change<'_>| {
                let mut checkpoint = open();
                checkpoint
                    .rename(|key, entry| Ok(change(key, entry)))
                    .unwrap();
                let imported = import(checkpoint, &config);
                imported.err().expect("a damaged checkpoint was imported")
            };
            let whole = open();
            assert!(whole.keys().count() > 20);
            for wanted in whole.keys() {
                let error = refused(&|key, entry| match key == wanted {
                    true => Vec::new(),
                    false => vec![(key.to_owned(), entry)],
                });
                assert!(
                    matches!(&error, Error::MissingKey { key, .. } if key == wanted),
                    "{name} without {wanted}: {error}"
                );
                // A scalar may have any number of dimensions.
                if wanted.starts_with("logit_") {
                    continue;
                }
                let error = refused(&|key, entry| {
                    let entry = match key == wanted {
                        true => Entry::Made {
                            shape: [vec![1], entry.shape()].concat(),
                            values: entry.values(key).unwrap(),
                        },
                        false => entry,
                    };
                    vec![(key.to_owned(), entry)]
                });
                assert!(
                    matches!(&error, Error::WrongShape { key, .. } if key == wanted),
                    "{name} with another shape of {wanted}: {error}"
                );
            }
            let extra = "visual.more";
            let error = refused(&|key, entry| {
                let mut entries = vec![(key.to_owned(), entry)];
                if key == "logit_scale" {
                    let (shape, values) = (vec![1], vec![0.0]);
                    entries.push((extra.to_owned(), Entry::Made { shape, values }));
                }
                entries
            });
            assert!(
                matches!(&error, Error::UnusedKeys { key, count: 1, .. } if key == extra),
                "{name}: {error}"
            );
        }
    }
}

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

use crate::checkpoint::Checkpoint;
use crate::config::{ModelConfig, Tower};
use crate::error::Error;
use crate::weights::Weights;

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

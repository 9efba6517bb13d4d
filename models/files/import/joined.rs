//! Importing two joined image towers: that for drawings as timm under `visual.trunk` spells it,
//! that for photographs as efficientnet_lite_pytorch under `visual.photographs`, and what joins
//! them.

use super::fold::Conv;
use super::{fastvit, inverted_residual};
use crate::config::JoinedConfig;
use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::net::weights::Weights;

pub(super) fn import(
    config: &JoinedConfig,
    checkpoint: &mut Checkpoint,
    weights: &mut Weights,
) -> Result<(), Error> {
    fastvit::import(&config.drawn, config.drawn_dim, checkpoint, weights)?;
    let photographs = &config.photographs;
    inverted_residual::efficientnet(
        &photographs.net,
        checkpoint,
        "visual.photographs.",
        weights,
        "image.photographs",
    )?;
    let features = photographs.net.features;
    for (name, output) in [
        ("classifier", photographs.classes),
        ("details", photographs.details + 1),
    ] {
        Conv::take_dense(checkpoint, &format!("visual.{name}"), output, features)?
            .put_linear(weights, &format!("image.{name}"));
    }
    let shape = [photographs.classes, photographs.seen];
    let classes = checkpoint.take("visual.classes", &shape)?;
    weights.put_matrix("image.classes.weight", shape, |from, to| {
        classes[from * photographs.seen + to]
    });
    Ok(())
}

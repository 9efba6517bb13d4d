//! Folding networks of inverted residual blocks.

use super::fold::{Conv, Shape};
use crate::config::InvertedResidualConfig;
use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::net::weights::Weights;

/// Epsilon of every batch norm of EfficientNet.
const BATCH_NORM_EPS: f64 = 1e-3;

/// A convolution of the network.
#[derive(Clone, Copy)]
enum Place {
    Stem,
    Expand(usize),
    Depthwise(usize),
    Project(usize),
    Head,
}

/// Folds a network, up to its pooled features, whose keys are those of
/// efficientnet_lite_pytorch 0.1.0 (and of EfficientNet-PyTorch, from which it comes) behind
/// `from`, such as `photo.` or nothing, into weights under `to`. Its classifier, `_fc`, is left.
///
/// # Errors
/// As [`super::import`].
pub(crate) fn efficientnet(
    config: &InvertedResidualConfig,
    checkpoint: &mut Checkpoint,
    from: &str,
    weights: &mut Weights,
    to: &str,
) -> Result<(), Error> {
    import(config, weights, to, |place, shape| {
        let names = match place {
            Place::Stem => ["_conv_stem".to_owned(), "_bn0".to_owned()],
            Place::Expand(i) => [
                format!("_blocks.{i}._expand_conv"),
                format!("_blocks.{i}._bn0"),
            ],
            Place::Depthwise(i) => [
                format!("_blocks.{i}._depthwise_conv"),
                format!("_blocks.{i}._bn1"),
            ],
            Place::Project(i) => [
                format!("_blocks.{i}._project_conv"),
                format!("_blocks.{i}._bn2"),
            ],
            Place::Head => ["_conv_head".to_owned(), "_bn1".to_owned()],
        };
        let names = names.map(|name| format!("{from}{name}"));
        Conv::take_and_norm(checkpoint, names, shape, BATCH_NORM_EPS)
    })
}

/// Takes a network, up to its pooled features, whose batch norms are folded already and whose keys
/// are ours behind `from`, into weights under `to`.
///
/// # Errors
/// As [`super::import`].
pub(crate) fn folded(
    config: &InvertedResidualConfig,
    checkpoint: &mut Checkpoint,
    from: &str,
    weights: &mut Weights,
    to: &str,
) -> Result<(), Error> {
    import(config, weights, to, |place, shape| {
        Conv::take(checkpoint, &format!("{from}{}", place.name()), shape)
    })
}

impl Place {
    /// As the tower calls it.
    fn name(self) -> String {
        match self {
            Self::Stem => "stem".to_owned(),
            Self::Expand(i) => format!("blocks.{i}.expand"),
            Self::Depthwise(i) => format!("blocks.{i}.depthwise"),
            Self::Project(i) => format!("blocks.{i}.project"),
            Self::Head => "head".to_owned(),
        }
    }
}

fn import(
    config: &InvertedResidualConfig,
    weights: &mut Weights,
    to: &str,
    mut take: impl FnMut(Place, Shape) -> Result<Conv, Error>,
) -> Result<(), Error> {
    let name = |place: Place| format!("{to}.{}", place.name());
    take(Place::Stem, Shape::dense(config.stem, 3, 3))?.put_patches(weights, &name(Place::Stem));
    for (i, block) in config.blocks().into_iter().enumerate() {
        if block.expands() {
            take(Place::Expand(i), Shape::dense(block.hidden, block.input, 1))?
                .put_linear(weights, &name(Place::Expand(i)));
        }
        take(
            Place::Depthwise(i),
            Shape::depthwise(block.hidden, [block.kernel; 2]),
        )?
        .put_depthwise(weights, &name(Place::Depthwise(i)), block.hidden);
        take(
            Place::Project(i),
            Shape::dense(block.output, block.hidden, 1),
        )?
        .put_linear(weights, &name(Place::Project(i)));
    }
    take(
        Place::Head,
        Shape::dense(config.features, config.last_channels(), 1),
    )?
    .put_linear(weights, &name(Place::Head));
    Ok(())
}

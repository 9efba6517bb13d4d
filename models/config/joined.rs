//! Sizes of two image towers that share one space: for drawings, and for photographs.

use serde::{Deserialize, Serialize};

use super::check::ensure;
use super::fastvit::FastVitConfig;
use super::image::ImageConfig;
use super::inverted_residual::InvertedResidualConfig;
use crate::error::Error;

/// Most numbers of a part of an embedding, and most classes.
const MOST_NUMBERS: usize = 65_536;
/// Longest side that a picture is brought to, in pixels.
const MOST_EDGE: usize = 4096;

/// Two image towers in one space.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct JoinedConfig {
    /// The tower for drawings.
    pub drawn: FastVitConfig,
    /// Numbers that it gives.
    pub drawn_dim: usize,
    /// The tower for photographs.
    pub photographs: PhotographConfig,
}

/// The half for photographs, and how both halves are joined.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PhotographConfig {
    /// Preprocessing of the image.
    pub image: ImageConfig,
    /// What the image's shortest side becomes before the centre is cut out.
    pub edge: usize,
    /// The encoder.
    pub net: InvertedResidualConfig,
    /// Classes of its classifier.
    pub classes: usize,
    /// What their logits are divided by before the softmax.
    pub temperature: f32,
    /// Numbers of a class's embedding.
    pub seen: usize,
    /// Numbers for what no text says of a picture.
    pub details: usize,
    /// The share of the classes' embedding in that half, against the details; of length, not of its
    /// square.
    pub seen_share: f32,
    /// The share that says which world a picture is of.
    pub world_share: f32,
}

impl JoinedConfig {
    /// Numbers of a text before it is brought to length 1: both halves and one for each world.
    pub fn text_dim(&self) -> usize {
        self.drawn_dim + self.photographs.seen + 2
    }

    pub(super) fn check(&self, embed_dim: usize) -> Result<(), Error> {
        self.drawn.check()?;
        let photographs = &self.photographs;
        photographs.image.check()?;
        photographs.net.check()?;
        ensure(photographs.edge >= photographs.image.size, || {
            format!(
                "photographs.edge {} is less than image_size {}",
                photographs.edge, photographs.image.size
            )
        })?;
        ensure(photographs.edge <= MOST_EDGE, || {
            format!("photographs.edge {} is over {MOST_EDGE}", photographs.edge)
        })?;
        for (name, size) in [
            ("drawn_dim", self.drawn_dim),
            ("photographs.classes", photographs.classes),
            ("photographs.seen", photographs.seen),
            ("photographs.details", photographs.details),
        ] {
            ensure((1..=MOST_NUMBERS).contains(&size), || {
                format!("{name} {size} is not between 1 and {MOST_NUMBERS}")
            })?;
        }
        ensure(photographs.temperature > 0.0, || {
            "photographs.temperature is not positive".into()
        })?;
        for (name, share) in [
            ("seen_share", photographs.seen_share),
            ("world_share", photographs.world_share),
        ] {
            ensure((0.0..=1.0).contains(&share), || {
                format!("photographs.{name} {share} is not between 0 and 1")
            })?;
        }
        let dim = self.text_dim() + photographs.details + 2;
        ensure(dim == embed_dim, || {
            format!("embed_dim is {embed_dim}, its parts have {dim} numbers")
        })
    }
}

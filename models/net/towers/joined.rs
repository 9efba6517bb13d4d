//! Two image towers in one space: one for drawings and kinds of image, one for photographs, and a
//! gate that says how much of which a picture is.
//!
//! The photographs' half is a convex combination of class embeddings (ConSE,
//! <https://arxiv.org/abs/1312.5650>): `softmax(logits / T) @ classes`. Beside it stand details of
//! the picture that no text has, so that two dogs of one breed are alike and not the same.
//!
//! An embedding is `[drawn | seen | two worlds | details | missing in texts | missing in pictures]`.
//! The halves of a picture weigh `sqrt(1 - gate)` and `sqrt(gate)`. What a vector lacks to length 1
//! stands in a number that the other side has at 0, so that a cosine is the product of what both
//! know, whatever either lacks.

use burn::tensor::{Tensor, activation};

use super::fastvit::FastVit;
use super::layers::Linear;
use super::mobilenet::InvertedResidualNet;
use crate::config::{JoinedConfig, PhotographConfig};
use crate::error::Error;
use crate::net::ops::{Map, Then};
use crate::net::weights::Scope;

/// The image tower.
pub(crate) struct Joined {
    drawn: FastVit,
    photographs: InvertedResidualNet,
    /// Logits of the encoder's classes.
    classifier: Linear,
    /// `[classes, seen]`
    classes: Linear,
    /// Details of a picture, and as the last number the logit of the gate.
    details: Linear,
    config: PhotographConfig,
}

impl Joined {
    pub(super) fn new(config: &JoinedConfig, scope: &mut Scope) -> Result<Self, Error> {
        let drawn = FastVit::new(&config.drawn, config.drawn_dim, scope)?;
        let config = config.photographs.clone();
        let features = config.net.features;
        let mut linear =
            |name: &str, input, output| Linear::new(input, output, &mut scope.at(name).exact());
        Ok(Self {
            classifier: linear("classifier", features, config.classes)?,
            details: linear("details", features, config.details + 1)?,
            classes: Linear::without_bias(
                config.classes,
                config.seen,
                &mut scope.at("classes").exact(),
            )?,
            photographs: InvertedResidualNet::new(&config.net, &mut scope.at("photographs"))?,
            drawn,
            config,
        })
    }

    /// The same pictures as each tower takes them to `[n, embed_dim]`, of length 1.
    pub(super) fn forward(&self, images: Map, photographs: Map) -> Tensor<2> {
        let config = &self.config;
        let n = images.n;
        let drawn = unit(self.drawn.forward(images));
        let features = self.photographs.forward(photographs);
        let logits = self.classifier.forward(features.clone(), Then::Nothing);
        let shares = activation::softmax(logits / config.temperature, 1);
        let seen = self.classes.forward(shares, Then::Nothing);
        let details = self.details.forward(features, Then::Nothing);
        let gate = activation::sigmoid(details.clone().narrow(1, config.details, 1));
        let details = unit(details.narrow(1, 0, config.details));

        let (as_drawn, as_seen) = ((gate.clone().neg() + 1.0).sqrt(), gate.clone().sqrt());
        let rest = |share: f32| (1.0 - share * share).sqrt();
        let inside = rest(config.world_share);
        // Of all the parts only `seen` is shorter than its share. Taken from it alone, what is
        // missing keeps its digits where the picture is a drawing.
        let missing = missing(&seen) * as_seen.clone() * (inside * config.seen_share);
        let seen = seen * as_seen.clone() * (inside * config.seen_share);
        let details = details * as_seen.clone() * (inside * rest(config.seen_share));
        let worlds = Tensor::cat(vec![as_drawn.clone(), as_seen], 1) * config.world_share;
        let of_texts = Tensor::zeros([n, 1], &gate.device());
        let drawn = drawn * as_drawn * inside;
        Tensor::cat(vec![drawn, seen, worlds, details, of_texts, missing], 1)
    }

    /// Texts of any length, `[n, drawn + seen + 2]`, to `[n, embed_dim]` of length 1. One that is
    /// longer is shortened.
    pub(super) fn text(&self, known: Tensor<2>) -> Tensor<2> {
        let [n, _] = known.dims();
        let missing = missing(&known);
        let known = known.clone() / length(known).clamp_min(1.0);
        let device = known.device();
        let zeros = |numbers| Tensor::zeros([n, numbers], &device);
        Tensor::cat(
            vec![known, zeros(self.config.details), missing, zeros(1)],
            1,
        )
    }
}

/// The rows' lengths: `[n, 1]`.
fn length(rows: Tensor<2>) -> Tensor<2> {
    rows.powf_scalar(2.0).sum_dim(1).sqrt()
}

/// What rows lack to length 1: `[n, 1]`, 0 where they are longer.
fn missing(rows: &Tensor<2>) -> Tensor<2> {
    let squares = rows.clone().powf_scalar(2.0).sum_dim(1);
    (squares.neg() + 1.0).clamp_min(0.0).sqrt()
}

/// The rows' directions.
fn unit(rows: Tensor<2>) -> Tensor<2> {
    rows.clone() / length(rows).clamp_min(1e-12)
}

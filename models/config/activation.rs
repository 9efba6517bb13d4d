//! The activation of transformers.

use serde::{Deserialize, Serialize};

/// The activation between the two layers of a transformer's feed-forward network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU in its exact form, x Phi(x). <https://arxiv.org/abs/1606.08415>
    #[default]
    Gelu,
    /// Its approximation by a hyperbolic tangent.
    GeluTanh,
    /// Its approximation x sigmoid(1.702 x), which OpenAI's CLIP has.
    QuickGelu,
}

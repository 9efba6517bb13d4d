//! The model inside the program: small, ours, under the project's licence.

use serde::Deserialize;

use crate::config::ModelConfig;
use crate::error::Error;

/// Its name.
pub(crate) const NAME: &str = "omnizap-mini";

/// What comes with a model beside its weights.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Manifest {
    /// Sentences around a label, `{}` being the label.
    #[serde(default)]
    pub(crate) templates: Vec<String>,
    /// The labels that it was made for.
    #[serde(default)]
    pub(crate) default_labels: Vec<String>,
    /// The licence of the weights.
    #[serde(default)]
    pub(crate) licence: String,
    /// Parameters of both towers in millions.
    #[serde(default)]
    pub(crate) params_millions: Option<f32>,
}

/// The embedded model's parts.
pub(crate) struct Embedded {
    pub(crate) config: ModelConfig,
    pub(crate) manifest: Manifest,
    pub(crate) safetensors: &'static [u8],
    /// SHA-256 of the weights in hexadecimal.
    pub(crate) fingerprint: String,
}

/// The embedded model.
///
/// # Errors
/// [`Error::NoEmbeddedModel`] when this program was built without.
pub(crate) fn load() -> Result<Embedded, Error> {
    Err(Error::NoEmbeddedModel)
}

//! The model inside the program: small, ours, under the project's licence. Its weights and its
//! manifest are files beside this one; where they come from is told in `training/`.

use serde::Deserialize;
use serde_json::Map;

use crate::confidence::Confidence;
use crate::config::ModelConfig;
use crate::error::Error;
use crate::files::mapping::{EMBEDDED_MODEL, Mapping};

/// Its name.
pub(crate) const NAME: &str = "omnizap-mini";

#[cfg(embedded_model)]
const MANIFEST: Option<&str> = Some(include_str!("embedded/omnizap-mini.json"));
#[cfg(not(embedded_model))]
const MANIFEST: Option<&str> = None;

/// What comes with a model beside its weights.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// Sentences around a label, `{}` being the label.
    pub(crate) templates: Vec<String>,
    /// The labels that it was made for.
    pub(crate) labels: Vec<String>,
    /// Labels that it was never taught, so that a score of one says nothing.
    pub(crate) unknown_labels: Vec<String>,
    /// Whether a check for unsafe content means something.
    pub(crate) knows_nsfw: bool,
    /// What its logits are worth.
    pub(crate) confidence: Confidence,
}

impl Manifest {
    /// What there is to say of a checkpoint that comes without a manifest. It was trained on
    /// pictures of the web with their captions, so it has seen unsafe ones.
    pub(crate) fn of_checkpoint() -> Self {
        Self {
            templates: Vec::new(),
            labels: Vec::new(),
            unknown_labels: Vec::new(),
            knows_nsfw: true,
            confidence: Confidence::UNMEASURED,
        }
    }
}

/// The manifest as it is written.
#[derive(Deserialize)]
struct File {
    config: ModelConfig,
    license: String,
    #[serde(default)]
    templates: Vec<String>,
    /// In named groups.
    #[serde(default)]
    default_labels: Map<String, serde_json::Value>,
    #[serde(default)]
    cannot_know: Limits,
    #[serde(default = "unmeasured")]
    confidence: Confidence,
}

fn unmeasured() -> Confidence {
    Confidence::UNMEASURED
}

/// What the model cannot know; a manifest that does not say so can.
#[derive(Deserialize)]
#[serde(default)]
struct Limits {
    labels: Vec<String>,
    /// Whether a check for unsafe content means something.
    nsfw: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            labels: Vec::new(),
            nsfw: true,
        }
    }
}

/// The embedded model's parts.
pub(crate) struct Embedded {
    pub(crate) config: ModelConfig,
    pub(crate) manifest: Manifest,
    /// The licence of the weights.
    pub(crate) licence: String,
    /// Its weights, in safetensors.
    pub(crate) file: &'static Mapping,
}

/// The embedded model.
///
/// # Errors
/// [`Error::NoEmbeddedModel`] when this program was built without, [`Error::BadConfig`] when its
/// manifest is wrong.
pub(crate) fn load() -> Result<Embedded, Error> {
    let files = EMBEDDED_MODEL.as_ref().zip(MANIFEST);
    let (file, manifest) = files.ok_or(Error::NoEmbeddedModel)?;
    parse(manifest, file)
}

fn parse(json: &str, weights: &'static Mapping) -> Result<Embedded, Error> {
    let bad = |error: serde_json::Error| Error::BadConfig(error.to_string());
    let file: File = serde_json::from_str(json).map_err(bad)?;
    file.config.check()?;
    let groups = file.default_labels.into_values();
    let labels = groups
        .map(serde_json::from_value)
        .collect::<Result<Vec<Vec<String>>, _>>()
        .map_err(bad)?;
    Ok(Embedded {
        config: file.config,
        manifest: Manifest {
            templates: file.templates,
            labels: labels.concat(),
            unknown_labels: file.cannot_know.labels,
            knows_nsfw: file.cannot_know.nsfw,
            confidence: file.confidence,
        },
        licence: file.license,
        file: weights,
    })
}

#[cfg(all(test, embedded_model))]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_whole() {
        let embedded = load().unwrap();
        assert_eq!(embedded.config.name, NAME);
        let manifest = embedded.manifest;
        assert!(
            manifest
                .templates
                .iter()
                .all(|template| template.contains("{}"))
        );
        assert!(!manifest.labels.is_empty());
        assert!(
            manifest
                .unknown_labels
                .iter()
                .all(|label| manifest.labels.contains(label))
        );
        assert!(!embedded.licence.is_empty());
    }

    #[test]
    fn only_a_manifest_that_says_so_takes_the_nsfw_check_away() {
        let whole: serde_json::Value = serde_json::from_str(MANIFEST.unwrap()).unwrap();
        let knows = |limits: Option<serde_json::Value>| {
            let mut file = whole.as_object().unwrap().clone();
            file.remove("cannot_know");
            file.extend(limits.map(|limits| ("cannot_know".to_owned(), limits)));
            let json = serde_json::to_string(&file).unwrap();
            parse(&json, load().unwrap().file)
                .unwrap()
                .manifest
                .knows_nsfw
        };
        assert!(knows(None));
        assert!(knows(Some(serde_json::json!({}))));
        assert!(knows(Some(serde_json::json!({ "labels": ["x"] }))));
        assert!(!knows(Some(serde_json::json!({ "nsfw": false }))));
        assert!(Manifest::of_checkpoint().knows_nsfw);
    }
}

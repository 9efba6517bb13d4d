//! The published models by name: what each is, how its images are prepared, where its weights are.

mod table;

use crate::config::{ModelConfig, Tower};
use crate::error::{Error, nearest};

pub use table::presets;

/// A published model, spelled as open_clip spells it.
#[derive(Debug)]
pub struct Preset {
    /// The name, such as `MobileCLIP-S1`.
    pub name: &'static str,
    /// The trained weights that exist; the first is the default.
    pub weights: &'static [Weights],
    /// Parameters of the image and of the text tower, in millions, as published.
    pub params_millions: (f32, f32),
    /// The licence of the weights.
    pub licence: Licence,
    config: fn() -> ModelConfig,
}

/// One set of trained weights of a preset.
#[derive(Debug)]
pub struct Weights {
    /// The tag, such as `datacompdr`.
    pub tag: &'static str,
    /// The repository on the hub, `owner/name`.
    pub repository: &'static str,
    /// The files that the repository may hold, the preferred one first.
    pub files: &'static [&'static str],
    /// Zero-shot top-1 accuracy on ImageNet-1k in percent, as published.
    pub imagenet_zero_shot: f32,
}

/// A licence of weights.
#[derive(Debug, PartialEq, Eq)]
pub struct Licence {
    /// Its short name.
    pub name: &'static str,
    /// Where its text is.
    pub url: &'static str,
    /// What a user must know before a download, in one sentence.
    pub summary: &'static str,
    /// Whether the weights may be used for research only.
    pub research_only: bool,
}

impl Preset {
    /// The preset of this name, whatever its case.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] with the nearest name.
    pub fn find(name: &str) -> Result<&'static Self, Error> {
        let name = name.trim();
        presets()
            .iter()
            .find(|preset| preset.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::UnknownModel {
                name: name.to_owned(),
                nearest: nearest(name, presets().iter().map(|preset| preset.name)),
            })
    }

    /// The weights of this tag; as in open_clip, case does not count and `-` is `_`.
    ///
    /// # Errors
    /// [`Error::UnknownTag`] with the tags that exist.
    pub fn weights(&self, tag: &str) -> Result<&'static Weights, Error> {
        let wanted = tag.trim().to_ascii_lowercase().replace('-', "_");
        self.weights
            .iter()
            .find(|weights| weights.tag == wanted)
            .ok_or_else(|| Error::UnknownTag {
                model: self.name.to_owned(),
                tag: tag.to_owned(),
                tags: self
                    .weights
                    .iter()
                    .map(|weights| weights.tag)
                    .collect::<Vec<_>>()
                    .join(", "),
                nearest: nearest(&wanted, self.weights.iter().map(|weights| weights.tag)),
            })
    }

    /// The weights that are meant when no tag is given.
    pub fn default_weights(&self) -> &'static Weights {
        &self.weights[0]
    }

    /// The sizes of both towers and the image preprocessing.
    pub fn config(&self) -> ModelConfig {
        (self.config)()
    }

    /// Length of the embeddings.
    pub fn embed_dim(&self) -> usize {
        self.config().embed_dim
    }

    /// The family of the image tower in one word, for listings.
    pub fn family(&self) -> &'static str {
        match self.config().vision.tower {
            Tower::FastVit(_) => "FastViT",
            Tower::Vit(_) => "ViT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_consistent_and_found_by_its_name() {
        assert_eq!(presets().len(), 10);
        for preset in presets() {
            preset.config().check().expect(preset.name);
            assert_eq!(preset.config().name, preset.name);
            let found = Preset::find(&preset.name.to_lowercase()).expect(preset.name);
            assert_eq!(found.name, preset.name);
            assert!(!preset.weights.is_empty(), "{}", preset.name);
        }
    }

    #[test]
    fn a_wrong_name_suggests_the_right_one() {
        let error = Preset::find("MobileCLIP-S7").unwrap_err().to_string();
        assert!(error.contains("did you mean 'MobileCLIP"), "{error}");
        let error = Preset::find("resnet").unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn tags_are_found_as_open_clip_finds_them() {
        let preset = Preset::find("MobileCLIP-B").unwrap();
        assert_eq!(
            preset.weights("DATACOMPDR-LT").unwrap().tag,
            "datacompdr_lt"
        );
        let error = preset.weights("datacomp").unwrap_err().to_string();
        assert!(error.contains("did you mean 'datacompdr'"), "{error}");
    }
}

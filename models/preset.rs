//! The published models by name: what each is, how its images are prepared, where its weights are.

mod mobileclip;
mod openclip;
mod parts;
mod siglip;
mod tinyclip;

use std::path::Path;

use crate::beside;
use crate::config::ModelConfig;
use crate::error::{Error, nearest};

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
    /// The file in which their authors say which activation they have, read where it lies beside them.
    described_in: Option<&'static str>,
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
    /// The files that belong beside them.
    pub beside: &'static [&'static str],
    /// Zero-shot top-1 accuracy on ImageNet-1k in percent, as published.
    pub imagenet_zero_shot: f32,
    /// What their card says of deployment where it puts that out of scope, word for word.
    pub out_of_scope: Option<&'static str>,
    /// What they change in the preset's configuration.
    adapt: fn(&mut ModelConfig),
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

/// Every published model: those that anybody may use first.
pub fn presets() -> impl Iterator<Item = &'static Preset> + Clone {
    let others = [tinyclip::PRESETS, siglip::PRESETS, mobileclip::PRESETS];
    openclip::PRESETS.iter().chain(others.into_iter().flatten())
}

impl Preset {
    /// The preset of this name, whatever its case.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] with the nearest name.
    pub fn find(name: &str) -> Result<&'static Self, Error> {
        let name = name.trim();
        presets()
            .find(|preset| preset.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::UnknownModel {
                name: name.to_owned(),
                nearest: nearest(name, presets().map(|preset| preset.name)),
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

    /// The same for these weights of it.
    pub fn config_of(&self, weights: &Weights) -> ModelConfig {
        let mut config = self.config();
        (weights.adapt)(&mut config);
        config
    }

    /// Takes over what the authors of a checkpoint say of it in a file beside it.
    ///
    /// # Errors
    /// [`Error::BadConfig`] when that file cannot be understood.
    pub(crate) fn read_beside(
        &self,
        config: &mut ModelConfig,
        checkpoint: &Path,
    ) -> Result<(), Error> {
        match self.described_in {
            Some(name) => beside::take_over(config, checkpoint, name),
            None => Ok(()),
        }
    }

    /// What these weights of it may be used for, in a few words.
    pub fn may_be_used_for(&self, weights: &Weights) -> &'static str {
        match (self.licence.research_only, weights.out_of_scope) {
            (true, _) => "research only",
            (false, None) => "anything",
            (false, Some(_)) => "anything; its card puts deployment out of scope",
        }
    }

    /// Length of the embeddings.
    pub fn embed_dim(&self) -> usize {
        self.config().embed_dim
    }

    /// The family of the image tower in one word, for listings.
    pub fn family(&self) -> &'static str {
        self.config().vision.tower.family()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Activation, Tower};

    #[test]
    fn every_preset_is_consistent_and_found_by_its_name() {
        for preset in presets() {
            let same = presets().filter(|other| other.name.eq_ignore_ascii_case(preset.name));
            assert_eq!(same.count(), 1, "{}", preset.name);
            assert_eq!(preset.config().name, preset.name);
            for weights in preset.weights {
                preset.config_of(weights).check().expect(preset.name);
                assert_eq!(preset.weights(weights.tag).unwrap().tag, weights.tag);
            }
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
    fn weights_change_what_they_were_trained_with() {
        let preset = Preset::find("ViT-B-32").unwrap();
        let activations = |tag: &str| {
            let config = preset.config_of(preset.weights(tag).unwrap());
            let Tower::Vit(tower) = config.vision.tower else {
                panic!("expected a ViT");
            };
            (tower.activation, config.text.activation)
        };
        let (exact, quick) = (Activation::Gelu, Activation::QuickGelu);
        assert_eq!(activations("datacomp_xl_s13b_b90k"), (exact, exact));
        assert_eq!(activations("laion2b_s34b_b79k"), (exact, exact));
        assert_eq!(activations("openai"), (quick, quick));
        let preset = Preset::find("ViT-L-14").unwrap();
        let mean = |tag: &str| {
            let weights = preset.weights(tag).unwrap();
            preset.config_of(weights).vision.image.mean
        };
        assert_eq!(mean("laion2b_s32b_b82k"), [0.5; 3]);
        assert_ne!(mean("datacomp_xl_s13b_b90k"), [0.5; 3]);
    }

    #[test]
    fn what_may_be_used_for_what_is_said() {
        for (name, tag, uses) in [
            ("MobileCLIP-S1", "datacompdr", "research only"),
            ("TinyCLIP-ViT-39M-16-Text-19M", "yfcc15m", "anything"),
            ("ViT-B-16-SigLIP2", "webli", "anything"),
            (
                "ViT-B-32-256",
                "datacomp_s34b_b86k",
                "anything; its card puts deployment out of scope",
            ),
        ] {
            let preset = Preset::find(name).unwrap();
            let weights = preset.weights(tag).unwrap();
            assert_eq!(preset.may_be_used_for(weights), uses, "{name}");
        }
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

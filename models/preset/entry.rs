//! What is said of a published model.

use omnizap_contract::common::names::nearest;

use crate::config::ModelConfig;
use crate::error::Error;

/// What a tokenizer beside weights is called.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Where open_clip writes a model's sizes.
pub(crate) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
/// Where transformers does.
pub(crate) const TRANSFORMERS_CONFIG: &str = "config.json";

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
    pub(crate) described_in: Option<&'static str>,
    pub(super) config: fn() -> ModelConfig,
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
    pub(super) adapt: fn(&mut ModelConfig),
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
                nearest: nearest(&wanted, self.weights.iter().map(|weights| weights.tag))
                    .map(str::to_owned),
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

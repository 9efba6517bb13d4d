//! What models there are, and what of them is on this machine.

use std::path::PathBuf;

use crate::embedded;
use crate::files::cache::Cache;
use crate::files::record;
use crate::preset::presets;

/// One line of the list: a model with one set of weights.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The model's name.
    pub name: String,
    /// The tag of its weights, or `embedded`.
    pub tag: String,
    /// The family of its image tower.
    pub family: String,
    /// Parameters of both towers in millions, when known.
    pub params_millions: Option<f32>,
    /// Length of its embeddings.
    pub dim: Option<usize>,
    /// Its licence.
    pub licence: String,
    /// Whether that allows research only.
    pub research_only: bool,
    /// What it may be used for, in a few words.
    pub may_be_used_for: &'static str,
    /// Zero-shot top-1 accuracy on ImageNet-1k in percent, as published.
    pub imagenet_zero_shot: Option<f32>,
    /// Where its weights are on this machine.
    pub path: Option<PathBuf>,
    /// Whether an imported record is kept, so that it starts fast.
    pub imported: bool,
    /// Whether it is ready without any download.
    pub embedded: bool,
}

/// Every model, the embedded one first.
pub fn list(cache: &Cache) -> Vec<Entry> {
    let embedded = embedded::load().ok().map(|embedded| Entry {
        name: embedded::NAME.to_owned(),
        tag: "embedded".to_owned(),
        family: embedded.config.vision.tower.family().to_owned(),
        params_millions: Some(embedded.file.as_ref().len() as f32 / 2e6),
        dim: Some(embedded.config.embed_dim),
        licence: embedded.licence.clone(),
        research_only: false,
        may_be_used_for: "anything",
        imagenet_zero_shot: None,
        path: None,
        imported: true,
        embedded: true,
    });
    let published = presets().flat_map(|preset| {
        preset.weights.iter().map(move |weights| {
            let path = cache.find(weights);
            let kept = |path: &PathBuf| {
                record::places(path, preset.name, cache)
                    .iter()
                    .any(|place| place.is_file())
            };
            Entry {
                name: preset.name.to_owned(),
                tag: weights.tag.to_owned(),
                family: preset.family().to_owned(),
                params_millions: Some(preset.params_millions.0 + preset.params_millions.1),
                dim: Some(preset.embed_dim()),
                licence: preset.licence.name.to_owned(),
                research_only: preset.licence.research_only,
                may_be_used_for: preset.may_be_used_for(weights),
                imagenet_zero_shot: Some(weights.imagenet_zero_shot),
                imported: path.as_ref().is_some_and(kept),
                path,
                embedded: false,
            }
        })
    });
    embedded.into_iter().chain(published).collect()
}

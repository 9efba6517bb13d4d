//! The space of a value: which model made its numbers. It is told from the names in options alone,
//! so that a pipeline file can be checked where no file of a model is.

use std::sync::Arc;

use omnizap_contract::Options;
use omnizap_models::{NSFW_MODEL, Preset, Source, expand_home, looks_like_a_path, names_a_config};

use crate::inference::clip::prepared_id;

/// The space of the embeddings of a model, by its name and its weights, which mean what they mean
/// to [`Source::resolve`]. [`None`] where they do not tell: an unknown name, or weights that may be
/// a tag with a mistake as well as a file.
pub(crate) fn of_clip(name: &str, pretrained: &str) -> Option<String> {
    let embedded = Source::Embedded;
    if name.is_empty() || name.eq_ignore_ascii_case(embedded.name()) {
        // It has no other weights, and whoever names some is told so elsewhere.
        let is_it = pretrained.is_empty();
        return is_it.then(|| embedded.name().to_owned());
    }
    if names_a_config(name) {
        let is_whole = !pretrained.is_empty();
        return is_whole.then(|| format!("{}:{}", whole(name), whole(pretrained)));
    }
    let preset = Preset::find(name).ok()?;
    let weights = if pretrained.is_empty() {
        preset.default_weights().tag.to_owned()
    } else if let Ok(weights) = preset.weights(pretrained) {
        weights.tag.to_owned()
    } else if looks_like_a_path(pretrained) {
        whole(pretrained)
    } else {
        return None;
    };
    Some(format!("{}:{weights}", preset.name))
}

/// The space of what the classifier of unsafe pictures says, with how the pictures were prepared:
/// what it said of others is not taken for its word.
#[must_use]
pub fn of_nsfw(options: &Options) -> String {
    let model: Arc<str> = NSFW_MODEL.into();
    prepared_id(&model, options).to_string()
}

/// A path from the root, so that `own.pt` and `./own.pt` are one file. Links are not followed:
/// that would be a look at the files.
fn whole(path: &str) -> String {
    let path = expand_home(path);
    let absolute = std::path::absolute(&path).unwrap_or(path);
    absolute.display().to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inference::clip::{MODEL, PREPARED, PRETRAINED};
    use crate::{Services, ServicesConfig};

    fn options(values: &[(&str, &str)]) -> Options {
        let values = values.iter();
        let values = values.map(|(name, value)| ((*name).to_owned(), json!(value)));
        Options::from_checked(values.collect())
    }

    #[test]
    fn what_is_spelt_in_different_ways_is_one_model() {
        let whole = std::env::current_dir().unwrap().join("own.pt");
        let whole = whole.to_str().unwrap();
        for (one, other) in [
            (("", ""), ("omnizap-mini", "")),
            (("", ""), ("OmniZap-Mini", "")),
            (("ViT-B-32", ""), ("vit-b-32", "DataComp-XL-S13B-B90K")),
            (("ViT-B-32", "own.pt"), ("vit-b-32", "./own.pt")),
            (("ViT-B-32", "own.pt"), ("ViT-B-32", whole)),
            (("a/own.json", "own.pt"), ("./a/./own.json", whole)),
        ] {
            let space = of_clip(one.0, one.1);
            assert!(space.is_some(), "{one:?}");
            assert_eq!(space, of_clip(other.0, other.1), "{one:?} {other:?}");
        }
    }

    #[test]
    fn other_names_other_weights_and_other_files_are_other_models() {
        let all = [
            ("", ""),
            ("ViT-B-32", ""),
            ("ViT-B-32", "openai"),
            ("ViT-B-32", "own.pt"),
            ("ViT-B-32", "a/own.pt"),
            ("ViT-B-32", "weights/here"),
            ("ViT-B-32-256", ""),
            ("ViT-B-32-256", "own.pt"),
            ("own.json", "own.pt"),
            ("own.json", "other.pt"),
            ("other.json", "own.pt"),
        ];
        let spaces: Vec<_> = all.map(|(name, weights)| of_clip(name, weights)).into();
        for (place, space) in spaces.iter().enumerate() {
            assert!(space.is_some(), "{:?}", all[place]);
            assert!(!spaces[..place].contains(space), "{:?}", all[place]);
        }
    }

    #[test]
    fn what_the_names_do_not_tell_is_not_known() {
        for (name, weights) in [
            ("ViT-B-23", ""),
            ("ViT-B-32", "opena"),
            ("omnizap-mini", "openai"),
            ("", "openai"),
            ("own.json", ""),
        ] {
            assert_eq!(of_clip(name, weights), None, "{name} {weights}");
        }
    }

    #[test]
    fn a_stage_that_names_no_model_has_the_one_of_the_program() {
        let services = |name: Option<&str>, weights: Option<&str>| {
            Services::new(ServicesConfig {
                model_name: name.map(str::to_owned),
                model_pretrained: weights.map(str::to_owned),
                ..ServicesConfig::default()
            })
        };
        let unset = options(&[(MODEL.name(), " "), (PRETRAINED.name(), "")]);
        let openai = options(&[(MODEL.name(), "vit-b-32"), (PRETRAINED.name(), "openai")]);
        let weights_alone = options(&[(PRETRAINED.name(), "openai")]);
        let plain = services(None, None);
        assert_eq!(plain.space_of(&unset).as_deref(), Some("omnizap-mini"));
        let chosen = services(Some("ViT-B-32"), Some("openai"));
        assert_eq!(chosen.space_of(&unset), plain.space_of(&openai));
        let named = services(Some("ViT-B-32"), None);
        assert_ne!(named.space_of(&unset), plain.space_of(&openai));
        assert_eq!(named.space_of(&weights_alone), plain.space_of(&openai));
    }

    #[test]
    fn the_classifier_is_one_and_pictures_may_be_prepared_for_it() {
        let plain = of_nsfw(&options(&[]));
        assert_eq!(plain, of_nsfw(&options(&[(PREPARED.name(), "")])));
        let prepared = of_nsfw(&options(&[(PREPARED.name(), "x")]));
        assert_eq!(prepared, format!("{plain}+x"));
    }
}

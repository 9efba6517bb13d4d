//! Which model is meant: the two settings `CLIP_MODEL_NAME` and `CLIP_MODEL_PRETRAINED`, parsed once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::ModelConfig;
use crate::embedded;
use crate::error::Error;
use crate::preset::{Preset, Weights};

/// The ending of a configuration of a model of your own.
const CONFIG_ENDING: &str = "json";

/// Where a model's weights come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The small model inside the program.
    Embedded,
    /// Published weights, pulled from their hub.
    Tag {
        /// The architecture.
        preset: &'static Preset,
        /// The trained weights.
        weights: &'static Weights,
    },
    /// A checkpoint file, read as this architecture.
    Path {
        /// The architecture, whose preprocessing the file gets too.
        preset: &'static Preset,
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint file of a model of your own, of one of the families.
    Custom {
        /// Its sizes and preprocessing.
        config: Arc<ModelConfig>,
        /// The file.
        path: PathBuf,
    },
}

impl Source {
    /// What a model name and a tag or path mean together.
    ///
    /// No name, or `omnizap-mini`, is the embedded model. A name without tag is the preset's first
    /// weights. A value that is no tag is a path, `~/` is the home folder. A name that ends in
    /// `.json` is the path of a [`ModelConfig`]: a model of your own, whose checkpoint is named too.
    ///
    /// # Errors
    /// [`Error::UnknownModel`] and [`Error::UnknownTag`] with the nearest name,
    /// [`Error::ModelNameMissing`] for weights without a name, [`Error::Io`] and
    /// [`Error::BadConfig`] for a configuration that cannot be read.
    pub fn resolve(model_name: Option<&str>, pretrained: Option<&str>) -> Result<Self, Error> {
        let name = model_name.map(str::trim).filter(|name| !name.is_empty());
        let pretrained = pretrained.map(str::trim).filter(|value| !value.is_empty());
        let Some(name) = name else {
            return match pretrained {
                None => Ok(Self::Embedded),
                Some(value) => Err(Error::ModelNameMissing(value.to_owned())),
            };
        };
        if name.eq_ignore_ascii_case(embedded::NAME) {
            return match pretrained {
                None => Ok(Self::Embedded),
                Some(value) => Err(Error::UnknownTag {
                    model: embedded::NAME.to_owned(),
                    tag: value.to_owned(),
                    tags: "none, it is part of the program".to_owned(),
                    nearest: None,
                }),
            };
        }
        if names_a_config(name) {
            return Self::custom(expand_home(name), pretrained);
        }
        let preset = Preset::find(name)?;
        let Some(value) = pretrained else {
            return Ok(Self::Tag {
                preset,
                weights: preset.default_weights(),
            });
        };
        preset
            .weights(value)
            .map(|weights| Self::Tag { preset, weights })
            .or_else(|unknown| {
                let path = expand_home(value);
                if path.is_file() || looks_like_a_path(value) {
                    Ok(Self::Path { preset, path })
                } else {
                    Err(unknown)
                }
            })
    }

    /// A model of your own: its configuration and its checkpoint.
    fn custom(config: PathBuf, checkpoint: Option<&str>) -> Result<Self, Error> {
        let bad = |reason: &str| Error::BadConfig(format!("{}: {reason}", config.display()));
        let checkpoint = checkpoint.ok_or_else(|| {
            bad("it has no published weights; set CLIP_MODEL_PRETRAINED to its checkpoint")
        })?;
        let json = std::fs::read_to_string(&config).map_err(|source| Error::Io {
            action: "read the model configuration",
            path: config.clone(),
            source,
        })?;
        let parsed = ModelConfig::from_json(&json).map_err(|error| match error {
            Error::BadConfig(reason) => bad(&reason),
            other => other,
        })?;
        Ok(Self::Custom {
            config: Arc::new(parsed),
            path: expand_home(checkpoint),
        })
    }

    /// `NAME` or `NAME:TAG`, as the command line takes it.
    ///
    /// # Errors
    /// As [`Source::resolve`].
    pub fn parse(name_and_tag: &str) -> Result<Self, Error> {
        match name_and_tag.split_once(':') {
            Some((name, tag)) => Self::resolve(Some(name), Some(tag)),
            None => Self::resolve(Some(name_and_tag), None),
        }
    }

    /// The model's name, as the `model` field of an answer shows it.
    pub fn name(&self) -> &str {
        match self {
            Self::Embedded => embedded::NAME,
            Self::Tag { preset, .. } | Self::Path { preset, .. } => preset.name,
            Self::Custom { config, .. } => &config.name,
        }
    }
}

/// True for a value that is a path, whether or not a file is there.
#[must_use]
pub fn looks_like_a_path(value: &str) -> bool {
    value.contains('/')
        || value.contains('\\')
        || has_ending(value, crate::files::checkpoint::ENDINGS)
}

/// True for a name that is the path of a `ModelConfig`.
#[must_use]
pub fn names_a_config(name: &str) -> bool {
    has_ending(name, &[CONFIG_ENDING])
}

fn has_ending(value: &str, endings: &[&str]) -> bool {
    Path::new(value)
        .extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| endings.contains(&ending))
}

/// A path, with the home folder for `~/`.
#[must_use]
pub fn expand_home(value: &str) -> PathBuf {
    match (value.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_is_embedded() {
        assert!(matches!(Source::resolve(None, None), Ok(Source::Embedded)));
        assert!(matches!(
            Source::resolve(Some(" "), Some("")),
            Ok(Source::Embedded)
        ));
        assert!(matches!(
            Source::resolve(Some("omnizap-mini"), None),
            Ok(Source::Embedded)
        ));
    }

    #[test]
    fn a_name_takes_its_first_tag_and_a_tag_is_checked() {
        let Ok(Source::Tag { preset, weights }) = Source::resolve(Some("mobileclip-s1"), None)
        else {
            panic!("expected a tag");
        };
        assert_eq!((preset.name, weights.tag), ("MobileCLIP-S1", "datacompdr"));
        let error = Source::parse("MobileCLIP-S1:datacompd")
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean 'datacompdr'"), "{error}");
        assert!(matches!(
            Source::resolve(None, Some("datacompdr")),
            Err(Error::ModelNameMissing(_))
        ));
    }

    #[test]
    fn a_configuration_is_a_model_of_your_own() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("own.json");
        let name = config.to_str().unwrap();
        let refused = |checkpoint| match Source::resolve(Some(name), checkpoint) {
            Ok(source) => panic!("{source:?}"),
            Err(error) => error.to_string(),
        };
        assert!(refused(None).contains("CLIP_MODEL_PRETRAINED"));
        assert!(refused(Some("own.pt")).contains("own.json"));
        std::fs::write(&config, "{\"name\": \"own\"}").unwrap();
        let error = refused(Some("own.pt"));
        assert!(
            error.contains("own.json: missing field `embed_dim`"),
            "{error}"
        );
        std::fs::write(&config, include_str!("tests/fixtures/vit-plain.json")).unwrap();
        let source = Source::resolve(Some(name), Some("own.bin")).unwrap();
        assert_eq!(source.name(), "vit-plain");
    }

    #[test]
    fn what_looks_like_a_path_is_one() {
        for value in ["./s1.pt", "weights.safetensors", "/models/x"] {
            let source = Source::resolve(Some("MobileCLIP-S1"), Some(value)).unwrap();
            assert!(matches!(source, Source::Path { .. }), "{value}");
        }
    }
}

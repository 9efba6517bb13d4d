//! Which model is meant, and whether what it would be opened from is here. Nothing large is read,
//! so that a pipeline file can be checked before a start, which finds the same mistakes first.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use omnizap_models::config::{ModelConfig, TextTokenizer};
use omnizap_models::{Cache, Error, Source, catalog};

/// What a tokenizer beside a checkpoint is called.
const TOKENIZER: &str = "tokenizer.json";
/// The endings of files that can be opened as a checkpoint.
const ENDINGS: [&str; 4] = ["safetensors", "pt", "pth", "bin"];

/// The model of this name with these weights, a tag or a path; empty strings leave the choice to
/// the models crate.
///
/// # Errors
/// As [`Source::resolve`].
pub(super) fn meant(name: &str, pretrained: &str) -> Result<Source, Error> {
    Source::resolve(Some(name), Some(pretrained))
}

/// Looks for the files of a model.
///
/// # Errors
/// What opening the model would say of the first one that is not there.
pub(super) fn look(source: &Source, cache: &Cache) -> Result<(), Error> {
    match source {
        Source::Embedded => Ok(()),
        Source::Tag { preset, weights } => {
            let checkpoint = cache.find(weights).ok_or_else(|| Error::NotPulled {
                model: preset.name.to_owned(),
                tag: weights.tag.to_owned(),
                looked_in: cache.root().to_owned(),
            })?;
            look_for_tokenizer(&checkpoint, &preset.config_of(weights))
        }
        Source::Path { preset, path } => {
            look_for_checkpoint(path)?;
            look_for_tokenizer(path, &preset.config())
        }
        Source::Custom { config, path } => {
            look_for_checkpoint(path)?;
            look_for_tokenizer(path, config)
        }
    }
}

/// Looks for the model inside the program, where that is meant.
///
/// # Errors
/// [`Error::NoEmbeddedModel`] where the program was built without.
pub(super) fn ensure_embedded(source: &Source, cache: &Cache) -> Result<(), Error> {
    let is_here = || catalog::list(cache).iter().any(|entry| entry.embedded);
    if !matches!(source, Source::Embedded) || is_here() {
        return Ok(());
    }
    Err(Error::NoEmbeddedModel)
}

fn look_for_checkpoint(path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io {
        action: "open the checkpoint",
        path: path.to_owned(),
        source,
    };
    // Opening what is no file, such as a pipe, may take for ever.
    if fs::metadata(path).map_err(io)?.is_file() {
        File::open(path).map_err(io)?;
    }
    let ending = path.extension().and_then(OsStr::to_str);
    if ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
        return Ok(());
    }
    Err(Error::UnknownFormat(path.to_owned()))
}

/// Where the model's tokenizer is a file, it lies beside the weights.
fn look_for_tokenizer(checkpoint: &Path, config: &ModelConfig) -> Result<(), Error> {
    if config.text.tokenizer != TextTokenizer::File {
        return Ok(());
    }
    let path = checkpoint.with_file_name(TOKENIZER);
    match fs::metadata(&path) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::BadTokenizer {
            reason: error.to_string(),
            path,
        }),
    }
}

#[cfg(test)]
mod tests {
    use omnizap_models::{Device, Model};

    use super::*;

    /// What is said of a model whose weights are looked for in an empty folder, by the look and by
    /// the opening.
    fn said(name: &str, pretrained: &str) -> [Option<String>; 2] {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let source = meant(name, pretrained).unwrap();
        let opened = Model::open(&source, &cache, Device::default());
        [look(&source, &cache).err(), opened.err()]
            .map(|error| error.map(|error| error.to_string()))
    }

    #[test]
    fn what_is_missing_is_told_as_the_opening_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (absent, other) = (path("absent.safetensors"), path("other.onnx"));
        fs::write(&other, "no checkpoint").unwrap();
        for (name, pretrained, wanted) in [
            ("ViT-B-32", "", "is not on this machine"),
            ("ViT-B-32", &*absent, "cannot open the checkpoint"),
            (
                "ViT-B-32",
                &other,
                "is no checkpoint: expected .safetensors",
            ),
        ] {
            let [found, opened] = said(name, pretrained);
            assert_eq!(found, opened, "{pretrained}");
            let found = found.unwrap();
            assert!(found.contains(wanted), "{found}");
        }
    }

    #[test]
    fn what_lies_there_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        for ending in ENDINGS {
            let lonely = folder.path().join(format!("lonely.{ending}"));
            fs::write(&lonely, "no checkpoint").unwrap();
            let plain = meant("ViT-B-32", lonely.to_str().unwrap()).unwrap();
            assert!(look(&plain, &cache).is_ok(), "{ending}");
            let opened = Model::open(&plain, &cache, Device::default());
            let opened = opened.err().unwrap();
            assert!(!matches!(opened, Error::UnknownFormat(_)), "{opened}");

            let siglip = meant("ViT-B-16-SigLIP2", lonely.to_str().unwrap()).unwrap();
            let error = look(&siglip, &cache).unwrap_err().to_string();
            assert!(error.contains(TOKENIZER), "{error}");
            fs::write(folder.path().join(TOKENIZER), "{}").unwrap();
            assert!(look(&siglip, &cache).is_ok());
            fs::remove_file(folder.path().join(TOKENIZER)).unwrap();
        }
    }

    #[test]
    fn the_model_inside_the_program_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let source = meant("", "").unwrap();
        assert!(look(&source, &cache).is_ok());
        assert!(ensure_embedded(&source, &cache).is_ok());
    }
}

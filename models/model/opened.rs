//! From a source to folded weights: the kept record where there is one, else the checkpoint itself.

use std::path::{Path, PathBuf};

use omnizap_contract::common::digest::Sha256Hex;

use crate::config::ModelConfig;
use crate::embedded;
use crate::error::Error;
use crate::files::cache::Cache;
use crate::files::checkpoint::{self, Checkpoint};
use crate::files::mapping::Mapping;
use crate::files::record::Record;
use crate::files::{beside, import, record};
use crate::net::weights::Weights;
use crate::source::Source;

/// A source whose weights are folded and in memory, or mapped.
pub(super) struct Opened {
    pub(super) config: ModelConfig,
    pub(super) weights: Weights,
    /// Where the weights are, unless in memory of their own.
    pub(super) mapping: Option<Mapping>,
    pub(super) fingerprint: Sha256Hex,
    pub(super) manifest: embedded::Manifest,
}

impl Opened {
    /// From the kept record if there is one, else imported, and the record kept.
    pub(super) fn kept(file: CheckpointFile, cache: &Cache) -> Result<Self, Error> {
        if let Some(record) = record::find(&file.path, &file.config, cache) {
            return Ok(file.mapped(record));
        }
        let (weights, hash) = file.import()?;
        match record::keep(weights, &file.path, hash, &file.config, cache) {
            // Mapped from the record, the weights need no memory of their own.
            Ok(place) => tracing::info!(record = %place.display(), "checkpoint imported and kept"),
            Err(reason) => {
                tracing::warn!(%reason, "the next start will import the checkpoint again")
            }
        }
        match record::find(&file.path, &file.config, cache) {
            Some(record) => Ok(file.mapped(record)),
            None => Self::afresh(file),
        }
    }

    /// Imported, whatever is kept.
    pub(super) fn afresh(file: CheckpointFile) -> Result<Self, Error> {
        let (weights, hash) = file.import()?;
        Ok(file.opened(weights, hash))
    }

    /// The model inside the program.
    pub(super) fn embedded() -> Result<Self, Error> {
        let embedded = embedded::load()?;
        let bytes = embedded.file.as_ref();
        let checkpoint = Checkpoint::from_safetensors(bytes, embedded::NAME)?;
        let (weights, fingerprint) = import_hashed(
            || import::import(checkpoint, &embedded.config),
            || Ok(Sha256Hex::of(bytes)),
        )?;
        Ok(Self {
            config: embedded.config,
            weights,
            mapping: Some(embedded.file.clone()),
            fingerprint,
            manifest: embedded.manifest,
        })
    }
}

/// A checkpoint on disk and what it is to be read as.
pub(super) struct CheckpointFile {
    pub(super) path: PathBuf,
    pub(super) config: ModelConfig,
    /// True where the sizes and the preprocessing are those of the preset, to the last.
    is_the_presets: bool,
}

impl CheckpointFile {
    /// The file of a source; the embedded model has none.
    pub(super) fn of(source: &Source, cache: &Cache) -> Result<Option<Self>, Error> {
        let (path, mut config, preset) = match source {
            Source::Embedded => return Ok(None),
            Source::Tag { preset, weights } => (
                cache.require(preset.name, weights)?,
                preset.config_of(weights),
                Some(preset),
            ),
            Source::Path { preset, path } => {
                // `pull` says where the file of a tag is: named by its path it is no other.
                let is_this = |known: PathBuf| known == *path || same_file(&known, path);
                let mut published = preset.weights.iter();
                let weights = published.find(|weights| cache.find(weights).is_some_and(is_this));
                let config = weights.map_or_else(|| preset.config(), |own| preset.config_of(own));
                (path.clone(), config, Some(preset))
            }
            Source::Custom { config, path } => (path.clone(), ModelConfig::clone(config), None),
        };
        if let Some(name) = preset.and_then(|preset| preset.described_in) {
            beside::take_over(&mut config, &path, name)?;
        }
        config.check()?;
        let is_the_presets = preset.is_some_and(|preset| preset.config() == config);
        Ok(Some(Self {
            path,
            is_the_presets,
            config,
        }))
    }

    /// Folds the checkpoint, and hashes it beside.
    fn import(&self) -> Result<(Weights, Sha256Hex), Error> {
        let import = || {
            let checkpoint = Checkpoint::open(&self.path, &self.config.name)?;
            import::import(checkpoint, &self.config)
        };
        import_hashed(import, || checkpoint::digest(&self.path))
    }

    /// `hash`: of the checkpoint. One file read in two ways gives two sets of vectors, which must
    /// not be compared: what differs from the preset is a part of the fingerprint.
    fn opened(self, weights: Weights, hash: Sha256Hex) -> Opened {
        let fingerprint = match self.is_the_presets {
            true => hash,
            false => Sha256Hex::of(format!("{hash}{}", record::describe(&self.config)).as_bytes()),
        };
        Opened {
            manifest: embedded::Manifest::of_checkpoint(),
            config: self.config,
            weights,
            mapping: None,
            fingerprint,
        }
    }

    /// The same of a kept record.
    fn mapped(self, record: Record) -> Opened {
        Opened {
            mapping: Some(record.mapping),
            ..self.opened(record.weights, record.source_sha256)
        }
    }
}

/// Imports, and hashes on a thread of its own meanwhile; an error of the import comes first.
fn import_hashed(
    import: impl FnOnce() -> Result<Weights, Error>,
    hash: impl FnOnce() -> Result<Sha256Hex, Error> + Send,
) -> Result<(Weights, Sha256Hex), Error> {
    std::thread::scope(|scope| {
        let hash = scope.spawn(hash);
        let weights = import()?;
        let hash = hash
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((weights, hash))
    })
}

/// True for two names of one file.
fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

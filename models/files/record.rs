//! The kept record: folded weights beside the checkpoint that they come from, in Burn's own format,
//! so that the next start maps them instead of folding again.
//!
//! A record says which file it was made of: its SHA-256, and its length and time of change, which
//! spare hashing hundreds of megabytes at every start. If those differ the hash decides; if that
//! differs too the record is made anew. Records are written beside their final name and renamed.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use burn::store::bridge;
use burn::store::burn_pack::{Error as PackError, Reader, Writer};
use omnizap_contract::common::digest::Sha256Hex;

use crate::config::ModelConfig;
use crate::error::Error;
use crate::files::cache::Cache;
use crate::files::checkpoint;
use crate::files::mapping::Mapping;
use crate::net::weights::Weights;

/// Counts up whenever folding or the layout of weights changes.
const FORMAT: &str = "4";

/// A record as it was found.
pub(crate) struct Record {
    pub(crate) weights: Weights,
    /// Where they are.
    pub(crate) mapping: Mapping,
    /// SHA-256 of the checkpoint.
    pub(crate) source_sha256: Sha256Hex,
}

/// What tells one state of a file from another without reading it.
#[derive(PartialEq, Eq)]
struct Stamp {
    length: String,
    /// Nanoseconds since 1970.
    changed: String,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let metadata = std::fs::metadata(path).map_err(io)?;
        let changed = metadata
            .modified()
            .map_err(io)?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self {
            length: metadata.len().to_string(),
            changed: changed.as_nanos().to_string(),
        })
    }
}

/// Where the record of a checkpoint may be: beside it, else among the cache's own.
pub(crate) fn places(source: &Path, model: &str, cache: &Cache) -> [PathBuf; 2] {
    let file = source.file_name().unwrap_or_default().to_string_lossy();
    let beside = source.with_file_name(format!("{file}.{model}.bpk"));
    let absolute = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
    let key = Sha256Hex::of(absolute.as_os_str().as_encoded_bytes());
    let apart = cache
        .root()
        .join("omnizap")
        .join(format!("{key:.16}.{model}.bpk"));
    [beside, apart]
}

/// The first usable record of a checkpoint.
pub(crate) fn find(source: &Path, config: &ModelConfig, cache: &Cache) -> Option<Record> {
    places(source, &config.name, cache).iter().filter(|place| place.is_file()).find_map(|place| {
        load(place, source, config)
            .inspect_err(|reason| tracing::info!(record = %place.display(), %reason, "kept record not used"))
            .ok()
    })
}

/// Maps a record, if it was made of `source` as it is now.
fn load(place: &Path, source: &Path, config: &ModelConfig) -> Result<Record, String> {
    let (reader, mapping) = open(place)?;
    let metadata = reader.metadata();
    let value = |key: &str| metadata.get(key).cloned().unwrap_or_default();
    if value("omnizap_format") != FORMAT {
        return Err("made by another version".to_owned());
    }
    if describe(config) != *value("config") {
        return Err(format!("made for other sizes, those of {}", value("model")));
    }
    let source_sha256 = Sha256Hex::parse(&value("source_sha256"))
        .ok_or_else(|| "it does not say what it was made of".to_owned())?;
    let kept = Stamp {
        length: value("source_length"),
        changed: value("source_changed"),
    };
    let now = Stamp::of(source).map_err(|error| error.to_string())?;
    let same = kept == now
        || kept.length == now.length
            && checkpoint::digest(source).map_err(|error| error.to_string())? == source_sha256;
    if !same {
        return Err("the checkpoint has changed".to_owned());
    }
    Ok(Record {
        weights: weights(reader)?,
        mapping,
        source_sha256,
    })
}

/// Maps a file in the format of records.
pub(crate) fn open(place: &Path) -> Result<(Reader, Mapping), String> {
    let mapping = Mapping::of(place).map_err(|error| error.to_string())?;
    let reader = Reader::from_bytes(mapping.bytes()).map_err(|error| error.to_string())?;
    Ok((reader, mapping))
}

/// All that it holds.
pub(crate) fn weights(reader: Reader) -> Result<Weights, String> {
    let mut weights = Weights::default();
    for tensor in reader.into_tensors().map_err(|error| error.to_string())? {
        let name = tensor.name.clone();
        weights.put_data(
            name,
            bridge::into_data(tensor).map_err(|error| error.to_string())?,
        );
    }
    Ok(weights)
}

/// Keeps folded weights beside their checkpoint, or in the cache when that folder is read-only.
///
/// # Errors
/// The reason of the last place that was tried.
pub(crate) fn keep(
    weights: Weights,
    source: &Path,
    source_sha256: Sha256Hex,
    config: &ModelConfig,
    cache: &Cache,
) -> Result<PathBuf, Error> {
    let stamp = Stamp::of(source)?;
    let tensors: Vec<_> = weights
        .into_data()
        .into_iter()
        .map(|(name, data)| bridge::from_data(data, name, None))
        .collect();
    let [beside, apart] = places(source, &config.name, cache);
    let write = |place: &Path| {
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| PackError::IoError(error.to_string()))?;
        }
        Writer::new(tensors.clone())
            .with_metadata("omnizap_format", FORMAT)
            .with_metadata("model", &config.name)
            .with_metadata("config", &describe(config))
            .with_metadata("source_sha256", &source_sha256)
            .with_metadata("source_length", &stamp.length)
            .with_metadata("source_changed", &stamp.changed)
            .auto_extension(false)
            .write_to_file(place)
    };
    match write(&beside) {
        Ok(()) => Ok(beside),
        Err(reason) => {
            tracing::debug!(place = %beside.display(), %reason, "keeping the record in the cache instead");
            write(&apart)
                .map(|()| apart.clone())
                .map_err(|error| Error::Io {
                    action: "keep the imported model as",
                    path: apart,
                    source: std::io::Error::other(error.to_string()),
                })
        }
    }
}

/// Tells one configuration from another: the SHA-256 of its JSON.
pub(crate) fn describe(config: &ModelConfig) -> Sha256Hex {
    let json = serde_json::to_vec(config).unwrap_or_default();
    Sha256Hex::of(&json)
}

//! Plugins of pipeline files, loaded once each and kept for as long as the process lives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use omnizap_contract::Kind;
use omnizap_contract::common::digest::Sha256Hex;

use crate::error::FileError;
use crate::file::{admit, check_permissions, read};
use crate::library::Library;
use crate::manifest::{Manifest, read_manifest};
use crate::stage::{Limits, PluginKind};

/// A plugin that a file allows, and the kinds of stages that it brings.
pub struct Plugin {
    /// Its file.
    pub path: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its stages.
    pub kinds: Vec<Arc<dyn Kind>>,
}

/// Loads plugins, each file once.
pub struct Loader {
    cache: PathBuf,
    is_safe: bool,
    limits: Limits,
    open: Mutex<BTreeMap<Sha256Hex, Arc<Library>>>,
}

impl Loader {
    /// A loader that keeps copies in `cache`. Where `is_safe`, no library is opened and its
    /// stages are withheld.
    #[must_use]
    pub fn new(cache: PathBuf, is_safe: bool, limits: Limits) -> Self {
        Self {
            cache,
            is_safe,
            limits,
            open: Mutex::new(BTreeMap::new()),
        }
    }

    /// True where no library is opened.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.is_safe
    }

    /// Loads one file under the hash that is allowed.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn load(&self, path: &Path, sha256: &Sha256Hex) -> Result<Plugin, FileError> {
        if self.is_safe {
            let manifest = read_manifest(&read(path)?)?;
            return Ok(self.plugin(path, manifest, None));
        }
        let (bytes, copy) = admit(path, sha256, &self.cache)?;
        let Ok(mut open) = self.open.lock() else {
            return Err(FileError::Open("another plugin stopped the loader".into()));
        };
        let library = match open.get(sha256) {
            Some(library) => library.clone(),
            None => {
                let manifest = read_manifest(&bytes)?;
                let library = Library::open(&copy, manifest)?;
                open.insert(*sha256, library.clone());
                library
            }
        };
        let manifest = library.manifest.clone();
        Ok(self.plugin(path, manifest, Some(library)))
    }

    fn plugin(&self, path: &Path, manifest: Manifest, library: Option<Arc<Library>>) -> Plugin {
        let name = format!("{} {}", manifest.name, manifest.version);
        let kinds = manifest
            .stages
            .iter()
            .map(|stage| {
                let kind = PluginKind::new(stage, name.clone(), library.clone(), self.limits);
                Arc::new(kind) as Arc<dyn Kind>
            })
            .collect();
        Plugin {
            path: path.to_owned(),
            manifest,
            kinds,
        }
    }
}

/// What `allow` must know of a file before it is allowed.
///
/// # Errors
/// See [`FileError`].
pub fn inspect(path: &Path) -> Result<(Manifest, Sha256Hex), FileError> {
    let canonical = path.canonicalize().map_err(|source| FileError::Io {
        path: path.display().to_string(),
        source,
    })?;
    let bytes = read(&canonical)?;
    let manifest = read_manifest(&bytes)?;
    Ok((manifest, Sha256Hex::of(&bytes)))
}

/// Whether a file's permissions would let it be loaded.
///
/// # Errors
/// [`FileError::Writable`].
pub fn check_file(path: &Path) -> Result<(), FileError> {
    let canonical = path.canonicalize().map_err(|source| FileError::Io {
        path: path.display().to_string(),
        source,
    })?;
    check_permissions(&canonical)
}

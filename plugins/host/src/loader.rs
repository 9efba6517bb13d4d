//! Plugins of pipeline files, loaded once each and kept for as long as the process lives.
//!
//! A library is opened on a thread of its own: its constructors and its `init` may not return. A
//! constructor that does not return holds the system's loader, without which no thread of the
//! process begins or ends: it is named, and the process ends where it is told to, but it cannot go
//! on. Whoever must go on tries the file in a process of its own first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use omnizap_contract::Kind;
use omnizap_contract::common::digest::Sha256Hex;

use crate::errand::{Errand, Unreturned, within_async};
use crate::error::FileError;
use crate::file::{admit, check_permissions, read};
use crate::host::inside::Hook;
use crate::host::{Lost, crash};
use crate::library::Library;
use crate::manifest::{Manifest, read_manifest};
use crate::needs;
use crate::stage::{Limits, PluginKind};

/// How often the instances that are left are looked at, at the end.
const LOOK: Duration = Duration::from_millis(5);

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
    open: Mutex<BTreeMap<Sha256Hex, Opened>>,
}

/// How the opening of a file stands.
enum Opened {
    Open(Arc<Library>),
    /// It has not come back.
    Late(Opening),
}

/// A file that is being opened.
struct Opening {
    plugin: String,
    errand: Errand<Result<Arc<Library>, FileError>>,
}

impl Opening {
    fn start(copy: PathBuf, manifest: Manifest) -> Result<Self, FileError> {
        let plugin = manifest.name.clone();
        let errand = Errand::start(None, move || Library::open(&copy, manifest, true));
        let errand = errand.map_err(|error| FileError::Open(format!("it {error}")))?;
        Ok(Self { plugin, errand })
    }

    /// What it came to; `None` where it goes on.
    fn wait(&self, limit: Duration) -> Option<Result<Arc<Library>, FileError>> {
        match self.errand.wait(limit) {
            Ok(opened) => Some(opened),
            Err(Unreturned::Late(..)) => None,
            Err(error) => Some(Err(FileError::Open(format!("it {error}")))),
        }
    }

    fn late(&self, limit: Duration) -> FileError {
        FileError::Late {
            plugin: self.plugin.clone(),
            hook: self.errand.hook().name(),
            limit,
        }
    }
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

    /// Loads one file under the hash that is allowed. It takes [`Limits::hook_time`] at most: a
    /// file whose constructors or `init` have not returned by then is refused, and not tried again
    /// until they have.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn load(&self, path: &Path, sha256: &Sha256Hex) -> Result<Plugin, FileError> {
        if self.is_safe {
            let manifest = read_manifest(&read(path)?)?;
            return Ok(self.plugin(path, manifest, None));
        }
        let (bytes, copy) = admit(path, sha256, &self.cache)?;
        let library = self.open(sha256, copy, &bytes)?;
        let manifest = library.manifest.clone();
        Ok(self.plugin(path, manifest, Some(library)))
    }

    fn open(
        &self,
        sha256: &Sha256Hex,
        copy: PathBuf,
        bytes: &[u8],
    ) -> Result<Arc<Library>, FileError> {
        // One at a time, as the system's loader has it anyway.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.limits.hook_time;
        match open.get(sha256) {
            Some(Opened::Open(library)) => return Ok(library.clone()),
            Some(Opened::Late(opening)) => {
                let ended = opening.wait(Duration::ZERO);
                let ended = ended.ok_or_else(|| opening.late(limit))?;
                return keep(&mut open, sha256, ended);
            }
            None => {}
        }
        let manifest = read_manifest(bytes)?;
        needs::check(&manifest.needs)?;
        let held = open.values().find_map(|opened| match opened {
            Opened::Late(opening) if opening.errand.hook() == Hook::Constructor => {
                Some(opening.plugin.clone())
            }
            _ => None,
        });
        if let Some(plugin) = held {
            return Err(FileError::LoaderHeld(plugin));
        }
        crash::install();
        let opening = Opening::start(copy, manifest)?;
        match opening.wait(limit) {
            Some(ended) => {
                crash::be_first_at_exit();
                keep(&mut open, sha256, ended)
            }
            None => {
                let late = opening.late(limit);
                // Not told in the log here: a line may need what a constructor holds.
                open.insert(*sha256, Opened::Late(opening));
                Err(late)
            }
        }
    }

    /// Calls the `deinit` of every library whose instances are gone, and waits for those that go on
    /// their way: at most so long, all of them together. The log names each that does not come
    /// back. Nothing can be loaded after; what is called once the stages are closed.
    pub async fn close(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let libraries: Vec<Arc<Library>> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let all = std::mem::take(&mut *open).into_values();
            all.filter_map(|opened| match opened {
                Opened::Open(library) => Some(library),
                Opened::Late(_) => None,
            })
            .collect()
        };
        for library in libraries {
            let host = library.host;
            let has_lost = || host.lost(Lost::Call) + host.lost(Lost::Hook) > 0;
            let has_instances = || library.instances.load(Ordering::Relaxed) > 0;
            while has_instances() && !has_lost() && Instant::now() < deadline {
                tokio::time::sleep(LOOK).await;
            }
            let left = library.instances.load(Ordering::Relaxed);
            if left > 0 {
                tracing::warn!(
                    plugin = host.name(),
                    instances = left,
                    "deinit of the plugin is not called: instances of it are still in use"
                );
                continue;
            }
            if has_lost() {
                // It may be in `create`, of which no instance is known yet.
                tracing::warn!(
                    plugin = host.name(),
                    "deinit of the plugin is not called: calls of it have never returned"
                );
                continue;
            }
            // One that has little time left may still be quick.
            let time = deadline.saturating_duration_since(Instant::now()).max(LOOK);
            if let Err(late) = within_async(host, time, move || library.deinit()).await {
                tracing::error!(plugin = host.name(), "the plugin {late}");
            }
        }
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

/// Keeps a library that was opened; one that was refused is tried anew the next time.
fn keep(
    open: &mut BTreeMap<Sha256Hex, Opened>,
    sha256: &Sha256Hex,
    ended: Result<Arc<Library>, FileError>,
) -> Result<Arc<Library>, FileError> {
    match &ended {
        Ok(library) => open.insert(*sha256, Opened::Open(library.clone())),
        Err(_) => open.remove(sha256),
    };
    ended
}

/// What `allow` must know of a file before it is allowed.
///
/// # Errors
/// See [`FileError`].
pub fn inspect(path: &Path) -> Result<(Manifest, Sha256Hex), FileError> {
    let bytes = read(&canonical(path)?)?;
    let manifest = read_manifest(&bytes)?;
    Ok((manifest, Sha256Hex::of(&bytes)))
}

/// The same of a file that its permissions, and what it loads beside itself, let be loaded.
///
/// # Errors
/// [`FileError::Writable`], [`FileError::Uncovered`], or why it cannot be read.
pub fn check_file(path: &Path) -> Result<(Manifest, Sha256Hex), FileError> {
    check_permissions(&canonical(path)?)?;
    let (manifest, sha256) = inspect(path)?;
    needs::check(&manifest.needs)?;
    Ok((manifest, sha256))
}

/// Whether the hash of a file covers all that it loads.
///
/// # Errors
/// [`FileError::Uncovered`].
pub fn check_needs(manifest: &Manifest) -> Result<(), FileError> {
    needs::check(&manifest.needs)
}

fn canonical(path: &Path) -> Result<PathBuf, FileError> {
    path.canonicalize().map_err(|source| FileError::Io {
        path: path.display().to_string(),
        source,
    })
}

//! A library's file: who may write to it, what its hash is, and its copy in the cache.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use omnizap_contract::abi;
use sha2::{Digest as _, Sha256};

/// Largest library, in bytes.
pub const MAX_FILE_LEN: u64 = 256 << 20;
/// Permission bits by which somebody else than the owner may write.
const OTHERS_WRITE: u32 = 0o022;

/// Why a file is not opened; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system said no.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file is over the limit.
    #[error("{0} is larger than {MAX_FILE_LEN} bytes")]
    TooLarge(String),
    /// Somebody else may write to it.
    #[error(
        "{what} {path} may be written by its group or by everybody (mode {mode:o}): chmod go-w {path}"
    )]
    Writable {
        /// `the file` or `the folder`.
        what: &'static str,
        /// Which.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not the file that was allowed.
    #[error(
        "the file's SHA-256 is {found}, allowed is {allowed}: if the new file is wanted, run `omnizap plugins validate` on it, then `omnizap plugins allow`"
    )]
    Hash {
        /// In the pipeline file.
        allowed: String,
        /// Of the file.
        found: String,
    },
    /// No shared library at all.
    #[error("this is no plugin: {0}; expected a shared library (.so) for 64-bit Linux")]
    NotALibrary(String),
    /// For another machine.
    #[error("the plugin was built for {found}, this host is {host}: build it for this machine")]
    Architecture {
        /// Of the file.
        found: String,
        /// Ours.
        host: String,
    },
    /// No entry.
    #[error(
        "the library does not export `{}`: it is no plugin of OmniZap, or was linked without its entry (in C: OZ_EXPORT, in Rust: crate-type = [\"cdylib\"] and omnizap_plugin::export!)",
        abi::ENTRY_SYMBOL
    )]
    NoEntry,
    /// The entry is something else.
    #[error("the entry begins with {0:#018x}, not with OZ_MAGIC: build the plugin with omnizap_plugin.h of ABI {major}", major = abi::ABI_MAJOR)]
    Magic(u64),
    /// Another major version.
    #[error("the plugin speaks ABI {0}.{1}, this host speaks {major}.{minor}: get the plugin built for ABI {major}, or a host of ABI {0}", major = abi::ABI_MAJOR, minor = abi::ABI_MINOR)]
    Major(u32, u32),
    /// The host is too old.
    #[error("the plugin needs a host of ABI {major}.{0} or later, this one speaks {major}.{minor}: update OmniZap, or use an older version of the plugin", major = abi::ABI_MAJOR, minor = abi::ABI_MINOR)]
    HostTooOld(u32),
    /// A struct is shorter than its first version.
    #[error(
        "`{what}` is {size} bytes long, ABI {}.0 has {least}: set struct_size to sizeof({what})",
        abi::ABI_MAJOR
    )]
    ShortStruct {
        /// The struct.
        what: &'static str,
        /// What it says.
        size: usize,
        /// The least there may be.
        least: usize,
    },
    /// A function that must be there is not.
    #[error("the function `{0}` is NULL: every plugin must have it")]
    NullFunction(&'static str),
    /// A descriptor is wrong.
    #[error("the plugin's descriptors are wrong: {0}")]
    Descriptor(String),
    /// The loader of the system refused it.
    #[error(
        "the library could not be opened: {0}; if it needs another library, install that one or link it statically (`ldd` shows what is missing)"
    )]
    Open(String),
    /// `init` failed.
    #[error("the plugin's init failed: {0}")]
    Init(String),
}

/// SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing into a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Reads a library's file.
///
/// # Errors
/// [`FileError::Io`], [`FileError::TooLarge`].
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let io = |source| FileError::Io {
        path: path.display().to_string(),
        source,
    };
    if std::fs::metadata(path).map_err(io)?.len() > MAX_FILE_LEN {
        return Err(FileError::TooLarge(path.display().to_string()));
    }
    std::fs::read(path).map_err(io)
}

/// Refuses a file that its group or everybody may write to, or whose folder is such.
///
/// # Errors
/// [`FileError::Writable`] and [`FileError::Io`].
pub fn check_permissions(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    for (what, path) in [("the file", path), ("the folder", folder)] {
        let shown = path.display().to_string();
        let metadata = std::fs::metadata(path).map_err(|source| FileError::Io {
            path: shown.clone(),
            source,
        })?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & OTHERS_WRITE != 0 {
            return Err(FileError::Writable {
                what,
                path: shown,
                mode,
            });
        }
    }
    Ok(())
}

/// Checks a file against its hash and puts a copy into the cache; the copy's path.
///
/// # Errors
/// See [`FileError`].
pub(super) fn admit(
    path: &Path,
    allowed: &str,
    cache: &Path,
) -> Result<(Vec<u8>, PathBuf), FileError> {
    let io = |path: &Path| {
        let path = path.display().to_string();
        move |source| FileError::Io { path, source }
    };
    let path = path.canonicalize().map_err(io(path))?;
    check_permissions(&path)?;
    let bytes = read(&path)?;
    let found = sha256_hex(&bytes);
    if found != allowed {
        let allowed = allowed.to_owned();
        return Err(FileError::Hash { allowed, found });
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(cache)
        .map_err(io(cache))?;
    let cache = cache.canonicalize().map_err(io(cache))?;
    let copy = cache.join(format!("{found}.so"));
    let is_there = std::fs::read(&copy).is_ok_and(|there| there == bytes);
    if !is_there {
        // Under a name of its own first: another process may be doing the same.
        let partial = cache.join(format!("{found}.{}.part", std::process::id()));
        let mut file = std::fs::OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600);
        let mut file = file.open(&partial).map_err(io(&partial))?;
        io::Write::write_all(&mut file, &bytes).map_err(io(&partial))?;
        drop(file);
        std::fs::rename(&partial, &copy).map_err(io(&copy))?;
    }
    check_permissions(&copy)?;
    let copied = read(&copy)?;
    let found = sha256_hex(&copied);
    if found != allowed {
        let allowed = allowed.to_owned();
        return Err(FileError::Hash { allowed, found });
    }
    Ok((copied, copy))
}

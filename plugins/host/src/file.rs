//! A library's file: who may write to it, what its hash is, and its copy in the cache.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use omnizap_contract::common::digest::Sha256Hex;

use crate::error::FileError;

/// Largest library, in bytes.
pub const MAX_FILE_LEN: u64 = 256 << 20;
/// Permission bits by which somebody else than the owner may write.
const OTHERS_WRITE: u32 = 0o022;

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
        return Err(FileError::TooLarge {
            path: path.display().to_string(),
            limit: MAX_FILE_LEN,
        });
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
pub(crate) fn admit(
    path: &Path,
    allowed: &Sha256Hex,
    cache: &Path,
) -> Result<(Vec<u8>, PathBuf), FileError> {
    let io = |path: &Path| {
        let path = path.display().to_string();
        move |source| FileError::Io { path, source }
    };
    let path = path.canonicalize().map_err(io(path))?;
    check_permissions(&path)?;
    let bytes = read(&path)?;
    let found = Sha256Hex::of(&bytes);
    if found != *allowed {
        return Err(FileError::Hash {
            allowed: Box::new(*allowed),
            found: Box::new(found),
        });
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
    let found = Sha256Hex::of(&copied);
    if found != *allowed {
        return Err(FileError::Hash {
            allowed: Box::new(*allowed),
            found: Box::new(found),
        });
    }
    Ok((copied, copy))
}

//! A library's file: who may write to it, what its hash is, and its copy in the cache.

use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use omnizap_contract::common::digest::Sha256Hex;

use crate::error::FileError;

/// Largest library, in bytes.
pub const MAX_FILE_LEN: u64 = 256 << 20;
/// Permission bits by which somebody else than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// Copies that this process began: each is under a name of its own until it is whole.
static COPIES: AtomicU64 = AtomicU64::new(0);

/// Reads a library's file.
///
/// # Errors
/// [`FileError::Io`], [`FileError::TooLarge`].
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let io = |source| FileError::Io {
        path: path.display().to_string(),
        source,
    };
    let large = || FileError::TooLarge {
        path: path.display().to_string(),
        limit: MAX_FILE_LEN,
    };
    let file = std::fs::File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() > MAX_FILE_LEN {
        return Err(large());
    }
    // It may grow while it is read, and a device has no length.
    let mut bytes = Vec::new();
    let mut file = file.take(MAX_FILE_LEN + 1);
    file.read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(large());
    }
    Ok(bytes)
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
        // Another process may be doing the same, or another thread.
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let partial = cache.join(format!("{found}.{}-{number}.part", std::process::id()));
        // Never through a link that somebody has put there.
        let _ = std::fs::remove_file(&partial);
        let mut file = std::fs::OpenOptions::new();
        let file = file.write(true).create_new(true).mode(0o600);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no files")]
    fn several_may_copy_a_file_at_once_and_none_through_a_link() {
        let folder = std::env::temp_dir().join(format!("omnizap-file-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let cache = folder.join("cache");
        let mut made = fs::DirBuilder::new();
        made.recursive(true).mode(0o700).create(&cache).unwrap();
        let library = folder.join("a.so");
        let bytes: Vec<u8> = (0..1 << 20).map(|byte: u32| byte as u8).collect();
        fs::write(&library, &bytes).unwrap();
        fs::set_permissions(&library, fs::Permissions::from_mode(0o600)).unwrap();
        let allowed = Sha256Hex::of(&bytes);
        // Where the next of this process would be written.
        let elsewhere = folder.join("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        for number in 0..64 {
            let name = format!("{allowed}.{}-{number}.part", std::process::id());
            std::os::unix::fs::symlink(&elsewhere, cache.join(name)).unwrap();
        }
        std::thread::scope(|scope| {
            let all = [(); 8].map(|()| scope.spawn(|| admit(&library, &allowed, &cache)));
            for admitted in all {
                let (copied, copy) = admitted.join().unwrap().unwrap();
                assert!(copied == bytes && copy.parent() == Some(&*cache.canonicalize().unwrap()));
            }
        });
        assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
        assert_eq!(
            fs::read(cache.join(format!("{allowed}.so"))).unwrap(),
            bytes
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! Where fetched files are put.

use std::path::Path;

use super::ask::Remote;
use super::error::PullError;

/// True where all of a file's bytes are there.
pub(super) fn complete(blob: &Path, remote: &Remote) -> bool {
    blob.metadata()
        .is_ok_and(|metadata| metadata.len() == remote.size)
}

/// Links `path` to a blob; where links are not to be had it becomes a copy.
pub(super) fn link(blob: &Path, relative: &Path, path: &Path) -> Result<(), PullError> {
    if std::fs::canonicalize(path)
        .is_ok_and(|there| std::fs::canonicalize(blob).is_ok_and(|blob| blob == there))
    {
        return Ok(());
    }
    let io = |source| PullError::Io {
        action: "link",
        path: path.to_owned(),
        source,
    };
    let scratch = path.with_extension(format!("{}.tmp", std::process::id()));
    let _ = std::fs::remove_file(&scratch);
    #[cfg(unix)]
    std::os::unix::fs::symlink(relative, &scratch).map_err(io)?;
    #[cfg(not(unix))]
    {
        let _ = relative;
        std::fs::copy(blob, &scratch).map_err(io)?;
    }
    std::fs::rename(&scratch, path).map_err(io)
}

pub(super) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), PullError> {
    let io = |source| PullError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    std::io::Write::write_all(&mut file, content).map_err(io)?;
    file.persist(path)
        .map(drop)
        .map_err(|error| io(error.error))
}

pub(super) fn create_folder(folder: &Path) -> Result<(), PullError> {
    std::fs::create_dir_all(folder).map_err(|source| PullError::Io {
        action: "create",
        path: folder.to_owned(),
        source,
    })
}

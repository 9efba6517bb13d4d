//! Where pipelines come from: a folder, a file, or texts inside the program.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::pipeline::build::BuildError;
use crate::pipeline::config::PLUGINS_FILE;
use crate::pipeline::diagnostic::{Diagnostics, SourceText};
use crate::pipeline::layers::MAX_FILE_LEN;
use crate::pipeline::registry::DuplicateKind;

/// Most pipeline files of one folder.
pub const MAX_FILES: usize = 256;

/// Why pipelines could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder that cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A folder without pipelines, or with too many, or a file that is too large.
    #[error("{0}")]
    Folder(String),
    /// Mistakes in the files.
    #[error("in the pipelines\n\n{0}")]
    Mistakes(#[from] Diagnostics),
    /// Two stages of one name.
    #[error("in {file}: {source}")]
    Duplicate {
        /// The file that allows the second.
        file: String,
        /// Which.
        source: DuplicateKind,
    },
    /// A stage that could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Where pipelines come from. Decided once: a folder that vanishes later is a mistake, and not the
/// wish for others.
#[derive(Clone, Debug)]
pub enum Source {
    /// The pipeline files of a folder, or one file.
    Path(PathBuf),
    /// Texts that the program brings.
    Texts(Vec<SourceText>),
}

/// The name, size and time of change of each file of a source: another list means that something
/// changed.
pub type Stamps = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl Source {
    /// The texts as they are now.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn texts(&self) -> Result<Vec<SourceText>, LoadError> {
        match self {
            Self::Path(path) => read(path),
            Self::Texts(texts) => Ok(texts.clone()),
        }
    }

    /// What tells whether a text has changed.
    ///
    /// # Errors
    /// Of the file system: they say nothing of the files.
    pub fn stamps(&self) -> std::io::Result<Stamps> {
        let Self::Path(path) = self else {
            return Ok(Vec::new());
        };
        let mut paths = Vec::new();
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                paths.push(entry?.path());
            }
        } else {
            paths.push(path.clone());
        }
        paths.sort();
        let stamp = |path: PathBuf| {
            let metadata = std::fs::metadata(&path)?;
            Ok((path, metadata.len(), metadata.modified().ok()))
        };
        paths.into_iter().map(stamp).collect()
    }
}

/// Reads the pipeline files of a folder (`*.toml`, not its subfolders), or one file.
fn read(path: &Path) -> Result<Vec<SourceText>, LoadError> {
    let io = |source| LoadError::Io {
        path: path.display().to_string(),
        source,
    };
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(io)? {
            let file = entry.map_err(io)?.path();
            if file
                .extension()
                .is_some_and(|extension| extension == "toml")
                && file.file_name().is_some_and(|name| name != PLUGINS_FILE)
                && file.is_file()
            {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            let empty = format!("{} holds no pipeline: no *.toml file", path.display());
            return Err(LoadError::Folder(empty));
        }
        if files.len() > MAX_FILES {
            let many = format!("{} holds more than {MAX_FILES} pipelines", path.display());
            return Err(LoadError::Folder(many));
        }
    } else {
        files.push(path.to_owned());
    }
    let mut sources = Vec::with_capacity(files.len());
    for file in files {
        let io = |source| LoadError::Io {
            path: file.display().to_string(),
            source,
        };
        if std::fs::metadata(&file).map_err(io)?.len() > MAX_FILE_LEN {
            let large = format!("{} is larger than {MAX_FILE_LEN} bytes", file.display());
            return Err(LoadError::Folder(large));
        }
        let text = std::fs::read_to_string(&file).map_err(io)?;
        sources.push(SourceText::new(file.display().to_string(), text));
    }
    Ok(sources)
}

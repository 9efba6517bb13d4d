//! Where pipelines come from: a folder, a file, or texts inside the program.

mod folder;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::folder::Folder;
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
    #[error("cannot read {path}")]
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
    #[error("in {file}")]
    Duplicate {
        /// The file that allows the second.
        file: String,
        /// Which.
        source: DuplicateKind,
    },
    /// A stage that could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The mistakes that a process found which tried the files first, in its own words.
    #[error("{0}")]
    Tried(String),
    /// What a plugin did to a process that tried it first.
    #[error("tried in a process of its own, where nothing is harmed: {0}")]
    Trial(String),
    /// What was not waited for any longer.
    #[error("{0}")]
    GivenUp(String),
    /// No process to try plugins in, or no thread to load them on.
    #[error("the plugins cannot be tried or loaded")]
    Start(#[source] std::io::Error),
}

impl LoadError {
    /// True where it says nothing of the files: the same ones may be fine later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Start(_))
    }
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

/// What tells of each file of a source whether it has changed: another list means that something
/// changed.
pub type Stamps = Vec<Stamp>;

/// The name, size and time of change of a file.
pub type Stamp = (PathBuf, u64, Option<SystemTime>);

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

    /// What tells whether a text has changed, or what `plugins.toml` allows. What is hidden is none
    /// of them: an editor's own files change all the time.
    ///
    /// # Errors
    /// Of the file system: they say nothing of the files.
    pub fn stamps(&self) -> std::io::Result<Stamps> {
        let Self::Path(path) = self else {
            return Ok(Vec::new());
        };
        if !path.is_dir() {
            let beside = path.with_file_name(PLUGINS_FILE);
            let beside = stamp(beside).ok();
            return Ok([stamp(path.clone())?].into_iter().chain(beside).collect());
        }
        let mut stamps = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let path = entry?.path();
            if folder::is_hidden(&path) || !folder::is_toml(&path) {
                continue;
            }
            match stamp(path) {
                Ok(stamp) => stamps.push(stamp),
                // It went after the folder was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        stamps.sort();
        Ok(stamps)
    }
}

fn stamp(path: PathBuf) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(&path).or_else(|error| {
        // A link that leads nowhere is told by the link itself.
        let link = std::fs::symlink_metadata(&path)?;
        if link.is_symlink() {
            Ok(link)
        } else {
            Err(error)
        }
    })?;
    Ok((path, metadata.len(), metadata.modified().ok()))
}

/// Reads the pipeline files of a folder (`*.toml`, not its subfolders), or one file.
fn read(path: &Path) -> Result<Vec<SourceText>, LoadError> {
    if !path.is_dir() {
        return Ok(vec![read_file(path)?]);
    }
    let folder = Folder::look(path).map_err(|source| LoadError::Io {
        path: path.display().to_string(),
        source,
    })?;
    if folder.files.is_empty() {
        let empty = format!("{} holds no pipeline: no *.toml file", path.display());
        let passed_over = folder.passed_over();
        return Err(LoadError::Folder(match passed_over {
            Some(passed_over) => format!("{empty}; passed over: {passed_over}"),
            None => empty,
        }));
    }
    if folder.files.len() > MAX_FILES {
        let many = format!("{} holds more than {MAX_FILES} pipelines", path.display());
        return Err(LoadError::Folder(many));
    }
    folder.warn(path);
    folder.files.iter().map(|file| read_file(file)).collect()
}

fn read_file(file: &Path) -> Result<SourceText, LoadError> {
    let io = |source| LoadError::Io {
        path: file.display().to_string(),
        source,
    };
    if std::fs::metadata(file).map_err(io)?.len() > MAX_FILE_LEN {
        let large = format!("{} is larger than {MAX_FILE_LEN} bytes", file.display());
        return Err(LoadError::Folder(large));
    }
    let bytes = std::fs::read(file).map_err(io)?;
    Ok(SourceText::decode(file.display().to_string(), &bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use omnizap_contract::common::chain::chain;
    use tempfile::TempDir;

    use super::*;

    fn names(stamps: &[Stamp]) -> Vec<&str> {
        let names = stamps.iter().map(|(path, ..)| path.file_name());
        names.map(|name| name.unwrap().to_str().unwrap()).collect()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_a_stamp_like_any_other() {
        let folder = TempDir::new().unwrap();
        let source = Source::Path(folder.path().to_owned());
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("a.toml"), "a").unwrap();
        std::fs::write(file(".a.toml.swp"), "a").unwrap();
        symlink(file("gone.toml"), file("b.toml")).unwrap();
        symlink(file("c.toml"), file("c.toml")).unwrap();
        let before = source.stamps().unwrap();
        assert_eq!(names(&before), ["a.toml", "b.toml", "c.toml"]);
        // What it leads to comes into being.
        std::fs::write(file("gone.toml"), "another length than the link's").unwrap();
        let after = source.stamps().unwrap();
        assert_eq!(names(&after), ["a.toml", "b.toml", "c.toml", "gone.toml"]);
        assert_ne!(before[1], after[1]);
    }

    #[test]
    fn a_cause_is_told_once() {
        let missing = Source::Path("/nowhere/at/all.toml".into());
        let told = chain(&missing.texts().unwrap_err());
        assert!(
            told.starts_with("cannot read /nowhere/at/all.toml: "),
            "{told}"
        );
        assert_eq!(told.matches("os error").count(), 1, "{told}");
    }

    #[test]
    fn a_folder_without_pipelines_says_what_it_has_instead() {
        let folder = TempDir::new().unwrap();
        let source = Source::Path(folder.path().to_owned());
        let told = || source.texts().unwrap_err().to_string();
        assert!(told().ends_with("no *.toml file"), "{}", told());
        std::fs::write(folder.path().join("a.yaml"), "").unwrap();
        assert!(told().contains("passed over: a.yaml ("), "{}", told());
    }
}

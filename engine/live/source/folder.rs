//! What a folder of pipelines holds: its pipelines, and what might be meant as one and is none.

use std::io;
use std::path::{Path, PathBuf};

use super::MAX_FILES;
use crate::pipeline::config::PLUGINS_FILE;

/// Most names in one line of the log.
const MAX_TOLD: usize = 8;

/// A folder of pipelines.
#[derive(Default)]
pub(super) struct Folder {
    /// Its pipeline files.
    pub(super) files: Vec<PathBuf>,
    /// What is passed over though it might be meant, and why.
    strange: Vec<String>,
    /// Folders in it that hold pipelines of their own.
    below: Vec<String>,
}

/// True for what a listing leaves out, such as what editors and systems put beside a file.
pub(super) fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

/// True for a file that is read by its ending.
pub(super) fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "toml")
}

impl Folder {
    /// Looks at what is in a folder; no file is opened.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn look(path: &Path) -> io::Result<Self> {
        let mut folder = Self::default();
        for entry in std::fs::read_dir(path)? {
            folder.sort_in(entry?.path());
        }
        folder.files.sort();
        folder.strange.sort();
        folder.below.sort();
        Ok(folder)
    }

    fn sort_in(&mut self, path: PathBuf) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_hidden(&path) {
            tracing::debug!(file = %path.display(), "passed over: it is hidden");
            return;
        }
        if name == PLUGINS_FILE {
            return;
        }
        let ending = path.extension().unwrap_or_default();
        let is_toml = is_toml(&path);
        if is_toml && path.is_file() {
            self.files.push(path);
            return;
        }
        if path.is_dir() {
            if holds_pipelines(&path) {
                self.below.push(format!("{name}/"));
            }
            return;
        }
        let why = if is_toml && path.is_symlink() {
            "a link that leads to no file"
        } else if is_toml {
            "no file"
        } else if ending.eq_ignore_ascii_case("toml") {
            "expected the ending .toml, in lower case"
        } else if ["yaml", "yml"]
            .iter()
            .any(|other| ending.eq_ignore_ascii_case(other))
        {
            "expected TOML, with the ending .toml"
        } else {
            return;
        };
        self.strange.push(format!("{name} ({why})"));
    }

    /// All that might be meant and is passed over.
    pub(super) fn passed_over(&self) -> Option<String> {
        let below = self.below.iter().map(|name| format!("{name} (a folder)"));
        told(self.strange.iter().cloned().chain(below))
    }

    /// Logs what is passed over. Folders below are a way to keep sets of pipelines apart, and
    /// worth a line only to who runs a service.
    pub(super) fn warn(&self, path: &Path) {
        if let Some(names) = told(self.strange.iter().cloned()) {
            tracing::warn!("passed over in {}: {names}", path.display());
        }
        if let Some(names) = told(self.below.iter().cloned()) {
            tracing::debug!("folders in {} are not read: {names}", path.display());
        }
    }
}

fn holds_pipelines(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files = entries.flatten().take(MAX_FILES).map(|entry| entry.path());
    files.any(|file| !is_hidden(&file) && is_toml(&file))
}

/// These names in one line.
fn told(names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return None;
    }
    let mut line = names[..names.len().min(MAX_TOLD)].join(", ");
    if let Some(more @ 1..) = names.len().checked_sub(MAX_TOLD) {
        line = format!("{line} and {more} more");
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_might_be_meant_is_told_and_what_is_hidden_is_not() {
        let temporary = TempDir::new().unwrap();
        let path = |name: &str| temporary.path().join(name);
        for name in [
            "a.toml",
            ".b.toml",
            "._a.toml",
            "b.TOML",
            "c.yml",
            "plugins.toml",
            "notes.txt",
        ] {
            std::fs::write(path(name), "").unwrap();
        }
        symlink(path("a.toml"), path("l.toml")).unwrap();
        symlink(path("gone.toml"), path("x.toml")).unwrap();
        symlink(path("y.toml"), path("y.toml")).unwrap();
        for name in ["sub", "empty", ".git"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        std::fs::write(path("sub/d.toml"), "").unwrap();
        std::fs::write(path(".git/d.toml"), "").unwrap();
        let folder = Folder::look(temporary.path()).unwrap();
        assert_eq!(folder.files, [path("a.toml"), path("l.toml")]);
        assert_eq!(
            folder.passed_over().unwrap(),
            "b.TOML (expected the ending .toml, in lower case), \
             c.yml (expected TOML, with the ending .toml), \
             x.toml (a link that leads to no file), y.toml (a link that leads to no file), \
             sub/ (a folder)"
        );
    }

    #[test]
    fn only_so_many_names_are_in_a_line() {
        let names = |count: usize| (0..count).map(|at| at.to_string());
        assert_eq!(told(names(0)), None);
        assert_eq!(told(names(8)).unwrap(), "0, 1, 2, 3, 4, 5, 6, 7");
        assert_eq!(
            told(names(10)).unwrap(),
            "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
        );
    }
}

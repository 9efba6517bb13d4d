//! The files of an SQLite database, told from others that come to their names, and why they
//! cannot be opened.
//!
//! SQLite goes on with a file that was removed or replaced: what it commits then is gone with
//! the program. Nothing is acknowledged before the names were seen to mean the same files.

use std::fs::{Metadata, metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What SQLite keeps beside the file: what was committed last, and how to find it.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// An inode's number is given again once its file is gone. Not every file system says it.
    made: Option<SystemTime>,
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let file = metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            made: file.created().ok(),
        })
    }
}

/// Names, and the files that they meant.
#[derive(Debug)]
pub(super) struct Place {
    file: (PathBuf, Option<Identity>),
    beside: [(PathBuf, Option<Identity>); 2],
}

impl Place {
    /// The files of a database that is open, so that all of them are there.
    pub(super) fn of(path: &Path) -> Self {
        // SQLite puts the others beside the file that a link leads to.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let beside = BESIDE.map(|suffix| {
            let mut name = real.clone().into_os_string();
            name.push(suffix);
            named(PathBuf::from(name))
        });
        Self {
            file: named(path.to_owned()),
            beside,
        }
    }

    /// True while every name means the file that it meant.
    pub(super) fn is_there(&self) -> bool {
        let is_same = |(path, file): &(PathBuf, Option<Identity>)| Identity::of(path) == *file;
        self.file.1.is_some() && is_same(&self.file) && self.beside.iter().all(is_same)
    }
}

fn named(path: PathBuf) -> (PathBuf, Option<Identity>) {
    let file = Identity::of(&path);
    (path, file)
}

/// What was found amiss with a file that could not be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Amiss {
    /// In brackets, behind a blank; empty where nothing was found.
    pub(super) text: String,
    /// True where it does not pass by itself.
    pub(super) lasts: bool,
}

impl Amiss {
    /// Looks at a file, at the folder that it is in, and at who we are. The file itself is not
    /// opened: to close it again would take SQLite's locks away.
    pub(super) fn of(path: &Path) -> Self {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let us = metadata("/proc/self").ok().map(|process| process.uid());
        let mut said = Vec::new();
        let mut lasts = false;
        if let Ok(file) = metadata(path) {
            said.push(format!("the file has {}", rights(&file)));
            let is_others = us.is_some_and(|us| us != 0 && us != file.uid());
            lasts |= file.is_dir() || is_others && !may_others_write(&file);
        }
        match metadata(folder) {
            Ok(found) => {
                said.push(format!("{} has {}", folder.display(), rights(&found)));
                if let Err(error) = tempfile::tempfile_in(folder) {
                    said.push(format!("no file can be made there: {error}"));
                    lasts |= is_lasting(error.kind());
                }
            }
            Err(error) => {
                said.push(format!("{}: {error}", folder.display()));
                lasts |= is_lasting(error.kind());
            }
        }
        if let Some(us) = us {
            said.push(format!("this process is user {us}"));
        }
        Self {
            text: format!(" ({})", said.join("; ")),
            lasts,
        }
    }
}

fn rights(file: &Metadata) -> String {
    /// Of a mode, the bits that are rights.
    const RIGHTS: u32 = 0o7777;
    let kind = if file.is_dir() { "folder, " } else { "" };
    let (owner, mode) = (file.uid(), file.mode() & RIGHTS);
    format!("{kind}owner {owner}, mode {mode:03o}")
}

/// True where somebody who is not the owner may write: as one of the group, or as anybody.
fn may_others_write(file: &Metadata) -> bool {
    file.mode() & 0o022 != 0
}

fn is_lasting(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::NotFound
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_gone_or_another_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        for removed in ["x.db", "x.db-wal", "x.db-shm"] {
            for name in ["x.db", "x.db-wal", "x.db-shm"] {
                fs::write(folder.path().join(name), name).unwrap();
            }
            let place = Place::of(&path);
            assert!(place.is_there());
            fs::write(&path, "more of it").unwrap();
            assert!(place.is_there(), "written to, it is the same");
            let removed = folder.path().join(removed);
            fs::rename(&removed, folder.path().join("elsewhere")).unwrap();
            assert!(!place.is_there(), "{}", removed.display());
            fs::write(&removed, "another").unwrap();
            assert!(!place.is_there(), "{}", removed.display());
            fs::rename(folder.path().join("elsewhere"), &removed).unwrap();
            assert!(place.is_there(), "it is back");
        }
        fs::remove_dir_all(folder.path()).unwrap();
        assert!(!Place::of(&path).is_there(), "nothing is no place");
    }

    #[test]
    fn what_lies_beside_is_beside_the_file_that_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let (link, real) = (folder.path().join("link.db"), folder.path().join("real.db"));
        fs::write(&real, "").unwrap();
        fs::write(folder.path().join("real.db-wal"), "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let place = Place::of(&link);
        assert!(place.is_there());
        fs::remove_file(folder.path().join("real.db-wal")).unwrap();
        assert!(!place.is_there());
    }

    #[test]
    fn what_is_amiss_names_the_folder_and_who_we_are() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none");
        let amiss = Amiss::of(&missing.join("x.db"));
        assert!(amiss.lasts);
        let missing = missing.display().to_string();
        assert!(amiss.text.contains(&missing), "{}", amiss.text);
        assert!(
            amiss.text.contains("this process is user"),
            "{}",
            amiss.text
        );
        let fine = Amiss::of(&folder.path().join("x.db"));
        assert!(!fine.lasts, "{}", fine.text);
        assert!(Amiss::of(folder.path()).lasts, "a folder is no database");
    }
}

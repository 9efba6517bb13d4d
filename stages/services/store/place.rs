//! The files of an SQLite database, told from others that come to their names and from what is
//! left of them where somebody cut them off, and why they cannot be opened.
//!
//! SQLite goes on with a file that was removed or replaced, and with one that was emptied: what it
//! commits then is gone with the program. Nothing is acknowledged before the names were seen to
//! mean the same files, and those to have all that they had.

use std::fs::{File, Metadata, metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::limits;

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
        metadata(path).ok().as_ref().map(Self::said_by)
    }

    fn said_by(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            made: file.created().ok(),
        }
    }
}

/// What became of the files of a database that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// They are there, with all that they had.
    There,
    /// One was removed, or another took its place.
    Elsewhere,
    /// One is shorter than it was: something of the database is gone.
    Cut,
}

/// Names, and the files that they meant.
#[derive(Debug)]
pub(super) struct Place {
    file: (PathBuf, Option<Identity>),
    beside: [(PathBuf, Option<Identity>); 2],
    /// The log of what was committed last. SQLite takes no locks on it, so that it can be opened
    /// and closed beside SQLite.
    log: Option<File>,
    /// Locked while they are looked at: whoever looked earlier must not compare later.
    known: Mutex<Known>,
    lately: Lately,
}

/// When they were last seen to be there.
#[derive(Debug)]
struct Lately {
    since: Instant,
    /// Microseconds since then, from 1 on; 0 where they were seen to be elsewhere.
    seen: AtomicU64,
}

impl Default for Lately {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            seen: AtomicU64::new(0),
        }
    }
}

impl Lately {
    fn note(&self, is_there: bool) {
        let now = if is_there { self.now() } else { 0 };
        self.seen.store(now, Ordering::Release);
    }

    fn is_now(&self) -> bool {
        let seen = self.seen.load(Ordering::Acquire);
        let age = self.now().saturating_sub(seen);
        seen > 0 && u128::from(age) < limits::LOOK_HOLDS.as_micros()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

/// What the files are known to have.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Bytes of the file. SQLite makes it shorter only where a person has it cleaned up.
    length: u64,
    /// Bytes of the log, which begins anew without becoming shorter.
    log: u64,
    /// How the log begins.
    head: Option<[u8; LOG_HEAD]>,
}

/// Bytes of the head of a log.
const LOG_HEAD: usize = 32;
/// How a head begins, but for its last bit.
const LOG_MAGIC: u32 = 0x377f_0682;

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
        let place = Self {
            file: named(path.to_owned()),
            log: File::open(&beside[0].0).ok(),
            beside,
            known: Mutex::default(),
            lately: Lately::default(),
        };
        place.look();
        place
    }

    /// What became of them, or had a moment ago: [`limits::LOOK_HOLDS`]. For those who read, of
    /// whom many come at a time.
    pub(super) fn look_lately(&self) -> Seen {
        if self.lately.is_now() {
            return Seen::There;
        }
        self.look()
    }

    /// What became of them.
    pub(super) fn look(&self) -> Seen {
        let seen = self.look_now();
        self.lately.note(seen == Seen::There);
        seen
    }

    fn look_now(&self) -> Seen {
        let is_same = |(path, file): &(PathBuf, Option<Identity>)| Identity::of(path) == *file;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(file) = metadata(&self.file.0) else {
            return Seen::Elsewhere;
        };
        if self.file.1 != Some(Identity::said_by(&file)) || !self.beside.iter().all(is_same) {
            return Seen::Elsewhere;
        }
        if file.len() < known.length || !self.is_log_whole(&mut known) {
            return Seen::Cut;
        }
        known.length = file.len();
        Seen::There
    }

    /// True while the log has what it had. One that was emptied may have grown since: SQLite goes
    /// on behind what it has written, and leaves a hole where the head was.
    fn is_log_whole(&self, known: &mut Known) -> bool {
        let Some(log) = &self.log else {
            return true;
        };
        let Ok(length) = log.metadata().map(|log| log.len()) else {
            return false;
        };
        let mut head = [0; LOG_HEAD];
        let head = match log.read_exact_at(&mut head, 0) {
            Ok(()) if is_head(&head) => Some(head),
            _ => None,
        };
        if length < known.log || known.head.is_some() && head.is_none() {
            return false;
        }
        known.log = length;
        known.head = head;
        true
    }
}

fn is_head(head: &[u8; LOG_HEAD]) -> bool {
    let magic = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    magic & !1 == LOG_MAGIC
}

fn named(path: PathBuf) -> (PathBuf, Option<Identity>) {
    let file = Identity::of(&path);
    (path, file)
}

/// The folder that a file is in.
pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
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
        let folder = folder_of(path);
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
    fn a_file_without_a_folder_is_where_we_are() {
        for (file, folder) in [
            ("/a/x.db", "/a"),
            ("a/x.db", "a"),
            ("x.db", "."),
            ("/", "."),
        ] {
            assert_eq!(folder_of(Path::new(file)), Path::new(folder), "{file}");
        }
    }

    #[test]
    fn a_file_that_is_gone_or_another_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        for removed in ["x.db", "x.db-wal", "x.db-shm"] {
            for name in ["x.db", "x.db-wal", "x.db-shm"] {
                fs::write(folder.path().join(name), name).unwrap();
            }
            let place = Place::of(&path);
            assert_eq!(place.look(), Seen::There);
            fs::write(&path, "more of it").unwrap();
            assert_eq!(place.look(), Seen::There, "written to, it is the same");
            let removed = folder.path().join(removed);
            fs::rename(&removed, folder.path().join("elsewhere")).unwrap();
            assert_eq!(place.look(), Seen::Elsewhere, "{}", removed.display());
            fs::write(&removed, "another").unwrap();
            assert_eq!(place.look(), Seen::Elsewhere, "{}", removed.display());
            fs::rename(folder.path().join("elsewhere"), &removed).unwrap();
            assert_eq!(place.look(), Seen::There, "it is back");
        }
        fs::remove_dir_all(folder.path()).unwrap();
        let seen = Place::of(&path).look();
        assert_eq!(seen, Seen::Elsewhere, "nothing is no place");
    }

    #[test]
    fn a_file_that_is_cut_off_is_noticed_even_where_it_has_grown_since() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let log = folder.path().join("x.db-wal");
        let head = |number: u8| {
            let mut head = [number; LOG_HEAD];
            head[..4].copy_from_slice(&(LOG_MAGIC | u32::from(number & 1)).to_be_bytes());
            head
        };
        let fill = || {
            fs::write(&path, [1_u8; 8192]).unwrap();
            fs::write(folder.path().join("x.db-shm"), "").unwrap();
            fs::write(&log, [&head(0)[..], &[7_u8; 4096]].concat()).unwrap();
            let place = Place::of(&path);
            assert_eq!(place.look(), Seen::There);
            place
        };
        let open = |path: &Path| fs::OpenOptions::new().write(true).open(path).unwrap();
        for (cut, left) in [(&path, 0), (&path, 4096), (&log, 0), (&log, 100)] {
            let place = fill();
            open(cut).set_len(left).unwrap();
            assert_eq!(place.look(), Seen::Cut, "{} to {left}", cut.display());
        }
        // As SQLite goes on with a log that was emptied.
        let place = fill();
        open(&log).set_len(0).unwrap();
        open(&log).write_all_at(&[7; 4096], 10_000).unwrap();
        assert_eq!(place.look(), Seen::Cut);
        // As SQLite begins with a log anew, and as it goes on with it.
        let place = fill();
        open(&log).write_all_at(&head(1), 0).unwrap();
        assert_eq!(place.look(), Seen::There);
        open(&log).write_all_at(&[7; 4096], 4096).unwrap();
        assert_eq!(place.look(), Seen::There);
        // One without a word is filled later.
        fs::write(&log, "").unwrap();
        let place = Place::of(&path);
        open(&log).write_all_at(&head(0), 0).unwrap();
        assert_eq!(place.look(), Seen::There);
        open(&log).set_len(0).unwrap();
        assert_eq!(place.look(), Seen::Cut);
    }

    #[test]
    fn what_lies_beside_is_beside_the_file_that_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let (link, real) = (folder.path().join("link.db"), folder.path().join("real.db"));
        fs::write(&real, "").unwrap();
        fs::write(folder.path().join("real.db-wal"), "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let place = Place::of(&link);
        assert_eq!(place.look(), Seen::There);
        fs::remove_file(folder.path().join("real.db-wal")).unwrap();
        assert_eq!(place.look(), Seen::Elsewhere);
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

//! Files put into folders by their labels: each file in one place, none over another, and again in
//! the same place where it is done a second time.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use omnizap_contract::common::digest::Sha256Hex;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Most files of one name in a folder.
const MAX_NAMESAKES: usize = 1_000_000;

/// Longest name of a file, in bytes.
const MAX_NAME: usize = 255;

/// Longest name of a folder, in bytes: that of a file is at most 255.
const MAX_FOLDER: usize = 100;

/// Bytes that are compared at a time.
const CHUNK: usize = 1 << 16;

/// Characters that some systems allow in no name.
const UNSAFE: &str = "/\\<>:\"|?*";

/// What becomes of the file that is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Copy,
    Move,
    /// A second name of the same file.
    Link,
}

/// A folder of folders.
#[derive(Debug)]
pub(super) struct Sorter {
    folder: PathBuf,
    way: Way,
    /// What is copied is whole before it has its name.
    unfinished: PathBuf,
    /// For each name in a folder the number of its next namesake.
    next: HashMap<PathBuf, usize>,
}

impl Sorter {
    /// A folder, which is made. `unfinished` is a name that no other process uses there.
    ///
    /// # Errors
    /// One that cannot be made.
    pub(super) fn new(folder: &Path, way: Way, unfinished: &str) -> anyhow::Result<Self> {
        let made = fs::create_dir_all(folder);
        made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            way,
            unfinished: folder.join(format!(".{unfinished}.unfinished")),
            next: HashMap::new(),
        })
    }

    /// Puts a file into the folder of its label. `again` where this may have been done before.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn put(&mut self, file: &Path, label: &str, again: bool) -> anyhow::Result<()> {
        self.place(file, label, again)
            .with_context(|| format!("cannot sort {}", file.display()))
    }

    fn place(&mut self, file: &Path, label: &str, again: bool) -> anyhow::Result<()> {
        match fs::metadata(file) {
            // It was moved.
            Err(error) if again && error.kind() == ErrorKind::NotFound => return Ok(()),
            found => ensure!(found?.is_file(), "it is no regular file"),
        }
        let folder = self.folder.join(folder_name(label));
        fs::create_dir_all(&folder)?;
        // What is in its folder already stays there.
        let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
        if parent.unwrap_or(Path::new(".")).canonicalize()? == folder.canonicalize()? {
            return Ok(());
        }
        let name = file.file_name().context("it has no name")?;
        let first = folder.join(name);
        let begun = *self.next.get(&first).unwrap_or(&1);
        for number in begun..=MAX_NAMESAKES {
            let to = folder.join(numbered(name, number));
            let is_there = match fs::symlink_metadata(&to) {
                Ok(there) => {
                    // A move that was not ended leaves two where it is a copy and a removal: of a
                    // link, and to another file system.
                    let may_be_it = self.way != Way::Move
                        || again
                            && (file.is_symlink()
                                || fs::metadata(file)?.dev() != fs::metadata(&folder)?.dev());
                    if may_be_it && there.is_file() && is_same(file, &to)? {
                        if self.way == Way::Move {
                            fs::remove_file(file)?;
                        }
                        false
                    } else {
                        true
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    match self.put_new(file, &to) {
                        Ok(()) => false,
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => true,
                        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                            bail!("--link needs one file system for both: leave it out to copy")
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            };
            if !is_there {
                self.next.insert(first, number + 1);
                return Ok(());
            }
        }
        bail!("there are {MAX_NAMESAKES} files of its name already")
    }

    /// Gives a file a name that is free.
    fn put_new(&self, file: &Path, to: &Path) -> io::Result<()> {
        match self.way {
            Way::Copy => self.copy(file, to),
            // What a link leads to, not the link.
            Way::Link => fs::hard_link(file.canonicalize()?, to),
            Way::Move if file.is_symlink() => self.copy_and_remove(file, to),
            Way::Move => match rename_new(file, to) {
                Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                    self.copy_and_remove(file, to)
                }
                moved => moved,
            },
        }
    }

    fn copy_and_remove(&self, file: &Path, to: &Path) -> io::Result<()> {
        self.copy(file, to)?;
        fs::remove_file(file)
    }

    fn copy(&self, file: &Path, to: &Path) -> io::Result<()> {
        match fs::remove_file(&self.unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let copied = fs::copy(file, &self.unfinished);
        let named = copied.and_then(|_| rename_new(&self.unfinished, to));
        if named.is_err() {
            // A disk may be full of it; what failed is told, not this.
            let _ = fs::remove_file(&self.unfinished);
        }
        named
    }
}

/// Renames a file, never over another.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system has it.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// Whether two files are one, or hold the same bytes.
fn is_same(a: &Path, b: &Path) -> io::Result<bool> {
    let (a, b) = (File::open(a)?, File::open(b)?);
    let (of_a, of_b) = (a.metadata()?, b.metadata()?);
    if (of_a.dev(), of_a.ino()) == (of_b.dev(), of_b.ino()) {
        return Ok(true);
    }
    if of_a.len() != of_b.len() {
        return Ok(false);
    }
    let mut left = of_a.len();
    let mut chunks = [vec![0; CHUNK], vec![0; CHUNK]];
    while left > 0 {
        let len = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        for (mut file, chunk) in [&a, &b].into_iter().zip(&mut chunks) {
            file.read_exact(&mut chunk[..len])?;
        }
        if chunks[0][..len] != chunks[1][..len] {
            return Ok(false);
        }
        left -= len as u64;
    }
    Ok(true)
}

/// The name of the second and later files that are called so: `a (2).png`.
fn numbered(name: &OsStr, number: usize) -> OsString {
    if number == 1 {
        return name.to_owned();
    }
    let path = Path::new(name);
    let mark = format!(" ({number})");
    let ending = path.extension().map_or(0, |ending| ending.len() + 1);
    let stem = path.file_stem().unwrap_or(name).as_bytes();
    let mut end = MAX_NAME.saturating_sub(mark.len() + ending).min(stem.len());
    // Not within a character of UTF-8.
    while end > 0 && stem.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    let mut numbered = OsStr::from_bytes(&stem[..end]).to_owned();
    numbered.push(mark);
    if let Some(extension) = path.extension() {
        numbered.push(".");
        numbered.push(extension);
    }
    numbered
}

/// A name for the folder of a label: the label itself, else what of it may be in a name, and a
/// digest that keeps it apart from other labels.
fn folder_name(label: &str) -> String {
    let is_unsafe = |char: char| char.is_control() || UNSAFE.contains(char);
    let safe = label.replace(is_unsafe, "_");
    let safe = safe.trim_matches(|char: char| char == '.' || char.is_whitespace());
    let end = safe.floor_char_boundary(MAX_FOLDER);
    let safe = safe[..end].trim_end();
    if safe == label && !safe.is_empty() {
        return label.to_owned();
    }
    let digest = Sha256Hex::of(label.as_bytes());
    format!("{safe}-{digest:.8}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_label_is_a_safe_name() {
        for label in ["a cat", "gato preto", "猫"] {
            assert_eq!(folder_name(label), label);
        }
        let long = "é".repeat(200);
        let odd = [
            "a/b",
            "a_b/",
            "..",
            ".",
            "",
            "../../etc",
            "a\nb",
            " a",
            "a.",
            "CON:",
            &long,
        ];
        let mut found = std::collections::HashSet::new();
        for label in odd {
            let name = folder_name(label);
            assert!(
                !name.starts_with('.') && !name.contains(['/', '\n', ':']),
                "{name}"
            );
            assert!(name.len() <= MAX_FOLDER + 9 && name.contains('-'), "{name}");
            assert!(found.insert(name), "{label}");
        }
    }

    #[test]
    fn namesakes_get_numbers_and_a_second_time_changes_nothing() {
        for way in [Way::Copy, Way::Link] {
            let root = tempfile::tempdir().unwrap();
            let (root, sorted) = (root.path(), root.path().join("sorted"));
            let files = ["a", "b", "c", "d"].map(|folder| root.join(folder).join("x.tar.png"));
            for (file, text) in files.iter().zip(["1", "2", "1", "4"]) {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            fs::create_dir_all(sorted.join("cat")).unwrap();
            fs::write(sorted.join("cat/x.tar.png"), "of somebody else").unwrap();
            for again in [false, true] {
                let mut sorter = Sorter::new(&sorted, way, "rows").unwrap();
                for file in &files {
                    sorter.put(file, "cat", again).unwrap();
                }
                let expected = [2, 3, 4, 5].map(|number| format!("x.tar ({number}).png"));
                let found = names(&sorted.join("cat"));
                assert_eq!(found[..4], expected, "{way:?}");
                assert_eq!(found[4..], ["x.tar.png"], "{way:?}");
                assert_eq!(names(&sorted), ["cat"]);
            }
            let kept = fs::read_to_string(sorted.join("cat/x.tar.png")).unwrap();
            assert_eq!(kept, "of somebody else");
        }
    }

    #[test]
    fn what_is_moved_is_in_one_place() {
        let root = tempfile::tempdir().unwrap();
        let (root, sorted) = (root.path(), root.path().join("sorted"));
        for folder in ["a", "b"] {
            fs::create_dir(root.join(folder)).unwrap();
            fs::write(root.join(folder).join("x.png"), "same").unwrap();
        }
        std::os::unix::fs::symlink("x.png", root.join("a/link.png")).unwrap();
        let mut sorter = Sorter::new(&sorted, Way::Move, "rows").unwrap();
        for file in ["a/link.png", "a/x.png", "b/x.png"] {
            sorter.put(&root.join(file), "cat", false).unwrap();
            assert!(!root.join(file).exists());
        }
        let found = names(&sorted.join("cat"));
        assert_eq!(found, ["link.png", "x (2).png", "x.png"]);
        // Its copy was made, and then the program was killed.
        fs::write(root.join("a/x.png"), "same").unwrap();
        let mut sorter = Sorter::new(&sorted, Way::Move, "rows").unwrap();
        std::os::unix::fs::symlink("x.png", root.join("a/link.png")).unwrap();
        sorter.put(&root.join("a/link.png"), "cat", true).unwrap();
        assert_eq!(names(&sorted.join("cat")), found);
        assert!(!root.join("a/link.png").is_symlink());
        // One of the same name and bytes that was not moved yet is another file.
        sorter.put(&root.join("a/x.png"), "cat", true).unwrap();
        assert_eq!(names(&sorted.join("cat")).len(), 4);
        // And what is where it belongs stays.
        sorter.put(&sorted.join("cat/x.png"), "cat", true).unwrap();
        assert!(sorted.join("cat/x.png").exists());
    }
}

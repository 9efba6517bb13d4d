//! The pictures that paths name: files as they are, and those within folders, in the order of their
//! paths.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::picture::is_picture;

/// Most pictures of one run.
const MAX_PICTURES: usize = 1_000_000;

/// A file that is to be classified.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Picture {
    /// What it is called in the results: within the folder where that is all that was named, else
    /// as it was named.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Each once, by their names.
    pub(super) pictures: Vec<Picture>,
    /// Folders that could not be read, and why.
    pub(super) unreadable: Vec<String>,
    /// Links to folders, which are not followed: they may lead back.
    pub(super) links: usize,
    /// Whether there are folders that were not looked into.
    pub(super) has_deeper: bool,
}

/// A folder, told by what it is and not by what it is called.
type FolderId = (u64, u64);

/// Goes through the files and folders that were named. Hidden ones are left out where they were
/// not, and so is the folder `except`.
///
/// # Errors
/// What was named and cannot be read as a folder, though it is one; more pictures than there may
/// be.
pub(super) fn find(
    named: &[PathBuf],
    is_recursive: bool,
    except: Option<&Path>,
) -> anyhow::Result<Found> {
    let except = except.and_then(|folder| std::fs::metadata(folder).ok());
    let except = except.map(|folder| id(&folder));
    let mut found = Found::default();
    let mut pictures = BTreeSet::new();
    for path in named {
        if !path.is_dir() {
            pictures.insert(Picture {
                name: shown(path),
                path: path.clone(),
            });
            continue;
        }
        // Named alone it goes without saying.
        let base = if named.len() == 1 {
            Path::new("")
        } else {
            path.as_path()
        };
        let context = || format!("cannot read the folder {}", path.display());
        let entries = entries(path).with_context(context)?;
        let mut folders = vec![(base.to_owned(), entries)];
        while let Some((base, entries)) = folders.pop() {
            for (path, ty) in entries {
                let name = path.file_name().unwrap_or_default();
                let within = base.join(name);
                if is_hidden(name) {
                    continue;
                }
                match ty {
                    Entry::Folder(folder) if except == Some(folder) => {}
                    Entry::Folder(_) if !is_recursive => found.has_deeper = true,
                    Entry::Folder(_) => match self::entries(&path) {
                        Ok(entries) => folders.push((within, entries)),
                        Err(error) => {
                            let folder = path.display();
                            found.unreadable.push(format!("{folder}: {error}"));
                        }
                    },
                    Entry::Link => found.links += 1,
                    Entry::File if is_picture(Path::new(name)) => {
                        let name = shown(&within);
                        pictures.insert(Picture { name, path });
                        if pictures.len() > MAX_PICTURES {
                            bail!("more than {MAX_PICTURES} pictures: name fewer folders at once");
                        }
                    }
                    Entry::File | Entry::Other => {}
                }
            }
        }
    }
    found.pictures = pictures.into_iter().collect();
    found.unreadable.sort();
    Ok(found)
}

/// What an entry of a folder is.
enum Entry {
    Folder(FolderId),
    /// To a folder.
    Link,
    /// Also one that cannot be looked at, such as a link to nothing: reading it says why.
    File,
    /// A pipe, a socket, a device.
    Other,
}

fn entries(folder: &Path) -> std::io::Result<Vec<(PathBuf, Entry)>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_link = path.is_symlink();
        let entry = match std::fs::metadata(&path) {
            Ok(it) if it.is_dir() && is_link => Entry::Link,
            Ok(it) if it.is_dir() => Entry::Folder(id(&it)),
            Ok(it) if !it.is_file() => Entry::Other,
            Ok(_) | Err(_) => Entry::File,
        };
        entries.push((path, entry));
    }
    Ok(entries)
}

fn id(folder: &std::fs::Metadata) -> FolderId {
    (folder.dev(), folder.ino())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// A path as text that no other path has: bytes that are no UTF-8 as `\xNN`.
fn shown(path: &Path) -> String {
    let mut shown = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        // What looks like one of those bytes is told apart.
        shown.push_str(&chunk.valid().replace("\\x", "\\x5cx"));
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cli::picture::folder_of;

    fn names(found: &Found) -> Vec<&str> {
        let pictures = found.pictures.iter();
        pictures.map(|picture| &*picture.name).collect()
    }

    #[test]
    fn pictures_are_found_in_the_order_of_their_paths() {
        let folder = folder_of(&[
            "b.png",
            "a/z.JPG",
            "a.webp",
            "a/deep/er.gif",
            "notes.txt",
            ".hidden.png",
            ".thumbs/a.png",
            "sorted/cat/b.png",
        ]);
        let root = folder.path();
        symlink(root, root.join("a/up")).unwrap();
        symlink("nowhere", root.join("broken.png")).unwrap();
        symlink("loop.png", root.join("loop.png")).unwrap();
        let all = find(&[root.to_owned()], true, Some(&root.join("sorted"))).unwrap();
        let expected = [
            "a.webp",
            "a/deep/er.gif",
            "a/z.JPG",
            "b.png",
            "broken.png",
            "loop.png",
        ];
        assert_eq!(names(&all), expected);
        assert_eq!((all.links, all.has_deeper), (1, false));
        let flat = find(&[root.to_owned()], false, None).unwrap();
        assert_eq!(names(&flat), ["a.webp", "b.png", "broken.png", "loop.png"]);
        assert!(flat.has_deeper);
    }

    #[test]
    fn what_is_named_is_taken_as_it_is() {
        let folder = folder_of(&["a/x.png", ".b/y.png", "notes.txt"]);
        let root = folder.path();
        let named = ["notes.txt", ".b", "a", "a/x.png", "missing.png"];
        let found = find(&named.map(|name| root.join(name)), false, None).unwrap();
        let expected = [".b/y.png", "a/x.png", "missing.png", "notes.txt"];
        let expected = expected.map(|name| root.join(name).display().to_string());
        assert_eq!(names(&found), expected);
    }

    #[test]
    fn names_that_are_no_utf_8_stay_apart() {
        let [a, b] =
            [&b"a\xff.png"[..], b"a\xfe.png"].map(|name| Path::new(OsStr::from_bytes(name)));
        assert_eq!(shown(a), "a\\xff.png");
        assert_ne!(shown(a), shown(b));
        assert_ne!(shown(a), shown(Path::new("a\\xff.png")));
        assert!(is_picture(a));
    }
}

//! The list of plugins that are allowed, with one more file or another hash of one.

use std::path::Path;

use toml::Table;

/// What begins an entry.
const HEAD: &str = "[[plugin]]";

/// What was done to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// The file was not in it.
    Added,
    /// It was, under another hash.
    Replaced,
    /// It was.
    Nothing,
}

/// A plugin's file, as an entry shows it.
pub(super) struct Allowed<'a> {
    /// Its canonical path.
    pub(super) path: &'a Path,
    pub(super) sha256: &'a str,
    /// Name and version.
    pub(super) title: &'a str,
}

impl Allowed<'_> {
    /// An entry of its own.
    pub(super) fn entry(&self) -> String {
        let (path, sha256) = (self.path.display().to_string(), self.sha256);
        format!(
            "# {}\n{HEAD}\npath = {path:?}\nsha256 = \"{sha256}\"\n",
            self.title
        )
    }

    /// The list with this file under this hash, once: the entry that there was keeps its place, its
    /// spelling of the path, and what was written beside it. Paths are relative to `folder`.
    pub(super) fn within(&self, list: &str, folder: &Path) -> (String, Done) {
        let (mut text, mut done) = (String::new(), Done::Added);
        for block in blocks(list) {
            if !self.is_meant(&block, folder) {
                text.push_str(&block);
            } else if done == Done::Added {
                let other = self.renewed(&block);
                done = if other == block {
                    Done::Nothing
                } else {
                    Done::Replaced
                };
                text.push_str(&other);
            } else {
                // One of those that older versions of this command added.
                done = Done::Replaced;
            }
        }
        if done == Done::Added {
            if !text.is_empty() {
                text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
            }
            text.push_str(&self.entry());
        }
        (text, done)
    }

    fn is_meant(&self, block: &str, folder: &Path) -> bool {
        let Ok(table) = block.parse::<Table>() else {
            return false;
        };
        let entries = table.get("plugin").and_then(|plugins| plugins.as_array());
        let path = entries
            .and_then(|entries| entries.first()?.get("path"))
            .and_then(|path| path.as_str());
        path.is_some_and(|path| {
            let path = folder.join(path);
            path == self.path || path.canonicalize().is_ok_and(|path| path == self.path)
        })
    }

    /// The entry with this hash and this version.
    fn renewed(&self, block: &str) -> String {
        let name = self.title.split(' ').next().unwrap_or_default();
        let lines = block.split_inclusive('\n').map(|line| {
            let end = if line.ends_with('\n') { "\n" } else { "" };
            let key = line.split('=').next().unwrap_or_default().trim();
            if key == "sha256" && line.contains('=') {
                format!("sha256 = \"{}\"{end}", self.sha256)
            } else if line.starts_with(&format!("# {name} ")) {
                format!("# {}{end}", self.title)
            } else {
                line.to_owned()
            }
        });
        lines.collect()
    }
}

/// The list in pieces: each entry with the comment right above it, and what comes before them all.
fn blocks(list: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    let mut above = String::new();
    for line in list.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let is_head = trimmed.starts_with(HEAD);
        if is_head {
            blocks.push(String::new());
        } else if trimmed.starts_with('#') {
            above.push_str(line);
            continue;
        }
        if let Some(block) = blocks.last_mut() {
            block.push_str(&above);
            block.push_str(line);
        }
        above.clear();
    }
    if let Some(block) = blocks.last_mut() {
        block.push_str(&above);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# mine\n\n# acme 0.1.0\n[[plugin]]\npath = \"/opt/a.so\"\nsha256 = \"11\"\n\n\
                       # other 0.1.0\n[[plugin]]\npath = \"/opt/b.so\"\nsha256 = \"22\"\n";

    fn allowed<'a>(path: &'a str, sha256: &'a str) -> Allowed<'a> {
        Allowed {
            path: Path::new(path),
            sha256,
            title: "acme 0.2.0",
        }
    }

    #[test]
    fn a_file_that_was_built_again_has_one_entry_in_its_old_place() {
        let (list, done) = allowed("/opt/a.so", "33").within(OLD, Path::new("/"));
        let wanted = OLD.replace("acme 0.1.0", "acme 0.2.0").replace("11", "33");
        assert_eq!((list.as_str(), done), (wanted.as_str(), Done::Replaced));
        let (again, done) = allowed("/opt/a.so", "33").within(&list, Path::new("/"));
        assert_eq!((again.as_str(), done), (wanted.as_str(), Done::Nothing));
        // What a command added that only ever added.
        let twice = format!("{OLD}\n{}", allowed("/opt/a.so", "33").entry());
        let (list, done) = allowed("/opt/a.so", "44").within(&twice, Path::new("/opt"));
        assert_eq!(done, Done::Replaced);
        assert_eq!(list.matches("/opt/a.so").count(), 1, "{list}");
        assert!(list.contains("44") && !list.contains("33") && list.contains("22"));
    }

    #[test]
    fn another_file_is_added_and_the_rest_stays() {
        let (list, done) = allowed("/opt/c.so", "33").within(OLD, Path::new("/"));
        assert_eq!(done, Done::Added);
        assert_eq!(
            list,
            format!("{OLD}\n{}", allowed("/opt/c.so", "33").entry())
        );
        let (list, _) = allowed("/opt/c.so", "33").within("", Path::new("/"));
        assert_eq!(list, allowed("/opt/c.so", "33").entry());
    }

    #[test]
    fn a_relative_path_is_of_the_list() {
        let list = "[[plugin]]\npath = \"a.so\"\nsha256 = \"11\"";
        let (list, done) = allowed("/opt/a.so", "33").within(list, Path::new("/opt"));
        assert_eq!(done, Done::Replaced);
        assert_eq!(list, "[[plugin]]\npath = \"a.so\"\nsha256 = \"33\"");
    }
}

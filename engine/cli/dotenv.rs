//! The `.env` of the working folder, read as python-dotenv 1.2 reads one: that of the Python service
//! is taken over as it is.
//!
//! - A value without quotes goes to the end of its line; a comment begins with a `#` after a blank.
//!   Backslashes, quotes inside it and `$NAME` are text.
//! - `'..'` knows `\'` and `\\`; `".."` knows `\n` and the like besides; both go over lines.
//! - `${NAME}` and `${NAME:-default}` are filled in, in quotes too: from the environment, else from
//!   the lines before. Of two lines with one name the last counts.
//! - Names may hold `-`, `.` and any letter. A name without `=` sets nothing.
//! - A line that cannot be read is passed over, and told by its number: its text may be a secret.
//!
//! What the environment sets already stays, also where it is set to nothing.

mod parse;

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};

use self::parse::{Parsed, parse};

const FILE: &str = ".env";

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Most lines that are told each by its number.
const MAX_TOLD: usize = 20;

/// Sets the variables of the working folder's file, and of no folder above it: that may be another
/// program's. What is to be told of its lines.
///
/// # Errors
/// A file that is there and cannot be read, or is too large.
pub(super) fn load() -> anyhow::Result<Vec<String>> {
    let bytes = read(Path::new(FILE)).context("the .env file cannot be read")?;
    let Some(bytes) = bytes else {
        return Ok(Vec::new());
    };
    let Parsed {
        variables,
        mut passed_over,
    } = parse(&bytes, &|name| std::env::var(name).ok());
    let mut assignments = String::new();
    for (name, variable) in variables {
        let Some(value) = variable.value else {
            continue;
        };
        if !can_be_set(&name) || std::env::var_os(&name).is_some() {
            continue;
        }
        if value.contains('\0') {
            passed_over.push(variable.line);
            continue;
        }
        assignments.push_str(&assignment(&name, &value));
    }
    // It knows how to set variables, and is told them in the one form that it reads as it is meant.
    // Its error would quote the text.
    dotenvy::from_read(assignments.as_bytes())
        .map_err(|_| anyhow!("the variables of the .env file cannot be set"))?;
    Ok(told(passed_over))
}

/// The file; none where there is nothing that could be one, such as a folder of that name.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let kind = match std::fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Keepers of secrets serve it through a pipe.
    if !kind.is_file() && !kind.is_fifo() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("it is larger than {MAX_BYTES} bytes");
    }
    Ok(Some(bytes))
}

/// True for a name that something could ask for. Others are for `${..}` inside the file.
fn can_be_set(name: &str) -> bool {
    let is_first = |char: char| char.is_ascii_alphabetic() || char == '_';
    let is_inner = |char: char| is_first(char) || char.is_ascii_digit() || char == '.';
    name.starts_with(is_first) && name.chars().all(is_inner)
}

/// A line from which dotenvy reads exactly this.
fn assignment(name: &str, value: &str) -> String {
    let mut line = format!("{name}=\"");
    for char in value.chars() {
        match char {
            '\n' => line.push_str("\\n"),
            '\\' | '"' | '$' => {
                line.push('\\');
                line.push(char);
            }
            _ => line.push(char),
        }
    }
    line.push_str("\"\n");
    line
}

/// What is told of lines that were passed over.
fn told(mut lines: Vec<usize>) -> Vec<String> {
    lines.sort_unstable();
    let more = lines.len().saturating_sub(MAX_TOLD);
    let each = lines.iter().take(MAX_TOLD).map(|line| {
        format!("{FILE}:{line}: passed over, for it cannot be read: expected NAME=value")
    });
    let mut told: Vec<String> = each.collect();
    if more > 0
        && let Some(last) = told.last_mut()
    {
        let _ = write!(last, "; so are {more} lines after it");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotenvy_reads_what_is_meant() {
        for value in [
            "",
            " ",
            "a b # c",
            "\\",
            "a\\",
            "\\n",
            "'\"'\"",
            "$HOME ${HOME} $$ \\$",
            "one\ntwo\n",
            "#\r\t\u{b}\u{1b}",
            "ação 🐱\u{a0}",
            "=",
        ] {
            let line = assignment("A_1.x", value);
            let read: Vec<_> = dotenvy::from_read_iter(line.as_bytes()).collect();
            assert_eq!(read.len(), 1, "{line}");
            let (name, found) = read.into_iter().next().unwrap().unwrap();
            assert_eq!((&*name, &*found), ("A_1.x", value), "{line}");
        }
    }

    #[test]
    fn names_that_nothing_asks_for_are_not_set() {
        for name in ["A", "_", "a.b", "A1", "export"] {
            assert!(can_be_set(name), "{name}");
        }
        for name in ["", "1A", "a-b", "a b", "ação", ".a", "[x]", "a=b", "a\0"] {
            assert!(!can_be_set(name), "{name}");
        }
    }

    #[test]
    fn lines_are_told_by_their_numbers_and_not_all_of_many() {
        assert_eq!(told(Vec::new()), [""; 0]);
        let two = told(vec![7, 3]);
        assert!(two[0].starts_with(".env:3: "), "{two:?}");
        assert!(two[1].starts_with(".env:7: "), "{two:?}");
        let many = told((1..100).collect());
        assert_eq!(many.len(), MAX_TOLD);
        assert!(many[MAX_TOLD - 1].ends_with("so are 79 lines after it"));
    }

    #[test]
    fn only_what_can_be_a_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        assert!(read(&path).unwrap().is_none(), "nothing there");
        std::fs::create_dir(&path).unwrap();
        assert!(read(&path).unwrap().is_none(), "a folder");
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "A=1").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"A=1");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(MAX_BYTES + 1)
            .unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("larger than"), "{error}");
    }
}

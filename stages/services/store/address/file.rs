//! The file that a URL of SQLite names: `sqlite:NAME`, `sqlite://NAME` and `sqlite:file:NAME`, with
//! parameters behind a `?`, percent-encoded where a name holds a `%`, a `?` or a `#`; and as
//! SQLAlchemy writes them, `sqlite+DRIVER:///NAME`.

use std::fs::metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::FileAddress;

/// What a URL of SQLite may say behind the `?`.
const PARAMETERS: &str = "expected mode=rw, mode=rwc, cache=private, cache=shared or vfs=unix \
    behind the `?`, and a `?` of the file's name as %3F";

/// What SQLAlchemy hands to Python's driver, which says nothing about the file.
const OF_PYTHON: [&str; 7] = [
    "autocommit",
    "cached_statements",
    "check_same_thread",
    "detect_types",
    "isolation_level",
    "timeout",
    "uri",
];

/// How SQLAlchemy writes a file.
const AS_PYTHON: &str = "behind `sqlite+driver:` stand three slashes and a file's name \
    (`sqlite+aiosqlite:///omnizap.db`), or four before a whole path";

const IN_MEMORY: &str = "a database in memory forgets what was acknowledged; name a file \
    (`sqlite:///path/to/omnizap.db`), or leave DATABASE_URL away for one in the data folder";

const NO_UTF_8: &str = "the file's name is no UTF-8 once decoded";

/// Ways to reach files that keep what is written to them, and know of logs.
const VFS: [&str; 2] = ["unix", "unix-excl"];

/// Begins a name that SQLite itself takes for a URL.
const URI: &str = "file:";

/// Longest that SQLite appends to the name of its file, for others beside it.
const BESIDE: &str = "-journal";

/// A file, and parameters that say nothing about it.
type Read = (FileAddress, Vec<String>);

/// Reads what stands behind `sqlite:`.
///
/// # Errors
/// What is amiss, for the operator.
pub(super) fn read(rest: &str) -> Result<Read, String> {
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let name = match name.strip_prefix(URI) {
        Some(uri) => path_of(uri)?,
        None => match name.strip_prefix("//") {
            // Written for SQLAlchemy: nobody begins a whole path so.
            Some(name) if name.starts_with("/./") || name.starts_with("/../") => &name[1..],
            Some(name) => name,
            None => name,
        },
    };
    let name = decoded(name).ok_or(NO_UTF_8)?;
    read_named(&name, query)
}

/// Reads what stands behind `sqlite+driver:`, as SQLAlchemy does: the third slash stands before the
/// file's name, in which nothing is percent-encoded, so that a whole path has a fourth.
///
/// # Errors
/// As [`read`], without a word of what may be a password.
pub(super) fn read_of_python(rest: &str, driver: &str) -> Result<Read, String> {
    if driver.contains("cipher") {
        return Err("an encrypted file (SQLCipher) is not served: name a plain one".into());
    }
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let name = match name.strip_prefix("//") {
        Some("") => "",
        Some(name) => name.strip_prefix('/').ok_or(AS_PYTHON)?,
        None => return Err(AS_PYTHON.into()),
    };
    // With `uri=true` the name is a URL itself.
    let name = match name.strip_prefix(URI) {
        Some(uri) => decoded(path_of(uri)?).ok_or(NO_UTF_8)?,
        None => name.to_owned(),
    };
    read_named(&name, query)
}

/// The file of that name, with what stands behind the `?`.
fn read_named(name: &str, query: &str) -> Result<Read, String> {
    let mut file = FileAddress {
        path: PathBuf::new(),
        is_shared: false,
        vfs: None,
    };
    let mut ignored = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let key = pair.split('=').next().unwrap_or_default();
        if OF_PYTHON.contains(&key) {
            ignored.push(key.to_owned());
        } else {
            take(&mut file, pair)?;
        }
    }
    if name.is_empty() || name.contains(":memory:") {
        return Err(IN_MEMORY.into());
    }
    if name.chars().any(char::is_control) {
        return Err("the file's name holds a control character once decoded".into());
    }
    let path = Path::new(name);
    is_of_a_file(name, path)?;
    file.path = plain(path);
    Ok((file, ignored))
}

/// The path of a `file:` URL, which names no other machine.
fn path_of(uri: &str) -> Result<&str, String> {
    let Some(behind) = uri.strip_prefix("//") else {
        return Ok(uri);
    };
    let at = behind.find('/').unwrap_or(behind.len());
    match behind.split_at(at) {
        ("" | "localhost", path) => Ok(path),
        _ => Err("behind `file://` stands a path, which begins with a third `/`".into()),
    }
}

/// Takes in a parameter.
fn take(file: &mut FileAddress, pair: &str) -> Result<(), String> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let decoded = |text: &str| decoded(&text.replace('+', " ")).ok_or(PARAMETERS);
    let (key, value) = (decoded(key)?, decoded(value)?);
    match (key.as_str(), value.as_str()) {
        ("mode", "memory") | ("vfs", "memdb") => return Err(IN_MEMORY.into()),
        ("mode", "ro") | ("immutable", "1" | "true") => {
            return Err(
                "the store writes: `mode=ro` and `immutable` cannot be; leave them away".into(),
            );
        }
        ("mode", "rw" | "rwc") | ("immutable", "0" | "false") => {}
        ("cache", "private") => file.is_shared = false,
        ("cache", "shared") => file.is_shared = true,
        ("vfs", vfs) if VFS.contains(&vfs) => file.vfs = Some(vfs.to_owned()),
        _ => return Err(PARAMETERS.into()),
    }
    Ok(())
}

/// Refuses what is no file and will be none.
fn is_of_a_file(name: &str, path: &Path) -> Result<(), String> {
    if name.ends_with('/') {
        return Err("it names a folder; name a file in it, such as `omnizap.db`".into());
    }
    let mut longest = path.as_os_str().to_owned();
    longest.push(BESIDE);
    if metadata(longest).is_err_and(|error| error.kind() == ErrorKind::InvalidFilename) {
        return Err("the file's name, or its path, is longer than the file system allows".into());
    }
    match metadata(path) {
        Ok(found) if found.is_dir() => {
            Err("it names a folder; name a file in it, such as `omnizap.db`".into())
        }
        Ok(found) if !found.is_file() => {
            Err("what it names is there, and is neither a file nor a folder: name a file".into())
        }
        Err(_) if name.starts_with("~/") => {
            Err("nobody puts your own folder for the `~`: name the whole path".into())
        }
        _ => Ok(()),
    }
}

/// A path that SQLite takes as it is: one that begins like a URL would be read as one.
pub(crate) fn plain(path: &Path) -> PathBuf {
    match path
        .as_os_str()
        .as_encoded_bytes()
        .starts_with(URI.as_bytes())
    {
        true => Path::new(".").join(path),
        false => path.to_owned(),
    }
}

/// Without percent-encoding; a `%` that begins none stays. Nothing where that is no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let byte = match behind {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = byte {
            bytes.push((high << 4) | low);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(rest: &str) -> String {
        let (file, _) = read(rest).unwrap_or_else(|error| panic!("{rest}: {error}"));
        file.path.display().to_string()
    }

    #[test]
    fn files_of_every_form_are_taken() {
        for (rest, expected) in [
            ("x.db", "x.db"),
            ("//x.db", "x.db"),
            ("///none/x.db", "/none/x.db"),
            ("////none/x.db", "//none/x.db"),
            ("///./x.db", "./x.db"),
            ("///../none/x.db", "../none/x.db"),
            ("///.none/x.db", "/.none/x.db"),
            ("/./none/x.db", "/./none/x.db"),
            ("x.db?check_same_thread=False&timeout=5", "x.db"),
            ("./a b.db", "./a b.db"),
            ("//a b.db", "a b.db"),
            ("//a%20b.db", "a b.db"),
            ("//100%.db", "100%.db"),
            ("//100%25.db", "100%.db"),
            ("a%3Fb.db", "a?b.db"),
            ("a#b.db", "a#b.db"),
            ("é.db", "é.db"),
            ("x.db?mode=rwc&cache=private", "x.db"),
            ("x.db?mode=%72w", "x.db"),
            ("file:x.db", "x.db"),
            ("file:x.db?mode=rwc", "x.db"),
            ("file:/none/x.db", "/none/x.db"),
            ("file:///none/x.db", "/none/x.db"),
            ("file://localhost/none/x.db", "/none/x.db"),
            ("//file:x.db", "./file:x.db"),
            ("%66ile:x.db", "./file:x.db"),
        ] {
            assert_eq!(path(rest), expected, "{rest}");
        }
        let (file, ignored) = read("x.db?cache=shared&vfs=unix&timeout=5").unwrap();
        assert_eq!(ignored, ["timeout"]);
        assert!(file.is_shared && file.vfs.as_deref() == Some("unix"));
    }

    #[test]
    fn three_slashes_of_sqlalchemy_are_a_name_and_four_a_whole_path() {
        for (rest, expected) in [
            ("///x.db", "x.db"),
            ("///./x.db", "./x.db"),
            ("///../none/x.db", "../none/x.db"),
            ("///none/x.db", "none/x.db"),
            ("////none/x.db", "/none/x.db"),
            ("///100%25.db", "100%25.db"),
            ("///x.db?check_same_thread=False&cache=private", "x.db"),
            ("///file:x.db?uri=true&mode=rwc", "x.db"),
            ("///file:/none/a%20b.db?uri=true", "/none/a b.db"),
        ] {
            let (file, _) = read_of_python(rest, "aiosqlite").expect(rest);
            assert_eq!(file.path.display().to_string(), expected, "{rest}");
        }
        for (rest, driver, word) in [
            ("//", "pysqlite", "memory"),
            ("///", "pysqlite", "memory"),
            ("///:memory:", "aiosqlite", "memory"),
            ("///file::memory:?uri=true", "aiosqlite", "memory"),
            ("///x.db?mode=ro&uri=true", "aiosqlite", "writes"),
            ("//x.db", "aiosqlite", "four before"),
            ("x.db", "aiosqlite", "four before"),
            ("//:cret@host/x.db", "aiosqlite", "four before"),
            ("//:cret@/x.db", "pysqlcipher", "encrypted"),
            ("////", "aiosqlite", "folder"),
        ] {
            let error = read_of_python(rest, driver).expect_err(rest);
            assert!(error.contains(word), "{rest}: {error}");
            assert!(!error.contains("cret"), "{rest}: {error}");
        }
    }

    #[test]
    fn what_can_be_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = format!("//{}", folder.path().display());
        let long = format!("//{}", "a".repeat(300));
        let longer = format!("//{}", "a".repeat(250));
        for (rest, word) in [
            (":memory:", "memory"),
            ("%3Amemory%3A", "memory"),
            ("x.db?mode=%6demory", "memory"),
            ("x.db?vfs=memdb", "memory"),
            ("file::memory:", "memory"),
            ("file:x.db?mode=memory", "memory"),
            ("file:", "memory"),
            ("//", "memory"),
            ("x.db?mode=r%6f", "writes"),
            ("x.db?vfs=unix-none", "expected mode=rw"),
            ("x.db?vfs=other", "expected mode=rw"),
            ("a?b.db", "expected mode=rw"),
            ("///", "folder"),
            ("///none/", "folder"),
            (folder.as_str(), "folder"),
            ("/dev/null", "neither a file"),
            ("file://host/x.db", "third `/`"),
            ("%ff.db", "UTF-8"),
            ("a%0ab.db", "control"),
            ("~/none/x.db", "whole path"),
            (long.as_str(), "longer"),
            (longer.as_str(), "longer"),
        ] {
            let error = read(rest).expect_err(rest);
            assert!(error.contains(word), "{rest}: {error}");
        }
    }
}

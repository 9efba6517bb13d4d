//! The `.env` of the working folder, read as python-dotenv 1.2.4 reads one: that of the Python
//! service is taken over as it is.
//!
//! - A value without quotes goes to the end of its line; a comment begins with a `#` after a blank,
//!   also where there is no value before it. Backslashes, quotes inside it and `$NAME` are text.
//! - `'..'` knows `\'` and `\\`; `".."` knows `\n` and the like besides; both go over lines.
//! - `${NAME}` and `${NAME:-default}` are filled in, in quotes too: from the environment, else from
//!   the lines before. Of two lines with one name the last counts.
//! - Names may hold `-`, `.` and any letter. A name without `=` sets nothing.
//! - A line that cannot be read is passed over, and told by its number: its text may be a secret.
//!
//! What the environment sets already stays, also where it is set to nothing.
//!
//! Keepers of secrets serve the file through a pipe, and write once somebody opens it. Nobody may
//! be there to write: a pipe is given up after a while, and that is told, as it is of whatever else
//! is no file.
//!
//! The file decides which database is written to and where pictures' labels are sent: it is read
//! where nobody but who runs the program, or root, can have written it.

mod parse;

use std::fmt::Write as _;
use std::fs::{File, FileType, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::net::unix::pipe;

use self::parse::{Parsed, parse};
use super::permission::is_writable_by_all;

const FILE: &str = ".env";

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// How long a pipe has to give all that it holds.
const PIPE_PATIENCE: Duration = Duration::from_secs(3);

/// How much of a pipe is taken at a time, in bytes.
const PIPE_PART: usize = 4096;

/// Most lines that are told each by its number.
const MAX_TOLD: usize = 20;

const ROOT: u32 = 0;

/// Sets the variables of the working folder's file, and of no folder above it: that may be another
/// program's. What is to be told of its lines, or why it is not read.
///
/// # Errors
/// A file that is there and cannot be read, or is too large.
pub(super) fn load() -> anyhow::Result<Vec<String>> {
    if super::serve::is_trial() {
        return Ok(Vec::new());
    }
    let found = read(Path::new(FILE), user()).context("the .env file cannot be read")?;
    let bytes = match found {
        Found::Nothing => return Ok(Vec::new()),
        Found::Strange(why) => return Ok(vec![format!("{FILE} is not read: {why}")]),
        Found::Bytes(bytes) => bytes,
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

/// What there is under the file's name.
#[derive(Debug, PartialEq)]
enum Found {
    /// Nothing.
    Nothing,
    /// What is no file, gives nothing, or may have been written by somebody else: why.
    Strange(String),
    Bytes(Vec<u8>),
}

/// The file, for a program that this user runs.
fn read(path: &Path, user: Option<u32>) -> anyhow::Result<Found> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
    };
    let kind = metadata.file_type();
    if !kind.is_file() && !kind.is_fifo() {
        let kind = named(kind);
        return Ok(Found::Strange(format!("it is {kind}, expected a file")));
    }
    // Whose link it is counts as well, but everybody may write to every link.
    let link = std::fs::symlink_metadata(path)?;
    let link = link.is_symlink().then(|| (link.uid(), 0));
    for (owner, mode) in link.into_iter().chain([whose(&metadata)]) {
        if let Some(why) = strange(owner, mode, user) {
            return Ok(Found::Strange(why));
        }
    }
    if kind.is_fifo() {
        return through_pipe(path, user, PIPE_PATIENCE);
    }
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    // What was opened may be another than what was looked at.
    let (owner, mode) = whose(&file.metadata()?);
    if let Some(why) = strange(owner, mode, user) {
        return Ok(Found::Strange(why));
    }
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    within(bytes)
}

/// What is no file, by its name.
fn named(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// What somebody writes into a pipe, if it comes in time.
fn through_pipe(path: &Path, user: Option<u32>, patience: Duration) -> anyhow::Result<Found> {
    // All of it runs in this thread: no second one may be there when variables are set.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(received(path, user, patience))
}

async fn received(path: &Path, user: Option<u32>, patience: Duration) -> anyhow::Result<Found> {
    // It does not wait for somebody who opens the other end.
    let pipe = pipe::OpenOptions::new().open_receiver(path)?;
    // What was opened may be another than what was looked at.
    let opened = File::from(pipe.as_fd().try_clone_to_owned()?);
    let (owner, mode) = whose(&opened.metadata()?);
    if let Some(why) = strange(owner, mode, user) {
        return Ok(Found::Strange(why));
    }
    match tokio::time::timeout(patience, until_end(&pipe)).await {
        Ok(bytes) => within(bytes?),
        Err(_) => Ok(Found::Strange(format!(
            "it is a pipe that nobody wrote to its end within {patience:?}, expected a file"
        ))),
    }
}

/// All that comes through a pipe, up to one part over the limit.
async fn until_end(pipe: &pipe::Receiver) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = [0; PIPE_PART];
    while bytes.len() as u64 <= MAX_BYTES {
        // Ready once somebody wrote, or closed it.
        pipe.readable().await?;
        match pipe.try_read(&mut part) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// What was read, if it is not too much.
fn within(bytes: Vec<u8>) -> anyhow::Result<Found> {
    if bytes.len() as u64 > MAX_BYTES {
        bail!("it is larger than {MAX_BYTES} bytes");
    }
    Ok(Found::Bytes(bytes))
}

/// The owner and the mode of a file.
fn whose(metadata: &Metadata) -> (u32, u32) {
    (metadata.uid(), metadata.mode())
}

/// Why a file of that owner and mode may have been written by somebody else than this user or root,
/// if so.
fn strange(owner: u32, mode: u32, user: Option<u32>) -> Option<String> {
    if let Some(user) = user
        && owner != user
        && owner != ROOT
    {
        return Some(format!(
            "it belongs to another user (uid {owner}, the program runs as uid {user}): if it is \
             wanted, `chown {user} {FILE}`"
        ));
    }
    is_writable_by_all(mode).then(|| {
        let mode = mode & 0o7777;
        format!("everybody may write to it (mode {mode:o}): `chmod o-w {FILE}`")
    })
}

/// The user that the program runs as, where the system tells.
fn user() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    // The real one, the effective one, and others.
    ids.split_whitespace().nth(1)?.parse().ok()
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
        let read = || read(&path, user());
        assert_eq!(read().unwrap(), Found::Nothing, "nothing there");
        let refused = |what: &str| match read().unwrap() {
            Found::Strange(why) => assert!(why.contains(what), "{what}: {why}"),
            found => panic!("{what}: {found:?}"),
        };
        std::fs::create_dir(&path).unwrap();
        refused("it is a folder, expected a file");
        std::fs::remove_dir(&path).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        refused("it is a socket");
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        refused("it is a device");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "A=1").unwrap();
        assert_eq!(read().unwrap(), Found::Bytes(b"A=1".into()));
        std::fs::File::create(&path)
            .unwrap()
            .set_len(MAX_BYTES + 1)
            .unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains("larger than"), "{error}");
    }

    #[test]
    fn a_pipe_is_read_where_somebody_writes_and_given_up_where_nobody_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let written = |text: Vec<u8>| {
            let path = path.clone();
            // It opens once somebody reads, and may not come to its end.
            std::thread::spawn(move || std::fs::write(path, text))
        };
        let writer = written(b"A=1\nB=2\n".into());
        let found = read(&path, user()).unwrap();
        assert_eq!(found, Found::Bytes(b"A=1\nB=2\n".into()));
        writer.join().unwrap().unwrap();

        let large = usize::try_from(MAX_BYTES).unwrap() + 1;
        let writer = written(vec![b'#'; large]);
        let error = read(&path, user()).unwrap_err().to_string();
        assert!(error.contains("larger than"), "{error}");
        let _ = writer.join().unwrap();

        let given_up = || {
            let found = through_pipe(&path, user(), Duration::from_millis(200));
            match found.unwrap() {
                Found::Strange(why) => assert!(why.contains("a pipe that nobody wrote"), "{why}"),
                found => panic!("{found:?}"),
            }
        };
        given_up();
        // Somebody opens it and says nothing.
        let held = File::options().read(true).write(true).open(&path).unwrap();
        given_up();
        drop(held);
    }

    #[test]
    fn a_file_that_others_may_have_written_is_not_read() {
        let me = Some(1000);
        for (owner, mode) in [(1000, 0o600), (0, 0o644), (1000, 0o664)] {
            assert_eq!(strange(owner, mode, me), None, "{owner} {mode:o}");
        }
        assert_eq!(strange(7, 0o600, None), None, "nobody knows");
        let told = |owner, mode| strange(owner, mode, me).unwrap();
        assert!(told(1001, 0o600).contains("uid 1001, the program runs as uid 1000"));
        assert!(told(1000, 0o666).contains("(mode 666): `chmod o-w .env`"));
        assert!(told(0, 0o100_646).contains("(mode 646)"));
    }

    #[test]
    fn whose_the_file_is_counts_and_whose_the_link_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, "A=1").unwrap();
        let me = user().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), me);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, Some(me)).unwrap(), Found::Bytes(b"A=1".into()));
        if me != ROOT {
            return;
        }
        // Only root may give files away.
        if std::os::unix::fs::lchown(&link, Some(65_534), None).is_err() {
            // Root of a container that knows no other user.
            return;
        }
        let found = read(&link, Some(me)).unwrap();
        assert!(
            matches!(&found, Found::Strange(why) if why.contains("uid 65534")),
            "{found:?}"
        );
        assert_eq!(read(&path, Some(me)).unwrap(), Found::Bytes(b"A=1".into()));
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        assert!(matches!(read(&path, Some(me)).unwrap(), Found::Strange(_)));
    }
}

//! Keys of variables and of files. Files are read again when they change, so that a key can be
//! taken back, and another one come, without a restart; one that cannot be read changes nothing.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use engine::http::Keys;
use omnizap_contract::common::chain::chain;
use tokio::signal::unix::Signal;

use crate::cli::permission::is_writable_by_all;

/// Largest file of keys, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// How often the files are looked at. One that has changed is read once two looks see the same.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The keys of a variable and those of a file, and the file where it may change.
///
/// # Errors
/// What is wrong with either.
pub(super) fn read(variable: &str, file: Option<&Path>) -> anyhow::Result<(Keys, Option<KeyFile>)> {
    let said = match std::env::var(variable) {
        Ok(text) => text,
        Err(std::env::VarError::NotPresent) => String::new(),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{variable} is no text in UTF-8"),
    };
    let said = Keys::parse(&said).map_err(|message| anyhow!("{variable}: {message}"))?;
    let Some(path) = file else {
        return Ok((said, None));
    };
    let (keys, found) = of_file(path).with_context(|| format!("the keys of {}", path.display()))?;
    let keys = said.and(&keys);
    if !found.is_file() {
        tracing::info!(file = %path.display(), "the keys are read once: it is no regular file");
        return Ok((keys, None));
    }
    let stamp = Ok(Stamp::of(&found));
    let file = KeyFile {
        // Wherever a plugin makes the program go.
        path: std::path::absolute(path)?,
        said,
        keys: keys.clone(),
        read: stamp.clone(),
        seen: stamp,
        is_broken: false,
    };
    Ok((keys, Some(file)))
}

/// The keys of a file, and what it was as they were read.
fn of_file(path: &Path) -> anyhow::Result<(Keys, Metadata)> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    if is_writable_by_all(found.mode()) {
        bail!("everybody may write the file, and so add a key: chmod o-w");
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        bail!("the file has more than {MAX_FILE} bytes");
    }
    let keys = Keys::parse(&text).map_err(|message| anyhow!(message))?;
    if keys.is_empty() {
        // Whoever names a file means to close the service.
        bail!("there is no key in the file");
    }
    Ok((keys, found))
}

/// What tells a file from what it was: which one it is, how long, who may write it, when it was
/// changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    len: u64,
    mode: u32,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            len: found.len(),
            mode: found.mode(),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// What a look at a file found, or why it found nothing.
type Look = Result<Stamp, String>;

/// A file of keys that is followed.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    /// The keys of the variable: they go with those of the file.
    said: Keys,
    /// Those in force.
    keys: Keys,
    /// What the file was as it was read last.
    read: Look,
    /// What it was at the last look.
    seen: Look,
    /// True where what was read last could not be used.
    is_broken: bool,
}

impl KeyFile {
    /// Looks at the file, and reads it where it has changed: once it has settled, or at once where
    /// that is asked for.
    fn look(&mut self, is_asked: bool) {
        let found = std::fs::metadata(&self.path);
        let is_file = found.as_ref().is_ok_and(Metadata::is_file);
        let now: Look = match &found {
            Ok(found) => Ok(Stamp::of(found)),
            Err(error) => Err(error.to_string()),
        };
        let has_settled = now == self.seen;
        self.seen.clone_from(&now);
        let is_new = now != self.read;
        let is_due = is_new && (has_settled || is_asked) || self.is_broken && is_asked;
        if !is_due {
            return;
        }
        let read = match found {
            // To open a pipe takes until somebody writes to it.
            Ok(_) if !is_file => Err(anyhow!("it is no regular file")),
            _ => of_file(&self.path),
        };
        let file = self.path.display();
        match read {
            Ok((keys, found)) => {
                self.read = Ok(Stamp::of(&found));
                self.is_broken = false;
                self.keys.replace(&self.said.and(&keys));
                tracing::info!(%file, "the keys were read again: {:?} in force", self.keys);
            }
            Err(error) => {
                self.read = now;
                self.is_broken = true;
                let error = chain(error.as_ref());
                tracing::error!(
                    %file,
                    "the keys were not read again, those from before stay in force: {error}"
                );
            }
        }
    }
}

/// Reads files of keys again as they change, and looks at once at each signal. Nobody waits for
/// that: a file that cannot be read for long holds up nothing.
pub(super) async fn follow(mut files: Vec<KeyFile>, mut hangup: Signal) {
    while !files.is_empty() {
        let is_asked = tokio::select! {
            asked = hangup.recv() => {
                if asked.is_none() {
                    return;
                }
                true
            }
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let looking = tokio::task::spawn_blocking(move || {
            for file in &mut files {
                file.look(is_asked);
            }
            files
        });
        files = match looking.await {
            Ok(files) => files,
            Err(error) => {
                tracing::error!(%error, "files of keys are not followed any more");
                return;
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FIRST: &str = "0123456789abcdef";
    const SECOND: &str = "another-key-of-the-tests";
    const NO_SUCH: &str = "OMNIZAP_TEST_NO_SUCH_KEYS";

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_of_keys_is_read_or_refused_with_the_reason() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys");
        let of_file = |text: &str, mode: u32| {
            write(&path, text, mode);
            of_file(&path)
        };
        let (keys, found) = of_file("# the bot\n0123456789abcdef\n", 0o640).unwrap();
        assert!(!keys.is_empty() && found.is_file());
        for (text, mode, wanted) in [
            ("0123456789abcdef\n", 0o646, "everybody may write"),
            ("# none yet\n", 0o600, "no key"),
            ("", 0o600, "no key"),
            ("a-short-one\n", 0o600, "key 1 has 11 characters"),
        ] {
            let error = of_file(text, mode).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(!error.contains("a-short-one"), "{error}");
        }
        assert!(super::of_file(&folder.path().join("none")).is_err());
        let named = read(NO_SUCH, Some(&path)).unwrap_err();
        assert!(named.to_string().contains("keys"), "{named}");
    }

    #[test]
    fn a_change_counts_once_it_has_settled_and_what_is_wrong_changes_nothing() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("keys");
        write(&path, FIRST, 0o600);
        let (keys, file) = read(NO_SUCH, Some(&path)).unwrap();
        let mut file = file.unwrap();
        let shown = || format!("{keys:?}");
        file.look(false);
        assert_eq!(shown(), "1 keys");
        write(&path, &format!("{FIRST}\n{SECOND}\n"), 0o600);
        file.look(false);
        assert_eq!(shown(), "1 keys", "somebody may still write");
        file.look(false);
        assert_eq!(shown(), "2 keys");
        // Whoever asks does not wait.
        write(&path, FIRST, 0o600);
        file.look(true);
        assert_eq!(shown(), "1 keys");

        let both = format!("{FIRST}\n{SECOND}\n");
        for (text, mode) in [("short", 0o600), ("", 0o600), (both.as_str(), 0o602)] {
            write(&path, text, mode);
            file.look(true);
            assert_eq!((shown().as_str(), file.is_broken), ("1 keys", true));
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        file.look(true);
        std::fs::remove_dir(&path).unwrap();
        file.look(true);
        assert_eq!((shown().as_str(), file.is_broken), ("1 keys", true));
        write(&path, &both, 0o600);
        file.look(false);
        file.look(false);
        assert_eq!((shown().as_str(), file.is_broken), ("2 keys", false));
    }
}

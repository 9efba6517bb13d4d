//! A change of the files becomes a generation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::common::chain::chain;

use super::generation::Live;
use super::loading::Loading;
use super::source::{LoadError, Source, Stamp, Stamps};

/// How often the files are looked at.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// At how many looks after the one that saw a change the files must still be the same. Who writes a
/// file with a pause of less than as many intervals is waited for; a file that is complete at once is
/// read after one interval more at most.
pub const SETTLED_LOOKS: u32 = 5;

/// Builds pipelines anew from their source and swaps them in.
pub struct Reload {
    /// What loads them.
    pub loading: Loading,
    /// Where they go to.
    pub live: Arc<Live>,
    /// What told whether a text has changed before the live ones were read: whatever was changed
    /// since is taken in too.
    pub read: Stamps,
}

impl Reload {
    /// Builds the next generation and swaps it in. A load that waits for a plugin is left behind
    /// once the files change again.
    ///
    /// # Errors
    /// Why nothing was changed.
    async fn reload(&mut self, read: Option<Seen>) -> Result<(), LoadError> {
        let others = changed(
            self.loading.source().clone(),
            self.loading.extended().to_vec(),
            read,
        );
        let graphs = tokio::select! {
            graphs = self.loading.graphs() => graphs?,
            () = others => {
                let why = "before the files changed again: it is given up";
                return Err(self.loading.given_up(why));
            }
        };
        let before = self.live.current();
        let pipelines = self.loading.build(graphs, before.all()).await?;
        drop(before);
        self.live.swap(pipelines);
        Ok(())
    }

    async fn look(&self) -> io::Result<Seen> {
        let source = self.loading.source().clone();
        look(source, self.loading.extended().to_vec()).await
    }

    /// Reloads when a file changes, whenever `asked` resolves with true, and whenever the live ones
    /// are asked for it; ends when `asked` resolves with false, and with the service. What happened
    /// is logged.
    pub async fn watch(mut self, asked: impl AsyncFnMut() -> bool) {
        let live = self.live.clone();
        self.reload_when(asked).await;
        live.reloads().are_over();
    }

    async fn reload_when(&mut self, mut asked: impl AsyncFnMut() -> bool) {
        let source = std::mem::take(&mut self.read);
        let extended = read_since(self.loading.extended(), Stamps::new()).await;
        let mut watcher = Watcher::new(Seen { source, extended });
        let mut sight = Sight::default();
        loop {
            let before = watcher.read.clone();
            let mut is_asked = false;
            tokio::select! {
                asked = asked() => {
                    if !asked {
                        return;
                    }
                    is_asked = true;
                }
                () = self.live.reloads().are_asked_for() => is_asked = true,
                () = tokio::time::sleep(WATCH_INTERVAL) => {
                    self.loading.stay_home().await;
                    // An error of the file system is no change of a file.
                    let looked = self.look().await;
                    sight.note(&looked);
                    if !looked.is_ok_and(|now| watcher.changed(now)) {
                        continue;
                    }
                }
            }
            if self.live.is_over() {
                return;
            }
            let waiting = self.live.reloads().waiting();
            let read = self.look().await.ok();
            let reloaded = self.reload(read.clone()).await;
            if let Some(read) = read {
                // What is extended is known only now; what was known before was looked at before
                // it was read.
                watcher.read = Seen {
                    extended: read_since(self.loading.extended(), read.extended).await,
                    source: read.source,
                };
            }
            if let Err(error) = &reloaded
                && error.may_pass()
            {
                // The same files may be fine later: their change is still one.
                watcher.read = before;
                watcher.same = 0;
            }
            sight.tell(&reloaded, is_asked);
            self.live.reloads().end(waiting, &reloaded);
        }
    }
}

/// What all files were like at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    source: Stamps,
    /// Those that files of the source extend.
    extended: Stamps,
}

/// Looks at all files, on a thread that may wait for a disk.
async fn look(source: Source, extended: Vec<PathBuf>) -> io::Result<Seen> {
    let looking = tokio::task::spawn_blocking(move || -> io::Result<Seen> {
        let source = source.stamps()?;
        let extended: io::Result<Stamps> = extended.iter().map(|file| stamp(file)).collect();
        let extended = extended?;
        Ok(Seen { source, extended })
    });
    looking
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The stamp of a file that is extended. One that is gone is a change like any other.
fn stamp(file: &Path) -> io::Result<Stamp> {
    match Source::Path(file.to_owned()).stamps() {
        Ok(stamps) => Ok(stamps.into_iter().next().unwrap_or_else(|| gone(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(gone(file)),
        Err(error) => Err(error),
    }
}

fn gone(file: &Path) -> Stamp {
    (file.to_owned(), 0, None)
}

/// The stamps of extended files, on a thread that may wait for a disk.
async fn read_since(extended: &[PathBuf], known: Stamps) -> Stamps {
    let files = extended.to_vec();
    let looking = tokio::task::spawn_blocking(move || stamps_since(&files, &known));
    // It can only fail by a panic, or at shutdown.
    looking
        .await
        .unwrap_or_else(|_| extended.iter().map(|file| gone(file)).collect())
}

/// Those that are known, and for the others what they are like now.
fn stamps_since(extended: &[PathBuf], known: &[Stamp]) -> Stamps {
    let stamps = extended.iter().map(|file| {
        let known = known.iter().find(|(path, ..)| path == file);
        let now = || stamp(file).unwrap_or_else(|_| gone(file));
        known.cloned().unwrap_or_else(now)
    });
    stamps.collect()
}

/// Resolves once the files are others than those that were read, and have settled.
async fn changed(source: Source, extended: Vec<PathBuf>, read: Option<Seen>) {
    let Some(read) = read else {
        return std::future::pending().await;
    };
    let mut watcher = Watcher::new(read);
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let now = look(source.clone(), extended.clone()).await;
        if now.is_ok_and(|now| watcher.changed(now)) {
            return;
        }
    }
}

/// What was told of looking and loading: nothing that nobody asked for is told twice in a row.
#[derive(Default)]
struct Sight {
    blind: Option<String>,
    failed: Option<String>,
}

impl Sight {
    fn note(&mut self, looked: &io::Result<Seen>) {
        let blind = looked.as_ref().err().map(ToString::to_string);
        match &blind {
            Some(error) if self.blind != blind => {
                tracing::warn!(
                    "the files of the pipelines cannot be looked at, those that are live stay: \
                     {error}"
                );
            }
            None if self.blind.is_some() => {
                tracing::info!("the files of the pipelines can be looked at again");
            }
            _ => {}
        }
        self.blind = blind;
    }

    fn tell(&mut self, reloaded: &Result<(), LoadError>, is_asked: bool) {
        let Err(error) = reloaded else {
            self.failed = None;
            tracing::info!("pipelines reloaded");
            return;
        };
        let text = chain(error);
        let is_known = self.failed.as_ref() == Some(&text);
        if error.may_pass() && is_known && !is_asked {
            tracing::debug!("nothing reloaded: {text}");
            return;
        }
        tracing::error!("nothing reloaded: {text}");
        self.failed = Some(text);
    }
}

/// Tells a change that has settled from one that goes on: a file that is being written is not read.
struct Watcher<S> {
    /// The files that were read last.
    read: S,
    /// The files at the last look.
    seen: S,
    /// How many looks before that one saw the same.
    same: u32,
}

impl<S: Clone + PartialEq> Watcher<S> {
    fn new(stamps: S) -> Self {
        Self {
            read: stamps.clone(),
            seen: stamps,
            same: 0,
        }
    }

    /// True where the files are others than those that were read, and have been the same for
    /// [`SETTLED_LOOKS`] looks.
    fn changed(&mut self, now: S) -> bool {
        if now != self.seen {
            self.seen = now;
            self.same = 0;
            return false;
        }
        self.same = self.same.saturating_add(1);
        let changed = self.same >= SETTLED_LOOKS && self.seen != self.read;
        if changed {
            self.read.clone_from(&self.seen);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(len: u64) -> Stamps {
        vec![("a.toml".into(), len, None)]
    }

    /// Looks that all see the same; whether the last of them told a change, and only that.
    fn looks(watcher: &mut Watcher<Stamps>, len: u64, count: u32) -> bool {
        let told: Vec<_> = (0..count).map(|_| watcher.changed(stamps(len))).collect();
        assert!(!told[..told.len() - 1].contains(&true), "{told:?}");
        told[told.len() - 1]
    }

    #[test]
    fn a_change_is_told_once_it_has_settled() {
        let mut watcher = Watcher::new(stamps(1));
        assert!(!looks(&mut watcher, 1, 2 * SETTLED_LOOKS));
        assert!(
            !looks(&mut watcher, 2, SETTLED_LOOKS),
            "still being written, perhaps"
        );
        assert!(!looks(&mut watcher, 3, SETTLED_LOOKS));
        assert!(looks(&mut watcher, 3, 1));
        assert!(!looks(&mut watcher, 3, 2 * SETTLED_LOOKS));
    }

    #[test]
    fn a_change_that_is_taken_back_is_none() {
        let mut watcher = Watcher::new(stamps(1));
        assert!(!looks(&mut watcher, 2, SETTLED_LOOKS));
        assert!(!looks(&mut watcher, 1, 2 * SETTLED_LOOKS));
    }

    #[test]
    fn an_extended_file_that_is_gone_is_a_change_and_one_that_cannot_be_looked_at_is_none() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("base.toml");
        std::fs::write(&file, "a").unwrap();
        let there = stamp(&file).unwrap();
        assert_ne!(there, gone(&file));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(stamp(&file).unwrap(), gone(&file));
        // Below a file there can be none.
        std::fs::write(&file, "a").unwrap();
        assert!(stamp(&file.join("below.toml")).is_err());
        let known = stamps_since(&[file.clone(), folder.path().join("x")], &[gone(&file)]);
        assert_eq!(known, [gone(&file), gone(&folder.path().join("x"))]);
    }

    #[test]
    fn a_writer_may_pause_for_two_seconds_and_a_half() {
        let pause = WATCH_INTERVAL * SETTLED_LOOKS;
        assert!(pause >= Duration::from_millis(2500));
        assert!(pause + WATCH_INTERVAL <= Duration::from_secs(3));
    }
}

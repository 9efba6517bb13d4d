//! A change of the files becomes a generation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use omnizap_contract::common::chain::chain;

use super::generation::Live;
use super::source::{LoadError, Source, Stamps};
use super::workshop::Workshop;

/// How often the files are looked at.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// At how many looks after the one that saw a change the files must still be the same. Who writes a
/// file with a pause of less than as many intervals is waited for; a file that is complete at once is
/// read after one interval more at most.
pub const SETTLED_LOOKS: u32 = 5;

/// Builds pipelines anew from their source and swaps them in.
pub struct Reload {
    /// What they are made with.
    pub workshop: Workshop,
    /// Where they come from.
    pub source: Source,
    /// Where they go to.
    pub live: Arc<Live>,
    /// Files that are not of the source and that its files extend.
    pub extended: Vec<PathBuf>,
    /// What told whether a text has changed before the live ones were read: whatever was changed
    /// since is taken in too.
    pub read: Stamps,
}

impl Reload {
    /// What tells whether a text has changed.
    fn stamps(&self) -> std::io::Result<Stamps> {
        Ok(self.with_extended(self.source.stamps()?))
    }

    /// The stamps of the source, and those of what it extends.
    fn with_extended(&self, mut stamps: Stamps) -> Stamps {
        for file in &self.extended {
            // One that is gone is a change like any other.
            let stamp = Source::Path(file.clone()).stamps();
            stamps.extend(stamp.unwrap_or_else(|_| vec![(file.clone(), 0, None)]));
        }
        stamps
    }

    /// Builds the next generation and swaps it in.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn reload(&mut self) -> Result<(), LoadError> {
        let (graphs, bases) = self.workshop.graphs_and_bases(&self.source);
        // Also where there are mistakes: they may be mended there.
        self.extended = bases;
        let pipelines = self
            .workshop
            .rebuild(graphs?, self.live.current().all())
            .await?;
        self.live.swap(pipelines);
        Ok(())
    }

    /// Reloads when a file changes, and whenever `asked` resolves with true; ends when it resolves
    /// with false. What happened is logged.
    pub async fn watch(mut self, mut asked: impl AsyncFnMut() -> bool) {
        let mut watcher = Watcher::new(self.with_extended(self.read.clone()));
        loop {
            tokio::select! {
                asked = asked() => if !asked { return },
                () = tokio::time::sleep(WATCH_INTERVAL) => {
                    // An error of the file system is no change of a file.
                    if !self.stamps().is_ok_and(|now| watcher.changed(now)) {
                        continue;
                    }
                }
            }
            let read = self.source.stamps();
            let reloaded = self.reload().await;
            if let Ok(read) = read {
                watcher.read = self.with_extended(read);
            }
            match reloaded {
                Ok(()) => tracing::info!("pipelines reloaded"),
                Err(error) => tracing::error!("nothing reloaded: {}", chain(&error)),
            }
        }
    }
}

/// Tells a change that has settled from one that goes on: a file that is being written is not read.
struct Watcher {
    /// The files that were read last.
    read: Stamps,
    /// The files at the last look.
    seen: Stamps,
    /// How many looks before that one saw the same.
    same: u32,
}

impl Watcher {
    fn new(stamps: Stamps) -> Self {
        Self {
            read: stamps.clone(),
            seen: stamps,
            same: 0,
        }
    }

    /// True where the files are others than those that were read, and have been the same for
    /// [`SETTLED_LOOKS`] looks.
    fn changed(&mut self, now: Stamps) -> bool {
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
    fn looks(watcher: &mut Watcher, len: u64, count: u32) -> bool {
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
    fn a_writer_may_pause_for_two_seconds_and_a_half() {
        let pause = WATCH_INTERVAL * SETTLED_LOOKS;
        assert!(pause >= Duration::from_millis(2500));
        assert!(pause + WATCH_INTERVAL <= Duration::from_secs(3));
    }
}

//! A change of the files becomes a generation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::generation::Live;
use super::source::{LoadError, Source, Stamps};
use super::workshop::Workshop;

/// How often the files are looked at.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);

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
}

impl Reload {
    /// What tells whether a text has changed.
    fn stamps(&self) -> std::io::Result<Stamps> {
        let mut stamps = self.source.stamps()?;
        for file in &self.extended {
            // One that is gone is a change like any other.
            let stamp = Source::Path(file.clone()).stamps();
            stamps.extend(stamp.unwrap_or_else(|_| vec![(file.clone(), 0, None)]));
        }
        Ok(stamps)
    }

    /// Builds the next generation and swaps it in.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn reload(&mut self) -> Result<(), LoadError> {
        let (graphs, bases) = self.workshop.graphs_and_bases(&self.source);
        // Also where there are mistakes: they may be mended there.
        self.extended = bases;
        let pipelines = self.workshop.build(graphs?).await?;
        self.live.swap(pipelines);
        Ok(())
    }

    /// Reloads when a file changes, and whenever `asked` resolves with true; ends when it resolves
    /// with false. What happened is logged.
    pub async fn watch(mut self, mut asked: impl AsyncFnMut() -> bool) {
        let mut watcher = Watcher::new(self.stamps().unwrap_or_default());
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
            match self.reload().await {
                Ok(()) => tracing::info!("pipelines reloaded"),
                Err(error) => tracing::error!("nothing reloaded: {error}"),
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
}

impl Watcher {
    fn new(stamps: Stamps) -> Self {
        Self {
            read: stamps.clone(),
            seen: stamps,
        }
    }

    /// True where the files are others than those that were read, and the same at two looks in a
    /// row.
    fn changed(&mut self, now: Stamps) -> bool {
        let settled = now == self.seen;
        let changed = settled && now != self.read;
        if changed {
            self.read.clone_from(&now);
        }
        self.seen = now;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_it_has_settled() {
        let stamps = |len: u64| vec![("a.toml".into(), len, None)];
        let mut watcher = Watcher::new(stamps(1));
        assert!(!watcher.changed(stamps(1)));
        assert!(!watcher.changed(stamps(2)), "still being written, perhaps");
        assert!(!watcher.changed(stamps(3)));
        assert!(watcher.changed(stamps(3)));
        assert!(!watcher.changed(stamps(3)));
    }
}

//! The generation that answers, those that still finish requests, and how each ends: closed, and
//! dropped on a thread, for plugins have a word in that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::reloads::Reloads;
use super::Generation;
use crate::pipeline::Pipeline;

/// How long requests may go on with a generation that was swapped out before its stages are
/// closed.
const OLD_GENERATION_GRACE: Duration = Duration::from_secs(60);

/// How often it is looked whether they have ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The same at the end of the service.
const LOOK_EVERY_AT_END: Duration = Duration::from_millis(5);

/// How long the stages of an old generation may take to finish what they have under way before
/// that is told.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// How long its stages may take to end, before that is told.
const DROP_LIMIT: Duration = Duration::from_secs(10);

/// Most old generations whose stages do not end; further ones are kept as they are.
const MAX_DROPPING: usize = 16;

/// What is left for closing where requests used up all the time that there was.
const LEAST_CLOSING: Duration = Duration::from_millis(500);

/// The generation that answers, and those that still finish requests.
pub struct Live {
    current: ArcSwap<Generation>,
    retired: Mutex<Retired>,
    reloads: Reloads,
    /// When all must have ended.
    ends_by: OnceLock<Instant>,
    /// How many generations are being dropped.
    dropping: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Retired {
    /// Generations that were swapped out and not dropped yet.
    generations: Vec<Arc<Generation>>,
    /// True once the service ends: none is swapped in any more.
    is_over: bool,
}

impl Live {
    /// The first generation.
    #[must_use]
    pub fn new(pipelines: Vec<Arc<Pipeline>>) -> Self {
        Self {
            current: ArcSwap::from_pointee(Generation::new(pipelines)),
            retired: Mutex::default(),
            reloads: Reloads::default(),
            ends_by: OnceLock::new(),
            dropping: Arc::default(),
        }
    }

    /// The generation that answers now.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Where reloads are asked for, and what came of them.
    #[must_use]
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// How many generations there are: the one that answers, and those that were swapped out and
    /// have not ended yet.
    #[must_use]
    pub fn generations(&self) -> usize {
        self.retired().generations.len() + self.dropping.load(Ordering::Relaxed) + 1
    }

    /// Puts other pipelines in the place of the live ones, but where the service ends. Requests in
    /// flight end on the pipeline that they began on; it is closed after them, and a minute later
    /// at the latest.
    pub fn swap(self: &Arc<Self>, pipelines: Vec<Arc<Pipeline>>) {
        let mut next = Generation::new(pipelines);
        {
            let mut retired = self.retired();
            if retired.is_over {
                drop(retired);
                // What comes of it is nobody's any more.
                drop(self.drop_apart(Arc::new(next)));
                return;
            }
            next.number = self.current.load().number + 1;
            let old = self.current.swap(Arc::new(next));
            let live = self.clone();
            let retired_one = Arc::downgrade(&old);
            retired.generations.push(old);
            tokio::spawn(async move { live.retire(retired_one).await });
        }
    }

    /// Says when all must have ended, and that no other generation comes.
    pub fn end_by(&self, until: std::time::Instant) {
        self.retired().is_over = true;
        // The first signal counts.
        let _ = self.ends_by.set(until.into());
    }

    /// True once the service ends.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.retired().is_over
    }

    /// Finishes what the stages of every generation have under way, and says who is late.
    pub async fn close(&self) {
        let mut all = {
            let mut retired = self.retired();
            retired.is_over = true;
            retired.generations.clone()
        };
        all.push(self.current.load_full());
        // The rest is for what comes after: stages end, and so does what they share.
        let left = self.closes_by() - Instant::now();
        let until = Instant::now() + left * 2 / 3;
        let late = join_all(all.iter().map(|generation| generation.close(until))).await;
        for late in late.into_iter().flatten() {
            tracing::warn!("{late} did not finish in time what it had under way");
        }
    }

    /// Lets go of every generation once all are closed: their stages end, those of plugins on a
    /// thread of their own. What requests still hold, and what does not end in time, is left as it
    /// is until the process ends. True where all have ended.
    pub async fn end(&self, until: std::time::Instant) -> bool {
        let until = Instant::from(until);
        let mut all = {
            let mut retired = self.retired();
            retired.is_over = true;
            std::mem::take(&mut retired.generations)
        };
        all.push(self.current.swap(Arc::new(Generation::new(Vec::new()))));
        let mut ending = Vec::new();
        loop {
            let is_free = |generation: &Arc<Generation>| Arc::strong_count(generation) == 1;
            let (free, used): (Vec<_>, Vec<_>) = all.into_iter().partition(is_free);
            all = used;
            for generation in free {
                let names = generation.names();
                ending.push((names, self.drop_apart(generation)));
            }
            if all.is_empty() || Instant::now() >= until {
                break;
            }
            sleep(LOOK_EVERY_AT_END).await;
        }
        let mut ended = all.is_empty();
        for generation in all {
            let names = generation.names();
            tracing::warn!("the pipelines {names} are still in use: their stages are not ended");
            std::mem::forget(generation);
        }
        for (names, dropped) in ending {
            if !matches!(timeout_at(until, dropped).await, Ok(Ok(()))) {
                ended = false;
                tracing::warn!("stages of the pipelines {names} did not end in time");
            }
        }
        ended
    }

    /// When all must have ended; a moment is left in any case.
    #[must_use]
    pub fn ends_by(&self) -> std::time::Instant {
        self.closes_by().into_std()
    }

    fn closes_by(&self) -> Instant {
        let least = Instant::now() + LEAST_CLOSING;
        let ends_by = self.ends_by.get().copied();
        ends_by.map_or_else(
            || Instant::now() + CLOSE_LIMIT,
            |ends_by| ends_by.max(least),
        )
    }

    /// Closes and drops a generation that was swapped out, once no request needs it. At the end of
    /// the service it is let alone: whoever ends that ends it too.
    async fn retire(&self, old: Weak<Generation>) {
        let begun = Instant::now();
        let mut is_closed = false;
        while let Some(held) = old.upgrade() {
            // The list holds it, and this. A request may do so besides, and no new one will.
            let is_free = Arc::strong_count(&held) <= 2;
            let waits = !is_free && begun.elapsed() < OLD_GENERATION_GRACE;
            let closing = if is_closed || waits {
                None
            } else {
                Some(held.close(Instant::now() + CLOSE_LIMIT))
            };
            let gone = {
                let mut retired = self.retired();
                if retired.is_over {
                    return;
                }
                // It is in the list until it was closed.
                let is_it =
                    |kept: &mut Arc<Generation>| is_closed && is_free && Arc::ptr_eq(kept, &held);
                retired.generations.extract_if(.., is_it).next()
            };
            drop(held);
            if let Some(generation) = gone {
                let names = generation.names();
                let dropped = tokio::time::timeout(DROP_LIMIT, self.drop_apart(generation));
                if !matches!(dropped.await, Ok(Ok(()))) {
                    tracing::warn!(
                        "stages of the pipelines {names}, which were replaced, do not end"
                    );
                }
                return;
            }
            if let Some(closing) = closing {
                for late in closing.await {
                    tracing::warn!(
                        "{late}, which was replaced, does not finish what it had under way"
                    );
                }
                is_closed = true;
                continue;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Drops a generation on a thread of its own; what is given resolves when that is done.
    fn drop_apart(&self, generation: Arc<Generation>) -> oneshot::Receiver<()> {
        let (done, dropped) = oneshot::channel();
        if self.dropping.fetch_add(1, Ordering::Relaxed) >= MAX_DROPPING {
            self.dropping.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(
                "the stages of {MAX_DROPPING} generations do not end: those of the pipelines {} are \
                 kept",
                generation.names()
            );
            std::mem::forget(generation);
            return dropped;
        }
        // Where there is no thread, it is not to be dropped here.
        let kept = Arc::new(Mutex::new(Some(generation)));
        let (taken, dropping) = (kept.clone(), self.dropping.clone());
        let thread = std::thread::Builder::new().name("pipelines-end".into());
        let started = thread.spawn(move || {
            let generation = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(generation);
            dropping.fetch_sub(1, Ordering::Relaxed);
            // Nobody may wait for it.
            let _ = done.send(());
        });
        if let Err(error) = started {
            self.dropping.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "no thread to end stages on: they are kept");
            let generation = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::mem::forget(generation);
        }
        dropped
    }

    fn retired(&self) -> MutexGuard<'_, Retired> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

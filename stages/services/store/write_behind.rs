//! Images that wait to be written: a bounded queue behind the answers.
//!
//! A full queue drops the newcomer, never the answer: what is lost is a cache entry,
//! which comes again with the image. An image has one place however often it comes, and none
//! where the database has all that is said of it. While the database is away, locked or full the
//! queue keeps what it has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use omnizap_contract::common::backoff::Backoff;
use tokio::sync::{Notify, oneshot};

use super::image_record::ImageRecord;
use super::known::Known;
use super::waiting::{Pushed, Waiting};
use super::{Inner, StoreError, limits};

/// The queue. Its worker starts with the first image.
#[derive(Default)]
pub(super) struct WriteBehind {
    queue: Arc<Queue>,
    pub(super) counts: Counts,
}

/// What became of the images, since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) waiting: AtomicU64,
}

impl Counts {
    /// Images wait no more, since they were written.
    fn wrote(&self, images: u64) {
        self.written.fetch_add(images, Ordering::Relaxed);
        self.waiting.fetch_sub(images, Ordering::Relaxed);
    }

    /// Images wait no more, since the database refuses them.
    fn lost(&self, images: u64) {
        self.dropped.fetch_add(images, Ordering::Relaxed);
        self.waiting.fetch_sub(images, Ordering::Relaxed);
    }
}

/// What the worker shares with whoever has something for it.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Told of what comes, and of the end of the store.
    comes: Notify,
}

#[derive(Default)]
struct State {
    waiting: Waiting,
    known: Known,
    has_worker: bool,
    /// True once nothing is written any more.
    is_over: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteBehind {
    /// Queues an image, unless the database has all that is said of it; false where the queue is
    /// full and the image was dropped.
    pub(super) fn push(&self, store: &Arc<Inner>, record: ImageRecord) -> bool {
        let database = store.current_database();
        let mut state = self.queue.state();
        // What waits comes after what was written.
        let is_last = !state.waiting.has(&record.content_hash);
        if is_last && database.is_some_and(|database| state.known.has(database, &record)) {
            return true;
        }
        let pushed = match state.is_over {
            true => Pushed::Full,
            false => state.waiting.push(record),
        };
        if pushed == Pushed::New {
            self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        }
        if !std::mem::replace(&mut state.has_worker, true) {
            tokio::spawn(work(Arc::downgrade(store), self.queue.clone()));
        }
        drop(state);
        if pushed != Pushed::Full {
            self.queue.comes.notify_one();
            return true;
        }
        let dropped = self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        if dropped.is_power_of_two() || dropped == 0 {
            tracing::warn!(
                dropped = dropped + 1,
                limit = limits::QUEUE,
                "the queue of images to be stored is full: the newest is not stored"
            );
        }
        false
    }

    /// Waits until everything queued before is written, at most `limit`. False where
    /// it was not.
    pub(super) async fn flush(&self, limit: Duration) -> bool {
        let (done, wait) = oneshot::channel();
        {
            let mut state = self.queue.state();
            if !state.has_worker {
                return true;
            }
            match state.is_over {
                true => drop(done),
                false => state.waiting.flush(done),
            }
        }
        self.queue.comes.notify_one();
        let flushed = matches!(tokio::time::timeout(limit, wait).await, Ok(Ok(())));
        if !flushed {
            tracing::warn!(
                waiting = self.counts.waiting.load(Ordering::Relaxed),
                "images were still waiting to be stored when the time for it ran out"
            );
        }
        flushed
    }

    /// An image is not in the database: whatever was written of it, it is to be written again.
    pub(super) fn unlearn(&self, content_hash: &str, model: &str) {
        self.queue.state().known.unlearn(content_hash, model);
    }

    /// Images went from the database: every image is to be written again that comes again.
    pub(super) fn unlearn_all(&self) {
        self.queue.state().known.unlearn_all();
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        self.queue.comes.notify_one();
    }
}

/// Ends once the store is gone or closed.
async fn work(store: Weak<Inner>, queue: Arc<Queue>) {
    let mut pace = Pace(limits::BATCH);
    loop {
        let batch = queue.state().waiting.take();
        let Some(batch) = batch else {
            if store.strong_count() == 0 {
                break;
            }
            queue.comes.notified().await;
            continue;
        };
        if write(&store, &queue, &mut pace, batch.images)
            .await
            .is_none()
        {
            break;
        }
        for done in batch.flushes {
            // Whoever waited may have left.
            let _ = done.send(());
        }
    }
    let mut state = queue.state();
    state.is_over = true;
    state.waiting = Waiting::default();
}

/// How many records are written at once: fewer where that takes long. Feedback waits behind a
/// transaction, and one that is too large for its time would never end.
#[derive(Debug)]
struct Pace(usize);

impl Pace {
    fn took(&mut self, time: Duration) {
        match time > limits::BATCH_TIME {
            true => self.slower(),
            false => self.0 = (self.0 * 2).min(limits::BATCH),
        }
    }

    fn slower(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }

    /// How many of those images are written at once: one at least.
    fn of(&self, images: &[Pending]) -> usize {
        let mut records = 0;
        let fits = images.iter().take_while(|image| {
            records += image.records.len();
            records <= self.0
        });
        fits.count().max(1).min(images.len())
    }
}

/// What is to be written of an image, and how often that failed by itself for no reason that is
/// known.
struct Pending {
    records: Vec<ImageRecord>,
    tries: u32,
}

/// Writes a batch, however long the database is away, locked or full. Only where an image
/// itself may be at fault is it written image by image: what the database refuses is dropped,
/// and one image never holds up the others. `None` where the store is gone, or closed.
async fn write(
    store: &Weak<Inner>,
    queue: &Queue,
    pace: &mut Pace,
    images: Vec<Vec<ImageRecord>>,
) -> Option<()> {
    let new_backoff = || Backoff::new(limits::BATCH_PAUSE, limits::BATCH_PAUSE_MAX);
    let mut backoff = new_backoff();
    let pending = |records| Pending { records, tries: 0 };
    let mut images: Vec<_> = images.into_iter().map(pending).collect();
    while !images.is_empty() {
        let inner = store.upgrade()?;
        let begun = Instant::now();
        let rest = images.split_off(pace.of(&images));
        match save(&inner, queue, &images).await {
            Ok(()) => {
                pace.took(begun.elapsed());
                inner.queue.counts.wrote(images.len() as u64);
                images = rest;
                backoff = new_backoff();
                continue;
            }
            Err(error) if error.may_be_of_values() => {
                images = one_by_one(&inner, queue, images).await;
            }
            // There is no later time.
            Err(error) if error.is_closed() => return None,
            // Not theirs: all of them wait.
            Err(error) => {
                if error.is_doubtful() || error.is_busy() {
                    pace.slower();
                }
            }
        }
        // Those that came after are not held up.
        let failed = std::mem::replace(&mut images, rest);
        images.extend(failed);
        drop(inner);
        if !images.is_empty() {
            tokio::time::sleep(backoff.pause()).await;
        }
    }
    Some(())
}

/// Writes images in one transaction, and learns that they are there.
async fn save(inner: &Arc<Inner>, queue: &Queue, images: &[Pending]) -> Result<(), StoreError> {
    let records: Vec<_> = images.iter().flat_map(|image| &image.records).collect();
    let database = inner.current_database();
    let before = queue.state().known.forgotten();
    inner.save_images(records.clone()).await?;
    if let Some(database) = database
        && inner.current_database() == Some(database)
    {
        let mut state = queue.state();
        // Some of them may have been deleted meanwhile.
        if state.known.forgotten() == before {
            for record in records {
                state.known.learn(database, record);
            }
        }
    }
    Ok(())
}

/// Writes each image of a batch by itself; gives back those that are to be tried again.
async fn one_by_one(inner: &Arc<Inner>, queue: &Queue, images: Vec<Pending>) -> Vec<Pending> {
    let counts = &inner.queue.counts;
    let (mut again, mut lost) = (Vec::new(), 0_u64);
    for mut image in images {
        let error = match save(inner, queue, std::slice::from_ref(&image)).await {
            Ok(()) => {
                counts.wrote(1);
                continue;
            }
            Err(error) => error,
        };
        image.tries += u32::from(error.may_be_of_values());
        let is_at_fault = error.is_of_values()
            || image.tries >= limits::IMAGE_TRIES
                && error.may_be_of_values()
                && inner.can_be_written().await.is_ok();
        if is_at_fault {
            tracing::debug!(%error, "an image is not stored");
            lost += 1;
        } else {
            again.push(image);
        }
    }
    if lost > 0 {
        counts.lost(lost);
        tracing::warn!(lost, "images that the database refuses are not stored");
    }
    again
}

//! Images that wait to be written: a bounded queue behind the answers.
//!
//! A full queue drops the newcomer, never the answer: what is lost is a cache entry,
//! which comes again with the image. While the database is away, locked or full the queue
//! keeps what it has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use omnizap_contract::Embedding;
use omnizap_contract::common::backoff::Backoff;
use tokio::sync::{mpsc, oneshot};

use super::look::Look;
use super::{Inner, limits};

/// One image as the store keeps it.
#[derive(Clone, Debug)]
pub struct ImageRecord {
    /// SHA-256 of the bytes, lower-case hex: the key.
    pub content_hash: Arc<str>,
    /// The name by which clients call the image, lower-case hex.
    pub image_hash: Arc<str>,
    /// The client's own id of it, at most [`limits::ASSET_CHARS`] characters.
    pub asset_id: Option<Arc<str>>,
    /// Its vector and the model that made it.
    pub embedding: Arc<Embedding>,
    /// False where the vector is not to be kept, nor found by searches.
    pub keep_embedding: bool,
    /// What the model saw in it, if it was asked.
    pub look: Option<Look>,
    /// What the nsfw model gave its classes, and the model; nothing is changed where it is not
    /// there.
    pub nsfw: Option<Arc<Embedding>>,
}

enum Job {
    Write(Box<ImageRecord>),
    Flush(oneshot::Sender<()>),
}

/// The queue. Its worker starts with the first image.
#[derive(Default)]
pub(super) struct WriteBehind {
    sender: OnceLock<mpsc::Sender<Job>>,
    pub(super) counts: Counts,
}

/// What became of the images, since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) waiting: AtomicU64,
}

impl WriteBehind {
    /// Queues an image; false where the queue is full and the image was dropped.
    pub(super) fn push(&self, store: &Arc<Inner>, record: ImageRecord) -> bool {
        let sender = self.sender.get_or_init(|| start(Arc::downgrade(store)));
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        let queued = sender.try_send(Job::Write(Box::new(record))).is_ok();
        if !queued {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            let dropped = self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            if dropped.is_power_of_two() || dropped == 0 {
                tracing::warn!(
                    dropped = dropped + 1,
                    limit = limits::QUEUE,
                    "the queue of images to be stored is full: the newest is not stored"
                );
            }
        }
        queued
    }

    /// Waits until everything queued before is written, at most `limit`. False where
    /// it was not.
    pub(super) async fn flush(&self, limit: Duration) -> bool {
        let Some(sender) = self.sender.get() else {
            return true;
        };
        let (done, wait) = oneshot::channel();
        let flushed = async { sender.send(Job::Flush(done)).await.is_ok() && wait.await.is_ok() };
        let flushed = tokio::time::timeout(limit, flushed).await.unwrap_or(false);
        if !flushed {
            tracing::warn!(
                waiting = self.counts.waiting.load(Ordering::Relaxed),
                "images were still waiting to be stored when the time for it ran out"
            );
        }
        flushed
    }
}

fn start(store: Weak<Inner>) -> mpsc::Sender<Job> {
    let (sender, receiver) = mpsc::channel(limits::QUEUE);
    tokio::spawn(work(store, receiver));
    sender
}

/// Ends once the store is gone and the queue is empty.
async fn work(store: Weak<Inner>, mut receiver: mpsc::Receiver<Job>) {
    while let Some(job) = receiver.recv().await {
        let mut batch = Vec::new();
        let mut flushes = Vec::new();
        sort(job, &mut batch, &mut flushes);
        while batch.len() < limits::BATCH && flushes.is_empty() {
            match receiver.try_recv() {
                Ok(job) => sort(job, &mut batch, &mut flushes),
                Err(_) => break,
            }
        }
        let count = batch.len() as u64;
        if write(&store, batch).await.is_none() {
            return;
        }
        if let Some(store) = store.upgrade() {
            store
                .queue
                .counts
                .waiting
                .fetch_sub(count, Ordering::Relaxed);
        }
        for done in flushes {
            // Whoever waited may have left.
            let _ = done.send(());
        }
    }
}

fn sort(job: Job, batch: &mut Vec<ImageRecord>, flushes: &mut Vec<oneshot::Sender<()>>) {
    match job {
        Job::Write(record) => batch.push(*record),
        Job::Flush(done) => flushes.push(done),
    }
}

/// An image, and how often it failed by itself for no reason that is known.
struct Pending {
    record: ImageRecord,
    tries: u32,
}

/// Writes a batch, however long the database is away, locked or full. Only where an image
/// itself may be at fault is it written image by image: what the database refuses is dropped,
/// and one image never holds up the others. `None` where the store is gone, or closed.
async fn write(store: &Weak<Inner>, batch: Vec<ImageRecord>) -> Option<()> {
    let mut backoff = Backoff::new(limits::BATCH_PAUSE, limits::BATCH_PAUSE_MAX);
    let pending = |record| Pending { record, tries: 0 };
    let mut batch: Vec<_> = batch.into_iter().map(pending).collect();
    while !batch.is_empty() {
        let inner = store.upgrade()?;
        let records = batch.iter().map(|image| &image.record).collect();
        match inner.save_images(records).await {
            Ok(()) => {
                let written = batch.len() as u64;
                let counts = &inner.queue.counts;
                counts.written.fetch_add(written, Ordering::Relaxed);
                return Some(());
            }
            Err(error) if error.may_be_of_values() => {
                batch = one_by_one(&inner, batch).await;
                if batch.is_empty() {
                    return Some(());
                }
            }
            // There is no later time.
            Err(error) if error.is_closed() => return None,
            // Not theirs: all of them wait.
            Err(_) => {}
        }
        drop(inner);
        tokio::time::sleep(backoff.pause()).await;
    }
    Some(())
}

/// Writes each image of a batch by itself; gives back those that are to be tried again.
async fn one_by_one(inner: &Arc<Inner>, batch: Vec<Pending>) -> Vec<Pending> {
    let counts = &inner.queue.counts;
    let (mut again, mut lost) = (Vec::new(), 0_u64);
    for mut image in batch {
        let error = match inner.save_images(vec![&image.record]).await {
            Ok(()) => {
                counts.written.fetch_add(1, Ordering::Relaxed);
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
        counts.dropped.fetch_add(lost, Ordering::Relaxed);
        tracing::warn!(lost, "images that the database refuses are not stored");
    }
    again
}

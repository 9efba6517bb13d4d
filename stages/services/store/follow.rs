//! Keeps the vector index in step with the table: fills it at the start, then takes
//! in what is written, changed and deleted, by other copies of the program or by hand.
//!
//! New rows are found by their ids, which grow. What was changed, called otherwise or deleted is
//! found by the ids that are written down (`image_change`). Both may be committed after others
//! with higher ids, so the newest are looked at again each round. Whatever escapes that
//! (`TRUNCATE`, a server that allows no triggers, a transaction that was open for long, an
//! id that somebody chose) is found by looking through the ids that there are, a part each
//! round, and all of them once something is amiss.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::{Inner, StoreError, image_change, image_embedding, limits, vector};
use crate::vectors::Row;

/// What reading on is called in errors.
const FOLLOWING: &str = "following the store";

/// Follows the table for as long as there is a store.
pub(super) async fn follow(store: Weak<Inner>) {
    let mut follower = Follower::default();
    if let Some(index) = store.upgrade().map(|inner| inner.index.clone()) {
        // It can only fail by a panic, or at shutdown.
        let _ = tokio::task::spawn_blocking(move || index.restore()).await;
    }
    loop {
        {
            let Some(inner) = store.upgrade().filter(|inner| !inner.is_ending()) else {
                return;
            };
            follower.begin_anew_where_replaced(&inner);
            let round = match inner.loaded.load(Ordering::Acquire) {
                false => follower.load(&inner).await,
                true => follower.catch_up(&inner).await,
            };
            if round.is_ok() && !inner.loaded.swap(true, Ordering::AcqRel) {
                tracing::info!(images = inner.index.len(), "loaded the vector index");
            }
            if inner.loaded.load(Ordering::Acquire) {
                tend(&inner);
            }
        }
        tokio::time::sleep(limits::SYNC_EVERY).await;
    }
}

/// Builds what the index is due, on a thread of its own: that takes seconds, and the end
/// of the program does not wait for it.
fn tend(inner: &Arc<Inner>) {
    if !inner.index.is_due() || inner.tending.swap(true, Ordering::AcqRel) {
        return;
    }
    let (index, store) = (inner.index.clone(), Arc::downgrade(inner));
    let thread = std::thread::Builder::new().name("vector-index".into());
    let started = thread.spawn(move || {
        index.tend();
        if let Some(inner) = store.upgrade() {
            inner.tending.store(false, Ordering::Release);
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "no thread for the vector index: it is tried again");
        inner.tending.store(false, Ordering::Release);
    }
}

/// How far the table was followed.
#[derive(Default)]
struct Follower {
    rows: Cursor,
    changes: Cursor,
    /// True once `changes` says where to go on.
    has_changes: bool,
    /// Ids up to this one were looked through.
    swept: i64,
    /// Ids of rows that no search can use.
    unusable: HashSet<i64>,
    /// When old changes were last deleted.
    pruned: Option<Instant>,
    /// Which database was followed: [`Slot::replaced`](super::opened::Slot::replaced).
    replaced: u64,
}

/// How far ids were followed that grow, but are not committed in their order.
#[derive(Default)]
struct Cursor {
    newest: i64,
    /// Of the newest, those that are known.
    seen: BTreeSet<i64>,
}

impl Cursor {
    /// From where to read on.
    fn after(&self) -> i64 {
        self.newest.saturating_sub(limits::SYNC_OVERLAP)
    }

    fn see(&mut self, ids: impl IntoIterator<Item = i64>) {
        for id in ids {
            self.newest = self.newest.max(id);
            self.seen.insert(id);
        }
        self.seen = self.seen.split_off(&self.after());
    }
}

impl Follower {
    /// Forgets how far it was where another database has taken the place of the one that was
    /// followed: its ids mean other rows.
    fn begin_anew_where_replaced(&mut self, inner: &Inner) {
        let replaced = inner.slot.replaced();
        if replaced != self.replaced {
            (self.rows, self.has_changes) = (Cursor::default(), false);
            self.replaced = replaced;
        }
    }

    /// Reads the table from where it was left, page by page.
    async fn load(&mut self, inner: &Arc<Inner>) -> Result<(), StoreError> {
        if !self.has_changes {
            // Before the rows: what is changed while they are read is looked at again.
            let newest = inner
                .read(FOLLOWING, limits::STATEMENT, |db| async move {
                    image_change::newest(&db).await
                })
                .await?;
            self.changes = Cursor::default();
            self.changes.see(newest);
            self.has_changes = true;
        }
        loop {
            let after = self.rows.newest;
            let _reading = inner.reading.lock().await;
            let rows = inner
                .read(
                    "loading the vector index",
                    limits::STATEMENT,
                    |db| async move { image_embedding::page(&db, after, limits::SYNC_PAGE).await },
                )
                .await?;
            let is_last = (rows.len() as u64) < limits::SYNC_PAGE;
            self.rows.see(rows.iter().map(|row| row.id));
            self.put(inner, rows);
            if is_last {
                return Ok(());
            }
        }
    }

    /// Reads everything once more: changes were pruned before this copy saw them.
    async fn load_again(&mut self, inner: &Arc<Inner>) -> Result<(), StoreError> {
        tracing::warn!(
            "the store was not followed for long, or is another: its images are loaded again"
        );
        inner.queue.unlearn_all();
        (self.rows, self.has_changes) = (Cursor::default(), false);
        self.load(inner).await?;
        self.sweep(inner, true).await
    }

    /// Takes in what came, changed and went since the last round.
    async fn catch_up(&mut self, inner: &Arc<Inner>) -> Result<(), StoreError> {
        if !self.has_changes {
            // It was to be loaded again, and the database was away.
            return self.load_again(inner).await;
        }
        let mut has_vanished = false;
        loop {
            let Some(changes) = self.changes(inner).await? else {
                return self.load_again(inner).await;
            };
            let changed: BTreeSet<_> = changes.iter().map(|change| change.image_id).collect();
            // An image that was written anew is put under its new id before it is forgotten
            // under its old one, so that it is there all the while.
            has_vanished |= self.take_new(inner, &changed).await?;
            self.look_again(inner, changed).await?;
            if changes.is_empty() {
                break;
            }
            self.changes.see(changes.iter().map(|change| change.id));
        }
        self.sweep(inner, has_vanished).await?;
        self.prune(inner).await
    }

    /// Changes that were not seen yet, at most a page. `None` where some may be missing.
    async fn changes(
        &self,
        inner: &Arc<Inner>,
    ) -> Result<Option<Vec<image_change::Model>>, StoreError> {
        let after = self.changes.after();
        let limit = limits::SYNC_PAGE + limits::SYNC_OVERLAP as u64;
        let mut changes = inner
            .read(FOLLOWING, limits::STATEMENT, |db| async move {
                image_change::page(&db, after, limit).await
            })
            .await?;
        let last = self.changes.newest;
        let is_followed = last == 0 || changes.iter().any(|change| change.id == last);
        changes.retain(|change| !self.changes.seen.contains(&change.id));
        changes.truncate(limits::SYNC_PAGE as usize);
        Ok(is_followed.then_some(changes))
    }

    /// Takes in the rows that came since the last round. True where the newest row that
    /// was known is gone and nobody wrote that down.
    async fn take_new(
        &mut self,
        inner: &Arc<Inner>,
        changed: &BTreeSet<i64>,
    ) -> Result<bool, StoreError> {
        let mut has_vanished = false;
        loop {
            let after = self.rows.after();
            let limit = limits::SYNC_PAGE + limits::SYNC_OVERLAP as u64;
            let known = &self.rows.seen;
            let _reading = inner.reading.lock().await;
            let (ids, is_known, rows) = inner
                .read(FOLLOWING, limits::STATEMENT, |db| async move {
                    let ids = image_embedding::ids(&db, after, limit).await?;
                    let new = ids.iter().copied().filter(|id| !known.contains(id));
                    let new: Vec<_> = new.take(limits::SYNC_PAGE as usize).collect();
                    let is_known = new.is_empty();
                    let rows = match is_known {
                        true => Vec::new(),
                        false => image_embedding::by_ids(&db, new).await?,
                    };
                    Ok((ids, is_known, rows))
                })
                .await?;
            if (ids.len() as u64) < limit {
                // Ids of rows that are gone may be given again, by servers that forget
                // their counters.
                let ids: HashSet<_> = ids.iter().collect();
                self.rows.seen.retain(|id| ids.contains(id));
                if !ids.contains(&self.rows.newest) && self.rows.newest > 0 {
                    has_vanished |= !changed.contains(&self.rows.newest);
                    self.rows.newest = match self.rows.seen.last() {
                        Some(newest) => *newest,
                        None => self.newest_row(inner).await?,
                    };
                }
            }
            // An image that was written anew between the two statements has a newer id: the
            // ids are read again, or it would be forgotten under its old one.
            if is_known {
                return Ok(has_vanished);
            }
            self.rows.see(rows.iter().map(|row| row.id));
            self.put(inner, rows);
        }
    }

    async fn newest_row(&self, inner: &Arc<Inner>) -> Result<i64, StoreError> {
        let newest = self.rows.newest;
        let newest = inner.read(FOLLOWING, limits::STATEMENT, |db| async move {
            image_embedding::newest(&db, newest).await
        });
        Ok(newest.await?.unwrap_or(0))
    }

    /// Looks again at rows that were changed, and forgets those that are not there.
    async fn look_again(
        &mut self,
        inner: &Arc<Inner>,
        changed: BTreeSet<i64>,
    ) -> Result<(), StoreError> {
        let ids: Vec<_> = changed.iter().copied().collect();
        let mut gone = changed;
        for ids in ids.chunks(limits::SYNC_PAGE as usize) {
            let _reading = inner.reading.lock().await;
            let rows = inner
                .read(FOLLOWING, limits::STATEMENT, |db| async move {
                    image_embedding::by_ids(&db, ids.to_vec()).await
                })
                .await?;
            for row in &rows {
                gone.remove(&row.id);
            }
            self.put(inner, rows);
        }
        self.forget(inner, gone.into_iter().collect());
        Ok(())
    }

    /// Looks through the next ids, or through `all`, for images that are not there any
    /// more, or that were not seen coming.
    async fn sweep(&mut self, inner: &Arc<Inner>, mut all: bool) -> Result<(), StoreError> {
        if all {
            self.swept = 0;
        }
        loop {
            let after = self.swept;
            let there = inner
                .read(FOLLOWING, limits::STATEMENT, |db| async move {
                    image_embedding::ids(&db, after, limits::SWEEP_PAGE).await
                })
                .await?;
            let is_last = (there.len() as u64) < limits::SWEEP_PAGE;
            let end = match there.last() {
                Some(last) if !is_last => *last,
                _ => i64::MAX,
            };
            let mut gone = inner.index.ids(after.saturating_add(1)..=end);
            let mut unseen: BTreeSet<_> = there.into_iter().collect();
            gone.retain(|id| !unseen.remove(id));
            // An index that is full lacks the oldest rows, and rightly.
            if inner.index.is_whole() {
                unseen.retain(|id| !self.unusable.contains(id));
                self.look_again(inner, unseen).await?;
            }
            let is_amiss = !gone.is_empty() && !all;
            self.forget(inner, gone);
            self.swept = if is_last || is_amiss { 0 } else { end };
            // Where one went unseen, others may have.
            all |= is_amiss;
            if !all || is_last && !is_amiss {
                return Ok(());
            }
        }
    }

    /// Makes rows of the table known to searches, as they are.
    fn put(&mut self, inner: &Inner, rows: Vec<image_embedding::Model>) {
        for row in rows {
            let id = row.id;
            if put(inner, row) {
                self.unusable.remove(&id);
            } else if self.unusable.len() < limits::UNUSABLE {
                self.unusable.insert(id);
            }
        }
    }

    fn forget(&mut self, inner: &Arc<Inner>, ids: Vec<i64>) {
        if ids.is_empty() {
            return;
        }
        inner.queue.unlearn_all();
        inner.index.remove(&ids);
        for id in ids {
            self.rows.seen.remove(&id);
            self.unusable.remove(&id);
        }
    }

    /// Deletes changes that every copy has had time to see; one that has not finds the
    /// last that it saw missing, and loads everything again.
    async fn prune(&mut self, inner: &Arc<Inner>) -> Result<(), StoreError> {
        let pruned = *self.pruned.get_or_insert_with(Instant::now);
        if pruned.elapsed() < limits::PRUNE_EVERY {
            return Ok(());
        }
        self.pruned = Some(Instant::now());
        let first = self.changes.newest.saturating_sub(limits::CHANGES_KEPT);
        let oldest = inner.read(FOLLOWING, limits::STATEMENT, |db| async move {
            image_change::oldest(&db).await
        });
        let mut oldest = oldest.await?.unwrap_or(i64::MAX);
        while oldest < first {
            oldest = first.min(oldest.saturating_add(limits::PRUNE_PAGE));
            let doing = "pruning the list of changed images";
            inner
                .write(doing, limits::WRITE, |transaction| async move {
                    image_change::prune(&transaction, oldest).await
                })
                .await?;
        }
        Ok(())
    }
}

/// Makes a row of the table known to searches, as it is. False where none can use it.
fn put(inner: &Inner, row: image_embedding::Model) -> bool {
    let Some(vector) = vector::from_bytes(&row.embedding) else {
        tracing::warn!(
            id = row.id,
            "an embedding in the store is broken and left out"
        );
        inner.index.remove(&[row.id]);
        return false;
    };
    let known = Row {
        image_hash: row.image_hash.into(),
        content_hash: row.content_hash.map(Into::into),
        asset_id: row.asset_id.map(Into::into),
    };
    inner.index.put(row.id, &row.model_name, known, &vector)
}

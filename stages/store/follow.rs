//! Keeps the vector index in step with the table: fills it at the start, then takes
//! in what other copies of the program write.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::{Inner, StoreError, image_embedding, limits, vector};
use crate::vector_index::Row;

/// Follows the table for as long as there is a store.
pub(super) async fn follow(store: Weak<Inner>) {
    let mut newest = 0;
    // Rows may be committed after others with a higher id: the newest ids are looked
    // at again, and these are known already.
    let mut seen = BTreeSet::new();
    if let Some(index) = store.upgrade().map(|inner| inner.index.clone()) {
        // It can only fail by a panic, or at shutdown.
        let _ = tokio::task::spawn_blocking(move || index.restore()).await;
    }
    loop {
        {
            let Some(inner) = store.upgrade().filter(|inner| !inner.is_closed()) else {
                return;
            };
            let round = match inner.loaded.load(Ordering::Acquire) {
                false => load(&inner, &mut newest, &mut seen).await,
                true => catch_up(&inner, &mut newest, &mut seen).await,
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

/// Reads the table from where it was left, page by page.
async fn load(
    inner: &Arc<Inner>,
    newest: &mut i64,
    seen: &mut BTreeSet<i64>,
) -> Result<(), StoreError> {
    loop {
        let after = *newest;
        let rows = inner
            .read(
                "loading the vector index",
                limits::STATEMENT,
                |db| async move { image_embedding::page(&db, after, limits::SYNC_PAGE).await },
            )
            .await?;
        let is_last = (rows.len() as u64) < limits::SYNC_PAGE;
        take(inner, rows, newest, seen);
        if is_last {
            return Ok(());
        }
    }
}

/// Takes in the rows that came since the last round.
async fn catch_up(
    inner: &Arc<Inner>,
    newest: &mut i64,
    seen: &mut BTreeSet<i64>,
) -> Result<(), StoreError> {
    loop {
        let after = newest.saturating_sub(limits::SYNC_OVERLAP);
        let limit = limits::SYNC_PAGE + limits::SYNC_OVERLAP as u64;
        let known = &*seen;
        let rows = inner
            .read("following the store", limits::STATEMENT, |db| async move {
                let mut ids = image_embedding::ids(&db, after, limit).await?;
                ids.retain(|id| !known.contains(id));
                ids.truncate(limits::SYNC_PAGE as usize);
                if ids.is_empty() {
                    return Ok(Vec::new());
                }
                image_embedding::by_ids(&db, ids).await
            })
            .await?;
        if rows.is_empty() {
            return Ok(());
        }
        take(inner, rows, newest, seen);
    }
}

fn take(
    inner: &Inner,
    rows: Vec<image_embedding::Model>,
    newest: &mut i64,
    seen: &mut BTreeSet<i64>,
) {
    for row in rows {
        *newest = (*newest).max(row.id);
        seen.insert(row.id);
        let Some(vector) = vector::from_bytes(&row.embedding) else {
            tracing::warn!(
                id = row.id,
                "an embedding in the store is broken and left out"
            );
            continue;
        };
        let known = Row {
            image_hash: row.image_hash.into(),
            content_hash: row.content_hash.map(Into::into),
            asset_id: row.asset_id.map(Into::into),
        };
        inner.index.insert(&row.model_name, known, &vector);
    }
    let oldest = newest.saturating_sub(limits::SYNC_OVERLAP);
    *seen = seen.split_off(&oldest);
}

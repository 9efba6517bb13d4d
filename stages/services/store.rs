//! What the service remembers, in a database: embeddings, labels of images, feedback,
//! answers of the language model.
//!
//! # Layout
//!
//! - one file a table: `image_embedding`, `image_asset`, `image_name`, `look`,
//!   `label_embedding`, `nsfw_classes`, `theme_feedback`, `judgement`, `image_credit`,
//!   `theme_label`, `expansion`, `image_change` (entity and queries)
//! - `credit` (which labels a judgement counts for), `evidence` (what answers read of it)
//! - `address` (URLs as people write them), `connect` (one way to open each kind of database),
//!   `place` (the files of SQLite), `room` (on their disk), `opened` (a database that is open,
//!   and its place), `renewal` (connections made anew), `session` (what a query runs on),
//!   `access` (reads, transactions), `clock` (how long they are waited for), `trouble` (what errors
//!   mean), `operations` (what stages ask for), `health`, `report` (for whoever looks
//!   after it), `limits`, `keys`, `vector`
//! - `write_behind` (images are written behind the answers), `image_record` (one as it is given),
//!   `waiting` (each once), `known` (what need not be written again), `follow` (the vector index
//!   is kept in step with the table), `forget` (images and all that is known of them)
//!
//! # Invariants
//!
//! - Opened when first needed. An error never turns anything off for good: what must
//!   be tried is tried anew each time, what can be left out is left out until the
//!   database answers again, and it is asked all the while.
//! - What was acknowledged is durable: the database said that it is committed and synced, and
//!   its file is still the one at its name, with all that it had.
//! - No connection with an open transaction is used again, and none is opened to a file that
//!   took another's place. Into a file of which something is gone nothing is written.
//! - Keys compare by bytes; every text that reaches a statement is a parameter.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use omnizap_contract::{Error, ErrorKind};
use omnizap_migrations::Step;
use tokio::sync::Mutex;

use crate::vectors::{Found, Hit, IndexConfig, Query, Similar, VectorIndex};

pub use self::address::host_and_port;
pub use self::connect::FILE_NAME;
pub use self::error::{RETRY_AFTER, RETRY_AFTER_MENDING, StoreError};
pub use self::evidence::{Asked, ImageFeedback, ThemeEvidence};
pub use self::forget::{Forgotten, Which};
pub use self::image_record::{Frames, ImageRecord};
pub use self::keys::{label_key, label_set};
pub use self::look::{Look, LookLabels, standing};
pub use self::recalled::Recalled;
pub use self::report::{Report, Setting};
pub use self::theme_label::Tally;

use self::connect::Target;
use self::health::{Health, Use};
use self::opened::Slot;
use self::write_behind::WriteBehind;

mod access;
mod address;
mod clock;
mod connect;
mod credit;
mod doubts;
mod error;
mod evidence;
mod expansion;
mod follow;
mod forget;
mod health;
mod image_asset;
mod image_change;
mod image_credit;
mod image_embedding;
mod image_frames;
mod image_name;
mod image_record;
mod judgement;
mod keys;
mod known;
mod label_embedding;
pub mod limits;
mod look;
mod nsfw_classes;
mod opened;
mod operations;
mod place;
mod recalled;
mod renewal;
mod report;
mod room;
mod session;
#[cfg(test)]
mod tests;
mod theme_feedback;
mod theme_label;
mod trouble;
mod vector;
mod waiting;
mod write_behind;

/// Rows above which a search of the vector index leaves the async threads.
const INLINE_SCAN_ROWS: usize = 8192;

/// In the data folder, what the vector index keeps over restarts.
const INDEX_FOLDER: &str = "index";

/// Where the store is.
#[derive(Clone, Debug, Default)]
pub struct StoreConfig {
    /// The folder of the embedded database; made when needed.
    pub data_dir: PathBuf,
    /// The database's URL; the embedded one where unset or blank.
    pub url: Option<String>,
    /// How much of what is stored is kept in memory, to be searched.
    pub index: IndexConfig,
}

/// The store. Cloning shares it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    config: StoreConfig,
    slot: Slot,
    health: Health,
    queue: WriteBehind,
    index: Arc<VectorIndex>,
    /// Searches that were answered by estimates.
    estimated: AtomicU64,
    /// True while a thread builds what the index is due.
    tending: AtomicBool,
    /// True once the index is kept in step with the table.
    following: AtomicBool,
    /// Held from reading rows of the table until they are in the index, and from deleting
    /// rows until they are out of it.
    reading: Mutex<()>,
    /// True once the index holds what the table held.
    loaded: AtomicBool,
    /// True once the program is ending: background work stops, and what can be made again is not
    /// kept any more.
    ending: AtomicBool,
    /// True once nothing is read or written any more.
    closed: AtomicBool,
}

/// One judgement of an image under a theme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// The image's name: 64 lower-case hexadecimal digits.
    pub image_hash: String,
    /// The theme, trimmed, 1 to [`limits::THEME_CHARS`] characters, none of them a control.
    pub theme: String,
    /// Whether the image was taken.
    pub accepted: bool,
    /// The client's own id of the image, at most [`limits::ASSET_CHARS`] characters.
    pub asset_id: Option<String>,
    /// [`label_set`] of the labels that the judged answer chose from, where that is said.
    pub label_set: Option<String>,
    /// The label that the judgement is about, where that is said; else it is about the one
    /// that the model put first.
    pub label: Option<String>,
}

impl Feedback {
    /// True where it says itself what it is about.
    fn is_specific(&self) -> bool {
        self.label_set.is_some() || self.label.is_some()
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Operations that failed.
    pub failures: u64,
    /// Images that wait to be written.
    pub images_waiting: u64,
    /// Images written.
    pub images_written: u64,
    /// Images that were not written: the queue was full, or the database refused them. One that
    /// the database has as it is, or that waits already, is none of these.
    pub images_dropped: u64,
    /// Images in the vector index.
    pub images_indexed: u64,
    /// Images that the vector index had no room for any more.
    pub images_made_room: u64,
    /// Searches that were answered by estimates, at least in part.
    pub searches_estimated: u64,
}

impl Store {
    /// A store that opens nothing yet.
    #[must_use]
    pub fn new(config: StoreConfig) -> Self {
        let index = VectorIndex::kept_in(config.data_dir.join(INDEX_FOLDER), config.index);
        Self(Arc::new(Inner {
            config,
            slot: Slot::default(),
            health: Health::default(),
            queue: WriteBehind::default(),
            index: Arc::new(index),
            estimated: AtomicU64::new(0),
            tending: AtomicBool::new(false),
            reading: Mutex::default(),
            following: AtomicBool::new(false),
            loaded: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }))
    }

    /// Checks the configuration, and opens the database and fills the index in the
    /// background. A database that is away is no error: it is tried until it is there.
    ///
    /// # Errors
    /// As [`Store::check`].
    pub fn start(&self) -> Result<(), Error> {
        let target = Target::of(&self.0.config)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        if !self.0.following.swap(true, Ordering::AcqRel) {
            if let Target::Url(address) = &target
                && !address.ignored.is_empty()
            {
                let parameters = address.ignored.join(", ");
                tracing::warn!(
                    parameters,
                    "parameters of the database's URL mean nothing here and were left out"
                );
            }
            tokio::spawn(follow::follow(Arc::downgrade(&self.0)));
        }
        Ok(())
    }

    /// Checks the configuration; nothing is opened.
    ///
    /// # Errors
    /// A URL of a kind of database that this build does not know, or one that cannot be used,
    /// for the operator: [`StoreError::is_configuration`].
    pub fn check(&self) -> Result<(), StoreError> {
        Target::of(&self.0.config).map(drop)
    }

    /// Brings the schema up to date; gives the names of the steps applied.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        Target::of(&self.0.config)?.migrate().await
    }

    /// Undoes the newest steps of the schema; gives their names.
    ///
    /// # Errors
    /// Any error of the database; a step that would lose what cannot be made again.
    pub async fn rollback(&self, steps: u32) -> Result<Vec<String>, StoreError> {
        let doing = "undoing migrations";
        let target = Target::of(&self.0.config)?;
        let database = target.open(1).await?;
        let result = omnizap_migrations::down(&database, target.sessions(), steps).await;
        // The result matters, not whether the connection said goodbye.
        let _ = database.close().await;
        result.map_err(|source| StoreError::Database { doing, source })
    }

    /// The steps of the schema, and which of them the database has. Makes and changes nothing.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn status(&self) -> Result<Vec<Step>, StoreError> {
        report::steps(&Target::of(&self.0.config)?).await
    }

    /// Why the store serves less than it should, if so; for clients.
    #[must_use]
    pub fn degraded(&self) -> Option<String> {
        self.0.health.degraded()
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let counts = &self.0.queue.counts;
        StoreStats {
            failures: self.0.health.failures(),
            images_waiting: counts.waiting.load(Ordering::Relaxed),
            images_written: counts.written.load(Ordering::Relaxed),
            images_dropped: counts.dropped.load(Ordering::Relaxed),
            images_indexed: self.0.index.len() as u64,
            images_made_room: self.0.index.made_room(),
            searches_estimated: self.0.estimated.load(Ordering::Relaxed),
        }
    }

    /// The embeddings in memory.
    #[must_use]
    pub fn index(&self) -> &VectorIndex {
        &self.0.index
    }

    /// True once the index holds what the database held when the store was started.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.0.loaded.load(Ordering::Acquire)
    }

    /// False where a search may miss images that the database has: the index is being
    /// filled, the database is away, or it holds more than an index does.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_loaded() && !self.0.health.is_failing(Use::Reading) && self.0.index.is_whole()
    }

    /// The images most like the one asked about; long scans run on a thread of their own.
    pub async fn similar(&self, query: Query) -> Vec<Hit> {
        self.similar_images(query).await.images
    }

    /// The same, and whether similarities and order are exact. They are not where the index keeps
    /// codes alone, and the database is away or more of it would have to be read than
    /// [`limits::EXACT_ROWS`]: then they are estimates.
    pub async fn similar_images(&self, query: Query) -> Similar {
        let found = if self.0.index.cost(&query) <= INLINE_SCAN_ROWS {
            self.0.index.look(&query)
        } else {
            let inner = self.0.clone();
            let search = tokio::task::spawn_blocking(move || inner.index.look(&query));
            // It can only fail by a panic, or at shutdown.
            let nothing = Found::Answer(Vec::new());
            search.await.unwrap_or(nothing)
        };
        match found {
            Found::Answer(images) => Similar {
                images,
                is_exact: true,
            },
            Found::Shortlist(list) => self.0.rank(list).await,
        }
    }

    /// Remembers an image: at once for searches, behind the answer in the database, unless that
    /// has all that is said of it. False where the queue is full, and the database will not have
    /// it.
    pub fn remember_later(&self, record: ImageRecord) -> bool {
        self.0.index_record(&record);
        self.0.queue.push(&self.0, record)
    }

    /// Remembers an image, and returns once the database has it.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn remember(&self, record: ImageRecord) -> Result<(), StoreError> {
        self.0.index_record(&record);
        self.0.save_images(vec![&record]).await
    }

    /// Waits until the images queued before are written, at most [`limits::FLUSH`].
    /// False where the time ran out.
    pub async fn flush(&self) -> bool {
        self.0.queue.flush(limits::FLUSH).await
    }

    /// True once the program is ending. What works for later answers alone need not go on, and
    /// nothing of it is kept.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.0.is_ending()
    }

    /// Writes what is queued and closes the connections; for the end of the program. Who still
    /// reads or writes is waited for, and whoever comes later is told [`StoreError::Closed`].
    pub async fn close(&self) {
        // First: what is written ahead of requests makes room for what must be.
        self.0.ending.store(true, Ordering::Release);
        self.0.index.close();
        self.flush().await;
        self.0.closed.store(true, Ordering::Release);
        // Whoever opens it just now has the turn: what is open then must be closed. One that hangs
        // is left.
        let turn = self.0.slot.turn.lock();
        let _turn = tokio::time::timeout(limits::CLOSE_TURN, turn).await;
        if let Some(opened) = self.0.slot.current() {
            // A connection that is still in use is waited for, and not for ever.
            let _ = tokio::time::timeout(limits::CLOSE, opened.close()).await;
        }
    }
}

//! A database that is open: its pool, what shows that it is still the one at its name, and the
//! slot that holds it until another takes its place.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omnizap_migrations::Sessions;
use sea_orm::sqlx::Connection as _;
use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait as _,
};
use tokio::sync::Semaphore;

use super::address::Kind;
use super::connect::{Beside, Target};
use super::doubts::{Doubts, Writing};
use super::place::{Place, Seen};
use super::renewal::Renewal;
use super::session::Session;
use super::trouble::Trouble;
use super::{StoreError, limits};

/// Databases opened so far.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// An open database whose schema is up to date.
pub(super) struct Opened {
    /// Another for each that was opened.
    number: u64,
    pool: DatabaseConnection,
    seats: Seats,
    /// Of SQLite.
    file: Option<File>,
    sessions: Sessions,
    /// True once it is to be opened anew.
    is_left: AtomicBool,
    /// True where what it held is gone, as far as is known.
    is_gone: AtomicBool,
    /// True where something of its file is gone: nothing may be written into it any more.
    is_damaged: AtomicBool,
    renewal: Renewal,
    doubts: Doubts,
}

/// A place for each connection of the pool. Whoever has one finds a connection at once: what is
/// waited for then is the database, and what is waited for before are others.
struct Seats {
    reading: Semaphore,
    writing: Semaphore,
}

impl Seats {
    fn of(connections: u32, writers: u32) -> Self {
        Self {
            reading: Semaphore::new((connections - writers) as usize),
            writing: Semaphore::new(writers as usize),
        }
    }
}

/// The files of SQLite, and two connections beside the pool. One keeps the files: without one
/// that is always open, SQLite itself would remove and make anew what lies beside the file. The
/// other guards them, since whichever is closed last writes into the file what was committed
/// last: it cannot, so that a file of which something is gone stays as it is.
struct File {
    place: Place,
    kept: Mutex<Option<SqliteConnection>>,
    guard: Mutex<Option<SqliteConnection>>,
}

impl Opened {
    /// Brings the schema up to date, and opens the pool.
    pub(super) async fn open(target: &Target) -> Result<Self, StoreError> {
        for step in target.migrate().await? {
            tracing::info!(step, "migrated the store");
        }
        let (connections, writers) = match target.kind() {
            Kind::Sqlite => (limits::SQLITE_CONNECTIONS, limits::SQLITE_WRITERS),
            Kind::MySql | Kind::Postgres => (limits::SERVER_CONNECTIONS, limits::SERVER_WRITERS),
        };
        let beside = target.open_beside().await?;
        let file = beside.map(|Beside { path, kept, guard }| File {
            place: Place::of(&path),
            kept: Mutex::new(Some(kept)),
            guard: Mutex::new(Some(guard)),
        });
        let (renewal, doubts) = (Renewal::default(), Doubts::default());
        Ok(Self {
            number: OPENED.fetch_add(1, Ordering::Relaxed),
            pool: target.open_again(connections, (&renewal, &doubts)).await?,
            seats: Seats::of(connections, writers),
            file,
            sessions: target.sessions(),
            is_left: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            is_damaged: AtomicBool::new(false),
            renewal,
            doubts,
        })
    }

    pub(super) fn is_sqlite(&self) -> bool {
        self.file.is_some()
    }

    /// Another for each that was opened.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Places of those who read.
    pub(super) fn reading(&self) -> &Semaphore {
        &self.seats.reading
    }

    /// Places of those who write.
    pub(super) fn writing(&self) -> &Semaphore {
        &self.seats.writing
    }

    /// True while what is committed is in the file at the database's name, and all of that is
    /// there. A server answers for itself.
    pub(super) fn is_in_place(&self) -> bool {
        self.looks(Place::look)
    }

    fn looks(&self, look: impl Fn(&Place) -> Seen) -> bool {
        let Some(file) = &self.file else {
            return true;
        };
        let seen = look(&file.place);
        if seen == Seen::Cut {
            self.is_damaged.store(true, Ordering::Release);
            self.is_left.store(true, Ordering::Release);
        }
        seen == Seen::There
    }

    /// True while it may be used.
    pub(super) fn is_current(&self) -> bool {
        !self.is_left.load(Ordering::Acquire) && self.is_in_place()
    }

    /// The same for whoever writes nothing: what was seen a moment ago counts.
    pub(super) fn is_readable(&self) -> bool {
        !self.is_left.load(Ordering::Acquire) && self.looks(Place::look_lately)
    }

    /// True where what it held is not at its name any more. To be asked before it is closed:
    /// SQLite removes then what lies beside the file.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire) || !self.is_in_place()
    }

    /// True where something of its file is gone.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// Makes every connection anew, whoever uses it next.
    pub(super) fn renew(&self) {
        self.renewal.renew();
    }

    /// Takes note of what went wrong with it.
    pub(super) fn note(&self, source: &DbErr) {
        let trouble = Trouble::of(source);
        if trouble.wants_new_connections() {
            self.renew();
        }
        if !trouble.wants_reopening() {
            return;
        }
        let is_damaged = trouble == Trouble::Damaged;
        let is_gone = is_damaged || trouble == Trouble::Gone;
        self.is_damaged.fetch_or(is_damaged, Ordering::AcqRel);
        self.is_gone.fetch_or(is_gone, Ordering::AcqRel);
        self.is_left.store(true, Ordering::Release);
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let transaction = self.pool.begin_with_options(options).await?;
        if self.sessions == Sessions::Shared {
            // The names of statements that others have left in this session are ours too, and
            // what is set for the session would be set for others.
            let millis = limits::STATEMENT.as_millis();
            let sql = format!("DEALLOCATE ALL; SET LOCAL statement_timeout = {millis}");
            transaction.execute_unprepared(&sql).await?;
        }
        Ok(transaction)
    }

    /// Runs what only reads.
    pub(super) async fn read<T, F>(&self, work: impl FnOnce(Session) -> F) -> Result<T, DbErr>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        if self.sessions == Sessions::Own {
            let work = work(Session::Pool(self.pool.clone()));
            return self.doubts.watch(work).await;
        }
        // A statement is prepared and run by two messages, which only a transaction keeps in
        // one session.
        let transaction = Arc::new(self.begin().await?);
        let value = work(Session::Transaction(transaction.clone())).await?;
        if let Some(transaction) = Arc::into_inner(transaction) {
            transaction.commit().await?;
        }
        Ok(value)
    }

    /// Notes that a transaction begins, and whether it comes to its end.
    pub(super) fn writes(&self) -> Writing<'_> {
        self.doubts.begin()
    }

    pub(super) async fn ping(&self) -> Result<(), DbErr> {
        self.doubts.watch(self.pool.ping()).await
    }

    /// Takes into the file of SQLite what is in the log, so that the log begins anew in the room
    /// that it has. SQLite does so by itself once the log is long, and a small disk is full before.
    pub(super) async fn make_room(&self) {
        if self.is_current() {
            let sql = "PRAGMA wal_checkpoint(PASSIVE)";
            if let Err(error) = self.doubts.watch(self.pool.execute_unprepared(sql)).await {
                tracing::debug!(%error, "no room was made in the log");
            }
        }
    }

    /// Closes every connection, one of those beside the pool last: that which takes into the file
    /// what was committed last, or the guard where something of the file is gone. Written over
    /// what is left of it, what is whole would be lost too.
    pub(super) async fn close(&self) {
        self.is_in_place();
        if let Some(file) = self.file.as_ref().filter(|_| !self.is_damaged()) {
            close(&file.guard).await;
        }
        // Nothing is left to be done about an error.
        let _ = self.pool.close_by_ref().await;
        if let Some(file) = &self.file {
            close(&file.kept).await;
            close(&file.guard).await;
        }
    }
}

async fn close(connection: &Mutex<Option<SqliteConnection>>) {
    let connection = locked(connection).take();
    if let Some(connection) = connection {
        let _ = connection.close().await;
    }
}

/// Holds the database that is open, if one is.
#[derive(Default)]
pub(super) struct Slot {
    current: Mutex<Option<Arc<Opened>>>,
    /// Held while one is opened.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Since when one is being opened.
    opening: Mutex<Option<Instant>>,
    /// How often one took the place of another that was gone.
    replaced: AtomicU64,
    suspicion: Mutex<Suspicion>,
    /// When it was last said that one is opened anew.
    told: Mutex<Option<Instant>>,
    /// When it was last said that there is little room.
    crowd_told: Mutex<Option<Instant>>,
}

/// While it is there one is being opened.
struct Opening<'a>(&'a Mutex<Option<Instant>>);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        *locked(self.0) = None;
    }
}

/// Whether the file is to be looked through before it is opened.
#[derive(Debug, Default)]
struct Suspicion {
    is_there: bool,
    /// When that was last done, and how long it took.
    looked: Option<(Instant, Duration)>,
}

impl Slot {
    pub(super) fn current(&self) -> Option<Arc<Opened>> {
        locked(&self.current).clone()
    }

    pub(super) fn hold(&self, opened: Arc<Opened>) {
        *locked(&self.current) = Some(opened);
    }

    /// Gives up the one that was held, and was closed; `is_gone` where what it held is.
    pub(super) fn give_up(&self, is_gone: bool) {
        self.replaced
            .fetch_add(u64::from(is_gone), Ordering::AcqRel);
        *locked(&self.current) = None;
    }

    /// Notes that one is being opened, until that is dropped.
    pub(super) fn opening(&self) -> impl Drop + '_ {
        *locked(&self.opening) = Some(Instant::now());
        Opening(&self.opening)
    }

    /// How long one has been being opened; none while none is.
    pub(super) fn opening_for(&self) -> Option<Duration> {
        locked(&self.opening).map(|since| since.elapsed())
    }

    /// The file may be damaged: it is looked through before it is opened again.
    pub(super) fn suspect(&self) {
        locked(&self.suspicion).is_there = true;
    }

    /// Looks through a file that may be damaged, but not all the time: a large one takes long.
    pub(super) async fn examine(&self, target: &Target) -> Result<(), StoreError> {
        let looked = {
            let suspicion = locked(&self.suspicion);
            if !suspicion.is_there {
                return Ok(());
            }
            suspicion.looked
        };
        if let Some((when, took)) = looked
            && when.elapsed() < took * limits::EXAMINE_PAUSE
        {
            return Err(StoreError::Resting {
                doing: "looking through the database",
                pause: took * limits::EXAMINE_PAUSE,
                lasts: true,
            });
        }
        let begun = Instant::now();
        let examined = target.examine().await;
        *locked(&self.suspicion) = Suspicion {
            is_there: examined.is_err(),
            looked: Some((Instant::now(), begun.elapsed())),
        };
        examined
    }

    /// True where it is to be said that one is opened anew: not all the time.
    pub(super) fn is_to_tell(&self) -> bool {
        is_due(&self.told, limits::TELL_EVERY)
    }

    /// The same of little room.
    pub(super) fn is_crowd_to_tell(&self) -> bool {
        is_due(&self.crowd_told, limits::TELL_CROWD_EVERY)
    }

    /// Another number where what was read may be of a database that is gone.
    pub(super) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }
}

/// True where what was last said then is to be said again, which is noted.
fn is_due(told: &Mutex<Option<Instant>>, every: Duration) -> bool {
    let mut told = locked(told);
    let is_due = told.is_none_or(|told| told.elapsed() >= every);
    if is_due {
        *told = Some(Instant::now());
    }
    is_due
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

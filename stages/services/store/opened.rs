//! A database that is open: its pool, what shows that it is still the one at its name, and the
//! slot that holds it until another takes its place.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use omnizap_migrations::Sessions;
use sea_orm::sqlx::Connection as _;
use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait as _,
};

use super::address::Kind;
use super::connect::Target;
use super::place::Place;
use super::session::Session;
use super::trouble::Trouble;
use super::{StoreError, limits};

/// An open database whose schema is up to date.
pub(super) struct Opened {
    pool: DatabaseConnection,
    /// Of SQLite.
    file: Option<File>,
    sessions: Sessions,
    /// True once it is to be opened anew.
    is_left: AtomicBool,
    /// True where what it held is gone, as far as is known.
    is_gone: AtomicBool,
}

/// The files of SQLite, and a connection beside the pool that keeps them: without one that is
/// always open, SQLite itself would remove and make anew what lies beside the file.
struct File {
    place: Place,
    kept: Mutex<Option<SqliteConnection>>,
}

impl Opened {
    /// Brings the schema up to date, and opens the pool.
    pub(super) async fn open(target: &Target) -> Result<Self, StoreError> {
        for step in target.migrate().await? {
            tracing::info!(step, "migrated the store");
        }
        let connections = match target.kind() {
            Kind::Sqlite => limits::SQLITE_CONNECTIONS,
            Kind::MySql | Kind::Postgres => limits::SERVER_CONNECTIONS,
        };
        let file = target.open_beside().await?.map(|(path, kept)| File {
            place: Place::of(&path),
            kept: Mutex::new(Some(kept)),
        });
        Ok(Self {
            pool: target.open_again(connections).await?,
            file,
            sessions: target.sessions(),
            is_left: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
        })
    }

    pub(super) fn is_sqlite(&self) -> bool {
        self.file.is_some()
    }

    /// True while what is committed is in the file at the database's name. A server answers
    /// for itself.
    pub(super) fn is_in_place(&self) -> bool {
        self.file.as_ref().is_none_or(|file| file.place.is_there())
    }

    /// True while it may be used.
    pub(super) fn is_current(&self) -> bool {
        !self.is_left.load(Ordering::Acquire) && self.is_in_place()
    }

    /// True where what it held is not at its name any more. To be asked before it is closed:
    /// SQLite removes then what lies beside the file.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire) || !self.is_in_place()
    }

    /// Takes note of what went wrong with it.
    pub(super) fn note(&self, source: &DbErr) {
        let trouble = Trouble::of(source);
        if trouble.wants_reopening() {
            self.is_gone
                .fetch_or(trouble == Trouble::Gone, Ordering::AcqRel);
            self.is_left.store(true, Ordering::Release);
        }
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
            return work(Session::Pool(self.pool.clone())).await;
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

    pub(super) async fn ping(&self) -> Result<(), DbErr> {
        self.pool.ping().await
    }

    /// Closes every connection, the one beside the pool last: it takes into the file what was
    /// committed last, where the file is still there.
    pub(super) async fn close(&self) {
        // Nothing is left to be done about an error.
        let _ = self.pool.close_by_ref().await;
        let Some(file) = &self.file else {
            return;
        };
        let kept = locked(&file.kept).take();
        if let Some(kept) = kept {
            let _ = kept.close().await;
        }
    }
}

/// Holds the database that is open, if one is.
#[derive(Default)]
pub(super) struct Slot {
    current: Mutex<Option<Arc<Opened>>>,
    /// Held while one is opened.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// How often one took the place of another that was gone.
    replaced: AtomicU64,
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

    /// Another number where what was read may be of a database that is gone.
    pub(super) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

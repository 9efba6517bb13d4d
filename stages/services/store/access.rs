//! How the database is reached: opened once, and anew where another came to its place; read
//! from, written to in transactions, and asked whether it is back after a failure.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use omnizap_contract::common::digest::Sha256Hex;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbErr};

use super::connect::Target;
use super::health::{Need, Use};
use super::opened::Opened;
use super::session::Session;
use super::trouble::{Trouble, is_out_of_room};
use super::{Inner, StoreError, image_name, limits};

/// What opening is called in errors.
const OPENING: &str = "opening the database";

impl Target {
    /// Brings the schema up to date, over a connection of its own: the lock of a
    /// server belongs to a session.
    pub(super) async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let database = self.open(1).await?;
        let applied = omnizap_migrations::up(&database, self.sessions()).await;
        let missing = match applied {
            Ok(_) => missing(&database).await,
            Err(_) => None,
        };
        let _ = database.close().await;
        let applied = applied.map_err(|source| match Trouble::of(&source) {
            Trouble::Damaged => self.failed(source),
            _ => StoreError::Database {
                doing: "bringing the schema up to date",
                source,
            },
        })?;
        match missing {
            None => Ok(applied),
            Some(what) => Err(StoreError::Open {
                name: self.name(),
                source: DbErr::Custom(what),
                why: String::new(),
                lasts: true,
            }),
        }
    }
}

/// What is to be said of a table that is not there, though the step that makes it is recorded as
/// applied. What else a table says to be read is for whoever reads it.
async fn missing(database: &DatabaseConnection) -> Option<String> {
    for (table, step) in omnizap_migrations::TABLES {
        let sql = format!("SELECT 1 FROM {table} WHERE 1 = 0");
        let asked = database.execute_unprepared(&sql).await;
        if asked.is_err_and(|error| Trouble::of(&error) == Trouble::Gone) {
            return Some(format!(
                "the table {table} is not there, though the table seaql_migrations says that it \
                 was made by {step}: bring it back from a backup, or, to begin with an empty one, \
                 delete the rows of seaql_migrations from {step} on, so that these steps are \
                 applied again"
            ));
        }
    }
    None
}

impl Inner {
    /// The open database, its schema up to date; the one that is at its name now.
    pub(super) async fn opened(self: &Arc<Self>) -> Result<Arc<Opened>, StoreError> {
        if let Some(opened) = self.slot.current()
            && opened.is_current()
        {
            return Ok(opened);
        }
        // A task of its own: whoever waits may give up, and migrations go on. The drivers of
        // three databases make it large: not on every stack that opens.
        let inner = self.clone();
        let opening = tokio::spawn(Box::pin(async move { inner.open().await }));
        opening.await.map_err(|error| StoreError::Database {
            doing: OPENING,
            source: DbErr::Custom(error.to_string()),
        })?
    }

    async fn open(&self) -> Result<Arc<Opened>, StoreError> {
        let _turn = self.slot.turn.lock().await;
        let before = self.slot.current();
        if let Some(opened) = before.as_ref().filter(|opened| opened.is_current()) {
            return Ok(opened.clone());
        }
        if self.is_closed() {
            return Err(StoreError::Closed { doing: OPENING });
        }
        if self.health.is_resting() {
            // Others waited for the try that just failed: they need not repeat it.
            return Err(StoreError::Resting {
                doing: OPENING,
                pause: limits::REST,
                lasts: self.health.lasts(),
            });
        }
        let target = Target::of(&self.config)?;
        if let Some(opened) = before {
            let is_gone = opened.is_gone();
            if self.slot.is_to_tell() {
                tracing::warn!(
                    database = target.name(),
                    "the database was removed, replaced, cut off, or takes no writes any more: it is opened anew"
                );
            }
            // Two views of one file, with and without what was removed beside it, would damage
            // it: nothing is opened before all is closed.
            let closing = async {
                opened.close().await;
                Ok(())
            };
            within("closing the database", limits::CLOSE, closing).await?;
            if opened.is_damaged() {
                self.slot.suspect();
            }
            self.slot.give_up(is_gone);
        }
        let opening = Box::pin(async {
            self.slot.examine(&target).await?;
            Opened::open(&target).await
        });
        let opened = within(OPENING, limits::OPEN, opening).await;
        let opened = opened.inspect_err(|error| {
            if error.trouble() == Trouble::Damaged {
                self.slot.suspect();
            }
        })?;
        let opened = Arc::new(opened);
        self.slot.hold(opened.clone());
        Ok(opened)
    }

    /// Reads what an answer can do without: left out while the database is away.
    pub(super) async fn read<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        limit: Duration,
        work: impl FnOnce(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        self.is_there(Use::Reading, doing)?;
        let begun = Instant::now();
        let reading = async {
            let opened = self.opened().await?;
            let result = opened.read(work).await;
            result.map_err(|source| failed(&opened, doing, source))
        };
        let read = within(doing, limit, reading).await;
        self.noted(Use::Reading, begun, self.or_closed(doing, read))
    }

    /// Refuses at once while the database is known to be away: it is asked all the
    /// while, and requests that waited for it would take the places of others.
    fn is_there(&self, by: Use, doing: &'static str) -> Result<(), StoreError> {
        if self.is_closed() {
            return Err(StoreError::Closed { doing });
        }
        if self.health.is_failing(by) {
            return Err(StoreError::Resting {
                doing,
                pause: limits::PROBE_EVERY,
                lasts: self.health.lasts(),
            });
        }
        Ok(())
    }

    /// Runs a transaction that writes, again where the database broke it off in favour of
    /// another, and once more where room could be made for it. The work is undone before it is run
    /// again. It must not keep the transaction, which is lent to it behind a shared pointer.
    pub(super) async fn write<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        limit: Duration,
        work: impl Fn(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        self.is_there(Use::Writing, doing)?;
        let begun = Instant::now();
        let writing = self.transact(doing, work);
        let written = within(doing, limit, writing).await;
        self.noted(Use::Writing, begun, self.or_closed(doing, written))
    }

    /// Returns a value only where the database said that it is committed, and where it was
    /// committed to the file that is at the database's name, and is whole.
    async fn transact<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        work: impl Fn(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        let mut tries = 1;
        let mut has_made_room = false;
        loop {
            let opened = self.opened().await?;
            let _turn = match opened.is_sqlite() {
                // It is never closed, so it always gives a permit.
                true => self.writer.acquire().await.ok(),
                false => None,
            };
            if !opened.is_current() {
                continue;
            }
            let failed = |source| failed(&opened, doing, source);
            let transaction = Arc::new(opened.begin().await.map_err(failed)?);
            let result = work(Session::Transaction(transaction.clone())).await;
            let transaction = Arc::into_inner(transaction).ok_or_else(|| {
                failed(DbErr::Custom("a transaction was kept by its work".into()))
            })?;
            match result {
                Ok(value) => match transaction.commit().await {
                    Ok(()) => {
                        return match opened.is_in_place() {
                            true => Ok(value),
                            false => Err(StoreError::Moved { doing }),
                        };
                    }
                    // It is rolled back.
                    Err(error) if !has_made_room && is_out_of_room(&error) => {
                        has_made_room = true;
                        opened.make_room().await;
                    }
                    Err(error) => return Err(failed(error)),
                },
                Err(error) if !has_made_room && is_out_of_room(&error) => {
                    undo(transaction).await;
                    has_made_room = true;
                    opened.make_room().await;
                }
                Err(error)
                    if tries < limits::TRANSACTION_TRIES
                        && Trouble::of(&error) == Trouble::Contention =>
                {
                    undo(transaction).await;
                    tries += 1;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Asks the database whether it is there.
    pub(super) async fn ping(self: &Arc<Self>) -> Result<(), StoreError> {
        let doing = "asking whether the database is there";
        let begun = Instant::now();
        let asking = async {
            if self.health.is_failing(Use::Reading) {
                // A pool would not say what the matter is.
                Box::pin(Target::of(&self.config)?.dial()).await?;
            }
            let opened = self.opened().await?;
            let pong = opened.ping().await;
            pong.map_err(|source| failed(&opened, doing, source))
        };
        let asked = within(doing, limits::ACQUIRE, asking).await;
        self.noted(Use::Reading, begun, asked)
    }

    /// Writes what means nothing, and takes it away again: an answer alone does not tell whether
    /// there is room.
    pub(super) async fn can_be_written(self: &Arc<Self>) -> Result<(), StoreError> {
        let name = Sha256Hex::of(&fastrand::u128(..).to_le_bytes()).to_string();
        let name = name.as_str();
        let doing = "asking whether the database can be written";
        let writing = self.transact(doing, |transaction| async move {
            image_name::try_to_write(&transaction, name).await
        });
        within(doing, limits::WRITE, writing).await
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Refuses what can be made again once the program is ending.
    pub(super) fn goes_on(&self, doing: &'static str) -> Result<(), StoreError> {
        match self.is_ending() {
            true => Err(StoreError::Closed { doing }),
            false => Ok(()),
        }
    }

    /// What failed because the store was closed meanwhile says no more than that.
    fn or_closed<T>(
        &self,
        doing: &'static str,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        result.map_err(|error| {
            if !self.is_closed() {
                return error;
            }
            tracing::debug!(%error, "the store was closed meanwhile");
            StoreError::Closed { doing }
        })
    }

    /// Notes how an operation ended that began then, and sees to it that somebody asks for a database
    /// that failed until it is back.
    fn noted<T>(
        self: &Arc<Self>,
        by: Use,
        begun: Instant,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &result {
            Ok(_) => self.health.good(by, begun),
            Err(StoreError::Resting { .. } | StoreError::Closed { .. }) => {}
            Err(_) if self.is_closed() => {}
            // Whoever had less time than a read is given says nothing about the database.
            Err(StoreError::Slow { limit, .. }) if *limit < limits::READ => {}
            Err(error) if error.is_of_the_last_one() || error.is_of_values() => {
                self.health.refused();
            }
            Err(error) => {
                let name = || Target::of(&self.config).map_or_else(|_| String::new(), |t| t.name());
                let spares = by == Use::Writing && self.spares_reading(error);
                if self.health.bad(error, spares, name) {
                    tokio::spawn(probe(Arc::downgrade(self)));
                }
            }
        }
        result
    }

    /// True where what failed in writing says nothing about reading. SQLite is read beside
    /// whoever writes, so that a lock or a sync that takes long is of writing only.
    fn spares_reading(&self, error: &StoreError) -> bool {
        let is_sqlite = || self.slot.current().is_some_and(|opened| opened.is_sqlite());
        error.trouble().spares_reading() || matches!(error, StoreError::Slow { .. }) && is_sqlite()
    }
}

/// What went wrong, of which the database takes note: it may have to be opened anew.
fn failed(opened: &Opened, doing: &'static str, source: DbErr) -> StoreError {
    opened.note(&source);
    StoreError::Database { doing, source }
}

/// Rolls back. Where that fails the database has done it by itself, or the connection is gone:
/// it does not come back to the pool with an open transaction.
async fn undo(transaction: DatabaseTransaction) {
    if let Err(error) = transaction.rollback().await {
        tracing::debug!(%error, "a transaction was not rolled back by us");
    }
}

/// Asks until all is well; ends with it, or with the store.
async fn probe(store: Weak<Inner>) {
    loop {
        tokio::time::sleep(limits::PROBE_EVERY).await;
        let Some(inner) = store.upgrade().filter(|inner| !inner.is_closed()) else {
            return;
        };
        let begun = Instant::now();
        match inner.health.needs() {
            Need::Nothing | Need::Time => {}
            Need::Answer => drop(inner.ping().await),
            Need::Write => match inner.can_be_written().await {
                Ok(()) => {
                    if let Some(opened) = inner.slot.current() {
                        // Some may have been opened before it could.
                        opened.renew();
                    }
                    inner.health.can_be_written();
                }
                Err(error) => drop(inner.noted::<()>(Use::Writing, begun, Err(error))),
            },
        }
        if inner.health.needs() == Need::Nothing && inner.health.probed() {
            return;
        }
    }
}

async fn within<T>(
    doing: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(StoreError::Slow { doing, limit }))
}

//! How the database is reached: opened once, and anew where another came to its place; read
//! from, written to in transactions, and asked whether it is back after a failure.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use omnizap_contract::common::digest::Sha256Hex;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbErr};

use super::clock::{Clock, Patience};
use super::connect::Target;
use super::health::{Need, Use};
use super::opened::Opened;
use super::session::Session;
use super::trouble::{Trouble, is_out_of_room};
use super::{Inner, StoreError, image_name, limits};

/// What opening is called in errors.
const OPENING: &str = "opening the database";

/// Who tells how an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Teller {
    /// A read that an answer waits for.
    Answer,
    /// Anybody else who reads, and whoever writes.
    Work,
    /// Who was to find out: what it found is certain.
    Prober,
}

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
        // Whoever writes looks anew once it has its turn.
        if let Some(opened) = self.slot.current()
            && opened.is_readable()
        {
            return Ok(opened);
        }
        // A task of its own: whoever waits may give up, and migrations go on. The drivers of
        // three databases make it large: not on every stack that opens.
        let inner = self.clone();
        let (sender, opening) = tokio::sync::oneshot::channel();
        tokio::spawn(Box::pin(async move {
            let begun = Instant::now();
            let ended = inner.open().await;
            // What failed is noted by whoever waits, and here where nobody does any more.
            if let Err(Err(error)) = sender.send(ended) {
                let _ = inner.noted(Use::Reading, Teller::Work, begun, Err::<(), _>(error));
            }
        }));
        opening.await.map_err(|error| StoreError::Database {
            doing: OPENING,
            source: DbErr::Custom(error.to_string()),
        })?
    }

    /// As [`Self::opened`], within the time of an operation.
    async fn opened_in(
        self: &Arc<Self>,
        clock: &mut Clock,
        doing: &'static str,
    ) -> Result<Arc<Opened>, StoreError> {
        let begun = Instant::now();
        let error = match clock.run(doing, self.opened()).await {
            Ok(opened) => return opened,
            Err(error) => error,
        };
        match self.slot.opening_for() {
            Some(time) if time < limits::OPEN_QUIETLY => Err(StoreError::Opening {
                doing,
                waited: begun.elapsed(),
            }),
            _ => Err(error),
        }
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
        let _noted = self.slot.opening();
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

    /// Reads what no answer waits for: left out while the database is away.
    pub(super) async fn read<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        limit: Duration,
        work: impl FnOnce(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        self.read_by(Teller::Work, doing, Patience::strict(limit), work)
            .await
    }

    /// Reads what an answer can do without: left out while the database is away.
    pub(super) async fn read_for_answer<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        patience: Patience,
        work: impl FnOnce(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        self.read_by(Teller::Answer, doing, patience, work).await
    }

    async fn read_by<T, F>(
        self: &Arc<Self>,
        teller: Teller,
        doing: &'static str,
        patience: Patience,
        work: impl FnOnce(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        self.is_there(Use::Reading, doing)?;
        let begun = Instant::now();
        let read = self.ask(doing, patience, work).await;
        if read.is_ok() && teller == Teller::Answer {
            self.health.read_in_time();
        }
        let read = self.or_closed(doing, read);
        self.noted(Use::Reading, teller, begun, read)
    }

    async fn ask<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        patience: Patience,
        work: impl FnOnce(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        let mut clock = Clock::begin(patience);
        let opened = self.opened_in(&mut clock, doing).await?;
        let turn = opened.reading().acquire();
        // They are never closed, so they always give a permit.
        let _turn = clock.wait(doing, limits::ACQUIRE, turn).await?.ok();
        // It may have failed those who were before.
        self.is_there(Use::Reading, doing)?;
        let read = clock.run(doing, Box::pin(opened.read(work))).await?;
        read.map_err(|source| failed(&opened, doing, source))
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
        self.write_for(doing, Patience::strict(limit), work).await
    }

    /// As [`Self::write`], for whoever has another time for the program than for the database.
    pub(super) async fn write_for<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        patience: Patience,
        work: impl Fn(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        self.is_there(Use::Writing, doing)?;
        let begun = Instant::now();
        let written = self.transact(doing, Teller::Work, patience, work).await;
        let written = self.or_closed(doing, written);
        self.noted(Use::Writing, Teller::Work, begun, written)
    }

    /// Returns a value only where the database said that it is committed, and where it was
    /// committed to the file that is at the database's name, and is whole.
    async fn transact<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        teller: Teller,
        patience: Patience,
        work: impl Fn(Session) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        let mut clock = Clock::begin(patience);
        let mut tries = 1;
        let mut has_made_room = false;
        loop {
            let opened = self.opened_in(&mut clock, doing).await?;
            let turn = opened.writing().acquire();
            // They are never closed, so they always give a permit.
            let _turn = clock.wait(doing, patience.wall, turn).await?.ok();
            if teller != Teller::Prober {
                // It may have failed those who were before.
                self.is_there(Use::Writing, doing)?;
            }
            if !opened.is_current() {
                continue;
            }
            let trying = Box::pin(attempt(&opened, doing, &work));
            let error = match clock.run(doing, trying).await?? {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !has_made_room && is_out_of_room(&error) {
                has_made_room = true;
                clock.run(doing, opened.make_room()).await?;
            } else if tries < limits::TRANSACTION_TRIES
                && Trouble::of(&error) == Trouble::Contention
            {
                tries += 1;
            } else {
                return Err(failed(&opened, doing, error));
            }
        }
    }

    /// Asks the database whether it is there.
    pub(super) async fn ping(self: &Arc<Self>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let asked = self.pong().await;
        self.noted(Use::Reading, Teller::Prober, begun, asked)
    }

    async fn pong(self: &Arc<Self>) -> Result<(), StoreError> {
        let doing = "asking whether the database is there";
        let mut clock = Clock::begin(Patience {
            database: limits::ACQUIRE,
            wall: limits::PROBE_PATIENCE,
        });
        let target = Target::of(&self.config)?;
        // A pool would not say what the matter is.
        clock.run(doing, Box::pin(target.dial())).await??;
        let opened = self.opened_in(&mut clock, doing).await?;
        let turn = opened.reading().acquire();
        let _turn = clock.wait(doing, limits::ACQUIRE, turn).await?.ok();
        let pong = clock.run(doing, opened.ping()).await?;
        pong.map_err(|source| failed(&opened, doing, source))
    }

    /// Finds out whether the database fails that did not answer in time.
    async fn prove(self: &Arc<Self>) {
        let doubt = self.health.take_doubt();
        let mut asked = self.ping().await;
        if asked.is_ok() && doubt == Use::Writing {
            asked = self.prove_writing().await;
        }
        if asked.is_err_and(|error| error.is_busy()) {
            // It is asked again.
            self.health.doubt_again(doubt);
        }
    }

    /// Finds out whether the database can be written, and notes it where it cannot.
    async fn prove_writing(self: &Arc<Self>) -> Result<(), StoreError> {
        let begun = Instant::now();
        match self.can_be_written().await {
            Ok(()) => Ok(()),
            failed => self.noted(Use::Writing, Teller::Prober, begun, failed),
        }
    }

    /// Writes what means nothing, and takes it away again: an answer alone does not tell whether
    /// there is room.
    pub(super) async fn can_be_written(self: &Arc<Self>) -> Result<(), StoreError> {
        let name = Sha256Hex::of(&fastrand::u128(..).to_le_bytes()).to_string();
        let name = name.as_str();
        let doing = "asking whether the database can be written";
        let patience = Patience {
            database: limits::WRITE,
            wall: limits::PROBE_WRITE,
        };
        let writing = self.transact(doing, Teller::Prober, patience, |transaction| async move {
            image_name::try_to_write(&transaction, name).await
        });
        writing.await
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
        teller: Teller,
        begun: Instant,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &result {
            Ok(_) => self.health.good(by, begun),
            Err(
                StoreError::Resting { .. }
                | StoreError::Closed { .. }
                | StoreError::Busy { .. }
                | StoreError::Opening { .. },
            ) => {}
            Err(_) if self.is_closed() => {}
            // Whoever had less time than a read is given says nothing about the database.
            Err(StoreError::Slow { limit, .. }) if *limit < limits::READ => {}
            Err(error) if error.is_of_the_last_one() || error.is_of_values() => {
                self.health.refused();
            }
            Err(error) if self.is_doubtful(by, teller, error) => {
                if self.health.doubt(by) {
                    tokio::spawn(probe(Arc::downgrade(self)));
                }
            }
            Err(error) => {
                let name = || Target::of(&self.config).map_or_else(|_| String::new(), |t| t.name());
                // Whoever was to find out has found that it answers.
                let has_answered = || teller == Teller::Prober && error.is_doubtful();
                let spares = by == Use::Writing && (self.spares_reading(error) || has_answered());
                if self.health.bad(error, spares, name) {
                    tokio::spawn(probe(Arc::downgrade(self)));
                }
            }
        }
        result
    }

    /// True where what failed says so little that the database is to be asked before anything is
    /// refused: one operation did not end in time, or was broken off for another's sake. Others
    /// may succeed all the while.
    fn is_doubtful(&self, by: Use, teller: Teller, error: &StoreError) -> bool {
        if teller == Teller::Prober || self.health.is_failing(by) {
            return false;
        }
        let is_sqlite = || self.slot.current().is_some_and(|opened| opened.is_sqlite());
        match error.is_doubtful() {
            true => teller == Teller::Work || !self.health.is_in_a_row(),
            // SQLite has waited for all who were before; a server for those of a few rows.
            false => error.trouble() == Trouble::Contention && !is_sqlite(),
        }
    }

    /// The database that is open and at its name, by its number; none where it is not known to be.
    pub(super) fn current_database(&self) -> Option<u64> {
        let opened = self.slot.current()?;
        opened.is_readable().then(|| opened.number())
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

/// One try of a transaction. Within its result is what may go better the next time, and the rest;
/// an error outside it is one of a commit, which is not tried again.
async fn attempt<T, F>(
    opened: &Opened,
    doing: &'static str,
    work: &impl Fn(Session) -> F,
) -> Result<Result<T, DbErr>, StoreError>
where
    F: Future<Output = Result<T, DbErr>>,
{
    let failed = |source| failed(opened, doing, source);
    let writing = opened.writes();
    let transaction = Arc::new(opened.begin().await.map_err(failed)?);
    let result = work(Session::Transaction(transaction.clone())).await;
    let transaction = Arc::into_inner(transaction)
        .ok_or_else(|| failed(DbErr::Custom("a transaction was kept by its work".into())))?;
    let error = match result {
        Ok(value) => match transaction.commit().await {
            Ok(()) if opened.is_in_place() => {
                writing.done();
                return Ok(Ok(value));
            }
            Ok(()) => return Err(StoreError::Moved { doing }),
            // It is rolled back.
            Err(error) if is_out_of_room(&error) => return Ok(Err(error)),
            Err(error) => return Err(failed(error)),
        },
        Err(error) => error,
    };
    if is_out_of_room(&error) || Trouble::of(&error) == Trouble::Contention {
        undo(transaction).await;
    }
    Ok(Err(error))
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
        let needs = store.upgrade().map(|inner| inner.health.needs());
        tokio::time::sleep(match needs {
            // Requests wait for what is not answered, all the while.
            Some(Need::Proof) => limits::PROBE_SOON,
            _ => limits::PROBE_EVERY,
        })
        .await;
        let Some(inner) = store.upgrade().filter(|inner| !inner.is_closed()) else {
            return;
        };
        match inner.health.needs() {
            Need::Nothing | Need::Time => {}
            Need::Proof => inner.prove().await,
            Need::Answer => drop(inner.ping().await),
            Need::Write => {
                if inner.health.is_failing(Use::Reading) {
                    // It may be read long before it can be written.
                    drop(inner.ping().await);
                }
                if inner.prove_writing().await.is_ok() {
                    if let Some(opened) = inner.slot.current() {
                        // Some may have been opened before it could.
                        opened.renew();
                    }
                    inner.health.can_be_written();
                }
            }
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

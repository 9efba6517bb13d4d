//! How the database is reached: opened once, read from, written to in transactions,
//! and asked whether it is back after a failure.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sea_orm::sqlx::Error as SqlxError;
use sea_orm::sqlx::error::{DatabaseError, ErrorKind};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, RuntimeErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};

use super::connect::{Kind, Target};
use super::{Inner, StoreError, limits};

impl Target {
    /// Brings the schema up to date, over a connection of its own: the lock of a
    /// server belongs to a session.
    pub(super) async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let database = self.open(1).await?;
        let result = omnizap_migrations::up(&database).await;
        let _ = database.close().await;
        result.map_err(|source| StoreError::Database {
            doing: "bringing the schema up to date",
            source,
        })
    }
}

impl Inner {
    /// The pool, opened and its schema up to date.
    async fn connection(self: &Arc<Self>) -> Result<&DatabaseConnection, StoreError> {
        let doing = "opening the database";
        let lost = |what: String| StoreError::Database {
            doing,
            source: DbErr::Custom(what),
        };
        if self.connection.get().is_none() {
            // A task of its own: whoever waits may give up, and migrations go on.
            let inner = self.clone();
            let opening = tokio::spawn(async move {
                let opening = inner.connection.get_or_try_init(|| Box::pin(inner.open()));
                let opened = opening.await;
                opened.map(drop)
            });
            opening.await.map_err(|error| lost(error.to_string()))??;
        }
        let connection = self.connection.get();
        connection.ok_or_else(|| lost("the database was closed".into()))
    }

    async fn open(&self) -> Result<DatabaseConnection, StoreError> {
        if self.health.is_resting() {
            // Others waited for the try that just failed: they need not repeat it.
            return Err(StoreError::Resting {
                doing: "opening the database",
                pause: limits::REST,
            });
        }
        let target = Target::of(&self.config)?;
        let connections = match target.kind() {
            Kind::Sqlite => limits::SQLITE_CONNECTIONS,
            Kind::MySql | Kind::Postgres => limits::SERVER_CONNECTIONS,
        };
        let opening = async {
            for step in target.migrate().await? {
                tracing::info!(step, "migrated the store");
            }
            target.open(connections).await
        };
        // The drivers of three databases make it large: not on every stack that opens.
        Box::pin(within("opening the database", limits::OPEN, opening)).await
    }

    /// Reads what an answer can do without: left out while the database is away.
    pub(super) async fn read<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        limit: Duration,
        work: impl FnOnce(DatabaseConnection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        self.is_there(doing)?;
        let reading = async {
            let connection = self.connection().await?;
            let result = work(connection.clone()).await;
            result.map_err(|source| StoreError::Database { doing, source })
        };
        self.noted(within(doing, limit, reading).await)
    }

    /// Refuses at once while the database is known to be away: it is asked all the
    /// while, and requests that waited for it would take the places of others.
    fn is_there(&self, doing: &'static str) -> Result<(), StoreError> {
        if self.health.is_failing() {
            return Err(StoreError::Resting {
                doing,
                pause: limits::PROBE_EVERY,
            });
        }
        Ok(())
    }

    /// Runs a transaction that writes, again where the database broke it off in
    /// favour of another. The work is undone before it is run again. It must not keep
    /// the transaction, which is lent to it behind a shared pointer.
    pub(super) async fn write<T, F>(
        self: &Arc<Self>,
        doing: &'static str,
        limit: Duration,
        work: impl Fn(Arc<DatabaseTransaction>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        self.is_there(doing)?;
        let writing = async {
            let connection = self.connection().await?;
            let options = || TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            };
            let database = |source| StoreError::Database { doing, source };
            let is_sqlite = connection.get_database_backend() == sea_orm::DbBackend::Sqlite;
            let mut tries = 1;
            loop {
                let _turn = match is_sqlite {
                    // It is never closed, so it always gives a permit.
                    true => self.writer.acquire().await.ok(),
                    false => None,
                };
                let transaction = connection.begin_with_options(options()).await;
                let transaction = Arc::new(transaction.map_err(database)?);
                let result = work(transaction.clone()).await;
                let transaction = Arc::into_inner(transaction).ok_or_else(|| {
                    database(DbErr::Custom("a transaction was kept by its work".into()))
                })?;
                match result {
                    Ok(value) => {
                        transaction.commit().await.map_err(database)?;
                        return Ok(value);
                    }
                    Err(error) if tries < limits::TRANSACTION_TRIES && is_contention(&error) => {
                        transaction.rollback().await.map_err(database)?;
                        tries += 1;
                    }
                    Err(error) => return Err(database(error)),
                }
            }
        };
        self.noted(within(doing, limit, writing).await)
    }

    /// Asks the database whether it is there.
    pub(super) async fn ping(self: &Arc<Self>) -> Result<(), StoreError> {
        let doing = "asking whether the database is there";
        let asking = async {
            let connection = self.connection().await?;
            let pong = connection.ping().await;
            pong.map_err(|source| StoreError::Database { doing, source })
        };
        let asked = within(doing, limits::ACQUIRE, asking).await;
        self.noted(asked)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Notes how an operation ended, and sees to it that somebody asks for a database
    /// that failed until it is back.
    fn noted<T>(self: &Arc<Self>, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Ok(_) => self.health.good(),
            Err(StoreError::Resting { .. }) => {}
            Err(_) if self.is_closed() => {}
            // Whoever had less time than a read is given says nothing about the database.
            Err(StoreError::Slow { limit, .. }) if *limit < limits::READ => {}
            Err(StoreError::Database { source, .. }) if is_refusal(source) => {
                self.health.refused();
            }
            Err(error) => {
                if self.health.bad(error) {
                    tokio::spawn(probe(Arc::downgrade(self)));
                }
            }
        }
        result
    }
}

/// Asks until the database answers; ends with it, or with the store.
async fn probe(store: Weak<Inner>) {
    loop {
        tokio::time::sleep(limits::PROBE_EVERY).await;
        let Some(inner) = store.upgrade().filter(|inner| !inner.is_closed()) else {
            return;
        };
        if inner.ping().await.is_ok() && inner.health.probed() {
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

/// True where the database undid a transaction because of another one: SQLSTATE 40001
/// and 40P01, MySQL 1205 and 1213 (which come as HY000 and 40001), MariaDB 1020 (HY000, where
/// `innodb_snapshot_isolation` is on, as it is from 11.6.2), SQLite BUSY and LOCKED.
fn is_contention(error: &DbErr) -> bool {
    let Some(error) = said(error) else {
        return false;
    };
    let code = error.code();
    matches!(
        code.as_deref(),
        Some("40001" | "40P01" | "5" | "6" | "261" | "517")
    ) || [
        "Lock wait timeout exceeded",
        "Record has changed since last read",
    ]
    .iter()
    .any(|said| error.message().contains(said))
}

/// True where the database is there and will not have these values: they are at fault,
/// and nobody else need suffer. SQLSTATE classes 22 (data) and 23 (constraints).
fn is_refusal(error: &DbErr) -> bool {
    said(error).is_some_and(|error| {
        let code = error.code();
        let class = code.as_deref().and_then(|code| code.get(..2));
        let is_state = code.as_deref().is_some_and(|code| code.len() == 5);
        is_state && matches!(class, Some("22" | "23")) || !matches!(error.kind(), ErrorKind::Other)
    })
}

/// What the database itself said, if it said something.
fn said(error: &DbErr) -> Option<&dyn DatabaseError> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) =
        error
    else {
        return None;
    };
    match &**error {
        SqlxError::Database(error) => Some(&**error),
        _ => None,
    }
}

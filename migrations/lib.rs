//! The schema of the store, step by step: frozen DDL that never refers to entities.
//!
//! # Layout
//!
//! - one file a step, named by its date and number; each knows `up` and `down`
//! - `adopt`: what takes over the tables of the earlier Python service (MySQL only)
//! - this file: the list of steps, and [`up`], [`down`] and [`status`] on a connection
//!
//! # Invariants
//!
//! - A step that was released is never edited; a change is a new step.
//! - Several copies of the program may start at once: [`up`] and [`down`] hold a
//!   lock of the database while they look and change.
//! - Text that is compared is compared by bytes: `cafe` and `café` are two keys.
//!   Where the server's default would say otherwise (MySQL), columns name a binary
//!   collation.
//! - The tables `clip_*` keep the names and columns that the Python service gave
//!   them, so that its database is taken over in place; `omnizap_*` are ours alone.

mod adopt;
mod ddl;
mod m20261122_000001_image_embeddings;
mod m20261122_000002_label_embeddings;
mod m20261122_000003_expansions;
mod m20261122_000004_feedback;
mod m20261125_000005_judgements;
mod m20261126_000006_image_changes;
mod m20261126_000007_nsfw_classes;

use sea_orm_migration::sea_orm::{
    DatabaseBackend, DatabaseConnection, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};
use sea_orm_migration::{
    DbErr, IntoSchemaManagerConnection, MigrationStatus, MigrationTrait, MigratorTrait,
    async_trait::async_trait, sea_orm::ConnectionTrait,
};

/// How long one copy waits for another that is changing the schema.
pub const LOCK_WAIT_SECONDS: u32 = 120;

/// Name of the lock on MySQL and MariaDB, as wide as the server.
const MYSQL_LOCK: &str = "omnizap_migrations";

/// Number of the advisory lock on PostgreSQL: "omnizap" in ASCII.
const POSTGRES_LOCK: i64 = 0x6f_6d_6e_69_7a_61_70;

/// The steps, oldest first.
pub struct Migrator;

#[async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_image_embeddings::Migration),
            Box::new(m20261122_000002_label_embeddings::Migration),
            Box::new(m20261122_000003_expansions::Migration),
            Box::new(m20261122_000004_feedback::Migration),
            Box::new(m20261125_000005_judgements::Migration),
            Box::new(m20261126_000006_image_changes::Migration),
            Box::new(m20261126_000007_nsfw_classes::Migration),
        ]
    }
}

/// One step and whether a database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, which sorts by age.
    pub name: String,
    /// True once it was applied.
    pub applied: bool,
}

/// Which way to go.
#[derive(Clone, Copy)]
enum Change {
    Up,
    Down { steps: u32 },
}

/// Applies what is missing and returns the names of the steps applied. Changes
/// nothing, and needs no right to, where the schema is complete.
///
/// On MySQL and PostgreSQL `db` must be a pool of one connection: the lock belongs
/// to the session that took it.
///
/// # Errors
/// Any error of the database; a lock that was not free within [`LOCK_WAIT_SECONDS`];
/// a database that has steps unknown to this version.
pub async fn up(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    if status(db).await?.iter().all(|step| step.applied) {
        return Ok(Vec::new());
    }
    change(db, Change::Up).await
}

/// Undoes the newest `steps` steps and returns their names, newest first.
///
/// # Errors
/// As [`up`]; a step refuses to drop what cannot be made again: feedback, and rows of the Python service.
pub async fn down(db: &DatabaseConnection, steps: u32) -> Result<Vec<String>, DbErr> {
    change(db, Change::Down { steps }).await
}

/// Every step, oldest first. Only reads.
///
/// # Errors
/// Any error of the database; a database that has steps unknown to this version.
pub async fn status<C: ConnectionTrait>(db: &C) -> Result<Vec<Step>, DbErr> {
    let migrations = Migrator::get_migration_with_status_read_only(db).await?;
    Ok(migrations
        .iter()
        .map(|migration| Step {
            name: migration.name().to_owned(),
            applied: migration.status() == MigrationStatus::Applied,
        })
        .collect())
}

/// Every step, oldest first, as a database has them that is not there yet.
#[must_use]
pub fn steps() -> Vec<Step> {
    let migrations = Migrator::migrations();
    migrations
        .iter()
        .map(|migration| Step {
            name: migration.name().to_owned(),
            applied: false,
        })
        .collect()
}

async fn change(db: &DatabaseConnection, change: Change) -> Result<Vec<String>, DbErr> {
    match db.get_database_backend() {
        DatabaseBackend::Sqlite => {
            // SQLite's DDL is transactional, and an immediate transaction is its lock:
            // all the steps are there afterwards, or none.
            let options = TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            };
            let transaction = db.begin_with_options(options).await?;
            let changed = apply(&transaction, change).await?;
            transaction.commit().await?;
            Ok(changed)
        }
        backend => {
            lock(db, backend).await?;
            let result = apply(db, change).await;
            let unlocked = unlock(db, backend).await;
            let changed = result?;
            unlocked?;
            Ok(changed)
        }
    }
}

async fn apply<'c, C>(db: &'c C, change: Change) -> Result<Vec<String>, DbErr>
where
    C: ConnectionTrait,
    &'c C: IntoSchemaManagerConnection<'c>,
{
    let before = status(db).await?;
    match change {
        Change::Up => Migrator::up(db, None).await?,
        Change::Down { steps } => Migrator::down(db, Some(steps)).await?,
    }
    let after = status(db).await?;
    let changed = before.into_iter().zip(after);
    let mut names: Vec<_> = changed
        .filter(|(before, after)| before.applied != after.applied)
        .map(|(before, _)| before.name)
        .collect();
    if matches!(change, Change::Down { .. }) {
        names.reverse();
    }
    Ok(names)
}

async fn lock(db: &DatabaseConnection, backend: DatabaseBackend) -> Result<(), DbErr> {
    if backend == DatabaseBackend::Postgres {
        db.execute_unprepared(&format!("SET lock_timeout = '{LOCK_WAIT_SECONDS}s'"))
            .await?;
        db.execute_unprepared(&format!("SELECT pg_advisory_lock({POSTGRES_LOCK})"))
            .await?;
        return Ok(());
    }
    let sql = format!("SELECT GET_LOCK('{MYSQL_LOCK}', {LOCK_WAIT_SECONDS})");
    let row = db
        .query_one_raw(Statement::from_string(backend, sql))
        .await?;
    let taken = match row {
        Some(row) => row.try_get_by_index::<Option<i64>>(0)? == Some(1),
        None => false,
    };
    if taken {
        Ok(())
    } else {
        Err(DbErr::Migration(format!(
            "another copy has been changing the schema for {LOCK_WAIT_SECONDS} s; start again once it is done"
        )))
    }
}

async fn unlock(db: &DatabaseConnection, backend: DatabaseBackend) -> Result<(), DbErr> {
    let sql = if backend == DatabaseBackend::Postgres {
        format!("SELECT pg_advisory_unlock({POSTGRES_LOCK})")
    } else {
        format!("SELECT RELEASE_LOCK('{MYSQL_LOCK}')")
    };
    db.query_one_raw(Statement::from_string(backend, sql))
        .await
        .map(drop)
}

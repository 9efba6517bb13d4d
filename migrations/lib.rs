//! The schema of the store, step by step: frozen DDL that never refers to entities.
//!
//! # Layout
//!
//! - one file a step, named by its date and number; each knows `up` and `down`
//! - `adopt`: what takes over the tables of the earlier Python service (MySQL only)
//! - `ddl`, `triggers`: what steps have in common
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
mod m20261126_000008_image_assets;
mod m20261126_000009_themes;
mod m20261126_000010_frames;
mod triggers;

use sea_orm_migration::sea_orm::{
    DatabaseBackend, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{
    DbErr, IntoSchemaManagerConnection, MigrationStatus, MigrationTrait, MigratorTrait,
    async_trait::async_trait, sea_orm::ConnectionTrait,
};

/// How long one copy waits for another that is changing the schema.
pub const LOCK_WAIT_SECONDS: u32 = 120;

/// Name of the lock on MySQL and MariaDB. Names there are as wide as the server and of at most 64
/// characters, and those of other databases are not to be waited for.
const MYSQL_LOCK: &str = "CONCAT('omnizap_migrations_', LEFT(SHA1(DATABASE()), 32))";

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
            Box::new(m20261126_000008_image_assets::Migration),
            Box::new(m20261126_000009_themes::Migration),
            Box::new(m20261126_000010_frames::Migration),
        ]
    }
}

/// The tables that there are once every step was applied, each with the step that makes it.
pub const TABLES: [(&str, &str); 13] = [
    (
        "clip_image_embedding_cache",
        "m20261122_000001_image_embeddings",
    ),
    (
        "clip_label_embedding_cache",
        "m20261122_000002_label_embeddings",
    ),
    (
        "clip_llm_label_expansion_cache",
        "m20261122_000003_expansions",
    ),
    ("clip_image_theme_feedback", "m20261122_000004_feedback"),
    ("omnizap_theme_labels", "m20261122_000004_feedback"),
    ("omnizap_looks", "m20261125_000005_judgements"),
    ("omnizap_image_names", "m20261125_000005_judgements"),
    ("omnizap_image_credits", "m20261125_000005_judgements"),
    ("omnizap_judgements", "m20261125_000005_judgements"),
    ("omnizap_image_changes", "m20261126_000006_image_changes"),
    ("omnizap_nsfw_classes", "m20261126_000007_nsfw_classes"),
    ("omnizap_image_assets", "m20261126_000008_image_assets"),
    ("omnizap_frames", "m20261126_000010_frames"),
];

/// One step and whether a database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, which sorts by age.
    pub name: String,
    /// True once it was applied.
    pub applied: bool,
}

/// Whether a connection has a session of the server to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// As a connection to the server itself has.
    Own,
    /// A pooler hands each transaction to another session: PgBouncer in transaction mode.
    Shared,
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
/// On MySQL `db` must be a pool of one connection: the lock belongs to the session that took
/// it.
///
/// # Errors
/// Any error of the database; a lock that was not free within [`LOCK_WAIT_SECONDS`];
/// a database that has steps unknown to this version.
pub async fn up(db: &DatabaseConnection, sessions: Sessions) -> Result<Vec<String>, DbErr> {
    if status(db, sessions).await?.iter().all(|step| step.applied) {
        return Ok(Vec::new());
    }
    change(db, sessions, Change::Up).await
}

/// Undoes the newest `steps` steps and returns their names, newest first.
///
/// # Errors
/// As [`up`]; a step refuses to drop what cannot be made again: feedback, and rows of the Python service.
pub async fn down(
    db: &DatabaseConnection,
    sessions: Sessions,
    steps: u32,
) -> Result<Vec<String>, DbErr> {
    change(db, sessions, Change::Down { steps }).await
}

/// Every step, oldest first. Only reads.
///
/// # Errors
/// Any error of the database; a database that has steps unknown to this version.
pub async fn status(db: &DatabaseConnection, sessions: Sessions) -> Result<Vec<Step>, DbErr> {
    match sessions {
        Sessions::Own => found(db).await,
        Sessions::Shared => {
            let transaction = db.begin().await?;
            forget_statements(&transaction).await?;
            let steps = found(&transaction).await?;
            transaction.commit().await?;
            Ok(steps)
        }
    }
}

/// Forgets statements that others have left in a shared session: ours go by the same names.
async fn forget_statements(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    transaction
        .execute_unprepared("DEALLOCATE ALL")
        .await
        .map(drop)
}

async fn found<C: ConnectionTrait>(db: &C) -> Result<Vec<Step>, DbErr> {
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

async fn change(
    db: &DatabaseConnection,
    sessions: Sessions,
    change: Change,
) -> Result<Vec<String>, DbErr> {
    match db.get_database_backend() {
        DatabaseBackend::MySql => {
            lock(db).await?;
            let result = apply(db, change).await;
            let unlocked = unlock(db).await;
            let changed = result?;
            unlocked?;
            Ok(changed)
        }
        backend => {
            // The DDL of SQLite and PostgreSQL is transactional: all the steps are there
            // afterwards, or none. SQLite's immediate transaction is its lock; that of
            // PostgreSQL ends with its transaction, whatever session that is in.
            let options = TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            };
            let transaction = db.begin_with_options(options).await?;
            if sessions == Sessions::Shared {
                forget_statements(&transaction).await?;
            }
            if backend == DatabaseBackend::Postgres {
                wait_for_turn(&transaction).await?;
            }
            let changed = apply(&transaction, change).await?;
            transaction.commit().await?;
            Ok(changed)
        }
    }
}

async fn apply<'c, C>(db: &'c C, change: Change) -> Result<Vec<String>, DbErr>
where
    C: ConnectionTrait,
    &'c C: IntoSchemaManagerConnection<'c>,
{
    let before = found(db).await?;
    match change {
        Change::Up => Migrator::up(db, None).await?,
        Change::Down { steps } => Migrator::down(db, Some(steps)).await?,
    }
    let after = found(db).await?;
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

/// Takes the lock of PostgreSQL until the transaction ends. A copy that waits for another is
/// not cut off by the bound of a single statement.
async fn wait_for_turn(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    for sql in [
        "SET LOCAL statement_timeout = 0".into(),
        format!("SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'"),
        format!("SELECT pg_advisory_xact_lock({POSTGRES_LOCK})"),
    ] {
        transaction.execute_unprepared(&sql).await?;
    }
    Ok(())
}

async fn lock(db: &DatabaseConnection) -> Result<(), DbErr> {
    let sql = format!("SELECT GET_LOCK({MYSQL_LOCK}, {LOCK_WAIT_SECONDS})");
    let row = db
        .query_one_raw(Statement::from_string(DatabaseBackend::MySql, sql))
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

async fn unlock(db: &DatabaseConnection) -> Result<(), DbErr> {
    let sql = format!("SELECT RELEASE_LOCK({MYSQL_LOCK})");
    db.query_one_raw(Statement::from_string(DatabaseBackend::MySql, sql))
        .await
        .map(drop)
}

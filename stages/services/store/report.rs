//! What a database is, for whoever looks after it: nothing is made or changed for that, not even a
//! file beside SQLite's own.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use omnizap_migrations::{Sessions, Step};
use sea_orm::sqlx::ConnectOptions as _;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseBackend, DatabaseConnection,
    QueryResult, Statement,
};

use super::address::Kind;
use super::connect::Target;
use super::{Store, StoreError, limits};

/// Where in an SQLite file stands how it is written, and which value is that of WAL
/// (<https://www.sqlite.org/fileformat.html#the_database_header>).
const WRITE_VERSION_AT: u64 = 18;
const WAL: u8 = 2;

/// What a database is.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its file, or its server and name: no user and no password.
    pub name: String,
    /// The kind of database.
    pub kind: &'static str,
    /// The file of SQLite; none of a server.
    pub file: Option<PathBuf>,
    /// False where its file is not there yet.
    pub is_there: bool,
    /// The steps of the schema, and which of them it has.
    pub steps: Vec<Step>,
    /// What decides whether that survives a power cut which was acknowledged, as far as it is told.
    pub settings: Vec<Setting>,
}

/// A setting of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it is set to.
    pub value: String,
    /// What it had better be, where it is something else.
    pub wanted: Option<&'static str>,
}

impl Setting {
    fn new(name: &'static str, value: String, wanted: &'static str) -> Self {
        let is_fine = value.eq_ignore_ascii_case(wanted);
        Self {
            name,
            value,
            wanted: (!is_fine).then_some(wanted),
        }
    }
}

impl Store {
    /// What the database is: its schema, and how durable it is. Makes and changes nothing.
    ///
    /// # Errors
    /// Any error of the database.
    pub async fn report(&self) -> Result<Report, StoreError> {
        let target = Target::of(&self.0.config)?;
        let kind = match target.kind() {
            Kind::Sqlite => "SQLite",
            Kind::MySql => "MySQL or MariaDB",
            Kind::Postgres => "PostgreSQL",
        };
        let mut report = Report {
            name: target.name(),
            kind,
            file: target.path(),
            is_there: true,
            steps: Vec::new(),
            settings: Vec::new(),
        };
        let Some(database) = open(&target).await? else {
            report.is_there = false;
            report.steps = omnizap_migrations::steps();
            return Ok(report);
        };
        let steps = read_steps(&database, &target).await;
        if steps.is_ok() {
            report.settings = settings(&database, &target).await;
        }
        let _ = database.close().await;
        report.steps = steps?;
        Ok(report)
    }
}

/// The steps of the schema, and which of them the database has; none where its file is not there.
pub(super) async fn steps(target: &Target) -> Result<Vec<Step>, StoreError> {
    let Some(database) = open(target).await? else {
        return Ok(omnizap_migrations::steps());
    };
    let steps = read_steps(&database, target).await;
    // The result matters, not whether the connection said goodbye.
    let _ = database.close().await;
    steps
}

async fn read_steps(
    database: &DatabaseConnection,
    target: &Target,
) -> Result<Vec<Step>, StoreError> {
    let read = omnizap_migrations::status(database, target.sessions()).await;
    read.map_err(|source| StoreError::Database {
        doing: "reading the schema's version",
        source,
    })
}

/// Opens what is there, for reading; none where a file is not there.
async fn open(target: &Target) -> Result<Option<DatabaseConnection>, StoreError> {
    let Some(path) = target.path() else {
        return target.open(1).await.map(Some);
    };
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let sqlite = SqliteConnectOptions::new().filename(&path).read_only(true);
    let sqlite = sqlite
        // Where nobody has it open, SQLite would make files beside it to read it, and leave them.
        .immutable(!has_shared_memory(&path))
        .busy_timeout(limits::WRITE_BUSY)
        .disable_statement_logging();
    let sqlite = match target {
        Target::Url(address) => match address.file.as_ref().and_then(|file| file.vfs.clone()) {
            Some(vfs) => sqlite.vfs(vfs),
            None => sqlite,
        },
        Target::File(_) => sqlite,
    };
    // The name is replaced: a path need not survive a URL.
    let mut options = ConnectOptions::new("sqlite://omnizap.db");
    options
        .map_sqlx_sqlite_opts(move |_| sqlite.clone())
        .max_connections(1)
        .min_connections(0)
        .acquire_timeout(limits::ACQUIRE)
        .connect_timeout(limits::ACQUIRE)
        .sqlx_logging(false);
    let opened = Database::connect(options).await;
    opened.map(Some).map_err(|error| target.failed(error))
}

/// True where SQLite has its index of the log beside a file: somebody has it open, or did not close
/// it.
fn has_shared_memory(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = real.into_os_string();
    name.push("-shm");
    Path::new(&name).exists()
}

async fn settings(database: &DatabaseConnection, target: &Target) -> Vec<Setting> {
    match target.kind() {
        Kind::Sqlite => target
            .path()
            .and_then(|path| journal(&path))
            .into_iter()
            .collect(),
        Kind::MySql => of_mysql(database).await,
        // A pooler may refuse what it does not know.
        Kind::Postgres if target.sessions() == Sessions::Shared => Vec::new(),
        Kind::Postgres => of_postgres(database).await,
    }
}

/// How an SQLite file is written: a server changes that at its start, and waits for the disk with
/// either.
fn journal(path: &Path) -> Option<Setting> {
    let mode = if is_wal(path)? { "wal" } else { "rollback" };
    Some(Setting {
        name: "journal_mode",
        value: mode.to_owned(),
        wanted: None,
    })
}

fn is_wal(path: &Path) -> Option<bool> {
    // Somebody may have it open: to close it again would take SQLite's locks away.
    if has_shared_memory(path) {
        return Some(true);
    }
    let mut version = [0];
    let file = File::open(path).ok()?;
    file.read_exact_at(&mut version, WRITE_VERSION_AT).ok()?;
    Some(version[0] == WAL)
}

async fn of_mysql(database: &DatabaseConnection) -> Vec<Setting> {
    let sql = "SELECT CAST(@@innodb_flush_log_at_trx_commit AS CHAR), \
               CAST(@@sync_binlog AS CHAR), CAST(@@log_bin AS CHAR), CAST(@@read_only AS CHAR)";
    let Some(row) = first(database, DatabaseBackend::MySql, sql).await else {
        return Vec::new();
    };
    let text = |place: usize| row.try_get_by_index::<String>(place).ok();
    let mut found = Vec::new();
    found.extend(text(0).map(|value| Setting::new("innodb_flush_log_at_trx_commit", value, "1")));
    // Where there is a log for replicas, what is in it decides after a crash.
    if text(2).as_deref() == Some("1") {
        found.extend(text(1).map(|value| Setting::new("sync_binlog", value, "1")));
    }
    found.extend(text(3).map(|value| Setting::new("read_only", value, "0")));
    found
}

async fn of_postgres(database: &DatabaseConnection) -> Vec<Setting> {
    let sql = "SELECT current_setting('fsync'), current_setting('full_page_writes'), \
               current_setting('synchronous_commit'), \
               CASE WHEN pg_is_in_recovery() THEN 'on' ELSE 'off' END";
    let Some(row) = first(database, DatabaseBackend::Postgres, sql).await else {
        return Vec::new();
    };
    let text = |place: usize| row.try_get_by_index::<String>(place).ok();
    let mut found = Vec::new();
    found.extend(text(0).map(|value| Setting::new("fsync", value, "on")));
    found.extend(text(1).map(|value| Setting::new("full_page_writes", value, "on")));
    found.extend(text(2).map(|value| Setting {
        name: "synchronous_commit",
        // All others wait for this server's own disk, and some for more.
        wanted: (value == "off").then_some("on"),
        value,
    }));
    found.extend(text(3).map(|value| Setting::new("pg_is_in_recovery", value, "off")));
    found
}

async fn first(
    database: &DatabaseConnection,
    backend: DatabaseBackend,
    sql: &str,
) -> Option<QueryResult> {
    let asked = database.query_one_raw(Statement::from_string(backend, sql));
    // Who may not read settings is told nothing of them.
    asked.await.ok().flatten()
}

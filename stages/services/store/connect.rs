//! Opening a database: one way for each kind.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use omnizap_migrations::Sessions;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sea_orm::sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Error as SqlxError, Executor, Row as _,
};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr};

use super::address::{Address, Kind, plain};
use super::clock::{Clock, Late, Patience};
use super::doubts::Doubts;
use super::place::{Amiss, folder_of};
use super::renewal::Renewal;
use super::trouble::{Trouble, sqlite_code};
use super::{StoreConfig, StoreError, limits};

/// The file of the embedded database, in the data folder.
pub const FILE_NAME: &str = "omnizap.db";

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The embedded database, as a file in a folder that may have to be made.
    File(PathBuf),
    /// A database by its URL.
    Url(Address),
}

/// Whether SQLite makes a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Made,
    /// One that was there a moment ago: made anew it would have no tables.
    Refused,
}

impl Target {
    /// Where a configuration points to.
    ///
    /// # Errors
    /// [`StoreError::Scheme`] for a kind of database that this build does not know,
    /// [`StoreError::Url`] for a URL that cannot be used.
    pub(super) fn of(config: &StoreConfig) -> Result<Self, StoreError> {
        match config.url.as_deref().filter(|url| !url.trim().is_empty()) {
            Some(url) => Address::of(url).map(Self::Url),
            None => Ok(Self::File(plain(&config.data_dir.join(FILE_NAME)))),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::Sqlite,
            Self::Url(address) => address.kind,
        }
    }

    /// The file, or the server and the database, for the log: no user and no password.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(address) => address.name.clone(),
        }
    }

    /// The file; none of a server.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Url(address) => address.file.as_ref().map(|file| file.path.clone()),
        }
    }

    /// Whether a connection has a session of the server to itself.
    pub(super) fn sessions(&self) -> Sessions {
        match self {
            Self::Url(address) if address.is_pooled => Sessions::Shared,
            Self::File(_) | Self::Url(_) => Sessions::Own,
        }
    }

    /// Opens a pool of at most `connections`, and makes SQLite's file where it is missing; the
    /// schema is not looked at.
    pub(super) async fn open(&self, connections: u32) -> Result<DatabaseConnection, StoreError> {
        self.dial().await?;
        let again = (&Renewal::default(), &Doubts::standing());
        self.pool(connections, Missing::Made, again).await
    }

    /// As [`Self::open`], over a database that is there and was dialled; connections are made anew when the
    /// renewal says so, and those of SQLite are asked where there are doubts.
    pub(super) async fn open_again(
        &self,
        connections: u32,
        again: (&Renewal, &Doubts),
    ) -> Result<DatabaseConnection, StoreError> {
        self.pool(connections, Missing::Refused, again).await
    }

    async fn pool(
        &self,
        connections: u32,
        missing: Missing,
        again: (&Renewal, &Doubts),
    ) -> Result<DatabaseConnection, StoreError> {
        if let Self::File(path) = self {
            make_folder(path)?;
        }
        let mut options = match self {
            Self::Url(address) if address.file.is_none() => {
                ConnectOptions::new(address.url.clone())
            }
            // The name is replaced below: a path need not survive a URL.
            Self::File(_) | Self::Url(_) => ConnectOptions::new("sqlite://omnizap.db"),
        };
        if let Some(sqlite) = self.sqlite().map(|sqlite| durable(sqlite, missing)) {
            options.map_sqlx_sqlite_opts(move |_| sqlite.clone());
        }
        options
            .max_connections(connections)
            .min_connections(0)
            .acquire_timeout(limits::ACQUIRE)
            .connect_timeout(limits::ACQUIRE)
            .idle_timeout(limits::IDLE)
            .test_before_acquire(self.kind() != Kind::Sqlite)
            .sqlx_logging(false);
        self.session(&mut options, again);
        once_free(move || Database::connect(options.clone()))
            .await
            .map_err(|error| self.failed(error))
    }

    /// Connects to a server once. A pool tries one that refuses until its time is up, and does not
    /// say what the matter was.
    pub(super) async fn dial(&self) -> Result<(), StoreError> {
        let Self::Url(address) = self else {
            return Ok(());
        };
        let dialling = async {
            // Whether it said goodbye is of no matter.
            match address.kind {
                Kind::Sqlite => {}
                Kind::MySql => {
                    let options = mysql(address.url.parse()?);
                    let connection = Box::pin(options.connect()).await?;
                    let _ = Box::pin(connection.close()).await;
                }
                Kind::Postgres => {
                    let options = postgres(address.url.parse()?, self.sessions());
                    let connection = Box::pin(options.connect()).await?;
                    let _ = Box::pin(connection.close()).await;
                }
            }
            Ok::<_, SqlxError>(())
        };
        let patience = Patience {
            database: limits::ACQUIRE,
            wall: limits::PROBE_PATIENCE,
        };
        match Clock::begin(patience).race(dialling).await {
            Ok(dialled) => dialled.map_err(|error| self.failed(connecting(error))),
            Err(Late::Database) => Err(StoreError::Silent {
                limit: limits::ACQUIRE,
            }),
            Err(Late::Program) => Err(StoreError::Busy {
                doing: "connecting to the database",
                waited: limits::PROBE_PATIENCE,
            }),
        }
    }

    /// One connection to an SQLite file that is there, beside the pool, and one that only reads;
    /// none to a server.
    pub(super) async fn open_beside(&self) -> Result<Option<Beside>, StoreError> {
        let Some(options) = self.sqlite() else {
            return Ok(None);
        };
        let kept = durable(options, Missing::Refused);
        Ok(Some(Beside {
            path: kept.get_filename().to_owned(),
            kept: self.connect_beside(&kept).await?,
            // Once the files are there.
            guard: self.reader().await?,
        }))
    }

    async fn connect_beside(
        &self,
        options: &SqliteConnectOptions,
    ) -> Result<SqliteConnection, StoreError> {
        once_free(|| async move { read_once(options).await.map_err(connecting) })
            .await
            .map_err(|error| self.failed(error))
    }

    /// A connection that writes nothing, not even as the last one that is closed.
    async fn reader(&self) -> Result<SqliteConnection, StoreError> {
        let options = self.sqlite().unwrap_or_default();
        let options = options.read_only(true).busy_timeout(limits::WRITE_BUSY);
        self.connect_beside(&options.disable_statement_logging())
            .await
    }

    /// Looks whether an SQLite file makes sense, all of it; one that is not there does.
    ///
    /// # Errors
    /// [`StoreError::Open`] with what is wrong, which lasts.
    pub(super) async fn examine(&self) -> Result<(), StoreError> {
        let Some(options) = self.sqlite() else {
            return Ok(());
        };
        if !options.get_filename().exists() {
            return Ok(());
        }
        let mut reader = self.reader().await?;
        let asked = Executor::fetch_one(&mut reader, "PRAGMA quick_check(1)").await;
        let said = asked.and_then(|row| row.try_get::<String, _>(0));
        let _ = reader.close().await;
        match said.map_err(connecting) {
            Ok(said) if said == "ok" => Ok(()),
            Ok(said) => Err(StoreError::Open {
                name: self.name(),
                source: DbErr::Custom(format!("the file is damaged: {said}")),
                why: DAMAGED.into(),
                lasts: true,
            }),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// How SQLite is to open its file; none for servers.
    fn sqlite(&self) -> Option<SqliteConnectOptions> {
        match self {
            Self::File(path) => Some(SqliteConnectOptions::new().filename(path)),
            Self::Url(address) => address.file.as_ref().map(|file| {
                let options = SqliteConnectOptions::new().filename(&file.path);
                let options = options.shared_cache(file.is_shared);
                match &file.vfs {
                    Some(vfs) => options.vfs(vfs.clone()),
                    None => options,
                }
            }),
        }
    }

    /// What every connection agrees on, and what is asked of one that comes back to the pool.
    /// None with an open transaction may: what is committed in it later is a part of that, and
    /// gone with it.
    fn session(&self, options: &mut ConnectOptions, again: (&Renewal, &Doubts)) {
        let sessions = self.sessions();
        let (renewal, doubts) = (again.0.clone(), again.1.clone());
        match self.kind() {
            Kind::Sqlite => {
                options.map_sqlx_sqlite_pool_opts(move |pool| {
                    let doubts = doubts.clone();
                    pool.after_release(move |connection, _| {
                        let is_asked = doubts.are_there();
                        Box::pin(is_sqlite_free(connection, is_asked))
                    })
                    .before_acquire(|connection, _| {
                        let is_free = !connection.is_in_transaction();
                        Box::pin(async move { Ok(is_free) })
                    })
                });
            }
            Kind::MySql => {
                options.map_sqlx_mysql_opts(mysql);
                options.map_sqlx_mysql_pool_opts(move |pool| {
                    let renewal = renewal.clone();
                    pool.after_release(|connection, _| Box::pin(is_mysql_free(connection)))
                        .before_acquire(move |_, it| {
                            let is_new = renewal.is_kept(it.age);
                            Box::pin(async move { Ok(is_new) })
                        })
                });
            }
            Kind::Postgres => {
                options.map_sqlx_postgres_opts(move |options| postgres(options, sessions));
                options.map_sqlx_postgres_pool_opts(move |pool| {
                    let renewal = renewal.clone();
                    let pool = pool
                        .after_release(|connection, _| Box::pin(is_postgres_free(connection)))
                        .before_acquire(move |_, it| {
                            let is_new = renewal.is_kept(it.age);
                            Box::pin(async move { Ok(is_new) })
                        });
                    match sessions {
                        // It would be said to a session that others use too.
                        Sessions::Shared => pool,
                        Sessions::Own => pool
                            .after_connect(|connection, _| Box::pin(limit_statements(connection))),
                    }
                });
            }
        }
    }

    /// What could not be opened, and what is amiss with its file.
    pub(super) fn failed(&self, source: DbErr) -> StoreError {
        let source = without_url(source);
        let path = self.path();
        let is_of_the_file = sqlite_code(&source).is_some_and(is_of_the_file);
        let amiss = match path {
            Some(path) if is_of_the_file => Amiss::of(&path),
            Some(_) if Trouble::of(&source) == Trouble::Damaged => Amiss {
                text: DAMAGED.into(),
                lasts: true,
            },
            _ => Amiss::default(),
        };
        StoreError::Open {
            name: self.name(),
            source,
            why: amiss.text,
            lasts: amiss.lasts,
        }
    }
}

/// What to do about a file that makes no sense.
const DAMAGED: &str = " (put a good copy in its place, by another file of that name, and remove \
    what lies beside it and ends in -wal or -shm; it is taken without a restart)";

/// Connections to the file of SQLite, beside the pool.
pub(super) struct Beside {
    pub(super) path: PathBuf,
    /// Writes into the file what was committed last, where it is the last one that is closed.
    pub(super) kept: SqliteConnection,
    /// Writes nothing: where it is the last one that is closed, the file stays as it is.
    pub(super) guard: SqliteConnection,
}

/// How MySQL is connected to.
fn mysql(options: MySqlConnectOptions) -> MySqlConnectOptions {
    let host = bare(options.get_host());
    options.host(&host).disable_statement_logging()
}

/// How PostgreSQL is connected to.
fn postgres(options: PgConnectOptions, sessions: Sessions) -> PgConnectOptions {
    let host = bare(options.get_host());
    let options = options.host(&host).application_name("omnizap");
    // Values come in binary, and poolers refuse what they do not know at the start of a session.
    let options = options
        .extra_float_digits(None::<i8>)
        .disable_statement_logging();
    match sessions {
        Sessions::Shared => options.statement_cache_capacity(0),
        Sessions::Own => options,
    }
}

/// An IPv6 address without the brackets that it has in a URL: whoever looks up hosts knows none.
fn bare(host: &str) -> String {
    host.trim_matches(['[', ']']).to_owned()
}

/// True for errors that the rights of a file or its folder may explain: READONLY, CANTOPEN.
fn is_of_the_file(code: u32) -> bool {
    matches!(code & 0xff, 8 | 14)
}

/// Connects, and reads: only then are all the files of the database open.
async fn read_once(options: &SqliteConnectOptions) -> Result<SqliteConnection, SqlxError> {
    let mut connection = options.connect().await?;
    connection
        .execute("SELECT COUNT(*) FROM sqlite_master")
        .await?;
    Ok(connection)
}

fn connecting(error: SqlxError) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
}

/// What an attempt gives once no other copy holds the file of SQLite, which it waits for; any
/// other error at once.
async fn once_free<T, F>(attempt: impl Fn() -> F) -> Result<T, DbErr>
where
    F: Future<Output = Result<T, DbErr>>,
{
    let begun = Instant::now();
    loop {
        match attempt().await {
            Err(error) if is_locked(&error) && begun.elapsed() < limits::SQLITE_BUSY => {
                tokio::time::sleep(limits::SQLITE_OPEN_PAUSE).await;
            }
            ended => return ended,
        }
    }
}

/// True where SQLite says that another copy holds the file. While several make it at
/// once, the change to WAL fails at once instead of waiting for its busy timeout.
fn is_locked(error: &DbErr) -> bool {
    error.to_string().contains("database is locked")
}

/// An acknowledged write survives a power cut: FULL syncs the log at every commit,
/// which WAL's default (NORMAL) does not.
fn durable(options: SqliteConnectOptions, missing: Missing) -> SqliteConnectOptions {
    let busy = match missing {
        Missing::Made => limits::SQLITE_BUSY,
        Missing::Refused => limits::WRITE_BUSY,
    };
    options
        .create_if_missing(missing == Missing::Made)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(busy)
        // As a negative number it is KiB, for each connection. The system keeps the file's pages too,
        // once for all of them.
        .pragma("cache_size", "-256")
        .disable_statement_logging()
}

/// SQLite rolls back by itself where it cannot write; the driver's own ROLLBACK fails then,
/// and it goes on to count a transaction. That is asked after what was queued is done, which only
/// those need be asked that something may have been left to.
async fn is_sqlite_free(
    connection: &mut SqliteConnection,
    is_asked: bool,
) -> Result<bool, SqlxError> {
    if is_asked {
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Whoever gave up while a transaction began has left it open, and the driver does not know
/// of it: MySQL ends it where there is one, and says nothing where there is none. A connection
/// to a machine that vanished would keep its place for ever.
async fn is_mysql_free(connection: &mut MySqlConnection) -> Result<bool, SqlxError> {
    let rolling_back = Executor::execute(&mut *connection, "ROLLBACK");
    let rolled_back = tokio::time::timeout(limits::RELEASE, rolling_back).await;
    rolled_back.unwrap_or(Err(SqlxError::PoolTimedOut))?;
    Ok(!connection.is_in_transaction())
}

/// As [`is_mysql_free`]; PostgreSQL would log a ROLLBACK that ends nothing. Where the two times
/// differ, the transaction began with an earlier statement.
async fn is_postgres_free(connection: &mut PgConnection) -> Result<bool, SqlxError> {
    let sql = "SELECT transaction_timestamp() = statement_timestamp()";
    let asking = Executor::fetch_one(&mut *connection, sql);
    let asked = tokio::time::timeout(limits::RELEASE, asking).await;
    let row = asked.unwrap_or(Err(SqlxError::PoolTimedOut))?;
    let is_alone: bool = row.try_get(0)?;
    Ok(is_alone && !connection.is_in_transaction())
}

/// Bounds a server's work on one statement. Not said at the start of the session: a pooler
/// refuses that.
async fn limit_statements(connection: &mut PgConnection) -> Result<(), SqlxError> {
    let sql = format!("SET statement_timeout = {}", limits::STATEMENT.as_millis());
    connection.execute(AssertSqlSafe(sql)).await.map(drop)
}

fn make_folder(file: &Path) -> Result<(), StoreError> {
    let folder = folder_of(file);
    std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder {
        path: folder.display().to_string(),
        source,
        why: Amiss::of(folder).text,
    })
}

/// A URL that does not parse is quoted in the error, and may hold a password.
fn without_url(error: DbErr) -> DbErr {
    let text = error.to_string();
    if text.contains("://") {
        return DbErr::Custom("the database's URL cannot be parsed".into());
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: Option<&str>) -> Result<Target, StoreError> {
        Target::of(&StoreConfig {
            data_dir: "/data".into(),
            url: url.map(str::to_owned),
            ..StoreConfig::default()
        })
    }

    #[test]
    fn without_a_url_it_is_a_file_in_the_data_folder() {
        let file = Target::File(PathBuf::from("/data/omnizap.db"));
        assert_eq!(target(None).unwrap(), file);
        assert_eq!(target(Some("  ")).unwrap(), file);
    }

    #[test]
    fn an_unknown_kind_is_refused_without_its_url() {
        let error = target(Some("oracle://scott:tiger@host/db")).unwrap_err();
        assert!(error.to_string().contains("\"oracle\""), "{error}");
        assert!(!error.to_string().contains("tiger"), "{error}");
    }

    #[test]
    fn sqlite_urls_are_taken_as_they_are() {
        let Target::Url(address) = target(Some("sqlite:///tmp/x.db?mode=rwc")).unwrap() else {
            panic!("a URL");
        };
        assert_eq!(
            (address.url.as_str(), address.kind),
            ("sqlite:///tmp/x.db?mode=rwc", Kind::Sqlite)
        );
    }

    #[tokio::test]
    async fn a_locked_file_is_tried_again_and_no_other_error_is() {
        let tries = std::cell::Cell::new(0);
        let opened = |said: &'static str| {
            tries.set(tries.get() + 1);
            let is_free = tries.get() == 3;
            async move {
                match is_free {
                    true => Ok(()),
                    false => Err(DbErr::Custom(said.into())),
                }
            }
        };
        let locked = "error returned from database: (code: 5) database is locked";
        assert!(once_free(|| opened(locked)).await.is_ok());
        assert_eq!(tries.take(), 3);
        assert!(once_free(|| opened("disk I/O error")).await.is_err());
        assert_eq!(tries.take(), 1);
    }

    #[tokio::test]
    async fn every_connection_to_a_file_syncs_at_each_commit() {
        use sea_orm::{ConnectionTrait, DbBackend, Statement};
        let folder = tempfile::tempdir().unwrap();
        // A path that would not survive a URL.
        let path = folder.path().join("a?b=c #%20/é").join(FILE_NAME);
        let url = format!("sqlite://{}/other.db", folder.path().display());
        let by_url = target(Some(&url)).unwrap();
        for target in [Target::File(path.clone()), by_url] {
            let database = target.open(2).await.unwrap();
            let pragma = async |name: &str| {
                let sql = format!("PRAGMA {name}");
                let statement = Statement::from_string(DbBackend::Sqlite, sql);
                database.query_one_raw(statement).await.unwrap().unwrap()
            };
            let mode: String = pragma("journal_mode").await.try_get_by_index(0).unwrap();
            assert_eq!(mode, "wal");
            let synchronous: i32 = pragma("synchronous").await.try_get_by_index(0).unwrap();
            assert_eq!(synchronous, 2, "FULL");
            database.close().await.unwrap();
        }
        assert!(path.exists());
    }

    #[tokio::test]
    async fn an_ipv6_address_is_connected_to() {
        let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
            eprintln!("NOT TESTED by this run: hosts by IPv6, which is not there");
            return;
        };
        let port = listener.local_addr().unwrap().port();
        for url in [
            format!("mysql://u:p@[::1]:{port}/x"),
            format!("postgres://u:p@[::1]:{port}/x"),
            format!("postgres:///x?host=[::1]&port={port}&user=u"),
            format!("postgres:///x?host=::1&port={port}&user=u"),
        ] {
            let target = target(Some(&url)).unwrap();
            // It hangs up: that it was called is what is asked.
            let answering = async { drop(listener.accept().await.unwrap()) };
            let ((), opened) = tokio::join!(answering, target.open(1));
            assert!(opened.is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_told_at_once_and_as_that() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        for kind in ["mysql", "postgres"] {
            let target = target(Some(&format!("{kind}://u:cret@127.0.0.1:{port}/x"))).unwrap();
            let begun = Instant::now();
            let error = target.open(1).await.unwrap_err().to_string();
            assert!(error.contains("refused"), "{error}");
            assert!(!error.contains("cret"), "{error}");
            assert!(begun.elapsed() < limits::ACQUIRE, "{:?}", begun.elapsed());
        }
    }

    #[test]
    fn mariadb_is_mysql_and_a_driver_is_dropped() {
        for url in ["mariadb://h/db", "mysql+pymysql://h/db"] {
            let Target::Url(address) = target(Some(url)).unwrap() else {
                panic!("a URL");
            };
            assert_eq!(
                (address.url.as_str(), address.kind),
                ("mysql://h/db", Kind::MySql)
            );
        }
    }
}

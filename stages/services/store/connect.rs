//! Opening a database: one way for each kind.

use std::path::{Path, PathBuf};
use std::time::Instant;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{Connection, Error as SqlxError};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};

use super::{StoreConfig, StoreError, limits};

/// The file of the embedded database, in the data folder.
pub const FILE_NAME: &str = "omnizap.db";

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The embedded database, as a file in a folder that may have to be made.
    File(PathBuf),
    /// A database by its URL.
    Url { url: String, kind: Kind },
}

/// Kinds of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    MySql,
    Postgres,
}

impl Target {
    /// Where a configuration points to.
    ///
    /// # Errors
    /// [`StoreError::Scheme`] for a kind of database that this build does not know.
    pub(super) fn of(config: &StoreConfig) -> Result<Self, StoreError> {
        let Some(url) = config.url.as_deref().filter(|url| !url.trim().is_empty()) else {
            return Ok(Self::File(config.data_dir.join(FILE_NAME)));
        };
        let scheme = url.split(':').next().unwrap_or_default();
        // What SQLAlchemy appends (`mysql+pymysql`) names a driver, not a database.
        let kind = match scheme.split('+').next().unwrap_or_default() {
            "sqlite" => Kind::Sqlite,
            "mysql" | "mariadb" => Kind::MySql,
            "postgres" | "postgresql" => Kind::Postgres,
            other => {
                return Err(StoreError::Scheme {
                    scheme: other.to_owned(),
                });
            }
        };
        let rest = &url[scheme.len()..];
        let name = match kind {
            Kind::Sqlite => "sqlite",
            Kind::MySql => "mysql",
            Kind::Postgres => "postgres",
        };
        Ok(Self::Url {
            url: format!("{name}{rest}"),
            kind,
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::Sqlite,
            Self::Url { kind, .. } => *kind,
        }
    }

    /// Opens a pool of at most `connections`; the schema is not looked at.
    pub(super) async fn open(&self, connections: u32) -> Result<DatabaseConnection, StoreError> {
        let mut options = match self {
            Self::File(path) => {
                make_folder(path)?;
                // The name is replaced below: a path need not survive a URL.
                let mut options = ConnectOptions::new("sqlite://omnizap.db");
                let path = path.clone();
                options.map_sqlx_sqlite_opts(move |options| durable(options.filename(&path)));
                options
            }
            Self::Url { url, kind } => {
                let mut options = ConnectOptions::new(url.clone());
                if *kind == Kind::Sqlite {
                    options.map_sqlx_sqlite_opts(durable);
                }
                options
            }
        };
        options
            .max_connections(connections)
            .min_connections(0)
            .acquire_timeout(limits::ACQUIRE)
            .connect_timeout(limits::ACQUIRE)
            .idle_timeout(limits::IDLE)
            .test_before_acquire(self.kind() != Kind::Sqlite)
            .sqlx_logging(false);
        session(&mut options, self.kind());
        let begun = Instant::now();
        loop {
            match Database::connect(options.clone()).await {
                Ok(database) => return Ok(database),
                Err(error) if is_locked(&error) && begun.elapsed() < limits::SQLITE_BUSY => {
                    tokio::time::sleep(limits::SQLITE_OPEN_PAUSE).await;
                }
                Err(error) => {
                    return Err(StoreError::Database {
                        doing: "opening the database",
                        source: without_url(error),
                    });
                }
            }
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
fn durable(
    options: sea_orm::sqlx::sqlite::SqliteConnectOptions,
) -> sea_orm::sqlx::sqlite::SqliteConnectOptions {
    options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(limits::SQLITE_BUSY)
}

/// What every connection of a server agrees on.
fn session(options: &mut ConnectOptions, kind: Kind) {
    match kind {
        Kind::Sqlite => {}
        Kind::MySql => {
            options.map_sqlx_mysql_pool_opts(|pool| {
                pool.after_release(|connection, _| Box::pin(is_usable(connection)))
            });
        }
        Kind::Postgres => {
            options.set_application_name("omnizap");
            options.statement_timeout(limits::STATEMENT);
            options.map_sqlx_postgres_pool_opts(|pool| {
                pool.after_release(|connection, _| Box::pin(is_usable(connection)))
            });
        }
    }
}

/// Asks a connection that comes back to the pool, which asks without end by itself: one
/// to a machine that vanished would keep its place for ever.
async fn is_usable<C: Connection>(connection: &mut C) -> Result<bool, SqlxError> {
    let asked = tokio::time::timeout(limits::RELEASE, connection.ping()).await;
    asked.unwrap_or(Err(SqlxError::PoolTimedOut)).map(|()| true)
}

fn make_folder(file: &Path) -> Result<(), StoreError> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder {
        path: folder.display().to_string(),
        source,
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
        let Target::Url { url, kind } = target(Some("sqlite:///tmp/x.db?mode=rwc")).unwrap() else {
            panic!("a URL");
        };
        assert_eq!(
            (url.as_str(), kind),
            ("sqlite:///tmp/x.db?mode=rwc", Kind::Sqlite)
        );
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

    #[test]
    fn mariadb_is_mysql_and_a_driver_is_dropped() {
        for url in ["mariadb://h/db", "mysql+pymysql://h/db"] {
            let Target::Url { url, kind } = target(Some(url)).unwrap() else {
                panic!("a URL");
            };
            assert_eq!((url.as_str(), kind), ("mysql://h/db", Kind::MySql));
        }
    }
}

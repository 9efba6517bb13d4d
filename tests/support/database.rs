//! The database of a server under test: `OMNIZAP_TEST_DATABASE` says which kind the suite
//! runs on, `sqlite` (where it is not set), `mysql` or `postgres`. The server of that kind
//! is the one that `OMNIZAP_TEST_MYSQL_URL` or `OMNIZAP_TEST_POSTGRES_URL` names, as
//! `tests/databases.sh` sets them; each test has a database of its own on it.

use std::io::Write as _;
use std::path::Path;
use std::sync::Once;
use std::time::{SystemTime, UNIX_EPOCH};

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use tempfile::TempDir;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    MySql,
    Postgres,
}

impl Kind {
    /// The one that the suite runs on.
    pub(crate) fn of_the_suite() -> Self {
        static SAID: Once = Once::new();
        let name = std::env::var("OMNIZAP_TEST_DATABASE").unwrap_or_default();
        let kind = match name.as_str() {
            "" | "sqlite" => Self::Sqlite,
            "mysql" => Self::MySql,
            "postgres" => Self::Postgres,
            other => panic!("OMNIZAP_TEST_DATABASE={other}: sqlite, mysql or postgres"),
        };
        SAID.call_once(|| {
            let others = [Self::Sqlite, Self::MySql, Self::Postgres];
            for other in others.into_iter().filter(|other| *other != kind) {
                not_tested(&format!("the program on {}", other.name()));
            }
        });
        kind
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::MySql => "mysql",
            Self::Postgres => "postgres",
        }
    }

    /// The address of the server's own database.
    fn server(self) -> String {
        let variable = match self {
            Self::Sqlite => panic!("SQLite has no server"),
            Self::MySql => "OMNIZAP_TEST_MYSQL_URL",
            Self::Postgres => "OMNIZAP_TEST_POSTGRES_URL",
        };
        std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set: run this through tests/databases.sh")
        })
    }
}

/// The data of a server: a folder and, where it is not in that, a database. Both are
/// removed at the end.
pub(crate) struct Data {
    folder: TempDir,
    database: Option<Remote>,
}

/// A database on a server.
struct Remote {
    server: String,
    name: String,
}

impl Remote {
    fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }
}

impl Data {
    /// Empty, on the kind of database that the suite runs on.
    pub(crate) fn new() -> Self {
        match Kind::of_the_suite() {
            Kind::Sqlite => Self {
                folder: TempDir::new().unwrap(),
                database: None,
            },
            kind => Self::on(kind.server()),
        }
    }

    /// Empty, on the server with this address.
    pub(crate) fn on(server: String) -> Self {
        let folder = TempDir::new().unwrap();
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let unique = folder.path().file_name().unwrap().to_string_lossy();
        let unique: String = unique.chars().filter(char::is_ascii_alphanumeric).collect();
        let name = format!("omnizap_{}_{}", unique.to_lowercase(), nanos.as_nanos());
        let sql = format!("CREATE DATABASE {name}");
        block_on(async {
            let admin = sea_orm::Database::connect(&server).await.unwrap();
            admin.execute_unprepared(&sql).await.unwrap();
            admin.close().await.unwrap();
        });
        Self {
            folder,
            database: Some(Remote { server, name }),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `DATABASE_URL` is to be; nothing for the database in the folder.
    pub(crate) fn url(&self) -> Option<String> {
        self.database.as_ref().map(Remote::url)
    }

    /// The numbers in the first row that a query gives; the query casts them to BIGINT
    /// (`SIGNED` on MySQL) where it counts or adds.
    pub(crate) fn numbers<const N: usize>(&self, sql: &str) -> [i64; N] {
        block_on(async {
            let db = self.connect().await;
            let statement = Statement::from_string(db.get_database_backend(), sql);
            let row = db.query_one_raw(statement).await.unwrap().unwrap();
            let numbers = std::array::from_fn(|place| row.try_get_by_index(place).unwrap());
            db.close().await.unwrap();
            numbers
        })
    }

    /// Runs a statement.
    pub(crate) fn execute(&self, sql: &str) {
        block_on(async {
            let db = self.connect().await;
            db.execute_unprepared(sql).await.unwrap();
            db.close().await.unwrap();
        });
    }

    async fn connect(&self) -> DatabaseConnection {
        let file = self.folder.path().join("omnizap.db");
        let file = || format!("sqlite://{}", file.display());
        let url = self.url().unwrap_or_else(file);
        sea_orm::Database::connect(url).await.unwrap()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let Some(Remote { server, name }) = &self.database else {
            return;
        };
        let force = match server.starts_with("postgres") {
            true => " WITH (FORCE)",
            false => "",
        };
        let sql = format!("DROP DATABASE {name}{force}");
        block_on(async {
            // The server may be gone, as some tests want it to be.
            if let Ok(admin) = sea_orm::Database::connect(server).await {
                let _ = admin.execute_unprepared(&sql).await;
                let _ = admin.close().await;
            }
        });
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

/// Whether a database can be connected to.
pub(crate) fn answers(url: &str) -> bool {
    block_on(async {
        match sea_orm::Database::connect(url).await {
            Ok(db) => db.close().await.is_ok(),
            Err(_) => false,
        }
    })
}

/// Tells whoever runs the tests what this run leaves out. Past the test harness, which
/// shows what a test prints only where it fails.
pub(crate) fn not_tested(what: &str) {
    let _ = writeln!(std::io::stderr(), "NOT TESTED by this run: {what}");
}

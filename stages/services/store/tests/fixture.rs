//! An empty database of each kind.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Mutex;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection};

use crate::store::{Store, StoreConfig};

/// One empty database, dropped at the end.
pub(super) struct Fixture {
    pub(super) kind: &'static str,
    pub(super) config: StoreConfig,
    pub(super) admin: Option<(DatabaseConnection, String)>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            kind: "sqlite",
            config: StoreConfig {
                data_dir: folder.path().into(),
                url: None,
                ..StoreConfig::default()
            },
            admin: None,
            _folder: folder,
        }
    }

    /// A new database on a server, if one is named.
    pub(super) async fn server(kind: &'static str, variable: &str) -> Option<Self> {
        let Ok(url) = std::env::var(variable) else {
            let required = std::env::var("OMNIZAP_TEST_DATABASES").as_deref() == Ok("required");
            assert!(
                !required,
                "{variable} names no server, and every database is to be tested"
            );
            not_tested(kind, variable);
            return None;
        };
        let admin = Database::connect(&url).await.expect(variable);
        let name = format!("omnizap_test_{:016x}", fastrand::u64(..));
        let sql = format!("CREATE DATABASE {name}");
        admin
            .execute_unprepared(&sql)
            .await
            .expect("a right to create databases");
        let mut parts: Vec<&str> = url.splitn(4, '/').collect();
        parts.truncate(3);
        // The index is kept there, and must not outlive its database.
        let folder = tempfile::tempdir().unwrap();
        Some(Self {
            kind,
            config: StoreConfig {
                data_dir: folder.path().into(),
                url: Some(format!("{}/{name}", parts.join("/"))),
                ..StoreConfig::default()
            },
            admin: Some((admin, name)),
            _folder: folder,
        })
    }

    /// Another copy of the program.
    pub(super) fn store(&self) -> Store {
        Store::new(self.config.clone())
    }

    pub(super) async fn drop(self) {
        if let Some((admin, name)) = self.admin {
            let force = if self.kind == "postgres" {
                " WITH (FORCE)"
            } else {
                ""
            };
            let sql = format!("DROP DATABASE {name}{force}");
            admin.execute_unprepared(&sql).await.unwrap();
        }
    }
}

/// One of each kind that there is.
pub(super) async fn databases() -> Vec<Fixture> {
    let mut databases = vec![Fixture::sqlite()];
    databases.extend(Fixture::server("mysql", "OMNIZAP_TEST_MYSQL_URL").await);
    databases.extend(Fixture::server("postgres", "OMNIZAP_TEST_POSTGRES_URL").await);
    databases
}

/// Says so once a kind, past the test harness, which shows what a test prints only where
/// it fails.
fn not_tested(kind: &'static str, variable: &str) {
    static SAID: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap().insert(kind) {
        let why = format!("{variable} is not set (tests/databases.sh sets it)");
        let _ = writeln!(
            std::io::stderr(),
            "NOT TESTED by this run: the store on {kind}: {why}"
        );
    }
}

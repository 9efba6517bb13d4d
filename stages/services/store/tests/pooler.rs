//! A pooler before PostgreSQL: PgBouncer in session mode with nothing set, in transaction mode
//! with `?pgbouncer=true`. Where it is not installed nothing is tested.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Fixture, evidence, feedback, image, tally, until};
use crate::store::StoreConfig;

const PATIENCE: Duration = Duration::from_secs(30);

/// PgBouncer, with as few sessions of the server as make its clients share them.
struct Pooler {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    fn start(mode: &str, server: &str) -> Option<Self> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = std::env::split_paths(&folders).collect();
        places.push("/usr/sbin".into());
        let mut programs = places.into_iter().map(|folder| folder.join("pgbouncer"));
        let program = programs.find(|program| program.exists())?;
        let folder = tempfile::tempdir().unwrap();
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let (user, rest) = server
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('@'))
            .unwrap();
        let (user, password) = user.split_once(':').unwrap();
        let (host, server_port) = rest.split('/').next().unwrap().split_once(':').unwrap();
        let config = folder.path().join("pgbouncer.ini");
        // Session mode keeps a session for each client, of which there are two with all that
        // they hold at once.
        let sessions = if mode == "session" { 40 } else { 2 };
        let text = format!(
            "[databases]\n* = host={host} port={server_port} user={user} password={password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {mode}\ndefault_pool_size = {sessions}\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        // It refuses to run as root.
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        if is_root {
            command.args(["-u", "nobody"]);
        }
        command.arg("-q").arg(&config).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "pgbouncer did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            child,
            port,
            _folder: folder,
        })
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A database behind one, and its URL there; nothing where there is no server, or no pooler.
async fn pooled(mode: &str) -> Option<(Fixture, Pooler, String)> {
    let database = Fixture::server("postgres", "OMNIZAP_TEST_POSTGRES_URL").await?;
    let server = database.config.url.clone().unwrap();
    let Some(pooler) = Pooler::start(mode, &server) else {
        let is_required = std::env::var("OMNIZAP_TEST_DATABASES").is_ok_and(|it| it == "required");
        assert!(!is_required, "PgBouncer is not installed");
        let _ = writeln!(
            std::io::stderr(),
            "NOT TESTED by this run: the store behind PgBouncer, which is not installed"
        );
        database.drop().await;
        return None;
    };
    let name = server.rsplit('/').next().unwrap();
    let url = format!("postgres://x@127.0.0.1:{}/{name}", pooler.port);
    Some((database, pooler, url))
}

#[tokio::test]
async fn what_a_pooler_needs_is_told_where_it_was_not_said() {
    let Some((database, pooler, url)) = pooled("transaction").await else {
        return;
    };
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = crate::store::Store::new(StoreConfig {
            data_dir: database.config.data_dir.clone(),
            url: Some(url.clone()),
            ..StoreConfig::default()
        });
        writers.spawn(async move {
            let mut errors = Vec::new();
            for _ in 0..20 {
                let given = store.record_feedback(&feedback("x", "t", true)).await;
                errors.extend(given.err().map(|error| error.to_string()));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            store.close().await;
            errors
        });
    }
    let errors = writers.join_all().await.concat();
    let of_statements = |error: &&String| error.contains("prepared statement");
    let mut of_statements = errors.iter().filter(of_statements).peekable();
    assert!(of_statements.peek().is_some(), "{errors:?}");
    for error in of_statements {
        assert!(error.contains("`?pgbouncer=true`"), "{error}");
    }
    drop(pooler);
    database.drop().await;
}

#[tokio::test]
async fn behind_pgbouncer_everything_counts() {
    for (mode, parameter) in [("session", ""), ("transaction", "?pgbouncer=true")] {
        let Some((database, pooler, url)) = pooled(mode).await else {
            return;
        };
        let url = format!("{url}{parameter}");
        let copies = [0, 1].map(|_| {
            crate::store::Store::new(StoreConfig {
                data_dir: database.config.data_dir.clone(),
                url: Some(url.clone()),
                ..StoreConfig::default()
            })
        });
        // Waits for the schema; feedback would not for long.
        copies[0].migrate().await.unwrap();
        copies[0].start().unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..6 {
            let store = copies[writer % 2].clone();
            writers.spawn(async move {
                for turn in 0..15 {
                    store
                        .record_feedback(&feedback("x", "t", true))
                        .await
                        .unwrap();
                    let record = image(&format!("{writer} {turn}"), &[1.0, 0.0], &[("cat", 1.0)]);
                    store.remember_later(record);
                    evidence(&store, "t", &["cat"], &["x"]).await;
                }
            });
        }
        writers.join_all().await;
        for store in &copies {
            assert!(store.flush().await, "{mode}");
            assert_eq!(store.degraded(), None, "{mode}");
            assert_eq!(store.stats().images_dropped, 0, "{mode}");
        }
        let found = evidence(&copies[1], "t", &[], &["x"]).await;
        assert_eq!(found.images[0].tally, tally(90.0, 0.0), "{mode}");
        until("following", PATIENCE, async || {
            copies[0].index().len() == 90
        })
        .await;
        // Migrating finds nothing to do, over the pooler too.
        assert!(copies[1].migrate().await.unwrap().is_empty(), "{mode}");
        assert!(
            copies[1]
                .status()
                .await
                .unwrap()
                .iter()
                .all(|step| step.applied)
        );
        for store in copies {
            store.close().await;
        }
        drop(pooler);
        database.drop().await;
    }
}

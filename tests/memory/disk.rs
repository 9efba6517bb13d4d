//! The disk below SQLite fails and comes back, its file is removed under the program, or it can
//! never be used: what was acknowledged is stored, once, and nobody restarts anything.
//!
//! The disk is `disk.c`, preloaded into the program, or into a server of a database: it fails what a
//! file tells it to.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::{HASH, classify, is_degraded, until};
use crate::support::database::{Data, Kind, not_tested};
use crate::support::http::Client;
use crate::support::program::{Server, Settings, omnizap, picture, root, setting};

/// Faults of a run in CI; `OMNIZAP_DISK_ROUNDS=500` makes a long one.
const ROUNDS: u64 = 8;
const RATERS: usize = 2;
/// Within which a fault is noticed, and within which all is well again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a fault lasts once it was noticed.
const FAULT: Duration = Duration::from_millis(400);

/// Pictures that may be under way.
const FEW: u64 = 10;

/// What fails, with the error's number: no room, an error, half of it and then no room. A sync
/// fails with an error only.
const FAULTS: [(&str, i32); 4] = [("write", 28), ("write", 5), ("write", -1), ("sync", 5)];

/// The library, and the file that tells it what fails.
pub(super) struct Disk {
    library: PathBuf,
    control: PathBuf,
    folder: TempDir,
}

impl Disk {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        // Servers run as somebody else.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let library = folder.path().join("disk.so");
        let output = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-Wall", "-o"])
            .arg(&library)
            .arg(root().join("tests/memory/disk.c"))
            .args(["-ldl", "-lpthread"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let disk = Self {
            library,
            control: folder.path().join("control"),
            folder,
        };
        disk.says("");
        disk
    }

    /// Changes what fails, at one moment.
    pub(super) fn says(&self, what: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, what).unwrap();
        fs::rename(&next, &self.control).unwrap();
    }

    /// What puts it below a program, for the files with `of` in their names.
    pub(super) fn environment<'a>(&'a self, of: &'a str) -> [(&'a str, &'a str); 3] {
        [
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("OMNIZAP_TEST_DISK", self.control.to_str().unwrap()),
            ("OMNIZAP_TEST_DISK_OF", of),
        ]
    }

    fn start(&self, data: &Arc<Data>) -> Server {
        Server::start_with(&Settings {
            data: Some(data.clone()),
            environment: &self.environment("omnizap.db"),
            ..Settings::default()
        })
    }
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    images: AtomicU32,
    acknowledged: AtomicU32,
    refused: AtomicU32,
}

fn rate(client: &mut Client) -> bool {
    let feedback = json!({ "image_hash": HASH, "theme": "disk" });
    let answer = client.post_json("/feedback", &feedback);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    match answer.status {
        200 => true,
        503 => {
            assert_eq!(answer.json()["code"], "store_unavailable", "{text}");
            assert!(!text.contains("omnizap.db"), "{text}");
            false
        }
        status => panic!("{status}: {text}"),
    }
}

fn rate_on(mut client: Client, seen: &Seen) {
    while !seen.stop.load(Ordering::Relaxed) {
        let counter = match rate(&mut client) {
            true => &seen.acknowledged,
            false => &seen.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Classifies one new image after another.
fn classify_on(mut client: Client, seen: &Seen) {
    let pixel = picture("pixel.png");
    while !seen.stop.load(Ordering::Relaxed) {
        let mut image = pixel.clone();
        image.extend(seen.images.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let answer = classify(&mut client, &image, &[("labels", "a cat,a dog")]);
        assert!(answer["category"].is_string());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One fault: noticed, told as long as it lasts, and over once it is over.
fn endure(client: &mut Client, disk: &Disk, seen: &Seen, fault: &str) {
    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    let refused = count(&seen.refused);
    disk.says(fault);
    until(fault, PATIENCE, || count(&seen.refused) > refused);
    let begun = Instant::now();
    while begun.elapsed() < FAULT {
        assert!(is_degraded(client), "{fault}: it says so all along");
        std::thread::sleep(Duration::from_millis(20));
    }
    disk.says("");
    let acknowledged = count(&seen.acknowledged);
    until("recovering", PATIENCE, || {
        count(&seen.acknowledged) > acknowledged + 5 && !is_degraded(client)
    });
    // Those that came meanwhile are written before there are more than may wait.
    until("writing the queue", PATIENCE, || {
        let health = client.get("/health").json();
        health["images_waiting"].as_u64().unwrap() < FEW
    });
}

#[test]
fn what_is_acknowledged_is_stored_once_whatever_the_disk_does() {
    if Kind::of_the_suite() != Kind::Sqlite {
        not_tested("a failing disk, but below SQLite");
        return;
    }
    let disk = Disk::new();
    let data = Arc::new(Data::new());
    let mut server = disk.start(&data);
    server.settle();
    let seen = Seen::default();
    let rounds = setting("OMNIZAP_DISK_ROUNDS", ROUNDS);
    let mut client = server.client();
    std::thread::scope(|scope| {
        let seen = &seen;
        let classifier = server.client();
        scope.spawn(move || classify_on(classifier, seen));
        for _ in 0..RATERS {
            let client = server.client();
            scope.spawn(move || rate_on(client, seen));
        }
        // Whatever fails here, the others are to end.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the first acknowledged", PATIENCE, || {
                seen.acknowledged.load(Ordering::Relaxed) > 5
            });
            for round in 0..rounds {
                // At each step of a transaction: what was not written before is what counts.
                let (what, error) = FAULTS[(round % 4) as usize];
                let after = (round / 4) % 4;
                endure(
                    &mut client,
                    &disk,
                    seen,
                    &format!("{what} {error} {after}\n"),
                );
            }
        }));
        seen.stop.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            disk.says("");
            std::panic::resume_unwind(panic);
        }
    });
    server.settle();
    let health = client.get("/health").json();
    assert_eq!(health["images_dropped"], 0, "{health}");
    drop(client);
    server.terminate();
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    let [stored, images] = data.numbers(
        "SELECT (SELECT total_assignments FROM clip_image_theme_feedback), \
         (SELECT COUNT(*) FROM clip_image_embedding_cache)",
    );
    let acknowledged = seen.acknowledged.into_inner();
    let (refused, classified) = (seen.refused.into_inner(), seen.images.into_inner());
    println!(
        "{rounds} faults: {acknowledged} acknowledged, {refused} refused, {stored} stored; \
         {classified} classified, {images} stored"
    );
    assert_eq!(stored, i64::from(acknowledged));
    assert_eq!(images, i64::from(classified));
}

#[test]
fn a_data_folder_that_is_removed_costs_nothing_that_is_acknowledged_later() {
    if Kind::of_the_suite() != Kind::Sqlite {
        not_tested("a data folder that is removed, but with SQLite in it");
        return;
    }
    let data = Arc::new(Data::new());
    let mut server = Server::start_with(&Settings {
        data: Some(data.clone()),
        ..Settings::default()
    });
    let mut client = server.client();
    for _ in 0..3 {
        assert!(rate(&mut client));
    }
    let image = picture("pixel.png");
    for round in 1..=3 {
        // The program may make it anew meanwhile.
        until("removing it", PATIENCE, || {
            fs::remove_dir_all(data.folder()).is_ok()
        });
        let mut acknowledged = 0;
        until("taking feedback", PATIENCE, || {
            acknowledged += i64::from(rate(&mut client));
            acknowledged == 3
        });
        classify(&mut client, &image, &[("labels", "a cat,a dog")]);
        server.settle();
        let [stored, images] = data.numbers(
            "SELECT (SELECT total_assignments FROM clip_image_theme_feedback), \
             (SELECT COUNT(*) FROM clip_image_embedding_cache)",
        );
        assert_eq!([stored, images], [acknowledged, 1], "round {round}");
    }
    until("being well", PATIENCE, || !is_degraded(&mut client));
    drop(client);
    server.terminate();
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    let [stored] = data.numbers("SELECT total_assignments FROM clip_image_theme_feedback");
    assert_eq!(stored, 3);
}

/// Starts the program, which ends at once; what it says.
#[track_caller]
fn refused(url: &str) -> String {
    let folder = TempDir::new().unwrap();
    let mut command = omnizap(folder.path());
    command.env("DATABASE_URL", url);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    said
}

#[test]
fn a_database_that_can_never_be_used_ends_the_program_and_says_why() {
    let said = refused("sqlite::memory:");
    assert!(said.contains("in memory"), "{said}");
    for url in [
        "mysql://bot:Pa#55word@db/zap",
        "mysql://bot:Pa/55word@db/zap",
        "mysql://bot:Pa?55word@db/zap",
        "postgres://bot:12/55word@db/zap",
    ] {
        let said = refused(url);
        assert!(said.contains("percent-encoding"), "{said}");
        assert!(!said.contains("55word"), "{said}");
    }
    let said = refused("postgres://bot:55word@a:5432,b:5432/zap");
    assert!(said.contains("several hosts"), "{said}");
    assert!(!said.contains("55word"), "{said}");
    for url in ["sqlite:%3Amemory%3A", "sqlite:x.db?mode=%6demory"] {
        let said = refused(url);
        assert!(said.contains("in memory"), "{url}: {said}");
    }
    for url in ["sqlite:///", "sqlite:///tmp"] {
        let said = refused(url);
        assert!(said.contains("folder"), "{url}: {said}");
    }
}

#[test]
fn a_mistake_in_the_settings_of_the_database_is_told_by_its_variable() {
    let folder = TempDir::new().unwrap();
    let parts = [("DB_HOST", "db"), ("DB_USER", "bot"), ("DB_NAME", "zap")];
    let with = |name, value| {
        let mut variables = parts.to_vec();
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value));
        variables
    };
    let image = root().join("tests/fixtures/images/pixel.png");
    let image = image.to_str().unwrap();
    for (name, variables) in [
        ("DATABASE_URL", vec![("DATABASE_URL", "sqlite::memory:")]),
        (
            "DATABASE_URL",
            vec![("DATABASE_URL", "oracle://scott:tiger@h/x")],
        ),
        ("DB_HOST", with("DB_HOST", "a,b")),
        ("DB_PORT", with("DB_PORT", "0")),
    ] {
        for arguments in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["check"],
            &["classify", image],
            &["db", "status"],
        ] {
            let mut command = omnizap(folder.path());
            command.envs(variables.iter().copied()).args(arguments);
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
            let begins = format!("error: {name}: ");
            let is_told = said.lines().any(|line| line.starts_with(&begins));
            assert!(is_told, "{arguments:?}: {said}");
            assert!(!said.contains("tiger"), "{said}");
        }
    }
}

#[test]
fn a_name_of_a_file_in_any_form_is_the_file_that_is_used() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (url, name) in [
        (format!("sqlite://{}", path("a b.db")), "a b.db"),
        (format!("sqlite:file:{}", path("uri.db")), "uri.db"),
        (format!("SQLITE:{}", path("upper.db")), "upper.db"),
    ] {
        let server = Server::start_with(&Settings {
            environment: &[("DATABASE_URL", &url)],
            ..Settings::default()
        });
        server.ready();
        let mut client = server.client();
        for _ in 0..3 {
            assert!(rate(&mut client), "{url}");
        }
        assert!(!is_degraded(&mut client), "{url}");
        assert!(folder.path().join(name).exists(), "{url}");
    }
}

/// Runs a command of the program in that folder, with that URL in its `.env`; what it says.
#[track_caller]
fn with_env_file(folder: &Path, url: &str, arguments: &[&str]) -> String {
    fs::write(folder.join(".env"), format!("DATABASE_URL={url}\n")).unwrap();
    let mut command = omnizap(folder);
    let output = command.current_dir(folder).args(arguments).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{url}: {said}");
    said
}

#[test]
fn a_url_of_sqlalchemy_means_the_file_that_it_meant_to_python() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let below = folder.join("below");
    fs::create_dir(&below).unwrap();
    let whole = below.join("whole.db").display().to_string();
    for (url, file) in [
        ("sqlite+aiosqlite:///./dot.db".to_owned(), "below/dot.db"),
        ("sqlite+aiosqlite:///plain.db".to_owned(), "below/plain.db"),
        (
            "sqlite+pysqlite:///../up.db?check_same_thread=False".to_owned(),
            "up.db",
        ),
        // As the examples of FastAPI have it.
        ("sqlite:///./python.db".to_owned(), "below/python.db"),
        (format!("sqlite+aiosqlite:///{whole}"), "below/whole.db"),
    ] {
        assert!(!folder.join(file).exists());
        let said = with_env_file(&below, &url, &["db", "migrate"]);
        assert!(said.contains("applied "), "{url}: {said}");
        assert!(folder.join(file).is_file(), "{url}: {said}");
        let said = with_env_file(&below, &url, &["db", "migrate"]);
        assert!(said.contains("up to date"), "{url}: {said}");
    }
    for (url, wanted) in [
        ("sqlite+aiosqlite://", "in memory"),
        ("sqlite+aiosqlite:///:memory:", "in memory"),
        ("sqlite+aiosqlite://:55word@host/x.db", "three slashes"),
        ("sqlite+pysqlcipher://:55word@/x.db", "encrypted"),
    ] {
        let said = refused(url);
        assert!(said.contains(wanted), "{url}: {said}");
        assert!(!said.contains("55word"), "{url}: {said}");
    }
}

#[test]
fn a_url_of_sqlalchemy_means_the_server_that_it_meant_to_python() {
    let drivers: &[&str] = match Kind::of_the_suite() {
        Kind::Sqlite => {
            not_tested("URLs of SQLAlchemy for servers");
            return;
        }
        Kind::MySql => &["mysql+pymysql", "mysql+aiomysql", "mariadb+mysqldb"],
        Kind::Postgres => &["postgresql+asyncpg", "postgresql+psycopg2"],
    };
    let data = Data::new();
    let url = data.url().unwrap();
    let (_, server) = url.split_once("://").unwrap();
    for (number, driver) in drivers.iter().enumerate() {
        let url = format!("{driver}://{server}");
        let said = with_env_file(data.folder(), &url, &["db", "migrate"]);
        let wanted = if number == 0 {
            "applied "
        } else {
            "up to date"
        };
        assert!(said.contains(wanted), "{url}: {said}");
    }
}

/// The file, or its log, is emptied by somebody: what was in it is gone, and nothing that is
/// acknowledged later.
#[test]
fn a_file_that_is_emptied_costs_nothing_that_is_acknowledged_later() {
    if Kind::of_the_suite() != Kind::Sqlite {
        not_tested("a file that is emptied, but SQLite's");
        return;
    }
    for names in [
        &["omnizap.db"][..],
        &["omnizap.db-wal"],
        &["omnizap.db", "omnizap.db-wal"],
    ] {
        let data = Arc::new(Data::new());
        let mut server = Server::start_with(&Settings {
            data: Some(data.clone()),
            ..Settings::default()
        });
        server.settle();
        let mut client = server.client();
        for _ in 0..3 {
            assert!(rate(&mut client));
        }
        classify(
            &mut client,
            &picture("pixel.png"),
            &[("labels", "a cat,a dog")],
        );
        for name in names {
            // The log is not there while no connection is.
            until("a file to empty", PATIENCE, || {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .open(data.folder().join(name));
                match file {
                    Ok(file) => {
                        file.set_len(0).unwrap();
                        true
                    }
                    Err(_) => {
                        let _ = rate(&mut client);
                        false
                    }
                }
            });
        }
        let mut acknowledged = 0;
        let mut refused = 0;
        until("taking feedback", PATIENCE, || {
            match rate(&mut client) {
                true => acknowledged += 1,
                false => refused += 1,
            }
            std::thread::sleep(Duration::from_millis(100));
            acknowledged == 10
        });
        // What was under way as it was emptied, and what came until it was looked at again.
        assert!(refused <= 20, "{names:?}: {refused}");
        until("being well", PATIENCE, || !is_degraded(&mut client));
        drop(client);
        server.terminate();
        assert_eq!(server.wait(), Some(0), "{}", server.log());
        let [stored] = data.numbers("SELECT total_assignments FROM clip_image_theme_feedback");
        // What was taken into the file before is there still.
        let range = acknowledged..=acknowledged + 3;
        assert!(
            range.contains(&stored),
            "{names:?}: {stored} of {range:?}\n{}",
            server.log()
        );
    }
}

/// The file that all copies of the program share in memory is cut off under it: the system ends
/// whoever looks at it next, and what was acknowledged is stored.
#[test]
fn a_shared_index_that_is_cut_off_costs_the_process_and_nothing_that_was_acknowledged() {
    if Kind::of_the_suite() != Kind::Sqlite {
        not_tested("a shared index that is cut off, but SQLite's");
        return;
    }
    let data = Arc::new(Data::new());
    let start = || {
        Server::start_with(&Settings {
            data: Some(data.clone()),
            ..Settings::default()
        })
    };
    let mut server = start();
    server.settle();
    let mut client = server.client();
    for _ in 0..3 {
        assert!(rate(&mut client));
    }
    let shared = data.folder().join("omnizap.db-shm");
    let shared = fs::OpenOptions::new().write(true).open(shared).unwrap();
    shared.set_len(0).unwrap();
    drop(shared);
    // It follows the table, and so looks by itself; a client may come before.
    let headers = [("Content-Type", "application/json")];
    let feedback = json!({ "image_hash": HASH, "theme": "disk" }).to_string();
    let asked = client.send("POST", "/feedback", &headers, feedback.as_bytes());
    let acknowledged = 3 + i64::from(asked.is_ok_and(|answer| answer.status == 200));
    assert_eq!(server.wait(), None, "ended by a signal: {}", server.log());
    let mut server = start();
    server.settle();
    let mut client = server.client();
    assert!(rate(&mut client));
    until("being well", PATIENCE, || !is_degraded(&mut client));
    drop(client);
    server.terminate();
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    let [stored] = data.numbers("SELECT total_assignments FROM clip_image_theme_feedback");
    assert_eq!(stored, acknowledged + 1, "{}", server.log());
}

#[test]
fn a_file_that_is_no_database_is_told_once_with_its_place_and_not_as_if_it_passed() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("x.db");
    fs::write(
        &file,
        "this was a database before something wrote over it\n".repeat(40),
    )
    .unwrap();
    let url = format!("sqlite://{}", file.display());
    let server = Server::start_with(&Settings {
        environment: &[("DATABASE_URL", &url)],
        ..Settings::default()
    });
    let mut client = server.client();
    let feedback = json!({ "image_hash": HASH, "theme": "t" });
    for _ in 0..6 {
        let answer = client.post_json("/feedback", &feedback);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 503, "{text}");
        assert!(!text.contains("in a moment"), "{text}");
        assert!(!text.contains(&*folder.path().to_string_lossy()), "{text}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(is_degraded(&mut client));
    let image = picture("pixel.png");
    classify(&mut client, &image, &[("labels", "a cat,a dog")]);
    let log = server.log_with("the store failed");
    let told = log.lines().filter(|line| line.contains("the store failed"));
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(&file.display().to_string()), "{}", told[0]);
    assert!(is_untouched(&file), "nothing was made of it");
}

fn is_untouched(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.starts_with("this was a database"))
}

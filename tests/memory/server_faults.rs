//! A database server that fails in every way that one does, again and again: what was
//! acknowledged is stored, nothing counts twice, and nobody restarts the program.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;

use super::disk::Disk;
use super::{HASH, is_degraded, until};
use crate::support::database::{Data, Kind, not_tested};
use crate::support::database_server::DatabaseServer;
use crate::support::http::Client;
use crate::support::program::{Server, Settings, setting};

/// Faults of a run in CI, one of each; `OMNIZAP_SERVER_FAULTS=500` makes a long one.
const FAULTS: u64 = 6;
const RATERS: usize = 2;
/// Feedbacks acknowledged for each fault, at least.
const ACKNOWLEDGED: u32 = 20;
/// Of them before the fault, and after it.
const FEW: u32 = 5;
/// Within which a fault is noticed, and within which all is well again.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where a disk was full: MariaDB may wait a minute for somebody to make room before it looks
/// again.
const PATIENCE_OF_A_DISK: Duration = Duration::from_secs(180);
/// How long a fault lasts that is to be noticed, once it is.
const NOTICED: Duration = Duration::from_millis(400);
/// A fault that is over before anybody gives up.
const SHORT: Duration = Duration::from_millis(700);
/// One that outlasts a write that is waited for: every other of its kind, in long runs.
const LONG: Duration = Duration::from_secs(7);
/// Whoever may do everything may write to a server of MySQL that is read-only.
const USER: &str = "bot";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The server's processes are killed; it is started again once that was noticed.
    Killed,
    /// One process is killed, and the server is there again as soon as it can: PostgreSQL by
    /// itself, whose backends are processes.
    Crashed,
    /// Its processes stop for a while.
    Paused,
    /// It takes no writes.
    ReadOnly,
    /// It ends every connection of the program, whatever is under way.
    CutOff,
    /// Another transaction holds the row that all the feedback is for.
    Locked,
}

const ALL: [Fault; FAULTS as usize] = [
    Fault::Killed,
    Fault::Crashed,
    Fault::Paused,
    Fault::ReadOnly,
    Fault::CutOff,
    Fault::Locked,
];

impl Fault {
    /// True where a connection may break while the server commits: then nobody can tell
    /// whether what was refused counts.
    fn breaks_commits(self) -> bool {
        !matches!(self, Self::ReadOnly | Self::Locked)
    }
}

/// What became of the feedback of one fault.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    acknowledged: AtomicU32,
    refused: AtomicU32,
}

impl Seen {
    fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u32 {
        self.refused.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn wait_for(&self, acknowledged: u32) {
        until("being acknowledged", PATIENCE, || {
            self.acknowledged() >= acknowledged
        });
    }
}

/// Ends the raters, also where the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn rate_on(mut client: Client, seen: &Seen) {
    let feedback = json!({ "image_hash": HASH, "theme": "faults" });
    while !seen.stop.load(Ordering::Relaxed) {
        let answer = client.post_json("/feedback", &feedback);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let counter = match answer.status {
            200 => &seen.acknowledged,
            503 => {
                assert_eq!(answer.json()["code"], "store_unavailable", "{text}");
                &seen.refused
            }
            status => panic!("{status}: {text}"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The server, and what is done to it.
struct Victim {
    kind: Kind,
    database: DatabaseServer,
    data: Arc<Data>,
}

impl Victim {
    fn new(kind: Kind) -> Self {
        let database = DatabaseServer::start(kind);
        let data = Arc::new(Data::on(database.url()));
        if kind == Kind::MySql {
            let url = data.url().unwrap();
            let (_, name) = url.rsplit_once('/').unwrap();
            data.execute(&format!("CREATE USER '{USER}'@'%' IDENTIFIED BY '{USER}'"));
            data.execute(&format!("GRANT ALL ON {name}.* TO '{USER}'@'%'"));
        }
        Self {
            kind,
            database,
            data,
        }
    }

    /// The address that the program has.
    fn url(&self) -> String {
        let url = self.data.url().unwrap();
        match self.kind {
            Kind::MySql => url.replacen("omnizap:omnizap@", &format!("{USER}:{USER}@"), 1),
            Kind::Sqlite | Kind::Postgres => url,
        }
    }

    fn set_read_only(&self, is_so: bool) {
        if self.kind == Kind::MySql {
            let value = u8::from(is_so);
            self.data
                .execute(&format!("SET GLOBAL read_only = {value}"));
            return;
        }
        self.data.execute(match is_so {
            true => "ALTER SYSTEM SET default_transaction_read_only = on",
            false => "ALTER SYSTEM RESET default_transaction_read_only",
        });
        self.data.execute("SELECT pg_reload_conf()");
    }

    fn crash(&mut self) {
        if self.kind == Kind::MySql {
            self.database.kill();
            self.database.restart();
            return;
        }
        let [pid] = self.data.numbers(
            "SELECT CAST(MAX(pid) AS BIGINT) FROM pg_stat_activity \
             WHERE application_name = 'omnizap'",
        );
        // It may just have ended by itself.
        let _ = Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status();
    }

    fn cut_off(&self) {
        self.data.execute(&match self.kind {
            Kind::MySql => format!("KILL HARD CONNECTION USER '{USER}'@'%'"),
            Kind::Sqlite | Kind::Postgres => {
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE application_name = 'omnizap'"
                    .into()
            }
        });
    }

    /// Holds the row of the feedback for so long.
    fn lock(&self, duration: Duration) {
        let url = self.data.url().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let db = sea_orm::Database::connect(url).await.unwrap();
            let holding = db.begin().await.unwrap();
            let sql = format!(
                "SELECT theme FROM clip_image_theme_feedback WHERE image_hash = '{HASH}' FOR UPDATE"
            );
            holding.execute_unprepared(&sql).await.unwrap();
            tokio::time::sleep(duration).await;
            holding.rollback().await.unwrap();
            db.close().await.unwrap();
        });
    }

    /// Does it, and undoes it.
    fn suffer(&mut self, fault: Fault, is_long: bool, client: &mut Client, seen: &Seen) {
        let duration = if is_long { LONG } else { SHORT };
        let before = seen.refused();
        let mut lasts = || {
            until("noticing", PATIENCE, || {
                seen.refused() > before && is_degraded(client)
            });
            let begun = Instant::now();
            while begun.elapsed() < NOTICED {
                assert!(is_degraded(client), "{fault:?}: it says so all along");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        match fault {
            Fault::Killed => {
                self.database.kill();
                lasts();
                self.database.restart();
            }
            Fault::Crashed => self.crash(),
            Fault::Paused => {
                self.database.pause();
                std::thread::sleep(duration);
                self.database.resume();
            }
            Fault::ReadOnly => {
                self.set_read_only(true);
                lasts();
                self.set_read_only(false);
            }
            Fault::CutOff => self.cut_off(),
            Fault::Locked => self.lock(duration),
        }
    }

    fn stored(&self) -> i64 {
        let [stored] = self
            .data
            .numbers("SELECT total_assignments FROM clip_image_theme_feedback");
        stored
    }
}

#[test]
fn what_is_acknowledged_is_stored_once_whatever_the_server_does() {
    let kind = Kind::of_the_suite();
    if kind == Kind::Sqlite {
        not_tested("faults of a server, since SQLite has none");
        return;
    }
    let mut victim = Victim::new(kind);
    let server = Server::start_with(&Settings {
        data: Some(victim.data.clone()),
        environment: &[("DATABASE_URL", &victim.url())],
        ..Settings::default()
    });
    server.settle();
    let mut client = server.client();
    let faults = setting("OMNIZAP_SERVER_FAULTS", FAULTS);
    let (mut before, mut all, mut refused, mut unsure) = (0, 0, 0, 0);
    let mut longest = (Duration::ZERO, Fault::Killed);
    for number in 0..faults {
        let fault = ALL[(number % FAULTS) as usize];
        let is_long = number / FAULTS % 2 == 1;
        let seen = Seen::default();
        std::thread::scope(|scope| {
            let seen = &seen;
            let _stop = Stop(&seen.stop);
            for _ in 0..RATERS {
                let client = server.client();
                scope.spawn(move || rate_on(client, seen));
            }
            seen.wait_for(FEW);
            victim.suffer(fault, is_long, &mut client, seen);
            let acknowledged = seen.acknowledged();
            let begun = Instant::now();
            seen.wait_for(acknowledged + FEW);
            until("being well", PATIENCE, || !is_degraded(&mut client));
            if begun.elapsed() > longest.0 {
                longest = (begun.elapsed(), fault);
            }
            seen.wait_for(ACKNOWLEDGED);
        });
        let stored = victim.stored();
        let (now, acknowledged) = (stored - before, i64::from(seen.acknowledged()));
        let most = match fault.breaks_commits() {
            true => seen.refused().min(RATERS as u32),
            false => 0,
        };
        let range = acknowledged..=acknowledged + i64::from(most);
        assert!(
            range.contains(&now),
            "fault {number}, {fault:?}: {acknowledged} acknowledged, {} refused, {now} stored",
            seen.refused()
        );
        before = stored;
        all += acknowledged;
        refused += seen.refused();
        unsure += now - acknowledged;
    }
    println!(
        "{}: {faults} faults, {all} acknowledged, {refused} refused, {before} stored: {unsure} of \
         those refused were committed as the server broke; well again within {:.1?} at most \
         ({:?})",
        kind.name(),
        longest.0,
        longest.1
    );
}

/// The disk of a server is full: its tables cannot grow. MariaDB aborts where there is no room even
/// to roll back a statement of many rows (labels are stored so, in the background); whoever looks
/// after the server starts it again once there is room.
#[test]
fn a_full_disk_below_a_server_costs_nothing_that_is_acknowledged() {
    let kind = Kind::of_the_suite();
    // Where a server keeps the tables of a database.
    let tables = match kind {
        Kind::Sqlite => {
            not_tested("a full disk below a server, since SQLite has none");
            return;
        }
        Kind::MySql => "/omnizap_",
        Kind::Postgres => "/base/",
    };
    let disk = Disk::new();
    let mut database = DatabaseServer::start_with(kind, &disk.environment(tables));
    let data = Arc::new(Data::on(database.url()));
    let server = Server::start_with(&Settings {
        data: Some(data.clone()),
        ..Settings::default()
    });
    server.settle();
    let mut client = server.client();
    let (mut number, mut acknowledged) = (0_i64, 0_i64);
    // A row for each: tables grow.
    let mut rate = |client: &mut Client| {
        number += 1;
        let feedback = json!({ "image_hash": format!("{number:064x}"), "theme": "full" });
        let answer = client.post_json("/feedback", &feedback);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        match answer.status {
            200 => acknowledged += 1,
            503 => assert_eq!(answer.json()["code"], "store_unavailable", "{text}"),
            status => panic!("{status}: {text}"),
        }
        answer.status == 200
    };
    until("being acknowledged", PATIENCE, || rate(&mut client));
    disk.says("room 28 0");
    until("being refused", PATIENCE, || !rate(&mut client));
    for _ in 0..20 {
        // What fits into pages that are there already is stored all the same.
        if !rate(&mut client) {
            assert!(is_degraded(&mut client), "it says so");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    disk.says("");
    let (mut since, mut aborted) = (0, 0);
    until("being acknowledged again", PATIENCE_OF_A_DISK, || {
        if database.has_ended() {
            println!("{} gave up, and is started again", kind.name());
            aborted += 1;
            database.restart();
        }
        since += u32::from(rate(&mut client));
        since >= ACKNOWLEDGED && !is_degraded(&mut client)
    });
    let [stored] = data.numbers("SELECT COUNT(*) FROM clip_image_theme_feedback");
    // One may have been committed as the server aborted, before it could say so.
    let range = acknowledged..=acknowledged + aborted;
    assert!(
        range.contains(&stored),
        "{acknowledged} acknowledged, {stored} stored: {}",
        server.log()
    );
}

//! A database server of a test's own, which it stops and starts as it likes. Made by
//! `tests/databases.sh --serve`, and so only there where that script runs the tests.

use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::database::{Kind, answers};
use super::program::root;

/// Longest that a server may take to start.
const START: Duration = Duration::from_secs(60);

pub(crate) struct DatabaseServer {
    kind: Kind,
    port: u16,
    /// Of its data, and so what a server that is started again finds.
    name: String,
    /// What is in its environment beside what is in ours.
    environment: Vec<(String, String)>,
    child: Child,
}

impl DatabaseServer {
    /// A new one, of a kind that has servers.
    pub(crate) fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[])
    }

    /// The same with more in its environment, whenever it is started.
    pub(crate) fn start_with(kind: Kind, environment: &[(&str, &str)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let name = format!("{}-{port}", kind.name());
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: Vec<_> = environment.iter().map(owned).collect();
        let child = launch(kind, &name, port, &environment);
        let server = Self {
            kind,
            port,
            name,
            environment,
            child,
        };
        server.wait();
        server
    }

    /// The address of the server's own database.
    pub(crate) fn url(&self) -> String {
        let (scheme, database) = match self.kind {
            Kind::Sqlite => panic!("SQLite has no server"),
            Kind::MySql => ("mysql", "mysql"),
            Kind::Postgres => ("postgres", "postgres"),
        };
        format!(
            "{scheme}://omnizap:omnizap@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Ends it as a power cut would: connections are refused from now on.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.child.wait().unwrap();
    }

    /// Starts it again, over its data; returns once it answers.
    pub(crate) fn restart(&mut self) {
        self.child = launch(self.kind, &self.name, self.port, &self.environment);
        self.wait();
    }

    /// Whether it has ended by itself, as one may that cannot go on.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Stops it in the middle of what it does: connections are taken and never answered.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn wait(&self) {
        let begun = Instant::now();
        while !answers(&self.url()) {
            assert!(begun.elapsed() < START, "{} did not start", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Signals every process of it: PostgreSQL has one for each connection.
    fn signal(&self, signal: &str) {
        let mut pids = vec![self.child.id()];
        pids.extend(children(self.child.id()));
        let mut command = Command::new("kill");
        command.arg(format!("-{signal}"));
        command.args(pids.iter().map(u32::to_string));
        // One of a connection may just have ended.
        let _ = command.status();
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.child.wait();
    }
}

fn launch(kind: Kind, name: &str, port: u16, environment: &[(String, String)]) -> Child {
    assert!(
        std::env::var_os("OMNIZAP_TEST_SERVERS").is_some(),
        "no place for a server of its own: run this through tests/databases.sh"
    );
    let mut command = Command::new(root().join("tests/databases.sh"));
    command.args(["--serve", kind.name(), name, &port.to_string()]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.spawn().unwrap()
}

/// The processes that a process started.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = format!("PPid:\t{parent}");
        status.lines().any(|found| found == line)
    })
    .collect()
}

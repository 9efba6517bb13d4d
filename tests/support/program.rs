//! The real program, started with settings of its own and stopped at the end of the test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::database::Data;
use super::http::Client;

/// Within which a line is in the log.
const LOG_PATIENCE: Duration = Duration::from_secs(20);

/// A number from the environment, for longer runs than those of CI.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect(name))
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A command of the program, in the repository's root, with none of the
/// environment's settings and a data folder of its own.
pub(crate) fn omnizap(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_omnizap"));
    command
        .current_dir(root())
        .env_clear()
        .env("OMNIZAP_DATA", data);
    for kept in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// Runs a command of the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let data = TempDir::new().unwrap();
    omnizap(data.path()).args(arguments).output().unwrap()
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Where its data is: removed with the server.
    data: Arc<Data>,
}

/// How to start a server.
#[derive(Default)]
pub(crate) struct Settings<'a> {
    pub(crate) pipelines: Option<&'a Path>,
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// Its data; empty, on the kind of database of the suite, where not given.
    pub(crate) data: Option<Arc<Data>>,
}

impl Server {
    /// Waits until what is written behind the answers is written.
    #[track_caller]
    pub(crate) fn settle(&self) {
        let mut client = self.client();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let health = client.get("/health").json();
            // Without similar images there is no index to load.
            if health["images_waiting"] == 0 && health["index_loaded"] != false {
                return;
            }
            assert!(Instant::now() < deadline, "nothing was written: {health}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn start() -> Self {
        Self::start_with(&Settings::default())
    }

    /// A server of the pipelines of that folder.
    pub(crate) fn of(pipelines: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_with(&Settings {
            pipelines: Some(pipelines),
            environment,
            ..Settings::default()
        })
    }

    pub(crate) fn start_with(settings: &Settings<'_>) -> Self {
        let data = settings
            .data
            .clone()
            .unwrap_or_else(|| Arc::new(Data::new()));
        let mut command = omnizap(data.folder());
        if let Some(url) = data.url() {
            command.env("DATABASE_URL", url);
        }
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        if let Some(pipelines) = settings.pipelines {
            command.arg("--pipelines").arg(pipelines);
        }
        command.envs(settings.environment.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (found, address) = std::sync::mpsc::channel();
        let shared = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on http://") {
                    // In JSON a quote follows.
                    let ends = |c: char| c.is_whitespace() || c == '"';
                    let address = address.split(ends).next().unwrap_or_default();
                    let _ = found.send(address.parse::<SocketAddr>().unwrap());
                }
                shared.lock().unwrap().push(line);
            }
        });
        match address.recv_timeout(Duration::from_secs(120)) {
            Ok(address) => Self {
                address,
                child,
                log,
                data,
            },
            Err(_) => {
                let _ = child.kill();
                panic!(
                    "the server did not start:\n{}",
                    log.lock().unwrap().join("\n")
                );
            }
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Waits until it says that it is ready. It answers before: what a stage loads for its start
    /// may not be there yet.
    #[track_caller]
    pub(crate) fn ready(&self) {
        let begun = Instant::now();
        let mut client = self.client();
        loop {
            let answer = client.get("/health/ready");
            if answer.status == 200 {
                return;
            }
            let patience = Duration::from_secs(30);
            assert!(begun.elapsed() < patience, "not ready: {}", answer.json());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The log once it holds that; a line comes some time after what it tells of.
    #[track_caller]
    pub(crate) fn log_with(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let log = self.log();
            if log.contains(text) {
                return log;
            }
            assert!(begun.elapsed() < LOG_PATIENCE, "no {text:?} in {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(killed.unwrap().success());
    }

    /// Waits for its end; the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "the server did not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A model that was shrunk for tests, as files of a user's own in that folder: its sizes and its
/// weights.
pub(crate) fn shrunk_model(folder: &Path, name: &str) -> [String; 2] {
    ["json", "safetensors"].map(|ending| {
        let name = format!("{name}.{ending}");
        let copy = folder.join(&name);
        std::fs::copy(root().join("models/tests/fixtures").join(name), &copy).unwrap();
        copy.to_str().unwrap().to_owned()
    })
}

/// A picture of the fixtures.
pub(crate) fn picture(name: &str) -> Vec<u8> {
    let path: PathBuf = root().join("tests/fixtures/images").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

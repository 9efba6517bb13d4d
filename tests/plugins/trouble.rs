//! A stage that harms its host in one way (tests/fixtures/plugins/trouble.c), for the tests of what
//! hangs and of what crashes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_contract::{
    Call, Cancel, Error, Inputs, Kind, Options, Outputs, Runner, Value, Waiting,
};
use omnizap_host::{FileError, Limits, Loader, Plugin};
use serde_json::Value as Json;
use tempfile::TempDir;

use super::{allowed, compile};

/// What the stage does at this input; at one above 0 it says how it finds its thread.
pub(super) const HARM: f64 = -1.0;
/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Limits under which a test of hanging does not take long.
pub(super) const SHORT: Limits = Limits {
    computing_calls: 2,
    overdue: Duration::from_millis(100),
    rest: Duration::from_millis(200),
    hook_time: Duration::from_millis(300),
    activate_time: Duration::from_millis(500),
    ..Limits::DEFAULT
};

/// The stage in a library of its own, and what lets it go on where it hangs.
pub(super) struct Trouble {
    folder: TempDir,
    pub(super) library: PathBuf,
    pub(super) loader: Loader,
}

impl Trouble {
    /// A stage that does `what` in the function `at`.
    pub(super) fn new(what: &str, at: &str, limits: Limits) -> Self {
        Self::with(what, at, limits, &[])
    }

    pub(super) fn with(what: &str, at: &str, limits: Limits, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let library = build(what, at, folder.path(), flags);
        let loader = Loader::new(folder.path().join("cache"), false, limits);
        Self {
            folder,
            library,
            loader,
        }
    }

    pub(super) fn load(&self) -> Result<Plugin, FileError> {
        let bytes = std::fs::read(&self.library).unwrap();
        self.loader.load(&self.library, &Sha256Hex::of(&bytes))
    }

    /// The stage, built.
    pub(super) async fn stage(&self) -> Stage {
        let kind = self.load().unwrap().kinds.remove(0);
        let options = defaults(&*kind);
        let Runner::Async(stage) = kind.build(&options).await.unwrap() else {
            panic!("a stage of a plugin has threads of its own");
        };
        Stage { kind, stage }
    }

    /// Lets what hangs return.
    pub(super) fn let_go(&self) {
        std::fs::write(self.folder.path().join("go"), "").unwrap();
    }
}

/// Hung threads of one test should not burden the others.
impl Drop for Trouble {
    fn drop(&mut self) {
        // Where the folder is gone at once, they would never see the file.
        let go = self.folder.path().join("go");
        let _ = std::fs::write(go, "");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn build(what: &str, at: &str, folder: &Path, flags: &[&str]) -> PathBuf {
    let go = folder.join("go").display().to_string();
    let own = [
        format!("-DWHAT={what}"),
        format!("-DAT={at}"),
        format!("-DUNTIL=\"{go}\""),
    ];
    let own = own.iter().map(String::as_str);
    let flags: Vec<&str> = own
        .chain(flags.iter().copied())
        .chain(["-pthread"])
        .collect();
    let source = "tests/fixtures/plugins/trouble.c";
    compile(source, &flags, folder, "trouble.so")
}

/// The options that a file which sets none has.
pub(super) fn defaults(kind: &dyn Kind) -> Options {
    let options = kind.spec().options.iter();
    let set = options.map(|option| (option.name.to_string(), option.default.clone().unwrap()));
    Options::from_checked(set.collect())
}

/// A built stage.
pub(super) struct Stage {
    kind: Arc<dyn Kind>,
    pub(super) stage: Arc<dyn Waiting>,
}

impl Stage {
    pub(super) async fn ask(&self, value: f64, time: Duration) -> Result<Outputs, Error> {
        let ports = self.kind.ports(&defaults(&*self.kind)).inputs.into();
        let inputs = Inputs::new(ports, vec![Some(Value::Number(value))]);
        let call = Call {
            request_id: "test".into(),
            deadline: Instant::now() + time,
            cancel: Cancel::default(),
        };
        self.stage.run(inputs, &call).await
    }

    /// A number that the stage gives, of a call that goes well.
    pub(super) async fn told(&self, output: &str) -> Json {
        let outputs = self.ask(1.0, PATIENCE).await.unwrap();
        outputs.value(output).unwrap().to_json()
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        let counters = self.stage.counters().to_json();
        counters[name].as_u64().unwrap()
    }

    /// Waits until a counter has come to that number.
    pub(super) async fn until(&self, name: &str, wanted: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.counter(name) != wanted {
            let counters = self.stage.counters();
            assert!(Instant::now() < deadline, "{name}: {counters:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A pipeline `good` without the stage; its route is `POST /good`.
pub(super) const GOOD: &str = "[pipeline]\nname = \"good\"\nroute = \"POST /good\"\n[request]\n\
    file = { type = \"bytes\", required = true }\n[[stage]]\nuses = \"hash\"\n";

/// A pipeline `bad` of the stage, whose library is made in the folder; its route is `POST /bad`.
pub(super) fn bad(what: &str, at: &str, folder: &Path) -> String {
    let library = build(what, at, folder, &[]);
    format!(
        "{}[pipeline]\nname = \"bad\"\nroute = \"POST /bad\"\n[request]\n\
         value = {{ type = \"number\" }}\n[[stage]]\nuses = \"test/trouble\"\ntimeout_ms = 300\n",
        allowed(&library)
    )
}

/// Both pipelines in a folder.
pub(super) fn write_pipelines(what: &str, at: &str, folder: &Path) -> PathBuf {
    let bad = bad(what, at, folder);
    let pipelines = folder.join("pipelines");
    std::fs::create_dir_all(&pipelines).unwrap();
    std::fs::write(pipelines.join("bad.toml"), bad).unwrap();
    std::fs::write(pipelines.join("good.toml"), GOOD).unwrap();
    pipelines
}

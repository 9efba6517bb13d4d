//! Pipelines that change while the service answers: what is live is always the newest that was fine,
//! and nothing that a plugin does meanwhile is felt by anybody.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::answers::file;
use crate::plugins::{allowed, compile};
use crate::support::program::{Server, Settings, omnizap, root, setting};

/// Edits of a run in CI; `OMNIZAP_EDIT_ROUNDS=2000` makes a long one.
const EDITS: u64 = 60;
/// One edit in so many is found by the service itself; of the others it is told.
const FOUND_EVERY: u64 = 30;
const CLIENTS: usize = 3;
/// Growth of memory over all edits that is not a leak: the allocator's own arenas.
const SLACK: u64 = 64 << 20;
/// The same of descriptors: connections come and go.
const SLACK_DESCRIPTORS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(60);
/// Plugins that hang are not waited for long.
const IMPATIENT: [(&str, &str); 2] = [
    ("OMNIZAP_PLUGIN_HOOK_MS", "1000"),
    ("OMNIZAP_PLUGIN_ACTIVATE_MS", "1000"),
];
/// Within which the service says that it lives, on a machine that does much else.
const PROMPT: Duration = Duration::from_secs(2);

#[track_caller]
pub(super) fn until(what: &str, happened: impl Fn() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < PATIENCE, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Bytes of the last line of what [`hashing`] gives: without some of them it is no pipeline.
const LAST_LINE: usize = "uses = \"hash\"\n".len();

/// A pipeline under that name, which answers with the digest of a file.
fn hashing(name: &str, route: &str) -> String {
    format!(
        "[pipeline]\nname = \"{name}\"\nroute = \"POST {route}\"\n[request]\n\
         file = {{ type = \"bytes\", required = true }}\n[[stage]]\nuses = \"hash\"\n"
    )
}

/// A folder of pipelines, and one beside it for plugins.
pub(super) struct Files {
    pub(super) folder: TempDir,
}

impl Files {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["pipelines", "lib"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    pub(super) fn pipelines(&self) -> PathBuf {
        self.folder.path().join("pipelines")
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.pipelines().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.pipelines().join(name)).unwrap();
    }

    /// A plugin that is wrong as the flags say.
    pub(super) fn plugin(&self, name: &str, at: &str, act: &str) -> PathBuf {
        let flags = [
            format!("-DAT={at}"),
            format!("-DACT={act}"),
            format!("-DNAME=\"{name}\""),
        ];
        let flags = flags.each_ref().map(String::as_str);
        let folder = self.folder.path().join("lib");
        let source = "tests/fixtures/plugins/ending.c";
        compile(source, &flags, &folder, &format!("{name}.so"))
    }

    /// A pipeline with a stage of that plugin, and an option of it.
    pub(super) fn using(library: &Path, act: bool) -> String {
        format!(
            "{}[pipeline]\nname = \"twice\"\n\
             route = \"POST /twice\"\n[request]\nvalue = {{ type = \"number\" }}\n[[stage]]\n\
             uses = \"test/ending\"\nwith = {{ act = {act} }}\n",
            allowed(library)
        )
    }

    fn server(&self, environment: &[(&str, &str)]) -> Server {
        // Not a line for each of many requests.
        let log = [("OMNIZAP_LOG", "info,engine::http=warn")];
        Server::start_with(&Settings {
            pipelines: Some(&self.pipelines()),
            environment: &[environment, &log].concat(),
            ..Settings::default()
        })
    }
}

/// The names of the pipelines that answer.
fn live(server: &Server) -> BTreeSet<String> {
    let shown = server.client().get("/pipelines").json();
    let pipelines = shown["pipelines"].as_array().unwrap().iter();
    let name = |one: &serde_json::Value| one["pipeline"].as_str().unwrap().to_owned();
    pipelines.map(name).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// How often the service has told what came of a reload.
fn told(server: &Server) -> usize {
    let log = server.log();
    log.matches("pipelines reloaded").count() + log.matches("nothing reloaded").count()
}

/// Tells the service to reload, and waits until it has.
#[track_caller]
fn reload(server: &Server) {
    let before = told(server);
    server.signal("HUP");
    until("a reload", || told(server) > before);
}

/// Asks all along while something else happens: every answer of `/hash` must be one, and the
/// service must say at once that it lives.
fn under_load<T>(server: &Server, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    let answered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = server.client();
                while !is_over.load(Ordering::Relaxed) {
                    let answer = client.post_form("/hash", &[file(b"what is hashed")]);
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    assert_eq!(answer.status, 200, "{text}");
                    answered.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        scope.spawn(|| {
            let mut client = server.client();
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                assert_eq!(client.get("/health/live").status, 200);
                let took = begun.elapsed();
                assert!(took < PROMPT, "it took {took:?} to say that it lives");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        // Also where the work fails: the others would go on for ever.
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _ends = Ends(&is_over);
        let done = work();
        assert!(answered.load(Ordering::Relaxed) > 0, "nobody asked");
        done
    })
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .count()
}

/// What a folder of two files holds.
#[derive(Default)]
struct State {
    /// The name of the pipeline in `main.toml`; nothing where it is broken.
    main: Option<String>,
    /// The same of `side.toml`, which may not be there.
    side: Option<String>,
}

impl State {
    fn names(&self) -> Option<BTreeSet<String>> {
        let main = self.main.iter().cloned();
        let all = main.chain(self.side.iter().cloned()).collect();
        self.main.is_some().then_some(all)
    }
}

#[test]
fn whatever_is_edited_the_newest_that_was_fine_answers_and_no_request_fails() {
    let rounds = setting("OMNIZAP_EDIT_ROUNDS", EDITS);
    let seed = setting("OMNIZAP_EDIT_SEED", fastrand::u64(..));
    println!("OMNIZAP_EDIT_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let files = Files::new();
    files.write("main.toml", &hashing("main-0", "/hash"));
    let server = files.server(&[]);
    let mut state = State {
        main: Some("main-0".into()),
        side: None,
    };
    let mut expected = state.names().unwrap();
    let away = files.folder.path().join("away");
    let warm = (server.resident(), descriptors(&server));
    under_load(&server, || {
        for round in 1..=rounds {
            let name = format!("main-{round}");
            let fine = hashing(&name, "/hash");
            let edit = random.u8(0..8);
            let mut is_away = false;
            match edit {
                0 | 1 => {
                    files.write("main.toml", &fine);
                    state.main = Some(name);
                }
                // As editors and deploys do it.
                2 => {
                    files.write(".main.toml.new", &fine);
                    let new = files.pipelines().join(".main.toml.new");
                    std::fs::rename(new, files.pipelines().join("main.toml")).unwrap();
                    state.main = Some(name);
                }
                3 => {
                    files.write("main.toml", &fine.replace("\"hash\"", "\"hsah\""));
                    state.main = None;
                }
                // Half written.
                4 => {
                    let missing = random.usize(2..LAST_LINE);
                    files.write("main.toml", &fine[..fine.len() - missing]);
                    state.main = None;
                }
                5 => {
                    let side = format!("side-{round}");
                    files.write("side.toml", &hashing(&side, "/side"));
                    state.side = Some(side);
                }
                6 if state.side.is_some() => {
                    files.remove("side.toml");
                    state.side = None;
                }
                _ => {
                    std::fs::rename(files.pipelines(), &away).unwrap();
                    is_away = true;
                }
            }
            if let Some(names) = state.names().filter(|_| !is_away) {
                expected = names;
            }
            let told_before = told(&server);
            let is_told = round % FOUND_EVERY != 0 || is_away;
            if is_told {
                reload(&server);
            } else {
                let before = live(&server);
                if before != expected {
                    until("the change is found", || live(&server) == expected);
                } else if state.main.is_none() {
                    until("the mistake is found", || told(&server) > told_before);
                }
            }
            assert_eq!(
                live(&server),
                expected,
                "seed {seed}, round {round}, edit {edit}:\n{}",
                server.log()
            );
            if is_away {
                std::fs::rename(&away, files.pipelines()).unwrap();
            }
        }
    });
    until("connections are closed", || {
        descriptors(&server) <= warm.1 + SLACK_DESCRIPTORS
    });
    let grown = server.resident().saturating_sub(warm.0);
    println!("{rounds} edits, memory grew by {} KiB", grown >> 10);
    assert!(grown < SLACK, "memory grew by {grown} bytes");
}

#[test]
fn a_folder_that_vanishes_is_no_wish_for_others_and_one_that_comes_back_is_read() {
    let files = Files::new();
    files.write("main.toml", &hashing("main", "/hash"));
    let away = files.folder.path().join("away");
    let server = files.server(&[]);
    under_load(&server, || {
        std::fs::rename(files.pipelines(), &away).unwrap();
        reload(&server);
        assert!(server.log().contains("nothing reloaded: cannot read"));
        until("that it is away", || {
            server.log().contains("those that are live stay")
        });
        assert_eq!(live(&server), names(["main"]));
        std::fs::write(away.join("main.toml"), hashing("new", "/hash")).unwrap();
        std::fs::rename(&away, files.pipelines()).unwrap();
        until("the new one", || live(&server) == names(["new"]));
        assert!(server.log().contains("can be looked at again"));
    });
}

/// Each thing that goes wrong is told with the plugin's name, and changes nothing; what is fine
/// after that goes live.
#[track_caller]
fn harms_nobody(environment: &[(&str, &str)], wrong: &[(&str, &str)]) {
    let files = Files::new();
    files.write("main.toml", &hashing("main", "/hash"));
    let grace = [("OMNIZAP_SHUTDOWN_GRACE_MS", "3000")];
    let mut server = files.server(&[environment, &grace].concat());
    under_load(&server, || {
        let mut expected = names(["main"]);
        for (number, (at, act)) in wrong.iter().enumerate() {
            let name = format!("wrong-{number}-{}", at.to_lowercase());
            let library = files.plugin(&name, at, act);
            files.write("twice.toml", &Files::using(&library, true));
            reload(&server);
            let log = server.log();
            let told = log.rsplit("nothing reloaded").next().unwrap();
            assert!(told.contains(&name), "{at} {act}: {log}");
            assert_eq!(live(&server), expected, "{at} {act}: {log}");
            files.write("twice.toml", &hashing(&name, "/other"));
            reload(&server);
            expected = names(["main", &name]);
            assert_eq!(live(&server), expected, "{at} {act}: {log}");
        }
        let library = files.plugin("fine", "NOWHERE", "NOTHING");
        files.write("twice.toml", &Files::using(&library, true));
        reload(&server);
        let answer = server.client().post_json("/twice", &json!({ "value": 4 }));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{text}: {}", server.log());
        assert_eq!(answer.json()["twice"], 8.0, "{text}");
    });
    server.terminate();
    assert_eq!(server.wait(), Some(0), "{}", server.log());
}

#[test]
fn a_plugin_that_ends_the_process_ends_that_of_its_trial() {
    let everywhere = [
        "CONSTRUCTOR",
        "INIT",
        "CREATE",
        "VALIDATE",
        "ACTIVATE",
        "DEACTIVATE",
        "DESTROY",
        "DEINIT",
    ];
    let mut wrong = everywhere.map(|at| (at, "EXITS")).to_vec();
    wrong.extend([("CREATE", "ABORTS"), ("DEINIT", "ABORTS")]);
    harms_nobody(&[], &wrong);
}

#[test]
fn a_plugin_that_hangs_hangs_alone() {
    let wrong = [
        ("CONSTRUCTOR", "HANGS"),
        ("CREATE", "HANGS"),
        ("ACTIVATE", "HANGS"),
    ];
    harms_nobody(&IMPATIENT, &wrong);
}

#[test]
fn it_does_so_without_a_trial_too() {
    let environment = [
        IMPATIENT[0],
        IMPATIENT[1],
        ("OMNIZAP_PLUGIN_TRIAL", "false"),
    ];
    let wrong = [
        ("INIT", "HANGS"),
        ("CREATE", "HANGS"),
        ("VALIDATE", "HANGS"),
    ];
    harms_nobody(&environment, &wrong);
}

#[test]
fn another_value_of_an_option_is_tried_too() {
    let files = Files::new();
    files.write("main.toml", &hashing("main", "/hash"));
    let library = files.plugin("by-option", "ACTIVATE", "EXITS");
    files.write("twice.toml", &Files::using(&library, false));
    let server = files.server(&[]);
    assert_eq!(live(&server), names(["main", "twice"]));
    files.write("twice.toml", &Files::using(&library, true));
    reload(&server);
    let log = server.log();
    assert!(
        log.contains("nothing reloaded") && log.contains("by-option"),
        "{log}"
    );
    let answer = server.client().post_json("/twice", &json!({ "value": 1 }));
    assert_eq!(answer.json()["twice"], 2.0);
}

#[test]
fn a_load_that_waits_for_a_plugin_is_left_behind_once_the_files_change() {
    let files = Files::new();
    files.write("main.toml", &hashing("main", "/hash"));
    let mut server = files.server(&[]);
    let library = files.plugin("waits", "ACTIVATE", "HANGS");
    under_load(&server, || {
        files.write("twice.toml", &Files::using(&library, true));
        server.signal("HUP");
        std::thread::sleep(Duration::from_millis(500));
        files.write("twice.toml", &hashing("other", "/other"));
        until("the newer files", || {
            live(&server) == names(["main", "other"])
        });
    });
    let log = server.log();
    for part in [
        "waits 0.1.0",
        "`activate`",
        "before the files changed again",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    // And one that still waits holds up no end.
    files.write("twice.toml", &Files::using(&library, true));
    server.signal("HUP");
    std::thread::sleep(Duration::from_millis(500));
    server.terminate();
    let begun = Instant::now();
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    assert!(begun.elapsed() < PATIENCE / 2, "{}", server.log());
}

#[test]
fn a_start_with_a_plugin_that_is_wrong_is_refused_and_says_whose_fault_it_is() {
    for (at, act) in [
        ("CONSTRUCTOR", "EXITS"),
        ("ACTIVATE", "ABORTS"),
        ("INIT", "HANGS"),
    ] {
        let files = Files::new();
        let library = files.plugin("at-the-start", at, act);
        files.write("twice.toml", &Files::using(&library, true));
        let output = omnizap(files.folder.path())
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--plugin-hook-ms=1000",
                "--plugin-activate-ms=1000",
            ])
            .arg("--pipelines")
            .arg(files.pipelines())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{at} {act}: {said}");
        assert!(
            said.contains("the plugin at-the-start"),
            "{at} {act}: {said}"
        );
    }
}

#[test]
fn a_plugin_that_changes_the_working_folder_changes_it_for_a_moment() {
    let files = Files::new();
    let library = files.plugin("leaves", "ACTIVATE", "LEAVES");
    files.write("main.toml", &hashing("main", "/hash"));
    files.write("twice.toml", &Files::using(&library, true));
    let server = files.server(&[]);
    let folder = || std::fs::read_link(format!("/proc/{}/cwd", server.pid())).unwrap();
    until("the folder is put back", || {
        folder() == root().canonicalize().unwrap()
    });
    assert_eq!(live(&server), names(["main", "twice"]));
}

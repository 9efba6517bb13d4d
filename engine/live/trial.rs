//! What plugins do at a load, done in a process of its own first. Whatever happens there, an exit,
//! a crash, a hang, is told with the plugin's name, and nothing of it happens here.
//!
//! The other process is this program again. It says on standard output what it does, in lines that
//! begin with a word that no plugin can know by accident, and at last whether all went well; one
//! that ends without saying so has failed, whatever its exit code.

mod listen;

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use omnizap_contract::common::chain::chain;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use self::listen::{Told, Verdict, listen, tail};
use super::binding::{UNTRIED, Uses, digest};
use super::source::LoadError;
use super::steps::{Step, Steps};

/// How often the process is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How long the process may take before it has come to its first step, where a step may not take
/// longer: the program has to start, and reads files.
const COMES_UP: Duration = Duration::from_secs(10);

/// How long the rest of what a process printed may take once it has ended: one that a plugin
/// started may hold the pipe open.
const DRAIN: Duration = Duration::from_millis(300);

type Start = dyn Fn(&str) -> Command + Send + Sync;

/// Tries what plugins would do.
pub struct Trial {
    start: Box<Start>,
    limit: Duration,
}

impl Trial {
    /// A trial in a process of that command, which calls
    /// [`Workshop::rehearse`](super::Workshop::rehearse) and tells what comes of it by a
    /// [`Teller`] of the word that `start` is given. It is killed where a step takes longer than
    /// `limit`.
    #[must_use]
    pub fn new(start: impl Fn(&str) -> Command + Send + Sync + 'static, limit: Duration) -> Self {
        Self {
            start: Box::new(start),
            limit,
        }
    }

    /// Runs it; `steps` show how far it has come. Dropped, the process is killed.
    ///
    /// # Errors
    /// What is wrong with the files, or what a plugin did to the process; files that changed
    /// meanwhile, so that something else was tried than these uses.
    pub(super) async fn run(&self, uses: &Uses, steps: &Arc<Steps>) -> Result<(), LoadError> {
        let word = word();
        let given_up = Arc::new(AtomicBool::new(false));
        let running = Running {
            command: (self.start)(&word),
            word,
            tried: digest(uses).to_string(),
            limit: self.limit,
            steps: steps.clone(),
            given_up: given_up.clone(),
        };
        let _kills = Kills(given_up);
        let (send, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("plugin-trial".into());
        // It is not waited for: it ends with the process, which is killed if need be. And it lives
        // as long as that: what it started is ended with it.
        thread
            .spawn(move || {
                // Nobody may wait any more.
                let _ = send.send(running.run());
            })
            .map_err(LoadError::Start)?;
        let unknown = || LoadError::Trial("the trial of the plugins ended without a result".into());
        ended.await.unwrap_or_else(|_| Err(unknown()))
    }
}

/// Gives the process up when nobody waits for it.
struct Kills(Arc<AtomicBool>);

impl Drop for Kills {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What each line of the protocol begins with, another in every trial.
fn word() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.unwrap_or_default().as_nanos();
    format!("trial-{}-{count}-{nanos:x}", std::process::id())
}

/// A process that is tried in.
struct Running {
    command: Command,
    word: String,
    /// The digest of all that is to be tried.
    tried: String,
    limit: Duration,
    steps: Arc<Steps>,
    given_up: Arc<AtomicBool>,
}

impl Running {
    fn run(mut self) -> Result<(), LoadError> {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(LoadError::Start)?;
        let told = Arc::new(Mutex::new(Told::default()));
        let stdout = child.stdout.take().map(|stdout| {
            let (told, word, steps) = (told.clone(), self.word.clone(), self.steps.clone());
            apart(stdout, move |stdout| listen(stdout, &word, &told, &steps))
        });
        let stderr = child.stderr.take().map(|stderr| apart(stderr, tail));
        let ended = self.wait(&mut child).map_err(LoadError::Start)?;
        let _ = stdout.map(|stdout| stdout.recv_timeout(DRAIN));
        let printed = stderr.map(|stderr| stderr.recv_timeout(DRAIN).unwrap_or_default());
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tried = judge(ended, self.limit, &told, &printed.unwrap_or_default())?;
        self.steps.set(None);
        if tried == self.tried {
            Ok(())
        } else {
            Err(LoadError::GivenUp(UNTRIED.into()))
        }
    }

    /// Waits for its end; none where it had to be killed.
    fn wait(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        let (mut steps, mut begun) = (self.steps.begun(), Instant::now());
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if steps != self.steps.begun() {
                (steps, begun) = (self.steps.begun(), Instant::now());
            }
            let limit = match steps {
                0 => self.limit.max(COMES_UP),
                _ => self.limit,
            };
            if begun.elapsed() >= limit || self.given_up.load(Ordering::Relaxed) {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Reads a stream on a thread of its own; what comes of it.
fn apart<S: Read + Send + 'static, T: Send + 'static>(
    stream: S,
    read: impl FnOnce(S) -> T + Send + 'static,
) -> Receiver<T> {
    let (send, receive) = channel();
    let thread = std::thread::Builder::new().name("plugin-trial-output".into());
    // Without it nothing is heard, and what says nothing has failed.
    let _ = thread.spawn(move || {
        let _ = send.send(read(stream));
    });
    receive
}

/// The digest of what was tried, where all of it went well.
fn judge(
    ended: Option<ExitStatus>,
    limit: Duration,
    told: &Told,
    printed: &str,
) -> Result<String, LoadError> {
    let last = told.last.as_ref();
    let printed = match printed {
        "" => String::new(),
        printed => format!("; it printed: {printed}"),
    };
    let Some(status) = ended else {
        let limit = limit.as_millis();
        let who = match last {
            Some(step) => format!("{step} did not come back"),
            None => "it did not end".to_owned(),
        };
        return Err(LoadError::Trial(format!(
            "{who} within {limit} ms, and the process was killed{printed}"
        )));
    };
    match &told.verdict {
        Some(Verdict::Fine(tried)) if status.success() => Ok(tried.clone()),
        Some(Verdict::Wrong(text)) => Err(LoadError::Tried(text.clone())),
        Some(Verdict::Fine(_)) => {
            let who = last.map_or_else(String::new, |step| format!("; last came {step}"));
            let who = who.trim_end_matches(',');
            Err(LoadError::Trial(format!(
                "all went well but the end of the process ({status}){who}{printed}"
            )))
        }
        None => {
            let who = match last {
                Some(step) => format!("{step} ended the process"),
                None => "the process ended before anything was tried".to_owned(),
            };
            Err(LoadError::Trial(format!("{who} ({status}){printed}")))
        }
    }
}

/// The other process's side: says on standard output how far it has come.
pub struct Teller {
    word: String,
}

impl Teller {
    /// One that begins its lines with this word.
    #[must_use]
    pub fn new(word: &str) -> Self {
        Self { word: word.into() }
    }

    /// Says which code of a plugin is about to run.
    pub fn step(&self, step: &Step) {
        self.tell(&json!({ "plugin": *step.plugin, "doing": step.doing }));
    }

    /// Says what came of it all, as the last thing of all.
    pub fn verdict(&self, result: &Result<Uses, LoadError>) {
        self.tell(&match result {
            Ok(uses) => json!({ "fine": digest(uses).as_str() }),
            Err(error) => json!({ "wrong": chain(error) }),
        });
    }

    fn tell(&self, what: &Json) {
        // A plugin may have printed half a line before.
        let line = format!("\n{} {what}\n", self.word);
        let mut stdout = std::io::stdout().lock();
        // Where nobody listens, nobody will miss it.
        let _ = stdout.write_all(line.as_bytes());
        let _ = stdout.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trial in a shell, in which `$W` is the word.
    async fn tried(script: &str, limit: Duration) -> Result<(), String> {
        let script = script.to_owned();
        let start = move |word: &str| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(&script);
            command.env("W", word).env("D", &*digest(&Uses::new()));
            command
        };
        let trial = Trial::new(start, limit);
        let result = trial.run(&Uses::new(), &Arc::default()).await;
        result.map_err(|error| chain(&error))
    }

    const LONG: Duration = Duration::from_secs(60);
    const STEP: &str = r#"echo "$W {\"plugin\":\"acme 1.0\",\"doing\":\"in \`init\`\"}";"#;
    const FINE: &str = r#"echo "$W {\"fine\":\"$D\"}";"#;

    #[tokio::test]
    async fn only_who_says_so_and_ends_well_has_passed() {
        assert_eq!(tried(&format!("{STEP}{FINE}"), LONG).await, Ok(()));
        let half = format!("{STEP} printf 'half a line'; echo; {FINE}");
        assert_eq!(tried(&half, LONG).await, Ok(()));
        for (script, wanted) in [
            (
                format!("{STEP} echo oops >&2; exit 0"),
                "acme 1.0, in `init`, ended the process (exit status: 0); it printed: oops",
            ),
            (
                format!("{STEP} kill -SEGV $$"),
                "in `init`, ended the process (signal: 11",
            ),
            (
                "exit 3".into(),
                "before anything was tried (exit status: 3)",
            ),
            (
                r#"echo "{\"fine\":\"$D\"}""#.into(),
                "before anything was tried",
            ),
            (
                r#"echo "$W {\"fine\":\"of others\"}""#.into(),
                "they are read again",
            ),
            (
                format!("{STEP} {FINE} exit 4"),
                "the end of the process (exit status: 4)",
            ),
            (
                r#"printf '%s\n' "$W {\"wrong\":\"in the pipelines\\n\\na.toml:1:2\"}"; exit 78"#
                    .into(),
                "in the pipelines\n\na.toml:1:2",
            ),
        ] {
            let error = tried(&script, LONG).await.unwrap_err();
            assert!(error.contains(wanted), "{script}: {error}");
        }
    }

    #[tokio::test]
    async fn what_hangs_is_killed_and_named() {
        let limit = Duration::from_millis(300);
        let script = format!("{STEP} exec sleep 600");
        let begun = Instant::now();
        let error = tried(&script, limit).await.unwrap_err();
        assert!(begun.elapsed() < LONG);
        let wanted = "the plugin acme 1.0, in `init`, did not come back within 300 ms";
        assert!(error.contains(wanted), "{error}");
    }

    #[tokio::test]
    async fn who_no_longer_waits_ends_the_process() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 600", file.display());
        let trial = tokio::spawn(async move { tried(&script, LONG).await });
        let process = loop {
            let written = std::fs::read_to_string(&file).unwrap_or_default();
            if written.ends_with('\n') {
                break std::path::PathBuf::from(format!("/proc/{}", written.trim()));
            }
            tokio::time::sleep(POLL).await;
        };
        trial.abort();
        let begun = Instant::now();
        while process.exists() {
            assert!(begun.elapsed() < LONG, "it lives on");
            tokio::time::sleep(POLL).await;
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told() {
        let start = |_: &str| Command::new("/nowhere/at/all");
        let trial = Trial::new(start, LONG);
        let error = trial.run(&Uses::new(), &Arc::default()).await;
        assert!(error.unwrap_err().may_pass(), "it is no fault of the files");
    }
}

//! A check in a process of its own: started, watched and ended by the validator. Whatever
//! the plugin does there, crash, hang or eat memory, is a finding.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::steps::{STEP, VERDICT};
use crate::verdict::{Finding, Verdict, parse};

/// What is kept of a child's output, in bytes: its end.
const MAX_OUTPUT: usize = 64 << 10;
/// How often a child is looked at.
const POLL: Duration = Duration::from_millis(2);
/// The time that the rest of a dead child's output may take. A process that the plugin
/// started may hold the pipe open.
const DRAIN: Duration = Duration::from_millis(300);
/// Lines of a crashed child's stderr that are shown.
const SHOWN_LINES: usize = 5;

/// What a process of a check is to do: call [`run_child`](crate::run_child) with these.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Its `file`, `given`, `limit` and `memory_mb` count there.
    pub plan: &'a Plan,
    /// The check: `CHECK:SEED` or `CHECK:STAGE:SEED`.
    pub spec: &'a str,
    /// What the process begins its lines with: a word that the plugin cannot know.
    pub word: &'a str,
}

/// How a check ended.
pub(super) struct Ended {
    pub(super) verdict: Verdict,
    /// The plugin took the process with it, or did not come back.
    pub(super) is_crash: bool,
}

/// Runs a check in a child.
///
/// # Errors
/// The child cannot be started.
pub(super) fn run(
    plan: &Plan,
    spec: &str,
    child: &dyn Fn(&Start<'_>) -> Command,
) -> std::io::Result<Ended> {
    // Lines of the plugin's own do not begin with a word that it cannot know.
    let word = format!("{:032x}", fastrand::u128(..));
    let mut command = child(&Start {
        plan,
        spec,
        word: &word,
    });
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().map(tail);
    let stderr = child.stderr.take().map(tail);
    let ended = watch(&mut child, plan.limit)?;
    let stdout = stdout.map(rest).unwrap_or_default();
    let stderr = stderr.map(rest).unwrap_or_default();
    Ok(judge(&word, ended, &stdout, &stderr, plan.limit))
}

/// Waits for the end of a child, `None` where it had to be killed.
fn watch(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// Reads a stream to its end and keeps the last of it.
fn tail(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut chunk = [0; 8192];
        while let Ok(len @ 1..) = stream.read(&mut chunk) {
            kept.extend_from_slice(&chunk[..len]);
            if kept.len() > 2 * MAX_OUTPUT {
                kept.drain(..kept.len() - MAX_OUTPUT);
            }
        }
        let _ = send.send(kept);
    });
    receive
}

fn rest(stream: Receiver<Vec<u8>>) -> String {
    let bytes = stream.recv_timeout(DRAIN).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn judge(
    word: &str,
    ended: Option<ExitStatus>,
    stdout: &str,
    stderr: &str,
    limit: Duration,
) -> Ended {
    let told = |kind: &str| {
        let prefix = format!("{word} {kind} ");
        let mut lines = stdout.lines().rev();
        lines.find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
    };
    let place = told(STEP).map_or_else(String::new, |step| format!(", at: {step}"));
    let verdict = told(VERDICT).and_then(|line| parse(&line));
    let crash = |finding| Ended {
        verdict: Err(finding),
        is_crash: true,
    };
    let Some(status) = ended else {
        return crash(
            Finding::new(format!(
                "it did not end within {} ms and was killed{place}",
                limit.as_millis()
            ))
            .advise("look for a loop that does not end or a lock that is never released; where it is only slow, raise --timeout-ms"),
        );
    };
    let how = match (status.signal(), status.code(), verdict) {
        (None, Some(0), Some(verdict)) => {
            return Ended {
                verdict,
                is_crash: false,
            };
        }
        // After a verdict, a crash is one of the plugin's threads or exit handlers.
        (Some(signal), _, Some(_)) => format!("after the check, {}", signal_name(signal)),
        (Some(signal), ..) => signal_name(signal),
        (_, code, _) => format!(
            "the process ended with exit code {}: a plugin must not end it",
            code.unwrap_or(-1)
        ),
    };
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    let printed = match last {
        [] => String::new(),
        lines => format!("; it printed: {}", lines.join(" / ")),
    };
    crash(Finding::new(format!("{how}{place}{printed}")))
}

fn signal_name(signal: i32) -> String {
    match signal {
        libc::SIGSEGV => "crashed with SIGSEGV (memory that it may not touch)".into(),
        libc::SIGBUS => "crashed with SIGBUS (memory that is not there)".into(),
        libc::SIGABRT => {
            "crashed with SIGABRT (a panic or exception that left the plugin, a failed assertion, a broken heap)".into()
        }
        libc::SIGFPE => "crashed with SIGFPE (an integer divided by 0)".into(),
        libc::SIGILL => "crashed with SIGILL (an instruction that this processor lacks)".into(),
        libc::SIGKILL => "was killed with SIGKILL (out of memory?)".into(),
        other => format!("ended by signal {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Passed, spell};

    fn verdict_of(status: i32, stdout: &str) -> Ended {
        let status = ExitStatus::from_raw(status);
        judge("w", Some(status), stdout, "oops\n", Duration::from_secs(1))
    }

    #[test]
    fn only_a_verdict_and_a_clean_end_count() {
        let ok = format!("noise\nw verdict {}\n", spell(&Ok(Passed::Ok)));
        assert!(matches!(verdict_of(0, &ok).verdict, Ok(Passed::Ok)));
        // Without a verdict, with the plugin's own words, or with a crash after it.
        for (status, stdout) in [(0, "x verdict {}"), (0, ""), (libc::SIGSEGV, &*ok)] {
            let ended = verdict_of(status, stdout);
            assert!(ended.is_crash && ended.verdict.is_err(), "{stdout}");
        }
        let ended = verdict_of(libc::SIGSEGV, "w step one\nw step two\n");
        let found = ended.verdict.unwrap_err().found;
        assert!(
            found.contains("SIGSEGV") && found.ends_with("at: two; it printed: oops"),
            "{found}"
        );
    }
}

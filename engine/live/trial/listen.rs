//! What a process says that tries plugins, and what else it prints.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use serde_json::Value as Json;

use super::super::steps::{Step, Steps};

/// Longest line that is read, in bytes; what is longer is cut.
const MAX_LINE: usize = 1 << 20;

/// What is kept of what it prints besides, in bytes: the end.
const MAX_PRINTED: usize = 4 << 10;

/// Lines of that which are shown.
const SHOWN_LINES: usize = 3;

/// What a process has said.
#[derive(Clone, Default)]
pub(super) struct Told {
    /// The code of a plugin that ran last.
    pub(super) last: Option<Step>,
    pub(super) verdict: Option<Verdict>,
}

/// What came of a trial, in the words of the process.
#[derive(Clone)]
pub(super) enum Verdict {
    /// All went well; the digest of what was done.
    Fine(String),
    /// What is wrong with the files.
    Wrong(String),
}

impl Told {
    fn hear(&mut self, word: &str, line: &[u8], steps: &Steps) {
        let line = String::from_utf8_lossy(line);
        let said = line.trim_end().strip_prefix(word);
        let said = said.and_then(|said| serde_json::from_str::<Json>(said).ok());
        let Some(said) = said else {
            return;
        };
        let text = |key: &str| said.get(key).and_then(Json::as_str);
        if let (Some(plugin), Some(doing)) = (text("plugin"), text("doing")) {
            let step = Step {
                plugin: plugin.into(),
                doing: doing.into(),
            };
            self.last = Some(step.clone());
            steps.set(Some(step));
        } else if let Some(wrong) = text("wrong") {
            self.verdict = Some(Verdict::Wrong(wrong.into()));
        } else if let Some(tried) = text("fine") {
            self.verdict = Some(Verdict::Fine(tried.into()));
        }
    }
}

/// Reads what the process says, to its end.
pub(super) fn listen(stream: impl Read, word: &str, told: &Mutex<Told>, steps: &Steps) {
    let mut line = Vec::new();
    read_all(stream, |chunk| {
        for byte in chunk {
            if *byte == b'\n' {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.hear(word, &line, steps);
                line.clear();
            } else if line.len() < MAX_LINE {
                line.push(*byte);
            }
        }
    });
}

/// Reads a stream to its end; its last lines, as one without control characters.
pub(super) fn tail(stream: impl Read) -> String {
    let mut kept = Vec::new();
    read_all(stream, |chunk| {
        kept.extend_from_slice(chunk);
        let over = kept.len().saturating_sub(MAX_PRINTED);
        kept.drain(..over);
    });
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join(" / ");
    last.chars().filter(|char| !char.is_control()).collect()
}

fn read_all(mut stream: impl Read, mut take: impl FnMut(&[u8])) {
    let mut chunk = [0; 8 << 10];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => take(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_plugins_and_lines_without_an_end_say_nothing() {
        let told = Mutex::default();
        let long = "x".repeat(MAX_LINE + 10);
        let said =
            format!("{{\"fine\":\"x\"}}\n{long}\n\nword {{\"wrong\":\"a\\nb\"}}\nword nonsense\nw");
        listen(said.as_bytes(), "word", &told, &Steps::default());
        let told = told.lock().unwrap();
        assert!(matches!(&told.verdict, Some(Verdict::Wrong(text)) if text == "a\nb"));
        assert_eq!(told.last, None);
    }

    #[test]
    fn of_what_is_printed_the_last_lines_are_kept() {
        let printed = format!(
            "{}\none\n\ntwo\u{1b}[2J\nthree",
            "y".repeat(3 * MAX_PRINTED)
        );
        assert_eq!(tail("a\n".as_bytes()), "a");
        let tail = tail(printed.as_bytes());
        assert!(tail.ends_with("one / two[2J / three"), "{tail}");
        assert!(tail.len() <= MAX_PRINTED);
    }
}

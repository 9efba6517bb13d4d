//! What a check is doing, told as it goes, so that a crash has a place.

use std::io::Write as _;

/// Where steps are told.
#[derive(Clone, Copy)]
pub(super) enum Steps<'a> {
    /// To whoever runs the check in the foreground.
    Shown(&'a (dyn Fn(&str) + Sync)),
    /// To the process that watches, on stdout, each line beginning with this word: what the
    /// plugin prints does not.
    Told(&'a str),
}

/// A line of a child that is a step.
pub(super) const STEP: &str = "step";
/// A line of a child that is its verdict.
pub(super) const VERDICT: &str = "verdict";

impl Steps<'_> {
    pub(super) fn step(&self, text: &str) {
        match self {
            Self::Shown(show) => show(text),
            Self::Told(word) => tell(word, STEP, text),
        }
    }
}

/// A line for the process that watches. Where that is gone, this one soon is as well.
pub(super) fn tell(word: &str, kind: &str, text: &str) {
    let text = text.replace('\n', " ");
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("\n{word} {kind} {text}\n").as_bytes());
    let _ = out.flush();
}

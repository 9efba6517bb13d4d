//! What a check says of a plugin.

use serde_json::{Value as Json, json};

/// What a check found.
pub type Verdict = Result<Passed, Finding>;

/// A check that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// What it looked at is as it must be.
    Ok,
    /// There is nothing to check, for this reason.
    Skipped(String),
}

/// What was seen where a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was seen, in lower case.
    pub found: String,
    /// What to do, where it is something else than the check's advice.
    pub advice: Option<String>,
}

impl Finding {
    pub(super) fn new(found: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            advice: None,
        }
    }

    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Self {
            advice: Some(advice.into()),
            ..self
        }
    }
}

impl From<std::io::Error> for Finding {
    fn from(error: std::io::Error) -> Self {
        Self::new(format!("the system gave the check no memory: {error}"))
            .advise("let the plugin use less memory, or raise --memory-mb")
    }
}

pub(super) fn skipped(reason: impl Into<String>) -> Verdict {
    Ok(Passed::Skipped(reason.into()))
}

/// A verdict as a line, on its way from one process to another.
pub(super) fn spell(verdict: &Verdict) -> String {
    match verdict {
        Ok(Passed::Ok) => json!({ "ok": true }),
        Ok(Passed::Skipped(reason)) => json!({ "skipped": reason }),
        Err(finding) => json!({ "found": finding.found, "advice": finding.advice }),
    }
    .to_string()
}

/// The verdict that such a line holds.
pub(super) fn parse(line: &str) -> Option<Verdict> {
    let told: Json = serde_json::from_str(line).ok()?;
    let text = |key: &str| told.get(key)?.as_str().map(str::to_owned);
    if let Some(found) = text("found") {
        return Some(Err(Finding {
            found,
            advice: text("advice"),
        }));
    }
    Some(Ok(text("skipped").map_or(Passed::Ok, Passed::Skipped)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_its_line() {
        let verdicts = [
            Err(Finding::new("a \"b\"\nc").advise("d")),
            Err(Finding::new("a")),
            skipped("why"),
            Ok(Passed::Ok),
        ];
        for verdict in verdicts {
            assert_eq!(parse(&spell(&verdict)), Some(verdict));
        }
    }
}

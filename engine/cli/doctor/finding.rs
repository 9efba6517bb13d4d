//! What checks find, and how it is shown.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::secrets::Secrets;
use crate::cli::EXIT_CONFIG;
use crate::cli::output::{on_one_line, takes_colours};

/// Most findings of one check that are told; of the rest it is told how many they are.
const MAX_TOLD: usize = 20;

/// Longest text of a finding, in bytes.
const MAX_TEXT: usize = 2000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    Fault,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }

    /// Green, yellow, red.
    fn colour(self) -> u8 {
        match self {
            Self::Ok => 32,
            Self::Warning => 33,
            Self::Fault => 31,
        }
    }
}

/// What a check found.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    level: Level,
    found: String,
    advice: Option<String>,
    /// True where settings or pipelines are at fault.
    is_configuration: bool,
}

impl Finding {
    /// As it should be.
    pub(super) fn fine(found: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            found: found.into(),
            advice: None,
            is_configuration: false,
        }
    }

    /// A server starts with it, and may not do what is meant.
    pub(super) fn warning(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            found: found.into(),
            advice: Some(advice.into()),
            is_configuration: false,
        }
    }

    /// A server does not start with it, or fails at a part of its work.
    pub(super) fn fault(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Fault,
            ..Self::warning(found, advice)
        }
    }

    /// A setting, or a pipeline, is at fault.
    pub(super) fn misconfigured(found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            is_configuration: true,
            ..Self::fault(found, advice)
        }
    }

    /// True where it is a fault.
    pub(super) fn is_fault(&self) -> bool {
        self.level == Level::Fault
    }

    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        let advice = self.advice.as_deref().unwrap_or_default();
        format!("{}: {}: {advice}", self.level.word(), self.found)
    }
}

/// The findings of all checks: shown as they come, or at the end as one document.
pub(super) struct Report {
    is_json: bool,
    is_plain: bool,
    has_colours: bool,
    secrets: Secrets,
    told: Vec<Json>,
    warnings: usize,
    faults: usize,
    is_misconfigured: bool,
}

impl Report {
    pub(super) fn new(is_json: bool, is_plain: bool) -> Self {
        Self {
            is_json,
            is_plain,
            has_colours: takes_colours(&std::io::stdout()),
            secrets: Secrets::of_environment(),
            told: Vec::new(),
            warnings: 0,
            faults: 0,
            is_misconfigured: false,
        }
    }

    /// Takes what a check found, and shows it.
    pub(super) fn add(&mut self, check: &str, found: Vec<Finding>) {
        let more = found.len().saturating_sub(MAX_TOLD);
        for (number, finding) in found.into_iter().enumerate() {
            self.warnings += usize::from(finding.level == Level::Warning);
            self.faults += usize::from(finding.is_fault());
            self.is_misconfigured |= finding.is_configuration;
            if number < MAX_TOLD {
                self.tell(check, &finding);
            }
        }
        if more > 0 {
            let finding = Finding::fine(format!("and {more} more findings"));
            self.tell(check, &finding);
        }
    }

    fn tell(&mut self, check: &str, finding: &Finding) {
        let shown = |text: &str| {
            let text = on_one_line(&self.secrets.cut_out_of(text));
            text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
        };
        let (found, advice) = (shown(&finding.found), finding.advice.as_deref().map(shown));
        let level = finding.level;
        if self.is_json {
            self.told.push(json!({
                "check": check, "level": level.word(), "found": found, "advice": advice,
            }));
        } else if self.is_plain {
            let advice = advice.unwrap_or_default();
            outln!("{}\t{check}\t{found}\t{advice}", level.word());
        } else {
            let word = format!("{:<7}", level.word());
            let word = if self.has_colours {
                format!("\u{1b}[{}m{word}\u{1b}[0m", level.colour())
            } else {
                word
            };
            outln!("{word}  {check}: {found}");
            if let Some(advice) = advice {
                outln!("         -> {advice}");
            }
        }
    }

    /// Says how it went.
    pub(super) fn end(self) -> ExitCode {
        let (faults, warnings) = (self.faults, self.warnings);
        if self.is_json {
            let document = json!({
                "ok": faults == 0, "faults": faults, "warnings": warnings, "checks": self.told,
            });
            outln!("{document:#}");
        } else if !self.is_plain {
            let count = |count: usize, what: &str| match count {
                1 => format!("1 {what}"),
                count => format!("{count} {what}s"),
            };
            outln!("{}, {}", count(faults, "fault"), count(warnings, "warning"));
        }
        match faults {
            0 => ExitCode::SUCCESS,
            _ if self.is_misconfigured => ExitCode::from(EXIT_CONFIG),
            _ => ExitCode::FAILURE,
        }
    }
}

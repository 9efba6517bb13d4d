//! What a check is, and the one list of them, in the order in which they run.

use omnizap_contract::Options;

use super::trial::{FileTrial, LibraryTrial, StageTrial};
use super::{answers, batch, cancel, file, leak, library, life, memory, repeat};

/// Every check. A gate that fails lets the rest be skipped: nothing behind it would say
/// anything new.
pub(super) const CHECKS: &[Check] = &[
    file::LIBRARY,
    file::ENTRY,
    file::MAGIC,
    file::ABI_VERSION,
    file::STRUCT_SIZE,
    file::FUNCTIONS,
    file::DESCRIPTORS,
    file::EXPORTS,
    library::OPEN,
    library::INIT_TWICE,
    library::UNKNOWN_IDS,
    file::DOCS,
    life::CREATE,
    life::CREATE_FAST,
    life::OPTIONS,
    life::ACTIVATE,
    answers::RUN,
    answers::OUTPUTS,
    answers::ERRORS,
    memory::ODD_IMAGES,
    memory::STRIDES,
    memory::BORROWED,
    life::LIFECYCLE,
    repeat::PURE,
    repeat::THREADS_CHECK,
    batch::BATCH,
    cancel::CANCEL,
    leak::LEAK,
];

/// One thing that must be true of a plugin.
pub(super) struct Check {
    /// Its name, on the command line and in JSON.
    pub(super) id: &'static str,
    /// What must be true.
    pub(super) rule: &'static str,
    /// What to do where it is not.
    pub(super) advice: &'static str,
    pub(super) gate: Gate,
    pub(super) run: Run,
}

/// When the checks behind one are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Never.
    Open,
    /// Where the plugin took the process with it or did not come back.
    Crash,
    /// Where it failed in any way.
    Failure,
}

/// How a check is run, and on what.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// By reading the file as data, which stops at the first thing that is wrong: at the check
    /// to which it belongs.
    Read,
    /// On the file as data: no code of the plugin runs.
    File(fn(&FileTrial) -> Verdict),
    /// On each stage as the file describes it: no code runs.
    Described(fn(&engine::plugin::StageManifest) -> Verdict),
    /// On the opened library, which this opens itself.
    Open(fn(&std::path::Path) -> Verdict),
    /// On the opened library.
    Library(fn(&LibraryTrial) -> Verdict),
    /// On each stage of the opened library.
    Stage(fn(&mut StageTrial<'_>) -> Verdict),
}

/// What a check found.
pub(super) type Verdict = Result<Passed, Finding>;

/// A check that did not fail.
#[derive(Debug)]
pub(super) enum Passed {
    Ok,
    /// There is nothing to check, for this reason.
    Skipped(String),
}

/// What was seen where a check failed.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) found: String,
    /// What to do, where it is something else than the check's advice.
    pub(super) advice: Option<String>,
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

impl Check {
    /// The check of that name.
    pub(super) fn find(id: &str) -> Option<&'static Self> {
        CHECKS.iter().find(|check| check.id == id)
    }

    /// True where it is run once a stage.
    pub(super) fn is_of_stages(&self) -> bool {
        matches!(self.run, Run::Described(_) | Run::Stage(_))
    }
}

/// The name of every check.
pub(super) fn ids() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.id).collect()
}

pub(super) fn skipped(reason: impl Into<String>) -> Verdict {
    Ok(Passed::Skipped(reason.into()))
}

/// Options as a line for people.
pub(super) fn spell(options: &Options) -> String {
    serde_json::Value::Object(options.as_map().clone()).to_string()
}

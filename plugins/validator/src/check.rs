//! What a check is.

use std::fmt;
use std::path::Path;

use omnizap_host::StageManifest;

use crate::trial::{FileTrial, LibraryTrial, StageTrial};
use crate::verdict::Verdict;

/// One thing that must be true of a plugin.
pub struct Check {
    /// Its name.
    pub id: &'static str,
    /// What must be true.
    pub rule: &'static str,
    /// What to do where it is not. Options that it names are those of `omnizap plugins validate`.
    pub advice: &'static str,
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
    Described(fn(&StageManifest) -> Verdict),
    /// On the opened library, which this opens itself.
    Open(fn(&Path) -> Verdict),
    /// On the opened library.
    Library(fn(&LibraryTrial<'_>) -> Verdict),
    /// On each stage of the opened library.
    Stage(fn(&mut StageTrial<'_>) -> Verdict),
}

impl Check {
    /// True where it is run once a stage, false where once a library.
    #[must_use]
    pub fn is_of_stages(&self) -> bool {
        matches!(self.run, Run::Described(_) | Run::Stage(_))
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.id).finish()
    }
}

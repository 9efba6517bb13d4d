//! What is to be validated, and how.

use std::path::PathBuf;
use std::time::Duration;

/// The time that one check may take.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(20);
/// The memory that the plugin may take in one check, in MiB.
pub const DEFAULT_MEMORY_MB: u64 = 2048;

/// What is to be validated, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The library.
    pub file: PathBuf,
    /// Run only the checks of these names; all where it is empty.
    pub only: Vec<String>,
    /// Leave out the checks of these names.
    pub skip: Vec<String>,
    /// Where random inputs begin.
    pub seed: u64,
    /// Options of the stages, where their defaults will not do, each `OPTION=VALUE`.
    pub given: Vec<String>,
    /// The time that one check may take.
    pub limit: Duration,
    /// The memory that the plugin may take in one check, in MiB.
    pub memory_mb: u64,
}

impl Plan {
    /// Every check under the defaults, from another seed each time.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            only: Vec::new(),
            skip: Vec::new(),
            seed: fastrand::u64(..1 << 32),
            given: Vec::new(),
            limit: DEFAULT_LIMIT,
            memory_mb: DEFAULT_MEMORY_MB,
        }
    }
}

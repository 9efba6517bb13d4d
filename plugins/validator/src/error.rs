//! What stops a validation. It says nothing of the plugin: what is wrong with that is a finding.

use std::io;
use std::num::ParseIntError;

use omnizap_host::FileError;

/// Why nothing was validated, or no more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// No check has this name.
    #[error("there is no check `{id}`: {help}")]
    UnknownCheck {
        /// The name.
        id: String,
        /// Those that there are, or the one that was probably meant.
        help: String,
    },
    /// What is to be run is not spelt `CHECK:SEED` or `CHECK:STAGE:SEED`.
    #[error("{spec}: {why}")]
    Spec {
        /// As it is spelt.
        spec: String,
        /// What is wrong with it.
        why: String,
    },
    /// The seed of what is to be run is no number.
    #[error("{spec}: the seed is no number")]
    Seed {
        /// As it is spelt.
        spec: String,
        /// Why it is none.
        source: ParseIntError,
    },
    /// The plugin has no stage of this name.
    #[error("the plugin has no stage `{id}`: {help}")]
    UnknownStage {
        /// The name.
        id: String,
        /// Those that there are, or the one that was probably meant.
        help: String,
    },
    /// An option that was given is none of the plugin's, or its value will not do.
    #[error("{given}: {why}")]
    Given {
        /// The option.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// The process of a check cannot be started or waited for.
    #[error("cannot start the process of a check")]
    Start(#[source] io::Error),
    /// The process of a check cannot be bounded.
    #[error("cannot bound the process of a check")]
    Bound(#[source] io::Error),
}

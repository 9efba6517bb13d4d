//! Why nothing was fetched.

use std::path::PathBuf;

/// Why weights could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The hub does not answer.
    #[error(
        "cannot reach {endpoint}: {reason}; work offline by giving a checkpoint's path, or set HF_ENDPOINT to a mirror"
    )]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// The innermost reason.
        reason: String,
    },
    /// `HF_HUB_OFFLINE` forbids it.
    #[error("HF_HUB_OFFLINE is set, so nothing is fetched; unset it or give a checkpoint's path")]
    Offline,
    /// The repository wants a token, or its licence accepted.
    #[error(
        "{repository} needs permission ({status}); accept its licence on the hub and set HF_TOKEN"
    )]
    Forbidden {
        /// The repository.
        repository: String,
        /// The HTTP status.
        status: u16,
    },
    /// None of the files that could hold the weights, or a file that belongs beside them, is in the
    /// repository.
    #[error("{repository} has none of {files}; is {endpoint} a complete mirror?")]
    NotFound {
        /// The repository.
        repository: String,
        /// The files, comma separated.
        files: String,
        /// The hub's address.
        endpoint: String,
    },
    /// The hub answers, but not as the hub should.
    #[error("{url} answered {what}; try again later")]
    BadAnswer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The connection broke again and again. What has arrived is kept for the next try.
    #[error(
        "the connection broke at {done} of {total} bytes and {tries} new tries brought nothing ({reason}); pull again to resume"
    )]
    Interrupted {
        /// Bytes that have arrived.
        done: u64,
        /// Bytes of the whole file.
        total: u64,
        /// Tries without progress.
        tries: u32,
        /// What broke the last.
        reason: String,
    },
    /// The bytes that arrived are not the published ones. They have been removed.
    #[error(
        "{file} is not what was published: SHA-256 is {found}, expected {expected}; it was removed, pull again"
    )]
    WrongChecksum {
        /// The file.
        file: String,
        /// The hash of what arrived.
        found: String,
        /// The published hash.
        expected: String,
    },
    /// A file could not be written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

//! The working folder, from which relative paths are meant. Where a plugin leaves it for another,
//! the program goes back: else another folder of that name would be taken for the one with the
//! pipelines.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

/// The folder that the program was in when this was made.
pub(super) struct Home(Option<File>);

impl Home {
    pub(super) fn here() -> Self {
        Self(File::open(".").ok())
    }

    /// Goes back to it from another. Where it was moved meanwhile, that is no other.
    pub(super) fn stay(&self) {
        let Some(home) = &self.0 else {
            return;
        };
        let Ok(wanted) = home.metadata() else {
            return;
        };
        let is_here = std::fs::metadata(".")
            .is_ok_and(|here| (here.dev(), here.ino()) == (wanted.dev(), wanted.ino()));
        if is_here {
            return;
        }
        match std::env::set_current_dir(format!("/proc/self/fd/{}", home.as_raw_fd())) {
            Ok(()) => tracing::warn!(
                "the program's working folder was another: a plugin changes it, and must not; it \
                 was put back"
            ),
            Err(error) => tracing::debug!("the working folder cannot be put back: {error}"),
        }
    }
}

//! What configurations are checked for, and how a contradiction is told.

use crate::error::Error;

/// A kernel has a middle, and is no larger than any of the published ones.
pub(super) fn kernel(size: usize, name: &str) -> Result<(), Error> {
    ensure(size % 2 == 1 && size <= 31, || {
        format!("{name} is {size}, expected an odd number up to 31")
    })
}

/// The reason is what is wrong.
///
/// # Errors
/// [`Error::BadConfig`] where it does not hold.
pub(super) fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::BadConfig(reason()))
    }
}

//! The one list of checks, in the order in which they run.
//!
//! - `file`: the file as data
//! - `library`: the opened library as a whole
//! - `life`: what comes before and after a call
//! - `answers`: what `run` answers to random inputs
//! - `memory`: what is only borrowed, and pictures in rare forms
//! - `repeat`: calls again, and at the same time
//! - `clean`: what is left of it in the process
//! - `batch`, `cancel`, `leak`: one check each

mod answers;
mod batch;
mod cancel;
mod clean;
mod file;
mod leak;
mod library;
mod life;
mod memory;
mod repeat;

use omnizap_contract::common::names::suggestion;

use crate::check::Check;
use crate::error::Error;

pub(super) use file::read;

/// Every check. A gate that fails lets the rest be skipped: nothing behind it would say
/// anything new.
const CHECKS: &[Check] = &[
    file::LIBRARY,
    file::ENTRY,
    file::MAGIC,
    file::ABI_VERSION,
    file::STRUCT_SIZE,
    file::FUNCTIONS,
    file::DESCRIPTORS,
    file::EXPORTS,
    file::NEEDS,
    library::OPEN,
    clean::OPEN_CLEAN,
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
    clean::CLEAN,
    leak::LEAK,
];

/// Every check, in the order in which they run.
#[must_use]
pub fn checks() -> &'static [Check] {
    CHECKS
}

/// The check of that name.
///
/// # Errors
/// There is none.
pub(super) fn find(id: &str) -> Result<&'static Check, Error> {
    let found = CHECKS.iter().find(|check| check.id == id);
    found.ok_or_else(|| Error::UnknownCheck {
        id: id.to_owned(),
        help: suggestion(id, CHECKS.iter().map(|check| check.id)).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_names_of_their_own_and_every_field() {
        for (index, check) in CHECKS.iter().enumerate() {
            let others = &CHECKS[..index];
            assert!(
                others.iter().all(|other| other.id != check.id),
                "{}",
                check.id
            );
            assert!(
                check
                    .id
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-')
            );
            assert!(check.id.len() <= 12, "{} widens the column", check.id);
            assert!(!check.rule.is_empty() && !check.advice.is_empty());
        }
    }
}

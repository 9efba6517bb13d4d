//! Errors and panics of a stage, left in the host's struct: none leaves the plugin.

use std::panic::{AssertUnwindSafe, catch_unwind};

use omnizap_contract::{Error, ErrorKind, abi};

/// Runs `work`; an error or a panic is left in the host's struct.
pub(super) fn guard(
    error: *mut abi::ErrorOut,
    work: impl FnOnce() -> Result<(), (abi::Status, Error)>,
) -> abi::Status {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => abi::OK,
        Ok(Err((status, reason))) => {
            report(error, &reason);
            status
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let text = text.unwrap_or_else(|| "a panic without a message".into());
            report(error, &Error::new(ErrorKind::Internal, text));
            abi::PANIC
        }
    }
}

fn report(error: *mut abi::ErrorOut, reason: &Error) {
    // SAFETY: the host lends its struct, and the memory it names, for the call.
    let Some(out) = (unsafe { error.as_mut() }) else {
        return;
    };
    let cause = std::error::Error::source(reason).map(ToString::to_string);
    let message = cause.unwrap_or_else(|| reason.message().to_owned());
    // SAFETY: as above.
    unsafe {
        out.message_len = write(&message, out.message, out.message_capacity);
        out.code_len = write(reason.code(), out.code, out.code_capacity);
    }
    let after = reason.retry_after().map_or(0, |after| after.as_millis());
    out.retry_after_ms = u64::try_from(after).unwrap_or(u64::MAX);
}

/// Writes as much of a text as fits, cut between characters.
///
/// # Safety
/// `to` must be writable for `capacity`.
pub(super) unsafe fn write(text: &str, to: *mut u8, capacity: usize) -> usize {
    let mut len = text.len().min(capacity);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: promised by the caller.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), to, len) };
    len
}

pub(super) fn status_of(error: Error) -> (abi::Status, Error) {
    let status = match error.kind() {
        ErrorKind::Malformed
        | ErrorKind::TooLarge
        | ErrorKind::UnsupportedType
        | ErrorKind::Invalid => abi::INVALID,
        ErrorKind::Busy => abi::BUSY,
        ErrorKind::Unavailable => abi::UNAVAILABLE,
        ErrorKind::Deadline => abi::DEADLINE,
        ErrorKind::Internal => abi::INTERNAL,
    };
    (status, error)
}

//! The allocator of the program.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` in mimalloc's header, milliseconds.
const PURGE_DELAY: mi_option_t = 15;

/// Has what was freed go back to the system at once. mimalloc keeps it for a second, in which threads
/// free the memory of many pictures; even a hundredth of that is a fifth more memory under load, for
/// some hundredths of the time. What is needed anew for each picture is kept where it is made.
/// `MIMALLOC_PURGE_DELAY` still decides where it is set.
#[allow(unsafe_code, reason = "an option of a C library")]
pub(crate) fn set_up() {
    const AT_ONCE: std::ffi::c_long = 0;
    // SAFETY: it stores a number, whichever thread calls it.
    unsafe { mi_option_set_default(PURGE_DELAY, AT_ONCE) };
}

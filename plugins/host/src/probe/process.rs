//! The process in which a library is examined: its bounds, its end with its parent's, and
//! what it uses.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// True while nothing but a signal may end this process: `atexit` takes no context.
static IS_HELD: AtomicBool = AtomicBool::new(false);

/// What the process uses at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Bytes of the C heap in use, modulo 2^32; 0 where the C library does not tell.
    pub heap: u32,
    /// Resident bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// Bounds this process: `memory` more bytes of address space than now, no core dump, and
/// SIGKILL once the parent is gone.
///
/// # Errors
/// The system refuses, or the parent is gone already.
pub fn bound(memory: u64, parent: u32) -> io::Result<()> {
    set(
        libc::RLIMIT_AS,
        statm(0).unwrap_or(0).saturating_add(memory),
    )?;
    set(libc::RLIMIT_CORE, 0)?;
    #[cfg(target_os = "linux")]
    {
        let signal = libc::SIGKILL as libc::c_ulong;
        // SAFETY: sets an attribute of this process.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if std::os::unix::process::parent_id() == parent {
        Ok(())
    } else {
        Err(io::Error::other("the process that asked is gone"))
    }
}

/// From here on `exit` ends this process with code 1 and says why, until [`release`].
pub fn hold() {
    extern "C" fn at_exit() {
        if IS_HELD.load(Ordering::Relaxed) {
            eprintln!("FAILED: the plugin ended the process");
            // SAFETY: ends the process.
            unsafe { libc::_exit(1) };
        }
    }
    IS_HELD.store(true, Ordering::Relaxed);
    // SAFETY: registers a function that lives as long as the program.
    unsafe { libc::atexit(at_exit) };
}

/// Lets `exit` end the process again.
pub fn release() {
    IS_HELD.store(false, Ordering::Relaxed);
}

/// What the system bounds.
#[cfg(target_env = "gnu")]
pub(super) type Resource = libc::__rlimit_resource_t;
/// What the system bounds.
#[cfg(not(target_env = "gnu"))]
pub(super) type Resource = libc::c_int;

/// The bound of this process, and the most that it may set.
pub(super) fn limit_of(resource: Resource) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads into a struct that lives until the call returns.
    match unsafe { libc::getrlimit(resource, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(resource: Resource, bytes: u64) -> io::Result<()> {
    let mut limit = limit_of(resource)?;
    // Never above what is allowed anyway.
    limit.rlim_cur = limit.rlim_max.min(bytes);
    // SAFETY: the struct lives until the call returns.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the process uses now.
#[must_use]
pub fn usage() -> Usage {
    Usage {
        heap: heap(),
        resident: statm(1).unwrap_or(0),
        descriptors: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
    }
}

/// A field of `/proc/self/statm`, in bytes: 0 the address space, 1 what is resident.
fn statm(field: usize) -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(field)?.parse().ok()?;
    // SAFETY: asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page).ok()?)
}

fn entries(folder: &str) -> u64 {
    std::fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
}

#[cfg(target_env = "gnu")]
fn heap() -> u32 {
    // `mallinfo2` counts further, and older systems lack it.
    // SAFETY: reads counters of the allocator.
    let info = unsafe { libc::mallinfo() };
    info.uordblks
        .cast_unsigned()
        .wrapping_add(info.hblkhd.cast_unsigned())
}

#[cfg(not(target_env = "gnu"))]
fn heap() -> u32 {
    0
}

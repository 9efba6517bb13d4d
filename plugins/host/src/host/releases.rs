//! What a plugin lent is given back on a thread for that: a value may be dropped by whoever answers
//! requests, and `release` is code of the plugin, which may not come back.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use omnizap_contract::abi;

use super::HostTable;

/// Most that waits to be given back; beyond, whoever drops it does it.
const MAX_WAITING: usize = if cfg!(miri) {
    // Miri would take minutes for as many.
    8
} else {
    4096
};
/// The time after which a release counts as one that does not return.
const LATE: Duration = Duration::from_secs(2);

/// Memory of a plugin, to be released once.
pub(crate) struct Release {
    pub(crate) release: abi::ReleaseFn,
    pub(crate) owner: *mut c_void,
}

// SAFETY: the ABI says that release may be called from any thread.
unsafe impl Send for Release {}

impl Release {
    pub(super) fn call(self) {
        // SAFETY: called once, as the ABI promises the plugin; libraries stay loaded.
        unsafe { (self.release)(self.owner) };
    }
}

/// The thread of one plugin, there from the first release on.
pub(super) struct Releases {
    /// `None` where the system gave no thread.
    waiting: OnceLock<Option<SyncSender<Release>>>,
    /// Since when the present one runs, in milliseconds of this process; 0 where none does.
    since: AtomicU64,
}

/// Milliseconds from the first look at the clock, 1 at least.
fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed().as_millis() as u64 + 1
}

impl Releases {
    pub(super) fn new() -> Self {
        Self {
            waiting: OnceLock::new(),
            since: AtomicU64::new(0),
        }
    }

    pub(super) fn add(&'static self, host: &'static HostTable, release: Release) {
        let waiting = self.waiting.get_or_init(|| self.start(host));
        let Some(waiting) = waiting else {
            host.release_here(release);
            return;
        };
        let since = self.since.load(Ordering::Relaxed);
        if since != 0 && now().saturating_sub(since) > LATE.as_millis() as u64 {
            host.keep_memory();
            fence(Ordering::SeqCst);
            // It may have come back before that was said, and has then not taken it back.
            if self.since.load(Ordering::Relaxed) != since {
                host.returns_memory();
            }
            // Lost: whoever called its release now might not return either.
            return;
        }
        match waiting.try_send(release) {
            Ok(()) => {}
            Err(TrySendError::Full(release) | TrySendError::Disconnected(release)) => {
                host.release_here(release);
            }
        }
    }

    fn start(&'static self, host: &'static HostTable) -> Option<SyncSender<Release>> {
        let (sender, receiver) = sync_channel::<Release>(MAX_WAITING);
        let thread = thread::Builder::new().name("omnizap-release".into());
        let started = thread.spawn(move || {
            for release in receiver {
                self.since.store(now(), Ordering::Relaxed);
                host.release_here(release);
                self.since.store(0, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                host.returns_memory();
            }
        });
        started.ok().map(|_| sender)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::call::FUNCTIONS;

    static RELEASED: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn count(_: *mut c_void) {
        RELEASED.fetch_add(1, Ordering::Relaxed);
    }

    #[test]
    fn each_is_released_once_also_where_more_come_than_may_wait() {
        let host = HostTable::leak("test", true, &FUNCTIONS);
        let many = 2 * MAX_WAITING;
        for _ in 0..many {
            host.release(Release {
                release: count,
                owner: std::ptr::null_mut(),
            });
        }
        while RELEASED.load(Ordering::Relaxed) < many {
            thread::yield_now();
        }
        assert_eq!(host.given_up(1), None);
    }
}

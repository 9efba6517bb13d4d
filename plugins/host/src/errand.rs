//! Plugin code that runs beside whoever asked for it: on a thread of its own, waited for until a
//! deadline. Who waits goes on then; the thread is counted as lost until it comes back, if it does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use tokio::sync::oneshot;

use crate::host::inside::{Hook, Post, stand_at};
use crate::host::{HostTable, Lost, crash};

/// Why plugin code brought nothing.
#[derive(Debug)]
pub(crate) enum Unreturned {
    /// It is still there.
    Late(Hook, Duration),
    /// The system gives no thread.
    NoThread(io::Error),
    /// The host's own code around it panicked.
    Panicked,
}

impl fmt::Display for Unreturned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(hook, limit) => {
                let (hook, limit) = (hook.name(), Seconds(*limit));
                write!(f, "did not return from {hook} within {limit}")
            }
            Self::NoThread(error) => write!(f, "got no thread to run on: {error}"),
            Self::Panicked => f.write_str("was called by code of the host that panicked"),
        }
    }
}

/// A time as people write it.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{} s", self.0.as_secs()),
            _ => write!(f, "{} ms", self.0.as_millis()),
        }
    }
}

/// What the log says of a thread that was given up, and of a call.
pub(crate) const CAME_BACK: &str = "what the plugin did not return from has come back after all";

/// How an errand stands.
const RUNS: u8 = 0;
const DONE: u8 = 1;
const LOST: u8 = 2;

/// What the thread and those who wait for it share.
struct Shared {
    post: Arc<Post>,
    state: AtomicU8,
    /// The plugin's, where it is open: threads that it loses are counted there.
    host: Option<&'static HostTable>,
}

impl Shared {
    fn new(host: Option<&'static HostTable>) -> Arc<Self> {
        Arc::new(Self {
            post: Arc::new(Post::default()),
            state: AtomicU8::new(RUNS),
            host,
        })
    }

    /// The thread is given up, unless it has just come back.
    fn lose(&self) {
        if self.state.load(Ordering::Relaxed) != RUNS {
            return;
        }
        // Counted before it can come back as one that was lost: the count never falls below none.
        match self.host {
            Some(host) => host.lose(Lost::Hook),
            None => crash::lose_a_thread(),
        }
        let was = self
            .state
            .compare_exchange(RUNS, LOST, Ordering::AcqRel, Ordering::Relaxed);
        match was {
            Ok(_) => self.post.set_lost(true),
            Err(_) => self.regain(),
        }
    }

    fn regain(&self) {
        match self.host {
            Some(host) => host.regain(Lost::Hook),
            None => crash::regain_a_thread(),
        }
    }

    fn come_back(&self, began: Instant) {
        if self.state.swap(DONE, Ordering::AcqRel) != LOST {
            return;
        }
        self.regain();
        let plugin = self.host.map_or("", HostTable::name);
        let after_ms = began.elapsed().as_millis() as u64;
        tracing::warn!(plugin, after_ms, "{CAME_BACK}");
    }
}

type Ended<T> = Result<T, Box<dyn Any + Send>>;

/// Starts the thread. What it brings goes to `reply`; where nobody takes it any more, it is dropped
/// on the thread.
fn start<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce() -> T + Send + 'static,
    reply: impl FnOnce(Ended<T>) + Send + 'static,
) -> io::Result<()> {
    let shared = shared.clone();
    let thread = thread::Builder::new().name("omnizap-errand".into());
    thread.spawn(move || {
        let began = Instant::now();
        stand_at(&shared.post);
        reply(catch_unwind(AssertUnwindSafe(work)));
        shared.come_back(began);
    })?;
    Ok(())
}

/// An errand that is waited for, more than once if need be.
pub(crate) struct Errand<T> {
    shared: Arc<Shared>,
    answer: Arc<Answer<T>>,
}

/// What it brought. No channel: those note on their first use that a thread has something to end,
/// and the system's loader is needed for that, which a constructor that hangs holds.
struct Answer<T> {
    brought: Mutex<Option<Ended<T>>>,
    is_there: Condvar,
}

impl<T: Send + 'static> Errand<T> {
    /// Starts plugin code on a thread of its own.
    pub(crate) fn start(
        host: Option<&'static HostTable>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, Unreturned> {
        let shared = Shared::new(host);
        let answer = Arc::new(Answer {
            brought: Mutex::new(None),
            is_there: Condvar::new(),
        });
        let reply = Arc::downgrade(&answer);
        let sent = start(&shared, work, move |ended| {
            // Where nobody waits any more, it is dropped here.
            if let Some(answer) = reply.upgrade() {
                *answer.lock() = Some(ended);
                answer.is_there.notify_all();
            }
        });
        sent.map_err(Unreturned::NoThread)?;
        Ok(Self { shared, answer })
    }

    /// What it brought, waited for so long.
    pub(crate) fn wait(&self, limit: Duration) -> Result<T, Unreturned> {
        let brought = self.answer.lock();
        let waited = self
            .answer
            .is_there
            .wait_timeout_while(brought, limit, |brought| brought.is_none());
        let mut brought = waited.unwrap_or_else(PoisonError::into_inner).0;
        match brought.take() {
            Some(Ok(brought)) => Ok(brought),
            Some(Err(_)) => Err(Unreturned::Panicked),
            None => {
                drop(brought);
                self.shared.lose();
                Err(Unreturned::Late(self.shared.post.hook(), limit))
            }
        }
    }

    /// The same, once: what comes later is dropped on the thread that brings it, as it may be the
    /// plugin's to end.
    fn wait_once(self, limit: Duration) -> Result<T, Unreturned> {
        let waited = self.wait(limit);
        // Where the thread has the answer just now, it is the last that has it.
        let answer = Arc::into_inner(self.answer);
        let brought = answer.and_then(|answer| {
            let brought = answer.brought.into_inner();
            brought.unwrap_or_else(PoisonError::into_inner)
        });
        match brought {
            Some(Ok(brought)) => Ok(brought),
            _ => waited,
        }
    }

    /// Where it is now.
    pub(crate) fn hook(&self) -> Hook {
        self.shared.post.hook()
    }
}

impl<T> Answer<T> {
    fn lock(&self) -> MutexGuard<'_, Option<Ended<T>>> {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs plugin code on a thread of its own and waits for it, here.
pub(crate) fn within<T: Send + 'static>(
    host: &'static HostTable,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unreturned> {
    Errand::start(Some(host), work)?.wait_once(limit)
}

/// The same, waited for without a thread.
pub(crate) async fn within_async<T: Send + 'static>(
    host: &'static HostTable,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unreturned> {
    let shared = Shared::new(Some(host));
    let (reply, mut answer) = oneshot::channel();
    let sent = start(&shared, work, move |ended| {
        let _ = reply.send(ended);
    });
    sent.map_err(Unreturned::NoThread)?;
    match tokio::time::timeout(limit, &mut answer).await {
        Ok(Ok(Ok(brought))) => Ok(brought),
        Ok(_) => Err(Unreturned::Panicked),
        Err(_) => {
            // What comes from here on is dropped on the thread that brings it.
            answer.close();
            if let Ok(Ok(brought)) = answer.try_recv() {
                return Ok(brought);
            }
            shared.lose();
            Err(Unreturned::Late(shared.post.hook(), limit))
        }
    }
}

/// Runs plugin code that nobody waits for; the log says where it does not come back.
pub(crate) fn behind(
    host: &'static HostTable,
    limit: Duration,
    work: impl FnOnce() + Send + 'static,
) {
    let waits = move || {
        if let Err(late) = within(host, limit, work) {
            tracing::error!(plugin = host.name(), "the plugin {late}");
        }
    };
    let thread = thread::Builder::new().name("omnizap-errand".into());
    if let Err(error) = thread.spawn(waits) {
        tracing::error!(
            plugin = host.name(),
            "an instance was not ended: no thread: {error}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;
    use crate::call::FUNCTIONS;

    const MOMENT: Duration = Duration::from_millis(20);

    #[test]
    fn what_comes_back_is_brought_and_what_does_not_is_counted_until_it_does() {
        let host = HostTable::leak("test", false, &FUNCTIONS);
        assert_eq!(within(host, Duration::from_secs(30), || 7).unwrap(), 7);
        let (go, wait) = sync_channel::<()>(0);
        let errand = Errand::start(Some(host), move || {
            let _ = wait.recv();
            8
        });
        let errand = errand.unwrap();
        let said = errand.wait(MOMENT).unwrap_err().to_string();
        assert!(said.ends_with("within 20 ms"), "{said}");
        assert!(errand.wait(MOMENT).is_err());
        assert_eq!(host.lost(Lost::Hook), 1, "it is counted once");
        assert_eq!(host.lost(Lost::Call), 0);
        go.send(()).unwrap();
        assert_eq!(errand.wait(Duration::from_secs(30)).unwrap(), 8);
        while host.lost(Lost::Hook) > 0 {
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn what_comes_too_late_is_dropped_on_its_thread() {
        struct Brought(SyncSender<Option<String>>);
        impl Drop for Brought {
            fn drop(&mut self) {
                let name = thread::current().name().map(str::to_owned);
                let _ = self.0.send(name);
            }
        }
        let host = HostTable::leak("test", false, &FUNCTIONS);
        let errand = |is_async: bool| {
            let (dropped, seen) = sync_channel(1);
            let (go, wait) = sync_channel::<()>(1);
            let work = move || {
                let _ = wait.recv();
                Brought(dropped)
            };
            (is_async, work, go, seen)
        };
        for (is_async, work, go, seen) in [errand(false), errand(true)] {
            let late = match is_async {
                false => within(host, MOMENT, work),
                true => within_async(host, MOMENT, work).await,
            };
            assert!(matches!(late, Err(Unreturned::Late(..))));
            go.send(()).unwrap();
            let name = seen.recv_timeout(Duration::from_secs(30)).unwrap();
            assert_eq!(name.as_deref(), Some("omnizap-errand"));
        }
    }

    #[test]
    fn a_panic_is_an_end_too() {
        let host = HostTable::leak("test", false, &FUNCTIONS);
        let ended = within(host, Duration::from_secs(30), || panic!("on purpose"));
        assert!(matches!(ended, Err::<(), _>(Unreturned::Panicked)));
        assert_eq!(host.lost(Lost::Hook), 0);
    }
}

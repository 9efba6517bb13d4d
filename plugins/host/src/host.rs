//! What the host gives to a library: its table of functions and its extensions; and what it keeps
//! of a plugin for as long as the process lives.

#![allow(unsafe_code, reason = "the host's side of the plugin boundary")]

pub(crate) mod crash;
pub(crate) mod inside;
mod releases;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use omnizap_contract::abi;

use self::inside::{Hook, Inside, Left, Who};
pub(crate) use self::releases::Release;
use self::releases::Releases;
use crate::fault::plain;

/// Most lines a second that a plugin may log; the rest is counted.
const MAX_LOG_LINES_PER_SECOND: u32 = 100;
/// Longest line of a plugin's log, in bytes.
const MAX_LOG_LEN: usize = 4096;
/// Most names of metrics of a plugin.
const MAX_METRICS: usize = 64;
/// Longest name of a metric.
const MAX_METRIC_NAME: usize = 64;

/// The table of one library. It lives as long as the process, as the library does.
pub(crate) struct HostTable {
    table: abi::Host,
    cancel: abi::ExtCancel,
    name: String,
    log: Mutex<LogWindow>,
    metrics: Mutex<BTreeMap<String, f64>>,
    /// Threads that were given up and have not come back: of calls, and of all its other functions.
    lost_calls: AtomicUsize,
    lost_hooks: AtomicUsize,
    /// Set while its `release` does not come back.
    keeps_memory: AtomicBool,
    /// Whether the log has it that the plugin leaves signals masked, and floating point changed.
    told_mask: AtomicBool,
    told_floating_point: AtomicBool,
    /// `None`: memory is released by whoever drops it.
    releases: Option<Releases>,
}

/// Where a thread was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// In `run` or `run_batch`, or what a call does around it.
    Call,
    /// In any other function.
    Hook,
}

struct LogWindow {
    began: Instant,
    lines: u32,
    dropped: u64,
}

// SAFETY: the table is constant once made; its context is the HostTable itself, whose other
// parts are behind locks.
unsafe impl Sync for HostTable {}
// SAFETY: as above.
unsafe impl Send for HostTable {}

const fn size<T>() -> u32 {
    // Every struct of the ABI is far smaller than 4 GiB.
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    {
        size_of::<T>() as u32
    }
}

static LOG: abi::ExtLog = abi::ExtLog {
    struct_size: size::<abi::ExtLog>(),
    reserved: 0,
    log: Some(log),
};
static METRICS: abi::ExtMetrics = abi::ExtMetrics {
    struct_size: size::<abi::ExtMetrics>(),
    reserved: 0,
    add: Some(metric_add),
    set: Some(metric_set),
};

/// The functions of the table that are about a call.
pub(crate) struct CallFunctions {
    pub(crate) allocate: unsafe extern "C" fn(*mut abi::Call, usize) -> *mut c_void,
    pub(crate) put_output: unsafe extern "C" fn(
        *mut abi::Call,
        u32,
        *const abi::Value,
        Option<abi::ReleaseFn>,
        *mut c_void,
    ) -> abi::Status,
    pub(crate) is_cancelled: unsafe extern "C" fn(*const abi::Call) -> i32,
}

impl HostTable {
    /// A table for the plugin of that name, kept for good. Where `releases_apart`, what it lent is
    /// released on a thread for that: whoever drops it may be one that must not wait.
    pub(crate) fn leak(
        name: &str,
        releases_apart: bool,
        functions: &CallFunctions,
    ) -> &'static Self {
        let host = Box::into_raw(Box::new(Self {
            table: abi::Host {
                struct_size: size::<abi::Host>(),
                abi_major: abi::ABI_MAJOR,
                abi_minor: abi::ABI_MINOR,
                reserved: 0,
                version: abi::Span::of(env!("CARGO_PKG_VERSION")),
                context: std::ptr::null_mut(),
                get_extension: Some(get_extension),
                allocate: Some(functions.allocate),
                put_output: Some(functions.put_output),
            },
            cancel: abi::ExtCancel {
                struct_size: size::<abi::ExtCancel>(),
                reserved: 0,
                is_cancelled: Some(functions.is_cancelled),
            },
            name: name.to_owned(),
            log: Mutex::new(LogWindow {
                began: Instant::now(),
                lines: 0,
                dropped: 0,
            }),
            metrics: Mutex::new(BTreeMap::new()),
            lost_calls: AtomicUsize::new(0),
            lost_hooks: AtomicUsize::new(0),
            keeps_memory: AtomicBool::new(false),
            told_mask: AtomicBool::new(false),
            told_floating_point: AtomicBool::new(false),
            releases: releases_apart.then(Releases::new),
        }));
        // SAFETY: made above and never freed; nobody else has it yet. The pointer in the table is
        // the one that everybody's references come from, so that none of theirs ends it.
        unsafe {
            (*host).table.context = host.cast();
            &*host
        }
    }

    pub(crate) fn table(&self) -> *const abi::Host {
        &raw const self.table
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Notes that this thread goes into the plugin.
    pub(crate) fn enter<'a>(
        &'static self,
        stage: &'a str,
        request: &'a str,
        hook: Hook,
    ) -> Inside<'a> {
        let plugin = &self.name;
        let who = Who {
            plugin,
            stage,
            request,
        };
        Inside::enter(who, hook, Some(self))
    }

    /// A thread in such a function was given up.
    pub(crate) fn lose(&self, what: Lost) {
        self.counter(what).fetch_add(1, Ordering::Relaxed);
        crash::lose_a_thread();
    }

    /// One that was given up has come back.
    pub(crate) fn regain(&self, what: Lost) {
        self.counter(what).fetch_sub(1, Ordering::Relaxed);
        crash::regain_a_thread();
    }

    /// Threads that have not come back.
    pub(crate) fn lost(&self, what: Lost) -> usize {
        self.counter(what).load(Ordering::Relaxed)
    }

    fn counter(&self, what: Lost) -> &AtomicUsize {
        match what {
            Lost::Call => &self.lost_calls,
            Lost::Hook => &self.lost_hooks,
        }
    }

    /// Why the plugin is not called any more, where `most` threads are the most that its calls may
    /// lose.
    pub(crate) fn given_up(&self, most: usize) -> Option<String> {
        if self.keeps_memory.load(Ordering::Relaxed) {
            return Some("it does not return from release".into());
        }
        let lost = self.lost(Lost::Call);
        (lost >= most.max(1)).then(|| format!("{lost} of its calls have never returned"))
    }

    /// Why no instance of it is made any more, where so many threads are the most that it may lose
    /// with that. Those that there are go on.
    pub(crate) fn is_left_alone(&self, most: usize) -> Option<String> {
        let lost = self.lost(Lost::Hook);
        let why = || format!("{lost} calls of its functions beside run have never returned");
        let is_over = lost >= most.max(1);
        self.given_up(most).or_else(|| is_over.then(why))
    }

    /// Releases what the plugin lent.
    pub(crate) fn release(&'static self, release: Release) {
        match &self.releases {
            None => self.release_here(release),
            Some(releases) => releases.add(self, release),
        }
    }

    fn release_here(&'static self, release: Release) {
        let _inside = self.enter("", "", Hook::Release);
        release.call();
    }

    fn keep_memory(&self) {
        if !self.keeps_memory.swap(true, Ordering::Relaxed) {
            tracing::error!(
                plugin = self.name,
                "the plugin does not return from release: what it lends cannot be given back, and it is not called any more"
            );
        }
    }

    fn returns_memory(&self) {
        if self.keeps_memory.load(Ordering::Relaxed) {
            self.keeps_memory.store(false, Ordering::Relaxed);
        }
    }

    /// Says once what the plugin leaves changed on the host's threads.
    pub(crate) fn note_left(&self, left: Left, hook: Hook) {
        let parts = [
            (left.mask, &self.told_mask, "the signal mask"),
            (
                left.floating_point,
                &self.told_floating_point,
                "how floating point rounds, flushes or traps",
            ),
        ];
        for (is_left, told, what) in parts {
            if is_left && !told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    plugin = self.name,
                    "the plugin changes {what} in {} and leaves it so; it is put back each time",
                    hook.name()
                );
            }
        }
    }

    /// The plugin's metrics, by name.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        self.metrics.lock().map(|m| m.clone()).unwrap_or_default()
    }

    fn metric(&self, name: abi::Span, change: impl FnOnce(f64) -> f64) {
        // SAFETY: the plugin lends the span for the call.
        let name = unsafe { text(name, MAX_METRIC_NAME) };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return;
        }
        let Ok(mut metrics) = self.metrics.lock() else {
            return;
        };
        if metrics.len() >= MAX_METRICS && !metrics.contains_key(&name) {
            return;
        }
        let value = metrics.entry(name).or_insert(0.0);
        let changed = change(*value);
        if changed.is_finite() {
            *value = changed;
        }
    }

    fn line(&self, level: u32, message: &str) {
        {
            let Ok(mut window) = self.log.lock() else {
                return;
            };
            if window.began.elapsed().as_secs() >= 1 {
                if window.dropped > 0 {
                    tracing::warn!(
                        plugin = self.name,
                        dropped = window.dropped,
                        "the plugin logs too much"
                    );
                }
                *window = LogWindow {
                    began: Instant::now(),
                    lines: 0,
                    dropped: 0,
                };
            }
            if window.lines >= MAX_LOG_LINES_PER_SECOND {
                window.dropped += 1;
                return;
            }
            window.lines += 1;
        }
        match level {
            abi::LOG_ERROR => tracing::error!(plugin = self.name, "{message}"),
            abi::LOG_WARN => tracing::warn!(plugin = self.name, "{message}"),
            abi::LOG_INFO => tracing::info!(plugin = self.name, "{message}"),
            _ => tracing::debug!(plugin = self.name, "{message}"),
        }
    }
}

/// A span's text, cut at `most` bytes; what is no UTF-8 is replaced.
///
/// # Safety
/// The span must be readable for its length.
pub(crate) unsafe fn text(span: abi::Span, most: usize) -> String {
    if span.data.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(span.data, span.len.min(most)) };
    String::from_utf8_lossy(bytes).into_owned()
}

/// The table that a plugin hands back.
///
/// # Safety
/// `host` is null or a table made by [`HostTable::leak`].
unsafe fn of<'h>(host: *const abi::Host) -> Option<&'h HostTable> {
    // SAFETY: promised by the caller; tables live as long as the process.
    unsafe { host.as_ref()?.context.cast::<HostTable>().as_ref() }
}

unsafe extern "C" fn get_extension(host: *const abi::Host, id: abi::Span) -> *const c_void {
    // SAFETY: the plugin hands back the table that it was given, and lends the span.
    let (host, id) = unsafe { (of(host), text(id, 64)) };
    match id.as_str() {
        abi::EXT_LOG => (&raw const LOG).cast(),
        abi::EXT_METRICS => (&raw const METRICS).cast(),
        abi::EXT_CANCEL => host.map_or(std::ptr::null(), |host| (&raw const host.cancel).cast()),
        _ => std::ptr::null(),
    }
}

unsafe extern "C" fn log(host: *const abi::Host, level: u32, message: abi::Span) {
    // SAFETY: the plugin hands back the table that it was given, and lends the span.
    let (host, message) = unsafe { (of(host), text(message, MAX_LOG_LEN)) };
    if let Some(host) = host {
        host.line(level, &plain(&message));
    }
}

unsafe extern "C" fn metric_add(host: *const abi::Host, counter: abi::Span, amount: f64) {
    // SAFETY: the plugin hands back the table that it was given.
    if let Some(host) = unsafe { of(host) } {
        host.metric(counter, |value| value + amount);
    }
}

unsafe extern "C" fn metric_set(host: *const abi::Host, gauge: abi::Span, value: f64) {
    // SAFETY: the plugin hands back the table that it was given.
    if let Some(host) = unsafe { of(host) } {
        host.metric(gauge, |_| value);
    }
}

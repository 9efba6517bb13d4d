//! What the host gives to a library: its table of functions and its extensions.

#![allow(unsafe_code, reason = "the host's side of the plugin boundary")]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Mutex;
use std::time::Instant;

use omnizap_contract::abi;

use crate::call::{allocate, is_cancelled, put_output};

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
    name: String,
    log: Mutex<LogWindow>,
    metrics: Mutex<BTreeMap<String, f64>>,
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
static CANCEL: abi::ExtCancel = abi::ExtCancel {
    struct_size: size::<abi::ExtCancel>(),
    reserved: 0,
    is_cancelled: Some(is_cancelled),
};

impl HostTable {
    /// A table for the plugin of that name, kept for good.
    pub(crate) fn leak(name: &str) -> &'static Self {
        let host = Box::leak(Box::new(Self {
            table: abi::Host {
                struct_size: size::<abi::Host>(),
                abi_major: abi::ABI_MAJOR,
                abi_minor: abi::ABI_MINOR,
                reserved: 0,
                version: abi::Span::of(env!("CARGO_PKG_VERSION")),
                context: std::ptr::null_mut(),
                get_extension: Some(get_extension),
                allocate: Some(allocate),
                put_output: Some(put_output),
            },
            name: name.to_owned(),
            log: Mutex::new(LogWindow {
                began: Instant::now(),
                lines: 0,
                dropped: 0,
            }),
            metrics: Mutex::new(BTreeMap::new()),
        }));
        host.table.context = std::ptr::from_mut(host).cast();
        host
    }

    pub(crate) fn table(&self) -> *const abi::Host {
        &raw const self.table
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

unsafe extern "C" fn get_extension(_: *const abi::Host, id: abi::Span) -> *const c_void {
    // SAFETY: the plugin lends the span for the call.
    match unsafe { text(id, 64) }.as_str() {
        abi::EXT_LOG => (&raw const LOG).cast(),
        abi::EXT_METRICS => (&raw const METRICS).cast(),
        abi::EXT_CANCEL => (&raw const CANCEL).cast(),
        _ => std::ptr::null(),
    }
}

unsafe extern "C" fn log(host: *const abi::Host, level: u32, message: abi::Span) {
    // SAFETY: the plugin hands back the table that it was given, and lends the span.
    let (host, message) = unsafe { (of(host), text(message, MAX_LOG_LEN)) };
    if let Some(host) = host {
        host.line(level, &message);
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

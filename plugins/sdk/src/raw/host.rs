//! The host's table and its extensions.

use omnizap_contract::abi;

use super::call::CallRef;

/// The host's table, and those of its extensions that it has; asked for once, because they are
/// constants. They outlive every instance.
#[derive(Clone, Copy)]
pub(crate) struct HostRef {
    table: *const abi::Host,
    log: Option<&'static abi::ExtLog>,
    metrics: Option<&'static abi::ExtMetrics>,
    cancel: Option<&'static abi::ExtCancel>,
}

// SAFETY: the ABI lets the table be used from any thread.
unsafe impl Send for HostRef {}
// SAFETY: as above.
unsafe impl Sync for HostRef {}

impl HostRef {
    pub(crate) fn new(table: *const abi::Host) -> Self {
        Self {
            table,
            log: extension(table, abi::EXT_LOG),
            metrics: extension(table, abi::EXT_METRICS),
            cancel: extension(table, abi::EXT_CANCEL),
        }
    }

    pub(crate) fn table(&self) -> &abi::Host {
        // SAFETY: the table is valid for as long as any instance.
        unsafe { &*self.table }
    }

    pub(crate) fn log(&self, level: u32, message: &str) {
        if let Some(log) = self.log.and_then(|extension| extension.log) {
            // SAFETY: the table is valid, the span is lent for the call.
            unsafe { log(self.table, level, abi::Span::of(message)) };
        }
    }

    pub(crate) fn add(&self, counter: &str, amount: f64) {
        if let Some(add) = self.metrics.and_then(|extension| extension.add) {
            // SAFETY: as above.
            unsafe { add(self.table, abi::Span::of(counter), amount) };
        }
    }

    pub(crate) fn set(&self, gauge: &str, value: f64) {
        if let Some(set) = self.metrics.and_then(|extension| extension.set) {
            // SAFETY: as above.
            unsafe { set(self.table, abi::Span::of(gauge), value) };
        }
    }

    pub(crate) fn is_cancelled(&self, call: &CallRef<'_>) -> bool {
        let asked = self.cancel.and_then(|extension| extension.is_cancelled);
        // SAFETY: the call has not returned.
        asked.is_some_and(|is_cancelled| unsafe { is_cancelled(call.0) } != 0)
    }
}

fn extension<T>(table: *const abi::Host, id: &'static str) -> Option<&'static T> {
    // SAFETY: the table is valid, the span a constant; an extension of that id is a T.
    unsafe {
        let get = table.as_ref()?.get_extension?;
        get(table, abi::Span::of(id)).cast::<T>().as_ref()
    }
}

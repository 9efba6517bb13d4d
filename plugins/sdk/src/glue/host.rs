//! The host's table and its extensions.

use omnizap_contract::abi;

use super::call::CallRef;

/// The host's table. It outlives every instance.
#[derive(Clone, Copy)]
pub struct HostRef(pub(super) *const abi::Host);

// SAFETY: the ABI lets the table be used from any thread.
unsafe impl Send for HostRef {}
// SAFETY: as above.
unsafe impl Sync for HostRef {}

impl HostRef {
    fn extension<T>(self, id: &'static str) -> Option<&'static T> {
        // SAFETY: the table is valid, the span a constant; an extension of that id is a T.
        unsafe {
            let get = (*self.0).get_extension?;
            get(self.0, abi::Span::of(id)).cast::<T>().as_ref()
        }
    }

    pub(crate) fn log(self, level: u32, message: &str) {
        let extension = self.extension::<abi::ExtLog>(abi::EXT_LOG);
        if let Some(log) = extension.and_then(|extension| extension.log) {
            // SAFETY: the table is valid, the span is lent for the call.
            unsafe { log(self.0, level, abi::Span::of(message)) };
        }
    }

    pub(crate) fn count(self, counter: &str, amount: f64) {
        let extension = self.extension::<abi::ExtMetrics>(abi::EXT_METRICS);
        if let Some(add) = extension.and_then(|extension| extension.add) {
            // SAFETY: as above.
            unsafe { add(self.0, abi::Span::of(counter), amount) };
        }
    }

    pub(crate) fn is_cancelled(self, call: &CallRef<'_>) -> bool {
        let extension = self.extension::<abi::ExtCancel>(abi::EXT_CANCEL);
        let asked = extension.and_then(|extension| extension.is_cancelled);
        // SAFETY: the call has not returned.
        asked.is_some_and(|is_cancelled| unsafe { is_cancelled(call.0) } != 0)
    }
}

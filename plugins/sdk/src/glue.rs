//! The functions behind the C ABI. Each catches panics, so that none leaves the plugin.

#![allow(unsafe_code, reason = "the plugin's side of the boundary")]
#![allow(missing_docs, reason = "for the export macro only")]

mod form;
mod give;
mod guard;
mod stage;
#[cfg(test)]
mod tests;

use std::ffi::c_void;

use omnizap_contract::{Error, abi};

use self::guard::guard;
pub use self::stage::make;
use crate::raw::bytes;

/// A constant of the plugin's file.
#[repr(transparent)]
pub struct Constant<T>(pub T);

// SAFETY: constants are never written to, and what they point to is constant too.
unsafe impl<T> Sync for Constant<T> {}

pub const ENTRY: abi::Entry = abi::Entry {
    magic: abi::MAGIC,
    struct_size: size_of::<abi::Entry>() as u32,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    min_host_minor: 0,
    name: abi::Span::EMPTY,
    version: abi::Span::EMPTY,
    build: abi::Span::EMPTY,
    stages: std::ptr::null(),
    stage_count: 0,
    init: None,
    deinit: None,
    get_factory: None,
};

pub type HostPointer = *const abi::Host;
pub type StagePointer = *mut abi::Stage;

/// What the export macro knows and `create` needs.
pub trait Create {
    fn create(host: HostPointer, id: &str) -> Option<StagePointer>;
}

type CreateFn = unsafe extern "C" fn(
    *const abi::Host,
    abi::Span,
    *mut *mut abi::Stage,
    *mut abi::ErrorOut,
) -> abi::Status;

#[must_use]
pub const fn factory(create: CreateFn) -> abi::StageFactory {
    abi::StageFactory {
        struct_size: size_of::<abi::StageFactory>() as u32,
        reserved: 0,
        create: Some(create),
    }
}

#[must_use]
pub fn factory_of(id: abi::Span, factory: &'static abi::StageFactory) -> *const c_void {
    // SAFETY: the host lends the span for the call.
    if unsafe { bytes(id) } == abi::STAGE_FACTORY.as_bytes() {
        std::ptr::from_ref(factory).cast()
    } else {
        std::ptr::null()
    }
}

/// # Safety
/// Called by the host, as the ABI says.
pub unsafe extern "C" fn create<C: Create>(
    host: *const abi::Host,
    id: abi::Span,
    stage: *mut *mut abi::Stage,
    error: *mut abi::ErrorOut,
) -> abi::Status {
    guard(error, || {
        // SAFETY: the host lends the span, and `stage` is its place for the result.
        let id = std::str::from_utf8(unsafe { bytes(id) }).unwrap_or_default();
        let Some(made) = C::create(host, id) else {
            return Err((
                abi::INTERNAL,
                Error::internal("the plugin has no such stage"),
            ));
        };
        // SAFETY: as above.
        unsafe { *stage = made };
        Ok(())
    })
}

//! An opened library. It is never closed: code, tables and descriptors stay valid for as
//! long as the process lives.

#![allow(unsafe_code, reason = "the host's side of the plugin boundary")]

use std::borrow::Cow;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use omnizap_contract::abi;

use crate::call::FUNCTIONS;
use crate::error::FileError;
use crate::fault::{ErrorBuffers, Fault};
use crate::host::inside::{Hook, Inside, Who};
use crate::host::{HostTable, crash};
use crate::manifest::Manifest;
use crate::types::covers;

/// A library whose `init` was called.
pub(crate) struct Library {
    pub(crate) manifest: Manifest,
    pub(crate) host: &'static HostTable,
    pub(crate) entry: &'static abi::Entry,
    pub(crate) factory: &'static abi::StageFactory,
    /// Instances that there are now.
    pub(crate) instances: AtomicUsize,
    _handle: ManuallyDrop<Handle>,
}

impl Library {
    /// Opens a file whose manifest was read and found right. Where `releases_apart`, what it lent
    /// is released on a thread for that.
    ///
    /// # Errors
    /// [`FileError::Open`], [`FileError::Init`], [`FileError::NullFunction`].
    pub(crate) fn open(
        path: &Path,
        mut manifest: Manifest,
        releases_apart: bool,
    ) -> Result<Arc<Self>, FileError> {
        let who = Who {
            plugin: &manifest.name,
            stage: "",
            request: "",
        };
        let inside = Inside::enter(who, Hook::Constructor, None);
        // SAFETY: opening runs the library's initialisers. The operator allowed this very
        // file, by its hash, to run in this process.
        let handle = unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        drop(inside);
        let handle = handle.map_err(|error| FileError::Open(describe(&error, path)))?;
        let handle = ManuallyDrop::new(handle);
        // SAFETY: the file's manifest says that this symbol is an oz_entry of our major
        // version that is at least as long as ours; it is constant and never unloaded.
        let entry: &'static abi::Entry = unsafe {
            let symbol = handle.get::<*const abi::Entry>(abi::ENTRY_SYMBOL);
            let symbol = symbol.map_err(|_| FileError::NoEntry)?;
            symbol.into_raw().cast::<abi::Entry>().as_ref()
        }
        .ok_or(FileError::NoEntry)?;
        let host = HostTable::leak(&manifest.name, releases_apart, &FUNCTIONS);
        crash::know(std::ptr::from_ref(entry).cast(), host.name());
        leak_names(&mut manifest);
        if let Some(Err(fault)) = init(entry, host) {
            return Err(FileError::Init(fault.describe()));
        }
        let get_factory = entry
            .get_factory
            .ok_or(FileError::NullFunction("get_factory"))?;
        let inside = host.enter("", "", Hook::GetFactory);
        // SAFETY: init has succeeded; the span is a constant.
        let factory = unsafe { get_factory(abi::Span::of(abi::STAGE_FACTORY)) };
        drop(inside);
        // SAFETY: a factory is a constant of the library that begins with its size.
        let factory = unsafe { whole(factory.cast::<abi::StageFactory>()) };
        let factory = factory.ok_or_else(|| {
            FileError::Init(format!("it has no factory `{}`", abi::STAGE_FACTORY))
        })?;
        let factory = factory.map_err(|size| FileError::ShortStruct {
            what: "oz_stage_factory",
            size,
            least: size_of::<abi::StageFactory>(),
        })?;
        if factory.create.is_none() {
            return Err(FileError::NullFunction("create"));
        }
        Ok(Arc::new(Self {
            manifest,
            host,
            entry,
            factory,
            instances: AtomicUsize::new(0),
            _handle: handle,
        }))
    }

    /// Calls `deinit`, which undoes one `init`; no instance may be left.
    pub(crate) fn deinit(&self) {
        if let Some(deinit) = self.entry.deinit {
            let _inside = self.host.enter("", "", Hook::Deinit);
            // SAFETY: the caller has dropped the instances; nothing of them is used after.
            unsafe { deinit() };
        }
    }
}

/// Calls `init`; `None` where there is none.
pub(crate) fn init(entry: &abi::Entry, host: &'static HostTable) -> Option<Result<(), Fault>> {
    let init = entry.init?;
    let mut error = ErrorBuffers::new();
    let inside = host.enter("", "", Hook::Init);
    // SAFETY: the table lives for good, the error until the call returns.
    let status = unsafe { init(host.table(), error.out()) };
    drop(inside);
    Some(match status {
        abi::OK => Ok(()),
        _ => Err(error.fault(status)),
    })
}

/// A struct that a plugin gives, where all of it is there that this host knows; else how many bytes
/// of it there are. What lies at an odd place is none.
///
/// # Safety
/// `start` is null or leads to a struct that begins with its size and stays as it is.
pub(crate) unsafe fn whole<'s, T>(start: *const T) -> Option<Result<&'s T, usize>> {
    if start.is_null() || !start.is_aligned() {
        return None;
    }
    // SAFETY: promised by the caller. Of the struct nothing else is known to be there yet.
    let size = unsafe { start.cast::<u32>().read() };
    if !covers(size, size_of::<T>()) {
        return Some(Err(size as usize));
    }
    // SAFETY: as above, and all of it is there.
    Some(Ok(unsafe { &*start }))
}

/// Lets the names of outputs live as long as the library, which is for good: every answer
/// carries them, and copies none.
fn leak_names(manifest: &mut Manifest) {
    let stages = manifest.stages.iter_mut();
    for output in stages.flat_map(|stage| &mut stage.outputs) {
        let name = std::mem::take(&mut output.port.name).into_owned();
        output.port.name = Cow::Borrowed(name.leak());
    }
}

/// The loader's words without the path of the copy, which says nothing to anybody.
fn describe(error: &libloading::Error, path: &Path) -> String {
    let text =
        std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let text = text.replace(&format!("{}: ", path.display()), "");
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_is_whole_where_its_size_says_so() {
        let size = size_of::<abi::ExtBatch>();
        for (words, expected) in [
            ([4, 7], Some(Err(4))),
            ([size as u32, 7], Some(Ok(7))),
            ([64, 7], Some(Ok(7))),
        ] {
            let start = words.as_ptr().cast::<abi::ExtBatch>();
            // SAFETY: the words outlive the call, and are as many as the struct has.
            let found = unsafe { whole(start) };
            assert_eq!(found.map(|it| it.map(|it| it.max_batch)), expected);
            // SAFETY: nothing is read at an odd place.
            assert!(unsafe { whole(start.wrapping_byte_add(1)) }.is_none());
        }
        // SAFETY: null is nothing.
        assert!(unsafe { whole::<abi::ExtBatch>(std::ptr::null()) }.is_none());
    }
}

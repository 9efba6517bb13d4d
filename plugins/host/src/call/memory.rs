//! Memory that outputs lie in: the host's, or a plugin's until it is released.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::Arc;

use omnizap_contract::abi;

use crate::host::{HostTable, Release};

/// Memory of the host for outputs of one call. The plugin writes to it through the pointer that it
/// is given, until its call returns.
pub(super) struct HostBuffer {
    blocks: Box<[UnsafeCell<Block>]>,
}

// SAFETY: the plugin alone writes to it, while its call lasts; it is read once that has returned.
unsafe impl Sync for HostBuffer {}

#[repr(align(64))]
struct Block(#[expect(dead_code, reason = "read as bytes")] [u8; 64]);

impl HostBuffer {
    pub(super) fn new(size: usize) -> Self {
        let blocks = size.div_ceil(64).max(1);
        let zeroed = Box::<[UnsafeCell<Block>]>::new_zeroed_slice(blocks);
        Self {
            // SAFETY: zeros are bytes like any other.
            blocks: unsafe { zeroed.assume_init() },
        }
    }

    pub(super) fn start(&self) -> *mut u8 {
        UnsafeCell::raw_get(self.blocks.as_ptr()).cast()
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len() * 64
    }
}

/// A part of a [`HostBuffer`] that became a value.
pub(super) struct Taken {
    pub(super) buffer: Arc<HostBuffer>,
    pub(super) offset: usize,
    pub(super) len: usize,
}

impl AsRef<[u8]> for Taken {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the part was checked to lie within the buffer, whose every byte is initialised.
        unsafe {
            let start = self.buffer.start().add(self.offset);
            std::slice::from_raw_parts(start, self.len)
        }
    }
}

/// Memory of a plugin that became a value; dropped, it is released once.
pub(super) struct Lent {
    pub(super) data: *const u8,
    pub(super) len: usize,
    pub(super) _owner: Owner,
}

/// Who owns memory of a plugin; dropped, it is told once.
pub(super) struct Owner {
    host: &'static HostTable,
    release: abi::ReleaseFn,
    owner: *mut c_void,
}

impl Owner {
    pub(super) fn new(
        host: &'static HostTable,
        release: abi::ReleaseFn,
        owner: *mut c_void,
    ) -> Self {
        Self {
            host,
            release,
            owner,
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let (release, owner) = (self.release, self.owner);
        self.host.release(Release { release, owner });
    }
}

// SAFETY: the ABI says that release may be called from any thread, and that the data stay
// unchanged until then.
unsafe impl Send for Lent {}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the plugin promised these bytes until release, which drop calls.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

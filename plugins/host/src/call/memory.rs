//! Memory that outputs lie in: the host's, or a plugin's until it is released.

use std::ffi::c_void;
use std::sync::Arc;

use omnizap_contract::abi;

/// Memory of the host for outputs of one call.
pub(super) struct HostBuffer {
    blocks: Box<[Block]>,
}

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Block(#[expect(dead_code, reason = "read as bytes")] [u8; 64]);

impl HostBuffer {
    pub(super) fn new(size: usize) -> Self {
        let blocks = vec![Block([0; 64]); size.div_ceil(64).max(1)];
        Self {
            blocks: blocks.into_boxed_slice(),
        }
    }

    pub(super) fn start(&self) -> *const u8 {
        self.blocks.as_ptr().cast()
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

pub(super) struct Owner {
    pub(super) release: abi::ReleaseFn,
    pub(super) owner: *mut c_void,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: called once, as the ABI promises the plugin; libraries stay loaded.
        unsafe { (self.release)(self.owner) };
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

//! Memory that ends at a page which nobody may touch, and that can be closed altogether: who
//! reads past its end, writes to what is only lent, or comes back later, gets SIGSEGV.

use std::ffi::c_void;
use std::io;

/// Areas of guarded memory, given back to the system when dropped.
pub(super) struct Arena {
    areas: Vec<Area>,
    page: usize,
    /// False: it can be written to, and a little past its end be read, until it is closed.
    is_guarded: bool,
}

/// Whole pages of data, and the guard page behind them.
struct Area {
    start: *mut c_void,
    /// What can be touched before it is closed.
    open_len: usize,
    len: usize,
}

impl Arena {
    pub(super) fn new(is_guarded: bool) -> io::Result<Self> {
        // SAFETY: asks for a constant of the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(|_| io::Error::last_os_error())?;
        Ok(Self {
            areas: Vec::new(),
            page,
            is_guarded,
        })
    }

    /// A copy of `bytes` that ends at a guard page; with no bytes, a pointer to that page.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> io::Result<*mut u8> {
        let place = self.space(bytes.len())?;
        // SAFETY: the space is ours and as long as the bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        Ok(place)
    }

    /// The items of a slice, as [`Self::copy`]. Where their size is a multiple of their
    /// alignment, as that of every type in Rust is, so is their place.
    pub(super) fn copy_items<T: Copy>(&mut self, items: &[T]) -> io::Result<*mut T> {
        let place = self.space(size_of_val(items))?.cast::<T>();
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), place, items.len()) };
        Ok(place)
    }

    /// A value that ends at a guard page. It is never dropped.
    pub(super) fn put<T>(&mut self, value: T) -> io::Result<*mut T> {
        let place = self.space(size_of::<T>())?.cast::<T>();
        // SAFETY: as above.
        unsafe { place.write(value) };
        Ok(place)
    }

    fn space(&mut self, len: usize) -> io::Result<*mut u8> {
        let data_len = len.div_ceil(self.page) * self.page;
        let whole = data_len + self.page;
        // SAFETY: a mapping of its own, at a place of the system's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                whole,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let area = Area {
            start,
            open_len: if self.is_guarded { data_len } else { whole },
            len: whole,
        };
        let opened = area.protect(libc::PROT_READ | libc::PROT_WRITE);
        self.areas.push(area);
        opened?;
        Ok(start.cast::<u8>().wrapping_add(data_len - len))
    }

    /// From here on all of it can only be read, where it is guarded.
    pub(super) fn seal(&self) -> io::Result<()> {
        if !self.is_guarded {
            return Ok(());
        }
        self.areas
            .iter()
            .try_for_each(|area| area.protect(libc::PROT_READ))
    }

    /// From here on none of it can be touched.
    pub(super) fn close(&self) -> io::Result<()> {
        self.areas
            .iter()
            .try_for_each(|area| area.protect(libc::PROT_NONE))
    }
}

impl Area {
    fn protect(&self, access: libc::c_int) -> io::Result<()> {
        if self.open_len == 0 {
            return Ok(());
        }
        // SAFETY: pages of our own mapping; no Rust reference into them is alive.
        match unsafe { libc::mprotect(self.start, self.open_len, access) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for area in &self.areas {
            // SAFETY: our own mapping, used by nobody after.
            unsafe { libc::munmap(area.start, area.len) };
        }
    }
}

//! Memory that is asked for before it is needed.
//!
//! A tower reads more weights than any cache holds, each a few times a picture. Where a processor
//! guesses itself what is read next, it does so up to the end of a page, and starts anew on the next.

#![allow(unsafe_code, reason = "the instruction")]

/// Elements of single precision in a line of a cache.
pub(super) const LINE: usize = 16;

/// Has the line that a value begins in brought into the second cache, while computing goes on.
#[inline(always)]
pub(super) fn fetch<T>(value: &T) {
    let place = std::ptr::from_ref(value);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: it is part of every x86-64, and does nothing to memory but move it to a cache.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(place.cast()) }
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: it is part of every AArch64, and does nothing to memory but move it to a cache.
    unsafe {
        std::arch::asm!(
            "prfm pldl2keep, [{place}]",
            place = in(reg) place,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    let _ = place;
}

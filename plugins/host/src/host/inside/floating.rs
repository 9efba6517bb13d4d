//! How this thread's floating point rounds, flushes and traps.

#[cfg(all(not(miri), any(target_arch = "x86_64", target_arch = "aarch64")))]
use std::arch::asm;

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod other {
    /// Nothing is known of this processor's. Miri's has no registers.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) struct Control;

    impl Control {
        pub(in super::super) fn now() -> Self {
            Self
        }

        pub(in super::super) fn set(self) {}
    }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(super) use other::Control;

/// The control bits of MXCSR, and the control word of the x87.
#[cfg(all(not(miri), target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Control {
    mxcsr: u32,
    x87: u16,
}

/// The bits of MXCSR that say what has happened. They are nobody's to keep.
#[cfg(all(not(miri), target_arch = "x86_64"))]
const STATUS: u32 = 0x3f;

#[cfg(all(not(miri), target_arch = "x86_64"))]
impl Control {
    #[inline]
    pub(super) fn now() -> Self {
        let (mut mxcsr, mut x87) = (0_u32, 0_u16);
        // SAFETY: each writes its register into a place of our own of that size.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags));
            asm!("fnstcw [{}]", in(reg) &raw mut x87, options(nostack, preserves_flags));
        }
        Self {
            mxcsr: mxcsr & !STATUS,
            x87,
        }
    }

    #[cold]
    pub(super) fn set(self) {
        // SAFETY: both values were read from these registers. What the x87 has pending is cleared
        // first: a trap that is set again would else go off at once.
        unsafe {
            asm!("fnclex", options(nostack, nomem, preserves_flags));
            asm!("fldcw [{}]", in(reg) &raw const self.x87, options(nostack, preserves_flags));
            asm!("ldmxcsr [{}]", in(reg) &raw const self.mxcsr, options(nostack, preserves_flags));
        }
    }

    #[cfg(test)]
    pub(super) fn rounding_up(self) -> Self {
        Self {
            mxcsr: self.mxcsr | 0x4000,
            ..self
        }
    }
}

/// FPCR.
#[cfg(all(not(miri), target_arch = "aarch64"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Control(u64);

#[cfg(all(not(miri), target_arch = "aarch64"))]
impl Control {
    #[inline]
    pub(super) fn now() -> Self {
        let fpcr: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) };
        Self(fpcr)
    }

    #[cold]
    pub(super) fn set(self) {
        // SAFETY: the value was read from this register.
        unsafe { asm!("msr fpcr, {}", in(reg) self.0, options(nomem, nostack, preserves_flags)) };
    }

    #[cfg(test)]
    pub(super) fn rounding_up(self) -> Self {
        Self(self.0 | 1 << 22)
    }
}

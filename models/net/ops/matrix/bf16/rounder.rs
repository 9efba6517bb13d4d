//! Rows that one product rounds as the next one takes them: they need be neither kept in single
//! precision nor read again.

use super::Rows;
#[cfg(target_arch = "x86_64")]
use super::{amx, in_tasks};
#[cfg(target_arch = "x86_64")]
use crate::net::ops::matrix::avx512::{LANES, Pairs};

/// What rounds them, where the kernel does so.
#[derive(Clone, Copy, Debug)]
pub(in crate::net::ops) struct Rounder(#[cfg(target_arch = "x86_64")] Pairs);

#[cfg(target_arch = "x86_64")]
impl Rounder {
    /// For products with so many columns.
    pub(in crate::net::ops::matrix) fn find(columns: usize) -> Option<Self> {
        let kernel = Pairs::find()?;
        let fits = columns.is_multiple_of(LANES) && amx::Kernel::find().is_none();
        fits.then_some(Self(kernel))
    }

    /// As many rows as `held` has, which is room for sums, to `[rows, columns / 2]` words.
    pub(in crate::net::ops::matrix) fn round(
        self,
        rows: &Rows<'_>,
        held: &mut [f32],
        words: &mut [u32],
    ) {
        let half = rows.after.columns / 2;
        in_tasks(rows, held, |task, first| {
            self.0.run_task(task, Some(&mut words[first * half..]));
        });
    }

    /// Rows of words; those of `rows` are not looked at.
    pub(in crate::net::ops::matrix) fn multiply(
        self,
        words: &[u32],
        rows: &Rows<'_>,
        output: &mut [f32],
    ) {
        self.0.multiply(words, rows, output);
    }
}

/// There is none.
#[cfg(not(target_arch = "x86_64"))]
impl Rounder {
    pub(in crate::net::ops::matrix) fn find(_: usize) -> Option<Self> {
        None
    }

    pub(in crate::net::ops::matrix) fn round(self, _: &Rows<'_>, _: &mut [f32], _: &mut [u32]) {}

    pub(in crate::net::ops::matrix) fn multiply(self, _: &[u32], _: &Rows<'_>, _: &mut [f32]) {}
}

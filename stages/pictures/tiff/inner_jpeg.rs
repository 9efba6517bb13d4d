//! JPEG within TIFF.

use omnizap_contract::Error;

use super::canvas::{Canvas, Place};
use super::ifd::Directory;
use super::layout::{Layout, unread};
use super::samples::Narrow;
use crate::limits::Limits;

pub(super) fn room(width: u32, height: u32) -> u64 {
    12 * u64::from(width) * u64::from(height)
}

pub(super) struct Reader<'a> {
    _tables: Option<&'a [u8]>,
}

impl<'a> Reader<'a> {
    pub(super) fn of(_directory: &Directory<'a>) -> Self {
        Self { _tables: None }
    }

    pub(super) fn read(
        &self,
        _bytes: &[u8],
        _layout: &Layout,
        _limits: Limits,
        _canvas: &mut Canvas,
        _narrow: &Narrow,
        _place: Place,
    ) -> Result<(), Error> {
        Err(unread("JPEG compression"))
    }
}

pub(super) fn read_old(
    _directory: &Directory<'_>,
    _layout: &Layout,
    _limits: Limits,
    _canvas: &mut Canvas,
) -> Result<(), Error> {
    Err(unread("old-style JPEG compression"))
}

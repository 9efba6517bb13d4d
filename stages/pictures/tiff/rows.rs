//! Rows of samples as a decoder of compressed data gives them, and what is amiss with them.

use std::io;

use image::ImageFormat;
use omnizap_contract::Error;

use crate::fault;

/// Rows of samples, one after another.
pub(super) trait Rows {
    /// Fills the next row.
    ///
    /// # Errors
    /// `UnexpectedEof` where the data ends before the row does, another where it is broken.
    fn row(&mut self, row: &mut [u8]) -> io::Result<()>;

    /// Looks at what is behind the last row.
    ///
    /// # Errors
    /// Where that shows that the rows were broken.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn ends_early() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

pub(super) fn damaged(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// What the client hears of a row that could not be read.
pub(super) fn fault_of(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        fault::truncated(ImageFormat::Tiff)
    } else {
        fault::broken(ImageFormat::Tiff, error)
    }
}

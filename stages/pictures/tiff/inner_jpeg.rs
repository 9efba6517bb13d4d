//! JPEG within TIFF: a stream for each strip or tile, with tables that the directory keeps.
//!
//! What a stream claims to be is held against its strip or tile before it is decoded. So are its
//! scans: each goes over all of the picture, and a scan takes a few bytes.

use image::ImageFormat;
use omnizap_contract::Error;

use super::canvas::{Canvas, Place};
use super::ifd::{Directory, tag, unread};
use super::layout::{BLOCK, Layout};
use super::samples::Narrow;
use crate::fault;
use crate::jpeg::{Inner, InnerColours, decode_inner};
use crate::limits::Limits;

/// How often scans may go over a picture at the limit.
const MOST_PASSES: u64 = 16;

/// Whether a stream keeps coefficients: it comes in several scans, or may do so.
pub(super) fn is_progressive(stream: &[u8]) -> bool {
    let markers = || stream.windows(2);
    markers().any(|pair| pair == [0xFF, 0xC2]) || scans(stream) > 1
}

/// Starts of scans; what looks so within other segments counts too.
fn scans(stream: &[u8]) -> u64 {
    let markers = stream.windows(2);
    markers.filter(|pair| *pair == [0xFF, 0xDA]).count() as u64
}

/// Reads strips and tiles.
pub(super) struct Reader<'a> {
    tables: Option<&'a [u8]>,
    limits: Limits,
    /// Pixels that scans may still go over.
    left: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn of(directory: &Directory<'a>, limits: Limits) -> Self {
        let tables = directory.find(tag::JPEG_TABLES);
        Self {
            tables: tables.map(|values| values.bytes()),
            limits,
            left: MOST_PASSES * limits.max_pixels.max(1 << 20),
        }
    }

    fn decode(&mut self, stream: &[u8], layout: &Layout) -> Result<Inner, Error> {
        let grid = layout.grid;
        let passes = scans(stream) * u64::from(grid.width) * u64::from(grid.height);
        let left = self.left.checked_sub(passes);
        self.left = left.ok_or_else(|| broken("its JPEG streams have too many scans"))?;
        let height = if grid.is_tiled {
            grid.height
        } else {
            grid.height.next_multiple_of(BLOCK)
        };
        let colours = if layout.is_jpeg_ycbcr {
            InnerColours::YCbCrToRgb
        } else {
            InnerColours::AsStored
        };
        let expected = (grid.width, height);
        let inner = decode_inner(stream, self.tables, expected, colours, self.limits);
        // It speaks of a JPEG picture, which this file is not.
        let inner = inner.map_err(|error| match error.code() {
            "broken_image" => broken(error),
            "truncated_image" => fault::truncated(ImageFormat::Tiff),
            _ => error,
        })?;
        if usize::from(inner.components) != layout.samples_of_chunk() {
            return Err(broken("its JPEG stream has another number of components"));
        }
        Ok(inner)
    }

    /// Decodes the stream of a strip or a tile to its place.
    ///
    /// # Errors
    /// `Invalid` where the stream is broken, of another size or another number of samples;
    /// `UnsupportedType` for kinds of JPEG that are not read.
    pub(super) fn read(
        &mut self,
        stream: &[u8],
        layout: &Layout,
        canvas: &mut Canvas,
        narrow: &Narrow,
        place: Place,
    ) -> Result<(), Error> {
        let inner = self.decode(stream, layout)?;
        let lines = place.top
            ..layout
                .height
                .min(place.top.saturating_add(layout.grid.height));
        let row_bytes = layout.row_bytes() as usize;
        if inner.width != layout.grid.width || inner.height < lines.end - lines.start {
            return Err(broken("its JPEG stream is smaller than its place"));
        }
        for (row, top) in inner.samples.chunks_exact(row_bytes).zip(lines) {
            canvas.put(layout, narrow, row, Place { top, ..place });
        }
        Ok(())
    }
}

/// The bytes of a picture in the way of 1992, where the file has a whole JPEG stream.
///
/// # Errors
/// `UnsupportedType` where tables and data lie apart, `Invalid` where there is no stream.
pub(super) fn old_stream<'a>(directory: &Directory<'a>) -> Result<&'a [u8], Error> {
    let start = directory.value(tag::JPEG_STREAM).unwrap_or(0);
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let stream = directory.file.get(start..).unwrap_or_default();
    if start == 0 || !stream.starts_with(b"\xff\xd8") {
        return Err(unread("a JPEG of the way of 1992 in parts"));
    }
    let length = directory.value(tag::JPEG_STREAM_LENGTH).unwrap_or(0);
    match usize::try_from(length) {
        Ok(length @ 1..) if scans(&stream[..length.min(stream.len())]) > 0 => {
            Ok(&stream[..length.min(stream.len())])
        }
        _ => Ok(stream),
    }
}

fn broken(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    fault::broken(ImageFormat::Tiff, reason)
}

//! JPEG streams inside other formats: TIFF keeps a strip or a tile in each.

use omnizap_contract::Error;

use super::fault_of::broken;
use super::frame::Coding;
use super::huffman::AtEnd;
use super::stream::{Event, Stream, Tables};
use super::{colour, picture, rows};
use crate::limits::Limits;

/// Samples of an inner picture.
pub(crate) struct Inner {
    /// In pixels.
    pub(crate) width: u32,
    /// In pixels.
    pub(crate) height: u32,
    /// Samples of a pixel: 1, 3 or 4.
    pub(crate) components: u8,
    /// `[height, width, components]`, 8 bits each.
    pub(crate) samples: Vec<u8>,
}

/// What becomes of an inner picture's colours. Its own markers are not asked, the outer format knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InnerColours {
    /// They stay as they are stored, only brought to full resolution.
    AsStored,
    /// Three components are YCbCr and become RGB; one or four stay.
    YCbCrToRgb,
}

/// Decodes a JPEG stream inside another format. `tables` is the stream of tables that TIFF keeps
/// apart (tag JPEGTables). The inner picture may be smaller than `expected`, in width and height,
/// never larger, which is checked before anything is allocated.
///
/// As libtiff does, a stream that ends early leaves the rest gray.
///
/// # Errors
/// `Invalid` where the stream is broken or larger than expected, `UnsupportedType` for kinds of JPEG
/// that are not decoded, `TooLarge` where it exceeds the limits.
pub(crate) fn decode_inner(
    stream: &[u8],
    tables: Option<&[u8]>,
    expected: (u32, u32),
    colours: InnerColours,
    limits: Limits,
) -> Result<Inner, Error> {
    let tables = tables.map_or(Ok(Tables::default()), read_tables)?;
    let mut stream = Stream::new(stream, AtEnd::EndMarker, tables)?;
    let Event::Scan(scan) = stream.next()? else {
        return Err(broken("an inner picture without a scan"));
    };
    let frame = stream.frame.clone();
    let frame = frame.ok_or_else(|| broken("an inner picture without a frame"))?;
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    if width > expected.0 || height > expected.1 {
        return Err(broken(format!(
            "an inner picture of {width}x{height} in a place of {}x{}",
            expected.0, expected.1
        )));
    }
    frame.check(limits)?;
    if !matches!(frame.coding, Coding::Sequential | Coding::Progressive) {
        return Err(super::fault_of::rare("inside another, coded in a rare way"));
    }
    stream.fill_in_tables();
    let components = frame.components.len();
    let size = usize::from(frame.width) * usize::from(frame.height) * components;
    limits.check_alloc(picture::bytes(&frame, &scan) + size as u64)?;
    let planes = picture::planes(&mut stream, &frame, &scan, limits)?;
    let is_to_rgb = colours == InnerColours::YCbCrToRgb;
    let mut samples = vec![0; size];
    rows(&frame, &planes, &mut samples, components, |rows, out| {
        colour::interleaved(is_to_rgb, rows, out);
    });
    Ok(Inner {
        width,
        height,
        components: components as u8,
        samples,
    })
}

fn read_tables(stream: &[u8]) -> Result<Tables, Error> {
    let mut stream = Stream::new(stream, AtEnd::EndMarker, Tables::default())?;
    match stream.next()? {
        Event::End => Ok(stream.tables),
        Event::Scan(_) => Err(broken("a picture where only tables should be")),
    }
}

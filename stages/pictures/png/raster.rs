//! The pixels of a picture, or of one frame of it.

use fdeflate::DecompressionError;

use super::expand::Expand;
use super::header::Header;
use super::inflate::{Filled, Inflate, window_bytes};
use super::unfilter::unfilter;

/// Why there are no pixels.
#[derive(Debug)]
pub(super) enum Flaw {
    /// Some are missing.
    Missing,
    /// The compressed stream is damaged.
    Stream(DecompressionError),
    /// A row has no filter that there is.
    Filter,
}

impl From<DecompressionError> for Flaw {
    fn from(error: DecompressionError) -> Self {
        Self::Stream(error)
    }
}

/// The passes of an interlaced picture: first column and row, and the steps to the next ones (PNG
/// specification, section 8.1).
const ADAM7: [[u32; 4]; 7] = [
    [0, 0, 8, 8],
    [4, 0, 8, 8],
    [0, 4, 4, 8],
    [2, 0, 4, 4],
    [0, 2, 2, 4],
    [1, 0, 2, 2],
    [0, 1, 1, 2],
];

/// What a picture without interlacing is.
const ONE_PASS: [[u32; 4]; 1] = [[0, 0, 1, 1]];

fn passes(header: &Header) -> &'static [[u32; 4]] {
    if header.is_interlaced {
        &ADAM7
    } else {
        &ONE_PASS
    }
}

/// The width and height of a pass, whose sides may be 0.
fn size(header: &Header, [left, top, across, down]: [u32; 4]) -> (u32, u32) {
    (
        header.width.saturating_sub(left).div_ceil(across),
        header.height.saturating_sub(top).div_ceil(down),
    )
}

/// How long the stream of the picture is.
fn stream_bytes(header: &Header) -> u64 {
    let lengths = passes(header).iter().map(|&pass| match size(header, pass) {
        (0, _) => 0,
        (width, height) => u64::from(height) * (header.row_bytes(width) as u64 + 1),
    });
    lengths.sum()
}

/// How many bytes [`decode`] holds at most besides the pixels.
pub(super) fn scratch_bytes(header: &Header) -> u64 {
    let rows = 2 * (header.row_bytes(header.width) as u64 + 1);
    let pixels = if header.is_interlaced {
        4 * u64::from(header.width)
    } else {
        0
    };
    rows + pixels + window_bytes(stream_bytes(header))
}

/// Decodes the pixels: RGB, or RGBA where `has_alpha` says so. The header is within the limits.
///
/// A stream that ends as it should behind some whole rows leaves the others zero, as Pillow does.
///
/// # Errors
/// Where pixels are missing, or the stream is damaged.
pub(super) fn decode<'a>(
    header: &Header,
    expand: &Expand,
    has_alpha: bool,
    parts: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, Flaw> {
    let channels = if has_alpha { 4 } else { 3 };
    let stride = channels * header.width as usize;
    let mut pixels = vec![0; stride * header.height as usize];
    let mut stream = Inflate::new(parts, stream_bytes(header));
    let mut row = vec![0; header.row_bytes(header.width) + 1];
    let mut previous = row.clone();
    let mut sparse = Vec::new();
    let mut is_first = true;
    for &pass in passes(header) {
        let [left, top, across, down] = pass.map(|number| number as usize);
        let (width, height) = size(header, pass);
        if width == 0 {
            continue;
        }
        let length = header.row_bytes(width) + 1;
        previous.fill(0);
        let rows = pixels.chunks_exact_mut(stride).skip(top).step_by(down);
        for out in rows.take(height as usize) {
            match stream.fill(&mut row[..length])? {
                Filled::All => {}
                Filled::Ended(0) if !is_first => return Ok(pixels),
                Filled::Ended(_) | Filled::Cut => return Err(Flaw::Missing),
            }
            is_first = false;
            let filter = row[0];
            let above = &previous[1..length];
            if !unfilter(filter, header.pixel_bits(), above, &mut row[1..length]) {
                return Err(Flaw::Filter);
            }
            let samples = &row[1..length];
            if header.is_interlaced {
                sparse.resize(channels * width as usize, 0);
                make(expand, has_alpha, samples, &mut sparse);
                let to = out.chunks_exact_mut(channels).skip(left).step_by(across);
                for (to, from) in to.zip(sparse.chunks_exact(channels)) {
                    to.copy_from_slice(from);
                }
            } else {
                make(expand, has_alpha, samples, out);
            }
            std::mem::swap(&mut row, &mut previous);
        }
    }
    stream.finish()?;
    Ok(pixels)
}

fn make(expand: &Expand, has_alpha: bool, samples: &[u8], out: &mut [u8]) {
    if has_alpha {
        expand.rgba(samples, out);
    } else {
        expand.rgb(samples, out);
    }
}

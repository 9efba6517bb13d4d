//! The first frame of a GIF, on its canvas.
//!
//! Decoded by hand from palette indices, because what lies beneath transparency counts
//! when alpha is dropped: Pillow fills what the first frame leaves open with the
//! transparent index, or with index 0.

use std::io::Cursor;

use ::gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, MemoryLimit};
use image::metadata::Orientation;
use image::{ImageFormat, RgbaImage};
use omnizap_contract::Error;

use super::limits::Limits;
use super::{Still, fault};

/// How many bytes decoding takes at most at one time, as the header tells: the canvas, and on it a
/// frame of indices.
///
/// # Errors
/// As [`decode`], as far as the header tells.
pub(super) fn room(file: &[u8], limits: Limits) -> Result<u64, Error> {
    let decoder = open(file, limits)?;
    Ok(5 * u64::from(decoder.width()) * u64::from(decoder.height()))
}

/// Decodes the first frame as RGBA, its transparent and uncovered pixels with alpha 0.
/// The format knows no orientation.
///
/// # Errors
/// `TooLarge` where the canvas or the frame exceeds a limit, `Invalid` where the
/// content is broken.
pub(super) fn decode(file: &[u8], limits: Limits) -> Result<Still, Error> {
    let mut decoder = open(file, limits)?;
    let (width, height) = (u32::from(decoder.width()), u32::from(decoder.height()));
    let global_palette = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = match decoder.next_frame_info().map_err(failed)? {
        Some(frame) => frame.clone(),
        None => return Err(fault::broken(ImageFormat::Gif, "there is no frame")),
    };
    // A frame may be larger than its canvas.
    limits.check(frame.width.into(), frame.height.into())?;
    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices).map_err(failed)?;

    let palette = frame.palette.or(global_palette).unwrap_or_default();
    let colour = |index: u8| {
        let at = 3 * usize::from(index);
        let rgb = palette.get(at..at + 3).unwrap_or(&[0; 3]);
        let alpha = if frame.transparent == Some(index) {
            0
        } else {
            255
        };
        [rgb[0], rgb[1], rgb[2], alpha]
    };
    let [red, green, blue, _] = colour(frame.transparent.unwrap_or(0));
    let mut canvas = RgbaImage::from_pixel(width, height, [red, green, blue, 0].into());
    let (left, top) = (u32::from(frame.left), u32::from(frame.top));
    let rows = indices.chunks_exact(usize::from(frame.width).max(1));
    for (y, row) in (top..height).zip(rows) {
        for (x, &index) in (left..width).zip(row) {
            canvas.put_pixel(x, y, colour(index).into());
        }
    }
    Ok(Still {
        image: canvas.into(),
        turn: Orientation::NoTransforms,
        icc: None,
    })
}

/// A decoder that has read the header, which is within the limits.
fn open(file: &[u8], limits: Limits) -> Result<Decoder<Cursor<&[u8]>>, Error> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(match limits.max_alloc_bytes.try_into() {
        Ok(bytes) => MemoryLimit::Bytes(bytes),
        Err(_) => MemoryLimit::Unlimited,
    });
    let decoder = options.read_info(Cursor::new(file)).map_err(failed)?;
    limits.check(decoder.width().into(), decoder.height().into())?;
    Ok(decoder)
}

fn failed(error: DecodingError) -> Error {
    match error {
        DecodingError::UnexpectedEof => fault::truncated(ImageFormat::Gif),
        DecodingError::Io(error) => {
            fault::from_decoder(ImageFormat::Gif, image::ImageError::IoError(error))
        }
        error => fault::broken(ImageFormat::Gif, error),
    }
}

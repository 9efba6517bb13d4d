//! The way of what cameras and programs write: the crate libjpeg-turbo-rs, which is fast and strict.
//! Whatever it does not take goes the careful way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::ImageFormat;
use libjpeg_turbo_rs::{
    ColorSpace, DecodeLimits, Decoder, Image, JpegError, PixelFormat, RawImage, ScalingFactor,
};
use omnizap_contract::Error;

use super::canonical;
use super::colour::Colours;
use super::fault_of::{too_many_scans, truncated};
use super::frame::{Coding, Frame, Scan};
use super::picture::{MOST_SCANS, is_single};
use crate::fault;
use crate::limits::{Limits, MAX_ALLOC_BYTES};

/// True where a picture is of a kind that the crate decodes right.
pub(super) fn is_for(frame: &Frame, scan: &Scan) -> bool {
    let sampling = |at: usize| (frame.components[at].across, frame.components[at].down);
    let is_plain = match frame.components.len() {
        1 => sampling(0) == (1, 1),
        3 => {
            sampling(0).0 <= 2
                && sampling(0).1 <= 2
                && sampling(1) == (1, 1)
                && sampling(2) == (1, 1)
        }
        _ => false,
    };
    is_plain && (frame.coding == Coding::Progressive || is_single(frame, scan))
}

/// A picture in RGB, its sides divided by `divisor`: 1, 2, 4 or 8.
///
/// # Errors
/// Whatever the crate finds wrong or odd.
pub(super) fn decode(
    file: &[u8],
    colours: Colours,
    divisor: u32,
    limits: Limits,
) -> Result<Image, JpegError> {
    let work = || decode_guarded(file, colours, divisor, limits);
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a JPEG decoder panicked; please report the file to its authors");
        Err(JpegError::CorruptData("the decoder panicked".to_owned()))
    })
}

fn decode_guarded(
    file: &[u8],
    colours: Colours,
    divisor: u32,
    limits: Limits,
) -> Result<Image, JpegError> {
    let mut decoder = Decoder::new_with_limits(file, bounds(limits))?;
    let known = match decoder.jpeg_color_space() {
        ColorSpace::Grayscale => Colours::Gray,
        ColorSpace::Rgb => Colours::Rgb,
        ColorSpace::YCbCr => Colours::YCbCr,
        _ => return Err(JpegError::Unsupported("colours".to_owned())),
    };
    if known != colours {
        return Err(JpegError::CorruptData("other colours".to_owned()));
    }
    decoder.set_output_format(PixelFormat::Rgb);
    decoder.set_stop_on_warning(true);
    // As libjpeg by default: pictures whose last scans are missing.
    decoder.set_block_smoothing(true);
    if divisor > 1 {
        decoder.set_scale(ScalingFactor::try_new(1, divisor)?);
    }
    decoder.decode_image()
}

/// A picture without a transform, in RGB.
///
/// # Errors
/// As [`super::decode`].
pub(super) fn lossless(file: &[u8], limits: Limits) -> Result<Vec<u8>, Error> {
    let file = canonical::of(file)?;
    let mut decoder = Decoder::new_with_limits(&file, bounds(limits)).map_err(failed)?;
    decoder.set_output_format(PixelFormat::Rgb);
    Ok(decoder.decode_image().map_err(failed)?.data)
}

/// The planes of a picture that the arithmetic coder wrote.
///
/// # Errors
/// As [`super::decode`].
pub(super) fn arithmetic(file: &[u8], limits: Limits) -> Result<RawImage, Error> {
    let file = canonical::of(file)?;
    let decoder = Decoder::new_with_limits(&file, bounds(limits)).map_err(failed)?;
    decoder.decode_raw().map_err(failed)
}

fn bounds(limits: Limits) -> DecodeLimits {
    DecodeLimits {
        // Sides and pixels were checked, where the message names our own limits.
        max_width: usize::MAX,
        max_height: usize::MAX,
        max_pixels: u64::MAX,
        max_scans: MOST_SCANS,
        max_memory: Some(limits.max_alloc_bytes),
    }
}

fn failed(error: JpegError) -> Error {
    match error {
        JpegError::UnexpectedEof => truncated(),
        JpegError::Unsupported(_) => fault::rare_kind(ImageFormat::Jpeg, error),
        JpegError::LimitExceeded { what, .. } if what.contains("scan") => too_many_scans(),
        JpegError::LimitExceeded { .. } => {
            let what = "that takes too much to decode".to_owned();
            fault::too_large(what, MAX_ALLOC_BYTES).with_source(error)
        }
        error => fault::broken(ImageFormat::Jpeg, error),
    }
}

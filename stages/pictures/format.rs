//! The first picture of a file of any format, and its frames, within limits.

use image::ImageFormat;
use omnizap_contract::Error;

use super::animation::Animation;
use super::limits::Limits;
use super::{Still, bmp, fault, gif, jpeg, png, tiff, webp};

/// How many bytes decoding takes at most at one time, as the header tells. No pixel is decoded.
///
/// # Errors
/// As [`decode`], as far as the header tells.
pub(super) fn room(file: &[u8], format: ImageFormat, limits: Limits) -> Result<u64, Error> {
    match format {
        ImageFormat::Jpeg => jpeg::room(file, limits),
        ImageFormat::Png => png::room(file, limits),
        ImageFormat::Gif => gif::room(file, limits),
        ImageFormat::Tiff => tiff::room(file, limits),
        ImageFormat::WebP => webp::room(file, limits),
        ImageFormat::Bmp => bmp::room(file, limits),
        // None that `sniff` tells.
        other => Err(fault::foreign(fault::Foreign::Picture, fault::name(other))),
    }
}

/// Decodes the first picture of a file, and how it wants to be turned. Where less will do, as
/// `scaled_to` says, a JPEG may come smaller than it is.
///
/// # Errors
/// `TooLarge` where the header exceeds a limit, `Invalid` where the content is broken,
/// `UnsupportedType` for kinds within a format that are not decoded.
pub(super) fn decode(
    file: &[u8],
    format: ImageFormat,
    limits: Limits,
    scaled_to: Option<u32>,
) -> Result<Still, Error> {
    match format {
        ImageFormat::Jpeg => jpeg::decode(file, limits, scaled_to),
        ImageFormat::Png => png::decode(file, limits),
        ImageFormat::Gif => gif::decode(file, limits),
        ImageFormat::Tiff => tiff::decode(file, limits),
        ImageFormat::WebP => webp::decode(file, limits),
        ImageFormat::Bmp => bmp::decode(file, limits),
        // None that `sniff` tells.
        other => Err(fault::foreign(fault::Foreign::Picture, fault::name(other))),
    }
}

/// The frames of a file; none of one that does not move.
///
/// # Errors
/// As [`decode`].
pub(super) fn animation<'a>(
    file: &'a [u8],
    format: ImageFormat,
    limits: Limits,
) -> Result<Option<Box<dyn Animation + 'a>>, Error> {
    match format {
        ImageFormat::Gif => gif::animation(file, limits),
        ImageFormat::Png => png::animation(file, limits),
        ImageFormat::WebP => webp::animation(file, limits),
        _ => Ok(None),
    }
}

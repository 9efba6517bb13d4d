//! Which format a file has, and its first picture, within limits.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use omnizap_contract::Error;

use super::animation::Animation;
use super::limits::Limits;
use super::{Still, fault, gif, jpeg, pixels, png, webp};

/// The format that the content has, one of those that [`decode`] knows.
///
/// # Errors
/// `Invalid` where the file is empty or no picture, `UnsupportedType` where it is a
/// picture of another format.
pub(super) fn sniff(file: &[u8]) -> Result<ImageFormat, Error> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if file.is_empty() {
        return Err(fault::empty());
    }
    match image::guess_format(file) {
        Ok(format @ (Bmp | Gif | Jpeg | Png | Tiff | WebP)) => Ok(format),
        Ok(other) => Err(fault::unsupported_format(fault::name(other))),
        // What phones send: a container of the same family as MP4 (ISO 14496-12).
        Err(_)
            if matches!(
                file.get(4..12),
                Some(b"ftypheic" | b"ftypheix" | b"ftypmif1")
            ) =>
        {
            Err(fault::unsupported_format("HEIC"))
        }
        Err(_) => Err(fault::not_an_image()),
    }
}

/// How many bytes decoding takes at most at one time, as the header tells. No pixel is decoded.
///
/// # Errors
/// As [`decode`], as far as the header tells.
pub(super) fn room(file: &[u8], format: ImageFormat, limits: Limits) -> Result<u64, Error> {
    match format {
        ImageFormat::Jpeg => return jpeg::room(file, limits),
        ImageFormat::Png => return png::room(file, limits),
        ImageFormat::Gif => return gif::room(file, limits),
        ImageFormat::WebP => return webp::room(file, limits),
        _ => {}
    }
    let mut decoder = open(file, format, limits)?;
    let (width, height) = decoder.dimensions();
    let rgb = pixels::rgb8_bytes(width, height);
    // What has eight bits a sample and colours becomes RGB where it is.
    let made = match decoder.color_type() {
        ColorType::Rgb8 | ColorType::Rgba8 => 0,
        _ => rgb,
    };
    let turn = orientation(&mut decoder);
    Ok((decoder.total_bytes() + made).max(pixels::turned_bytes(rgb, turn)))
}

/// Decodes the first picture of a file, and how it wants to be turned.
///
/// # Errors
/// `TooLarge` where the header exceeds a limit, `Invalid` where the content is broken,
/// `UnsupportedType` for kinds within a format that are not decoded.
pub(super) fn decode(file: &[u8], format: ImageFormat, limits: Limits) -> Result<Still, Error> {
    match format {
        ImageFormat::Jpeg => return jpeg::decode(file, limits),
        ImageFormat::Png => return png::decode(file, limits),
        ImageFormat::Gif => return gif::decode(file, limits),
        ImageFormat::WebP => return webp::decode(file, limits),
        _ => {}
    }
    let failed = |error| fault::from_decoder(format, error);
    let mut decoder = open(file, format, limits)?;
    let orientation = orientation(&mut decoder);
    decoder
        .set_limits(limits.of_image_crate())
        .map_err(failed)?;
    let icc = decoder.icc_profile().unwrap_or_default();
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    Ok(Still {
        image,
        turn: orientation,
        icc,
    })
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

/// A decoder of the image crate that has read the header, which is within the limits.
fn open(file: &[u8], format: ImageFormat, limits: Limits) -> Result<impl ImageDecoder, Error> {
    let failed = |error| fault::from_decoder(format, error);
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    reader.limits(limits.of_image_crate());
    let decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    limits.check_alloc(decoder.total_bytes())?;
    Ok(decoder)
}

/// How a picture wants to be turned. Broken EXIF data does not spoil a good picture.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

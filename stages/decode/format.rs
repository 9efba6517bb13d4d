//! Which format a file has, and its first picture, within limits.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use omnizap_contract::Error;

use super::{fault, gif, jpeg};

/// The bounds of one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most pixels.
    pub(super) max_pixels: u64,
    /// Longest side in pixels.
    pub(super) max_side: u64,
    /// Most bytes that decoding may hold.
    pub(super) max_alloc_bytes: u64,
}

impl Limits {
    /// Checks what a header promises.
    ///
    /// # Errors
    /// [`omnizap_contract::ErrorKind::TooLarge`], naming the limit.
    pub(super) fn check(&self, width: u32, height: u32) -> Result<(), Error> {
        let (width, height) = (u64::from(width), u64::from(height));
        if width.max(height) > self.max_side {
            let what = format!(
                "of {width}x{height} pixels, over the limit of {} a side",
                self.max_side
            );
            return Err(fault::too_large(what, "max_side"));
        }
        if width * height > self.max_pixels {
            let what = format!(
                "of {width}x{height} pixels, over the limit of {} in all",
                self.max_pixels
            );
            return Err(fault::too_large(what, "max_pixels"));
        }
        Ok(())
    }

    /// Checks a buffer before it is allocated.
    ///
    /// # Errors
    /// [`omnizap_contract::ErrorKind::TooLarge`], naming the limit.
    pub(super) fn check_alloc(&self, bytes: u64) -> Result<(), Error> {
        if bytes > self.max_alloc_bytes {
            let what = format!(
                "that takes {bytes} bytes to decode, over the limit of {}",
                self.max_alloc_bytes
            );
            return Err(fault::too_large(what, "max_alloc_bytes"));
        }
        Ok(())
    }

    fn of_image_crate(&self) -> image::Limits {
        let mut limits = image::Limits::no_limits();
        limits.max_alloc = Some(self.max_alloc_bytes);
        limits
    }
}

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

/// Decodes the first picture of a file, and how it wants to be turned.
///
/// # Errors
/// `TooLarge` where the header exceeds a limit, `Invalid` where the content is broken,
/// `UnsupportedType` for kinds within a format that are not decoded.
pub(super) fn decode(
    file: &[u8],
    format: ImageFormat,
    limits: Limits,
) -> Result<(DynamicImage, Orientation), Error> {
    match format {
        ImageFormat::Jpeg => return jpeg::decode(file, limits),
        ImageFormat::Gif => return gif::decode(file, limits),
        ImageFormat::WebP if !riff_is_complete(file) => return Err(fault::truncated(format)),
        _ => {}
    }
    let failed = |error| fault::from_decoder(format, error);
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    reader.limits(limits.of_image_crate());
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    limits.check_alloc(decoder.total_bytes())?;
    // Broken EXIF data does not spoil a good picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    decoder
        .set_limits(limits.of_image_crate())
        .map_err(failed)?;
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    Ok((image, orientation))
}

/// True where the file is as long as its RIFF header says (WebP container, section
/// "WebP file header").
fn riff_is_complete(file: &[u8]) -> bool {
    let size = file.get(4..8).and_then(|bytes| bytes.first_chunk());
    size.is_some_and(|size| file.len() as u64 >= u64::from(u32::from_le_bytes(*size)) + 8)
}

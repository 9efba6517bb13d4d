//! JPEG, to the very pixels of libjpeg-turbo: what the reference implementation sees.
//!
//! Its "fancy" chroma upsampling and its integer transform are part of that: a decoder
//! which rounds otherwise shifts the colours of a 4:2:0 picture by up to half a level,
//! enough to move a logit.

use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder, JpegError, PixelFormat};
use omnizap_contract::Error;

use super::limits::{Limits, MAX_ALLOC_BYTES};
use super::{Still, fault, pixels};

/// Most scans of a progressive picture; usual ones have about ten.
const MAX_SCANS: usize = 512;

/// How many bytes decoding takes at most at one time, as the header tells: what is made, a plane a
/// component, and where the picture comes in several scans its coefficients of two bytes.
///
/// # Errors
/// As [`decode`], as far as the header tells.
pub(super) fn room(file: &[u8], limits: Limits) -> Result<u64, Error> {
    let decoder = open(file, limits)?;
    let header = decoder.header();
    let rgb = pixels::rgb8_bytes(header.width.into(), header.height.into());
    let (area, planes) = (rgb / 3, header.components.len() as u64);
    let made = if is_four_planes(&decoder) { 4 } else { 3 };
    let coefficients = if header.is_progressive { 2 * planes } else { 0 };
    let decoding = area * (made + planes + coefficients);
    Ok(decoding.max(pixels::turned_bytes(rgb, orientation(&decoder))))
}

/// Decodes a picture, and how it wants to be turned.
///
/// # Errors
/// `TooLarge` where the header exceeds a limit, `Invalid` where the content is broken,
/// `UnsupportedType` for rare kinds of JPEG.
pub(super) fn decode(file: &[u8], limits: Limits) -> Result<Still, Error> {
    let mut decoder = open(file, limits)?;
    if !is_complete(file) {
        return Err(fault::truncated(ImageFormat::Jpeg));
    }
    let orientation = orientation(&decoder);
    let four_planes = is_four_planes(&decoder);
    decoder.set_output_format(if four_planes {
        PixelFormat::Cmyk
    } else {
        PixelFormat::Rgb
    });
    let picture = decoder
        .decode_image()
        .map_err(|error| failed(file, error))?;
    let icc = picture.icc_profile().map(<[u8]>::to_vec);
    let pixels = if four_planes {
        inverted_cmyk_to_rgb(&picture.data)
    } else {
        picture.data
    };
    RgbImage::from_raw(picture.width as u32, picture.height as u32, pixels)
        .map(|rgb| Still {
            image: rgb.into(),
            turn: orientation,
            icc,
        })
        .ok_or_else(|| fault::broken(ImageFormat::Jpeg, "the decoder gave too few pixels"))
}

/// A decoder that has read the header, which is within the limits.
fn open(file: &[u8], limits: Limits) -> Result<Decoder<'_>, Error> {
    let bounds = DecodeLimits {
        // Sides and pixels are checked below, where the message names our own limits.
        max_width: usize::MAX,
        max_height: usize::MAX,
        max_pixels: u64::MAX,
        max_scans: MAX_SCANS,
        max_memory: Some(limits.max_alloc_bytes),
    };
    let decoder = Decoder::new_with_limits(file, bounds).map_err(|error| failed(file, error))?;
    let header = decoder.header();
    limits.check(header.width.into(), header.height.into())?;
    Ok(decoder)
}

fn is_four_planes(decoder: &Decoder<'_>) -> bool {
    matches!(
        decoder.jpeg_color_space(),
        ColorSpace::Cmyk | ColorSpace::Ycck
    )
}

fn orientation(decoder: &Decoder<'_>) -> Orientation {
    let orientation = decoder.exif_orientation().and_then(Orientation::from_exif);
    orientation.unwrap_or(Orientation::NoTransforms)
}

/// `v * k / 255` for each channel, rounded to the nearest. Like Pillow this takes four
/// planes for inverted ink, as Adobe's programs write it: 255 is no ink.
fn inverted_cmyk_to_rgb(samples: &[u8]) -> Vec<u8> {
    let pixels = samples.as_chunks::<4>().0;
    let times = |a: u8, b: u8| {
        let product = u32::from(a) * u32::from(b) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    let rgb = pixels
        .iter()
        .flat_map(|&[c, m, y, k]| [times(c, k), times(m, k), times(y, k)]);
    rgb.collect()
}

fn failed(file: &[u8], error: JpegError) -> Error {
    match error {
        JpegError::UnexpectedEof => fault::truncated(ImageFormat::Jpeg),
        _ if !is_complete(file) => fault::truncated(ImageFormat::Jpeg).with_source(error),
        JpegError::Unsupported(_) => fault::rare_kind(ImageFormat::Jpeg, error),
        JpegError::LimitExceeded { what, .. } => {
            let limit = if what.contains("scan") {
                "max_scans"
            } else {
                MAX_ALLOC_BYTES
            };
            let what = "that takes too much to decode".to_owned();
            fault::too_large(what, limit).with_source(error)
        }
        error => fault::broken(ImageFormat::Jpeg, error),
    }
}

/// Whether a file is whole: what is missing would be filled with gray, and a half-gray
/// picture would be classified as if it were the whole one.
///
/// True where the file's scans are followed by an end-of-image marker, as ITU T.81
/// section B.2.1 demands. What comes after it (a thumbnail, a video) does not count.
fn is_complete(file: &[u8]) -> bool {
    const EOI: u8 = 0xD9;
    let mut at = 2; // behind the start-of-image marker
    while let Some(found) = next_marker(file, at) {
        let (marker, behind) = found;
        match marker {
            EOI => return true,
            // Restart markers and TEM stand alone; a second SOI is a stray one.
            0x01 | 0xD0..=0xD8 => at = behind,
            // Entropy-coded data follows the scan's header: 0xFF bytes in it are
            // stuffed, so looking for the next marker skips it.
            _ => {
                let Some(&[high, low]) = file.get(behind..).and_then(|rest| rest.first_chunk())
                else {
                    return false;
                };
                at = behind + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    false
}

/// The first marker at or behind `at`, and the position behind it.
fn next_marker(file: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        let rest = file.get(at..)?;
        at += rest.iter().position(|&byte| byte == 0xFF)?;
        // Any number of 0xFF may fill the space before a marker.
        at += file[at..].iter().position(|&byte| byte != 0xFF)?;
        let marker = file[at];
        at += 1;
        if marker != 0 {
            return Some((marker, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    const HEAD: &[u8] = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xda\x00\x03x";

    fn whole(tail: &[u8]) -> bool {
        is_complete(&[HEAD, tail].concat())
    }

    #[test]
    fn the_end_marker_decides() {
        assert!(whole(b"scan\xff\xd9"));
        assert!(whole(b"scan\xff\xff\xd9")); // fill bytes
        assert!(whole(b"scan\xff\xd0scan\xff\xd9trailing"));
        assert!(!whole(b"scan"));
        assert!(!whole(b"scan\xff"));
        assert!(!whole(b""));
    }

    #[test]
    fn an_end_marker_inside_a_segment_or_stuffing_is_none() {
        assert!(!is_complete(b"\xff\xd8\xff\xe1\x00\x06\xff\xd9\x00\x00"));
        assert!(!whole(b"\xff\x00\xd9"));
        assert!(!is_complete(b"\xff\xd8\xff\xe1"));
        assert!(!is_complete(b"\xff\xd8"));
        assert!(!is_complete(b""));
    }
}

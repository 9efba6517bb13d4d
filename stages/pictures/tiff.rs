//! The first picture of a TIFF: what scanners, fax gateways, cameras and picture editors write.
//!
//! The container (header, directory, strips and tiles) and the layouts of samples are read here;
//! compressed data by a decoder for each compression. The pixels are those of Pillow, which asks
//! libtiff for what is compressed.
//!
//! A directory may claim anything. What it claims is held against the picture's size, which is
//! within the limits: rows are decompressed one at a time and never more of them than the picture
//! has, so that no strip or tile takes more memory than its rows.

mod canvas;
mod chunks;
mod compression;
mod fax;
mod ifd;
mod inner_jpeg;
mod lab;
mod layout;
mod predictor;
mod rows;
mod samples;
#[cfg(test)]
mod tests;
mod ycbcr;

use image::metadata::Orientation;
use omnizap_contract::Error;

use self::ifd::{Directory, tag};
use self::layout::Layout;
use super::limits::Limits;
use super::{Still, exif};

/// How many bytes decoding takes at most at one time, as the directory tells.
///
/// # Errors
/// As [`decode`], as far as the directory tells.
pub(super) fn room(file: &[u8], limits: Limits) -> Result<u64, Error> {
    let directory = Directory::open(file)?;
    let layout = Layout::of(&directory, limits)?;
    let is_progressive = chunks::is_progressive(&directory, &layout)?;
    Ok(layout.room(orientation(&directory), is_progressive))
}

/// Decodes the first picture, and how it wants to be turned.
///
/// # Errors
/// `TooLarge` where the directory exceeds a limit, `Invalid` where the content is broken or ends
/// early, `UnsupportedType` for kinds of TIFF that are not read.
pub(super) fn decode(file: &[u8], limits: Limits) -> Result<Still, Error> {
    let directory = Directory::open(file)?;
    let layout = Layout::of(&directory, limits)?;
    let turn = orientation(&directory);
    let is_progressive = chunks::is_progressive(&directory, &layout)?;
    limits.check_alloc(layout.room(turn, is_progressive))?;
    let canvas = chunks::read(&directory, &layout, limits)?;
    Ok(Still {
        image: canvas.finish(&layout)?,
        turn,
        icc: directory
            .find(tag::ICC_PROFILE)
            .map(|values| values.bytes().to_vec()),
    })
}

/// How the picture wants to be turned: the directory says it, or else its XMP data.
fn orientation(directory: &Directory<'_>) -> Orientation {
    let Some(values) = directory.find(tag::ORIENTATION) else {
        return exif::turn(None, directory.find(tag::XMP).map(|values| values.bytes()));
    };
    let value = values.get(0).and_then(|value| u8::try_from(value).ok());
    let orientation = value.and_then(Orientation::from_exif);
    orientation.unwrap_or(Orientation::NoTransforms)
}

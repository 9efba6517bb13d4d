//! PNG: the still picture, and the frames of APNG.
//!
//! The chunks are walked over by hand, and as little as possible is asked of them: what is ancillary
//! and damaged does not spoil a good picture. Where damage matters, it is judged as Pillow does; how,
//! `docs/formats.md` tells.

use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use omnizap_contract::Error;

use super::animation::Animation;
use super::limits::Limits;
use super::{Still, fault, pixels};
use chunks::{Chunk, Chunks, End, ImageData};
use expand::Expand;
use header::Header;
use raster::Flaw;

mod apng;
mod chunks;
mod expand;
mod header;
mod inflate;
mod raster;
mod text;
mod unfilter;

/// What a file says outside its pixels.
struct Png<'a> {
    header: Header,
    expand: Expand,
    turn: Orientation,
    /// The chunk iCCP, as it stands in the file.
    profile: Option<&'a [u8]>,
    /// The walk as it was before the first IDAT.
    data: Chunks<'a>,
}

/// How many bytes decoding takes at most at one time, as the header tells.
///
/// # Errors
/// As [`decode`], as far as what stands outside the pixels tells.
pub(super) fn room(file: &[u8], limits: Limits) -> Result<u64, Error> {
    let png = open(file, limits)?;
    let rgb = pixels::rgb8_bytes(png.header.width, png.header.height);
    // What has alpha becomes RGB where it is, and keeps its room while it is turned.
    let spare = png.pixel_bytes() - rgb;
    Ok(png
        .decoding_bytes()
        .max(pixels::turned_bytes(rgb, png.turn) + spare))
}

/// Decodes the still picture of a file, which is the first frame of an APNG or stands for it.
///
/// # Errors
/// `TooLarge` where the header exceeds a limit, `Invalid` where the content is broken or pixels are
/// missing, `UnsupportedType` for Apple's variant.
pub(super) fn decode(file: &[u8], limits: Limits) -> Result<Still, Error> {
    let png = open(file, limits)?;
    let icc = png.profile.and_then(colour_profile);
    let has_alpha = png.expand.has_alpha();
    let data = ImageData(png.data);
    let pixels = raster::decode(&png.header, &png.expand, has_alpha, data).map_err(flawed)?;
    let (width, height) = (png.header.width, png.header.height);
    let image = if has_alpha {
        RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
    };
    let Some(image) = image else {
        return Err(broken("its pixels do not fit its size"));
    };
    Ok(Still {
        image,
        turn: png.turn,
        icc,
    })
}

/// The frames of an APNG; none where the file is a still picture, or one that stands for an animation
/// that is broken.
///
/// # Errors
/// As [`room`].
pub(super) fn animation<'a>(
    file: &'a [u8],
    limits: Limits,
) -> Result<Option<Box<dyn Animation + 'a>>, Error> {
    apng::animation(file, limits)
}

impl Png<'_> {
    /// How many bytes its pixels take.
    fn pixel_bytes(&self) -> u64 {
        let channels = if self.expand.has_alpha() { 4 } else { 3 };
        channels * u64::from(self.header.width) * u64::from(self.header.height)
    }

    /// How many bytes decoding them takes.
    fn decoding_bytes(&self) -> u64 {
        // Deflate makes at most 1,032 bytes of one.
        let profile = self.profile.map_or(0, |data| 1032 * data.len() as u64);
        self.pixel_bytes()
            + raster::scratch_bytes(&self.header)
            + profile.min(text::MAX_TEXT_BYTES as u64)
    }
}

/// Reads all that stands outside the pixels. The picture is within the limits.
fn open(file: &[u8], limits: Limits) -> Result<Png<'_>, Error> {
    let mut header = None;
    let mut palette = None;
    let mut transparency = None;
    let mut profile = None;
    let mut turn = text::Turn::default();
    let mut data = None;
    let mut chunks = Chunks::of(file);
    let mut is_ended = false;
    loop {
        let here = chunks;
        let Some(chunk) = chunks.next() else {
            break;
        };
        let is_before = data.is_none();
        match &chunk.name {
            b"CgBI" if header.is_none() => return Err(fault::apple_png()),
            b"IHDR" if is_before => {
                let parsed = Header::parse(critical(&chunk)?).map_err(broken)?;
                // At once: nothing else is looked at of a picture that is too large.
                limits.check(parsed.width, parsed.height)?;
                header = Some(parsed);
            }
            b"PLTE" if is_before => palette = Some(critical(&chunk)?),
            b"IDAT" if is_before => data = Some(here),
            b"IEND" => {
                is_ended = true;
                break;
            }
            b"tRNS" if is_sound(&chunk, is_before) => transparency = Some(chunk.data),
            b"iCCP" if is_before && is_sound(&chunk, is_before) => profile = Some(chunk.data),
            b"eXIf" | b"tEXt" | b"zTXt" | b"iTXt" => turn.note(&chunk, is_before),
            _ => {}
        }
    }
    let missing = |what: &'static str| {
        if !is_ended && chunks.end() == End::OfFile {
            fault::truncated(ImageFormat::Png)
        } else {
            broken(what)
        }
    };
    let header = header.ok_or_else(|| missing("it has no header"))?;
    if header.width == 0 || header.height == 0 {
        return Err(broken("it has no pixels"));
    }
    let data = data.ok_or_else(|| missing("it has no image data"))?;
    let expand = Expand::new(&header, palette, transparency).map_err(broken)?;
    let png = Png {
        header,
        expand,
        turn: turn.read(),
        profile,
        data,
    };
    limits.check_alloc(png.decoding_bytes())?;
    Ok(png)
}

/// The data of a chunk without which there is no picture.
fn critical<'a>(chunk: &Chunk<'a>) -> Result<&'a [u8], Error> {
    if !chunk.is_whole {
        return Err(fault::truncated(ImageFormat::Png));
    }
    if !chunk.has_right_checksum() {
        return Err(broken("a checksum is wrong"));
    }
    Ok(chunk.data)
}

/// True where an ancillary chunk is to be believed: others are left out. Behind the pixels checksums
/// are not looked at, as Pillow does not.
fn is_sound(chunk: &Chunk<'_>, is_before_pixels: bool) -> bool {
    chunk.is_whole && (!is_before_pixels || chunk.has_right_checksum())
}

/// The ICC profile of a chunk iCCP: behind a name and the method of compression, of which there is one.
fn colour_profile(data: &[u8]) -> Option<Vec<u8>> {
    let (_name, rest) = text::split(data)?;
    text::inflated(rest.strip_prefix(&[0])?)
}

fn broken(what: &'static str) -> Error {
    fault::broken(ImageFormat::Png, what)
}

fn flawed(flaw: Flaw) -> Error {
    match flaw {
        Flaw::Missing => fault::truncated(ImageFormat::Png),
        Flaw::Stream(error) => fault::broken(ImageFormat::Png, format!("{error:?}")),
        Flaw::Filter => broken("there is no such filter"),
    }
}

#[cfg(test)]
mod tests;

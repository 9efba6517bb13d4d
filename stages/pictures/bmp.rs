//! BMP: bitmaps of Windows and OS/2, with their file header or bare as a clipboard gives them.
//!
//! Read as Pillow reads them, which shows more than the image crate does: pictures whose file header is
//! wrong, which lack the last bytes of padding or the mark of their end, runs that leave out pixels.

use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use omnizap_contract::Error;

use super::limits::Limits;
use super::{Still, fault};

mod header;
mod masks;
mod palette;
mod runs;

use header::{Coding, Header};
use masks::Masks;
use palette::Palette;

pub(super) use header::is_bare;

/// How many bytes decoding takes at most at one time: the picture, nothing beside it.
///
/// # Errors
/// As [`decode`], as far as the header tells.
pub(super) fn room(file: &[u8], limits: Limits) -> Result<u64, Error> {
    Ok(size(&open(file, limits)?))
}

/// Decodes a picture. The format knows no orientation.
///
/// # Errors
/// `TooLarge` where the header exceeds a limit, `Invalid` where the content is broken,
/// `UnsupportedType` for rare kinds.
pub(super) fn decode(file: &[u8], limits: Limits) -> Result<Still, Error> {
    let header = open(file, limits)?;
    let data = file.get(header.data..).unwrap_or_default();
    let (width, height) = (header.width, header.height);
    let samples = match &header.coding {
        Coding::Indices { bits, palette } => indices(&header, data, *bits, palette)?,
        Coding::Runs { kind, palette } => runs::decode(&header, data, *kind, palette)?,
        Coding::Colours { bytes, masks } => colours(&header, data, *bytes, masks)?,
    };
    let image: Option<DynamicImage> = if header.coding.has_alpha() {
        RgbaImage::from_raw(width, height, samples).map(Into::into)
    } else {
        RgbImage::from_raw(width, height, samples).map(Into::into)
    };
    let icc = header.icc.and_then(|at| file.get(at));
    Ok(Still {
        image: image.ok_or_else(|| fault::broken(ImageFormat::Bmp, "there are too few pixels"))?,
        turn: Orientation::NoTransforms,
        icc: icc.map(<[u8]>::to_vec),
    })
}

/// The headers, which are within the limits.
fn open(file: &[u8], limits: Limits) -> Result<Header, Error> {
    let header = header::read(file, limits)?;
    limits.check_alloc(size(&header))?;
    Ok(header)
}

/// How many bytes the picture takes.
fn size(header: &Header) -> u64 {
    let samples = if header.coding.has_alpha() { 4 } else { 3 };
    samples * u64::from(header.width) * u64::from(header.height)
}

/// The rows from top to bottom, of pixels of so many bits, without their padding to 4 bytes. The last
/// one in the file need not be padded.
fn rows<'f>(
    header: &Header,
    data: &'f [u8],
    bits: u64,
) -> Result<impl Iterator<Item = &'f [u8]> + use<'f>, Error> {
    let bits = bits * u64::from(header.width);
    let (used, padded) = (bits.div_ceil(8), bits.div_ceil(32) * 4);
    let rows = u64::from(header.height);
    if (data.len() as u64) < padded * (rows - 1) + used {
        return Err(fault::truncated(ImageFormat::Bmp));
    }
    // They are no longer than the data, which is there.
    let (used, padded, rows) = (used as usize, padded as usize, rows as usize);
    let is_top_down = header.is_top_down;
    let places = (0..rows).map(move |row| if is_top_down { row } else { rows - 1 - row });
    Ok(places.map(move |row| &data[row * padded..][..used]))
}

/// Pixels of 1, 2, 4 or 8 bits, the leftmost in the highest ones.
fn indices(header: &Header, data: &[u8], bits: u8, palette: &Palette) -> Result<Vec<u8>, Error> {
    let rows = rows(header, data, bits.into())?;
    let mut made = Vec::with_capacity(size(header) as usize);
    let (bits, mask) = (usize::from(bits), 0xFF >> (8 - bits));
    for row in rows {
        for column in 0..header.width as usize {
            let at = bits * column;
            let index = row[at / 8] >> (8 - bits - at % 8) & mask;
            made.extend_from_slice(&palette.colour(index));
        }
    }
    Ok(made)
}

/// Pixels of 2 to 4 bytes, whose colours are bits of a number.
fn colours(header: &Header, data: &[u8], bytes: u8, masks: &Masks) -> Result<Vec<u8>, Error> {
    let rows = rows(header, data, 8 * u64::from(bytes))?;
    let mut made = Vec::with_capacity(size(header) as usize);
    for row in rows {
        match bytes {
            2 => add(&mut made, row, masks, |[a, b]| [a, b, 0, 0]),
            3 => add(&mut made, row, masks, |[a, b, c]| [a, b, c, 0]),
            _ => add(&mut made, row, masks, |pixel: [u8; 4]| pixel),
        }
    }
    Ok(made)
}

/// Adds the pixels of a row, whose bytes `widened` makes a number.
fn add<const N: usize>(
    made: &mut Vec<u8>,
    row: &[u8],
    masks: &Masks,
    widened: impl Fn([u8; N]) -> [u8; 4],
) {
    for &pixel in row.as_chunks::<N>().0 {
        let rgba = masks.rgba(u32::from_le_bytes(widened(pixel)));
        let samples = if masks.has_alpha() { 4 } else { 3 };
        made.extend_from_slice(&rgba[..samples]);
    }
}

#[cfg(test)]
mod tests;

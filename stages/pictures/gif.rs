//! GIF: the first frame on its canvas, and the frames of an animation, as Pillow shows them.
//!
//! Read by hand, because what counts is not in the pixels of a frame alone: a canvas grows with a
//! frame that is larger than the screen, a frame without any table of colours is gray, and what
//! the first frame leaves open has the transparent index, or index 0.

use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use omnizap_contract::Error;

use super::animation::Animation;
use super::limits::Limits;
use super::{Still, fault};
use blocks::{Blocks, Frame};

mod blocks;
mod frames;
mod lzw;

/// How many bytes decoding takes at most at one time, as the header tells: the canvas, and on it a
/// frame of indices.
///
/// # Errors
/// As [`decode`], as far as the header tells.
pub(super) fn room(file: &[u8], limits: Limits) -> Result<u64, Error> {
    let (_, frame, width, height) = first(file, limits)?;
    Ok(room_of(&frame, width, height))
}

/// Decodes the first frame, its transparent pixels with alpha 0. The format knows no orientation.
///
/// # Errors
/// `TooLarge` where the canvas or the frame exceeds a limit, `Invalid` where the
/// content is broken.
pub(super) fn decode(file: &[u8], limits: Limits) -> Result<Still, Error> {
    let (_, frame, width, height) = first(file, limits)?;
    let image = match frame.transparent {
        Some(_) => DynamicImage::ImageRgba8(on_canvas(&frame, width, height)?),
        None => DynamicImage::ImageRgb8(on_opaque_canvas(&frame, width, height)?),
    };
    Ok(Still {
        image,
        turn: Orientation::NoTransforms,
        icc: None,
    })
}

/// The frames of a file that has more than one.
///
/// # Errors
/// As [`decode`], as far as the first frame's description tells.
pub(super) fn animation<'a>(
    file: &'a [u8],
    limits: Limits,
) -> Result<Option<Box<dyn Animation + 'a>>, Error> {
    let frames = frames::Frames::open(file, limits)?;
    Ok(frames.map(|frames| Box::new(frames) as Box<dyn Animation + 'a>))
}

/// The first frame, and the sides of the canvas, which are within the limits.
fn first(file: &[u8], limits: Limits) -> Result<(Blocks<'_>, Frame<'_>, u32, u32), Error> {
    let mut blocks = Blocks::open(file)?;
    // The screen first: it is what people know of the file.
    limits.check(blocks.width, blocks.height)?;
    let Some(frame) = blocks.next_frame()? else {
        return Err(fault::broken(ImageFormat::Gif, "there is no frame"));
    };
    let (width, height) = (
        blocks.width.max(frame.right()),
        blocks.height.max(frame.bottom()),
    );
    limits.check(width, height)?;
    limits.check_alloc(room_of(&frame, width, height))?;
    Ok((blocks, frame, width, height))
}

fn room_of(frame: &Frame<'_>, width: u32, height: u32) -> u64 {
    4 * u64::from(width) * u64::from(height) + frame.area()
}

/// The first frame on a canvas that is as clear as the frame's transparent pixels.
fn on_canvas(frame: &Frame<'_>, width: u32, height: u32) -> Result<RgbaImage, Error> {
    let rows = Rows::decode(frame)?;
    let colours = frame.palette.rgba(frame.transparent);
    let around = colours[usize::from(frame.transparent.unwrap_or(0))];
    let mut canvas = RgbaImage::from_pixel(width, height, around.into());
    rows.each(|y, row| {
        let to = place(&mut canvas, frame, y, 4, width);
        for (to, &index) in to.as_chunks_mut::<4>().0.iter_mut().zip(row) {
            *to = colours[usize::from(index)];
        }
    });
    Ok(canvas)
}

/// The first frame where nothing is transparent; around it the first colour.
fn on_opaque_canvas(frame: &Frame<'_>, width: u32, height: u32) -> Result<RgbImage, Error> {
    let rows = Rows::decode(frame)?;
    let colours = frame.palette.rgba(None);
    let colours = colours.map(|[red, green, blue, _]| [red, green, blue]);
    let mut canvas = if (frame.width, frame.height) == (width, height) {
        RgbImage::new(width, height)
    } else {
        RgbImage::from_pixel(width, height, colours[0].into())
    };
    rows.each(|y, row| {
        let to = place(&mut canvas, frame, y, 3, width);
        for (to, &index) in to.as_chunks_mut::<3>().0.iter_mut().zip(row) {
            *to = colours[usize::from(index)];
        }
    });
    Ok(canvas)
}

/// Where row `y` of a frame lies on a canvas that holds the whole frame.
fn place<'c>(
    canvas: &'c mut [u8],
    frame: &Frame<'_>,
    y: u32,
    channels: usize,
    width: u32,
) -> &'c mut [u8] {
    let start = (frame.top + y) as usize * width as usize + frame.left as usize;
    &mut canvas[channels * start..channels * (start + frame.width as usize)]
}

/// The indices of a frame, in the order in which they are stored.
struct Rows {
    indices: Vec<u8>,
    width: u32,
    height: u32,
    is_interlaced: bool,
}

impl Rows {
    fn decode(frame: &Frame<'_>) -> Result<Self, Error> {
        let area = usize::try_from(frame.area()).unwrap_or(0);
        if area == 0 {
            return Err(fault::broken(ImageFormat::Gif, "a frame has no pixels"));
        }
        let mut indices = vec![0; area];
        lzw::decode(frame.data, frame.data_bits, &mut indices).map_err(|fault| match fault {
            lzw::Fault::Truncated => fault::truncated(ImageFormat::Gif),
            lzw::Fault::Broken => fault::broken(ImageFormat::Gif, "a frame's data is no LZW"),
        })?;
        Ok(Self {
            indices,
            width: frame.width,
            height: frame.height,
            is_interlaced: frame.is_interlaced,
        })
    }

    /// Each row with its place in the frame.
    fn each(&self, mut draw: impl FnMut(u32, &[u8])) {
        /// First row and step of each pass (GIF89a, appendix E).
        const PASSES: [(u32, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];
        let passes = if self.is_interlaced {
            &PASSES[..]
        } else {
            &[(0, 1)]
        };
        let places = passes
            .iter()
            .flat_map(|&(first, step)| (first..self.height).step_by(step));
        let rows = self.indices.chunks_exact(self.width as usize);
        for (y, row) in places.zip(rows) {
            draw(y, row);
        }
    }
}

#[cfg(test)]
mod tests;

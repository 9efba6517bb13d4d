//! WebP: the picture, or the first frame of an animation on its canvas, as libwebp and so Pillow
//! show them. The container is read here, the pixels are decoded by libwebp.

use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use omnizap_contract::Error;

use super::animation::Animation;
use super::limits::{Limits, MAX_ALLOC_BYTES};
use super::{Still, exif, fault, pixels};
use container::{Container, Frame};
use libwebp::Layout;

mod bitstream;
mod container;
mod frames;
mod libwebp;

/// How many bytes decoding takes at most at one time, as the header tells: the canvas, and what
/// libwebp holds beside it.
///
/// # Errors
/// As [`decode`], as far as the header tells.
pub(super) fn room(file: &[u8], limits: Limits) -> Result<u64, Error> {
    let (container, frame) = open(file, limits)?;
    let rgb = pixels::rgb8_bytes(container.width, container.height);
    let turn = exif::turn(container.exif, container.xmp);
    Ok(held(&container, &frame).max(pixels::turned_bytes(rgb, turn)))
}

/// Decodes the picture, or the first frame. What a frame leaves open is clear, or black where the
/// file says that there is no alpha.
///
/// # Errors
/// `TooLarge` where the header exceeds a limit, `Invalid` where the content is broken.
pub(super) fn decode(file: &[u8], limits: Limits) -> Result<Still, Error> {
    let (container, frame) = open(file, limits)?;
    let image = if container.has_alpha {
        let mut canvas = RgbaImage::new(container.width, container.height);
        draw(&frame, &mut canvas, Layout::Rgba, container.width)?;
        DynamicImage::ImageRgba8(canvas)
    } else {
        let mut canvas = RgbImage::new(container.width, container.height);
        draw(&frame, &mut canvas, Layout::Rgb, container.width)?;
        DynamicImage::ImageRgb8(canvas)
    };
    Ok(Still {
        image,
        turn: exif::turn(container.exif, container.xmp),
        icc: container.icc.map(<[u8]>::to_vec),
    })
}

/// The frames of a file that has more than one.
///
/// # Errors
/// As [`decode`], as far as the headers tell.
pub(super) fn animation<'a>(
    file: &'a [u8],
    limits: Limits,
) -> Result<Option<Box<dyn Animation + 'a>>, Error> {
    let (container, _) = open(file, limits)?;
    let frames = frames::Frames::of(container, limits)?;
    Ok(frames.map(|frames| Box::new(frames) as Box<dyn Animation + 'a>))
}

/// The file and its first frame, which are within the limits.
fn open(file: &[u8], limits: Limits) -> Result<(Container<'_>, Frame<'_>), Error> {
    let container = Container::read(file)?;
    limits.check(container.width, container.height)?;
    let Some(&frame) = container.frames.first() else {
        return Err(fault::broken(ImageFormat::WebP, "there is no picture"));
    };
    limits.check_alloc(held(&container, &frame))?;
    Ok((container, frame))
}

/// How many bytes are held while a file's first frame is decoded.
fn held(container: &Container<'_>, frame: &Frame<'_>) -> u64 {
    let canvas = u64::from(container.width) * u64::from(container.height);
    let layout = if container.has_alpha { 4 } else { 3 };
    layout * canvas + within(frame)
}

/// How many bytes libwebp holds at most while it decodes a frame.
fn within(frame: &Frame<'_>) -> u64 {
    let area = u64::from(frame.head.width) * u64::from(frame.head.height);
    // Lossless pixels are decoded as a whole, and the pictures that say how they were predicted are
    // the smaller ones of the same kind.
    let lossless = 5 * area;
    if frame.head.is_lossless {
        return lossless;
    }
    match frame.alpha.and_then(<[u8]>::first) {
        // A plane of its own, which is compressed as lossless pixels.
        Some(kind) if kind & 3 != 0 => area + lossless,
        Some(_) => area,
        // Rows of blocks.
        None => 64 * u64::from(frame.head.width),
    }
}

/// Decodes a frame to its place on a canvas of `width`, which holds the whole of it.
fn draw(frame: &Frame<'_>, canvas: &mut [u8], layout: Layout, width: u32) -> Result<(), Error> {
    let channels = layout.channels();
    let stride = channels * width as usize;
    let start = frame.top as usize * stride + channels * frame.left as usize;
    let size = (frame.head.width, frame.head.height);
    let place = canvas.get_mut(start..).unwrap_or_default();
    libwebp::decode(frame.data, place, layout, stride, size).map_err(|fault| match fault {
        libwebp::Fault::Truncated => fault::truncated(ImageFormat::WebP),
        libwebp::Fault::Memory => fault::too_large(
            "that needs too much memory to decode".to_owned(),
            MAX_ALLOC_BYTES,
        ),
        libwebp::Fault::Broken => fault::broken(ImageFormat::WebP, "its pixels are broken"),
    })
}

#[cfg(test)]
mod tests;

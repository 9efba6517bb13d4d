//! Colours of an ICC profile made into those of sRGB, as browsers do it: by the profile's own tables
//! where it has some, by its primaries and curves otherwise.

use image::{DynamicImage, ImageBuffer, Pixel};
use moxcms::{
    ColorProfile, DataColorSpace, Layout, ParsingOptions, RenderingIntent, Transform8BitExecutor,
    TransformOptions,
};

/// Most bytes of a profile; those of printers have up to three million.
pub(super) const MAX_PROFILE: usize = 4 << 20;
/// Most bytes that a profile and what is made of it take.
pub(super) const ROOM: u64 = 8 * MAX_PROFILE as u64;
/// Most entries of a curve.
const MAX_CURVE: usize = 1 << 16;
/// Where the number of the parts is, and the parts behind it: a name, a place and a length each.
const PARTS: usize = 128;
const PART: usize = 12;
/// The parts that colours need. The others are texts and the way back, which may take any time to read.
const NEEDED: [&[u8; 4]; 12] = [
    b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"wtpt", b"chad", b"cicp",
    b"A2B0", b"A2B1",
];
/// How many samples are converted at one time: of whole pixels, three or four each.
const AT_ONCE: usize = 12 * 1024;

/// The picture in sRGB. A profile that is broken, or is for other colours than the picture's, is taken
/// for none. Of samples of 16 bits the high byte is left.
pub(super) fn managed(picture: DynamicImage, profile: Vec<u8>) -> DynamicImage {
    let Some(profile) = read(profile) else {
        return picture;
    };
    match profile.color_space {
        DataColorSpace::Rgb => of_colours(picture, &profile),
        DataColorSpace::Gray => of_grays(picture, &profile),
        _ => picture,
    }
}

/// The profile, within limits that its reader does not know.
fn read(mut profile: Vec<u8>) -> Option<ColorProfile> {
    if profile.len() > MAX_PROFILE {
        return None;
    }
    let count = *profile.get(PARTS..)?.first_chunk()?;
    let count = u32::from_be_bytes(count) as usize;
    let mut left = NEEDED.to_vec();
    for part in profile[PARTS + 4..].chunks_exact_mut(PART).take(count) {
        match left.iter().position(|name| part.starts_with(*name)) {
            // Each stands there once.
            Some(place) => drop(left.swap_remove(place)),
            // A part of this name is passed over.
            None => part[..4].fill(0),
        }
    }
    let options = ParsingOptions {
        max_profile_size: MAX_PROFILE + 1,
        max_allowed_clut_size: MAX_PROFILE,
        max_allowed_trc_size: MAX_CURVE,
    };
    ColorProfile::new_from_slice_with_options(&profile, options).ok()
}

/// A profile of colours says nothing of grays.
fn of_colours(picture: DynamicImage, profile: &ColorProfile) -> DynamicImage {
    let color = picture.color();
    if !color.has_color() {
        return picture;
    }
    let layout = if color.has_alpha() {
        Layout::Rgba
    } else {
        Layout::Rgb
    };
    let Some(transform) = transform(profile, layout, layout) else {
        return picture;
    };
    match eight_bits(picture) {
        DynamicImage::ImageRgb8(mut rgb) => {
            in_place(&mut rgb, &*transform);
            rgb.into()
        }
        DynamicImage::ImageRgba8(mut rgba) => {
            in_place(&mut rgba, &*transform);
            rgba.into()
        }
        other => other,
    }
}

/// Grays may stand there as colours, which are then equal.
fn of_grays(picture: DynamicImage, profile: &ColorProfile) -> DynamicImage {
    let Some(transform) = transform(profile, Layout::Gray, Layout::Rgb) else {
        return picture;
    };
    let grays: [u8; 256] = std::array::from_fn(|gray| gray as u8);
    let mut made = [0; 3 * 256];
    if transform.transform(&grays, &mut made).is_err() {
        return picture;
    }
    let to = |gray: &mut u8| *gray = made[3 * usize::from(*gray)];
    match eight_bits(picture) {
        DynamicImage::ImageLuma8(mut gray) => {
            gray.iter_mut().for_each(to);
            gray.into()
        }
        DynamicImage::ImageLumaA8(mut gray) => {
            gray.pixels_mut().for_each(|pixel| to(&mut pixel.0[0]));
            gray.into()
        }
        DynamicImage::ImageRgb8(mut rgb) if are_gray(&rgb) => {
            rgb.iter_mut().for_each(to);
            rgb.into()
        }
        DynamicImage::ImageRgba8(mut rgba) if are_gray(&rgba) => {
            rgba.pixels_mut()
                .for_each(|pixel| pixel.0[..3].iter_mut().for_each(to));
            rgba.into()
        }
        other => other,
    }
}

fn are_gray<P: Pixel<Subpixel = u8>>(picture: &ImageBuffer<P, Vec<u8>>) -> bool {
    let mut pixels = picture.pixels();
    pixels.all(
        |pixel| matches!(pixel.channels(), [red, green, blue, ..] if red == green && green == blue),
    )
}

/// From the profile to sRGB. Perceptual: what profiles of one purpose only are for.
fn transform(
    profile: &ColorProfile,
    from: Layout,
    to: Layout,
) -> Option<std::sync::Arc<Transform8BitExecutor>> {
    let options = TransformOptions {
        rendering_intent: RenderingIntent::Perceptual,
        ..TransformOptions::default()
    };
    let srgb = ColorProfile::new_srgb();
    profile.create_transform_8bit(from, &srgb, to, options).ok()
}

/// Without a second picture beside the first.
fn in_place(samples: &mut [u8], transform: &Transform8BitExecutor) {
    let mut before = [0; AT_ONCE];
    for part in samples.chunks_mut(AT_ONCE) {
        let before = &mut before[..part.len()];
        before.copy_from_slice(part);
        // Only lengths that do not fit make it fail: these are whole pixels.
        if transform.transform(before, part).is_err() {
            part.copy_from_slice(before);
        }
    }
}

/// The picture with 8 bits a sample.
fn eight_bits(picture: DynamicImage) -> DynamicImage {
    match picture {
        DynamicImage::ImageLuma16(gray) => {
            high_bytes(&gray).map_or(DynamicImage::ImageLuma16(gray), DynamicImage::ImageLuma8)
        }
        DynamicImage::ImageLumaA16(gray) => {
            high_bytes(&gray).map_or(DynamicImage::ImageLumaA16(gray), DynamicImage::ImageLumaA8)
        }
        DynamicImage::ImageRgb16(rgb) => {
            high_bytes(&rgb).map_or(DynamicImage::ImageRgb16(rgb), DynamicImage::ImageRgb8)
        }
        DynamicImage::ImageRgba16(rgba) => {
            high_bytes(&rgba).map_or(DynamicImage::ImageRgba16(rgba), DynamicImage::ImageRgba8)
        }
        DynamicImage::ImageRgb32F(_) => picture.into_rgb8().into(),
        DynamicImage::ImageRgba32F(_) => picture.into_rgba8().into(),
        other => other,
    }
}

fn high_bytes<P, Q>(picture: &ImageBuffer<P, Vec<u16>>) -> Option<ImageBuffer<Q, Vec<u8>>>
where
    P: Pixel<Subpixel = u16>,
    Q: Pixel<Subpixel = u8>,
{
    let samples = picture.iter().map(|sample| (sample >> 8) as u8).collect();
    ImageBuffer::from_raw(picture.width(), picture.height(), samples)
}

#[cfg(test)]
mod tests;

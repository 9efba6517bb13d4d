//! Pixels of any layout made into 8-bit RGB.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

/// What becomes of transparency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpha {
    /// It is forgotten, and the colours beneath it show: Pillow's `convert("RGB")`.
    Drop,
    /// The picture is laid over a colour.
    Compose {
        /// Red, green, blue.
        background: [u8; 3],
    },
}

/// How many bytes a picture takes as 8-bit RGB.
pub(super) fn rgb8_bytes(width: u32, height: u32) -> u64 {
    3 * u64::from(width) * u64::from(height)
}

/// How many bytes that picture takes at most while it is turned.
pub(super) fn turned_bytes(bytes: u64, turn: Orientation) -> u64 {
    match turn {
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => bytes,
        // What changes places with its sides is made anew.
        _ => 2 * bytes,
    }
}

/// The picture as 8-bit RGB.
pub(super) fn to_rgb8(picture: DynamicImage, alpha: Alpha) -> RgbImage {
    let (width, height) = (picture.width(), picture.height());
    let rgb = match picture {
        DynamicImage::ImageRgb8(rgb) => return rgb,
        DynamicImage::ImageLuma8(gray) => from_gray(&gray),
        DynamicImage::ImageLumaA8(gray) => from_gray_alpha(&gray, alpha),
        DynamicImage::ImageRgba8(rgba) => from_rgba(rgba.into_raw(), alpha),
        DynamicImage::ImageLuma16(gray) => from_gray(&high_bytes(&gray)),
        DynamicImage::ImageLumaA16(gray) => from_gray_alpha(&high_bytes(&gray), alpha),
        DynamicImage::ImageRgb16(rgb) => high_bytes(&rgb),
        DynamicImage::ImageRgba16(rgba) => from_rgba(high_bytes(&rgba), alpha),
        // Floating point TIFF: the values 0..1 become 0..255.
        other if other.color().has_alpha() => from_rgba(other.into_rgba8().into_raw(), alpha),
        other => return other.into_rgb8(),
    };
    // Every arm above gives three bytes a pixel; an empty picture would show otherwise.
    RgbImage::from_raw(width, height, rgb).unwrap_or_default()
}

/// The high byte of every sample, as Pillow reduces 16-bit colour (its raw modes `RGB;16B`
/// and the like). Gray goes the same way here, where Pillow clips it to white.
fn high_bytes(samples: &[u16]) -> Vec<u8> {
    samples.iter().map(|sample| (sample >> 8) as u8).collect()
}

fn from_gray(samples: &[u8]) -> Vec<u8> {
    samples.iter().flat_map(|&gray| [gray; 3]).collect()
}

fn from_gray_alpha(samples: &[u8], alpha: Alpha) -> Vec<u8> {
    let pixels = samples.as_chunks::<2>().0;
    let rgb = pixels
        .iter()
        .flat_map(|&[gray, a]| laid([gray; 3], a, alpha));
    rgb.collect()
}

/// Works in place: the picture may be large.
fn from_rgba(mut samples: Vec<u8>, alpha: Alpha) -> Vec<u8> {
    let pixels = samples.len() / 4;
    for pixel in 0..pixels {
        let from = 4 * pixel;
        let [red, green, blue, a] = [
            samples[from],
            samples[from + 1],
            samples[from + 2],
            samples[from + 3],
        ];
        let to = 3 * pixel;
        samples[to..to + 3].copy_from_slice(&laid([red, green, blue], a, alpha));
    }
    samples.truncate(3 * pixels);
    samples
}

/// `colour * a + background * (1 - a)`, rounded to the nearest, or the colour itself.
fn laid(colour: [u8; 3], a: u8, alpha: Alpha) -> [u8; 3] {
    let Alpha::Compose { background } = alpha else {
        return colour;
    };
    let over = |front: u8, back: u8| {
        let (front, back, a) = (u32::from(front), u32::from(back), u32::from(a));
        ((front * a + back * (255 - a) + 127) / 255) as u8
    };
    [
        over(colour[0], background[0]),
        over(colour[1], background[1]),
        over(colour[2], background[2]),
    ]
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma, LumaA, Rgba};

    use super::*;

    const ON_BLUE: Alpha = Alpha::Compose {
        background: [0, 0, 200],
    };

    fn rgba(pixel: [u8; 4], alpha: Alpha) -> [u8; 3] {
        let picture = ImageBuffer::from_pixel(2, 3, Rgba(pixel));
        let rgb = to_rgb8(DynamicImage::ImageRgba8(picture), alpha);
        assert_eq!(rgb.dimensions(), (2, 3));
        rgb.get_pixel(1, 2).0
    }

    #[test]
    fn dropping_alpha_keeps_the_colour_beneath() {
        assert_eq!(rgba([9, 8, 7, 0], Alpha::Drop), [9, 8, 7]);
    }

    #[test]
    fn composing_lays_the_picture_over_the_background() {
        assert_eq!(rgba([9, 8, 7, 255], ON_BLUE), [9, 8, 7]);
        assert_eq!(rgba([9, 8, 7, 0], ON_BLUE), [0, 0, 200]);
        assert_eq!(rgba([255, 100, 0, 51], ON_BLUE), [51, 20, 160]);
    }

    #[test]
    fn sixteen_bit_gray_is_scaled_not_clipped() {
        let ramp =
            ImageBuffer::from_fn(4, 1, |x, _| Luma([[0u16, 255, 0x8000, 65535][x as usize]]));
        let rgb = to_rgb8(DynamicImage::ImageLuma16(ramp), Alpha::Drop);
        assert_eq!(
            rgb.into_raw(),
            [0, 0, 0, 0, 0, 0, 128, 128, 128, 255, 255, 255]
        );
    }

    #[test]
    fn gray_with_alpha_is_composed_too() {
        let gray = ImageBuffer::from_pixel(1, 1, LumaA([100u8, 0]));
        let picture = DynamicImage::ImageLumaA8(gray);
        assert_eq!(to_rgb8(picture.clone(), ON_BLUE).into_raw(), [0, 0, 200]);
        assert_eq!(to_rgb8(picture, Alpha::Drop).into_raw(), [100, 100, 100]);
    }
}

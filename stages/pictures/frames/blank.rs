//! Whether a frame shows nothing. It does where at most [`FEW`] of its pixels can be seen, or differ
//! from one colour.

use image::DynamicImage;

/// One pixel of so many is as good as none: 23x23 of 512x512, which a model sees as 10x10.
const FEW: usize = 500;
/// Alpha under which a pixel is not seen.
const SEEN_ALPHA: u8 = 16;
/// How far two colours may be from their mean and still be one, in each of red, green and blue:
/// compression leaves as much of noise.
const SAME_COLOUR: u8 = 10;

/// True where nearly all is transparent. What beneath counts all the same where alpha is dropped, so
/// this is asked before.
pub(super) fn is_clear(image: &DynamicImage) -> bool {
    match image {
        DynamicImage::ImageRgba8(image) => is_clear_rgba(image),
        DynamicImage::ImageLumaA8(image) => are_clear(image.pixels().map(|pixel| pixel.0[1])),
        DynamicImage::ImageRgba16(image) => {
            are_clear(image.pixels().map(|pixel| (pixel.0[3] >> 8) as u8))
        }
        DynamicImage::ImageLumaA16(image) => {
            are_clear(image.pixels().map(|pixel| (pixel.0[1] >> 8) as u8))
        }
        _ => false,
    }
}

/// The same of a canvas.
pub(super) fn is_clear_rgba(canvas: &image::RgbaImage) -> bool {
    are_clear(canvas.pixels().map(|pixel| pixel.0[3]))
}

fn are_clear(alphas: impl ExactSizeIterator<Item = u8>) -> bool {
    let few = alphas.len() / FEW;
    alphas
        .filter(|alpha| *alpha >= SEEN_ALPHA)
        .nth(few)
        .is_none()
}

/// True where RGB pixels are of one colour: nearly all are near their mean.
pub(super) fn is_plain(pixels: &[u8]) -> bool {
    let pixels = pixels.as_chunks::<3>().0;
    let mut sums = [0u64; 3];
    for pixel in pixels {
        for (sum, sample) in sums.iter_mut().zip(pixel) {
            *sum += u64::from(*sample);
        }
    }
    let count = (pixels.len() as u64).max(1);
    let mean = sums.map(|sum| ((sum + count / 2) / count) as u8);
    let differs = |pixel: &&[u8; 3]| {
        let mut pairs = pixel.iter().zip(mean);
        pairs.any(|(sample, mean)| sample.abs_diff(mean) > SAME_COLOUR)
    };
    let few = pixels.len() / FEW;
    pixels.iter().filter(differs).nth(few).is_none()
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, LumaA, Rgba};

    use super::*;

    /// 100x100 of one colour, and so many pixels of another.
    fn spotted(spots: usize, base: [u8; 3], spot: [u8; 3]) -> Vec<u8> {
        let pixel = |place| if place < spots { spot } else { base };
        (0..10_000).flat_map(pixel).collect()
    }

    #[test]
    fn one_colour_with_a_few_specks_is_plain() {
        let (black, white) = ([0; 3], [255; 3]);
        assert!(is_plain(&spotted(0, white, white)));
        assert!(is_plain(&spotted(20, white, black)));
        assert!(!is_plain(&spotted(21, white, black)));
        assert!(!is_plain(&spotted(5000, white, black)));
        // Noise is no picture.
        assert!(is_plain(&spotted(5000, [20; 3], [40; 3])));
        assert!(!is_plain(&spotted(5000, [20; 3], [20, 20, 42])));
        assert!(is_plain(&[1, 2, 3]));
        assert!(is_plain(&[]));
    }

    #[test]
    fn what_is_nearly_transparent_is_clear() {
        let canvas = |spots: u32, alpha: u8| {
            DynamicImage::from(ImageBuffer::from_fn(100, 100, |x, y| {
                let is_spot = 100 * y + x < spots;
                Rgba([200u8, 0, 0, if is_spot { 255 } else { alpha }])
            }))
        };
        assert!(is_clear(&canvas(0, 0)));
        assert!(is_clear(&canvas(20, 15)));
        assert!(!is_clear(&canvas(21, 15)));
        assert!(!is_clear(&canvas(0, 16)));
        let gray = |alpha| DynamicImage::from(ImageBuffer::from_pixel(9, 9, LumaA([7u8, alpha])));
        assert!(is_clear(&gray(0)) && !is_clear(&gray(99)));
        let deep = ImageBuffer::from_pixel(9, 9, Rgba([7u16, 7, 7, 0x0fff]));
        assert!(is_clear(&deep.into()));
        assert!(!is_clear(&canvas(0, 255).to_rgb8().into()));
    }
}

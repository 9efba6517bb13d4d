//! Image preprocessing as torchvision does it on Pillow images: shortest side to the target and
//! centre crop, or both sides to the target. Equal to Pillow to the last bit, but only the part that
//! a crop keeps is computed, so that work and memory are bounded by the source's pixels whatever its
//! shape.

mod resample;
mod stretch;

use crate::config::{ImageConfig, Resize};
use crate::input::pixels::{Layout, PixelView, Pixels};
use resample::{Axis, resample};
pub(crate) use stretch::stretch;

/// Makes a square of `config.size` pixels a side of an image.
pub fn preprocess(config: &ImageConfig, image: &PixelView) -> Pixels {
    cut(config, config.size, image)
}

/// Resizes the shortest side to `edge`, at least `config.size`, and crops the centre.
pub(crate) fn cut(config: &ImageConfig, edge: usize, image: &PixelView) -> Pixels {
    let side = config.size;
    let (width, height) = match config.resize {
        Resize::Shortest => resized(image.width(), image.height(), edge),
        Resize::Squash => (side, side),
    };
    let axis = |length: usize, resized: usize| {
        let start = centre(resized, side);
        Axis::new(length, resized, start..start + side, config.interpolation)
    };
    let horizontal = axis(image.width(), width);
    let vertical = axis(image.height(), height);

    let channels = image.layout().channels();
    let pitch = image.width() * channels;
    let rows = vertical.source();
    let source = &image.data()[rows.start * pitch..rows.end * pitch];
    let square = match image.layout() {
        Layout::Gray => resample::<1>(source, pitch, &horizontal, &vertical),
        Layout::GrayAlpha => resample::<2>(source, pitch, &horizontal, &vertical),
        Layout::Rgb => resample::<3>(source, pitch, &horizontal, &vertical),
        Layout::Rgba => resample::<4>(source, pitch, &horizontal, &vertical),
    };
    Pixels {
        side,
        rgb: to_rgb(square, image.layout()),
        second: None,
    }
}

/// The size that torchvision's `Resize(side)` gives: `int(side * long / short)` for the long side.
fn resized(width: usize, height: usize, side: usize) -> (usize, usize) {
    if width <= height {
        (side, side * height / width)
    } else {
        (side * width / height, side)
    }
}

/// Where torchvision's `CenterCrop` starts: half of what is over, rounded half to even.
fn centre(length: usize, side: usize) -> usize {
    let over = length - side;
    let half = over / 2;
    half + usize::from(over % 2 == 1 && half % 2 == 1)
}

fn to_rgb(square: Vec<u8>, layout: Layout) -> Vec<u8> {
    match layout {
        Layout::Rgb => square,
        Layout::Rgba => square
            .chunks_exact(4)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect(),
        Layout::Gray => square.iter().flat_map(|&gray| [gray; 3]).collect(),
        Layout::GrayAlpha => square
            .chunks_exact(2)
            .flat_map(|pixel| [pixel[0]; 3])
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interpolation;

    fn config(interpolation: Interpolation) -> ImageConfig {
        ImageConfig {
            size: 256,
            mean: [0.0; 3],
            std: [1.0; 3],
            interpolation,
            resize: Resize::Shortest,
        }
    }

    #[test]
    fn sizes_and_offsets_are_torchvisions() {
        assert_eq!(resized(640, 480, 256), (341, 256));
        assert_eq!(resized(3, 1000, 256), (256, 85_333));
        assert_eq!(resized(60_000, 2, 256), (7_680_000, 256));
        // round(0.5) = 0, round(1.5) = 2, round(2.5) = 2, round(42.5) = 42 in Python.
        assert_eq!(
            [1, 3, 5, 85].map(|over| centre(256 + over, 256)),
            [0, 2, 2, 42]
        );
    }

    #[test]
    fn an_image_of_the_right_size_is_untouched() {
        let data: Vec<u8> = (0..256 * 256 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let view = PixelView::rgb(256, 256, &data).unwrap();
        for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
            assert_eq!(preprocess(&config(filter), &view).rgb(), data);
        }
    }

    #[test]
    fn layouts_of_one_picture_agree() {
        let (width, height) = (93, 61);
        let gray: Vec<u8> = (0..width * height).map(|i| (i * i % 253) as u8).collect();
        let expand =
            |pixel: &dyn Fn(u8) -> Vec<u8>| gray.iter().flat_map(|&g| pixel(g)).collect::<Vec<_>>();
        let pictures = [
            (Layout::Gray, gray.clone()),
            (Layout::GrayAlpha, expand(&|g| vec![g, 3])),
            (Layout::Rgb, expand(&|g| vec![g, g, g])),
            (Layout::Rgba, expand(&|g| vec![g, g, g, 200])),
        ];
        let outputs = pictures.map(|(layout, data)| {
            let view = PixelView::new(width, height, layout, &data).unwrap();
            preprocess(&config(Interpolation::Bilinear), &view)
        });
        assert!(outputs.iter().all(|output| *output == outputs[0]));
    }

    #[test]
    fn extreme_shapes_cost_little() {
        let data = vec![100; 60_000 * 2 * 3];
        for (width, height) in [(60_000, 2), (2, 60_000)] {
            for resize in [Resize::Shortest, Resize::Squash] {
                let config = ImageConfig {
                    resize,
                    ..config(Interpolation::Bicubic)
                };
                let view = PixelView::rgb(width, height, &data).unwrap();
                // The fastest of a few: other tests run beside it.
                let times = (0..5).map(|_| {
                    let start = std::time::Instant::now();
                    let pixels = preprocess(&config, &view);
                    assert!(pixels.rgb().iter().all(|&byte| byte == 100));
                    start.elapsed()
                });
                let fastest = times.min().unwrap();
                assert!(fastest.as_millis() < 200, "{fastest:?}");
            }
        }
    }
}

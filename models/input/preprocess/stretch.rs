//! Bilinear resizing straight to a square, as TensorFlow's `resizeBilinear` with aligned corners
//! does it: the corners' pixels stay the corners', and nothing is averaged on the way down.

use crate::input::pixels::{Layout, PixelView};

/// Where an output pixel lies between two pixels of the source.
#[derive(Clone, Copy)]
struct Between {
    first: usize,
    second: usize,
    /// How far from the first, 0 to below 1.
    fraction: f64,
}

/// An axis of `length` pixels brought to `side`.
fn axis(length: usize, side: usize) -> Vec<Between> {
    let ratio = (length - 1) as f64 / (side - 1) as f64;
    (0..side)
        .map(|place| {
            let exact = place as f64 * ratio;
            Between {
                first: (exact.floor() as usize).min(length - 1),
                second: (exact.ceil() as usize).min(length - 1),
                fraction: exact - exact.floor(),
            }
        })
        .collect()
}

/// The picture in a square of `side` pixels, at least 2: `[side, side, 3]` in 0..1, whatever its
/// shape was.
pub(crate) fn stretch(image: &PixelView, side: usize) -> Vec<f32> {
    let channels = image.layout().channels();
    let taken: [usize; 3] = match image.layout() {
        Layout::Gray | Layout::GrayAlpha => [0; 3],
        Layout::Rgb | Layout::Rgba => [0, 1, 2],
    };
    // TensorFlow divides before it resizes.
    let unit: [f64; 256] = std::array::from_fn(|byte| f64::from(byte as f32 / 255.0));
    let (columns, rows) = (axis(image.width(), side), axis(image.height(), side));
    let pitch = image.width() * channels;
    let mut values = Vec::with_capacity(side * side * 3);
    for row in &rows {
        let above = &image.data()[row.first * pitch..][..pitch];
        let below = &image.data()[row.second * pitch..][..pitch];
        for column in &columns {
            let (left, right) = (column.first * channels, column.second * channels);
            for channel in taken {
                let along = |line: &[u8]| {
                    let left = unit[usize::from(line[left + channel])];
                    let right = unit[usize::from(line[right + channel])];
                    left + (right - left) * column.fraction
                };
                let (above, below) = (along(above), along(below));
                values.push((above + (below - above) * row.fraction) as f32);
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_stay_and_what_lies_between_is_linear() {
        let view = PixelView::new(2, 2, Layout::Gray, &[0, 255, 51, 102]).unwrap();
        let square = stretch(&view, 3);
        let gray: Vec<f32> = square.chunks(3).map(|pixel| pixel[0]).collect();
        let expected = [0.0, 0.5, 1.0, 0.1, 0.4, 0.7, 0.2, 0.3, 0.4];
        for (found, expected) in gray.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{gray:?}");
        }
        assert!(square.chunks(3).all(|pixel| pixel == [pixel[0]; 3]));
    }

    #[test]
    fn shrinking_averages_nothing() {
        // Every second column is white: five columns of nine fall on black ones.
        let row: Vec<u8> = (0..9).map(|x| 255 * (x % 2)).collect();
        let view = PixelView::new(9, 1, Layout::Gray, &row).unwrap();
        assert!(stretch(&view, 5).iter().all(|value| *value == 0.0));
    }

    #[test]
    fn any_shape_fits_and_alpha_is_left_out() {
        for (width, height) in [(1, 1), (1, 500), (60_000, 2), (3, 3)] {
            let data: Vec<u8> = [10, 20, 30, 0].repeat(width * height);
            let view = PixelView::new(width, height, Layout::Rgba, &data).unwrap();
            let square = stretch(&view, 4);
            let pixel = [10.0, 20.0, 30.0].map(|value: f32| value / 255.0);
            assert_eq!(square.len(), 4 * 4 * 3);
            assert!(
                square.chunks(3).all(|found| found == pixel),
                "{width}x{height}"
            );
        }
    }
}

//! The picture while its strips and tiles come in, and what it becomes at the end.

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageFormat, RgbImage, RgbaImage};
use omnizap_contract::Error;

use super::lab::Lab;
use super::layout::{Colours, Layout};
use super::samples::{Narrow, Wide};
use crate::fault;

/// A byte for each sample that is of use, pixel by pixel; or a number for each pixel where the
/// range of gray is not known yet.
pub(super) struct Canvas {
    width: usize,
    used: usize,
    bytes: Vec<u8>,
    numbers: Vec<f32>,
}

/// Where a row of a strip or a tile belongs.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The sample that all of the row is of, where each has strips of its own.
    pub(super) plane: Option<usize>,
    pub(super) left: u32,
    pub(super) top: u32,
}

impl Canvas {
    pub(super) fn new(layout: &Layout) -> Self {
        let area = layout.width as usize * layout.height as usize;
        let used = layout.used();
        let is_wide = layout.is_wide();
        Self {
            width: layout.width as usize,
            used,
            bytes: vec![0; if is_wide { 0 } else { area * used }],
            numbers: vec![0.0; if is_wide { area } else { 0 }],
        }
    }

    /// How many pixels of a row that begins at `left` are within the picture.
    fn pixels_from(&self, left: usize, layout: &Layout) -> usize {
        (layout.grid.width as usize).min(self.width.saturating_sub(left))
    }

    /// Takes a row of samples.
    pub(super) fn put(&mut self, layout: &Layout, narrow: &Narrow, row: &[u8], place: Place) {
        let left = place.left as usize;
        let pixels = self.pixels_from(left, layout);
        let start = place.top as usize * self.width + left;
        let step = layout.samples_of_chunk();
        if layout.is_wide() {
            let wide = Wide::of(layout);
            let own = &mut self.numbers[start..start + pixels];
            for (index, number) in own.iter_mut().enumerate() {
                *number = wide.get(row, step * index);
            }
            return;
        }
        let own = &mut self.bytes[self.used * start..self.used * (start + pixels)];
        if matches!(narrow, Narrow::Byte) && place.plane.is_none() && step == self.used {
            own.copy_from_slice(&row[..own.len()]);
            return;
        }
        if self.used == 1 && step == 1 {
            narrow.row(row, own);
            return;
        }
        for channel in 0..self.used {
            let sample = layout.sample_of(channel);
            let sample = match place.plane {
                Some(plane) if plane == sample => 0,
                Some(_) => continue,
                None => sample,
            };
            let pixels = own.chunks_exact_mut(self.used);
            for (index, pixel) in pixels.enumerate() {
                pixel[channel] = narrow.get(row, step * index + sample);
            }
        }
    }

    /// Takes a row of whole pixels, three bytes each.
    pub(super) fn put_pixels(&mut self, layout: &Layout, row: &[[u8; 3]], place: Place) {
        let left = place.left as usize;
        let pixels = self.pixels_from(left, layout).min(row.len());
        let start = 3 * (place.top as usize * self.width + left);
        let own = &mut self.bytes[start..start + 3 * pixels];
        own.copy_from_slice(row[..pixels].as_flattened());
    }

    /// The picture.
    ///
    /// # Errors
    /// `Invalid` where there are too few samples: none is missing, but an empty picture would show.
    pub(super) fn finish(mut self, layout: &Layout) -> Result<DynamicImage, Error> {
        if layout.is_wide() {
            self.bytes = Wide::of(layout).gray(&self.numbers);
            self.numbers = Vec::new();
        }
        let is_premultiplied = layout.alpha.is_some_and(|alpha| alpha.is_premultiplied);
        let bytes = &mut self.bytes;
        match &layout.colours {
            Colours::Gray { is_inverted: true } => {
                for gray in bytes.iter_mut().step_by(self.used) {
                    *gray = !*gray;
                }
            }
            Colours::Cmyk => shrink(bytes, cmyk_to_rgb),
            Colours::YCbCr(ycbcr) => {
                for pixel in bytes.as_chunks_mut::<3>().0 {
                    *pixel = ycbcr.rgb(pixel[0], pixel[1], pixel[2]);
                }
            }
            Colours::Lab => {
                let lab = Lab::new();
                for pixel in bytes.as_chunks_mut::<3>().0 {
                    *pixel = lab.rgb(*pixel);
                }
            }
            Colours::Palette(palette) => {
                let colour =
                    |index: u8| palette.get(usize::from(index)).copied().unwrap_or_default();
                self.bytes = if self.used == 2 {
                    let pixels = bytes.as_chunks::<2>().0.iter();
                    let colours = pixels.flat_map(|&[index, alpha]| {
                        let [red, green, blue] = colour(index);
                        [red, green, blue, alpha]
                    });
                    colours.collect()
                } else {
                    bytes.iter().flat_map(|&index| colour(index)).collect()
                };
            }
            Colours::Gray { is_inverted: false } | Colours::Rgb => {}
        }
        if is_premultiplied {
            let size = if matches!(layout.colours, Colours::Gray { .. }) {
                2
            } else {
                4
            };
            divide_by_alpha(&mut self.bytes, size);
        }
        let (width, height, bytes) = (layout.width, layout.height, self.bytes);
        let made = match (&layout.colours, layout.alpha) {
            (Colours::Gray { .. }, None) => {
                GrayImage::from_raw(width, height, bytes).map(DynamicImage::from)
            }
            (Colours::Gray { .. }, Some(_)) => {
                GrayAlphaImage::from_raw(width, height, bytes).map(DynamicImage::from)
            }
            (_, Some(_)) => RgbaImage::from_raw(width, height, bytes).map(DynamicImage::from),
            (_, None) => RgbImage::from_raw(width, height, bytes).map(DynamicImage::from),
        };
        made.ok_or_else(|| fault::broken(ImageFormat::Tiff, "samples are missing"))
    }
}

/// Makes three bytes of each four, in place.
fn shrink(bytes: &mut Vec<u8>, change: impl Fn([u8; 4]) -> [u8; 3]) {
    let pixels = bytes.len() / 4;
    for pixel in 0..pixels {
        let from = 4 * pixel;
        let own = [
            bytes[from],
            bytes[from + 1],
            bytes[from + 2],
            bytes[from + 3],
        ];
        bytes[3 * pixel..3 * pixel + 3].copy_from_slice(&change(own));
    }
    bytes.truncate(3 * pixels);
}

/// What is left of white behind ink, rounded as Pillow rounds it.
fn cmyk_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = 255 - i32::from(black);
    [cyan, magenta, yellow].map(|ink| {
        let product = i32::from(ink) * light + 128;
        let taken = ((product >> 8) + product) >> 8;
        (light - taken).clamp(0, 255) as u8
    })
}

/// Undoes a multiplication of colours by alpha as Pillow does; what cannot be seen becomes black.
fn divide_by_alpha(bytes: &mut [u8], size: usize) {
    for pixel in bytes.chunks_exact_mut(size) {
        let Some((&mut alpha, colours)) = pixel.split_last_mut() else {
            continue;
        };
        for colour in colours {
            let quotient = (u32::from(*colour) * 255).checked_div(u32::from(alpha));
            *colour = quotient.unwrap_or(0).min(255) as u8;
        }
    }
}

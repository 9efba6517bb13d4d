//! Pictures of every format that people send, read within limits and made into 8-bit RGB.
//!
//! What a file is decides its content, never its name or declared type. The header is checked
//! against the limits before any pixel is decoded. Each format has a module, which gives the
//! pixels that Pillow gives; what that is good for and where it differs, `docs/formats.md` tells.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat};
use omnizap_contract::Error;

mod animation;
mod bmp;
mod colour;
mod exif;
mod fault;
mod format;
mod frames;
mod gif;
mod jpeg;
pub mod limits;
mod pixels;
mod png;
mod sniff;
mod tiff;
mod webp;

pub use frames::{Choice, Frame, Frames, LOOKED_AT_FRAMES, LOOKED_AT_PIXELS, MOST_IN_SAMPLE};
pub use limits::Limits;
pub use pixels::Alpha;

/// How pictures are read.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// What a picture may ask for.
    pub limits: Limits,
    /// Whether a picture is turned upright as its EXIF data says.
    pub is_turned: bool,
    /// Whether colours are made into those of sRGB where an ICC profile says which they are; they are
    /// taken for sRGB otherwise.
    pub is_managed: bool,
    /// What becomes of transparency.
    pub alpha: Alpha,
    /// How many pixels of the shorter side are needed at least. A larger picture may come at a half,
    /// a quarter or an eighth of its size where that is decoded faster, never below this.
    pub scaled_to: Option<u32>,
}

/// The first picture of a file, as a format's module gives it.
struct Still {
    image: DynamicImage,
    /// How it wants to be turned.
    turn: Orientation,
    /// The ICC profile of its colours, as it stands in the file.
    icc: Option<Vec<u8>>,
}

/// A picture that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// In pixels, at least 1.
    pub width: u32,
    /// In pixels, at least 1.
    pub height: u32,
    /// `[height, width, 3]`, 8-bit RGB in rows.
    pub pixels: Vec<u8>,
}

impl Decoder {
    /// As the pipelines that are shipped read pictures: upright, over gray.
    pub const DEFAULT: Self = Self {
        limits: Limits::DEFAULT,
        is_turned: true,
        is_managed: false,
        alpha: Alpha::Compose {
            background: [0x80; 3],
        },
        scaled_to: None,
    };

    /// As Pillow's `convert("RGB")` does, and so the Python service.
    pub const AS_PILLOW: Self = Self {
        is_turned: false,
        alpha: Alpha::Drop,
        ..Self::DEFAULT
    };

    /// How many bytes decoding a file takes at most at one time, as its header tells. No pixel is
    /// decoded.
    ///
    /// # Errors
    /// As [`Self::decode`], as far as the header tells.
    pub fn room(&self, file: &[u8]) -> Result<u64, Error> {
        self.room_of(file, Frames::First)
    }

    fn room_of_profile(&self) -> u64 {
        if self.is_managed { colour::ROOM } else { 0 }
    }

    /// Reads the first picture of a file.
    ///
    /// # Errors
    /// `TooLarge` where a limit is exceeded, which it names; `Invalid` where the file is empty, no
    /// picture, or broken; `UnsupportedType` for formats and kinds of them that are not read.
    pub fn decode(&self, file: &[u8]) -> Result<Picture, Error> {
        let Choice {
            width,
            height,
            pixels,
            ..
        } = self.choose(file, Frames::First)?;
        Ok(Picture {
            width,
            height,
            pixels,
        })
    }

    /// A picture as it was asked for.
    fn finished(&self, format: ImageFormat, still: Still) -> Result<Picture, Error> {
        let image = match still.icc {
            Some(icc) if self.is_managed => {
                guarded(format, || Ok(colour::managed(still.image, icc)))?
            }
            _ => still.image,
        };
        let rgb = pixels::to_rgb8(image, self.alpha);
        let turn = match still.turn {
            // Like Pillow, which turns a TIFF while loading it: there the tag is part of the
            // format, not an afterthought of the camera.
            turn if format == ImageFormat::Tiff || self.is_turned => turn,
            _ => Orientation::NoTransforms,
        };
        let mut rgb = DynamicImage::ImageRgb8(rgb);
        rgb.apply_orientation(turn);
        let (width, height) = (rgb.width(), rgb.height());
        if width == 0 || height == 0 {
            return Err(fault::broken(format, "it has no pixels"));
        }
        let mut pixels = rgb.into_bytes();
        // Alpha may have stood there.
        pixels.shrink_to_fit();
        Ok(Picture {
            width,
            height,
            pixels,
        })
    }
}

/// Decoders of hostile input are where bugs hide: a panic in one of them is a broken picture, not
/// the end of a worker thread.
fn guarded<T>(format: ImageFormat, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(fault::panicked(format)))
}

#[cfg(test)]
mod tests;

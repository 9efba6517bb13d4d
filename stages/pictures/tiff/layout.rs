//! What a directory says of its picture: the size, the samples of a pixel, and where they are.
//!
//! Everything that is wrong or not read is found here, before a pixel is decoded.

mod tags;

use image::ImageFormat;
use image::metadata::Orientation;
use omnizap_contract::Error;

use self::tags::{alpha, bits, colours, grid, numbers};
use super::compression::{Compression, LZMA_MEMORY, ZSTD_WINDOW};
use super::ifd::{Directory, Order, tag, unread};
use super::predictor::Predictor;
use super::ycbcr::YCbCr;
use crate::limits::Limits;
use crate::{fault, pixels};

/// The last strip of JPEG may be as high as the others, and end with a whole row of blocks.
pub(super) const BLOCK: u32 = 16;

/// What the samples of a pixel mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Colours {
    Gray {
        is_inverted: bool,
    },
    Rgb,
    /// Red, green and blue of each index.
    Palette(Vec<[u8; 3]>),
    Cmyk,
    YCbCr(Box<YCbCr>),
    Lab,
}

/// What a sample's bits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    Unsigned,
    Signed,
    Float,
}

/// What is known of transparency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AlphaSample {
    /// Which of the samples it is.
    pub(super) at: usize,
    /// Whether the colours were multiplied by it.
    pub(super) is_premultiplied: bool,
}

/// A picture cut into strips, as wide as it, or into tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) is_tiled: bool,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) across: u32,
    pub(super) down: u32,
}

/// How the picture is stored.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) compression: Compression,
    /// Whether the lowest bit of a byte comes first.
    pub(super) is_bit_reversed: bool,
    pub(super) predictor: Predictor,
    pub(super) order: Order,
    /// Of each sample.
    pub(super) bits: u32,
    pub(super) numbers: Numbers,
    /// Samples of a pixel, those that are of no use too.
    pub(super) samples: usize,
    /// Whether each sample has strips of its own.
    pub(super) is_planar: bool,
    pub(super) colours: Colours,
    pub(super) alpha: Option<AlphaSample>,
    pub(super) grid: Grid,
    /// Whether the JPEG streams within have YCbCr colours, which their decoder makes RGB.
    pub(super) is_jpeg_ycbcr: bool,
    /// Bytes of the whole file.
    stored: u64,
}

fn broken(reason: &'static str) -> Error {
    fault::broken(ImageFormat::Tiff, reason)
}

impl Layout {
    /// Reads a directory.
    ///
    /// # Errors
    /// `TooLarge` where it exceeds a limit, `Invalid` where it says what cannot be,
    /// `UnsupportedType` for kinds of TIFF that are not read.
    pub(super) fn of(directory: &Directory<'_>, limits: Limits) -> Result<Self, Error> {
        let side = |tag| -> Result<u32, Error> {
            let side = directory.value(tag).filter(|&side| side > 0);
            let side = side.ok_or_else(|| broken("it has no width or no height"))?;
            Ok(u32::try_from(side).unwrap_or(u32::MAX))
        };
        let (width, height) = (side(tag::WIDTH)?, side(tag::HEIGHT)?);
        limits.check(width, height)?;

        let value = |tag, otherwise| directory.value(tag).unwrap_or(otherwise);
        let compression = Compression::of(value(tag::COMPRESSION, 1), value(tag::T4_OPTIONS, 0))?;
        let is_jpeg = matches!(compression, Compression::Jpeg | Compression::OldJpeg);
        let photometric = match compression {
            Compression::OldJpeg => 6,
            _ => value(tag::PHOTOMETRIC, 0),
        };
        let usual = if compression == Compression::OldJpeg {
            3
        } else {
            1
        };
        let samples = value(tag::SAMPLES_PER_PIXEL, usual);
        if !(1..=16).contains(&samples) {
            return Err(unread(&format!("{samples} samples a pixel")));
        }
        let samples = samples as usize;
        let bits = bits(directory, samples)?;
        let numbers = numbers(directory)?;
        let is_planar = value(tag::PLANAR_CONFIGURATION, 1) == 2 && samples > 1;
        let mut colours = colours(directory, photometric, samples, bits)?;
        let is_jpeg_ycbcr = is_jpeg && !is_planar && matches!(colours, Colours::YCbCr(_));
        if is_jpeg_ycbcr {
            colours = Colours::Rgb;
        }
        let alpha = alpha(directory, &colours, samples);
        let predictor = if compression.has_predictor() {
            let is_float = numbers == Numbers::Float;
            Predictor::of(value(tag::PREDICTOR, 1), bits, is_float)?
        } else {
            Predictor::None
        };
        let planes = if is_planar { samples } else { 1 };
        let layout = Self {
            width,
            height,
            compression,
            is_bit_reversed: value(tag::FILL_ORDER, 1) == 2 && !is_jpeg,
            predictor,
            order: directory.order,
            bits,
            numbers,
            samples,
            is_planar,
            colours,
            alpha,
            grid: grid(directory, compression, (width, height), planes, limits)?,
            is_jpeg_ycbcr,
            stored: directory.file.len() as u64,
        };
        layout.check_samples()?;
        limits.check_alloc(layout.row_bytes())?;
        Ok(layout)
    }

    /// Whether the samples are of a size that their meaning allows.
    fn check_samples(&self) -> Result<(), Error> {
        use Numbers::{Float, Signed, Unsigned};
        let bits = self.bits;
        let is_read = match (&self.colours, self.numbers) {
            _ if matches!(self.compression, Compression::Fax(_)) => {
                bits == 1 && self.samples == 1 && self.numbers == Unsigned
            }
            _ if matches!(self.compression, Compression::Jpeg | Compression::OldJpeg) => {
                bits == 8 && self.numbers == Unsigned
            }
            (Colours::Gray { .. }, Unsigned) => bits <= 16 || bits == 32,
            (Colours::Gray { .. }, Signed) => matches!(bits, 8 | 16 | 32),
            (Colours::Gray { .. } | Colours::Rgb, Float) => matches!(bits, 32 | 64),
            (Colours::Rgb, Unsigned) => bits <= 16 || bits == 32,
            (Colours::Palette(_), Unsigned) => bits <= 8,
            (Colours::Cmyk, Unsigned) => matches!(bits, 8 | 16),
            (Colours::YCbCr(_) | Colours::Lab, Unsigned) => bits == 8,
            _ => false,
        };
        let is_wide_with_alpha = self.is_wide() && self.alpha.is_some();
        if !is_read || is_wide_with_alpha {
            let kind = match self.numbers {
                Unsigned => "",
                Signed => "signed ",
                Float => "floating point ",
            };
            let name = self.colours.name();
            return Err(unread(&format!("{name} in {kind}samples of {bits} bits")));
        }
        match &self.colours {
            Colours::YCbCr(_) if self.samples != 3 => Err(unread("YCbCr colours and transparency")),
            Colours::YCbCr(ycbcr) if self.is_planar && ycbcr.is_subsampled() => {
                Err(unread("YCbCr colours, subsampled in planes"))
            }
            _ => Ok(()),
        }
    }

    /// Whether values of samples may have any range, which is known when all are read.
    pub(super) fn is_wide(&self) -> bool {
        let is_gray = matches!(self.colours, Colours::Gray { .. });
        let is_any = self.bits == 32
            || self.numbers == Numbers::Float
            || (self.numbers == Numbers::Signed && self.bits > 8);
        is_gray && is_any
    }

    /// How many samples of a pixel are of use: its colours and its alpha.
    pub(super) fn used(&self) -> usize {
        self.colours.samples() + usize::from(self.alpha.is_some())
    }

    /// Which sample of a pixel comes to a place among those of use.
    pub(super) fn sample_of(&self, channel: usize) -> usize {
        match self.alpha {
            Some(alpha) if channel == self.colours.samples() => alpha.at,
            _ => channel,
        }
    }

    /// Samples that stand side by side in a strip or a tile.
    pub(super) fn samples_of_chunk(&self) -> usize {
        if self.is_planar { 1 } else { self.samples }
    }

    /// Bytes of a row of a strip or a tile, decompressed.
    pub(super) fn row_bytes(&self) -> u64 {
        let samples = u64::from(self.grid.width) * self.samples_of_chunk() as u64;
        (samples * u64::from(self.bits)).div_ceil(8)
    }

    /// How many bytes decoding a strip or a tile of JPEG holds at most at one time.
    fn room_of_jpeg(&self, is_progressive: bool) -> u64 {
        let side =
            |pixels: u32| u64::from(pixels).next_multiple_of(BLOCK.into()) + u64::from(BLOCK);
        let area = side(self.grid.width) * side(self.grid.height);
        // Planes and the samples made of them, and coefficients.
        let each = if is_progressive { 4 } else { 2 };
        each * area * self.samples_of_chunk() as u64
    }

    /// How many bytes decoding takes at most at one time: what is read, what becomes of it, and a
    /// few rows, or a JPEG picture within, which may be progressive.
    pub(super) fn room(&self, turn: Orientation, is_progressive: bool) -> u64 {
        let area = u64::from(self.width) * u64::from(self.height);
        let rgb = pixels::rgb8_bytes(self.width, self.height);
        let used = self.used() as u64;
        let canvas = if self.is_wide() {
            4 * area
        } else {
            used * area
        };
        let in_work = match self.compression {
            Compression::Zstd => 3 * self.row_bytes() + 2 * ZSTD_WINDOW,
            Compression::Lzma => 3 * self.row_bytes() + LZMA_MEMORY,
            Compression::Jpeg | Compression::OldJpeg => self.room_of_jpeg(is_progressive),
            _ => 3 * self.row_bytes(),
        };
        let reversed = if self.is_bit_reversed { self.stored } else { 0 };
        let in_work = in_work + self.ycbcr_bytes() + reversed;
        let made = match (&self.colours, self.alpha) {
            (Colours::Gray { .. }, None) => area,
            (Colours::Gray { .. }, Some(_)) => 0,
            (Colours::Palette(_), Some(_)) => 4 * area,
            (Colours::Palette(_), None) => rgb,
            _ => 0,
        };
        // Gray becomes RGB last.
        let gray = match (&self.colours, self.alpha) {
            (Colours::Gray { .. }, None) => area + rgb,
            (Colours::Gray { .. }, Some(_)) => 2 * area + rgb,
            _ => 0,
        };
        (canvas + in_work)
            .max(canvas + made)
            .max(gray)
            .max(pixels::turned_bytes(rgb, turn))
    }

    /// Subsampled colours come in rows of blocks.
    pub(super) fn ycbcr_bytes(&self) -> u64 {
        match &self.colours {
            Colours::YCbCr(ycbcr) => ycbcr.block_row_bytes(self.grid.width) as u64,
            _ => 0,
        }
    }
}

impl Colours {
    /// How many samples a colour has.
    pub(super) fn samples(&self) -> usize {
        match self {
            Self::Gray { .. } | Self::Palette(_) => 1,
            Self::Rgb | Self::YCbCr(_) | Self::Lab => 3,
            Self::Cmyk => 4,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Gray { .. } => "gray",
            Self::Palette(_) => "a palette",
            Self::Rgb => "RGB",
            Self::YCbCr(_) => "YCbCr",
            Self::Lab => "Lab",
            Self::Cmyk => "CMYK",
        }
    }
}

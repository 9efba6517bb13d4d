//! Images on their way into a model: what a decoder gives, and what the image tower takes.

use crate::error::Error;

/// How the 8-bit channels of a pixel follow each other. Alpha is ignored, as Pillow's
/// `convert("RGB")` does: whoever wants a background composites before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One channel, shown as gray.
    Gray,
    /// Gray and alpha.
    GrayAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
}

impl Layout {
    /// Bytes of a pixel.
    pub fn channels(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::GrayAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// A decoded image, borrowed: rows from the top, without padding.
#[derive(Clone, Copy, Debug)]
pub struct PixelView<'a> {
    width: usize,
    height: usize,
    layout: Layout,
    data: &'a [u8],
}

impl<'a> PixelView<'a> {
    /// A view of `width` x `height` pixels.
    ///
    /// # Errors
    /// [`Error::BadImage`] when a side is 0 or over [`MAX_SIDE`], or `data` is not exactly
    /// `width * height * channels` bytes.
    pub fn new(width: usize, height: usize, layout: Layout, data: &'a [u8]) -> Result<Self, Error> {
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::BadImage(format!(
                "{width}x{height} pixels, a side is 1 to {MAX_SIDE}"
            )));
        }
        let expected = width * height * layout.channels();
        if data.len() != expected {
            return Err(Error::BadImage(format!(
                "{} bytes, {width}x{height} {layout:?} has {expected}",
                data.len()
            )));
        }
        Ok(Self {
            width,
            height,
            layout,
            data,
        })
    }

    /// A view of 8-bit RGB pixels.
    ///
    /// # Errors
    /// As [`PixelView::new`].
    pub fn rgb(width: usize, height: usize, data: &'a [u8]) -> Result<Self, Error> {
        Self::new(width, height, Layout::Rgb, data)
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The order of channels.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// All bytes.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
}

/// The longest side of an image that is accepted, in pixels.
pub const MAX_SIDE: usize = 1 << 20;

/// An image as an image tower takes it: a square of 8-bit RGB, resized and cropped, to be
/// normalised inside the model. At 256 pixels a side it is 192 KiB, cheap to queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    pub(crate) side: usize,
    pub(crate) rgb: Vec<u8>,
    /// The same image for the second of two joined towers.
    pub(crate) second: Option<Box<Pixels>>,
}

impl Pixels {
    /// The side of the square in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// This square, and after it that for the second tower.
    pub(crate) fn of_towers(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |pixels| pixels.second.as_deref())
    }

    /// The bytes, `[side, side, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

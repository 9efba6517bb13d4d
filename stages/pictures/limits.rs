//! What a picture may ask for.

use omnizap_contract::Error;

use super::fault;

/// The names of the limits: those of the options of the stage `decode`, which messages name.
pub const MAX_PIXELS: &str = "max_pixels";
/// See [`Limits::max_side`].
pub const MAX_SIDE: &str = "max_side";
/// See [`Limits::max_alloc_bytes`].
pub const MAX_ALLOC_BYTES: &str = "max_alloc_bytes";

/// The bounds of one picture.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most pixels.
    pub max_pixels: u64,
    /// Longest side in pixels.
    pub max_side: u64,
    /// Most bytes that decoding may hold.
    pub max_alloc_bytes: u64,
}

impl Limits {
    /// The options' defaults: 50 million pixels, as of a 50 MP camera; the longest side that JPEG and
    /// GIF can express; memory for that many pixels of 16-bit RGBA.
    pub const DEFAULT: Self = Self {
        max_pixels: 50_000_000,
        max_side: 65_535,
        max_alloc_bytes: 512 << 20,
    };

    /// Checks what a header promises.
    ///
    /// # Errors
    /// [`omnizap_contract::ErrorKind::TooLarge`], naming the limit.
    pub(super) fn check(&self, width: u32, height: u32) -> Result<(), Error> {
        let (width, height) = (u64::from(width), u64::from(height));
        if width.max(height) > self.max_side {
            let what = format!(
                "of {width}x{height} pixels, over the limit of {} a side",
                self.max_side
            );
            return Err(fault::too_large(what, MAX_SIDE));
        }
        if width * height > self.max_pixels {
            let what = format!(
                "of {width}x{height} pixels, over the limit of {} in all",
                self.max_pixels
            );
            return Err(fault::too_large(what, MAX_PIXELS));
        }
        Ok(())
    }

    /// Checks a buffer before it is allocated.
    ///
    /// # Errors
    /// [`omnizap_contract::ErrorKind::TooLarge`], naming the limit.
    pub(super) fn check_alloc(&self, bytes: u64) -> Result<(), Error> {
        if bytes > self.max_alloc_bytes {
            let what = format!(
                "that takes {bytes} bytes to decode, over the limit of {}",
                self.max_alloc_bytes
            );
            return Err(fault::too_large(what, MAX_ALLOC_BYTES));
        }
        Ok(())
    }
}

//! What a picture may ask for.

use omnizap_contract::Error;

use super::{MAX_ALLOC_BYTES, MAX_PIXELS, MAX_SIDE, fault};

/// The bounds of one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most pixels.
    pub(super) max_pixels: u64,
    /// Longest side in pixels.
    pub(super) max_side: u64,
    /// Most bytes that decoding may hold.
    pub(super) max_alloc_bytes: u64,
}

impl Limits {
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
            return Err(fault::too_large(what, MAX_SIDE.name()));
        }
        if width * height > self.max_pixels {
            let what = format!(
                "of {width}x{height} pixels, over the limit of {} in all",
                self.max_pixels
            );
            return Err(fault::too_large(what, MAX_PIXELS.name()));
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
            return Err(fault::too_large(what, MAX_ALLOC_BYTES.name()));
        }
        Ok(())
    }

    /// The bound that the image crate keeps by itself: the others are checked here.
    pub(super) fn of_image_crate(&self) -> image::Limits {
        let mut limits = image::Limits::no_limits();
        limits.max_alloc = Some(self.max_alloc_bytes);
        limits
    }
}

//! Pictures that move, frame by frame.

use image::RgbaImage;
use omnizap_contract::Error;

/// The frames of a file, in their order, each as the whole canvas that is seen at its time.
pub(crate) trait Animation {
    /// How long each frame is shown, in milliseconds, as the file says; 0 where it says nothing.
    fn durations(&self) -> &[u32];

    /// The canvas with the next frame on it, none behind the last. Transparent pixels have alpha 0.
    ///
    /// # Errors
    /// As of the format's `decode`. A frame that is broken does not spoil those before it.
    fn next(&mut self) -> Result<Option<&RgbaImage>, Error>;
}

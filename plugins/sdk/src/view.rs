//! Pictures as a stage sees them: borrowed for the call, nothing copied.

use omnizap_contract::Channels;

/// Pixels of 8 bits a sample, interleaved; rows without padding.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples of a pixel.
    pub channels: Channels,
    /// `height * width * channels` bytes.
    pub pixels: &'a [u8],
}

impl<'a> ImageView<'a> {
    /// Row `y` from the top, its pixels left to right; empty past the last row.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [u8] {
        let stride = self.width * self.channels.count();
        let from = self.pixels.get(y.saturating_mul(stride)..);
        from.and_then(|rest| rest.get(..stride)).unwrap_or_default()
    }

    /// Luminance of a pixel, counted row by row, in thousandths: 0 to 255,000 (ITU-R BT.601
    /// weights). 0 past the last pixel.
    #[must_use]
    pub fn luminance(&self, pixel: usize) -> u64 {
        let samples = self.channels.count();
        let found = self.pixels.chunks_exact(samples).nth(pixel);
        self.luminance_of(found.unwrap_or_default())
    }

    /// The same of a pixel given by its samples, for those who go through rows.
    #[must_use]
    pub fn luminance_of(&self, samples: &[u8]) -> u64 {
        match (self.channels, samples) {
            (Channels::Gray, [gray, ..]) => 1000 * u64::from(*gray),
            (_, [r, g, b, ..]) => 299 * u64::from(*r) + 587 * u64::from(*g) + 114 * u64::from(*b),
            _ => 0,
        }
    }
}

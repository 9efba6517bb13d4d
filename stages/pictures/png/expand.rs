//! Rows of samples of any kind made into 8-bit RGB or RGBA.

use super::header::{Colour, Header};

/// What the samples of a picture become. Of 16 bits the high eight are kept, as Pillow does.
pub(super) struct Expand {
    samples: Samples,
    /// Bits of a sample.
    depth: u8,
    has_alpha: bool,
}

enum Samples {
    /// One sample of at most eight bits: a colour for each of its values.
    Table(Box<[[u8; 4]; 256]>),
    /// Gray of 16 bits, and the one that is transparent.
    Gray16(Option<u16>),
    GrayAlpha,
    /// The colour that is transparent.
    Rgb(Option<[u8; 3]>),
    Rgba,
}

impl Expand {
    /// `palette` and `transparency` are the data of PLTE and tRNS, where they are.
    ///
    /// The colour that tRNS makes transparent is compared as Pillow does it: its low byte with what
    /// is shown. So gray of 2 and 4 bits, which is spread over 0 to 255, hardly ever is transparent.
    ///
    /// # Errors
    /// What is wrong, in a few words.
    pub(super) fn new(
        header: &Header,
        palette: Option<&[u8]>,
        transparency: Option<&[u8]>,
    ) -> Result<Self, &'static str> {
        let numbers = transparency.unwrap_or_default().as_chunks::<2>().0;
        let mut has_alpha = false;
        let samples = match (header.colour, header.depth) {
            (Colour::Palette, _) => {
                let Some(palette) = palette.filter(|palette| palette.len() >= 3) else {
                    return Err("its palette is missing");
                };
                if palette.len() / 3 > 256 {
                    return Err("its palette has too many colours");
                }
                let mut table = Box::new([[0, 0, 0, 255]; 256]);
                for (entry, colour) in table.iter_mut().zip(palette.as_chunks::<3>().0) {
                    entry[..3].copy_from_slice(colour);
                }
                for (entry, &alpha) in table.iter_mut().zip(transparency.unwrap_or_default()) {
                    entry[3] = alpha;
                    has_alpha |= alpha < 255;
                }
                Samples::Table(table)
            }
            (Colour::Gray, 16) => {
                let clear = numbers.first().copied().map(u16::from_be_bytes);
                has_alpha = clear.is_some();
                Samples::Gray16(clear)
            }
            (Colour::Gray, depth) => {
                let clear = numbers.first().map(|&[high, low]| match depth {
                    1 if (high, low) == (0, 0) => 0,
                    1 => 255,
                    _ => low,
                });
                has_alpha = clear.is_some();
                let most = (1u16 << depth) - 1;
                let mut table = Box::new([[0, 0, 0, 255]; 256]);
                for (value, entry) in (0..=most).zip(table.iter_mut()) {
                    let gray = (value * (255 / most)) as u8;
                    *entry = [gray, gray, gray, if clear == Some(gray) { 0 } else { 255 }];
                }
                Samples::Table(table)
            }
            (Colour::GrayAlpha, _) => {
                has_alpha = true;
                Samples::GrayAlpha
            }
            (Colour::Rgb, _) => {
                let clear = match *numbers {
                    [[_, red], [_, green], [_, blue], ..] => Some([red, green, blue]),
                    _ => None,
                };
                has_alpha = clear.is_some();
                Samples::Rgb(clear)
            }
            (Colour::Rgba, _) => {
                has_alpha = true;
                Samples::Rgba
            }
        };
        Ok(Self {
            samples,
            depth: header.depth,
            has_alpha,
        })
    }

    /// True where a pixel may be transparent.
    pub(super) fn has_alpha(&self) -> bool {
        self.has_alpha
    }

    /// Makes a row of samples into pixels, as many as `out` has room for: RGB.
    pub(super) fn rgb(&self, row: &[u8], out: &mut [u8]) {
        let pixels = out.as_chunks_mut::<3>().0;
        match (&self.samples, self.depth) {
            (Samples::Rgb(_), 8) => {
                let length = row.len().min(3 * pixels.len());
                pixels.as_flattened_mut()[..length].copy_from_slice(&row[..length]);
            }
            _ => self.each(row, pixels, |[red, green, blue, _]| [red, green, blue]),
        }
    }

    /// The same: RGBA.
    pub(super) fn rgba(&self, row: &[u8], out: &mut [u8]) {
        let pixels = out.as_chunks_mut::<4>().0;
        match (&self.samples, self.depth) {
            (Samples::Rgba, 8) => {
                let length = row.len().min(4 * pixels.len());
                pixels.as_flattened_mut()[..length].copy_from_slice(&row[..length]);
            }
            _ => self.each(row, pixels, |pixel| pixel),
        }
    }

    #[inline(always)]
    fn each<T>(&self, row: &[u8], out: &mut [T], make: impl Fn([u8; 4]) -> T) {
        match (&self.samples, self.depth) {
            (Samples::Table(table), 8) => {
                for (to, &index) in out.iter_mut().zip(row) {
                    *to = make(table[usize::from(index)]);
                }
            }
            (Samples::Table(table), depth) => {
                let per_byte = usize::from(8 / depth);
                let mask = (1 << depth) - 1;
                for (to, &byte) in out.chunks_mut(per_byte).zip(row) {
                    let mut shift = 8;
                    for to in to {
                        shift -= depth;
                        *to = make(table[usize::from(byte >> shift & mask)]);
                    }
                }
            }
            (Samples::Gray16(clear), _) => {
                for (to, &sample) in out.iter_mut().zip(row.as_chunks::<2>().0) {
                    let is_clear = *clear == Some(u16::from_be_bytes(sample));
                    let [gray, _] = sample;
                    *to = make([gray, gray, gray, if is_clear { 0 } else { 255 }]);
                }
            }
            (Samples::GrayAlpha, 8) => {
                for (to, &[gray, alpha]) in out.iter_mut().zip(row.as_chunks::<2>().0) {
                    *to = make([gray, gray, gray, alpha]);
                }
            }
            (Samples::GrayAlpha, _) => {
                for (to, &[gray, _, alpha, _]) in out.iter_mut().zip(row.as_chunks::<4>().0) {
                    *to = make([gray, gray, gray, alpha]);
                }
            }
            (Samples::Rgb(clear), 8) => {
                for (to, &colour) in out.iter_mut().zip(row.as_chunks::<3>().0) {
                    *to = make(keyed(colour, *clear));
                }
            }
            (Samples::Rgb(clear), _) => {
                for (to, &[red, _, green, _, blue, _]) in out.iter_mut().zip(row.as_chunks::<6>().0)
                {
                    *to = make(keyed([red, green, blue], *clear));
                }
            }
            (Samples::Rgba, 8) => {
                for (to, &pixel) in out.iter_mut().zip(row.as_chunks::<4>().0) {
                    *to = make(pixel);
                }
            }
            (Samples::Rgba, _) => {
                for (to, &[red, _, green, _, blue, _, alpha, _]) in
                    out.iter_mut().zip(row.as_chunks::<8>().0)
                {
                    *to = make([red, green, blue, alpha]);
                }
            }
        }
    }
}

fn keyed(colour: [u8; 3], clear: Option<[u8; 3]>) -> [u8; 4] {
    let [red, green, blue] = colour;
    [
        red,
        green,
        blue,
        if clear == Some(colour) { 0 } else { 255 },
    ]
}

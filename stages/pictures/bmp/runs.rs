//! Runs of one colour (RLE4, RLE8, and RLE24 of OS/2), as Pillow reads them: pixels follow one
//! another, rows from the picture's first; what is left out has the colour of index 0. A run of one colour
//! ends at its row's end, one of many goes on in the next row.

use image::ImageFormat;
use omnizap_contract::Error;

use super::header::{Header, Runs};
use super::palette::Palette;
use crate::fault;

/// The samples, 3 a pixel, rows from top to bottom.
///
/// # Errors
/// `Invalid` where the file ends before the picture does.
pub(super) fn decode(
    header: &Header,
    data: &[u8],
    kind: Runs,
    palette: &Palette,
) -> Result<Vec<u8>, Error> {
    let (width, height) = (header.width as usize, header.height as usize);
    let mut made = palette.colour(0).repeat(width * height);
    let mut canvas = Canvas {
        pixels: made.as_chunks_mut::<3>().0,
        width,
        at: 0,
        column: 0,
    };
    if !canvas.fill(&mut Input(data), kind, palette) {
        return Err(fault::truncated(ImageFormat::Bmp));
    }
    if !header.is_top_down {
        let row = 3 * width;
        for upper in 0..height / 2 {
            let (above, below) = made.split_at_mut((height - 1 - upper) * row);
            above[upper * row..][..row].swap_with_slice(&mut below[..row]);
        }
    }
    Ok(made)
}

/// What of the file is still to be read.
struct Input<'f>(&'f [u8]);

impl<'f> Input<'f> {
    /// The next bytes, fewer where the file ends.
    fn up_to(&mut self, count: usize) -> &'f [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

/// The picture, rows in the file's order.
struct Canvas<'p> {
    pixels: &'p mut [[u8; 3]],
    width: usize,
    /// Where the next pixel goes.
    at: usize,
    /// How much of the row runs have filled. More than the width where one of many colours went on.
    column: usize,
}

impl Canvas<'_> {
    /// Draws runs until the picture is full or its end is marked; false where the file ends before.
    fn fill(&mut self, input: &mut Input, kind: Runs, palette: &Palette) -> bool {
        while self.at < self.pixels.len() {
            let Some([count]) = input.bytes() else {
                return false;
            };
            let is_drawn = if count > 0 {
                self.repeat(count.into(), input, kind, palette)
            } else {
                match input.bytes() {
                    Some([0]) => {
                        self.end_row();
                        Some(())
                    }
                    Some([1]) => return true,
                    Some([2]) => input.bytes().map(|[right, up]| {
                        self.at += usize::from(right) + usize::from(up) * self.width;
                        self.column = self.at % self.width;
                    }),
                    Some([count]) => self.copy(count.into(), input, kind, palette),
                    None => None,
                }
            };
            if is_drawn.is_none() {
                // The picture may be full nevertheless.
                return self.at >= self.pixels.len();
            }
        }
        true
    }

    fn end_row(&mut self) {
        // An empty row is a row.
        if self.column == 0 || !self.at.is_multiple_of(self.width) {
            self.at = (self.at / self.width + 1) * self.width;
        }
        self.column = 0;
    }

    fn put(&mut self, colour: [u8; 3]) {
        if let Some(pixel) = self.pixels.get_mut(self.at) {
            *pixel = colour;
        }
        self.at += 1;
    }

    /// A run of one colour, or of two in turn.
    fn repeat(
        &mut self,
        count: usize,
        input: &mut Input,
        kind: Runs,
        palette: &Palette,
    ) -> Option<()> {
        let colours = match kind {
            Runs::Rle4 => input
                .bytes()
                .map(|[both]| [both >> 4, both & 15].map(|index| palette.colour(index)))?,
            Runs::Rle8 => input.bytes().map(|[index]| [palette.colour(index); 2])?,
            Runs::Rle24 => input
                .bytes()
                .map(|[blue, green, red]| [[red, green, blue]; 2])?,
        };
        let count = count.min(self.width.saturating_sub(self.column));
        for pixel in 0..count {
            self.put(colours[pixel % 2]);
        }
        self.column += count;
        Some(())
    }

    /// A run of many colours, padded to an even number of bytes.
    fn copy(
        &mut self,
        count: usize,
        input: &mut Input,
        kind: Runs,
        palette: &Palette,
    ) -> Option<()> {
        let length = match kind {
            Runs::Rle4 => count.div_ceil(2),
            Runs::Rle8 => count,
            Runs::Rle24 => 3 * count,
        };
        let bytes = input.up_to(length);
        match kind {
            Runs::Rle4 => {
                let indices = bytes.iter().flat_map(|both| [both >> 4, both & 15]);
                for index in indices.take(count) {
                    self.put(palette.colour(index));
                }
            }
            Runs::Rle8 => {
                for &index in bytes {
                    self.put(palette.colour(index));
                }
            }
            Runs::Rle24 => {
                for &[blue, green, red] in bytes.as_chunks().0 {
                    self.put([red, green, blue]);
                }
            }
        }
        self.column += count;
        if bytes.len() < length {
            return None;
        }
        input.up_to(length % 2);
        Some(())
    }
}

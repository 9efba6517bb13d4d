//! The header of a PNG picture, and what its samples mean.

/// What the samples of a pixel are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// One sample, black to white.
    Gray,
    /// Three samples.
    Rgb,
    /// One sample, the index of a colour.
    Palette,
    /// Two samples.
    GrayAlpha,
    /// Four samples.
    Rgba,
}

/// What the chunk IHDR says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bits of a sample: 1, 2, 4, 8 or 16.
    pub(super) depth: u8,
    pub(super) colour: Colour,
    pub(super) is_interlaced: bool,
}

impl Header {
    /// Reads the data of the chunk. More than its 13 bytes are none of our business, nor is the method of
    /// compression, of which there is one.
    ///
    /// # Errors
    /// What is wrong, in a few words.
    pub(super) fn parse(data: &[u8]) -> Result<Self, &'static str> {
        let Some(
            &[
                w0,
                w1,
                w2,
                w3,
                h0,
                h1,
                h2,
                h3,
                depth,
                colour,
                _,
                filter,
                interlace,
            ],
        ) = data.first_chunk::<13>()
        else {
            return Err("its header is too short");
        };
        if filter != 0 {
            return Err("it has an unknown method of filtering");
        }
        let colour = match (colour, depth) {
            (0, 1 | 2 | 4 | 8 | 16) => Colour::Gray,
            (2, 8 | 16) => Colour::Rgb,
            (3, 1 | 2 | 4 | 8) => Colour::Palette,
            (4, 8 | 16) => Colour::GrayAlpha,
            (6, 8 | 16) => Colour::Rgba,
            _ => return Err("there is no such kind of samples"),
        };
        Ok(Self {
            width: u32::from_be_bytes([w0, w1, w2, w3]),
            height: u32::from_be_bytes([h0, h1, h2, h3]),
            depth,
            colour,
            is_interlaced: interlace != 0,
        })
    }

    /// How many bits a pixel takes in the file.
    pub(super) fn pixel_bits(&self) -> usize {
        let samples = match self.colour {
            Colour::Gray | Colour::Palette => 1,
            Colour::GrayAlpha => 2,
            Colour::Rgb => 3,
            Colour::Rgba => 4,
        };
        samples * usize::from(self.depth)
    }

    /// How many bytes a row of so many pixels takes, without the byte of its filter. The sides are
    /// within the limits, which keeps this far below what a number holds.
    pub(super) fn row_bytes(&self, width: u32) -> usize {
        (width as usize * self.pixel_bits()).div_ceil(8)
    }
}

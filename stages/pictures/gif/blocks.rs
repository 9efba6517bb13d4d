//! The blocks of a GIF: the screen, and what is said of each frame (GIF89a, sections 12 to 27).
//!
//! As tolerant as Pillow: extensions of any label are passed over, and so are bytes between blocks
//! that begin none.

use image::ImageFormat;
use omnizap_contract::Error;

use crate::fault;

const EXTENSION: u8 = b'!';
const FRAME: u8 = b',';
const END: u8 = b';';
const GRAPHIC_CONTROL: u8 = 0xF9;

/// What an index means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Palette<'a> {
    /// A shade of gray: where there is no table, and where it says just that.
    Gray,
    /// Red, green and blue of each.
    Colours(&'a [u8]),
}

impl Palette<'_> {
    fn of(table: &[u8]) -> Palette<'_> {
        let mut shades = table.as_chunks::<3>().0.iter().zip(0..=255u8);
        if shades.all(|(colour, shade)| *colour == [shade; 3]) {
            Palette::Gray
        } else {
            Palette::Colours(table)
        }
    }

    /// The colour of an index, none behind the last of the table.
    pub(super) fn get(&self, index: u8) -> Option<[u8; 3]> {
        match self {
            Palette::Gray => Some([index; 3]),
            Palette::Colours(table) => table.as_chunks().0.get(usize::from(index)).copied(),
        }
    }

    /// All colours as RGBA; black what the table lacks, and without alpha what is transparent.
    pub(super) fn rgba(&self, transparent: Option<u8>) -> [[u8; 4]; 256] {
        std::array::from_fn(|index| {
            let index = index as u8;
            let [red, green, blue] = self.get(index).unwrap_or_default();
            let alpha = if transparent == Some(index) { 0 } else { 255 };
            [red, green, blue, alpha]
        })
    }
}

/// What becomes of a frame's rectangle before the next frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Disposal {
    /// It stays as it is.
    Keep,
    /// It has the background again.
    Clear,
    /// It is again what it was before the frame.
    Restore,
}

/// A frame, as it is described.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) is_interlaced: bool,
    pub(super) palette: Palette<'a>,
    pub(super) transparent: Option<u8>,
    pub(super) disposal: Disposal,
    /// How long it is shown, in milliseconds.
    pub(super) duration: u32,
    /// The least size of a code.
    pub(super) data_bits: u8,
    /// Its compressed data and all that follows.
    pub(super) data: &'a [u8],
}

impl Frame<'_> {
    /// The first column to its right.
    pub(super) fn right(&self) -> u32 {
        self.left + self.width
    }

    /// The first row below it.
    pub(super) fn bottom(&self) -> u32 {
        self.top + self.height
    }

    /// How many pixels it has.
    pub(super) fn area(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// A file that is read block by block.
#[derive(Clone, Debug)]
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    pub(super) width: u32,
    pub(super) height: u32,
    global: Palette<'a>,
    /// The index of the background; 0 where there is no table that it could mean a colour of.
    pub(super) background: u8,
    /// The last that was named.
    disposal: Disposal,
    /// Whether the data of a frame comes next.
    is_in_frame: bool,
}

impl<'a> Blocks<'a> {
    /// Reads the screen.
    ///
    /// # Errors
    /// Where the file is too short for it.
    pub(super) fn open(file: &'a [u8]) -> Result<Self, Error> {
        let (screen, rest) = file.split_first_chunk::<13>().ok_or_else(truncated)?;
        let mut blocks = Self {
            rest,
            width: u16::from_le_bytes([screen[6], screen[7]]).into(),
            height: u16::from_le_bytes([screen[8], screen[9]]).into(),
            global: Palette::Gray,
            background: 0,
            disposal: Disposal::Keep,
            is_in_frame: false,
        };
        if let Some(table) = blocks.table(screen[10]) {
            blocks.global = table;
            blocks.background = screen[11];
        }
        Ok(blocks)
    }

    /// The next frame; none behind the last.
    ///
    /// # Errors
    /// Where the file ends in its description.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame<'a>>, Error> {
        if std::mem::take(&mut self.is_in_frame) {
            self.skip_data();
        }
        let (mut transparent, mut duration) = (None, 0);
        while let Some(kind) = self.byte() {
            match kind {
                END => return Ok(None),
                EXTENSION => {
                    if self.byte() == Some(GRAPHIC_CONTROL)
                        && let Some(&[flags, low, high, index, ..]) = self.data()
                    {
                        if flags & 1 != 0 {
                            transparent = Some(index);
                        }
                        duration = 10 * u32::from(u16::from_le_bytes([low, high]));
                        match flags >> 2 & 7 {
                            // To Pillow a frame that asks for nothing asks for the same again.
                            0 => {}
                            1 => self.disposal = Disposal::Keep,
                            2 => self.disposal = Disposal::Clear,
                            _ => self.disposal = Disposal::Restore,
                        }
                    }
                    self.skip_data();
                }
                FRAME => return self.frame(transparent, duration).map(Some),
                _ => {}
            }
        }
        Ok(None)
    }

    fn frame(&mut self, transparent: Option<u8>, duration: u32) -> Result<Frame<'a>, Error> {
        let (fields, rest) = self.rest.split_first_chunk::<9>().ok_or_else(truncated)?;
        self.rest = rest;
        let field = |at: usize| u32::from(u16::from_le_bytes([fields[at], fields[at + 1]]));
        let palette = self.table(fields[8]).unwrap_or(self.global);
        let data_bits = self.byte().ok_or_else(truncated)?;
        self.is_in_frame = true;
        Ok(Frame {
            left: field(0),
            top: field(2),
            width: field(4),
            height: field(6),
            is_interlaced: fields[8] & 0x40 != 0,
            palette,
            transparent,
            disposal: self.disposal,
            duration,
            data_bits,
            data: self.rest,
        })
    }

    /// The table of colours that `flags` speak of.
    fn table(&mut self, flags: u8) -> Option<Palette<'a>> {
        if flags & 0x80 == 0 {
            return None;
        }
        let size = (6 << (flags & 7)).min(self.rest.len());
        let (table, rest) = self.rest.split_at(size);
        self.rest = rest;
        Some(Palette::of(table))
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// One block of data; the end of the file ends it. None for an empty one, which stays.
    fn data(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (block, rest) = rest.split_at(usize::from(length).min(rest.len()));
        self.rest = rest;
        Some(block)
    }

    /// Passes over blocks of data and the empty one that ends them.
    fn skip_data(&mut self) {
        while self.data().is_some() {}
        self.byte();
    }
}

fn truncated() -> Error {
    fault::truncated(ImageFormat::Gif)
}

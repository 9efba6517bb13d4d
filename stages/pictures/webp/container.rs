//! What a WebP file holds: a walk over the chunks of its RIFF container ("WebP Container
//! Specification").
//!
//! As tolerant as libwebp: flags whose chunk is missing, unknown chunks, data behind the
//! container. A little more where the picture itself is whole: what is odd behind it spoils nothing.

use image::ImageFormat;
use omnizap_contract::Error;

use super::bitstream::{self, Head};
use crate::fault;

const ANIMATION: u8 = 0x02;
const XMP: u8 = 0x04;
const EXIF: u8 = 0x08;
const ALPHA: u8 = 0x10;
const ICC: u8 = 0x20;

/// More frames than anybody sends: what follows is not looked at.
const MOST_FRAMES: usize = 10_000;

/// A file.
#[derive(Debug, Default)]
pub(super) struct Container<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Whether the picture may be seen through.
    pub(super) has_alpha: bool,
    /// At least one; a picture that does not move has one, which fills the canvas.
    pub(super) frames: Vec<Frame<'a>>,
    pub(super) icc: Option<&'a [u8]>,
    pub(super) exif: Option<&'a [u8]>,
    pub(super) xmp: Option<&'a [u8]>,
}

/// One picture of a file, within the canvas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) head: Head,
    /// The chunk of its alpha, where it stands on its own.
    pub(super) alpha: Option<&'a [u8]>,
    /// What libwebp decodes: the chunk of the pixels, and that of the alpha before it.
    pub(super) data: &'a [u8],
    /// How long it is shown, in milliseconds.
    pub(super) duration: u32,
    /// Whether it is laid over what was there, or replaces it.
    pub(super) is_blended: bool,
    /// Whether its rectangle is clear before the next frame.
    pub(super) is_cleared: bool,
}

impl Frame<'_> {
    /// Whether some of its pixels may be clear.
    pub(super) fn has_alpha(&self) -> bool {
        self.head.has_alpha || self.alpha.is_some()
    }
}

/// One chunk, and what follows it.
struct Chunk<'a> {
    name: [u8; 4],
    content: &'a [u8],
    /// With its header, and with the byte that makes it even, where that is there.
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// None where there is no room for a whole one.
    fn first(data: &'a [u8]) -> Option<Self> {
        let (name, behind) = data.split_first_chunk::<4>()?;
        let (size, behind) = behind.split_first_chunk::<4>()?;
        let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
        let content = behind.get(..size)?;
        let end = (8 + size + size % 2).min(data.len());
        let (whole, rest) = data.split_at(end);
        Some(Self {
            name: *name,
            content,
            whole,
            rest,
        })
    }
}

impl<'a> Container<'a> {
    /// # Errors
    /// `Invalid` where the file ends early, and where its first picture cannot be found or
    /// contradicts the header.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, Error> {
        let chunks = riff(file)?;
        let Some(first) = Chunk::first(chunks) else {
            return Err(broken("its first chunk is cut"));
        };
        if first.name != *b"VP8X" {
            return Self::default().with_still(chunks, None);
        }
        let Some(fields) = first.content.first_chunk::<10>() else {
            return Err(broken("VP8X is too short"));
        };
        let flags = fields[0];
        let container = Self {
            width: 1 + u24(fields, 4),
            height: 1 + u24(fields, 7),
            has_alpha: flags & ALPHA != 0,
            ..Self::default()
        };
        let mut container = if flags & ANIMATION == 0 {
            container.with_still(first.rest, Some(flags))?
        } else {
            container.with_frames(first.rest)?
        };
        container.find_metadata(first.rest, flags);
        Ok(container)
    }

    /// A picture that does not move: the first there is, and the alpha before it. `flags` are those
    /// of VP8X, where that is there.
    fn with_still(mut self, chunks: &'a [u8], flags: Option<u8>) -> Result<Self, Error> {
        let Some(mut frame) = picture(chunks, flags.is_some())? else {
            return Err(broken("there is no picture"));
        };
        let alpha_is_meant = flags.is_some_and(|flags| flags & ALPHA != 0);
        if !alpha_is_meant && frame.alpha.take().is_some() {
            // libwebp shows it opaque.
            frame.data = frame.pixels();
        }
        let size = (frame.head.width, frame.head.height);
        if flags.is_some() && size != (self.width, self.height) {
            return Err(broken("the picture has another size than its canvas"));
        }
        (self.width, self.height) = size;
        // Of lossless pixels, their own header knows.
        self.has_alpha = if frame.head.is_lossless {
            frame.head.has_alpha
        } else {
            alpha_is_meant
        };
        self.frames.push(frame);
        Ok(self)
    }

    /// The frames of what moves, up to the first that is broken.
    fn with_frames(mut self, chunks: &'a [u8]) -> Result<Self, Error> {
        let mut rest = chunks;
        while self.frames.len() < MOST_FRAMES
            && let Some(chunk) = Chunk::first(rest)
        {
            rest = chunk.rest;
            if chunk.name != *b"ANMF" {
                continue;
            }
            match self.frame(chunk.content) {
                Ok(frame) => self.frames.push(frame),
                Err(error) if self.frames.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        if self.frames.is_empty() {
            return Err(broken("there is no frame"));
        }
        Ok(self)
    }

    fn frame(&self, content: &'a [u8]) -> Result<Frame<'a>, Error> {
        let Some((fields, chunks)) = content.split_first_chunk::<16>() else {
            return Err(broken("a frame is too short"));
        };
        let Some(mut frame) = picture(chunks, true)? else {
            return Err(broken("there is no picture in a frame"));
        };
        frame.left = 2 * u24(fields, 0);
        frame.top = 2 * u24(fields, 3);
        frame.duration = u24(fields, 12);
        frame.is_cleared = fields[15] & 1 != 0;
        frame.is_blended = fields[15] & 2 == 0;
        if frame.left + frame.head.width > self.width || frame.top + frame.head.height > self.height
        {
            return Err(broken("a frame lies outside of its canvas"));
        }
        Ok(frame)
    }

    /// The first of each kind counts, and only what the flags speak of.
    fn find_metadata(&mut self, chunks: &'a [u8], flags: u8) {
        let mut rest = chunks;
        while let Some(chunk) = Chunk::first(rest) {
            rest = chunk.rest;
            let (flag, place) = match &chunk.name {
                b"ICCP" => (ICC, &mut self.icc),
                b"EXIF" => (EXIF, &mut self.exif),
                b"XMP " => (XMP, &mut self.xmp),
                _ => continue,
            };
            if flags & flag != 0 {
                place.get_or_insert(chunk.content);
            }
        }
    }
}

impl<'a> Frame<'a> {
    /// The chunk of the pixels alone.
    fn pixels(&self) -> &'a [u8] {
        let mut rest = self.data;
        while let Some(chunk) = Chunk::first(rest) {
            if matches!(&chunk.name, b"VP8 " | b"VP8L") {
                return chunk.whole;
            }
            rest = chunk.rest;
        }
        self.data
    }
}

/// The first picture among chunks. Others may stand before it only where `is_extended`.
fn picture<'a>(chunks: &'a [u8], is_extended: bool) -> Result<Option<Frame<'a>>, Error> {
    let mut alpha: Option<Chunk<'a>> = None;
    let mut alpha_at = chunks;
    let mut rest = chunks;
    while let Some(chunk) = Chunk::first(rest) {
        match &chunk.name {
            b"VP8 " | b"VP8L" => {
                let is_lossless = chunk.name == *b"VP8L";
                let head = bitstream::head(chunk.content, is_lossless)
                    .ok_or_else(|| broken("a picture's header is broken"))?;
                // Lossless pixels have their alpha with them.
                let alpha = alpha.filter(|_| !is_lossless);
                let data = match &alpha {
                    // From the one to the other: libwebp passes over what lies between.
                    Some(_) => &alpha_at[..alpha_at.len() - chunk.rest.len()],
                    None => chunk.whole,
                };
                return Ok(Some(Frame {
                    left: 0,
                    top: 0,
                    head,
                    alpha: alpha.map(|alpha| alpha.content),
                    data,
                    duration: 0,
                    is_blended: true,
                    is_cleared: false,
                }));
            }
            b"ALPH" if is_extended && alpha.is_none() => {
                alpha_at = rest;
                rest = chunk.rest;
                alpha = Some(chunk);
            }
            _ if is_extended => rest = chunk.rest,
            _ => break,
        }
    }
    Ok(None)
}

/// The chunks of the file. What stands behind them is not part of it.
fn riff(file: &[u8]) -> Result<&[u8], Error> {
    let Some((header, _)) = file.split_first_chunk::<12>() else {
        return Err(truncated());
    };
    let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let end = u64::from(size) + 8;
    if end > file.len() as u64 {
        return Err(truncated());
    }
    let end = usize::try_from(end).unwrap_or(file.len());
    file.get(12..end)
        .ok_or_else(|| broken("its RIFF header says that there is nothing"))
}

/// Three bytes, the lowest first.
fn u24(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], 0])
}

fn broken(reason: &'static str) -> Error {
    fault::broken(ImageFormat::WebP, reason)
}

fn truncated() -> Error {
    fault::truncated(ImageFormat::WebP)
}

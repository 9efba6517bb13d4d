//! The frames of an APNG (PNG specification, third edition, section 4.9 and 11.3.6).

use image::{ImageFormat, RgbaImage};
use omnizap_contract::Error;

use super::super::animation::Animation;
use super::super::fault;
use super::super::limits::Limits;
use super::chunks::{Chunk, Chunks, ImageData};
use super::{Png, flawed, open, raster};

/// Most frames of a file that are looked at.
const MAX_FRAMES: usize = 10_000;

/// What a chunk fcTL says of a frame, and where its pixels are.
#[derive(Clone, Copy)]
struct Frame<'a> {
    /// Within the canvas.
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    /// In milliseconds.
    duration: u32,
    dispose: Dispose,
    /// Whether it is laid over what is there, or takes its place.
    is_blended: bool,
    /// The walk behind the chunk.
    data: Chunks<'a>,
    /// Whether it is the still picture too, and its pixels in chunks IDAT.
    is_still: bool,
}

/// What becomes of a frame's area before the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dispose {
    /// It stays.
    None,
    /// It becomes transparent black.
    Background,
    /// It becomes what it was.
    Previous,
}

/// A canvas and what happens on it.
struct Apng<'a> {
    png: Png<'a>,
    frames: Vec<Frame<'a>>,
    durations: Vec<u32>,
    canvas: RgbaImage,
    /// How many frames were shown.
    shown: usize,
    /// What was beneath the last one, where it is wanted again.
    beneath: Vec<u8>,
}

/// The frames of a file; none where it is a still picture, or where its chunks do not make an
/// animation: then the still picture stands for it, as the specification wants.
///
/// What is wrong behind some good frames ends the animation there.
///
/// # Errors
/// As of `decode`, as far as what stands outside the pixels tells.
pub(super) fn animation<'a>(
    file: &'a [u8],
    limits: Limits,
) -> Result<Option<Box<dyn Animation + 'a>>, Error> {
    let png = open(file, limits)?;
    let (width, height) = (png.header.width, png.header.height);
    let Some(frames) = frames(file, width, height) else {
        return Ok(None);
    };
    // The canvas, a frame, and what was beneath it.
    let canvas_bytes = 4 * u64::from(width) * u64::from(height);
    limits.check_alloc(3 * canvas_bytes + raster::scratch_bytes(&png.header))?;
    Ok(Some(Box::new(Apng {
        png,
        durations: frames.iter().map(|frame| frame.duration).collect(),
        frames,
        canvas: RgbaImage::new(width, height),
        shown: 0,
        beneath: Vec::new(),
    })))
}

/// All good frames, where there are any besides the still picture.
fn frames(file: &[u8], width: u32, height: u32) -> Option<Vec<Frame<'_>>> {
    let mut chunks = Chunks::of(file);
    let mut announced = None;
    let mut frames: Vec<Frame<'_>> = Vec::new();
    // Whether the last of them has any pixels.
    let mut has_pixels = true;
    let mut are_pixels_seen = false;
    let mut sequence = 0;
    while let Some(chunk) = chunks.next() {
        match &chunk.name {
            b"acTL" if !are_pixels_seen => {
                let count = sound(&chunk).and_then(|data| number(data, 0))?;
                if announced.replace(count).is_some() || count == 0 {
                    return None;
                }
            }
            b"IDAT" => {
                announced?;
                are_pixels_seen = true;
                has_pixels |= frames.last().is_some_and(|frame| frame.is_still);
            }
            b"fcTL" if announced.is_some() => {
                let is_enough = frames.len() >= MAX_FRAMES.min(announced? as usize);
                let frame = sound(&chunk).and_then(|data| control(data, chunks, (width, height)));
                let Some((number, mut frame)) = frame.filter(|_| has_pixels && !is_enough) else {
                    break;
                };
                if number != sequence {
                    break;
                }
                frame.is_still = !are_pixels_seen;
                if frame.is_still && (frame.width, frame.height) != (width, height) {
                    return None;
                }
                sequence += 1;
                has_pixels = false;
                frames.push(frame);
            }
            b"fdAT" if announced.is_some() => {
                let belongs = frames.last().is_some_and(|frame| !frame.is_still);
                if !belongs || number(chunk.data, 0) != Some(sequence) {
                    break;
                }
                sequence += 1;
                has_pixels = true;
            }
            b"IEND" => break,
            _ => {}
        }
    }
    if !has_pixels {
        frames.pop();
    }
    let is_more = match frames.as_slice() {
        [] => false,
        [only] => !only.is_still,
        _ => true,
    };
    (is_more && are_pixels_seen).then_some(frames)
}

/// The data of a chunk that is whole and right.
fn sound<'a>(chunk: &Chunk<'a>) -> Option<&'a [u8]> {
    (chunk.is_whole && chunk.has_right_checksum()).then_some(chunk.data)
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

/// The frame that the data of a chunk fcTL describes, and its number in the sequence; none where it is
/// not within the canvas, or says what there is not.
fn control<'a>(data: &[u8], chunks: Chunks<'a>, canvas: (u32, u32)) -> Option<(u32, Frame<'a>)> {
    let &[n0, n1, d0, d1, dispose, blend] = data.get(20..)?.first_chunk::<6>()?;
    let [width, height, left, top] = [4, 8, 12, 16].map(|at| number(data, at));
    let (width, height, left, top) = (width?, height?, left?, top?);
    let is_within = |offset: u32, side: u32, most: u32| {
        side > 0 && offset.checked_add(side).is_some_and(|end| end <= most)
    };
    if !is_within(left, width, canvas.0) || !is_within(top, height, canvas.1) {
        return None;
    }
    let per_second = match u16::from_be_bytes([d0, d1]) {
        0 => 100,
        other => u32::from(other),
    };
    let milliseconds = 1000 * u32::from(u16::from_be_bytes([n0, n1]));
    let frame = Frame {
        left,
        top,
        width,
        height,
        duration: (milliseconds + per_second / 2) / per_second,
        dispose: match dispose {
            0 => Dispose::None,
            1 => Dispose::Background,
            2 => Dispose::Previous,
            _ => return None,
        },
        is_blended: match blend {
            0 => false,
            1 => true,
            _ => return None,
        },
        data: chunks,
        is_still: false,
    };
    Some((number(data, 0)?, frame))
}

/// The parts of a frame's stream: the data of its chunks fdAT, behind their numbers.
struct FrameData<'a>(Chunks<'a>);

impl<'a> Iterator for FrameData<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let chunk = self.0.next()?;
            match &chunk.name {
                b"fdAT" => return Some(chunk.data.get(4..).unwrap_or_default()),
                b"fcTL" | b"IEND" => return None,
                _ => {}
            }
        }
    }
}

impl Animation for Apng<'_> {
    fn durations(&self) -> &[u32] {
        &self.durations
    }

    fn next(&mut self) -> Result<Option<&RgbaImage>, Error> {
        let Some(&frame) = self.frames.get(self.shown) else {
            return Ok(None);
        };
        let drawn = self
            .pixels(&frame)
            .and_then(|pixels| self.draw(&frame, &pixels));
        if let Err(error) = drawn {
            // Nothing comes behind it: what it would have left is not known.
            self.frames.truncate(self.shown);
            return Err(error);
        }
        self.shown += 1;
        Ok(Some(&self.canvas))
    }
}

impl Apng<'_> {
    /// The pixels of a frame: RGBA.
    fn pixels(&self, frame: &Frame<'_>) -> Result<Vec<u8>, Error> {
        let mut header = self.png.header;
        header.width = frame.width;
        header.height = frame.height;
        let expand = &self.png.expand;
        let pixels = if frame.is_still {
            raster::decode(&header, expand, true, ImageData(frame.data))
        } else {
            raster::decode(&header, expand, true, FrameData(frame.data))
        };
        pixels.map_err(flawed)
    }

    /// Clears what the last frame wants to be cleared, and draws another.
    fn draw(&mut self, frame: &Frame<'_>, pixels: &[u8]) -> Result<(), Error> {
        let outside = || fault::broken(ImageFormat::Png, "a frame is not within its canvas");
        let is_first = self.shown == 0;
        if let Some(last) = self.shown.checked_sub(1).map(|last| self.frames[last]) {
            // There is nothing before the first frame.
            let is_back = last.dispose == Dispose::Previous && self.shown > 1;
            let rows = rows(&mut self.canvas, &last).ok_or_else(outside)?;
            if is_back {
                let beneath = self.beneath.chunks_exact(4 * last.width as usize);
                for (row, beneath) in rows.zip(beneath) {
                    row.copy_from_slice(beneath);
                }
            } else if last.dispose != Dispose::None {
                rows.for_each(|row| row.fill(0));
            }
        }
        self.beneath.clear();
        let is_wanted_again = frame.dispose == Dispose::Previous && !is_first;
        let from = pixels.chunks_exact(4 * frame.width as usize);
        for (row, from) in rows(&mut self.canvas, frame).ok_or_else(outside)?.zip(from) {
            if is_wanted_again {
                self.beneath.extend_from_slice(row);
            }
            // Over nothing it takes its place, with the colours that are beneath its transparency.
            if frame.is_blended && !is_first {
                let pixels = row.as_chunks_mut().0.iter_mut().zip(from.as_chunks().0);
                pixels.for_each(|(back, front)| lay(back, *front));
            } else {
                row.copy_from_slice(from);
            }
        }
        Ok(())
    }
}

/// The part of each row of a canvas that a frame covers.
fn rows<'c>(
    canvas: &'c mut RgbaImage,
    frame: &Frame<'_>,
) -> Option<impl Iterator<Item = &'c mut [u8]>> {
    let stride = 4 * canvas.width() as usize;
    let columns = 4 * frame.left as usize..4 * (frame.left as usize + frame.width as usize);
    if stride == 0 || columns.end > stride {
        return None;
    }
    let rows = canvas.chunks_exact_mut(stride).skip(frame.top as usize);
    Some(
        rows.take(frame.height as usize)
            .map(move |row| &mut row[columns.clone()]),
    )
}

/// Lays a pixel over another: the operation `over` of the specification, in whole numbers.
fn lay(back: &mut [u8; 4], front: [u8; 4]) {
    match (front[3], back[3]) {
        (255, _) | (_, 0) if front[3] > 0 => *back = front,
        (0, _) => {}
        (front_alpha, back_alpha) => {
            let front_part = 255 * u32::from(front_alpha);
            let back_part = (255 - u32::from(front_alpha)) * u32::from(back_alpha);
            let whole = front_part + back_part;
            for i in 0..3 {
                let sum = u32::from(front[i]) * front_part + u32::from(back[i]) * back_part;
                back[i] = (sum / whole) as u8;
            }
            back[3] = (whole / 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use omnizap_contract::common::digest::Sha256Hex;

    use super::*;

    const LIMITS: Limits = Limits {
        max_pixels: 50_000_000,
        max_side: 65_535,
        max_alloc_bytes: 512 << 20,
    };

    fn fixture(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/images");
        std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The digest of each canvas, and how long it is shown.
    fn seen(file: &[u8]) -> Vec<(String, u32)> {
        let Some(mut frames) = animation(file, LIMITS).unwrap() else {
            return Vec::new();
        };
        let mut seen = Vec::new();
        while let Some(canvas) = frames.next().unwrap() {
            seen.push(Sha256Hex::of(canvas.as_raw()).as_str().to_owned());
        }
        let durations = frames.durations().iter().copied();
        seen.into_iter().zip(durations).collect()
    }

    /// `python -m odd.png` in `tests/fixtures`.
    #[test]
    fn frames_are_the_canvases_that_pillow_seeks() {
        let table: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&fixture("frames_png.json")).unwrap();
        assert!(!table.is_empty());
        for (name, frames) in table {
            let expected: Vec<(String, u32)> = serde_json::from_value(frames).unwrap();
            assert!(expected.len() > 2);
            assert_eq!(seen(&fixture(&format!("odd/{name}"))), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_animation_has_no_frames() {
        for name in [
            "rgb.png",
            "odd/png_apng_dispose_9.png",
            "odd/png_apng_sequence.png",
            "odd/png_apng_frame_outside.png",
            "odd/png_apng_frame_smaller.png",
            "odd/png_apng_fdat_before_idat.png",
            "odd/png_apng_fdat_short.png",
            "odd/png_apng_fctl_short.png",
            "odd/png_apng_control_twice.png",
        ] {
            assert!(
                animation(&fixture(name), LIMITS).unwrap().is_none(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_broken_frame_does_not_spoil_those_before_it() {
        let whole = fixture("odd/png_apng_operations.png");
        let frames = seen(&whole);
        for length in (0..whole.len()).step_by(37) {
            let Ok(Some(mut cut)) = animation(&whole[..length], LIMITS) else {
                continue;
            };
            let mut shown = 0;
            while let Ok(Some(canvas)) = cut.next() {
                assert_eq!(Sha256Hex::of(canvas.as_raw()).as_str(), frames[shown].0);
                shown += 1;
            }
            assert!(
                matches!(cut.next(), Ok(None)),
                "nothing comes behind an error"
            );
            assert!(shown <= cut.durations().len());
        }
    }

    #[test]
    fn every_damaged_byte_leaves_frames_or_an_error() {
        let whole = fixture("odd/png_apng_first_previous.png");
        for at in 0..whole.len() {
            for flip in [0xFF, 0x80, 0x01] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                let Ok(Some(mut frames)) = animation(&damaged, LIMITS) else {
                    continue;
                };
                while let Ok(Some(canvas)) = frames.next() {
                    assert_eq!(canvas.dimensions(), (20, 12));
                }
            }
        }
    }

    /// The examples are those of the specification's formula, by hand.
    #[test]
    fn a_pixel_is_laid_over_another_by_their_alphas() {
        for (back, front, expected) in [
            ([10, 20, 30, 255], [1, 2, 3, 255], [1, 2, 3, 255]),
            ([10, 20, 30, 40], [1, 2, 3, 0], [10, 20, 30, 40]),
            ([10, 20, 30, 0], [1, 2, 3, 77], [1, 2, 3, 77]),
            ([10, 20, 30, 0], [1, 2, 3, 0], [10, 20, 30, 0]),
            ([0, 100, 200, 255], [255, 100, 0, 51], [51, 100, 160, 255]),
            ([0, 100, 200, 128], [200, 100, 0, 128], [133, 100, 66, 191]),
        ] {
            let mut pixel = back;
            lay(&mut pixel, front);
            assert_eq!(pixel, expected, "{front:?} over {back:?}");
        }
    }
}

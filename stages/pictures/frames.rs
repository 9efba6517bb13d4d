//! Which frames of a picture that moves stand for it.
//!
//! A sticker that moves often begins with nothing: it fades in, or its maker's program wrote an
//! empty frame first. So a frame may be looked for that shows something, or several may be taken
//! that stand for the whole. What that costs is bounded by [`LOOKED_AT_FRAMES`] and
//! [`LOOKED_AT_PIXELS`]; a picture that does not move costs what it did.

use image::{DynamicImage, ImageFormat, RgbaImage};
use omnizap_contract::Error;

use super::animation::Animation;
use super::{Decoder, Picture, Still, format, guarded, sniff};

mod blank;
mod parts;

use parts::Parts;

/// Most frames of a file that are looked at: 10 seconds at 30 frames a second.
pub const LOOKED_AT_FRAMES: usize = 300;
/// Most pixels of the frames of a file that are looked at, all frames together; the first frame is
/// looked at whatever its size. 128 frames of 512x512, which take well under a second.
pub const LOOKED_AT_PIXELS: u64 = 32 << 20;
/// Most frames that a sample may have.
pub const MOST_IN_SAMPLE: usize = 32;

/// Which frames of a picture that moves count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// The first one.
    First,
    /// The first one that is not blank, see [`blank`]; the first one where all are.
    Content,
    /// Several, spread over the time that the frames play, none of them blank; the first one where
    /// all are. The first that is not blank is among them.
    Sample {
        /// How many at most, from 1 to [`MOST_IN_SAMPLE`].
        most: usize,
    },
}

/// The frames that were taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// In pixels, at least 1.
    pub width: u32,
    /// In pixels, at least 1.
    pub height: u32,
    /// `[frames, height, width, 3]`, 8-bit RGB in rows.
    pub pixels: Vec<u8>,
    /// What each of them is, in their order: at least one.
    pub frames: Vec<Frame>,
    /// How many frames of the file were looked at.
    pub seen: usize,
}

/// One frame of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Its place in the file, from 0.
    pub index: usize,
    /// Its share of the time that all frames play that were taken: they add up to 1.
    pub weight: f32,
}

impl Choice {
    /// One frame alone.
    fn of(picture: Picture, index: usize, seen: usize) -> Self {
        let weight = 1.0;
        Self {
            width: picture.width,
            height: picture.height,
            pixels: picture.pixels,
            frames: vec![Frame { index, weight }],
            seen,
        }
    }
}

impl Decoder {
    /// As [`Decoder::room`], for what [`Decoder::choose`] holds.
    ///
    /// # Errors
    /// As [`Decoder::room`].
    pub fn room_of(&self, file: &[u8], frames: Frames) -> Result<u64, Error> {
        let format = sniff::sniff(file)?;
        let room = guarded(format, || {
            let one = format::room(file, format, self.limits)?;
            if frames == Frames::First || !may_move(format) {
                return Ok(one);
            }
            let Ok(Some(animation)) = format::animation(file, format, self.limits) else {
                return Ok(one);
            };
            // Whatever the format, three bytes a pixel are held at least.
            let pixels = one.div_ceil(3);
            let most = match frames {
                Frames::Sample { most } => self.most_in_sample(most, 3 * pixels),
                Frames::First | Frames::Content => 1,
            };
            let most = most.min(looked_at(animation.durations().len(), pixels)) as u64;
            // The canvas, what it was before a frame that is taken away again, and it copied to be
            // made into RGB; the first frame, for the case that all are blank, and the one that is
            // made, which may have to be turned; those that are kept.
            Ok(one + pixels * (3 * 4 + 3 * (1 + 2 + most)))
        });
        let room = room.map_err(|error| sniff::explained(file, error))?;
        Ok(room + self.room_of_profile())
    }

    /// Reads the frames of a file that stand for it. The first one has the pixels that
    /// [`Decoder::decode`] gives; a broken frame ends those before it.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn choose(&self, file: &[u8], frames: Frames) -> Result<Choice, Error> {
        let format = sniff::sniff(file)?;
        let chosen = guarded(format, || self.chosen(file, format, frames));
        chosen.map_err(|error| sniff::explained(file, error))
    }

    fn chosen(&self, file: &[u8], format: ImageFormat, frames: Frames) -> Result<Choice, Error> {
        let still = format::decode(file, format, self.limits, self.scaled_to)?;
        if frames == Frames::First || !may_move(format) {
            return Ok(Choice::of(self.finished(format, still)?, 0, 1));
        }
        let is_clear = blank::is_clear(&still.image);
        let (turn, icc) = (still.turn, still.icc.clone());
        let first = self.finished(format, still)?;
        if frames == Frames::Content && !is_clear && !blank::is_plain(&first.pixels) {
            return Ok(Choice::of(first, 0, 1));
        }
        // What cannot be read beyond its first frame is as good as one that does not move.
        let Ok(Some(mut animation)) = format::animation(file, format, self.limits) else {
            return Ok(Choice::of(first, 0, 1));
        };
        let see = |canvas: &RgbaImage| {
            if blank::is_clear_rgba(canvas) {
                return Ok(None);
            }
            let image = DynamicImage::ImageRgba8(canvas.clone());
            let icc = icc.clone();
            let picture = self.finished(format, Still { image, turn, icc })?;
            Ok((!blank::is_plain(&picture.pixels)).then_some(picture))
        };
        let pixels = u64::from(first.width) * u64::from(first.height);
        let most = looked_at(animation.durations().len(), pixels);
        match frames {
            Frames::First | Frames::Content => content(&mut *animation, most, first, see),
            Frames::Sample { most: frames } => {
                let frames = self.most_in_sample(frames, first.pixels.len() as u64);
                sample(&mut *animation, most, frames, first, see)
            }
        }
    }

    /// How many frames of so many bytes a sample may have: beside what decoding holds they take no
    /// more than decoding itself may.
    fn most_in_sample(&self, most: usize, bytes: u64) -> usize {
        let fit = self.limits.max_alloc_bytes / bytes.max(1);
        let fit = usize::try_from(fit).unwrap_or(usize::MAX);
        most.min(MOST_IN_SAMPLE).min(fit).max(1)
    }
}

/// Whether a format has pictures that move.
fn may_move(format: ImageFormat) -> bool {
    matches!(
        format,
        ImageFormat::Gif | ImageFormat::Png | ImageFormat::WebP
    )
}

/// How many of so many frames are looked at.
fn looked_at(frames: usize, pixels: u64) -> usize {
    let fit = usize::try_from(LOOKED_AT_PIXELS / pixels.max(1)).unwrap_or(usize::MAX);
    frames.min(LOOKED_AT_FRAMES).min(fit).max(1)
}

/// The first frame that is not blank: one of which `see` makes something.
fn content(
    animation: &mut dyn Animation,
    most: usize,
    first: Picture,
    see: impl Fn(&RgbaImage) -> Result<Option<Picture>, Error>,
) -> Result<Choice, Error> {
    let mut seen = 0;
    while seen < most
        && let Ok(Some(canvas)) = animation.next()
    {
        seen += 1;
        if let Some(picture) = see(canvas)? {
            return Ok(Choice::of(picture, seen - 1, seen));
        }
    }
    Ok(Choice::of(first, 0, seen.max(1)))
}

/// Frames that stand for the first `looked_at` ones, at most `most`. Neighbours that look the same
/// are one.
fn sample(
    animation: &mut dyn Animation,
    looked_at: usize,
    most: usize,
    first: Picture,
    see: impl Fn(&RgbaImage) -> Result<Option<Picture>, Error>,
) -> Result<Choice, Error> {
    let durations = animation.durations();
    let mut parts = Parts::new(&durations[..looked_at.min(durations.len())], most);
    let mut seen = 0;
    let mut taken: Option<Picture> = None;
    // Where it stands, and how long it counts.
    let mut frames: Vec<(usize, u64)> = Vec::new();
    while parts.are_left()
        && let Ok(Some(canvas)) = animation.next()
    {
        seen += 1;
        if !parts.is_wanted() {
            parts.pass();
            continue;
        }
        let Some(picture) = see(canvas)? else {
            parts.pass();
            continue;
        };
        let weight = parts.take();
        let Some(taken) = &mut taken else {
            frames.push((seen - 1, weight));
            taken = Some(picture);
            continue;
        };
        if (picture.width, picture.height) != (taken.width, taken.height) {
            break;
        }
        let last = taken.pixels.len() - picture.pixels.len();
        match frames.last_mut() {
            Some((_, total)) if taken.pixels[last..] == picture.pixels => *total += weight,
            _ => {
                let more = picture.pixels.len() * (most - frames.len()).max(1);
                taken.pixels.reserve_exact(more);
                taken.pixels.extend_from_slice(&picture.pixels);
                frames.push((seen - 1, weight));
            }
        }
    }
    let Some(mut taken) = taken else {
        return Ok(Choice::of(first, 0, seen.max(1)));
    };
    taken.pixels.shrink_to_fit();
    let total: u64 = frames.iter().map(|(_, weight)| weight).sum();
    let share = |(index, weight): (usize, u64)| Frame {
        index,
        weight: (weight as f64 / total as f64) as f32,
    };
    Ok(Choice {
        width: taken.width,
        height: taken.height,
        pixels: taken.pixels,
        frames: frames.into_iter().map(share).collect(),
        seen,
    })
}

#[cfg(test)]
mod tests;

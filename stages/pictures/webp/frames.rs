//! The frames of an animation, each on the canvas that it is seen on: the rules and the arithmetic
//! of libwebp's `WebPAnimDecoder`, which browsers and Pillow show them by. Colours are not
//! multiplied by their alpha.

use image::RgbaImage;
use omnizap_contract::Error;

use super::container::{Container, Frame};
use super::libwebp::Layout;
use super::{draw, within};
use crate::animation::Animation;
use crate::limits::Limits;

/// The frames of a file that has more than one.
pub(super) struct Frames<'a> {
    limits: Limits,
    frames: Vec<Frame<'a>>,
    durations: Vec<u32>,
    /// How many of them were shown.
    shown: usize,
    canvas: RgbaImage,
    /// The canvas without alpha, where the file says that it has none.
    opaque: Option<RgbaImage>,
    /// Whether the frame before began from nothing.
    was_key: bool,
    is_broken: bool,
}

impl<'a> Frames<'a> {
    /// None where there is only one.
    ///
    /// # Errors
    /// `TooLarge` where the canvas exceeds a limit.
    pub(super) fn of(container: Container<'a>, limits: Limits) -> Result<Option<Self>, Error> {
        if container.frames.len() < 2 {
            return Ok(None);
        }
        let canvas = 4 * u64::from(container.width) * u64::from(container.height);
        let canvases = if container.has_alpha { 1 } else { 2 };
        limits.check_alloc(canvases * canvas)?;
        Ok(Some(Self {
            limits: Limits {
                max_alloc_bytes: limits.max_alloc_bytes - canvases * canvas,
                ..limits
            },
            durations: container
                .frames
                .iter()
                .map(|frame| frame.duration)
                .collect(),
            frames: container.frames,
            shown: 0,
            canvas: RgbaImage::new(container.width, container.height),
            opaque: (!container.has_alpha)
                .then(|| RgbaImage::new(container.width, container.height)),
            was_key: false,
            is_broken: false,
        }))
    }

    fn step(&mut self) -> Result<bool, Error> {
        if self.is_broken {
            return Ok(false);
        }
        let Some(frame) = self.frames.get(self.shown).copied() else {
            return Ok(false);
        };
        let before = self.shown.checked_sub(1).map(|before| self.frames[before]);
        let (width, height) = (frame.head.width, frame.head.height);
        let area = u64::from(width) * u64::from(height);
        self.limits.check_alloc(4 * area + within(&frame))?;
        // On its own first: what is broken leaves the canvas as it was.
        let mut pixels = RgbaImage::new(width, height);
        let alone = Frame {
            left: 0,
            top: 0,
            ..frame
        };
        draw(&alone, &mut pixels, Layout::Rgba, width)?;

        let is_key = self.is_key(&frame, before.as_ref());
        let cleared = before.filter(|before| before.is_cleared);
        if is_key {
            self.canvas.fill(0);
        } else if let Some(rectangle) = &cleared {
            self.clear(rectangle);
        }
        let is_blended = frame.is_blended && !is_key;
        for (y, row) in (frame.top..).zip(pixels.chunks_exact(4 * width as usize)) {
            let start = 4 * (y as usize * self.canvas.width() as usize + frame.left as usize);
            let to = &mut self.canvas.as_mut()[start..start + row.len()];
            if !is_blended {
                to.copy_from_slice(row);
                continue;
            }
            let to = to.as_chunks_mut::<4>().0.iter_mut();
            for ((x, to), &from) in (frame.left..).zip(to).zip(row.as_chunks::<4>().0) {
                // Over what was just cleared, clear pixels keep their own colour.
                *to = if cleared.is_some_and(|rectangle| holds(&rectangle, x, y)) {
                    from
                } else {
                    over(from, *to)
                };
            }
        }
        self.was_key = is_key;
        self.shown += 1;
        if let Some(opaque) = &mut self.opaque {
            opaque.copy_from_slice(&self.canvas);
            opaque.pixels_mut().for_each(|pixel| pixel[3] = 255);
        }
        Ok(true)
    }

    /// Whether a frame begins from nothing.
    fn is_key(&self, frame: &Frame<'_>, before: Option<&Frame<'_>>) -> bool {
        let is_full =
            |frame: &Frame<'_>| (frame.head.width, frame.head.height) == self.canvas.dimensions();
        let Some(before) = before else {
            return true;
        };
        (!frame.has_alpha() || !frame.is_blended) && is_full(frame)
            || before.is_cleared && (is_full(before) || self.was_key)
    }

    fn clear(&mut self, rectangle: &Frame<'_>) {
        let row = 4 * rectangle.head.width as usize;
        for y in rectangle.top..rectangle.top + rectangle.head.height {
            let start = 4 * (y as usize * self.canvas.width() as usize + rectangle.left as usize);
            self.canvas.as_mut()[start..start + row].fill(0);
        }
    }
}

impl Animation for Frames<'_> {
    fn durations(&self) -> &[u32] {
        &self.durations
    }

    fn next(&mut self) -> Result<Option<&RgbaImage>, Error> {
        let step = self.step();
        self.is_broken |= step.is_err();
        Ok(step?.then(|| self.opaque.as_ref().unwrap_or(&self.canvas)))
    }
}

/// Whether a pixel lies in a frame's rectangle.
fn holds(frame: &Frame<'_>, x: u32, y: u32) -> bool {
    let (right, bottom) = (frame.left + frame.head.width, frame.top + frame.head.height);
    (frame.left..right).contains(&x) && (frame.top..bottom).contains(&y)
}

/// A pixel over another, to the very rounding of libwebp.
fn over(front: [u8; 4], back: [u8; 4]) -> [u8; 4] {
    let alpha = u32::from(front[3]);
    match alpha {
        0 => return back,
        255 => return front,
        _ => {}
    }
    let behind = u32::from(back[3]) * (256 - alpha) >> 8;
    let whole = alpha + behind;
    let scale = (1 << 24) / whole;
    let blend = |front: u8, back: u8| {
        let sum = u32::from(front) * alpha + u32::from(back) * behind;
        // Below 2^32: the sum is at most 255 times the whole.
        (sum * scale >> 24) as u8
    };
    [
        blend(front[0], back[0]),
        blend(front[1], back[1]),
        blend(front[2], back[2]),
        whole as u8,
    ]
}

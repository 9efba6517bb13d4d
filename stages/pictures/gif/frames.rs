//! The frames of an animation, each on the canvas that it is seen on.
//!
//! The rules are those of Pillow's `seek`, which differ from the specification where files do: a
//! disposal holds until another is named, a canvas grows with its frames, and where the first
//! frame has no transparency, the canvas never has.

use image::{Rgba, RgbaImage};
use omnizap_contract::Error;

use super::blocks::{Blocks, Disposal, Frame};
use super::{Rows, first, on_canvas, place};
use crate::animation::Animation;
use crate::limits::Limits;

/// More frames than anybody sends: what follows is not looked at.
const MOST_FRAMES: usize = 10_000;

/// The frames of a file that has more than one.
pub(super) struct Frames<'a> {
    limits: Limits,
    /// Those that are still to come.
    blocks: Blocks<'a>,
    durations: Vec<u32>,
    /// How many of them were shown.
    shown: usize,
    canvas: RgbaImage,
    /// Whether the canvas may be seen through.
    has_alpha: bool,
    /// What becomes of the canvas before the next frame.
    leftover: Option<Leftover>,
    is_broken: bool,
}

/// What a frame leaves of its rectangle.
struct Leftover {
    left: u32,
    top: u32,
    to: Former,
}

enum Former {
    Colour {
        width: u32,
        height: u32,
        colour: Rgba<u8>,
    },
    Pixels(RgbaImage),
}

impl<'a> Frames<'a> {
    /// Looks at every frame's description. None where there is only one.
    ///
    /// # Errors
    /// As the first frame.
    pub(super) fn open(file: &'a [u8], limits: Limits) -> Result<Option<Self>, Error> {
        let (mut ahead, frame, ..) = first(file, limits)?;
        let mut durations = vec![frame.duration];
        while durations.len() < MOST_FRAMES
            && let Ok(Some(frame)) = ahead.next_frame()
        {
            durations.push(frame.duration);
        }
        if durations.len() == 1 {
            return Ok(None);
        }
        Ok(Some(Self {
            limits,
            blocks: Blocks::open(file)?,
            durations,
            shown: 0,
            canvas: RgbaImage::default(),
            has_alpha: false,
            leftover: None,
            is_broken: false,
        }))
    }

    fn step(&mut self) -> Result<bool, Error> {
        if self.is_broken || self.shown == self.durations.len() {
            return Ok(false);
        }
        let Some(frame) = self.blocks.next_frame()? else {
            return Ok(false);
        };
        if self.shown == 0 {
            self.begin(&frame)?;
        } else {
            self.draw(&frame)?;
        }
        self.shown += 1;
        Ok(true)
    }

    /// The first frame makes the canvas.
    fn begin(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let (width, height) = self.size_with(frame, self.blocks.width, self.blocks.height)?;
        self.has_alpha = frame.transparent.is_some();
        self.canvas = on_canvas(frame, width, height)?;
        self.leftover = match (frame.disposal, frame.transparent) {
            // Nothing was there before but what the frame may be seen through to.
            (Disposal::Clear | Disposal::Restore, Some(index)) => Some(Leftover::fill(
                frame,
                frame.palette.rgba(frame.transparent)[usize::from(index)],
            )),
            (Disposal::Clear, None) => Some(Leftover::fill(
                frame,
                frame.palette.rgba(None)[usize::from(self.blocks.background)],
            )),
            _ => None,
        };
        Ok(())
    }

    /// A later frame is laid over what the one before left.
    fn draw(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let (width, height) = self.size_with(frame, self.canvas.width(), self.canvas.height())?;
        // What is broken leaves the canvas as it was.
        let rows = Rows::decode(frame)?;
        if let Some(leftover) = self.leftover.take() {
            leftover.apply(&mut self.canvas, self.has_alpha);
        }
        self.leftover = match frame.disposal {
            Disposal::Clear => Some(Leftover::fill(frame, self.cleared(frame))),
            Disposal::Restore => Some(Leftover::keep(frame, &self.canvas)),
            Disposal::Keep => None,
        };
        if (width, height) != self.canvas.dimensions() {
            self.grow(frame, width, height);
        }
        let colours = frame.palette.rgba(frame.transparent);
        rows.each(|y, row| {
            let to = place(&mut self.canvas, frame, y, 4, width);
            for (to, &index) in to.as_chunks_mut::<4>().0.iter_mut().zip(row) {
                if frame.transparent != Some(index) {
                    *to = colours[usize::from(index)];
                }
            }
        });
        Ok(())
    }

    /// The colour of a rectangle that a later frame leaves clear: its transparent one, or that of
    /// the background.
    fn cleared(&self, frame: &Frame<'_>) -> [u8; 4] {
        let index = frame.transparent.unwrap_or(self.blocks.background);
        let colour = frame.palette.get(index);
        let [red, green, blue] = colour.or(frame.palette.get(0)).unwrap_or_default();
        let alpha = if frame.transparent.is_some() { 0 } else { 255 };
        [red, green, blue, alpha]
    }

    /// The canvas takes up a frame that is larger: around the old one it is clear, or has the
    /// frame's first colour.
    fn grow(&mut self, frame: &Frame<'_>, width: u32, height: u32) {
        self.has_alpha = frame.transparent.is_some();
        let around = if self.has_alpha {
            [0; 4]
        } else {
            frame.palette.rgba(None)[0]
        };
        let mut canvas = RgbaImage::from_pixel(width, height, around.into());
        let row = 4 * self.canvas.width() as usize;
        let rows = self.canvas.chunks_exact(row.max(1));
        for (to, from) in canvas.chunks_exact_mut(4 * width as usize).zip(rows) {
            to[..row].copy_from_slice(from);
        }
        if !self.has_alpha {
            for pixel in canvas.pixels_mut() {
                pixel[3] = 255;
            }
        }
        self.canvas = canvas;
    }

    /// The sides of a canvas that takes up a frame, within the limits; two of them are held while
    /// it grows, and what a frame leaves to restore.
    fn size_with(&self, frame: &Frame<'_>, width: u32, height: u32) -> Result<(u32, u32), Error> {
        let wide = width.max(frame.right());
        let high = height.max(frame.bottom());
        self.limits.check(wide, high)?;
        let of = |width: u32, height: u32| 4 * u64::from(width) * u64::from(height);
        let grown = if (wide, high) == self.canvas.dimensions() {
            0
        } else {
            of(wide, high)
        };
        let held = of(self.canvas.width(), self.canvas.height());
        self.limits.check_alloc(held + grown + 5 * frame.area())?;
        Ok((wide, high))
    }
}

impl Animation for Frames<'_> {
    fn durations(&self) -> &[u32] {
        &self.durations
    }

    fn next(&mut self) -> Result<Option<&RgbaImage>, Error> {
        let step = self.step();
        self.is_broken = step.is_err();
        Ok(step?.then_some(&self.canvas))
    }
}

impl Leftover {
    fn fill(frame: &Frame<'_>, colour: [u8; 4]) -> Self {
        Self {
            left: frame.left,
            top: frame.top,
            to: Former::Colour {
                width: frame.width,
                height: frame.height,
                colour: colour.into(),
            },
        }
    }

    /// What stands where the frame will be, clear where the canvas has yet to grow to.
    fn keep(frame: &Frame<'_>, canvas: &RgbaImage) -> Self {
        let mut kept = RgbaImage::new(frame.width, frame.height);
        let (left, top) = (-i64::from(frame.left), -i64::from(frame.top));
        image::imageops::replace(&mut kept, canvas, left, top);
        Self {
            left: frame.left,
            top: frame.top,
            to: Former::Pixels(kept),
        }
    }

    /// Where the canvas has no alpha, what is clear shows its colour.
    fn apply(self, canvas: &mut RgbaImage, has_alpha: bool) {
        let least = if has_alpha { 0 } else { 255 };
        match self.to {
            Former::Colour {
                width,
                height,
                mut colour,
            } => {
                colour[3] = colour[3].max(least);
                let right = (self.left + width).min(canvas.width());
                for y in self.top..(self.top + height).min(canvas.height()) {
                    for x in self.left..right {
                        canvas.put_pixel(x, y, colour);
                    }
                }
            }
            Former::Pixels(mut pixels) => {
                for pixel in pixels.pixels_mut() {
                    pixel[3] = pixel[3].max(least);
                }
                image::imageops::replace(canvas, &pixels, self.left.into(), self.top.into());
            }
        }
    }
}

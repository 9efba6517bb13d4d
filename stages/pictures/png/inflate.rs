//! The compressed stream of a picture, whose parts are scattered over chunks.

use fdeflate::{DecompressionError, Decompressor};

/// How far back a stream refers at most (RFC 1951, section 2).
const LOOK_BACK: usize = 32 * 1024;

/// How much is inflated at once.
const STEP: usize = 128 * 1024;

/// How many bytes [`Inflate`] holds for a stream of so many.
pub(super) fn window_bytes(wanted: u64) -> u64 {
    (wanted + 1).min((LOOK_BACK + STEP) as u64)
}

/// How much there was of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// All of it.
    All,
    /// The stream ends as it should, after so many bytes.
    Ended(usize),
    /// The parts end in the middle of the stream.
    Cut,
}

/// Inflates a stream, never more of it than is wanted.
pub(super) struct Inflate<'a, Parts> {
    parts: Parts,
    part: &'a [u8],
    state: Box<Decompressor>,
    /// What was inflated: the last of it is looked back at.
    window: Vec<u8>,
    /// How much of the window was given out.
    taken: usize,
    /// How much of it is inflated.
    filled: usize,
    /// How much is still to be inflated.
    wanted: u64,
}

impl<'a, Parts: Iterator<Item = &'a [u8]>> Inflate<'a, Parts> {
    /// A stream of which `wanted` bytes make a picture.
    pub(super) fn new(parts: Parts, wanted: u64) -> Self {
        Self {
            parts,
            part: &[],
            state: Box::new(Decompressor::new()),
            window: vec![0; window_bytes(wanted) as usize],
            taken: 0,
            filled: 0,
            wanted,
        }
    }

    /// Gives the next bytes.
    ///
    /// # Errors
    /// Where the stream is damaged.
    pub(super) fn fill(&mut self, mut out: &mut [u8]) -> Result<Filled, DecompressionError> {
        let asked = out.len();
        loop {
            let length = out.len().min(self.filled - self.taken);
            let (now, later) = out.split_at_mut(length);
            now.copy_from_slice(&self.window[self.taken..self.taken + length]);
            self.taken += length;
            out = later;
            if out.is_empty() {
                return Ok(Filled::All);
            }
            if self.state.is_done() {
                return Ok(Filled::Ended(asked - out.len()));
            }
            if !self.inflate()? {
                return Ok(Filled::Cut);
            }
        }
    }

    /// Looks whether the stream ends with the picture, with the right checksum, as far as the part
    /// tells in which the last pixel was: Pillow looks no farther either. What goes on, or was cut,
    /// holds no pixel any more.
    ///
    /// # Errors
    /// Where the stream is damaged.
    pub(super) fn finish(mut self) -> Result<(), DecompressionError> {
        // Room for one byte more, which shows that it goes on.
        self.window.truncate(self.filled);
        self.window.push(0);
        self.state
            .read(self.part, &mut self.window, self.filled, false)?;
        Ok(())
    }

    /// Inflates some more; all before has been given out. False where there is no more.
    fn inflate(&mut self) -> Result<bool, DecompressionError> {
        if self.filled == self.window.len() {
            // What is looked back at moves to the front. A window that is shorter than that holds all.
            let keep = LOOK_BACK.min(self.filled);
            self.window.copy_within(self.filled - keep.., 0);
            self.filled = keep;
            self.taken = keep;
        }
        let room = (self.window.len() - self.filled) as u64;
        let end = self.filled + room.min(self.wanted) as usize;
        loop {
            let is_last = self.part.is_empty() && {
                let next = self.parts.next();
                self.part = next.unwrap_or_default();
                next.is_none()
            };
            let out = &mut self.window[..end];
            let (consumed, produced) = self.state.read(self.part, out, self.filled, false)?;
            self.part = self.part.get(consumed..).unwrap_or_default();
            self.filled += produced;
            self.wanted -= produced as u64;
            if produced > 0 || self.state.is_done() {
                return Ok(true);
            }
            if consumed == 0 && (is_last || !self.part.is_empty()) {
                return Ok(false);
            }
        }
    }
}

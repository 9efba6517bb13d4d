//! The time that an animation plays, in parts, each of which a frame is to stand for.

use std::collections::VecDeque;

/// What browsers make of frames that are shown for no more than [`TOO_SHORT`]: many files say so
/// and none means it.
const USUAL: u64 = 100;
/// In milliseconds.
const TOO_SHORT: u32 = 10;

/// The parts that no frame stands for yet, and the frame that is next.
///
/// A frame is wanted by a part whose middle it shows. Where that frame is blank the part waits for
/// the next ones, as long as it lasts; and the first frame that is not blank is wanted by whatever
/// part it is shown in.
pub(super) struct Parts {
    parts: VecDeque<Part>,
    /// How long each frame is shown that has yet to come.
    frames: VecDeque<u64>,
    /// When the next frame begins.
    now: u64,
    is_any_taken: bool,
}

struct Part {
    start: u64,
    end: u64,
}

impl Parts {
    /// Frames that are shown that long, in milliseconds, and at most so many parts: one a frame, or
    /// where there are more frames all of one length.
    pub(super) fn new(durations: &[u32], most: usize) -> Self {
        let shown = |&duration| match duration {
            ..=TOO_SHORT => USUAL,
            longer => u64::from(longer),
        };
        // Finer than milliseconds, so that parts of one length have whole numbers.
        let most = (most as u64).max(1);
        let frames: VecDeque<u64> = durations.iter().map(|it| most * shown(it)).collect();
        let mut at = 0;
        let mut part = |length| {
            let start = at;
            at += length;
            Part { start, end: at }
        };
        let parts = if frames.len() as u64 <= most {
            frames.iter().map(|length| part(*length)).collect()
        } else {
            let length = frames.iter().sum::<u64>() / most;
            (0..most).map(|_| part(length)).collect()
        };
        Self {
            parts,
            frames,
            now: 0,
            is_any_taken: false,
        }
    }

    /// True while frames may still be wanted.
    pub(super) fn are_left(&self) -> bool {
        !self.parts.is_empty() && !self.frames.is_empty()
    }

    /// True where a part wants the next frame.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanting() > 0
    }

    /// The next frame stands for nothing.
    pub(super) fn pass(&mut self) {
        self.now = self.end();
        self.frames.pop_front();
        while self.parts.front().is_some_and(|part| part.end <= self.now) {
            self.parts.pop_front();
        }
    }

    /// The next frame stands for the parts that want it: how long they last.
    pub(super) fn take(&mut self) -> u64 {
        let taken = self.parts.drain(..self.wanting());
        let weight = taken.map(|part| part.end - part.start).sum();
        self.is_any_taken = true;
        self.pass();
        weight
    }

    fn wanting(&self) -> usize {
        let end = self.end();
        let middle = |part: &Part| part.start + (part.end - part.start) / 2;
        let wanting = self.parts.iter().take_while(|part| middle(part) < end);
        match wanting.count() {
            // The part that it is shown in.
            0 if !self.is_any_taken && !self.parts.is_empty() => 1,
            wanting => wanting,
        }
    }

    /// When the next frame ends.
    fn end(&self) -> u64 {
        self.now + self.frames.front().unwrap_or(&0)
    }
}

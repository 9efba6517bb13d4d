//! What fax machines send (ITU T.4 and T.6): runs of white and black, line by line.
//!
//! Lines are read as libtiff reads them: a bad code in a line of T.4 leaves the rest of it white,
//! and the next line is found by its mark. In T.6 every line depends on the one before it, so
//! that a bad code spoils all that follows, and the picture is refused.

use std::convert::Infallible;
use std::io;

use ::fax::BitReader;
use ::fax::maps::{Mode, black, mode, white};

use super::rows::{Rows, damaged, ends_early};

/// How lines follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Runs; each line begins at a byte, or at a word.
    Runs { is_word: bool },
    /// T.4: lines begin with a mark, behind it a bit says whether a line has runs or differences.
    Group3 { is_two_dimensional: bool },
    /// T.6: differences only.
    Group4,
}

/// The bits of the data; behind its end there are zeros.
#[derive(Clone, Copy)]
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn is_at_end(&self) -> bool {
        self.at >= 8 * self.data.len()
    }

    #[inline]
    fn next(&self, count: u8) -> u16 {
        let rest = self.data.get(self.at / 8..).unwrap_or_default();
        let four = match rest.first_chunk() {
            Some(&four) => u32::from_be_bytes(four),
            None => rest
                .iter()
                .zip([24, 16, 8])
                .fold(0, |four, (&byte, shift)| four | u32::from(byte) << shift),
        };
        (four << (self.at % 8) >> (32 - u32::from(count))) as u16
    }

    /// No code begins with so many zeros: the mark of a line, or fill before it.
    fn is_mark(&self) -> bool {
        self.next(11) == 0
    }

    /// Goes behind the next mark; false where the data ends before it.
    fn skip_mark(&mut self) -> bool {
        while !self.is_mark() {
            if self.is_at_end() {
                return false;
            }
            self.at += 1;
        }
        while self.next(1) == 0 {
            if self.is_at_end() {
                return false;
            }
            // Fill may be long.
            self.at += if self.next(8) == 0 { 8 } else { 1 };
        }
        self.at += 1;
        true
    }
}

impl BitReader for Bits<'_> {
    type Error = Infallible;

    fn peek(&self, bits: u8) -> Option<u16> {
        Some(self.next(bits))
    }

    fn consume(&mut self, bits: u8) -> Result<(), Infallible> {
        self.at += usize::from(bits);
        Ok(())
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        (self.at.wrapping_neg() % 8) as u8
    }
}

/// Why a line ended before its last pixel.
enum Stop {
    Mark,
    Bad,
    End,
}

pub(super) struct Fax<'a> {
    bits: Bits<'a>,
    scheme: Scheme,
    width: u32,
    /// Where the colour changes in the line before this one; white to black at even places.
    above: Vec<u32>,
    line: Vec<u32>,
    lines: u32,
    /// Behind the end mark all is white.
    is_over: bool,
}

impl<'a> Fax<'a> {
    pub(super) fn new(data: &'a [u8], scheme: Scheme, width: u32) -> Self {
        Self {
            bits: Bits { data, at: 0 },
            scheme,
            width,
            above: Vec::new(),
            line: Vec::new(),
            lines: 0,
            is_over: false,
        }
    }

    /// Reads the changes of the next line.
    fn advance(&mut self) -> io::Result<()> {
        std::mem::swap(&mut self.above, &mut self.line);
        self.line.clear();
        let stop = match self.scheme {
            Scheme::Runs { is_word } => {
                let stop = self.runs();
                let unit = if is_word { 16 } else { 8 };
                self.bits.at = self.bits.at.next_multiple_of(unit);
                stop
            }
            Scheme::Group3 { is_two_dimensional } => {
                if !self.bits.skip_mark() {
                    return Err(ends_early());
                }
                let is_runs = !is_two_dimensional || {
                    self.bits.at += 1;
                    Bits {
                        at: self.bits.at - 1,
                        ..self.bits
                    }
                    .next(1)
                        == 1
                };
                if is_runs {
                    self.runs()
                } else {
                    self.differences()
                }
            }
            Scheme::Group4 => match self.differences() {
                // Lines that are left out at the end are white.
                Err(Stop::Mark | Stop::End) if self.lines > 0 => {
                    self.line.clear();
                    self.is_over = true;
                    Ok(())
                }
                Err(Stop::Mark | Stop::Bad) => {
                    return Err(damaged("a line of a fax has a code that is none"));
                }
                other => other,
            },
        };
        if matches!(stop, Err(Stop::End)) {
            return Err(ends_early());
        }
        // The rest of a bad line is white.
        if stop.is_err() && self.line.len() % 2 == 1 {
            let last = self.line.last().copied().unwrap_or(0);
            self.line.push(last);
        }
        self.lines += 1;
        Ok(())
    }

    /// One run of a colour.
    fn run(&mut self, is_black: bool) -> Result<u32, Stop> {
        if self.bits.is_at_end() {
            return Err(Stop::End);
        }
        let mut sum = 0_u32;
        loop {
            if self.bits.is_mark() {
                return Err(Stop::Mark);
            }
            let part = if is_black {
                black::decode(&mut self.bits)
            } else {
                white::decode(&mut self.bits)
            };
            let part = u32::from(part.ok_or(Stop::Bad)?);
            sum = sum.saturating_add(part);
            if part < 64 || sum > self.width {
                return Ok(sum);
            }
        }
    }

    fn change_at(&mut self, place: u32) {
        self.line.push(place.min(self.width));
    }

    fn runs(&mut self) -> Result<(), Stop> {
        let (mut at, mut is_black) = (0_u32, false);
        while at < self.width {
            at = at.saturating_add(self.run(is_black)?);
            self.change_at(at);
            is_black = !is_black;
        }
        Ok(())
    }

    /// A line by its differences from the one above.
    fn differences(&mut self) -> Result<(), Stop> {
        let (mut at, mut is_black, mut is_first) = (0_u32, false, true);
        let mut near = 0; // where to look in the line above
        while at < self.width {
            if self.bits.is_at_end() {
                return Err(Stop::End);
            }
            if self.bits.is_mark() {
                return Err(Stop::Mark);
            }
            let passes = |place: u32| place > at || (is_first && place == 0);
            while near > 0 && passes(self.above[near - 1]) {
                near -= 1;
            }
            while near < self.above.len() && !passes(self.above[near]) {
                near += 1;
            }
            let opposite = near + usize::from((near % 2 == 1) != is_black);
            let above = |index: usize| self.above.get(index).copied().unwrap_or(self.width);
            let b1 = above(opposite);
            // Most often the colour changes where it does above.
            let mode = if self.bits.next(1) == 1 {
                self.bits.at += 1;
                Some(Mode::Vertical(0))
            } else {
                mode::decode(&mut self.bits)
            };
            match mode {
                Some(Mode::Pass) => {
                    at = above(opposite + 1);
                    is_first = false;
                    continue;
                }
                Some(Mode::Vertical(shift)) => {
                    let place = i64::from(b1) + i64::from(shift);
                    let place = u32::try_from(place).ok().filter(|&place| place >= at);
                    at = place.ok_or(Stop::Bad)?;
                    self.change_at(at);
                    is_black = !is_black;
                }
                Some(Mode::Horizontal) => {
                    for colour in [is_black, !is_black] {
                        at = at.saturating_add(self.run(colour)?);
                        self.change_at(at);
                    }
                }
                Some(Mode::Extension | Mode::EOF) | None => return Err(Stop::Bad),
            }
            is_first = false;
        }
        Ok(())
    }
}

impl Rows for Fax<'_> {
    fn row(&mut self, row: &mut [u8]) -> io::Result<()> {
        row.fill(0);
        if self.is_over {
            return Ok(());
        }
        self.advance()?;
        let mut changes = self.line.iter().copied();
        while let Some(start) = changes.next() {
            blacken(row, start, changes.next().unwrap_or(self.width));
        }
        Ok(())
    }
}

/// Sets the bits from `start` to before `end`.
fn blacken(row: &mut [u8], start: u32, end: u32) {
    if start >= end {
        return;
    }
    let (first, last) = (start as usize / 8, (end as usize - 1) / 8);
    let head = 0xFF_u8 >> (start % 8);
    let tail = 0xFF_u8 << (7 - (end - 1) % 8);
    let Some(bytes) = row.get_mut(first..=last) else {
        return;
    };
    match bytes {
        [] => {}
        [one] => *one |= head & tail,
        [left, middle @ .., right] => {
            *left |= head;
            middle.fill(0xFF);
            *right |= tail;
        }
    }
}

//! Changes that make one input of another: small ones, of the kinds that readers stumble on.

use fastrand::Rng;

/// Bytes that mean something to many formats.
const BYTES: [u8; 12] = [
    0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'{', b'[', b'(', b'\\', b'-',
];
/// Numbers at which lengths and offsets go wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

/// Makes inputs, the same ones in the same order for one seed.
pub(super) struct Mutator(Rng);

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    /// A number below that one.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end.max(1))
    }

    /// One of the inputs, changed in one place or a few.
    pub(super) fn mutate(&mut self, inputs: &[Vec<u8>], max_len: usize) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        // Mostly one change: what has many is soon no file of its format any more.
        let changes = 1 + self.below(2) * self.below(6);
        for _ in 0..changes {
            self.change(&mut input, inputs);
        }
        input.truncate(max_len);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let kind = self.below(12);
        if input.is_empty() {
            input.push(self.0.u8(..));
            return;
        }
        let at = self.place(input.len());
        let len = 1 + self.below(match kind {
            0..6 => 8,
            _ => input.len().min(256),
        });
        let end = (at + len).min(input.len());
        match kind {
            0 => input[at] ^= 1 << self.below(8),
            1 => input[at] = self.0.u8(..),
            2 => input[at] = BYTES[self.below(BYTES.len())],
            3 => self.number(input, at),
            4 => {
                let step = 1 + self.0.u8(..16);
                input[at] = input[at].wrapping_add(step);
            }
            5 => {
                let step = 1 + self.0.u8(..16);
                input[at] = input[at].wrapping_sub(step);
            }
            6 => input.truncate(at),
            7 => drop(input.drain(at..end)),
            8 => {
                let chunk = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, chunk);
            }
            9 => {
                let chunk = input[at..end].to_vec();
                let to = self.below(input.len() - chunk.len() + 1);
                input[to..to + chunk.len()].copy_from_slice(&chunk);
            }
            10 => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len());
                let chunk = &other[from..(from + len).min(other.len())];
                input.splice(at..end, chunk.iter().copied());
            }
            _ => {
                let byte = input[at];
                let times = 1 + self.below(64);
                input.splice(at..at, std::iter::repeat_n(byte, times));
            }
        }
    }

    /// Half of the time among the first bytes, where headers are.
    fn place(&mut self, len: usize) -> usize {
        let within = if self.0.bool() { len } else { len.min(128) };
        self.below(within)
    }

    /// A number as a field of a header holds it, of either byte order.
    fn number(&mut self, input: &mut [u8], at: usize) {
        let number = NUMBERS[self.below(NUMBERS.len())].wrapping_sub(self.0.u64(..3));
        let size = 1 << self.below(4);
        let bytes = if self.0.bool() {
            number.to_le_bytes()
        } else {
            (number << (64 - 8 * size)).to_be_bytes()
        };
        for (place, byte) in input[at..].iter_mut().zip(&bytes[..size]) {
            *place = *byte;
        }
    }
}

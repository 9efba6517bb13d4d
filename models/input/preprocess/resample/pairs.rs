//! Rows of pixels of three or four channels, resampled along their length by AVX2: one instruction
//! multiplies two neighbouring pixels by their weights and adds the products, for all channels.
//!
//! It takes numbers of 16 bits, and weights have [`PRECISION`] fractional bits. So each is two: its low
//! 15 bits and what is above them. Sums of both, put together, are those of the weight to the last
//! bit, as they wrap where it does.

use std::arch::x86_64::{__m128i, __m256i};
use std::ops::Range;

use pulp::NullaryFnOnce;
use pulp::x86::V3;

use super::{AT_ONCE, Axis, HALF, PRECISION};

/// Pixels of a group: what one load of 16 bytes holds, whatever the channels.
const GROUP: usize = 4;
/// Bytes of a load.
const LOADED: usize = 16;
/// Bits of the lower number of a weight.
const LOW: u32 = 15;

/// The weights of an axis, in groups.
pub(super) struct Pairs<const C: usize> {
    simd: V3,
    /// For each output position its first source position, and its groups in `groups`.
    taps: Vec<(usize, Range<usize>)>,
    groups: Vec<Weights>,
    pitch: usize,
    /// The rows, and behind each what a load may read as well.
    rows: [Vec<u8>; AT_ONCE],
}

/// The weights of four pixels: two numbers of 16 bits each, the first pixel's in the lower.
struct Weights {
    /// Of the first two pixels and of the others.
    low: [i32; 2],
    high: [i32; 2],
}

impl<const C: usize> Pairs<C> {
    /// [`None`] where the processor or the pixels are others.
    pub(super) fn new(axis: &Axis, pitch: usize) -> Option<Self> {
        let simd = V3::try_new().filter(|_| C == 3 || C == 4)?;
        let mut groups = Vec::with_capacity(axis.weights.len() / GROUP + axis.taps.len());
        let taps = axis.taps.iter().map(|(first, range)| {
            let start = groups.len();
            let weights = &axis.weights[range.clone()];
            groups.extend(weights.chunks(GROUP).map(Weights::new));
            (*first, start..groups.len())
        });
        let taps = taps.collect();
        Some(Self {
            simd,
            taps,
            groups,
            pitch,
            rows: [(); AT_ONCE].map(|()| vec![0; pitch + LOADED]),
        })
    }

    /// Resamples one or two rows. Each of `lines` has room for a byte behind its row.
    pub(super) fn across(&mut self, rows: &[u8], lines: &mut [Vec<u8>; AT_ONCE]) {
        for (row, kept) in rows.chunks_exact(self.pitch).zip(&mut self.rows) {
            kept[..self.pitch].copy_from_slice(row);
        }
        let pairs = &*self;
        self.simd.vectorize(Across { pairs, lines });
    }
}

impl Weights {
    fn new(weights: &[i32]) -> Self {
        let of = |at: usize| weights.get(at).copied().unwrap_or(0);
        let low = |at| of(at) & ((1 << LOW) - 1);
        let high = |at| of(at) >> LOW;
        let both = |first: i32, second: i32| (first & 0xffff) | second << 16;
        Self {
            low: [both(low(0), low(1)), both(low(2), low(3))],
            high: [both(high(0), high(1)), both(high(2), high(3))],
        }
    }
}

struct Across<'a, const C: usize> {
    pairs: &'a Pairs<C>,
    lines: &'a mut [Vec<u8>; AT_ONCE],
}

impl<const C: usize> NullaryFnOnce for Across<'_, C> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { pairs, lines } = self;
        let [one, other] = &pairs.rows;
        let simd = pairs.simd;
        let (near, far) = (channels::<C>(0), channels::<C>(2));
        let half = simd.avx._mm256_set1_epi32(HALF);
        for (output, (first, range)) in pairs.taps.iter().enumerate() {
            let (mut low, mut high) = (half, simd.avx._mm256_setzero_si256());
            for (at, weights) in pairs.groups[range.clone()].iter().enumerate() {
                let at = (first + at * GROUP) * C;
                let (Some(one), Some(other)) = (load(&one[at..]), load(&other[at..])) else {
                    continue;
                };
                let pixels = simd.avx._mm256_set_m128i(other, one);
                for (order, half) in [(near, 0), (far, 1)] {
                    let pair = simd.avx2._mm256_shuffle_epi8(pixels, order);
                    let by = |weights: [i32; 2]| {
                        let weights = simd.avx._mm256_set1_epi32(weights[half]);
                        simd.avx2._mm256_madd_epi16(pair, weights)
                    };
                    low = simd.avx2._mm256_add_epi32(low, by(weights.low));
                    high = simd.avx2._mm256_add_epi32(high, by(weights.high));
                }
            }
            let high = simd.avx2._mm256_slli_epi32::<{ LOW as i32 }>(high);
            let sums = simd.avx2._mm256_add_epi32(low, high);
            let values = simd.avx2._mm256_srai_epi32::<{ PRECISION as i32 }>(sums);
            let words = simd.avx2._mm256_packs_epi32(values, values);
            // Both steps stop at the ends of their range: what is left is 0 to 255.
            let bytes = simd.avx2._mm256_packus_epi16(words, words);
            let bytes: [[u8; LOADED]; AT_ONCE] = pulp::cast(bytes);
            // Behind a pixel of three channels a fourth byte, which the next pixel writes again.
            for (line, bytes) in lines.iter_mut().zip(bytes) {
                line[output * C..][..GROUP].copy_from_slice(&bytes[..GROUP]);
            }
        }
    }
}

#[inline(always)]
fn load(bytes: &[u8]) -> Option<__m128i> {
    bytes
        .first_chunk::<LOADED>()
        .map(|bytes| pulp::cast(*bytes))
}

/// The bytes of two pixels, from the one of this number on, as numbers of 16 bits: for each channel that
/// of the first and that of the second. The same for both halves.
#[inline(always)]
fn channels<const C: usize>(pixel: usize) -> __m256i {
    const ZERO: u8 = 0x80;
    let mut order = [[ZERO; LOADED]; AT_ONCE];
    for half in &mut order {
        for channel in 0..C {
            for number in 0..2 {
                half[channel * 4 + number * 2] = ((pixel + number) * C + channel) as u8;
            }
        }
    }
    pulp::cast(order)
}

#[cfg(test)]
mod tests {
    use super::super::across;
    use super::*;
    use crate::config::Interpolation;

    /// Each byte of every kind of length, for rows one after the other.
    fn equals_the_plain_way<const C: usize>() {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Ends of the range most of all: there sums overshoot.
            match state >> 30 {
                0 => 0,
                1 => 255,
                _ => (state >> 22) as u8,
            }
        };
        for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
            for (length, resized, kept) in [
                (1, 1, 0..1),
                (2, 7, 0..7),
                (9, 5, 1..4),
                (341, 224, 0..224),
                (1024, 341, 58..282),
                (1000, 17, 3..17),
                (5000, 3, 0..3),
            ] {
                let axis = Axis::new(length, resized, kept.clone(), filter);
                let pitch = length * C;
                let Some(mut pairs) = Pairs::<C>::new(&axis, pitch) else {
                    return;
                };
                let rows: Vec<u8> = (0..3 * pitch).map(|_| byte()).collect();
                let bytes = kept.len() * C;
                for rows in rows.chunks(AT_ONCE * pitch) {
                    let mut lines = [(); AT_ONCE].map(|()| vec![0; bytes + 1]);
                    pairs.across(rows, &mut lines);
                    for (row, line) in rows.chunks_exact(pitch).zip(lines) {
                        let mut plain = vec![0; bytes];
                        across::<C>(row, &axis, &mut plain);
                        let what = format!("{length} to {kept:?} of {resized}, {filter:?}");
                        assert_eq!(line[..bytes], plain, "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_of_three_and_four_channels_are_those_of_the_plain_way() {
        equals_the_plain_way::<3>();
        equals_the_plain_way::<4>();
    }
}

//! Products of numbers in bfloat16, the upper half of a single, summed in single precision: half the
//! memory for weights, and where the processor has AVX512-BF16 twice the products an instruction, with
//! AMX many times as many.
//!
//! Two depths stand in one word, as those instructions take them. Without it the two are taken apart
//! again and multiplied in single precision, in the order in which the instruction does it, so that
//! every processor says the same, to rounding. Rows are rounded once for all the panels that they are
//! multiplied with.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod rounder;

use std::cell::RefCell;

use pulp::{Simd, WithSimd};

use super::after::After;
#[cfg(target_arch = "x86_64")]
use super::avx512::Pairs;
use super::blocks::{Block, Part};
use super::packed::{PANEL, Pair};
use crate::net::ops::held::part;
use crate::net::ops::tiles::{InTiles, MOST_ROWS, TileRows, by_rows, in_tiles};

pub(in crate::net::ops) use rounder::Rounder;

/// Pairs of depths whose products are summed one after the other: rounding errors grow with the
/// length of such a sum, so long ones are summed in runs.
const LONGEST: usize = super::blocks::LONGEST / 2;

/// Pairs of depths that are worked through between two looks ahead.
const STEPS: usize = 16;

/// Words of rounded rows that a thread holds at a time: they should stay in the second cache.
const HELD: usize = 1 << 16;

/// Rounds to the nearest number of bfloat16, of two equally near ones to the even one.
#[inline(always)]
fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // A number that is none might become infinite.
    let nearest = if value.is_nan() {
        bits | 1 << 22
    } else {
        nearest
    };
    nearest & 0xffff_0000
}

/// Pairs of so many depths, the last one filled up with zeros.
pub(super) const fn pairs(depth: usize) -> usize {
    depth.div_ceil(2)
}

/// Rounds panels `[panels, depth, PANEL]` in single precision to `[panels, pairs]`.
pub(super) fn pack(depth: usize, panels: &[f32]) -> Vec<Pair> {
    let rows = panels.as_chunks::<PANEL>().0;
    let of_panel = |panel: &[[f32; PANEL]]| -> Vec<Pair> {
        let pair = |rows: &[[f32; PANEL]]| {
            let second = rows.get(1).unwrap_or(&[0.0; PANEL]);
            Pair(std::array::from_fn(|column| {
                round(rows[0][column]) >> 16 | round(second[column])
            }))
        };
        panel.chunks(2).map(pair).collect()
    };
    rows.chunks_exact(depth).flat_map(of_panel).collect()
}

/// The rounded panels in single precision again: `[panels, depth, PANEL]`.
pub(super) fn unpack(depth: usize, panels: &[Pair]) -> Vec<f32> {
    let of_panel = |panel: &[Pair]| -> Vec<f32> {
        let halves = |pair: &Pair| [pair.0.map(|word| word << 16), pair.0];
        let rows = panel.iter().flat_map(halves).take(depth).flatten();
        rows.map(|word| f32::from_bits(word & 0xffff_0000))
            .collect()
    };
    panels
        .chunks_exact(pairs(depth))
        .flat_map(of_panel)
        .collect()
}

/// Rows of a product in this precision.
pub(super) struct Rows<'a> {
    /// `[rows, depth]`
    pub(super) input: &'a [f32],
    pub(super) depth: usize,
    pub(super) weight: Part<'a, Pair>,
    pub(super) after: After<'a>,
}

thread_local! {
    static ROUNDED: RefCell<Vec<u32>> = RefCell::default();
}

/// As many rows as `output`, `[rows, columns]`, has.
pub(super) fn run(rows: &Rows<'_>, output: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    let (of_tiles, of_vectors) = (amx::Kernel::find(), Pairs::find());
    in_tasks(rows, output, |task, _| {
        #[cfg(target_arch = "x86_64")]
        {
            // However few rows there are: sums would depend on how rows are shared.
            if let Some(kernel) = of_tiles {
                return kernel.run(task);
            }
            if let Some(kernel) = of_vectors {
                return kernel.run_task(task, None);
            }
        }
        pulp::Arch::new().dispatch(task);
    });
}

/// Has rows multiplied, as many at a time as can be held rounded; with the number of the first.
fn in_tasks(rows: &Rows<'_>, output: &mut [f32], mut run: impl FnMut(Task<'_>, usize)) {
    let Rows { depth, after, .. } = *rows;
    let at_once = (HELD / (2 * pairs(depth)) / MOST_ROWS).max(1) * MOST_ROWS;
    ROUNDED.with_borrow_mut(|rounded| {
        let chunks = output.chunks_mut(at_once * after.columns);
        for (chunk, output) in chunks.enumerate() {
            let first = chunk * at_once;
            let count = output.len() / after.columns;
            let task = Task {
                input: &rows.input[first * depth..][..count * depth],
                depth,
                weight: rows.weight,
                after: after.rows_from(first),
                rounded,
                output,
            };
            run(task, first);
        }
    });
}

/// Whether the processor multiplies numbers of this precision.
pub(crate) fn is_native() -> bool {
    #[cfg(target_arch = "x86_64")]
    return Pairs::find().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// As many rows of a product as the output has.
struct Task<'a> {
    /// `[rows, depth]`
    input: &'a [f32],
    depth: usize,
    weight: Part<'a, Pair>,
    after: After<'a>,
    /// Room for the rounded rows.
    rounded: &'a mut Vec<u32>,
    /// `[rows, columns]`
    output: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        in_tiles(simd, self);
    }
}

impl Task<'_> {
    /// Rounds the rows, each number in a word of its own and each row filled up to whole pairs.
    #[inline(always)]
    fn round(&mut self) {
        let width = 2 * pairs(self.depth);
        let rows = self.input.len() / self.depth;
        let rounded = part(self.rounded, rows * width).chunks_exact_mut(width);
        for (rounded, row) in rounded.zip(self.input.chunks_exact(self.depth)) {
            for (rounded, value) in rounded.iter_mut().zip(row) {
                *rounded = round(*value);
            }
            rounded[self.depth..].fill(0);
        }
    }
}

impl InTiles for Task<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const V: usize, const R: usize>(mut self, simd: S) {
        self.round();
        let Self { weight, after, .. } = self;
        let rows = self.output.len() / after.columns;
        for block in weight.blocks(
            V * S::F32_LANES,
            weight.run(LONGEST),
            rows.div_ceil(R),
            STEPS,
        ) {
            let mut place = Place {
                rounded: self.rounded.as_chunks().0,
                pairs: weight.len(),
                block,
                after,
                output: self.output,
            };
            by_rows::<S, V, R>(simd, rows, &mut place);
        }
    }
}

/// Where tiles are computed: within a block.
struct Place<'a> {
    /// `[rows, pairs]`
    rounded: &'a [[u32; 2]],
    pairs: usize,
    block: Block<'a, Pair>,
    after: After<'a>,
    output: &'a mut [f32],
}

impl TileRows for Place<'_> {
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, row: usize) {
        let block = &mut self.block;
        let rounded = &self.rounded[row * self.pairs..];
        let rows = std::array::from_fn(|r| &rounded[r * self.pairs..][block.steps.clone()]);
        let mut sums = multiply::<S, V, R>(simd, &rows, block);
        let output = &mut self.output[row * self.after.columns..];
        self.after
            .rows_from(row)
            .block(simd, block, &mut sums, output);
    }
}

/// `R` rows times `V` vectors of columns of a block.
#[inline(always)]
fn multiply<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: &[&[[u32; 2]]; R],
    block: &mut Block<'_, Pair>,
) -> [[S::f32s; V]; R] {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let place = block.place();
    let done = steps::<S, V, R, STEPS>(simd, &mut sums, rows, (block, place), 0);
    steps::<S, V, R, 1>(simd, &mut sums, rows, (block, place), done);
    sums
}

/// Adds the products of `LENGTH` pairs, as often as there are so many from one on, and returns up to
/// where. Within them nothing is left to be checked, as the compiler knows how many they are.
#[allow(
    clippy::needless_range_loop,
    reason = "iterators so deep inside are not seen through"
)]
#[inline(always)]
fn steps<S: Simd, const V: usize, const R: usize, const LENGTH: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; R],
    rows: &[&[[u32; 2]]; R],
    (block, place): (&mut Block<'_, Pair>, usize),
    from: usize,
) -> usize {
    let pieces = block.panel[from..].as_chunks::<LENGTH>().0;
    for (i, pairs) in pieces.iter().enumerate() {
        if LENGTH > 1 {
            block.ahead.look();
        }
        let values: [&[[u32; 2]; LENGTH]; R] =
            std::array::from_fn(|r| &rows[r][from..].as_chunks().0[i]);
        for k in 0..LENGTH {
            add_products(simd, sums, &values, k, &pairs[k].0[place..]);
        }
    }
    from + pieces.len() * LENGTH
}

/// Adds the products of the `k`-th two values of each row with two rows of columns, the second ones
/// first, as AVX512-BF16 does.
#[inline(always)]
fn add_products<S: Simd, const V: usize, const R: usize, const LENGTH: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; R],
    values: &[&[[u32; 2]; LENGTH]; R],
    k: usize,
    words: &[u32],
) {
    let words = S::as_simd_u32s(&words[..V * S::F32_LANES]).0;
    let upper = simd.splat_u32s(0xffff_0000);
    let half = simd.splat_u32s(16);
    let (mut first, mut second) = ([simd.splat_f32s(0.0); V], [simd.splat_f32s(0.0); V]);
    for v in 0..V {
        first[v] = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(words[v], half));
        second[v] = simd.transmute_f32s_u32s(simd.and_u32s(words[v], upper));
    }
    for (values, sums) in values.iter().zip(sums) {
        let one = simd.splat_f32s(f32::from_bits(values[k][0]));
        let two = simd.splat_f32s(f32::from_bits(values[k][1]));
        for v in 0..V {
            sums[v] = simd.mul_add_e_f32s(two, second[v], sums[v]);
            sums[v] = simd.mul_add_e_f32s(one, first[v], sums[v]);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::bf16;

    use super::*;
    use crate::net::ops::activation::Activation;
    use crate::net::ops::testing::random;

    fn values(length: usize, seed: u32) -> Vec<f32> {
        random([length], seed).into_data().try_into_vec().unwrap()
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        let odd = [
            0x0000_0000,
            0x8000_0000,
            0x3f80_7fff,
            0x3f80_8000,
            0x3f80_8001,
            0x3f81_8000,
            0x7f7f_ffff,
            0x7f80_0000,
            0xff80_0000,
            0x7f80_0001,
            0x7fff_ffff,
            0xffff_ffff,
            0x0080_8000,
        ];
        let random = values(5000, 3).into_iter().map(f32::to_bits);
        for bits in odd.into_iter().chain(random) {
            let value = f32::from_bits(bits);
            let expected = bf16::from_f32(value);
            let found = f32::from_bits(round(value));
            assert_eq!(found.is_nan(), expected.is_nan(), "{bits:x}");
            if !found.is_nan() {
                assert_eq!(found.to_bits(), expected.to_f32().to_bits(), "{bits:x}");
            }
        }
    }

    #[test]
    fn a_packed_weight_is_the_rounded_weight() {
        for depth in [1, 2, 7] {
            let weight = values(3 * depth * PANEL, 5);
            let packed = pack(depth, &weight);
            assert_eq!(packed.len(), 3 * pairs(depth));
            let rounded: Vec<u32> = weight.iter().map(|value| round(*value)).collect();
            let unpacked: Vec<u32> = unpack(depth, &packed)
                .into_iter()
                .map(f32::to_bits)
                .collect();
            assert_eq!(unpacked, rounded);
        }
    }

    /// The processor at hand runs some of them; `tests/emulated.sh` runs all.
    #[test]
    fn every_processor_gives_the_same() {
        // Whole and broken panels, pairs and blocks, one run and several, every height of a tile.
        for (rows, depth, columns) in [
            (29, 50, 75_usize),
            (13, 7, 32),
            (31, 601, 64),
            (3, 64, 16),
            (81, 160, 96),
        ] {
            let input = values(rows * depth, 1);
            let panels = pack(depth, &values(columns.div_ceil(PANEL) * depth * PANEL, 2));
            let (bias, residual) = (values(columns, 3), values(rows * columns, 4));
            let run = |simd: &dyn Fn(Task<'_>)| {
                let mut output = vec![f32::NAN; rows * columns];
                simd(Task {
                    input: &input,
                    depth,
                    weight: Part::new(&panels, columns),
                    after: After {
                        bias: Some(&bias),
                        residual: Some(&residual),
                        act: Activation::Gelu,
                        columns,
                    },
                    rounded: &mut Vec::new(),
                    output: &mut output,
                });
                output
            };
            let scalar = run(&|task| pulp::Scalar::new().vectorize(task));
            assert!(scalar.iter().all(|value| value.is_finite()));
            let check = |other: Vec<f32>, what: &str| {
                println!("{what}");
                for (a, b) in scalar.iter().zip(&other) {
                    let near = (a - b).abs() < 1e-5 * a.abs().max(1.0);
                    assert!(near, "{what}, {rows}x{depth}x{columns}: {a} and {b}");
                }
            };
            #[cfg(target_arch = "x86_64")]
            {
                if let Some(simd) = pulp::x86::V3::try_new() {
                    check(run(&|task| Simd::vectorize(simd, task)), "AVX2");
                }
                if let Some(simd) = pulp::x86::V4::try_new() {
                    check(run(&|task| Simd::vectorize(simd, task)), "AVX-512");
                }
                if let Some(kernel) = Pairs::find() {
                    check(run(&|task| kernel.run_task(task, None)), "AVX512-BF16");
                }
                if let Some(kernel) = amx::Kernel::find() {
                    check(run(&|task| kernel.run(task)), "AMX");
                }
            }
            check(run(&|task| pulp::Arch::new().dispatch(task)), "the best");
        }
    }
}

//! The kernel for processors with AVX-512: sums of twelve rows with the two vectors that a panel is
//! wide fill 24 of its 32 registers, and stay there from the first product to the output. Words of
//! rows are numbers of single precision or, with AVX512-BF16, two of bfloat16.

#![allow(
    unsafe_code,
    reason = "instructions, and addresses without a check each"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "iterators so deep inside are not seen through"
)]
#![allow(
    clippy::pointers_in_nomem_asm_block,
    reason = "it but hides where they come from"
)]

mod words;

use std::arch::asm;
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_max_ps, _mm512_min_ps, _mm512_set1_ps, _mm512_setzero_ps,
};
use std::mem::MaybeUninit;

use pulp::bytemuck::cast;
use pulp::f32x16;
use pulp::x86::V4;

use super::after::After;
use super::blocks::{Block, Part};
use super::packed::{PANEL, Pair};
use crate::net::ops::activation::Activation;
use crate::net::ops::activation::avx512::Gelu;
use crate::net::ops::tiles::MOST_ROWS;
use words::Word;
pub(super) use words::{Pairs, Singles, round_vector};

/// Numbers of a vector of single precision.
pub(super) const LANES: usize = 16;

/// Steps that are worked through between two looks ahead.
const STEPS: usize = 16;

/// Steps that are written one after the other.
const UNROLLED: usize = 4;

/// Rows that are addressed from one pointer, by once and twice the length of a row.
const OF_A_POINTER: usize = 3;
const POINTERS: usize = MOST_ROWS / OF_A_POINTER;

/// Does something for each row of a tile of `R`, at most [`MOST_ROWS`], whose number is a constant
/// then: in a loop, the compiler would keep sums in memory.
macro_rules! for_rows {
    ($row:ident < $rows:ident $do:block) => {
        for_rows!(@each $row < $rows $do 0 1 2 3 4 5 6 7 8 9 10 11);
    };
    (@each $row:ident < $rows:ident $do:block $($number:literal)*) => {
        $({
            const $row: usize = $number;
            if $row < $rows $do
        })*
    };
}

/// Rows of words times a weight whose steps are `T`.
pub(super) struct Job<'a, T> {
    /// `[rows, length]`
    pub(super) words: &'a [u32],
    pub(super) length: usize,
    pub(super) weight: Part<'a, T>,
    /// Steps whose products are summed one after the other.
    pub(super) run: usize,
    pub(super) after: After<'a>,
    /// `[rows, columns]`
    pub(super) output: &'a mut [f32],
    /// Where results go instead, rounded to words of two: `[rows, columns / 2]`. By [`Pairs`] only,
    /// for columns that are a multiple of [`LANES`] and have no residual.
    pub(super) rounded: Option<&'a mut [u32]>,
}

impl Singles {
    pub(super) fn run(self, job: Job<'_, [f32; PANEL]>) {
        // SAFETY: the processor has what it is proof of.
        unsafe { all::<Self>(self.simd(), job) }
    }
}

impl Pairs {
    pub(super) fn run(self, job: Job<'_, Pair>) {
        // SAFETY: the processor has what it is proof of.
        unsafe { all::<Self>(self.simd(), job) }
    }
}

/// The job, tile by tile, block by block.
///
/// # Safety
///
/// The processor has what the word's kernel proves.
unsafe fn all<W: Word>(simd: V4, job: Job<'_, W::Step>) {
    let Job {
        words,
        length,
        weight,
        run,
        after,
        output,
        mut rounded,
    } = job;
    let rows = output.len() / after.columns;
    let fits = after.columns.is_multiple_of(LANES) && after.residual.is_none();
    assert!(rounded.is_none() || fits);
    for mut block in weight.blocks(PANEL, run, rows.div_ceil(MOST_ROWS), STEPS) {
        // The second half of a last panel may be but filling.
        let is_half = after.columns - block.column <= LANES;
        let mut row = 0;
        while row < rows {
            let tile = Tile {
                words: &words[row * length..],
                length,
                block: &mut block,
                after: after.rows_from(row),
                output: &mut output[row * after.columns..],
                rounded: rounded
                    .as_deref_mut()
                    .map(|all| &mut all[row * after.columns / 2..]),
            };
            macro_rules! tile {
                ($rows:expr) => {{
                    // SAFETY: as this function's.
                    unsafe {
                        match is_half {
                            true => W::tile::<{ $rows }, 1>(simd, tile),
                            false => W::tile::<{ $rows }, 2>(simd, tile),
                        }
                    }
                    $rows
                }};
            }
            row += match rows - row {
                MOST_ROWS.. => tile!(MOST_ROWS),
                8.. => tile!(8),
                4.. => tile!(4),
                2.. => tile!(2),
                _ => tile!(1),
            };
        }
    }
}

/// Some rows of a job from the first of a tile on, and the block that they pass.
struct Tile<'t, 'w, T> {
    words: &'t [u32],
    length: usize,
    block: &'t mut Block<'w, T>,
    after: After<'t>,
    output: &'t mut [f32],
    rounded: Option<&'t mut [u32]>,
}

/// The first `R` rows of a tile times `V` vectors of its block, and what follows.
///
/// # Safety
///
/// The processor has what the word's kernel proves.
#[inline(always)]
unsafe fn tile<W: Word, const R: usize, const V: usize>(simd: V4, tile: Tile<'_, '_, W::Step>) {
    let Tile {
        words,
        length,
        block,
        after,
        output,
        rounded,
    } = tile;
    // SAFETY: as this function's.
    unsafe {
        let sums = sums::<W, R, V>(words, length, block);
        match block.column + V * LANES <= after.columns {
            true => finish::<W, R, V>(simd, block, &after, sums, output, rounded),
            false => after.block(simd, block, &mut as_pulps(sums), output),
        }
    }
}

/// # Safety
///
/// The processor has what the word's kernel proves.
#[inline(always)]
unsafe fn sums<W: Word, const R: usize, const V: usize>(
    words: &[u32],
    length: usize,
    block: &mut Block<'_, W::Step>,
) -> [[__m512; V]; R] {
    const {
        assert!(R <= MOST_ROWS && V * LANES <= PANEL);
        // As many as are written out.
        assert!(MOST_ROWS == 12 && POINTERS == 4);
        assert!(size_of::<W::Step>() == PANEL * size_of::<u32>());
    }
    assert!(block.steps.len() == block.panel.len());
    let last = length.checked_mul(R - 1);
    let end = last.and_then(|last| last.checked_add(block.steps.end));
    assert!(end.is_some_and(|end| end <= words.len()));
    let mut left = block.panel.len();
    let mut panel = block.panel.as_ptr().cast::<f32>();
    let first = words[block.steps.start..].as_ptr();
    let mut rows: [*const u32; POINTERS] =
        std::array::from_fn(|i| first.wrapping_add(OF_A_POINTER * i * length));
    // Of its own while it runs: what is written to memory in the loop would wait for rows whose
    // addresses end alike.
    let mut ahead = block.ahead.clone();
    // SAFETY: `left` steps are left of the panel and, from the pointers on, of each of `R` rows.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        macro_rules! step {
            ($k:expr) => {{
                let mut columns = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    columns[v] = load(panel.add($k * PANEL + v * LANES));
                }
                for_rows!(ROW < R {
                    let row = rows[ROW / OF_A_POINTER].add(ROW % OF_A_POINTER * length);
                    let word = row.add($k).read();
                    for v in 0..V {
                        sums[ROW][v] = W::add_products(sums[ROW][v], word, columns[v]);
                    }
                });
            }};
        }
        macro_rules! steps {
            ($($k:expr),*) => {{
                // Nothing: but the compiler does not know so. It would see that rows lie equally far
                // apart, and hold an address for each, or compute them anew for each step.
                asm!(
                    "/* {} {} {} {} */",
                    inout(reg) rows[0],
                    inout(reg) rows[1],
                    inout(reg) rows[2],
                    inout(reg) rows[3],
                    options(nomem, nostack, preserves_flags),
                );
                $(step!($k);)*
                const COUNT: usize = [$($k),*].len();
                panel = panel.add(COUNT * PANEL);
                for row in &mut rows {
                    *row = row.wrapping_add(COUNT);
                }
                left -= COUNT;
            }};
        }
        while left >= STEPS {
            ahead.look();
            for _ in 0..STEPS / UNROLLED {
                steps!(0, 1, 2, 3);
            }
        }
        while left > 0 {
            steps!(0);
        }
        block.ahead = ahead;
        sums
    }
}

/// Finishes the sums of a block whose columns are all there, as [`After::block`] does.
///
/// # Safety
///
/// The processor has what the word's kernel proves.
#[inline(always)]
unsafe fn finish<W: Word, const R: usize, const V: usize>(
    simd: V4,
    block: &Block<'_, W::Step>,
    after: &After<'_>,
    mut sums: [[__m512; V]; R],
    output: &mut [f32],
    rounded: Option<&mut [u32]>,
) {
    let (columns, column) = (after.columns, block.column);
    let end = (R - 1) * columns + column + V * LANES;
    let output = output[column..end].as_mut_ptr();
    // SAFETY: as this function's; all addresses are within slices of that length.
    unsafe {
        if !block.is_first {
            add_rows(&mut sums, output, columns);
        }
        if block.is_last {
            if let Some(bias) = after.bias {
                let bias = bias[column..column + V * LANES].as_ptr();
                add_rows(&mut sums, bias, 0);
            }
            let residual = after.residual.map(|all| all[column..end].as_ptr());
            let mut act = after.act;
            if act == Activation::Relu6 {
                // So short that sums need not leave their registers.
                clamp(&mut sums);
                act = Activation::Nothing;
            }
            if rounded.is_some() || act != Activation::Nothing {
                let place = |r, v| r * columns + v * LANES;
                match (rounded, residual) {
                    (Some(rounded), _) => {
                        let rounded = rounded[column / 2..end / 2].as_mut_ptr();
                        activated(simd, act, &sums, |r, v, sum| {
                            W::round(sum, rounded.add(place(r, v) / 2));
                        });
                    }
                    (None, Some(residual)) => activated(simd, act, &sums, |r, v, sum| {
                        let sum = _mm512_add_ps(sum, load(residual.add(place(r, v))));
                        store(output.add(place(r, v)), sum);
                    }),
                    (None, None) => activated(simd, act, &sums, |r, v, sum| {
                        store(output.add(place(r, v)), sum);
                    }),
                }
                return;
            }
            if let Some(residual) = residual {
                add_rows(&mut sums, residual, columns);
            }
        }
        for_rows!(ROW < R {
            for v in 0..V {
                store(output.add(ROW * columns + v * LANES), sums[ROW][v]);
            }
        });
    }
}

/// Adds `R` rows, each `length` behind the one before.
///
/// # Safety
///
/// The processor has AVX-512, and the rows are there.
#[inline(always)]
unsafe fn add_rows<const R: usize, const V: usize>(
    sums: &mut [[__m512; V]; R],
    rows: *const f32,
    length: usize,
) {
    for_rows!(ROW < R {
        for v in 0..V {
            // SAFETY: the rows are there.
            unsafe {
                let held = load(rows.add(ROW * length + v * LANES));
                sums[ROW][v] = _mm512_add_ps(held, sums[ROW][v]);
            }
        }
    });
}

/// ReLU6.
///
/// # Safety
///
/// The processor has AVX-512.
#[inline(always)]
unsafe fn clamp<const R: usize, const V: usize>(sums: &mut [[__m512; V]; R]) {
    // SAFETY: the processor has AVX-512.
    let (least, most) = unsafe { (_mm512_setzero_ps(), _mm512_set1_ps(6.0)) };
    for_rows!(ROW < R {
        for v in 0..V {
            // SAFETY: the same.
            sums[ROW][v] = unsafe { _mm512_min_ps(_mm512_max_ps(sums[ROW][v], least), most) };
        }
    });
}

/// Gives each vector, its row and its place there behind the activation. In a loop, from memory:
/// written out for each of them, it would be long.
///
/// # Safety
///
/// The processor has AVX-512.
#[inline(always)]
unsafe fn activated<const R: usize, const V: usize>(
    simd: V4,
    act: Activation,
    sums: &[[__m512; V]; R],
    put: impl Fn(usize, usize, __m512),
) {
    let mut held = [[MaybeUninit::<__m512>::uninit(); V]; R];
    for_rows!(ROW < R {
        for v in 0..V {
            held[ROW][v].write(sums[ROW][v]);
        }
    });
    // SAFETY: the processor has AVX-512, and all have been written.
    unsafe {
        if act == Activation::Gelu {
            let gelu = Gelu::new();
            for r in 0..R {
                for v in 0..V {
                    put(r, v, gelu.of(held[r][v].assume_init()));
                }
            }
            return;
        }
        for r in 0..R {
            let mut row: [f32x16; V] = std::array::from_fn(|v| cast(held[r][v].assume_init()));
            act.apply_all(simd, &mut row);
            for v in 0..V {
                put(r, v, cast(row[v]));
            }
        }
    }
}

/// In memory.
#[inline(always)]
fn as_pulps<const R: usize, const V: usize>(sums: [[__m512; V]; R]) -> [[f32x16; V]; R] {
    let mut found = [[cast([0.0_f32; LANES]); V]; R];
    for_rows!(ROW < R {
        for v in 0..V {
            found[ROW][v] = cast(sums[ROW][v]);
        }
    });
    found
}

/// A vector from numbers anywhere. The intrinsic has each address checked where assertions are on.
///
/// # Safety
///
/// The numbers are there.
#[inline(always)]
unsafe fn load(from: *const f32) -> __m512 {
    // SAFETY: the numbers are there, and any are a vector.
    unsafe { std::mem::transmute(from.cast::<[f32; LANES]>().read()) }
}

/// The numbers of a vector to anywhere.
///
/// # Safety
///
/// There is room for them.
#[inline(always)]
unsafe fn store(to: *mut f32, vector: __m512) {
    // SAFETY: there is room, and a vector is as many numbers.
    unsafe {
        let numbers = std::mem::transmute::<__m512, [f32; LANES]>(vector);
        to.cast::<[f32; LANES]>().write(numbers);
    }
}

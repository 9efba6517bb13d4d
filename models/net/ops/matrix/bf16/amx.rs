//! The kernel for processors with AMX (Sapphire Rapids and later), whose tiles are 16 rows of 64 bytes:
//! one instruction multiplies 16 rows of 32 depths with as many of 16 columns.
//!
//! Rows and panels lie as for AVX512-BF16, as that is how tiles are read. Sums of pairs are added in
//! another order than there, and numbers too small to be normal count as zero.

#![allow(unsafe_code, reason = "instructions that Rust has no functions for")]

use std::arch::asm;
use std::sync::LazyLock;

use pulp::bytemuck::cast;
use pulp::x86::V4;
use pulp::{Simd, f32x16};

use super::{Block, LONGEST, PANEL, Pair, Task, avx512, pairs};
use crate::net::ops::held::part;
use crate::net::ops::matrix::avx512::Pairs;
use crate::net::ops::matrix::blocks::UNITS;

/// Rows of a tile, and words of each.
const SIDE: usize = 16;
// Runs begin with a tile.
const _: () = assert!((LONGEST / UNITS).is_multiple_of(SIDE));

/// Rows of two tiles, which are multiplied with the two that a panel is wide: four sums that need not
/// wait for each other.
const ROWS: usize = 2 * SIDE;

/// Proof that the processor has what the kernel needs, and that the system lets us.
#[derive(Clone, Copy)]
pub(super) struct Kernel(V4);

impl Kernel {
    pub(super) fn find() -> Option<Self> {
        static MAY: LazyLock<bool> = LazyLock::new(|| has_tiles() && may_use_tiles());
        let simd = Pairs::find()?.simd();
        MAY.then_some(Self(simd))
    }

    pub(super) fn run(self, task: Task<'_>) {
        // SAFETY: the processor has AMX, AVX512-BF16 and all that V4 stands for, and the system lets
        // us use them, or there were no kernel.
        unsafe { tiles(self.0, task) }
    }
}

/// Whether the processor has AMX-TILE and AMX-BF16 (Intel 64 and IA-32 Architectures Software
/// Developer's Manual, volume 2A, CPUID leaf 7).
fn has_tiles() -> bool {
    let found = std::arch::x86_64::__cpuid_count(7, 0).edx;
    let has = |bit: u32| found >> bit & 1 == 1;
    has(24) && has(22)
}

/// Asks for the state of the tiles, which Linux keeps for whoever asked alone: for all threads, once.
/// <https://docs.kernel.org/arch/x86/xstate.html>
#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: two numbers go in, and nothing is written.
    let refused = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    refused == 0
}

#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}

/// How the tiles are: all of them whole.
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start: u8,
    unused: [u8; 14],
    /// Bytes of a row of each tile.
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shape {
    const WHOLE: Self = Self {
        palette: 1,
        start: 0,
        unused: [0; 14],
        bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };
}

/// Sums of two tiles of rows with a panel.
#[repr(align(64))]
struct Sums([[f32; PANEL]; ROWS]);

/// The task, two tiles of rows at a time, block by block.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,fxsr")]
fn tiles(simd: V4, task: Task<'_>) {
    let Task {
        input,
        depth,
        weight,
        after,
        rounded,
        output,
    } = task;
    let (rows, pairs) = (output.len() / after.columns, pairs(depth));
    // Words of a row in memory, in whole tiles; what is in rows behind the last one does not matter.
    let width = pairs.next_multiple_of(SIDE);
    let rounded = part(rounded, rows.next_multiple_of(SIDE) * width);
    for (words, row) in rounded
        .chunks_exact_mut(width)
        .zip(input.chunks_exact(depth))
    {
        let (words, none) = words.split_at_mut(pairs);
        avx512::round(row, words);
        none.fill(0);
    }
    // Room for a block that does not end with a tile.
    let mut whole = Vec::new();
    let mut sums = Sums([[0.0; PANEL]; ROWS]);
    // SAFETY: the processor has tiles, and the shape is one of the first palette.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &Shape::WHOLE, options(nostack)) };
    for mut block in weight.blocks(PANEL, weight.run(LONGEST), rows.div_ceil(ROWS), usize::MAX) {
        let panel = in_whole_tiles(&block, &mut whole);
        for row in (0..rows).step_by(ROWS) {
            block.ahead.look();
            let words = &rounded[row * width..rows.next_multiple_of(SIDE) * width];
            multiply(words, width, block.steps.start, panel, &mut sums);
            let (left, mut done) = ((rows - row).min(ROWS), 0);
            while done < left {
                let row = row + done;
                let (after, output) = (after.rows_from(row), &mut output[row * after.columns..]);
                macro_rules! finish {
                    ($rows:expr) => {{
                        let mut sums = vectors::<{ $rows }>(&sums, done);
                        after.block(simd, &block, &mut sums, output);
                        $rows
                    }};
                }
                done += match left - done {
                    8.. => finish!(8),
                    4.. => finish!(4),
                    2.. => finish!(2),
                    _ => finish!(1),
                };
            }
        }
    }
    // SAFETY: as above. Threads whose tiles are in use are dearer to switch.
    unsafe { asm!("tilerelease", options(nostack)) };
}

/// The panel of a block, or where it does not end with a tile a copy that is filled up with zeros.
fn in_whole_tiles<'a>(block: &Block<'a, Pair>, room: &'a mut Vec<Pair>) -> &'a [Pair] {
    if block.panel.len().is_multiple_of(SIDE) {
        return block.panel;
    }
    room.clear();
    room.extend_from_slice(block.panel);
    room.resize(block.panel.len().next_multiple_of(SIDE), Pair([0; PANEL]));
    room
}

/// Two tiles of rows, `[rows, width]` words, times the pairs of a panel, of which the first is that of
/// the word `from` of each row. Where there are no more rows than one tile has, it is taken twice.
#[target_feature(enable = "avx512f")]
fn multiply(words: &[u32], width: usize, from: usize, panel: &[Pair], sums: &mut Sums) {
    let count = panel.len() / SIDE;
    let second = match words.len() / width {
        ROWS.. => SIDE * width,
        _ => 0,
    };
    assert!(count > 0 && panel.len() == count * SIDE && from + panel.len() <= width);
    assert!(words.len() >= second + SIDE * width);
    // SAFETY: the tiles have been shaped. What is read are `SIDE` rows of `count` times `SIDE` words
    // from both places on, each `width` words behind the one before, and `count` times `SIDE` pairs:
    // it is there, as was asserted. What is written are all of the sums.
    unsafe {
        let first = words.as_ptr().add(from);
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm6, [{panel} + {pair}]",
            "tileloadd tmm4, [{first} + {row}]",
            "tileloadd tmm7, [{panel} + {pair} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{second} + {row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {first}, 64",
            "add {second}, 64",
            "add {panel}, 2048",
            "dec {count}",
            "jnz 2b",
            "tilestored [{sums} + {pair}], tmm0",
            "tilestored [{sums} + {pair} + 64], tmm1",
            "tilestored [{sums} + {pair} + 2048], tmm2",
            "tilestored [{sums} + {pair} + 2112], tmm3",
            first = inout(reg) first => _,
            second = inout(reg) first.add(second) => _,
            panel = inout(reg) panel.as_ptr() => _,
            count = inout(reg) count => _,
            row = in(reg) width * size_of::<u32>(),
            pair = in(reg) size_of::<Pair>(),
            sums = in(reg) sums.0.as_mut_ptr(),
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        );
    }
}

/// Sums of `R` rows from one on.
#[target_feature(enable = "avx512f")]
#[inline]
fn vectors<const R: usize>(sums: &Sums, row: usize) -> [[f32x16; PANEL / SIDE]; R] {
    let mut found = [[cast([0.0_f32; SIDE]); PANEL / SIDE]; R];
    for (found, sums) in found.iter_mut().zip(&sums.0[row..]) {
        found.copy_from_slice(V4::as_simd_f32s(sums).0);
    }
    found
}

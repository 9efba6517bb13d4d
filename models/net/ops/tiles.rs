//! What is computed in tiles of rows by vectors, as many of them as the registers of a processor hold.

use pulp::Simd;

/// Most rows of a tile: with two vectors a row, what 32 registers hold.
pub(super) const MOST_ROWS: usize = 12;

/// Work that is done in tiles.
pub(super) trait InTiles: Sized {
    /// All of it, in tiles of at most `R` rows by `V` vectors.
    fn tiles<S: Simd, const V: usize, const R: usize>(self, simd: S);
}

/// Rows that are computed some at a time.
pub(super) trait TileRows {
    /// `R` rows from one on.
    fn tile<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, row: usize);
}

/// The work in the tiles of this processor: two vectors a row, of as many rows as leave registers for
/// what is multiplied.
#[inline(always)]
pub(super) fn in_tiles<S: Simd>(simd: S, work: impl InTiles) {
    match S::F32_LANES {
        16 => work.tiles::<S, 2, MOST_ROWS>(simd),
        8 => work.tiles::<S, 2, 6>(simd),
        4 => work.tiles::<S, 2, 8>(simd),
        _ => work.tiles::<S, 1, 4>(simd),
    }
}

/// So many rows, `R` at a time, and fewer at a time at their end.
#[inline(always)]
pub(super) fn by_rows<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: usize,
    work: &mut impl TileRows,
) {
    let mut row = 0;
    while row < rows {
        row += match rows - row {
            // Of eight rows six would leave two, which keep the units waiting; four leave four.
            left if left >= R && !(R == 6 && left == 8) => {
                work.tile::<S, V, R>(simd, row);
                R
            }
            left if left >= 8 && R > 8 => {
                work.tile::<S, V, 8>(simd, row);
                8
            }
            left if left >= 4 => {
                work.tile::<S, V, 4>(simd, row);
                4
            }
            left if left >= 2 => {
                work.tile::<S, V, 2>(simd, row);
                2
            }
            _ => {
                work.tile::<S, V, 1>(simd, row);
                1
            }
        };
    }
}

//! Attention for the CPU: a task is one head of one sequence.

use std::f32::consts::LOG2_E;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::sequences::Sequences;
use crate::net::ops::exp::exp2;
use crate::net::ops::flex;
use crate::net::ops::share;
use crate::net::ops::tiles::{InTiles, TileRows, by_rows, in_tiles};

/// Multiplications below which a second thread does not pay.
const PARALLEL: usize = 1 << 18;

/// Sequences for each thread from which on a task is a sequence with all of its heads.
const MANY: usize = 4;

/// Keys that are turned at a time: a line of the cache.
const TURNED: usize = 16;

/// Columns `first..` of rows that are `stride` long.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) first: usize,
}

impl<'a> Part<'a> {
    /// So many columns of a row, from a column on.
    #[inline(always)]
    fn row(&self, row: usize, column: usize, columns: usize) -> &'a [f32] {
        &self.values[row * self.stride + self.first + column..][..columns]
    }
}

/// What attends to what.
#[derive(Clone, Copy)]
pub(super) struct Attend<'a> {
    pub(super) queries: Part<'a>,
    pub(super) keys: Part<'a>,
    pub(super) values: Part<'a>,
    pub(super) sequences: &'a Sequences,
    /// Whether each sequence has one query of its own, which sees all; else each row is one.
    pub(super) one_query: bool,
    pub(super) heads: usize,
    pub(super) channels: usize,
    /// What scores are multiplied by.
    pub(super) scale: f32,
}

impl Attend<'_> {
    /// `[queries, channels]`
    pub(super) fn run(&self) -> Vec<f32> {
        let numbers = 0..self.sequences.count();
        let queries = |number: usize| match self.one_query {
            true => number..number + 1,
            false => self.sequences.own(number),
        };
        let asking: usize = numbers.clone().map(|number| queries(number).len()).sum();
        let mut output = flex::room(asking * self.channels);
        let mut rest = &mut output[..];
        let mut tasks = Vec::with_capacity(self.sequences.count());
        let mut multiplications = 0;
        for number in numbers {
            let rows = queries(number);
            let (own, others) = rest.split_at_mut(rows.len() * self.channels);
            rest = others;
            if rows.is_empty() {
                continue;
            }
            multiplications += rows.len() * self.sequences.length(number) * self.channels * 2;
            tasks.push(Task {
                number,
                first: rows.start,
                output: own,
            });
        }
        let threads = share::threads();
        if threads == 1 || multiplications < PARALLEL {
            let mut room = Room::default();
            for task in tasks {
                for head in self.heads_of(task) {
                    head.run(&mut room);
                }
            }
        } else if tasks.len() >= threads * MANY {
            let tasks = tasks.into_par_iter();
            tasks.for_each_init(Room::default, |room, task| {
                for head in self.heads_of(task) {
                    head.run(room);
                }
            });
        } else {
            let heads: Vec<_> = tasks
                .into_iter()
                .flat_map(|task| self.heads_of(task))
                .collect();
            let heads = heads.into_par_iter();
            heads.for_each_init(Room::default, |room, head| head.run(room));
        }
        output
    }

    /// A sequence's heads, each with its own columns of the output.
    fn heads_of<'t>(&'t self, task: Task<'t>) -> impl Iterator<Item = Head<'t>> {
        let columns = self.channels / self.heads;
        let rows = task.output.len() / self.channels;
        let mut outputs: Vec<_> = (0..self.heads).map(|_| Vec::with_capacity(rows)).collect();
        for row in task.output.chunks_exact_mut(self.channels) {
            let parts = row.chunks_exact_mut(columns);
            for (output, part) in outputs.iter_mut().zip(parts) {
                output.push(part);
            }
        }
        outputs
            .into_iter()
            .enumerate()
            .map(move |(head, output)| Head {
                attend: self,
                number: task.number,
                first: task.first,
                column: head * columns,
                columns,
                output,
            })
    }
}

/// A sequence.
struct Task<'a> {
    number: usize,
    /// Its first query.
    first: usize,
    /// `[queries, channels]`
    output: &'a mut [f32],
}

/// Room that a thread uses again.
#[derive(Default)]
struct Room {
    /// `[columns, keys]`, filled up to whole tiles.
    keys: Vec<f32>,
    /// `[keys, columns]`, filled up to whole tiles.
    values: Vec<f32>,
    /// `[rows of a tile, keys]`
    scores: Vec<f32>,
}

/// One head of a sequence.
struct Head<'a> {
    attend: &'a Attend<'a>,
    number: usize,
    /// The sequence's first query.
    first: usize,
    /// The head's first column.
    column: usize,
    columns: usize,
    /// Its columns, for each query.
    output: Vec<&'a mut [f32]>,
}

impl Head<'_> {
    fn run(self, room: &mut Room) {
        pulp::Arch::new().dispatch(Run { head: self, room });
    }
}

struct Run<'a, 'r> {
    head: Head<'a>,
    room: &'r mut Room,
}

impl WithSimd for Run<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        in_tiles(simd, self);
    }
}

impl InTiles for Run<'_, '_> {
    /// Tiles of `R` queries by `V` vectors of keys or columns.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize, const R: usize>(self, simd: S) {
        let Self { mut head, room } = self;
        let attend = head.attend;
        let tile = V * S::F32_LANES;
        let length = attend.sequences.length(head.number);
        let width = length.next_multiple_of(tile);
        let depth = head.columns.next_multiple_of(tile);
        let rows = attend.sequences.keys(head.number);

        room.keys.clear();
        room.keys.resize(head.columns * width, 0.0);
        room.values.clear();
        room.values.resize(length * depth, 0.0);
        room.scores.clear();
        room.scores.resize(R * width, 0.0);
        let mut turned: [&[f32]; TURNED] = [&[]; TURNED];
        for (place, row) in rows.enumerate() {
            let values = attend.values.row(row, head.column, head.columns);
            room.values[place * depth..][..head.columns].copy_from_slice(values);
            turned[place % TURNED] = attend.keys.row(row, head.column, head.columns);
            let last = place % TURNED;
            if last + 1 == TURNED || place + 1 == length {
                turn(&turned[..=last], &mut room.keys[place - last..], width);
            }
        }

        let seen = match attend.one_query {
            true => None,
            false => attend.sequences.seen_by_first(head.number),
        };
        let mut tiles = Tiles {
            queries: Part {
                first: attend.queries.first + head.column,
                ..attend.queries
            },
            first: head.first,
            columns: head.columns,
            keys: &room.keys,
            width,
            values: &room.values,
            depth,
            length,
            seen,
            // Powers of two are the quicker ones.
            factor: attend.scale * LOG2_E,
            scores: &mut room.scores,
            output: &mut head.output,
        };
        let queries = tiles.output.len();
        by_rows::<S, V, R>(simd, queries, &mut tiles);
    }
}

/// Writes keys as columns of `width` long rows.
#[inline(always)]
fn turn(keys: &[&[f32]], turned: &mut [f32], width: usize) {
    if let Ok(keys) = <&[&[f32]; TURNED]>::try_from(keys) {
        let columns = keys[0].len();
        let keys = keys.map(|key| &key[..columns]);
        for (column, row) in turned.chunks_mut(width).take(columns).enumerate() {
            let row = &mut row[..TURNED];
            for (value, key) in row.iter_mut().zip(keys) {
                *value = key[column];
            }
        }
        return;
    }
    for (place, key) in keys.iter().enumerate() {
        for (row, &value) in turned.chunks_mut(width).zip(*key) {
            row[place] = value;
        }
    }
}

/// The tiles of one head of a sequence.
struct Tiles<'a, 'o> {
    /// From the head's first column on.
    queries: Part<'a>,
    /// The first one's row.
    first: usize,
    columns: usize,
    /// `[columns, width]`
    keys: &'a [f32],
    /// Keys, filled up to whole tiles.
    width: usize,
    /// `[length, depth]`
    values: &'a [f32],
    /// Columns, filled up to whole tiles.
    depth: usize,
    /// Keys.
    length: usize,
    /// How many keys the first query sees, each next one seeing one more; [`None`]: all see all.
    seen: Option<usize>,
    factor: f32,
    /// `[R, width]`
    scores: &'a mut [f32],
    /// The head's columns, for each query.
    output: &'a mut [&'o mut [f32]],
}

impl TileRows for Tiles<'_, '_> {
    /// `R` queries from one on.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, query: usize) {
        let tile = V * S::F32_LANES;
        let seen = |r: usize| match self.seen {
            Some(first) => (first + query + r).min(self.length),
            None => self.length,
        };
        let most = seen(R - 1);
        let queries: [&[f32]; R] =
            std::array::from_fn(|r| self.queries.row(self.first + query + r, 0, self.columns));
        let factor = simd.splat_f32s(self.factor);
        for column in (0..most).step_by(tile) {
            let sums = multiply::<S, V, R>(simd, queries, &self.keys[column..], self.width);
            for (r, sums) in sums.iter().enumerate() {
                let scores = &mut self.scores[r * self.width + column..][..tile];
                let (scores, _) = S::as_mut_simd_f32s(scores);
                for (score, sum) in scores.iter_mut().zip(sums) {
                    *score = simd.mul_f32s(*sum, factor);
                }
            }
        }

        let whole = most.next_multiple_of(tile);
        let mut shares = [0.0; R];
        for (r, share) in shares.iter_mut().enumerate() {
            let scores = &mut self.scores[r * self.width..][..whole];
            *share = 1.0 / powers(simd, scores, seen(r));
        }
        let scores: [&[f32]; R] = std::array::from_fn(|r| &self.scores[r * self.width..][..most]);
        for column in (0..self.columns).step_by(tile) {
            let sums = multiply::<S, V, R>(simd, scores, &self.values[column..], self.depth);
            for (r, sums) in sums.iter().enumerate() {
                let share = simd.splat_f32s(shares[r]);
                let output = &mut self.output[query + r][column..];
                for (v, sum) in sums.iter().enumerate() {
                    let from = v * S::F32_LANES;
                    let to = output.len().min(from + S::F32_LANES);
                    if from < to {
                        simd.partial_store_f32s(&mut output[from..to], simd.mul_f32s(*sum, share));
                    }
                }
            }
        }
    }
}

/// Powers of two of the scores that are seen, less the largest, and 0 for the others. Returns their
/// sum.
#[inline(always)]
fn powers<S: Simd>(simd: S, scores: &mut [f32], seen: usize) -> f32 {
    scores[seen..].fill(f32::NEG_INFINITY);
    let (vectors, _) = S::as_mut_simd_f32s(&mut *scores);
    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
    for &vector in vectors.iter() {
        most = simd.max_f32s(most, vector);
    }
    let most = simd.splat_f32s(simd.reduce_max_f32s(most));
    let mut sum = simd.splat_f32s(0.0);
    for vector in vectors {
        *vector = exp2(simd, simd.sub_f32s(*vector, most));
        sum = simd.add_f32s(sum, *vector);
    }
    scores[seen..].fill(0.0);
    simd.reduce_sum_f32s(sum)
}

/// The sums over the rows of `columns`, which are `stride` long, of those times a value of each of
/// `rows`.
#[inline(always)]
fn multiply<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: [&[f32]; R],
    columns: &[f32],
    stride: usize,
) -> [[S::f32s; V]; R] {
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let depth = rows[0].len();
    let rows = rows.map(|row| &row[..depth]);
    for (i, columns) in columns.chunks(stride).take(depth).enumerate() {
        let (columns, _) = S::as_simd_f32s(&columns[..V * S::F32_LANES]);
        let columns: [S::f32s; V] = std::array::from_fn(|v| columns[v]);
        for (sums, row) in sums.iter_mut().zip(rows) {
            let value = simd.splat_f32s(row[i]);
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = simd.mul_add_e_f32s(value, column, *sum);
            }
        }
    }
    sums
}

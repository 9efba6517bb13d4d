//! The blocks of a packed weight, in the order in which rows pass them: all rows pass a block while it
//! is in the first cache, and the next one is fetched meanwhile.

use std::ops::Range;

use super::packed::{PANEL, Pair};
use crate::net::ops::ahead::{LINE, fetch};

/// One step along the depth of a panel: a row of its columns, or two in bfloat16.
pub(super) trait Step {
    /// Has some columns fetched.
    fn fetch(&self, columns: Range<usize>);
}

impl Step for [f32; PANEL] {
    #[inline(always)]
    fn fetch(&self, columns: Range<usize>) {
        columns
            .step_by(LINE)
            .for_each(|column| fetch(&self[column]));
    }
}

impl Step for Pair {
    #[inline(always)]
    fn fetch(&self, columns: Range<usize>) {
        columns
            .step_by(LINE)
            .for_each(|column| fetch(&self.0[column]));
    }
}

/// A weight, or some columns of it, or some of its depth.
#[derive(Debug)]
pub(in crate::net::ops) struct Part<'a, T> {
    /// `[panels, length]`
    panels: &'a [T],
    /// Steps of a panel.
    length: usize,
    /// Those of them that belong to the part.
    first: usize,
    last: usize,
    columns: usize,
    /// What is read behind it.
    then: &'a [T],
}

impl<T> Clone for Part<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Part<'_, T> {}

impl<'a, T> Part<'a, T> {
    /// All of a weight with so many columns.
    pub(super) fn new(panels: &'a [T], columns: usize) -> Self {
        let length = panels.len() / super::panels(columns);
        Self {
            panels,
            length,
            first: 0,
            last: length,
            columns,
            then: &[],
        }
    }

    /// Some columns, from the first one of a panel on.
    pub(super) fn columns(self, columns: &Range<usize>) -> Self {
        let panels = columns.start / PANEL..super::panels(columns.end);
        Self {
            panels: &self.panels[panels.start * self.length..panels.end * self.length],
            columns: columns.len(),
            ..self
        }
    }

    /// Some steps.
    pub(super) fn steps(self, steps: Range<usize>) -> Self {
        Self {
            first: steps.start,
            last: steps.end,
            ..self
        }
    }

    /// This part, when `next` is read behind it.
    pub(super) fn before(self, next: Self) -> Self {
        Self {
            then: next.block(0, next.first..next.last),
            ..self
        }
    }

    /// How many steps it has.
    pub(super) fn len(&self) -> usize {
        self.last - self.first
    }

    /// Those of a run, see [`run`].
    pub(super) fn run(&self, longest: usize) -> usize {
        run(self.len(), longest)
    }

    /// Its blocks, `width` columns by at most `run` steps, for rows that pass them in so many tiles,
    /// looking ahead each `every` steps.
    pub(super) fn blocks(
        self,
        width: usize,
        run: usize,
        tiles: usize,
        every: usize,
    ) -> Blocks<'a, T> {
        Blocks {
            part: self,
            width,
            run,
            tiles,
            every,
            next: Some((0, self.first..self.last.min(self.first + run))),
        }
    }

    /// Some steps of the panel that a column is in.
    fn block(&self, column: usize, steps: Range<usize>) -> &'a [T] {
        &self.panels[column / PANEL * self.length..][steps]
    }
}

/// Products that are summed one after the other: rounding errors grow with the length of such a
/// sum, so long ones are summed in runs. With the columns of a tile in AVX2, a run fills two thirds of
/// the first cache. In AVX-512 it comes from the second one, which is fast enough for twelve rows.
pub(super) const LONGEST: usize = 320;
const _: () = assert!((LONGEST / UNITS).is_multiple_of(PANEL));

/// Runs are multiples of such a part of the longest one, so that the columns of one product, in whole
/// panels, are the depths of the next.
pub(super) const UNITS: usize = 10;

/// Steps of a run, when so many are summed in as few runs as there can be, all about as long.
pub(super) const fn run(steps: usize, longest: usize) -> usize {
    let runs = steps.div_ceil(longest);
    steps.div_ceil(runs).next_multiple_of(longest / UNITS)
}

/// See [`Part::blocks`].
pub(super) struct Blocks<'a, T> {
    part: Part<'a, T>,
    width: usize,
    run: usize,
    tiles: usize,
    every: usize,
    /// Where the next one is: its first column and its steps.
    next: Option<(usize, Range<usize>)>,
}

/// Some steps of some columns.
pub(super) struct Block<'a, T> {
    /// The first of the columns, which all are in one panel.
    pub(super) column: usize,
    /// The steps, counted from the first of the part on.
    pub(super) steps: Range<usize>,
    /// Those steps of the panel.
    pub(super) panel: &'a [T],
    /// Whether sums begin or end with it.
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    pub(super) ahead: Ahead<'a, T>,
}

impl<T> Block<'_, T> {
    /// The columns' place in their panel.
    pub(super) fn place(&self) -> usize {
        self.column % PANEL
    }
}

impl<'a, T> Iterator for Blocks<'a, T> {
    type Item = Block<'a, T>;

    fn next(&mut self) -> Option<Block<'a, T>> {
        let part = self.part;
        let (column, steps) = self.next.take()?;
        let (next, start) = match steps.end < part.last {
            true => (column, steps.end),
            false => (column + self.width, part.first),
        };
        let mut left = part.then;
        if next < part.columns {
            let steps = start..part.last.min(start + self.run);
            left = part.block(next, steps.clone());
            self.next = Some((next, steps));
        }
        let looks = self.tiles * (steps.len() / self.every).max(1);
        let place = match self.next {
            Some(_) => next % PANEL,
            None => 0,
        };
        Some(Block {
            column,
            panel: part.block(column, steps.clone()),
            is_first: steps.start == 0,
            is_last: steps.end == part.length,
            steps: steps.start - part.first..steps.end - part.first,
            ahead: Ahead {
                at_once: left.len().div_ceil(looks),
                left,
                columns: place..place + self.width,
            },
        })
    }
}

/// What is still to be fetched of the block behind one.
pub(super) struct Ahead<'a, T> {
    left: &'a [T],
    columns: Range<usize>,
    at_once: usize,
}

impl<T> Clone for Ahead<'_, T> {
    fn clone(&self) -> Self {
        Self {
            left: self.left,
            columns: self.columns.clone(),
            at_once: self.at_once,
        }
    }
}

impl<T: Step> Ahead<'_, T> {
    /// Fetches as much as each of a block's looks ahead has to.
    #[inline(always)]
    pub(super) fn look(&mut self) {
        let (now, left) = self.left.split_at(self.at_once.min(self.left.len()));
        now.iter().for_each(|step| step.fetch(self.columns.clone()));
        self.left = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Step for (usize, usize) {
        fn fetch(&self, _: Range<usize>) {}
    }

    /// A weight whose steps say where they are: panel and depth.
    fn weight(panels: usize, length: usize) -> Vec<(usize, usize)> {
        let of_panel = |panel| (0..length).map(move |step| (panel, step));
        (0..panels).flat_map(of_panel).collect()
    }

    #[test]
    fn blocks_are_all_of_a_part_once() {
        let weight = weight(3, 10);
        let whole = Part::new(&weight, 75);
        assert_eq!(whole.len(), 10);
        for (part, columns, steps) in [
            (whole, 0..75, 0..10),
            (whole.columns(&(32..75)), 32..75, 0..10),
            (whole.steps(4..9), 0..75, 4..9),
            (whole.columns(&(32..64)).steps(8..10), 32..64, 8..10),
        ] {
            for (width, run) in [(16, 4), (32, 3), (8, 100)] {
                let mut seen = Vec::new();
                for block in part.blocks(width, run, 1, 1) {
                    assert_eq!(block.is_first, block.panel[0].1 == 0);
                    assert_eq!(block.is_last, block.panel.last().unwrap().1 == 9);
                    assert!(block.place() + width <= PANEL);
                    for (&(panel, step), k) in block.panel.iter().zip(block.steps.clone()) {
                        assert_eq!(step, steps.start + k);
                        assert_eq!(panel, (columns.start + block.column) / PANEL);
                        seen.push((columns.start + block.column, step));
                    }
                }
                let all = columns.clone().step_by(width);
                let all = all.flat_map(|column| steps.clone().map(move |step| (column, step)));
                assert_eq!(seen, all.collect::<Vec<_>>(), "{width}, {run}");
            }
        }
    }

    #[test]
    fn runs_are_few_and_alike() {
        for (steps, expected) in [
            (1, 32),
            (320, 320),
            (321, 192),
            (640, 320),
            (768, 256),
            (1000, 256),
        ] {
            assert_eq!(run(steps, 320), expected, "{steps}");
        }
    }

    #[test]
    fn what_comes_next_is_fetched_in_time() {
        let (weight, other) = (weight(2, 10), weight(1, 7));
        let part = Part::new(&weight, 40).before(Part::new(&other, 20).steps(2..7));
        for (tiles, every) in [(1, 1), (3, 2), (100, 4), (1, 100)] {
            let mut ahead: Vec<(usize, usize)> = Vec::new();
            for mut block in part.blocks(16, 4, tiles, every) {
                if !ahead.is_empty() {
                    assert_eq!(block.panel, ahead);
                }
                ahead = block.ahead.left.to_vec();
                for _ in 0..tiles * (block.panel.len() / every).max(1) {
                    block.ahead.look();
                }
                assert_eq!(block.ahead.left, []);
            }
            assert_eq!(ahead, other[2..]);
        }
    }
}

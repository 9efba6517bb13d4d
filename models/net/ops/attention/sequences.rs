//! Which rows of a batch belong together.

use std::ops::Range;

/// The sequences of a batch, whose own rows lie one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequences {
    sequences: Vec<Sequence>,
    /// Whether a row sees only those before it, and itself.
    causal: bool,
    rows: usize,
}

#[derive(Clone, Debug)]
struct Sequence {
    /// Rows of others that it begins with: in a causal tower equal beginnings are computed once.
    before: Vec<usize>,
    own: Range<usize>,
}

/// Which rows ask, and what they see.
pub(super) struct Queries {
    /// For each sequence its rows among those that ask.
    pub(super) rows: Vec<Range<usize>>,
    /// For each sequence how many of its rows the first one sees, each next one seeing one more;
    /// [`None`]: all see all.
    pub(super) seen: Option<Vec<usize>>,
}

impl Sequences {
    /// So many of the same length, each row of which sees all of its sequence.
    pub(crate) fn equal(count: usize, length: usize) -> Self {
        let mut sequences = Self::default();
        for _ in 0..count {
            sequences.push(&[], length);
        }
        sequences
    }

    /// None yet, and a row will see only those before it.
    pub(crate) fn causal() -> Self {
        Self {
            causal: true,
            ..Self::default()
        }
    }

    /// Adds one that begins with rows of others, and has so many of its own behind the batch's.
    pub(crate) fn push(&mut self, before: &[usize], own: usize) {
        debug_assert!(before.iter().all(|&row| row < self.rows));
        debug_assert!(self.causal || before.is_empty());
        let from = self.rows;
        self.rows += own;
        self.sequences.push(Sequence {
            before: before.to_vec(),
            own: from..self.rows,
        });
    }

    /// Rows of all of them.
    #[cfg(test)]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.sequences.len()
    }

    /// A sequence's own rows.
    pub(super) fn own(&self, number: usize) -> Range<usize> {
        self.sequences[number].own.clone()
    }

    /// All rows of a sequence, in their order.
    pub(super) fn keys(&self, number: usize) -> impl Iterator<Item = usize> {
        let Sequence { before, own } = &self.sequences[number];
        before.iter().copied().chain(own.clone())
    }

    /// How many rows a sequence has.
    pub(super) fn length(&self, number: usize) -> usize {
        let Sequence { before, own } = &self.sequences[number];
        before.len() + own.len()
    }

    /// How many rows of its sequence the first of its own sees, each next one seeing one more;
    /// [`None`]: all see all.
    pub(super) fn seen_by_first(&self, number: usize) -> Option<usize> {
        self.causal.then(|| self.sequences[number].before.len() + 1)
    }

    /// Each row asks.
    pub(super) fn own_queries(&self) -> Queries {
        let numbers = || 0..self.count();
        Queries {
            rows: numbers().map(|number| self.own(number)).collect(),
            seen: numbers().map(|number| self.seen_by_first(number)).collect(),
        }
    }

    /// One query a sequence.
    pub(super) fn one_query(&self) -> Queries {
        Queries {
            rows: (0..self.count()).map(|number| number..number + 1).collect(),
            seen: None,
        }
    }
}

//! The rows of one model as they are at one moment: what a search reads while writers go
//! on.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::Row;
use super::codes::{Codes, Fit};

/// Rows a segment: a write while a search holds the segment copies so many.
pub(super) const SEGMENT_ROWS: usize = 256;

/// Rows are numbered in the order of their coming, from 0 on, for as long as there is
/// the matrix: a number never means another row.
pub(super) type RowNumber = u64;

/// Rows side by side.
#[derive(Clone, Default)]
pub(super) struct Segment {
    /// `[rows, dim]`, each row of length 1, or of zeros where the image is gone.
    vectors: Vec<f32>,
    /// `[rows, dim]`, the same in bytes.
    pub(super) codes: Codes,
    /// `[rows]`; none where the image is gone.
    rows: Vec<Option<Row>>,
    /// `[rows]`: when each came, among the rows of all models.
    ages: Vec<u64>,
    /// `[rows]`: the id that the database gave it, if it has.
    ids: Vec<Option<i64>>,
    /// Rows that are not gone.
    live: usize,
}

impl Segment {
    pub(super) fn with_capacity(dim: usize) -> Self {
        Self {
            vectors: Vec::with_capacity(SEGMENT_ROWS * dim),
            codes: Codes::with_capacity(SEGMENT_ROWS, dim),
            rows: Vec::with_capacity(SEGMENT_ROWS),
            ages: Vec::with_capacity(SEGMENT_ROWS),
            ids: Vec::with_capacity(SEGMENT_ROWS),
            live: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= SEGMENT_ROWS
    }

    /// True where every row is gone, and no other can come.
    pub(super) fn is_gone(&self) -> bool {
        self.is_full() && self.live == 0
    }

    pub(super) fn push(&mut self, id: Option<i64>, row: Row, age: u64, vector: &[f32]) -> Fit {
        self.vectors.extend_from_slice(vector);
        self.rows.push(Some(row));
        self.ages.push(age);
        self.ids.push(id);
        self.live += 1;
        self.codes.push(vector)
    }

    /// Takes a row out: nothing of it is left, and no search can find it.
    pub(super) fn take(&mut self, place: usize) -> Option<Row> {
        let row = self.rows.get_mut(place)?.take()?;
        let dim = self.vectors.len() / self.rows.len();
        self.vectors[place * dim..][..dim].fill(0.0);
        self.codes.clear(place);
        self.ids[place] = None;
        self.live -= 1;
        Some(row)
    }

    /// Puts other names and another id to a row that is there.
    pub(super) fn rename(&mut self, place: usize, id: Option<i64>, row: Row) {
        if let Some(known) = self.rows.get_mut(place)
            && known.is_some()
        {
            *known = Some(row);
            self.ids[place] = id;
        }
    }
}

/// The rows at one moment. Writers go on meanwhile: segments are copied when written to.
#[derive(Clone)]
pub(super) struct View {
    pub(super) dim: usize,
    /// Every segment but the last is full.
    segments: Arc<VecDeque<Arc<Segment>>>,
    rows: Range<RowNumber>,
    /// Rows that are not gone.
    live: usize,
}

impl View {
    /// No rows yet; the first will have this number.
    pub(super) fn new(dim: usize, first: RowNumber) -> Self {
        Self {
            dim,
            segments: Arc::default(),
            rows: first..first,
            live: 0,
        }
    }

    /// The numbers of the rows, those that are gone included.
    pub(super) fn rows(&self) -> Range<RowNumber> {
        self.rows.clone()
    }

    /// Rows that are not gone.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Rows that are gone, whose room is not free yet.
    pub(super) fn gone(&self) -> usize {
        (self.rows.end - self.rows.start) as usize - self.live
    }

    /// The segment of a row, and its place there.
    #[inline]
    pub(super) fn place(&self, row: RowNumber) -> (&Segment, usize) {
        let place = (row - self.rows.start) as usize;
        (&self.segments[place / SEGMENT_ROWS], place % SEGMENT_ROWS)
    }

    /// The vector of a row, `[dim]`.
    #[inline]
    pub(super) fn vector(&self, row: RowNumber) -> &[f32] {
        let (segment, place) = self.place(row);
        &segment.vectors[place * self.dim..][..self.dim]
    }

    /// What is known of a row; none where it is gone.
    pub(super) fn row(&self, row: RowNumber) -> Option<&Row> {
        let (segment, place) = self.place(row);
        segment.rows[place].as_ref()
    }

    /// When a row came, among the rows of all models.
    pub(super) fn age(&self, row: RowNumber) -> u64 {
        let (segment, place) = self.place(row);
        segment.ages[place]
    }

    /// The id that the database gave a row.
    pub(super) fn id(&self, row: RowNumber) -> Option<i64> {
        let (segment, place) = self.place(row);
        segment.ids[place]
    }

    /// The rows that are not gone, oldest first.
    pub(super) fn live_rows(&self) -> impl DoubleEndedIterator<Item = RowNumber> {
        let is_live = |row: &RowNumber| self.row(*row).is_some();
        self.rows.clone().filter(is_live)
    }

    /// From which row on there are so many that are not gone.
    pub(super) fn newest(&self, count: usize) -> RowNumber {
        let (mut first, mut left) = (self.rows.end, count);
        for segment in self.segments.iter().rev() {
            if segment.live > left {
                let rows = segment.rows.iter().rev();
                let passed = rows.scan(left, |left, row| {
                    *left = left.checked_sub(usize::from(row.is_some()))?;
                    Some(())
                });
                return first - passed.count() as u64;
            }
            left -= segment.live;
            first -= segment.rows.len() as u64;
        }
        first
    }

    /// Adds a row of length 1; its number and its codes' fit.
    pub(super) fn push(
        &mut self,
        id: Option<i64>,
        row: Row,
        age: u64,
        vector: &[f32],
    ) -> (RowNumber, Fit) {
        let segments = Arc::make_mut(&mut self.segments);
        if segments.back().is_none_or(|last| last.is_full()) {
            segments.push_back(Arc::new(Segment::with_capacity(self.dim)));
        }
        let last = segments.len() - 1;
        let fit = Arc::make_mut(&mut segments[last]).push(id, row, age, vector);
        let number = self.rows.end;
        self.rows.end = number + 1;
        self.live += 1;
        (number, fit)
    }

    /// Takes a row out.
    pub(super) fn take(&mut self, row: RowNumber) -> Option<Row> {
        let taken = self.segment_mut(row, Segment::take)?;
        self.live -= 1;
        Some(taken)
    }

    /// Puts other names and another id to a row that is there.
    pub(super) fn rename(&mut self, number: RowNumber, id: Option<i64>, row: Row) {
        self.segment_mut(number, |segment, place| {
            segment.rename(place, id, row);
            Some(())
        });
    }

    /// Drops the oldest segment; gives its rows with their ids.
    pub(super) fn drop_oldest(&mut self) -> Vec<(Row, Option<i64>)> {
        let Some(oldest) = Arc::make_mut(&mut self.segments).pop_front() else {
            return Vec::new();
        };
        self.rows.start += oldest.rows.len() as u64;
        self.live -= oldest.live;
        let rows = oldest.rows.iter().zip(&oldest.ids);
        rows.filter_map(|(row, id)| Some((row.clone()?, *id)))
            .collect()
    }

    /// True where every row of the oldest segment is gone, and no other can come.
    pub(super) fn is_oldest_gone(&self) -> bool {
        self.segments
            .front()
            .is_some_and(|segment| segment.is_gone())
    }

    fn segment_mut<T>(
        &mut self,
        row: RowNumber,
        change: impl FnOnce(&mut Segment, usize) -> Option<T>,
    ) -> Option<T> {
        let place = row.checked_sub(self.rows.start)? as usize;
        let segments = Arc::make_mut(&mut self.segments);
        let segment = segments.get_mut(place / SEGMENT_ROWS)?;
        change(Arc::make_mut(segment), place % SEGMENT_ROWS)
    }
}

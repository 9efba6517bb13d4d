//! The rows of one model as they are at one moment: what a search reads while writers go
//! on.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::codes::{Codes, Fit};
use super::{Kept, Row};

/// Rows a segment: a write while a search holds the segment copies so many.
pub(super) const SEGMENT_ROWS: usize = 256;

/// Rows are numbered in the order of their coming, from 0 on, for as long as there is
/// the matrix: a number never means another row.
pub(super) type RowNumber = u64;

/// Rows side by side.
#[derive(Clone, Default)]
pub(super) struct Segment {
    /// `[rows, dim]`, each row of length 1, or of zeros where the image is gone; nothing where
    /// codes alone are kept.
    vectors: Vec<f32>,
    /// Where codes alone are kept, the vectors of length 1 that the database has no id for: it
    /// cannot be asked for them.
    unstored: BTreeMap<usize, Arc<[f32]>>,
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
    pub(super) fn with_capacity(dim: usize, kept: Kept) -> Self {
        let whole = match kept {
            Kept::Vectors => SEGMENT_ROWS,
            Kept::Codes => 0,
        };
        Self {
            vectors: Vec::with_capacity(whole * dim),
            unstored: BTreeMap::new(),
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

    fn push(&mut self, known: Known, vector: &[f32], kept: Kept) -> Fit {
        match kept {
            Kept::Vectors => self.vectors.extend_from_slice(vector),
            Kept::Codes if known.id.is_none() => {
                self.unstored.insert(self.rows.len(), vector.into());
            }
            Kept::Codes => {}
        }
        self.note(known);
        self.codes.push(vector)
    }

    /// Adds a row as another segment has it.
    fn push_copy(&mut self, known: Known, from: &Self, place: usize) {
        let dim = from.dim();
        self.vectors
            .extend_from_slice(&from.vectors[place * dim..][..dim]);
        if let Some(vector) = from.unstored.get(&place) {
            self.unstored.insert(self.rows.len(), vector.clone());
        }
        self.note(known);
        self.codes.push_copy(&from.codes, place);
    }

    fn note(&mut self, known: Known) {
        self.rows.push(Some(known.row));
        self.ages.push(known.age);
        self.ids.push(known.id);
        self.live += 1;
    }

    /// Numbers of a vector in `vectors`: none where codes alone are kept.
    fn dim(&self) -> usize {
        self.vectors.len() / self.rows.len().max(1)
    }

    /// Takes a row out: nothing of it is left, and no search can find it.
    pub(super) fn take(&mut self, place: usize) -> Option<Row> {
        let row = self.rows.get_mut(place)?.take()?;
        let dim = self.dim();
        self.vectors[place * dim..][..dim].fill(0.0);
        self.unstored.remove(&place);
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
            if id.is_some() {
                self.unstored.remove(&place);
            }
        }
    }
}

/// What is known of a row beside its vector.
struct Known {
    id: Option<i64>,
    row: Row,
    age: u64,
}

/// The rows at one moment. Writers go on meanwhile: segments are copied when written to.
#[derive(Clone)]
pub(super) struct View {
    pub(super) dim: usize,
    kept: Kept,
    /// Every segment but the last is full.
    segments: Arc<VecDeque<Arc<Segment>>>,
    rows: Range<RowNumber>,
    /// Rows that are not gone.
    live: usize,
}

impl View {
    /// No rows yet; the first will have this number.
    pub(super) fn new(dim: usize, kept: Kept, first: RowNumber) -> Self {
        Self {
            dim,
            kept,
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

    /// A view of none of them, whose first will have the number after the last.
    pub(super) fn begun_anew(&self) -> Self {
        Self::new(self.dim, self.kept, self.rows.end)
    }

    /// The vector of a row itself, `[dim]`; none where only the database has it.
    #[inline]
    pub(super) fn exact(&self, row: RowNumber) -> Option<&[f32]> {
        let (segment, place) = self.place(row);
        match self.kept {
            Kept::Vectors => Some(&segment.vectors[place * self.dim..][..self.dim]),
            Kept::Codes => segment.unstored.get(&place).map(|vector| &**vector),
        }
    }

    /// The vector of a row, `[dim]`, or what its codes say of it, and how far from it that may
    /// be.
    pub(super) fn vector(&self, row: RowNumber) -> (Cow<'_, [f32]>, f32) {
        if let Some(vector) = self.exact(row) {
            return (Cow::Borrowed(vector), 0.0);
        }
        let (segment, place) = self.place(row);
        let vector = segment.codes.vector(place, self.dim);
        (Cow::Owned(vector), 2.0 * segment.codes.fit(place).error)
    }

    /// True where a row has that vector, as far as it is kept. Where codes alone are, another
    /// one with the same codes and as much left over has the same estimates and margins.
    pub(super) fn has_vector(&self, row: RowNumber, vector: &[f32]) -> bool {
        let (segment, place) = self.place(row);
        match self.exact(row) {
            Some(known) => known == vector,
            None => segment.codes.are_of(place, vector),
        }
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
        let kept = self.kept;
        let known = Known { id, row, age };
        let fit = self.last_segment().push(known, vector, kept);
        (self.count_last(), fit)
    }

    /// Adds a row as another view has it; its number. None where it is gone there.
    pub(super) fn push_copy(&mut self, from: &Self, number: RowNumber) -> Option<RowNumber> {
        let (segment, place) = from.place(number);
        let known = Known {
            id: from.id(number),
            row: from.row(number)?.clone(),
            age: from.age(number),
        };
        self.last_segment().push_copy(known, segment, place);
        Some(self.count_last())
    }

    /// The segment that the next row comes into.
    fn last_segment(&mut self) -> &mut Segment {
        let segments = Arc::make_mut(&mut self.segments);
        if segments.back().is_none_or(|last| last.is_full()) {
            segments.push_back(Arc::new(Segment::with_capacity(self.dim, self.kept)));
        }
        let last = segments.len() - 1;
        Arc::make_mut(&mut segments[last])
    }

    fn count_last(&mut self) -> RowNumber {
        let number = self.rows.end;
        self.rows.end = number + 1;
        self.live += 1;
        number
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

/// In a row's place: which of the matrices it is in.
pub(super) const MATRIX_SHIFT: u32 = 63;

/// One matrix of a search.
pub(super) struct Part {
    pub(super) view: View,
    /// The bits that make of a row's number its place.
    pub(super) bits: u64,
}

/// The row of a place: of which matrix, and its number there.
pub(super) fn at(parts: &[Part], place: u64) -> Option<(&View, RowNumber)> {
    let part = parts.get((place >> MATRIX_SHIFT) as usize)?;
    Some((&part.view, place & !part.bits))
}

//! The vectors of one model: rows in the order of their coming, in segments that
//! searches share, and beside them the partition that makes large ones fast.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::Row;
use super::codes::Codes;
use super::partition::Partition;

/// Rows a segment: a write while a search holds the newest segment copies so many.
pub(super) const SEGMENT_ROWS: usize = 256;

/// Rows side by side.
#[derive(Clone)]
pub(super) struct Segment {
    /// `[rows, dim]`, each row of length 1.
    vectors: Vec<f32>,
    /// `[rows, dim]`, the same in bytes.
    pub(super) codes: Codes,
    /// `[rows]`.
    pub(super) rows: Vec<Row>,
}

/// What tells one image from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Its bytes.
    Content(Arc<str>),
    /// Its name, where the bytes are not known.
    Name(Arc<str>),
}

impl Key {
    pub(super) fn of(row: &Row) -> Self {
        match &row.content_hash {
            Some(hash) => Self::Content(hash.clone()),
            None => Self::Name(row.image_hash.clone()),
        }
    }
}

/// Rows are numbered in the order of their coming, from 0 on, for as long as there is
/// the matrix: a number never means another row.
pub(super) type RowNumber = u64;

/// The rows at one moment. Writers go on meanwhile: segments are copied when written to.
#[derive(Clone)]
pub(super) struct View {
    pub(super) dim: usize,
    /// Every segment but the last is full.
    segments: Arc<VecDeque<Arc<Segment>>>,
    rows: Range<RowNumber>,
}

impl View {
    /// The rows that are there.
    pub(super) fn rows(&self) -> Range<RowNumber> {
        self.rows.clone()
    }

    pub(super) fn len(&self) -> usize {
        (self.rows.end - self.rows.start) as usize
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
}

pub(super) struct Matrix {
    max_rows: usize,
    view: View,
    /// The number of each image's row.
    places: HashMap<Key, RowNumber>,
    /// What makes searches of many rows fast, once there are many.
    pub(super) partition: Option<Partition>,
}

impl Matrix {
    pub(super) fn new(dim: usize, max_rows: usize) -> Self {
        Self {
            max_rows,
            view: View {
                dim,
                segments: Arc::default(),
                rows: 0..0,
            },
            places: HashMap::new(),
            partition: None,
        }
    }

    pub(super) fn dim(&self) -> usize {
        self.view.dim
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The rows as they are now.
    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Adds a row of length 1, or notes what is new of one that is there. False where
    /// the vector has another length than the model's.
    pub(super) fn insert(&mut self, row: Row, vector: &[f32]) -> bool {
        if vector.len() != self.view.dim {
            return false;
        }
        let key = Key::of(&row);
        if let Some(&number) = self.places.get(&key) {
            self.rename(number, row);
            return true;
        }
        let full = |segment: &Arc<Segment>| segment.rows.len() >= SEGMENT_ROWS;
        if self.view.segments.back().is_none_or(full) {
            self.make_room();
            let segment = Segment {
                vectors: Vec::with_capacity(SEGMENT_ROWS * vector.len()),
                codes: Codes::with_capacity(SEGMENT_ROWS, vector.len()),
                rows: Vec::with_capacity(SEGMENT_ROWS),
            };
            Arc::make_mut(&mut self.view.segments).push_back(Arc::new(segment));
        }
        if let Some(last) = Arc::make_mut(&mut self.view.segments).back_mut() {
            let number = self.view.rows.end;
            let segment = Arc::make_mut(last);
            segment.vectors.extend_from_slice(vector);
            let fit = segment.codes.push(vector);
            segment.rows.push(row);
            if let Some(partition) = &mut self.partition {
                partition.add(number, &key, vector, fit);
            }
            self.places.insert(key, number);
            self.view.rows.end = number + 1;
        }
        true
    }

    /// Puts a partition in the place of the present one, and every row that it does not
    /// know yet into it.
    pub(super) fn adopt(&mut self, mut partition: Partition) {
        partition.forget_before(self.view.rows.start);
        for number in partition.next_row().max(self.view.rows.start)..self.view.rows.end {
            let (segment, place) = self.view.place(number);
            let key = Key::of(&segment.rows[place]);
            let fit = segment.codes.fit(place);
            partition.add(number, &key, self.view.vector(number), fit);
        }
        self.partition = Some(partition);
    }

    fn rename(&mut self, number: RowNumber, row: Row) {
        let (segment, place) = self.view.place(number);
        let known = &segment.rows[place];
        let asset_id = row.asset_id.or_else(|| known.asset_id.clone());
        if known.image_hash == row.image_hash && known.asset_id == asset_id {
            return;
        }
        let segment = (number - self.view.rows.start) as usize / SEGMENT_ROWS;
        if let Some(segment) = Arc::make_mut(&mut self.view.segments).get_mut(segment) {
            let known = &mut Arc::make_mut(segment).rows[place];
            known.image_hash = row.image_hash;
            known.asset_id = asset_id;
        }
    }

    fn make_room(&mut self) {
        while self.places.len() + SEGMENT_ROWS > self.max_rows {
            let Some(oldest) = Arc::make_mut(&mut self.view.segments).pop_front() else {
                return;
            };
            for row in &oldest.rows {
                self.places.remove(&Key::of(row));
            }
            self.view.rows.start += oldest.rows.len() as u64;
            if let Some(partition) = &mut self.partition {
                partition.forget_before(self.view.rows.start);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: usize) -> Row {
        Row {
            image_hash: name.to_string().into(),
            content_hash: Some(name.to_string().into()),
            asset_id: None,
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut matrix = Matrix::new(1, 3 * SEGMENT_ROWS);
        for number in 0..10 * SEGMENT_ROWS {
            assert!(matrix.insert(row(number), &[1.0]));
            assert!(matrix.len() <= 3 * SEGMENT_ROWS);
        }
        let view = matrix.view();
        let oldest = view.rows().start;
        assert_eq!(oldest as usize, 7 * SEGMENT_ROWS);
        let (segment, place) = view.place(oldest);
        assert_eq!(
            &*segment.rows[place].image_hash,
            (7 * SEGMENT_ROWS).to_string()
        );
        // An image that had to go comes again as new, one that stayed does not.
        assert!(matrix.insert(row(10 * SEGMENT_ROWS - 1), &[1.0]));
        assert_eq!(matrix.len(), 3 * SEGMENT_ROWS);
        assert!(matrix.insert(row(0), &[1.0]));
        assert_eq!(matrix.len(), 2 * SEGMENT_ROWS + 1);
    }

    #[test]
    fn a_search_keeps_what_it_began_with() {
        let mut matrix = Matrix::new(1, 1000);
        matrix.insert(row(1), &[1.0]);
        let held = matrix.view().clone();
        matrix.insert(row(2), &[1.0]);
        assert_eq!(held.rows(), 0..1);
        assert_eq!(held.place(0).0.rows.len(), 1);
        assert_eq!(matrix.view().rows(), 0..2);
        assert_eq!(matrix.view().place(1).0.rows.len(), 2);
    }
}

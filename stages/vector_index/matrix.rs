//! The vectors of one model: rows in the order of their coming, in segments that
//! searches share.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Row;

/// Rows a segment: a write while a search holds the newest segment copies so many.
const SEGMENT_ROWS: usize = 256;

/// Numbers that one step of a dot product takes: a multiple of every vector register.
const LANES: usize = 32;

/// Rows side by side.
#[derive(Clone)]
pub(super) struct Segment {
    /// `[rows, dim]`, each row of length 1.
    vectors: Vec<f32>,
    /// `[rows]`.
    pub(super) rows: Vec<Row>,
}

/// What tells one image from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Its bytes.
    Content(Arc<str>),
    /// Its name, where the bytes are not known.
    Name(Arc<str>),
}

impl Key {
    fn of(row: &Row) -> Self {
        match &row.content_hash {
            Some(hash) => Self::Content(hash.clone()),
            None => Self::Name(row.image_hash.clone()),
        }
    }
}

pub(super) struct Matrix {
    dim: usize,
    max_rows: usize,
    segments: VecDeque<Arc<Segment>>,
    /// Segments that made room for newer ones.
    gone: usize,
    /// Where each image is: its segment, counted from the first there ever was, and row.
    places: HashMap<Key, (usize, usize)>,
}

impl Matrix {
    pub(super) fn new(dim: usize, max_rows: usize) -> Self {
        Self {
            dim,
            max_rows,
            segments: VecDeque::new(),
            gone: 0,
            places: HashMap::new(),
        }
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The segments, oldest first.
    pub(super) fn segments(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.segments.iter()
    }

    /// Adds a row of length 1, or notes what is new of one that is there. False where
    /// the vector has another length than the model's.
    pub(super) fn insert(&mut self, row: Row, vector: &[f32]) -> bool {
        if vector.len() != self.dim {
            return false;
        }
        let key = Key::of(&row);
        if let Some(&(segment, place)) = self.places.get(&key) {
            self.rename(segment, place, row);
            return true;
        }
        let full = |segment: &Arc<Segment>| segment.rows.len() >= SEGMENT_ROWS;
        if self.segments.back().is_none_or(full) {
            self.make_room();
            self.segments.push_back(Arc::new(Segment {
                vectors: Vec::with_capacity(SEGMENT_ROWS * self.dim),
                rows: Vec::with_capacity(SEGMENT_ROWS),
            }));
        }
        let number = self.gone + self.segments.len() - 1;
        if let Some(last) = self.segments.back_mut() {
            let segment = Arc::make_mut(last);
            self.places.insert(key, (number, segment.rows.len()));
            segment.vectors.extend_from_slice(vector);
            segment.rows.push(row);
        }
        true
    }

    fn rename(&mut self, segment: usize, place: usize, row: Row) {
        let Some(segment) = self.segments.get_mut(segment - self.gone) else {
            return;
        };
        let known = &segment.rows[place];
        let asset_id = row.asset_id.or_else(|| known.asset_id.clone());
        if known.image_hash != row.image_hash || known.asset_id != asset_id {
            let known = &mut Arc::make_mut(segment).rows[place];
            known.image_hash = row.image_hash;
            known.asset_id = asset_id;
        }
    }

    fn make_room(&mut self) {
        while self.places.len() + SEGMENT_ROWS > self.max_rows {
            let Some(oldest) = self.segments.pop_front() else {
                return;
            };
            for row in &oldest.rows {
                self.places.remove(&Key::of(row));
            }
            self.gone += 1;
        }
    }
}

impl Segment {
    /// Gives the cosine of every row from `skipped` on.
    pub(super) fn scan(&self, vector: &[f32], skipped: usize, mut each: impl FnMut(usize, f32)) {
        let arch = pulp::Arch::new();
        let rows = self.vectors.chunks_exact(vector.len());
        for (number, row) in rows.enumerate().skip(skipped) {
            each(number, arch.dispatch(|| dot(row, vector)));
        }
    }
}

/// Sum of products, compiled once for each instruction set that `pulp` knows.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_steps, a_rest) = a.as_chunks::<LANES>();
    let (b_steps, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in a_steps.iter().zip(b_steps) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
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
    fn a_dot_product_of_any_length_is_the_sum_of_products() {
        for length in [1, 2, 31, 32, 33, 100, 512] {
            let a: Vec<f32> = (0..length).map(|n| (n % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..length).map(|n| (n % 5) as f32 - 1.0).collect();
            let plain: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(dot(&a, &b), plain, "{length}");
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut matrix = Matrix::new(1, 3 * SEGMENT_ROWS);
        for number in 0..10 * SEGMENT_ROWS {
            assert!(matrix.insert(row(number), &[1.0]));
            assert!(matrix.len() <= 3 * SEGMENT_ROWS);
        }
        let oldest = matrix.segments().next().unwrap();
        assert_eq!(&*oldest.rows[0].image_hash, (7 * SEGMENT_ROWS).to_string());
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
        let held: Vec<_> = matrix.segments().cloned().collect();
        matrix.insert(row(2), &[1.0]);
        assert_eq!(held[0].rows.len(), 1);
        assert_eq!(matrix.segments().next().unwrap().rows.len(), 2);
    }
}

//! The vectors of one model: rows in the order of their coming, in segments that
//! searches share.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use pulp::{Simd, WithSimd};

use super::Row;

/// Rows a segment: a write while a search holds the newest segment copies so many.
const SEGMENT_ROWS: usize = 256;

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
    /// The cosine of every row from `skipped` on, by the number of the row.
    pub(super) fn scan(&self, vector: &[f32], skipped: usize) -> Vec<(usize, f32)> {
        let mut cosines = vec![0.0; self.rows.len() - skipped];
        pulp::Arch::new().dispatch(Products {
            rows: &self.vectors[skipped * vector.len()..],
            vector,
            products: &mut cosines,
        });
        (skipped..).zip(cosines).collect()
    }
}

/// The product of each row with the vector, compiled for each instruction set that
/// `pulp` knows, and dispatched once for all rows.
struct Products<'a> {
    /// `[rows, dim]`
    rows: &'a [f32],
    /// `[dim]`
    vector: &'a [f32],
    /// `[rows]`
    products: &'a mut [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.rows.chunks_exact(self.vector.len());
        for (row, product) in rows.zip(self.products) {
            *product = dot(simd, row, self.vector);
        }
    }
}

#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = S::as_simd_f32s(a);
    let (b, b_rest) = S::as_simd_f32s(b);
    // Four sums side by side: each addition waits for the one before it.
    let zero = simd.splat_f32s(0.0);
    let (mut s0, mut s1, mut s2, mut s3) = (zero, zero, zero, zero);
    let (a4, a1) = a.as_chunks::<4>();
    let (b4, b1) = b.as_chunks::<4>();
    for (a, b) in a4.iter().zip(b4) {
        s0 = simd.mul_add_e_f32s(a[0], b[0], s0);
        s1 = simd.mul_add_e_f32s(a[1], b[1], s1);
        s2 = simd.mul_add_e_f32s(a[2], b[2], s2);
        s3 = simd.mul_add_e_f32s(a[3], b[3], s3);
    }
    for (a, b) in a1.iter().zip(b1) {
        s0 = simd.mul_add_e_f32s(*a, *b, s0);
    }
    let sum = simd.add_f32s(simd.add_f32s(s0, s1), simd.add_f32s(s2, s3));
    let mut rest = 0.0;
    for (a, b) in a_rest.iter().zip(b_rest) {
        rest += a * b;
    }
    simd.reduce_sum_f32s(sum) + rest
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
    fn a_scan_of_any_dimension_gives_the_sums_of_products() {
        for dim in [1, 2, 7, 8, 31, 32, 33, 100, 512] {
            let mut matrix = Matrix::new(dim, 1000);
            let vector = |seed: usize| -> Vec<f32> {
                (0..dim).map(|n| ((n + seed) % 7) as f32 - 3.0).collect()
            };
            for number in 0..10 {
                matrix.insert(row(number), &vector(number));
            }
            let question = vector(3);
            let plain = |number| -> f32 {
                vector(number)
                    .iter()
                    .zip(&question)
                    .map(|(a, b)| a * b)
                    .sum()
            };
            let segment = matrix.segments().next().unwrap();
            // Small whole numbers: every order of additions gives the same.
            for skipped in [0, 4] {
                let expected: Vec<_> = (skipped..10).map(|n| (n, plain(n))).collect();
                assert_eq!(segment.scan(&question, skipped), expected, "{dim}");
            }
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

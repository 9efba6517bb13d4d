//! The approximate index: an inverted file. Every row is in the list of the centroid
//! nearest to it, and a search looks at the lists nearest to the question (J. Sivic and
//! A. Zisserman, Video Google, ICCV 2003; H. Jégou, M. Douze, C. Schmid, Product
//! quantization for nearest neighbor search, TPAMI 2011, section 4).
//!
//! A list holds numbers of rows, nothing else: what it costs is 8 bytes a row, a row
//! that comes is pushed, one that goes is dropped, and no list can make an answer wrong:
//! a row that it names is compared by its vector, as every other.
//!
//! Each list also knows the least cosine of its rows with its centroid. With it the
//! triangle inequality of angles says of some lists that none of their rows can reach
//! the threshold, or what was already found: these are left out at no loss.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::codes::{Codes, Question};
use super::collect::Collector;
use super::kernels::{code_products, product};
use super::matrix::{Key, RowNumber, View};

/// Lists looked at for answers of up to [`PROBES_FOR`] images, as a share of all: one in
/// so many.
const PROBES_SHARE: usize = 64;
/// Fewest lists looked at.
const PROBES_MIN: usize = 12;
/// Answers longer than this look at as many more lists.
const PROBES_FOR: usize = 25;
/// Rows compared at a time.
const STEP_ROWS: usize = 256;

/// The centres of the lists.
#[derive(Clone, Debug)]
pub(super) struct Centroids {
    pub(super) dim: usize,
    /// `[lists, dim]`, each of length 1.
    pub(super) vectors: Vec<f32>,
    codes: Codes,
}

impl Centroids {
    /// `vectors`: `[lists, dim]`, each of length 1.
    pub(super) fn new(dim: usize, vectors: Vec<f32>) -> Self {
        let mut codes = Codes::with_capacity(vectors.len() / dim.max(1), dim);
        for vector in vectors.chunks_exact(dim.max(1)) {
            codes.push(vector);
        }
        Self {
            dim,
            vectors,
            codes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.vectors.len() / self.dim.max(1)
    }

    pub(super) fn vector(&self, list: usize) -> &[f32] {
        &self.vectors[list * self.dim..][..self.dim]
    }

    /// The list whose centroid is nearest to a vector given as codes of whatever scale,
    /// as far as codes can say. `products`: room for one a list.
    pub(super) fn nearest(&self, codes: &[i16], products: &mut [i32]) -> usize {
        let rows = self.vectors.len() / self.dim.max(1);
        let rows = (0..rows).map(|list| self.codes.row(list, self.dim));
        code_products(rows, codes, products);
        let mut best = (f32::NEG_INFINITY, 0);
        for (list, &product) in products.iter().enumerate() {
            let reach = product as f32 * self.codes.scale(list);
            if reach > best.0 {
                best = (reach, list);
            }
        }
        best.1
    }
}

/// Where rows belong that are not there yet: the hash of a row's key, and its list.
pub(super) type Places = HashMap<u64, u32>;

/// A key as it is kept in a file. Two keys of one hash share a list, which costs a
/// little recall and nothing else.
pub(super) fn hash(key: &Key) -> u64 {
    /// FNV-1a: the same on every machine and in every version.
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    match key {
        Key::Content(text) => hasher.write(text.as_bytes()),
        Key::Name(text) => {
            0u8.hash(&mut hasher);
            hasher.write(text.as_bytes());
        }
    }
    hasher.finish()
}

#[derive(Clone, Debug, Default)]
struct List {
    /// Oldest first.
    rows: Vec<RowNumber>,
    /// No row's cosine with the centroid is less.
    reach: f32,
}

/// Every row of a matrix in one of many lists.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    centroids: Arc<Centroids>,
    lists: Vec<List>,
    /// The row that comes next; all before it are in a list, or gone.
    next_row: RowNumber,
    /// Rows that there were when the centroids were found.
    pub(super) trained_rows: u64,
    /// Rows that there were when this was last written to a file.
    pub(super) saved_rows: u64,
    /// What a file knew of rows that may come.
    pub(super) known: Places,
}

impl Partition {
    pub(super) fn new(centroids: Arc<Centroids>, trained_rows: u64, first: RowNumber) -> Self {
        Self {
            lists: vec![
                List {
                    rows: Vec::new(),
                    reach: 1.0,
                };
                centroids.len()
            ],
            centroids,
            next_row: first,
            trained_rows,
            saved_rows: 0,
            known: Places::new(),
        }
    }

    pub(super) fn centroids(&self) -> &Arc<Centroids> {
        &self.centroids
    }

    pub(super) fn next_row(&self) -> RowNumber {
        self.next_row
    }

    /// The rows of every list.
    pub(super) fn lists(&self) -> impl Iterator<Item = &[RowNumber]> {
        self.lists.iter().map(|list| list.rows.as_slice())
    }

    /// Puts a row into the list where a file has it, else into the nearest.
    pub(super) fn add(&mut self, row: RowNumber, key: &Key, vector: &[f32]) {
        let known = match self.known.is_empty() {
            true => None,
            false => self.known.get(&hash(key)).map(|list| *list as usize),
        };
        let list = known.filter(|list| *list < self.lists.len());
        let list = list.unwrap_or_else(|| {
            let question = Question::new(vector.to_vec());
            let mut products = vec![0; self.lists.len()];
            self.centroids.nearest(&question.codes, &mut products)
        });
        self.push(row, list, vector);
    }

    /// Puts a row into a list.
    pub(super) fn push(&mut self, row: RowNumber, list: usize, vector: &[f32]) {
        let reach = product(self.centroids.vector(list), vector) - 1e-4;
        let list = &mut self.lists[list];
        list.reach = list.reach.min(reach);
        list.rows.push(row);
        self.next_row = row + 1;
    }

    /// Drops the rows that made room for others.
    pub(super) fn forget_before(&mut self, first: RowNumber) {
        for list in &mut self.lists {
            if list.rows.first().is_some_and(|row| *row < first) {
                let gone = list.rows.partition_point(|row| *row < first);
                list.rows.drain(..gone);
            }
        }
        self.next_row = self.next_row.max(first);
    }

    /// How many lists a question looks at, at most.
    pub(super) fn probes(&self, limit: usize) -> usize {
        let lists = self.lists.len();
        let probes = (lists / PROBES_SHARE).max(PROBES_MIN);
        (probes * limit.div_ceil(PROBES_FOR).max(1)).min(lists)
    }

    /// About how many rows a question is compared with, centroids included.
    pub(super) fn cost(&self, limit: usize) -> usize {
        let lists = self.lists.len().max(1);
        lists + self.probes(limit) * (self.next_row as usize).div_ceil(lists)
    }

    /// Collects the rows of the lists nearest to the question, of those before `end`.
    /// A row's age is its number with the bits of `age`.
    pub(super) fn probe(
        &self,
        view: &View,
        end: RowNumber,
        age: u64,
        question: &Question,
        limit: usize,
        collector: &mut Collector,
    ) {
        let mut products = vec![0; self.lists.len().max(STEP_ROWS)];
        self.centroids
            .codes
            .products(0, question, &mut products[..self.lists.len()]);
        let mut nearest: Vec<(f32, usize)> = (0..self.lists.len())
            .map(|list| {
                let codes = &self.centroids.codes;
                let estimate = codes.estimate(list, products[list], question);
                (estimate.cosine + estimate.margin, list)
            })
            .collect();
        let probes = self.probes(limit);
        let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0);
        if probes < nearest.len() {
            nearest.select_nth_unstable_by(probes, order);
            nearest.truncate(probes);
        }
        nearest.sort_unstable_by(order);
        for (cosine, list) in nearest {
            let list = &self.lists[list];
            if best_possible(cosine, list.reach) < collector.cut() {
                continue;
            }
            for rows in list.rows.chunks(STEP_ROWS) {
                let rows = &rows[..rows.partition_point(|row| *row < end)];
                let products = &mut products[..rows.len()];
                let codes = rows.iter().map(|row| {
                    let (segment, place) = view.place(*row);
                    segment.codes.row(place, view.dim)
                });
                code_products(codes, &question.codes, products);
                for (row, product) in rows.iter().zip(products) {
                    let (segment, place) = view.place(*row);
                    collector.offer(segment.codes.estimate(place, *product, question), age | row);
                }
            }
            collector.thin_out();
        }
    }
}

/// The largest cosine that a question, whose cosine with a centroid is at most `cosine`,
/// can have with a row whose cosine with that centroid is at least `reach`.
fn best_possible(cosine: f32, reach: f32) -> f32 {
    if cosine >= reach {
        return 1.0;
    }
    let (cosine, reach) = (cosine.clamp(-1.0, 1.0), reach.clamp(-1.0, 1.0));
    cosine * reach + ((1.0 - cosine * cosine) * (1.0 - reach * reach)).sqrt() + 1e-5
}

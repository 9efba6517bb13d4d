//! The approximate index: an inverted file. Every row is in the list of the centroid
//! nearest to it, and a search looks at the lists nearest to the question (J. Sivic and
//! A. Zisserman, Video Google, ICCV 2003; H. Jégou, M. Douze, C. Schmid, Product
//! quantization for nearest neighbor search, TPAMI 2011, section 4).
//!
//! A list holds numbers of rows and what scales their codes, nothing else: it costs 16
//! bytes a row, a row that comes is pushed, and no list can make an answer wrong: a row
//! that it names is compared by its vector, as every other, and one that is gone has none.
//!
//! Each list also knows the least cosine of its rows with its centroid. With it the
//! triangle inequality of angles says of some lists that none of their rows can reach
//! the threshold, or what was already found: these are left out at no loss. Where `stop`
//! expects next to nothing of those that are left, a search ends.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::codes::{Codes, Estimate, Fit, Question};
use super::collect::Collector;
use super::kernels::{Line, WideLine, code_products, product, touch};
use super::key::{Key, hash};
use super::stop::{self, Near, Shape};
use super::view::{RowNumber, View};

/// Lists that a search looks at, at most.
#[derive(Clone, Copy)]
struct Probes {
    /// Of all lists one in so many.
    share: usize,
    /// Answers longer than this look at as many times more.
    answers: usize,
}

/// Where the answer has as many images as were wanted. A long one goes beyond the cluster
/// that the question is in, and what comes then lies in lists all around.
const PROBES: Probes = Probes {
    share: 8,
    answers: 10,
};
/// Where fewer reach the threshold, and more are not expected.
const PROBES_FEW: Probes = Probes {
    share: 64,
    answers: 25,
};
/// Fewest rows that the lists looked at hold together, in both cases: so many are compared in
/// less than a millisecond, and of a small partition a share of the lists misses too much.
const PROBES_ROWS: usize = 2048;
/// Rows compared at a time.
const STEP_ROWS: usize = 64;

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
    pub(super) fn nearest(&self, codes: &[WideLine], products: &mut [i32]) -> usize {
        let rows = (0..self.len()).map(|list| self.codes.row(list));
        code_products(rows, codes, products);
        let mut best = (f32::NEG_INFINITY, 0);
        for (list, &product) in products.iter().enumerate() {
            let reach = product as f32 * self.codes.fit(list).scale;
            if reach > best.0 {
                best = (reach, list);
            }
        }
        best.1
    }
}

/// Where rows belong that are not there yet: the hash of a row's key, and its list.
pub(super) type Places = HashMap<u64, u32>;

/// A row of a list.
#[derive(Clone, Copy, Debug)]
struct Member {
    row: RowNumber,
    /// As beside its codes, to which this saves a way.
    fit: Fit,
}

#[derive(Clone, Debug, Default)]
struct List {
    /// Oldest first.
    members: Vec<Member>,
    /// No row's cosine with the centroid is less.
    reach: f32,
    shape: Shape,
}

/// Every row of a matrix in one of many lists.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    centroids: Arc<Centroids>,
    lists: Vec<List>,
    /// Members of all lists together: every search asks for it.
    rows: usize,
    /// The row that comes next; all before it are in a list, or gone.
    next_row: RowNumber,
    /// Rows that there were when the centroids were found.
    pub(super) trained_rows: u64,
    /// How soon a search may end, see [`stop`].
    pub(super) freedom: f32,
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
                    members: Vec::new(),
                    reach: 1.0,
                    shape: Shape::default(),
                };
                centroids.len()
            ],
            centroids,
            rows: 0,
            next_row: first,
            trained_rows,
            freedom: stop::NONE,
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
    pub(super) fn lists(&self) -> impl Iterator<Item = impl Iterator<Item = RowNumber>> {
        let lists = self.lists.iter();
        lists.map(|list| list.members.iter().map(|member| member.row))
    }

    /// Puts a row into the list where a file has it, else into the nearest. `vector` is what is
    /// known of the row's, and how far from it that may be.
    pub(super) fn add(&mut self, row: RowNumber, key: &Key, vector: (&[f32], f32), fit: Fit) {
        let known = match self.known.is_empty() {
            true => None,
            false => self.known.get(&hash(key)).map(|list| *list as usize),
        };
        let list = known.filter(|list| *list < self.lists.len());
        let list = list.unwrap_or_else(|| {
            let question = Question::new(vector.0.to_vec());
            let mut products = vec![0; self.lists.len()];
            self.centroids.nearest(&question.codes, &mut products)
        });
        self.push(row, list, vector, fit);
    }

    /// Puts a row into a list. `vector` as for [`Self::add`].
    pub(super) fn push(&mut self, row: RowNumber, list: usize, vector: (&[f32], f32), fit: Fit) {
        let (vector, off) = vector;
        let cosine = product(self.centroids.vector(list), vector);
        let list = &mut self.lists[list];
        list.reach = list.reach.min(cosine - off - 1e-4);
        list.shape.push(cosine);
        list.members.push(Member { row, fit });
        self.rows += 1;
        self.next_row = row + 1;
    }

    /// Drops the rows that made room for others.
    pub(super) fn forget_before(&mut self, first: RowNumber) {
        for list in &mut self.lists {
            let gone = list.members.partition_point(|member| member.row < first);
            list.members.drain(..gone);
            self.rows -= gone;
        }
        self.next_row = self.next_row.max(first);
    }

    /// Follows rows that got other numbers, given as (old, new) and sorted; `rows` are all
    /// there are now. What is not among them leaves its list.
    pub(super) fn renumber(&mut self, moved: &[(RowNumber, RowNumber)], rows: Range<RowNumber>) {
        let new = |old: RowNumber| {
            let place = moved.binary_search_by_key(&old, |(old, _)| *old).ok()?;
            Some(moved[place].1)
        };
        for list in &mut self.lists {
            list.members.retain_mut(|member| match new(member.row) {
                Some(row) => {
                    member.row = row;
                    true
                }
                None => false,
            });
        }
        self.rows = self.lists.iter().map(|list| list.members.len()).sum();
        self.next_row = rows.end;
    }

    /// How many lists a question that wants so many looks at, at most.
    fn probes(&self, most: Probes, limit: usize) -> usize {
        let lists = self.lists.len();
        let probes = (lists / most.share).max((PROBES_ROWS * lists).div_ceil(self.rows.max(1)));
        (probes * limit.div_ceil(most.answers).max(1)).min(lists)
    }

    /// About how many rows a question is compared with, centroids included.
    pub(super) fn cost(&self, limit: usize) -> usize {
        let lists = self.lists.len().max(1);
        lists + self.probes(PROBES, limit) * (self.next_row as usize).div_ceil(lists)
    }

    /// The lists that a search for so many looks at, the nearest first.
    pub(super) fn nearest(&self, question: &Question, limit: usize) -> Vec<Near> {
        let mut products = vec![0; self.lists.len()];
        self.centroids.codes.products(0, question, &mut products);
        let fits = self.centroids.codes.fits().iter().zip(products);
        let reaches = fits.enumerate().map(|(list, (fit, product))| {
            let estimate = fit.estimate(product, question);
            (estimate.cosine + estimate.margin, list as u32)
        });
        let mut nearest: Vec<(f32, u32)> = reaches.collect();
        let probes = self.probes(PROBES, limit);
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0);
        if probes < nearest.len() {
            nearest.select_nth_unstable_by(probes, order);
            nearest.truncate(probes);
        }
        nearest.sort_unstable_by(order);
        let nearest = nearest.into_iter().map(|(cosine, list)| Near {
            cosine,
            list: list as usize,
            rows: self.lists[list as usize].members.len(),
            shape: self.lists[list as usize].shape,
        });
        nearest.collect()
    }

    /// Gives the rows of a list before `end`, with what their codes say.
    #[inline]
    pub(super) fn compare(
        &self,
        list: usize,
        view: &View,
        end: RowNumber,
        question: &Question,
        mut take: impl FnMut(RowNumber, Estimate),
    ) {
        let mut products = [0; STEP_ROWS];
        let mut codes = Vec::with_capacity(STEP_ROWS);
        for members in self.lists[list].members.chunks(STEP_ROWS) {
            let members = &members[..members.partition_point(|member| member.row < end)];
            codes.clear();
            codes.extend(members.iter().map(|member| {
                let (segment, place) = view.place(member.row);
                segment.codes.row(place)
            }));
            touch(codes.iter().copied().flatten().map(Line::first));
            let products = &mut products[..members.len()];
            code_products(codes.iter().copied(), &question.codes, products);
            for (member, product) in members.iter().zip(products) {
                take(member.row, member.fit.estimate(*product, question));
            }
        }
    }

    /// Collects the rows of the lists nearest to the question, of those before `end`,
    /// until it has the best `limit`, as far as can be told. A row's place is its number
    /// with the bits of `matrix`. The collector has nothing of others: when to end was
    /// measured on searches that know only what they found themselves.
    pub(super) fn probe(
        &self,
        view: &View,
        end: RowNumber,
        matrix: u64,
        question: &Question,
        limit: usize,
        collector: &mut Collector,
    ) {
        let nearest = self.nearest(question, limit);
        let few = self.probes(PROBES_FEW, limit);
        // One more: the image itself may be among them.
        let most = limit.saturating_add(1);
        for (place, near) in nearest.iter().enumerate() {
            let best = match collector.last_of_best(most) {
                Some(last) => Some((last, most)),
                // Of few, few may be missed.
                None if place >= few => Some((collector.cut(), collector.len().max(1))),
                None => None,
            };
            let is_enough = |(cut, rows): (f32, usize)| {
                stop::is_enough(&nearest[place..], cut, rows, self.freedom)
            };
            if best.is_some_and(is_enough) {
                break;
            }
            if best_possible(near.cosine, self.lists[near.list].reach) < collector.cut() {
                continue;
            }
            self.compare(near.list, view, end, question, |row, estimate| {
                collector.offer(estimate, matrix | row);
            });
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

//! Where codes alone are kept: the rows that may be among the answers, and their order once the
//! database has said their vectors.
//!
//! A row whose cosine is certain to be less than those of as many others as are wanted, each of
//! another name, is no answer, whatever the vectors are. Of the others the database is asked for
//! the vectors, and they are ranked as where all vectors are in memory: by the same products of
//! the same floats. What the database does not say is ranked by the estimate, which is off by at
//! most its margin, and the answer tells that it is so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::codes::Question;
use super::collect::{Collector, Ranked, TIE, steps, steps_from, told};
use super::kernels::product;
use super::query::{Hit, Query, Similar};
use super::view::{Part, at};
use super::{Row, normalised};

/// A row as the database has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The name by which clients called it first.
    pub image_hash: String,
    /// SHA-256 of its bytes; none in rows of the Python service.
    pub content_hash: Option<String>,
    /// `[dim]`; need not be normalised.
    pub vector: Vec<f32>,
}

impl Stored {
    /// True where it is that image: ids may be given again.
    fn is_of(&self, row: &Row) -> bool {
        match &row.content_hash {
            Some(hash) => self.content_hash.as_deref() == Some(&**hash),
            None => self.content_hash.is_none() && *self.image_hash == *row.image_hash,
        }
    }
}

/// A row that may be an answer.
#[derive(Debug)]
struct Listed {
    lower: f32,
    upper: f32,
    /// Where its vector is in memory.
    exact: Option<f32>,
    id: Option<i64>,
    age: u64,
    place: u64,
    row: Row,
}

impl Listed {
    fn estimate(&self) -> f32 {
        (self.lower + self.upper) / 2.0
    }
}

/// The rows that may be answers to a question.
#[derive(Debug)]
pub struct Shortlist {
    question: Arc<Question>,
    threshold: f64,
    limit: usize,
    /// Best estimates first, of equals the newer.
    listed: Vec<Listed>,
    /// True where others were left out that would be answers if some of these were not.
    is_cut: bool,
}

impl Shortlist {
    /// The rows of a collection that may be answers. `None` where rows that were left out could
    /// be: then ask again with a collector that keeps more.
    pub(super) fn of(
        mut collector: Collector,
        parts: &[Part],
        query: &Query,
        question: &Arc<Question>,
    ) -> Option<Self> {
        collector.thin_out();
        let found = collector.found().iter().filter_map(|candidate| {
            let (view, number) = at(parts, candidate.place)?;
            let row = view.row(number)?;
            let exact = view.exact(number);
            let exact = exact.map(|vector| product(vector, &question.vector));
            (!query.is_itself(row)).then(|| Listed {
                lower: exact.unwrap_or(candidate.lower),
                upper: exact.unwrap_or(candidate.upper),
                exact,
                id: view.id(number),
                age: view.age(number),
                place: candidate.place,
                row: row.clone(),
            })
        });
        let mut listed: Vec<_> = found.collect();
        listed.sort_unstable_by(|a, b| b.lower.total_cmp(&a.lower));
        let mut names = HashSet::new();
        let last = listed
            .iter()
            .find(|found| names.insert(found.row.image_hash.clone()) && names.len() >= query.limit);
        // A name is counted by its best: whoever is below so many names is no answer.
        let cut = last.map(|last| last.lower - TIE);
        if collector.is_thinned() && cut.is_none_or(|cut| cut < collector.cut()) {
            return None;
        }
        let all = listed.len();
        if let Some(cut) = cut {
            listed.retain(|found| found.upper >= cut);
        }
        let is_cut = collector.is_thinned() || listed.len() < all;
        let order = |a: &Listed, b: &Listed| {
            let better = b.estimate().total_cmp(&a.estimate());
            better.then(b.age.cmp(&a.age))
        };
        listed.sort_unstable_by(order);
        Some(Self {
            question: question.clone(),
            threshold: query.threshold,
            limit: query.limit,
            listed,
            is_cut,
        })
    }

    /// Numbers of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.question.vector.len()
    }

    /// The database's ids of the rows whose vectors decide, the best estimates first, at most so
    /// many.
    #[must_use]
    pub fn ids(&self, most: usize) -> Vec<i64> {
        let open = self.listed.iter().filter(|found| found.exact.is_none());
        open.filter_map(|found| found.id).take(most).collect()
    }

    /// The answers, with what the database said of the rows that it was `asked` for. One that it
    /// did not name is gone.
    #[must_use]
    pub fn ranked(self, asked: &[i64], stored: &HashMap<i64, Stored>) -> Similar {
        let asked: HashSet<_> = asked.iter().copied().collect();
        let (mut is_exact, mut has_gone) = (true, false);
        let mut rows = HashMap::with_capacity(self.listed.len());
        let mut ranked = Vec::with_capacity(self.listed.len());
        for found in self.listed {
            let id = found.id.filter(|id| asked.contains(id));
            let cosine = match (found.exact, id) {
                (Some(exact), _) => Some(exact),
                (None, Some(id)) => {
                    let stored = stored.get(&id).filter(|stored| stored.is_of(&found.row));
                    let vector = stored.and_then(|stored| normalised(&stored.vector));
                    let vector = vector.filter(|it| it.len() == self.question.vector.len());
                    vector.map(|vector| product(&vector, &self.question.vector))
                }
                (None, None) => {
                    is_exact = false;
                    Some(found.estimate())
                }
            };
            let Some(cosine) = cosine else {
                has_gone = true;
                continue;
            };
            ranked.push(Ranked {
                steps: steps(cosine),
                age: found.age,
                place: found.place,
            });
            rows.insert(found.place, found.row);
        }
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        let least = steps_from(self.threshold);
        let mut names = HashSet::new();
        let mut images = Vec::new();
        for best in ranked.iter().take_while(|best| best.steps >= least) {
            if images.len() >= self.limit {
                break;
            }
            if let Some(row) = rows.remove(&best.place)
                && names.insert(row.image_hash.clone())
            {
                images.push(Hit::of(&row, told(best.steps)));
            }
        }
        // Those that were left out for the sake of one that is gone would have been answers.
        let is_short = has_gone && self.is_cut && images.len() < self.limit;
        Similar {
            images,
            is_exact: is_exact && !is_short,
        }
    }
}

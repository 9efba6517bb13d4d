//! What similar images cost a request, with as many images as an index holds:
//!
//! ```sh
//! cargo bench --workspace --bench similarity_cost --profile dev -- 1000000 520
//! ```
//!
//! Arguments: rows and the numbers of a vector. The vectors are clustered; all of them are
//! the model's own, then every second one is of the Python service. The questions are
//! asked as the service asks them: the newest 3,000 all compared, threshold 0.85, 25
//! answers.

use std::time::Instant;

use omnizap_services::vectors::{Query, Row, VectorIndex};

const QUESTIONS: usize = 500;
const CLUSTERS: usize = 2_000;

/// Draws vectors in clusters of uneven sizes.
struct Vectors {
    random: fastrand::Rng,
    centres: Vec<f32>,
    dim: usize,
}

impl Vectors {
    fn new(dim: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(71);
        let centres = (0..CLUSTERS * dim).map(|_| normal(&mut random)).collect();
        Self {
            random,
            centres,
            dim,
        }
    }

    fn next(&mut self) -> Vec<f32> {
        let place = self.random.f32();
        let centre = ((place * place) * CLUSTERS as f32) as usize * self.dim;
        let centre = &self.centres[centre..][..self.dim];
        let random = &mut self.random;
        centre.iter().map(|x| x + 0.45 * normal(random)).collect()
    }
}

/// A sum of uniform numbers is near enough to a normal one.
fn normal(random: &mut fastrand::Rng) -> f32 {
    (0..4).map(|_| random.f32() - 0.5).sum()
}

/// Resident memory in bytes, as far as the system tells it.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1);
    pages.and_then(|pages| pages.parse().ok()).unwrap_or(0.0) * 4096.0
}

fn main() {
    let arguments = std::env::args().skip(1);
    let numbers: Vec<usize> = arguments.filter_map(|number| number.parse().ok()).collect();
    let rows = numbers.first().copied().unwrap_or(100_000);
    let dim = numbers.get(1).copied().unwrap_or(520);
    for adopted in [0, 2] {
        measure(rows, dim, adopted);
    }
}

#[expect(clippy::print_stdout, reason = "what a bench is run for")]
fn measure(rows: usize, dim: usize, adopted: usize) {
    let mut vectors = Vectors::new(dim);
    let index = VectorIndex::default();
    let (before, begun) = (resident(), Instant::now());
    for number in 0..rows {
        let is_adopted = adopted > 0 && number % adopted == 0;
        let name = format!("{number:064x}");
        let row = Row {
            content_hash: (!is_adopted).then(|| name.as_str().into()),
            image_hash: name.into(),
            asset_id: None,
        };
        let model = if is_adopted { "m" } else { "m@1" };
        assert!(index.insert(model, row, &vectors.next()));
    }
    let (inserted, bytes) = (begun.elapsed(), (resident() - before) / rows as f64);
    let begun = Instant::now();
    index.tend();
    let tended = begun.elapsed();
    let mut times = Vec::with_capacity(QUESTIONS);
    let (mut found, mut there) = (0, 0);
    for _ in 0..QUESTIONS {
        let query = Query {
            model: "m@1".into(),
            vector: vectors.next().into(),
            threshold: 0.85,
            limit: 25,
            scan: 3_000,
            image_hash: Some("itself".into()),
            content_hash: Some("its bytes".into()),
        };
        let begun = Instant::now();
        let hits = index.search(&query);
        times.push(begun.elapsed());
        let all = index.search(&Query { scan: 0, ..query });
        there += all.len();
        found += all.iter().filter(|hit| hits.contains(hit)).count();
    }
    times.sort_unstable();
    println!(
        "{rows} rows of {dim} numbers, {} of the Python service: inserted in {inserted:.1?}, \
         lists in {tended:.1?}, {bytes:.0} bytes a row; a search takes {:.0?}, p99 {:.0?}; \
         recall {:.4} of {there}",
        if adopted > 0 { "half" } else { "none" },
        times[QUESTIONS / 2],
        times[QUESTIONS * 99 / 100],
        found as f64 / there.max(1) as f64,
    );
}

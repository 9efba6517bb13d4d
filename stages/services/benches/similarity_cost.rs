//! What similar images cost a request, with as many images as an index holds:
//!
//! ```sh
//! cargo bench --workspace --bench similarity_cost --profile dev -- 1000000 520
//! cargo bench --workspace --bench similarity_cost --profile dev -- 1000000 520 compact
//! ```
//!
//! Arguments: rows and the numbers of a vector. The vectors are clustered; all of them are
//! the model's own, then every second one is of the Python service. The questions are
//! asked as the service asks them: the newest 3,000 all compared, threshold 0.85, 25
//! answers.
//!
//! With `compact` behind them the index keeps codes alone. Its memory is measured with rows as
//! they come from a database, and its searches are timed twice: what is done in memory, and all of
//! it with the vectors of 25 and more rows read from a SQLite file, which is made before.

use std::path::Path;
use std::time::{Duration, Instant};

use omnizap_services::store::{FILE_NAME, Store, StoreConfig};
use omnizap_services::vectors::{Found, IndexConfig, Kept, Query, Row, VectorIndex};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseBackend, Statement, TransactionTrait, Value,
};

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
    if std::env::args().any(|argument| argument == "compact") {
        measure_compact(rows, dim);
        return;
    }
    for adopted in [0, 2] {
        measure(rows, dim, adopted);
    }
}

fn question(vector: Vec<f32>) -> Query {
    Query {
        model: "m@1".into(),
        vector: vector.into(),
        threshold: 0.85,
        limit: 25,
        scan: 3_000,
        image_hash: Some("itself".into()),
        content_hash: Some("its bytes".into()),
    }
}

/// The median and the 99th percentile of so many times.
fn percentiles(times: &mut [Duration]) -> [Duration; 2] {
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

const CODES: IndexConfig = IndexConfig {
    max_rows: 1 << 30,
    kept: Kept::Codes,
};

#[expect(clippy::print_stdout, reason = "what a bench is run for")]
fn measure_compact(rows: usize, dim: usize) {
    let mut vectors = Vectors::new(dim);
    let index = VectorIndex::new(CODES);
    let (before, begun) = (resident(), Instant::now());
    for number in 0..rows {
        let name = format!("{number:064x}");
        let row = Row {
            content_hash: Some(name.as_str().into()),
            image_hash: name.into(),
            asset_id: None,
        };
        assert!(index.put(number as i64 + 1, "m@1", row, &vectors.next()));
    }
    let (inserted, bytes) = (begun.elapsed(), (resident() - before) / rows as f64);
    let begun = Instant::now();
    index.tend();
    let tended = begun.elapsed();
    let with_lists = (resident() - before) / rows as f64;
    let (mut times, mut read) = (Vec::new(), Vec::new());
    for _ in 0..QUESTIONS {
        let query = question(vectors.next());
        let begun = Instant::now();
        let found = index.look(&query);
        times.push(begun.elapsed());
        if let Found::Shortlist(list) = found {
            read.push(list.ids(usize::MAX).len());
        }
    }
    let [median, last] = percentiles(&mut times);
    read.sort_unstable();
    println!(
        "{rows} rows of {dim} numbers, codes alone: inserted in {inserted:.1?}, lists in \
         {tended:.1?}, {bytes:.0} bytes a row, {with_lists:.0} with lists; memory is searched in \
         {median:.0?}, p99 {last:.0?}; {} vectors to be read, p99 {}",
        read[QUESTIONS / 2],
        read[QUESTIONS * 99 / 100],
    );
    drop(index);
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    threads
        .expect("threads")
        .block_on(measure_stored(rows, dim));
}

#[expect(clippy::print_stdout, reason = "what a bench is run for")]
async fn measure_stored(rows: usize, dim: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::new(StoreConfig {
        data_dir: folder.path().into(),
        index: CODES,
        ..StoreConfig::default()
    });
    store.migrate().await.expect("a new database");
    let mut vectors = Vectors::new(dim);
    fill(&folder.path().join(FILE_NAME), rows, &mut vectors).await;
    let begun = Instant::now();
    store.start().expect("a database");
    while !store.is_loaded() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let loaded = begun.elapsed();
    while store.index().is_due() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut times = Vec::with_capacity(QUESTIONS);
    let (mut exact, mut found, mut there) = (0, 0, 0);
    let mut off = Vec::new();
    for _ in 0..QUESTIONS {
        let query = question(vectors.next());
        let begun = Instant::now();
        let near = store.similar_images(query.clone()).await;
        times.push(begun.elapsed());
        exact += usize::from(near.is_exact);
        for estimate in store.index().search(&query) {
            let told = near.images.iter();
            let mut told = told.filter(|hit| hit.image_hash == estimate.image_hash);
            off.extend(
                told.next()
                    .map(|hit| (hit.similarity - estimate.similarity).abs()),
            );
        }
        let all = store.similar(Query { scan: 0, ..query }).await;
        there += all.len();
        found += all.iter().filter(|hit| near.images.contains(hit)).count();
    }
    let [median, last] = percentiles(&mut times);
    off.sort_unstable_by(f64::total_cmp);
    println!(
        "the same over SQLite: loaded in {loaded:.1?}; a search takes {median:.0?}, p99 \
         {last:.0?}; {exact} of {QUESTIONS} exact; estimates off by {:.5}, at most {:.5}; \
         recall {:.4} of {there}",
        off.get(off.len() / 2).copied().unwrap_or_default(),
        off.last().copied().unwrap_or_default(),
        found as f64 / there.max(1) as f64,
    );
    store.close().await;
}

/// Rows written at once.
const WRITTEN: usize = 500;

/// Writes rows into the table of images, as they are after a while.
async fn fill(file: &Path, rows: usize, vectors: &mut Vectors) {
    let mut options = ConnectOptions::new(format!("sqlite://{}", file.display()));
    options.max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.expect("the database");
    let one = "(?, ?, 'm@1', ?, ?)";
    for first in (0..rows).step_by(WRITTEN) {
        let count = WRITTEN.min(rows - first);
        let sql = format!(
            "INSERT INTO clip_image_embedding_cache \
             (image_hash, content_hash, model_name, embedding_dim, embedding) VALUES {}",
            vec![one; count].join(", ")
        );
        let values: Vec<Value> = (first..first + count)
            .flat_map(|number| {
                let name = format!("{number:064x}");
                let vector = vectors.next();
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                let dim = vector.len() as i32;
                [name.clone().into(), name.into(), dim.into(), bytes.into()]
            })
            .collect();
        let statement = Statement::from_sql_and_values(DatabaseBackend::Sqlite, sql, values);
        let transaction = db.begin().await.expect("a transaction");
        transaction.execute_raw(statement).await.expect("rows");
        transaction.commit().await.expect("room");
    }
    db.close().await.expect("an end");
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
        let query = question(vectors.next());
        let begun = Instant::now();
        let hits = index.search(&query);
        times.push(begun.elapsed());
        let all = index.search(&Query { scan: 0, ..query });
        there += all.len();
        found += all.iter().filter(|hit| hits.contains(hit)).count();
    }
    let [median, last] = percentiles(&mut times);
    println!(
        "{rows} rows of {dim} numbers, {} of the Python service: inserted in {inserted:.1?}, \
         lists in {tended:.1?}, {bytes:.0} bytes a row; a search takes {median:.0?}, p99 {last:.0?}; \
         recall {:.4} of {there}",
        if adopted > 0 { "half" } else { "none" },
        found as f64 / there.max(1) as f64,
    );
}

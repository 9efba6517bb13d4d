//! Answers the questions of `similarity.py`, which sets this index beside others.
//!
//! Arguments: a folder with `rows.f32` and `questions.f32` (little-endian, `[rows, dim]`)
//! and the dimension. Then a line `MODE FIRST END` on the standard input gives one line
//! `MICROSECONDS ROW ROW ...` a question: MODE is how many of the newest rows are all
//! looked at, 0 for all.

use std::io::{BufRead, BufWriter, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use omnizap_services::vectors::{IndexConfig, Query, Row, VectorIndex};

const MODEL: &str = "measured@1";

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("a file of floats");
    let floats = bytes.as_chunks::<4>().0.iter();
    floats.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn fill(index: &VectorIndex, rows: &[f32], dim: usize) {
    for (number, vector) in rows.chunks_exact(dim).enumerate() {
        let row = Row {
            image_hash: number.to_string().into(),
            content_hash: Some(format!("{number:064x}").into()),
            asset_id: None,
        };
        assert!(index.insert(MODEL, row, vector));
    }
}

/// Resident memory in bytes, as far as the system tells it.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0.0) * 4096.0
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [folder, dim] = arguments.as_slice() else {
        eprintln!("run stages/services/benches/similarity.py, which makes the data");
        return;
    };
    let (folder, dim) = (PathBuf::from(folder), dim.parse().expect("a dimension"));
    let rows = floats(&folder.join("rows.f32"));
    let questions = floats(&folder.join("questions.f32"));
    let kept = folder.join("index");
    let (before, begun) = (resident(), Instant::now());
    let index = VectorIndex::kept_in(kept.clone(), IndexConfig::default());
    fill(&index, &rows, dim);
    let inserted = begun.elapsed().as_secs_f64();
    index.tend();
    let built = begun.elapsed().as_secs_f64();
    let bytes = (resident() - before) / index.len() as f64;
    let begun = Instant::now();
    let second = VectorIndex::kept_in(kept, IndexConfig::default());
    second.restore();
    let read = begun.elapsed().as_secs_f64();
    fill(&second, &rows, dim);
    let loaded = begun.elapsed().as_secs_f64();
    assert_eq!((second.built(), second.partitioned()), (0, index.len()));
    drop(second);
    drop(rows);
    let mut out = BufWriter::new(stdout().lock());
    let facts = format!("{inserted} {built} {bytes} {read} {loaded}");
    writeln!(out, "{facts}").expect("an open output");
    out.flush().expect("an open output");
    for line in stdin().lock().lines() {
        let line = line.expect("a line");
        let numbers: Vec<usize> = line.split(' ').filter_map(|n| n.parse().ok()).collect();
        let &[scan, first, end] = numbers.as_slice() else {
            return;
        };
        for vector in questions.chunks_exact(dim).take(end).skip(first) {
            let query = Query {
                model: MODEL.into(),
                vector: vector.into(),
                threshold: -1.0,
                limit: 10,
                scan,
                image_hash: None,
                content_hash: None,
            };
            let begun = Instant::now();
            let hits = index.search(&query);
            let micros = begun.elapsed().as_secs_f64() * 1e6;
            let names: Vec<_> = hits.iter().map(|hit| &*hit.image_hash).collect();
            writeln!(out, "{micros} {}", names.join(" ")).expect("an open output");
        }
        out.flush().expect("an open output");
    }
}

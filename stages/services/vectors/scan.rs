//! The scan of every row: codes first, by all threads that are free.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::codes::Question;
use super::collect::Collector;
use super::view::{RowNumber, SEGMENT_ROWS, View};

/// Rows that a thread takes at a time.
const BLOCK_ROWS: usize = 16 * SEGMENT_ROWS;

/// Rows from which on other threads help.
const PARALLEL_ROWS: usize = 4 * BLOCK_ROWS;

/// Most threads of one scan: memory is what they wait for.
const MAX_THREADS: usize = 8;

/// A scan that several threads may work on.
struct Scan {
    view: View,
    rows: Range<RowNumber>,
    /// What makes of a row's number its place.
    matrix: u64,
    question: Arc<Question>,
    empty: Collector,
    /// Blocks that some thread has begun.
    begun: AtomicUsize,
    blocks: usize,
}

/// Every row of `rows` that may be wanted. A row's place is its number with the bits of
/// `matrix`.
pub(super) fn scan(
    view: &View,
    rows: Range<RowNumber>,
    matrix: u64,
    question: &Arc<Question>,
    collector: Collector,
) -> Collector {
    let count = rows.end.saturating_sub(rows.start) as usize;
    if count == 0 {
        return collector;
    }
    let scan = Arc::new(Scan {
        view: view.clone(),
        rows,
        matrix,
        question: question.clone(),
        empty: collector,
        begun: AtomicUsize::new(0),
        blocks: count.div_ceil(BLOCK_ROWS),
    });
    let (sender, results) = channel();
    // The caller works too and waits for nobody who has not begun: threads that are
    // busy with something else cost nothing.
    if count >= PARALLEL_ROWS {
        for _ in 1..rayon::current_num_threads().min(MAX_THREADS) {
            let (scan, sender) = (scan.clone(), sender.clone());
            rayon::spawn(move || scan.work(&sender));
        }
    }
    scan.work(&sender);
    drop(sender);
    let mut collected = scan.empty.clone();
    let mut done = 0;
    while done < scan.blocks {
        let Ok((blocks, found)) = results.recv() else {
            break;
        };
        done += blocks;
        collected.merge(found);
    }
    collected
}

impl Scan {
    fn work(&self, results: &Sender<(usize, Collector)>) {
        let mut collector = self.empty.clone();
        let mut products = vec![0; SEGMENT_ROWS];
        let mut done = 0;
        loop {
            let block = self.begun.fetch_add(1, Ordering::Relaxed);
            if block >= self.blocks {
                break;
            }
            let start = self.rows.start + (block * BLOCK_ROWS) as u64;
            let end = self.rows.end.min(start + BLOCK_ROWS as u64);
            self.scan(start..end, &mut products, &mut collector);
            done += 1;
        }
        if done > 0 {
            // Nobody waits only where the caller has gone.
            let _ = results.send((done, collector));
        }
    }

    fn scan(&self, rows: Range<RowNumber>, products: &mut [i32], collector: &mut Collector) {
        let mut row = rows.start;
        while row < rows.end {
            let (segment, first) = self.view.place(row);
            let count = (SEGMENT_ROWS - first).min((rows.end - row) as usize);
            let products = &mut products[..count];
            segment.codes.products(first, &self.question, products);
            for (place, &product) in products.iter().enumerate() {
                let fit = segment.codes.fit(first + place);
                let estimate = fit.estimate(product, &self.question);
                collector.offer(estimate, self.matrix | (row + place as u64));
            }
            row += count as u64;
        }
    }
}

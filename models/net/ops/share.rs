//! How threads share the work of a tower.
//!
//! One picture alone is split: each operation gives pieces of its output to whoever is free, hundreds
//! of times a picture. A thread that sleeps takes longer to wake than many a piece takes, so while a
//! tower runs the others look for pieces without sleeping. Several pictures are not split: each
//! thread computes one of its own, from the first operation to the last, and waits for nobody.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

/// How often a thread looks for a piece before it offers its core to others.
const LOOKS: u32 = 32;

thread_local! {
    /// Whether this thread shares none of its operations.
    static ALONE: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread looks for pieces, or runs a tower, below what it does now.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// Sets a flag of this thread until it is dropped, even by a panic.
struct Set(&'static std::thread::LocalKey<Cell<bool>>, bool);

impl Set {
    fn new(flag: &'static std::thread::LocalKey<Cell<bool>>) -> Self {
        Self(flag, flag.replace(true))
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Runs on one of rayon's threads, so that the hundreds of operations of a tower share work with
/// the others from there and do not each hand it over and wait.
pub(crate) fn on_the_pool<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| {
        // Between its own pieces this thread must not begin to look for others: it would look until it
        // itself is done.
        let _own = Set::new(&LOOKING);
        let _awake = Awake::new();
        run()
    })
}

/// Runs something for each of so many pictures, and gives what came of them in their order: as many
/// at a time as there are threads, each with a thread of its own, and those that are left over
/// together, shared by all threads.
pub(crate) fn for_pictures<T: Send>(
    count: usize,
    run: impl Fn(Range<usize>) -> T + Send + Sync,
) -> Vec<T> {
    let threads = rayon::current_num_threads();
    let with_their_own = match threads {
        1 => 0,
        _ => count / threads * threads,
    };
    let pictures = (0..with_their_own).into_par_iter().with_max_len(1);
    let each = pictures.map(|picture| alone(|| run(picture..picture + 1)));
    let mut found: Vec<T> = each.collect();
    if with_their_own < count {
        found.push(on_the_pool(|| run(with_their_own..count)));
    }
    found
}

/// Runs what no other thread takes part in.
fn alone<T>(run: impl FnOnce() -> T) -> T {
    let _alone = Set::new(&ALONE);
    run()
}

/// Threads among which an operation is shared.
pub(super) fn threads() -> usize {
    match ALONE.get() {
        true => 1,
        false => rayon::current_num_threads(),
    }
}

/// Numbers of pieces that are weighed against each other.
const TRIED: usize = 4;

/// Rows of a piece, `most` at most, when those of so many images are shared among threads: so many
/// that every thread has as much to do.
pub(super) fn rows_of_a_piece(images: usize, rows: usize, most: usize, threads: usize) -> usize {
    let fewest = rows.div_ceil(most.clamp(1, rows));
    if images.is_multiple_of(threads) {
        return rows.div_ceil(fewest);
    }
    let pieces = (fewest.next_multiple_of(threads)..).step_by(threads);
    let each = pieces.take(TRIED).map(|pieces| rows.div_ceil(pieces));
    let of_a_thread = |each: &usize| each * rows.div_ceil(*each).div_ceil(threads);
    each.min_by_key(of_a_thread).unwrap_or(rows)
}

/// Has each piece of so many elements made, the last one maybe shorter, by whoever is free.
pub(super) fn pieces(
    elements: &mut [f32],
    length: usize,
    make: impl Fn(usize, &mut [f32]) + Send + Sync,
) {
    let is_one = elements.len() <= length;
    if is_one || threads() == 1 {
        for (i, piece) in elements.chunks_mut(length).enumerate() {
            make(i, piece);
        }
        return;
    }
    elements
        .par_chunks_mut(length)
        .enumerate()
        .for_each(|(i, piece)| make(i, piece));
}

/// The same of images of so many elements: no piece reaches from one into the next. `make` is given
/// the number of the image, that of the piece within it, and the piece.
pub(super) fn pieces_of_images(
    elements: &mut [f32],
    image: usize,
    length: usize,
    make: impl Fn(usize, usize, &mut [f32]) + Send + Sync,
) {
    let images = elements.chunks_mut(image).enumerate();
    let pieces = images.flat_map(|(n, image)| {
        let pieces = image.chunks_mut(length).enumerate();
        pieces.map(move |(i, piece)| (n, i, piece))
    });
    if threads() == 1 {
        return pieces.for_each(|(n, i, piece)| make(n, i, piece));
    }
    let pieces: Vec<_> = pieces.collect();
    pieces
        .into_par_iter()
        .for_each(|(n, i, piece)| make(n, i, piece));
}

/// Keeps the other threads of the pool from sleeping until it is dropped.
struct Awake(Arc<AtomicBool>);

impl Awake {
    fn new() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        for _ in 1..threads() {
            let is_over = is_over.clone();
            // Nobody waits for its end: it may have taken up something longer meanwhile.
            rayon::spawn(move || look_for_pieces(&is_over));
        }
        Self(is_over)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Does what there is to do on the pool, until it is over. Within what it does then, a thread does not
/// begin to look again, or towers that overlap for ever would fill its stack.
fn look_for_pieces(is_over: &AtomicBool) {
    if LOOKING.get() {
        return;
    }
    let _looking = Set::new(&LOOKING);
    let mut in_vain = 0;
    while !is_over.load(Ordering::Acquire) {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            in_vain = 0;
            continue;
        }
        in_vain += 1;
        match in_vain % LOOKS {
            // Whatever else wants to run on this core goes first.
            0 => std::thread::yield_now(),
            _ => std::hint::spin_loop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;

    /// Each piece's number is written into it.
    fn numbered(length: usize) -> (Vec<f32>, BTreeSet<String>) {
        let by = Mutex::new(BTreeSet::new());
        let mut elements = vec![f32::NAN; 10];
        pieces(&mut elements, length, |i, piece| {
            piece.fill(i as f32);
            let thread = format!("{:?}", std::thread::current().id());
            by.lock().unwrap().insert(thread);
        });
        (elements, by.into_inner().unwrap())
    }

    #[test]
    fn every_piece_is_made_once_whoever_does() {
        let expected = [0., 0., 0., 1., 1., 1., 2., 2., 2., 3.];
        assert_eq!(on_the_pool(|| numbered(3)).0, expected);
        let (elements, by) = on_the_pool(|| alone(|| numbered(3)));
        assert_eq!(elements, expected);
        assert_eq!(by.len(), 1, "nobody else took part");
        assert_eq!(numbered(20).0, [0.0; 10]);
    }

    #[test]
    fn threads_have_as_much_to_do_as_each_other() {
        for (images, rows, most, threads, expected) in [
            (1, 32, 6, 1, 6),
            (1, 32, 6, 2, 4), // not 6, with 18 rows for one and 14 for the other
            (1, 32, 13, 2, 8),
            (1, 16, 100, 2, 8),
            (2, 32, 6, 2, 6), // an image each
            (3, 32, 6, 2, 4),
            (1, 7, 0, 2, 1),
            (1, 1, 5, 16, 1),
            (1, 100, 100, 16, 7),
        ] {
            let found = rows_of_a_piece(images, rows, most, threads);
            assert_eq!(found, expected, "{images} of {rows}, {most}, {threads}");
        }
    }

    #[test]
    fn pieces_end_where_their_image_does() {
        let number = || {
            let mut elements = vec![f32::NAN; 10];
            pieces_of_images(&mut elements, 5, 3, |image, i, piece| {
                piece.fill((10 * image + i) as f32);
            });
            elements
        };
        let expected = [0., 0., 0., 1., 1., 10., 10., 10., 11., 11.];
        assert_eq!(on_the_pool(number), expected);
        assert_eq!(alone(number), expected);
    }

    #[test]
    fn a_thread_shares_again_when_what_was_its_own_is_over_or_has_panicked() {
        on_the_pool(|| {
            let all = threads();
            assert_eq!(alone(|| alone(threads)), 1);
            let panicked = std::panic::catch_unwind(|| alone(|| panic!("inside")));
            assert!(panicked.is_err());
            assert_eq!(threads(), all);
        });
    }

    #[test]
    fn pictures_have_a_thread_of_their_own_and_the_rest_shares() {
        let threads = on_the_pool(threads);
        let found = for_pictures(2 * threads + 1, |pictures| (pictures, super::threads()));
        let own = |picture: usize| (picture..picture + 1, 1);
        let mut expected: Vec<_> = (0..2 * threads).map(own).collect();
        if threads == 1 {
            expected.clear();
        }
        let rest = expected.len();
        expected.push((rest..2 * threads + 1, threads));
        assert_eq!(found, expected);
        assert!(for_pictures(0, |pictures| pictures).is_empty());
    }

    #[test]
    fn a_tower_whose_helper_nobody_took_does_not_wait_for_itself() {
        use std::sync::mpsc::channel;
        use std::time::Duration;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
        let pool = pool.unwrap();
        let (begun, taken) = channel();
        let (end, ended) = channel::<()>();
        pool.spawn(move || {
            begun.send(()).unwrap();
            let _ = ended.recv();
        });
        taken.recv().unwrap();
        let (done, is_done) = channel();
        pool.spawn(move || {
            // As when it waits for a piece that another thread took.
            on_the_pool(|| while rayon::yield_now() == Some(rayon::Yield::Executed) {});
            done.send(()).unwrap();
        });
        assert!(is_done.recv_timeout(Duration::from_secs(60)).is_ok());
        drop(end);
    }

    #[test]
    fn towers_that_overlap_all_end() {
        let towers = || {
            for _ in 0..50 {
                let sum = on_the_pool(|| numbered(1).0.iter().sum::<f32>());
                assert_eq!(sum, 45.0);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(towers);
            }
        });
    }
}

//! What the approximate index finds, beside what there is.

use std::collections::HashSet;

use super::*;

const DIM: usize = 64;

/// Rows in clusters of uneven sizes, drawn from a seed.
pub(super) fn clustered(rows: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = fastrand::Rng::with_seed(seed);
    // A sum of uniform numbers is near enough to a normal one.
    let mut normal = || (0..4).map(|_| random.f32() - 0.5).sum::<f32>();
    let centres: Vec<Vec<f32>> = (0..200)
        .map(|_| (0..DIM).map(|_| normal()).collect())
        .collect();
    let mut choice = fastrand::Rng::with_seed(seed + 1);
    let place = |n: f32| ((n * n) * centres.len() as f32) as usize;
    (0..rows)
        .map(|_| {
            let centre = &centres[place(choice.f32())];
            centre.iter().map(|x| x + 0.7 * normal()).collect()
        })
        .collect()
}

pub(super) fn filled(index: &VectorIndex, rows: &[Vec<f32>]) {
    for (number, vector) in rows.iter().enumerate() {
        assert!(index.insert("m@1", row(&number.to_string()), vector));
    }
}

fn asked(vector: &[f32], scan: usize, limit: usize) -> Query {
    Query {
        threshold: -1.0,
        limit,
        scan,
        ..query(vector)
    }
}

fn recall(index: &VectorIndex, questions: &[Vec<f32>], limit: usize) -> f64 {
    let mut found = 0;
    for question in questions {
        let exact = index.search(&asked(question, 0, limit));
        let near = index.search(&asked(question, 1, limit));
        let names: HashSet<_> = near.iter().map(|hit| &hit.image_hash).collect();
        found += exact
            .iter()
            .filter(|hit| names.contains(&hit.image_hash))
            .count();
    }
    found as f64 / (questions.len() * limit) as f64
}

#[test]
fn nearly_all_of_the_best_are_found_without_looking_at_all() {
    let rows = clustered(20_200, 1);
    let (rows, questions) = rows.split_at(20_000);
    let index = VectorIndex::default();
    filled(&index, rows);
    assert!(index.is_due());
    index.tend();
    assert!(!index.is_due());
    assert_eq!((index.built(), index.partitioned()), (1, 20_000));
    for (limit, least) in [(10, 0.99), (25, 0.98), (100, 0.98)] {
        let recall = recall(&index, questions, limit);
        eprintln!("recall@{limit}: {recall}");
        assert!(recall >= least, "{limit}: {recall}");
    }
    let cost = index.cost(&asked(&rows[0], 1, 10));
    assert!(cost < 20_000 / 4, "{cost}");
    // Rows that come later are found as well, and once.
    let later = clustered(3_000, 1);
    for (number, vector) in later.iter().enumerate() {
        assert!(index.insert("m@1", row(&format!("later {number}")), vector));
    }
    assert_eq!(index.built(), 1);
    let at = 17;
    let hits = index.search(&asked(&later[at], 1, 10));
    assert_eq!(
        hits.iter()
            .filter(|hit| *hit.image_hash == *format!("later {at}"))
            .count(),
        1
    );
}

/// Vectors of many kinds, the last 200 to ask with.
fn kinds() -> Vec<(&'static str, Vec<Vec<f32>>)> {
    const ROWS: usize = 6_200;
    let mut random = fastrand::Rng::with_seed(31);
    let mut near = |centre: &[f32], noise: f32| -> Vec<f32> {
        let noises = centre.iter().map(|x| x + noise * (random.f32() - 0.5));
        noises.collect()
    };
    let mut around = |centres: usize, noise: f32| -> Vec<Vec<f32>> {
        let centres: Vec<_> = (0..centres).map(|_| near(&[0.0; DIM], 1.0)).collect();
        let rows = (0..ROWS).map(|number| near(&centres[number % centres.len()], noise));
        rows.collect()
    };
    vec![
        ("in no clusters", around(1, 1_000.0)),
        ("in one cluster", around(1, 1.0)),
        ("in few clusters", around(5, 1.0)),
        ("in many clusters", around(1_500, 1.0)),
        ("nearly the same 20 times", around(ROWS / 20, 0.05)),
        ("the same 31 times", around(ROWS / 31, 0.0)),
    ]
}

#[test]
fn a_search_that_ends_early_loses_next_to_nothing_whatever_the_vectors() {
    for (what, rows) in kinds() {
        let (rows, questions) = rows.split_at(rows.len() - 200);
        let index = VectorIndex::default();
        filled(&index, rows);
        index.tend();
        for limit in [1, 10, 100] {
            let early = recall(&index, questions, limit);
            let freedom = set_freedom(&index, stop::NONE);
            let all = recall(&index, questions, limit);
            set_freedom(&index, freedom);
            eprintln!("{what}, {limit}: {early} of {all}, freedom {freedom}");
            assert!(early >= all - 0.01, "{what}, {limit}: {early} of {all}");
        }
    }
}

/// Sets how soon searches end; gives what it was.
fn set_freedom(index: &VectorIndex, freedom: f32) -> f32 {
    let mut models = index.write();
    let partition = models.get_mut("m@1").unwrap().partition.as_mut().unwrap();
    std::mem::replace(&mut partition.freedom, freedom)
}

#[test]
fn a_threshold_is_met_by_all_answers_and_reached_by_all_copies() {
    let mut rows = clustered(8_000, 5);
    let theme = rows[11].clone();
    for number in 0..60 {
        let copy = theme.iter().enumerate();
        rows.insert(
            number * 100,
            copy.map(|(n, x)| x + ((n + number) % 7) as f32 * 0.01)
                .collect(),
        );
    }
    let index = VectorIndex::default();
    filled(&index, &rows);
    index.tend();
    for limit in [25, 100] {
        let exact = Query {
            limit,
            ..query(&theme)
        };
        let near = Query {
            scan: 1,
            ..exact.clone()
        };
        let hits = index.search(&near);
        assert!(hits.len() >= limit.min(60) && hits.len() <= limit);
        assert!(hits.iter().all(|hit| hit.similarity >= 0.85));
        assert_eq!(hits, index.search(&exact));
    }
}

#[test]
fn the_newest_are_all_looked_at_and_older_ones_do_not_vanish() {
    let rows = clustered(5_000, 7);
    let index = VectorIndex::default();
    filled(&index, &rows);
    let oldest = asked(&rows[0], 100, 1);
    assert_eq!(names(&index.search(&oldest)), ["0"], "no lists yet");
    assert_eq!(index.cost(&oldest), 5_000);
    index.tend();
    assert!(index.cost(&oldest) < 5_000);
    assert_eq!(names(&index.search(&oldest)), ["0"]);
    // A row on the other side of every list is found all the same while it is new.
    let odd: Vec<f32> = (0..DIM).map(|n| if n == 3 { -9.0 } else { 0.0 }).collect();
    assert!(index.insert("m@1", row("odd"), &odd));
    assert_eq!(names(&index.search(&asked(&odd, 100, 1))), ["odd"]);
}

#[test]
fn searches_go_on_while_rows_come_and_a_partition_is_built() {
    let rows = clustered(6_000, 9);
    let index = VectorIndex::default();
    filled(&index, &rows[..3_000]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for (number, vector) in rows.iter().enumerate().skip(3_000) {
                assert!(index.insert("m@1", row(&number.to_string()), vector));
            }
        });
        let builder = scope.spawn(|| index.tend());
        let mut searches = 0;
        while !(writer.is_finished() && builder.is_finished()) || searches == 0 {
            for scan in [0, 10] {
                let asked = asked(&rows[5], scan, 5);
                let hits = index.search(&asked);
                assert_eq!(hits.len(), 5);
                assert!(scan != 0 || &*hits[0].image_hash == "5");
            }
            searches += 1;
        }
    });
    index.tend();
    assert_eq!(index.partitioned(), 6_000);
    let missed = rows.iter().enumerate().filter(|(number, vector)| {
        let hits = index.search(&asked(vector, 1, 1));
        *hits[0].image_hash != *number.to_string()
    });
    assert!(missed.count() < 60);
}

#[test]
fn rows_that_make_room_leave_their_lists() {
    use crate::vectors::matrix::Matrix;
    use crate::vectors::view::SEGMENT_ROWS;
    let mut matrix = Matrix::new(
        DIM,
        IndexConfig {
            max_rows: 3_000,
            ..IndexConfig::default()
        },
    );
    let vectors = clustered(6_000, 11);
    for (number, vector) in vectors.iter().enumerate() {
        if number == 2_900 {
            let trained = train::train(matrix.view(), &AtomicBool::new(false));
            matrix.adopt(trained.unwrap());
        }
        let vector = normalised(vector).unwrap();
        assert!(matrix.insert(row(&number.to_string()), number as u64, &vector));
    }
    let partition = matrix.partition.as_ref().unwrap();
    let mut listed: Vec<_> = partition.lists().flatten().collect();
    listed.sort_unstable();
    let present: Vec<_> = matrix.view().rows().collect();
    assert_eq!(listed, present);
    assert!(present.len() <= 3_000 && present[0] as usize >= SEGMENT_ROWS);
}

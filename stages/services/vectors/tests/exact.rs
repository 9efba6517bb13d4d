//! The scan of bytes gives what a scan of the floats gives, on vectors made to be hard.

use super::codes_alone::{CODES, loaded, told as told_of};
use super::*;
use crate::vectors::kernels::product;

/// A cosine to six decimals.
fn told(cosine: f32) -> f64 {
    (f64::from(cosine.clamp(-1.0, 1.0)) * 1e6).round() / 1e6 + 0.0
}

/// The best of all rows by plain comparison, of those that are told as equal the newer
/// first.
fn plain(rows: &[Vec<f32>], asked: &[f32], threshold: f64, limit: usize) -> Vec<(String, f64)> {
    let asked = normalised(asked).unwrap();
    let mut all: Vec<(f64, usize)> = rows
        .iter()
        .enumerate()
        .map(|(number, row)| (told(product(&normalised(row).unwrap(), &asked)), number))
        .filter(|(similarity, _)| *similarity >= threshold)
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    let best = all.into_iter().take(limit);
    best.map(|(similarity, number)| (number.to_string(), similarity))
        .collect()
}

fn check(rows: &[Vec<f32>], questions: &[Vec<f32>], what: &str) {
    let index = VectorIndex::default();
    for (number, vector) in rows.iter().enumerate() {
        assert!(index.insert("m@1", row(&number.to_string()), vector));
    }
    let codes = loaded(CODES, rows);
    for question in questions {
        for (threshold, limit) in [(-1.0, 1), (-1.0, 10), (-1.0, 100), (0.5, 25), (0.9999, 7)] {
            let asked = Query {
                threshold,
                limit,
                ..query(question)
            };
            let named = |hits: Vec<Hit>| -> Vec<_> {
                let hits = hits.into_iter();
                hits.map(|hit| (hit.image_hash.to_string(), hit.similarity))
                    .collect()
            };
            let expected = plain(rows, question, threshold, limit);
            let hits = named(index.search(&asked));
            assert_eq!(hits, expected, "{what}, {threshold}, {limit}");
            let (similar, _) = told_of(&codes, rows, &asked, usize::MAX);
            assert!(similar.is_exact);
            let hits = named(similar.images);
            assert_eq!(hits, expected, "codes of {what}, {threshold}, {limit}");
        }
    }
}

#[test]
fn the_scan_of_bytes_gives_what_the_scan_of_floats_gives() {
    for (dim, seed) in [(1, 1), (2, 2), (17, 3), (64, 4), (200, 5), (520, 6)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let noise = |size: f32, random: &mut fastrand::Rng| -> Vec<f32> {
            (0..dim)
                .map(|_| (random.f32() - 0.5) * size + 1e-6)
                .collect()
        };
        let around = |centre: &[f32], size: f32, random: &mut fastrand::Rng| -> Vec<f32> {
            let noise = noise(size, random);
            centre.iter().zip(noise).map(|(a, b)| a + b).collect()
        };
        let centre = noise(1.0, &mut random);
        let far: Vec<_> = (0..700).map(|_| noise(1.0, &mut random)).collect();
        // Closer together than bytes can tell, and equal ones among them.
        let mut near: Vec<_> = (0..2000)
            .map(|_| around(&centre, 1e-4, &mut random))
            .collect();
        near.extend(vec![centre.clone(); 300]);
        // One number rules each vector: the others are lost in bytes.
        let spiked: Vec<_> = (0..700)
            .map(|number| {
                let mut vector = noise(0.01, &mut random);
                vector[number % dim] = if number % 2 == 0 { 5.0 } else { -5.0 };
                vector
            })
            .collect();
        let questions = [centre, noise(1.0, &mut random), spiked[3].clone()];
        check(&far, &questions, "far apart");
        check(&near, &questions, "close together");
        check(&spiked, &questions, "spiked");
        let all = [far, near, spiked].concat();
        check(&all, &questions, "all together");
    }
}

#[test]
fn many_threads_find_what_one_finds() {
    let mut random = fastrand::Rng::with_seed(9);
    let rows: Vec<Vec<f32>> = (0..20_000)
        .map(|_| (0..8).map(|_| random.f32() - 0.5).collect())
        .collect();
    let questions: Vec<_> = rows.iter().step_by(7_000).cloned().collect();
    check(&rows, &questions, "in parallel");
}

#[test]
fn the_image_itself_under_many_keys_leaves_room_for_the_others() {
    let index = VectorIndex::default();
    for number in 0..3000 {
        let own = Row {
            image_hash: "itself".into(),
            ..row(&number.to_string())
        };
        assert!(index.insert("m@1", own, &[1.0, 0.0]));
    }
    assert!(index.insert("m@1", row("other"), &[1.0, 0.2]));
    let asked = Query {
        image_hash: Some("itself".into()),
        ..query(&[1.0, 0.0])
    };
    assert_eq!(names(&index.search(&asked)), ["other"]);
}

//! Rows of the Python service, whose model has no fingerprint of its weights, among those
//! of the model itself: by their age, whatever the sizes of both.

use std::collections::HashSet;

use super::recall::clustered;
use super::*;

fn adopted(name: &str) -> Row {
    Row {
        content_hash: None,
        ..row(name)
    }
}

/// Rows of both kinds as `is_adopted` says of each.
fn mixed(rows: &[Vec<f32>], is_adopted: impl Fn(usize) -> bool) -> VectorIndex {
    let index = VectorIndex::default();
    for (number, vector) in rows.iter().enumerate() {
        let name = number.to_string();
        assert!(match is_adopted(number) {
            true => index.insert("m", adopted(&name), vector),
            false => index.insert("m@1", row(&name), vector),
        });
    }
    index
}

#[test]
fn adopted_rows_stay_however_many_own_ones_come() {
    for (old, own, scan) in [
        (1_500, 1_000, 3_000),
        (1_500, 3_000, 3_000),
        (2_040, 3_000, 3_000),
        (2_100, 3_000, 3_000),
        (3_102, 1_000, 4_000),
        (1_500, 5_000, 1),
        (10, 2_500, 500),
        (5_000, 10, 500),
    ] {
        let rows = clustered(old + own, 41);
        let index = mixed(&rows, |number| number < old);
        for is_tended in [false, true] {
            for asked in [3, old - 1, old, old + own - 1] {
                let asked = Query {
                    scan,
                    limit: 1,
                    ..query(&rows[asked])
                };
                let of_all = Query {
                    scan: 0,
                    ..asked.clone()
                };
                let found = index.search(&asked);
                assert_eq!(found, index.search(&of_all), "{old}, {own}, {is_tended}");
                assert_eq!(found[0].similarity, 1.0);
            }
            index.tend();
        }
    }
}

#[test]
fn the_newest_of_both_kinds_are_all_compared() {
    // Rows that no list leads to: one on the other side of everything, alone.
    const DIM: usize = 64;
    let rows = clustered(6_000, 43);
    let is_adopted = |number: usize| number.is_multiple_of(3);
    let index = mixed(&rows, is_adopted);
    index.tend();
    let is_partitioned = |name: &str| index.read()[name].partition.is_some();
    assert!(is_partitioned("m@1") && !is_partitioned("m"));
    for scan in [1, 10, 999, 3_000] {
        let views: Vec<_> = {
            let models = index.read();
            ["m@1", "m"].map(|name| models[name].view().clone()).into()
        };
        let mut newest: Vec<_> = views
            .iter()
            .zip(search::begins(&views, scan))
            .flat_map(|(view, begin)| {
                let rows = view.live_rows().filter(move |row| *row >= begin);
                rows.filter_map(|row| view.row(row))
            })
            .map(|row| row.image_hash.parse::<usize>().unwrap())
            .collect();
        newest.sort_unstable();
        let expected: Vec<_> = (rows.len() - scan..rows.len()).collect();
        assert_eq!(newest, expected, "{scan}");
    }
    let odd: Vec<f32> = (0..DIM).map(|n| if n == 3 { -9.0 } else { 0.0 }).collect();
    assert!(index.insert("m", adopted("odd"), &odd));
    for (number, vector) in rows[..90].iter().enumerate() {
        assert!(index.insert("m@1", row(&format!("later {number}")), vector));
    }
    let asked = Query {
        scan: 100,
        ..query(&odd)
    };
    assert_eq!(names(&index.search(&asked)), ["odd"]);
}

#[test]
fn of_equals_the_newer_comes_first_whatever_its_kind() {
    let rows = vec![vec![1.0, 0.5]; 40];
    let index = mixed(&rows, |number| number % 2 == 0);
    let hits = index.search(&query(&[1.0, 0.5]));
    let expected: Vec<_> = (15..40).rev().map(|number| number.to_string()).collect();
    assert_eq!(names(&hits), expected);
    assert_eq!(
        hits.iter()
            .map(|hit| &hit.image_hash)
            .collect::<HashSet<_>>()
            .len(),
        25
    );
}

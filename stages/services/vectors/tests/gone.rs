//! Images that the database says are gone, or are others now.

use std::collections::HashMap;

use super::recall::clustered;
use super::*;

fn filled(rows: &[Vec<f32>]) -> VectorIndex {
    let index = VectorIndex::default();
    for (number, vector) in rows.iter().enumerate() {
        assert!(index.put(number as i64 + 1, "m@1", row(&number.to_string()), vector));
    }
    index
}

fn all(vector: &[f32], scan: usize) -> Query {
    Query {
        threshold: -1.0,
        limit: 100,
        scan,
        ..query(vector)
    }
}

#[test]
fn what_is_gone_is_found_by_nothing() {
    let rows = clustered(5_000, 51);
    let index = filled(&rows);
    let gone: Vec<i64> = (1..=5_000).filter(|id| id % 3 == 0).collect();
    let is_gone = |name: &str| (name.parse::<i64>().unwrap() + 1) % 3 == 0;
    for is_tended in [false, true] {
        if is_tended {
            index.tend();
        } else {
            assert_eq!(index.remove(&gone), gone.len());
            assert_eq!(index.remove(&gone), 0);
        }
        assert_eq!(index.len(), 5_000 - gone.len());
        for vector in rows.iter().step_by(97) {
            for scan in [0, 1, 500] {
                let hits = index.search(&all(vector, scan));
                assert_eq!(hits.len(), 100);
                assert!(!hits.iter().any(|hit| is_gone(&hit.image_hash)), "{scan}");
            }
        }
    }
    // While there are lists, too, and the room is taken back.
    let rest: Vec<i64> = (1..=4_900).collect();
    index.remove(&rest);
    for is_tended in [false, true] {
        if is_tended {
            index.tend();
        }
        for scan in [0, 1, 500] {
            let hits = index.search(&all(&rows[0], scan));
            assert_eq!(hits.len(), index.len(), "{scan}");
        }
    }
    let left: Vec<i64> = (4_901..=5_000).filter(|id| id % 3 != 0).collect();
    let mut ids = index.ids(0..=i64::MAX);
    ids.sort_unstable();
    assert_eq!(ids, left);
    // They may come again.
    for (number, vector) in rows.iter().enumerate() {
        assert!(index.put(number as i64 + 1, "m@1", row(&number.to_string()), vector));
    }
    assert_eq!(index.len(), 5_000);
    let hits = index.search(&Query {
        limit: 1,
        ..all(&rows[2], 1)
    });
    assert_eq!(names(&hits), ["2"]);
}

#[test]
fn a_row_that_is_changed_is_found_as_it_is_now() {
    let rows = clustered(3_000, 53);
    let index = filled(&rows);
    index.tend();
    let other: Vec<f32> = rows[7].iter().map(|x| -x).collect();
    let renamed = Row {
        image_hash: "renamed".into(),
        asset_id: Some("a".into()),
        ..row("7")
    };
    index.put(8, "m@1", renamed.clone(), &other);
    for scan in [0, 1] {
        let best = index.search(&Query {
            scan,
            limit: 1,
            ..query(&other)
        });
        assert_eq!(names(&best), ["renamed"]);
        assert_eq!(best[0].asset_id.as_deref(), Some("a"));
        let hits = index.search(&all(&rows[7], scan));
        assert!(!names(&hits).contains(&"renamed") && !names(&hits).contains(&"7"));
    }
    // Its asset id is taken away, by whoever may.
    index.put(
        8,
        "m@1",
        Row {
            asset_id: None,
            ..renamed
        },
        &other,
    );
    let best = index.search(&Query {
        limit: 1,
        ..query(&other)
    });
    assert_eq!(best[0].asset_id, None);
    // Another image under the same id, another model's, and none.
    index.put(8, "m@1", row("another"), &other);
    assert_eq!(index.len(), 3_000);
    index.put(8, "m@2", row("another"), &other);
    assert_eq!(
        index.search(&Query {
            limit: 1,
            ..query(&other)
        }),
        []
    );
    assert!(!index.put(8, "m@2", row("another"), &[0.0; 64]));
    assert_eq!(index.len(), 2_999);
    assert_eq!(index.remove(&[8]), 0);
}

#[test]
fn what_the_database_never_had_is_forgotten_by_its_names() {
    let index = index();
    assert_eq!(index.remove_where(|row| &*row.image_hash == "east"), 1);
    assert_eq!(names(&index.search(&query(&[1.0, 0.0]))), ["near east"]);
}

#[test]
fn random_changes_leave_what_a_plain_map_has() {
    const DIM: usize = 5;
    let mut random = fastrand::Rng::with_seed(55);
    let index = VectorIndex::default();
    let mut plain: HashMap<i64, (String, Vec<f32>)> = HashMap::new();
    for turn in 0..30_000 {
        let id = random.i64(1..9_000);
        if random.u32(..3) == 0 {
            let ids = [id, id + 1];
            let known = ids.iter().filter(|id| plain.remove(id).is_some()).count();
            assert_eq!(index.remove(&ids), known);
        } else {
            // The database has an image under one id only.
            let name = format!("{id} {}", random.u32(..2));
            let vector: Vec<f32> = (0..DIM).map(|_| random.f32() - 0.5).collect();
            assert!(index.put(id, "m@1", row(&name), &vector));
            plain.insert(id, (name, vector));
        }
        if turn % 1_000 == 0 {
            index.tend();
        }
    }
    assert_eq!(index.len(), plain.len());
    let mut ids = index.ids(0..=i64::MAX);
    ids.sort_unstable();
    let mut expected: Vec<_> = plain.keys().copied().collect();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    for (name, vector) in plain.values().take(300) {
        let hits = index.search(&Query {
            limit: 1,
            threshold: 1.0,
            ..query(vector)
        });
        assert_eq!(names(&hits), [name.as_str()]);
    }
}

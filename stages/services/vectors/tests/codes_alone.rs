//! The index that keeps codes alone, beside the one that keeps vectors: with what the database
//! says the answers are the same.

use std::collections::{HashMap, HashSet};

use super::recall::clustered;
use super::*;

pub(super) const CODES: IndexConfig = IndexConfig {
    max_rows: MAX_ROWS,
    kept: Kept::Codes,
};

/// Rows as the database has them: their places are their ids.
pub(super) fn loaded(config: IndexConfig, rows: &[Vec<f32>]) -> VectorIndex {
    let index = VectorIndex::new(config);
    load(&index, rows);
    index
}

fn load(index: &VectorIndex, rows: &[Vec<f32>]) {
    for (number, vector) in rows.iter().enumerate() {
        assert!(index.put(number as i64, "m@1", row(&number.to_string()), vector));
    }
}

/// What is told of a question, by a database of those rows that is asked for so many at most;
/// and for how many it was asked.
pub(super) fn told(
    index: &VectorIndex,
    rows: &[Vec<f32>],
    query: &Query,
    most: usize,
) -> (Similar, usize) {
    let list = match index.look(query) {
        Found::Answer(images) => {
            let is_exact = true;
            return (Similar { images, is_exact }, 0);
        }
        Found::Shortlist(list) => list,
    };
    let ids = list.ids(most);
    let said = ids.iter().filter_map(|id| {
        let vector = rows.get(*id as usize)?.clone();
        Some((*id, stored(&id.to_string(), vector)))
    });
    let said: HashMap<_, _> = said.collect();
    (list.ranked(&ids, &said), ids.len())
}

fn stored(name: &str, vector: Vec<f32>) -> Stored {
    Stored {
        image_hash: name.into(),
        content_hash: Some(name.into()),
        vector,
    }
}

fn all_of(vector: &[f32], limit: usize) -> Query {
    Query {
        threshold: -1.0,
        limit,
        ..query(vector)
    }
}

#[test]
fn answers_are_those_of_whole_vectors_and_few_vectors_are_read_for_them() {
    let made = clustered(6_050, 51);
    let (rows, questions) = made.split_at(6_000);
    let indexes = [IndexConfig::default(), CODES].map(|config| loaded(config, rows));
    for is_tended in [false, true] {
        let mut read = 0;
        for question in questions {
            for asked in [query(question), all_of(question, 10)] {
                let (whole, _) = told(&indexes[0], rows, &asked, 0);
                let (codes, asked_for) = told(&indexes[1], rows, &asked, usize::MAX);
                assert_eq!(codes, whole, "{is_tended}");
                assert!(codes.is_exact);
                read = read.max(asked_for);
            }
        }
        assert!(read > 0 && read < rows.len() / 10, "{read}");
        indexes.iter().for_each(VectorIndex::tend);
        assert!(indexes.iter().all(|index| index.built() == 1));
    }
}

#[test]
fn lists_made_of_codes_lead_to_nearly_all_of_the_best() {
    let made = clustered(20_200, 1);
    let (rows, questions) = made.split_at(20_000);
    let [whole, codes] = [IndexConfig::default(), CODES].map(|config| loaded(config, rows));
    codes.tend();
    assert_eq!((codes.built(), codes.partitioned()), (1, 20_000));
    for (limit, least) in [(10, 0.99), (25, 0.98), (100, 0.98)] {
        let mut found = 0;
        for question in questions {
            let asked = Query {
                scan: 1,
                ..all_of(question, limit)
            };
            let (near, _) = told(&codes, rows, &asked, usize::MAX);
            assert!(near.is_exact);
            let exact = whole.search(&Query { scan: 0, ..asked });
            found += exact.iter().filter(|hit| near.images.contains(hit)).count();
        }
        let recall = found as f64 / (questions.len() * limit) as f64;
        eprintln!("recall@{limit}: {recall}");
        assert!(recall >= least, "{limit}: {recall}");
    }
    assert!(codes.cost(&all_of(&rows[0], 10)) == 20_000);
    let near = Query {
        scan: 1,
        ..all_of(&rows[0], 10)
    };
    assert!(codes.cost(&near) < 20_000 / 4);
}

#[test]
fn what_the_database_does_not_say_is_told_by_estimates() {
    let rows = clustered(3_000, 52);
    let [whole, codes] = [IndexConfig::default(), CODES].map(|config| loaded(config, &rows));
    for vector in rows.iter().step_by(60) {
        let asked = all_of(vector, 10);
        let exact = whole.search(&asked);
        for most in [0, 1, 5] {
            let (near, _) = told(&codes, &rows, &asked, most);
            assert!(!near.is_exact, "{most}");
            assert_eq!(near.images.len(), exact.len());
            for (near, exact) in near.images.iter().zip(&exact) {
                let off = (near.similarity - exact.similarity).abs();
                assert!(off < 0.02, "{most}: {off}");
            }
        }
        assert_eq!(
            codes.search(&asked),
            told(&codes, &rows, &asked, 0).0.images
        );
        // A threshold is met by what is told.
        let least = Query {
            threshold: exact[4].similarity,
            ..asked
        };
        let hits = codes.search(&least);
        assert!(hits.iter().all(|hit| hit.similarity >= least.threshold));
    }
}

#[test]
fn a_row_that_is_gone_or_another_in_the_database_is_no_answer() {
    let rows = vec![
        vec![1.0, 0.1],
        vec![1.0, 0.0],
        vec![1.0, 0.2],
        vec![0.0, 1.0],
    ];
    let index = loaded(CODES, &rows);
    let Found::Shortlist(list) = index.look(&query(&[1.0, 0.0])) else {
        panic!("codes alone");
    };
    let mut ids = list.ids(10);
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2]);
    // 1 is gone, 2 is another image's by now, of 0 there is a vector that is none.
    let said = HashMap::from([
        (0, stored("0", vec![1.0, 0.1])),
        (2, stored("other", vec![1.0, 0.0])),
    ]);
    let similar = list.ranked(&ids, &said);
    assert_eq!(names(&similar.images), ["0"]);
    assert!(similar.is_exact, "there were no others");
    // Where there are others they are missing, and that is told.
    let rows = vec![vec![1.0, 0.0], vec![1.0, 0.5], vec![1.0, 0.6]];
    let index = loaded(CODES, &rows);
    let Found::Shortlist(list) = index.look(&all_of(&[1.0, 0.0], 1)) else {
        panic!("codes alone");
    };
    let ids = list.ids(10);
    assert_eq!(ids, [0], "it is certain to be the best");
    let similar = list.ranked(&ids, &HashMap::new());
    assert_eq!(similar, Similar::default());
}

#[test]
fn an_image_that_the_database_has_not_got_is_exact_all_the_same() {
    let index = VectorIndex::new(CODES);
    let vector = [0.3, 0.71, -0.2];
    assert!(index.insert("m@1", row("new"), &vector));
    assert_eq!(index.unstored(), 1);
    let asked = all_of(&[1.0, 0.5, 0.25], 5);
    let whole = VectorIndex::default();
    assert!(whole.insert("m@1", row("new"), &vector));
    assert_eq!(index.search(&asked), whole.search(&asked));
    assert!(told(&index, &[], &asked, 9).0.is_exact);
    // Once it is stored, the database says its vector; the same one read from it changes nothing.
    assert!(index.number("m@1", 7, &row("new")));
    assert_eq!(index.unstored(), 0);
    assert!(!told(&index, &[], &asked, 0).0.is_exact);
    assert!(index.put(7, "m@1", row("new"), &vector));
    assert_eq!((index.len(), index.ids(0..=9)), (1, vec![7]));
    // Another one counts as written anew.
    assert!(index.put(7, "m@1", row("new"), &[0.3, 0.7, -0.2]));
    assert_eq!((index.len(), index.ids(0..=9)), (1, vec![7]));
    assert!(index.insert("m@1", row("gone"), &vector));
    assert!(index.remove_unnumbered("m@1", &row("gone")));
    assert_eq!((index.len(), index.unstored()), (1, 0));
}

#[test]
fn images_that_the_database_never_takes_are_not_ever_more() {
    let index = VectorIndex::new(CODES);
    let more = 300;
    for number in 0..MAX_UNSTORED + more {
        assert!(index.insert("m@1", row(&number.to_string()), &[1.0, number as f32]));
    }
    assert_eq!(
        (index.len(), index.unstored()),
        (MAX_UNSTORED, MAX_UNSTORED)
    );
    assert_eq!(index.given_up(), more as u64);
    assert!(index.is_whole(), "of what is stored nothing is missing");
    let kept = index.search(&all_of(&[0.0, 1.0], usize::MAX));
    let kept: HashSet<_> = kept.iter().map(|hit| &*hit.image_hash).collect();
    assert!(!kept.contains("299") && kept.contains("300"));
    // They come again once they are stored.
    assert!(index.put(1, "m@1", row("299"), &[1.0, 299.0]));
    assert_eq!(
        (index.len(), index.unstored()),
        (MAX_UNSTORED + 1, MAX_UNSTORED)
    );
    // With vectors in memory all stay.
    let index = VectorIndex::default();
    for number in 0..MAX_UNSTORED + more {
        assert!(index.insert("m@1", row(&number.to_string()), &[1.0, number as f32]));
    }
    assert_eq!(index.len(), MAX_UNSTORED + more);
    assert_eq!((index.unstored(), index.given_up()), (0, 0));
}

#[test]
fn rows_that_are_moved_together_keep_their_margins_and_vectors() {
    let rows = clustered(24_000, 53);
    let index = loaded(CODES, &rows);
    for (number, vector) in rows[..200].iter().enumerate() {
        assert!(index.insert("m@1", row(&format!("new {number}")), vector));
    }
    let gone: Vec<_> = (0..24_000).filter(|id| id % 3 != 0).collect();
    assert_eq!(index.remove(&gone), gone.len());
    index.tend();
    assert_eq!(index.len(), 8_000 + 200);
    let whole = VectorIndex::default();
    for number in (0..rows.len()).step_by(3) {
        assert!(whole.put(
            number as i64,
            "m@1",
            row(&number.to_string()),
            &rows[number]
        ));
    }
    for (number, vector) in rows[..200].iter().enumerate() {
        assert!(whole.insert("m@1", row(&format!("new {number}")), vector));
    }
    assert_eq!(index.unstored(), 200);
    for vector in rows.iter().step_by(500) {
        let asked = all_of(vector, 25);
        let (codes, _) = told(&index, &rows, &asked, usize::MAX);
        assert_eq!(codes.images, whole.search(&asked));
        assert!(codes.is_exact);
    }
}

#[test]
fn a_file_of_one_kind_of_index_is_read_by_the_other() {
    for (first, second) in [
        (IndexConfig::default(), CODES),
        (CODES, IndexConfig::default()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let rows = clustered(4_000, 54);
        let index = VectorIndex::kept_in(folder.path().into(), first);
        load(&index, &rows);
        index.tend();
        assert_eq!(index.built(), 1);
        let index = VectorIndex::kept_in(folder.path().into(), second);
        index.restore();
        load(&index, &rows);
        index.tend();
        assert_eq!((index.built(), index.partitioned()), (0, 4_000));
        let whole = loaded(IndexConfig::default(), &rows);
        let (mut found, mut there) = (0, 0);
        for vector in rows.iter().step_by(40) {
            let near = Query {
                scan: 1,
                ..all_of(vector, 10)
            };
            let exact = whole.search(&near);
            let (near, _) = told(&index, &rows, &near, usize::MAX);
            there += exact.len();
            found += exact.iter().filter(|hit| near.images.contains(hit)).count();
        }
        assert!(found as f64 >= 0.98 * f64::from(there as u32), "{found}");
    }
}

#[test]
fn the_bound_of_rows_is_kept_and_what_made_room_is_counted() {
    for kept in [Kept::Vectors, Kept::Codes] {
        let rows = clustered(3_000, 55);
        let index = loaded(
            IndexConfig {
                max_rows: 1_024,
                kept,
            },
            &rows,
        );
        assert!(!index.is_whole());
        assert_eq!(index.len() as u64 + index.made_room(), 3_000);
        assert!(index.len() <= 1_024 && index.len() > 1_024 - 256);
        let asked = all_of(&rows[2_999], 1);
        let (similar, _) = told(&index, &rows, &asked, 100);
        assert_eq!(names(&similar.images), ["2999"]);
    }
}

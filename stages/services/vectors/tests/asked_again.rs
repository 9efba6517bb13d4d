//! Questions that are asked again, while rows come and go.

use super::recall::{clustered, filled};
use super::*;
use crate::vectors::recent::MOST_COME;

const ROWS: usize = 20_000;

/// An index with lists, and a vector that none of its rows has.
fn partitioned() -> (VectorIndex, Vec<f32>) {
    let mut rows = clustered(ROWS + 1, 3);
    let question = rows.pop().unwrap();
    let index = VectorIndex::default();
    filled(&index, &rows);
    index.tend();
    assert_eq!(index.partitioned(), ROWS);
    (index, question)
}

fn asked(vector: &[f32]) -> Query {
    Query {
        threshold: 0.2,
        limit: 10,
        scan: 100,
        ..query(vector)
    }
}

#[test]
fn the_lists_are_not_looked_at_again_and_the_answer_is_the_same() {
    let (index, question) = partitioned();
    let query = asked(&question);
    let cost = index.cost(&query);
    let hits = index.search(&query);
    assert_eq!((hits.len(), index.recent()), (10, 1));
    assert_eq!(index.cost(&query), 0);
    assert!(cost > 500, "{cost}");
    for _ in 0..2 {
        assert_eq!(index.search(&query), hits);
    }
    // Others are asked for themselves.
    let longer = Query {
        limit: 11,
        ..query.clone()
    };
    assert_eq!(index.search(&longer)[..10], hits);
    let other = Query {
        threshold: 0.999,
        ..query.clone()
    };
    assert!(index.search(&other).is_empty());
    // One that only its last number tells from the first takes its place.
    let mut vector = question.clone();
    *vector.last_mut().unwrap() += 1.0;
    assert_ne!(index.search(&asked(&vector)), hits);
    assert_eq!(index.recent(), 3);
    assert_eq!(index.search(&query), hits);
}

#[test]
fn what_came_since_is_found_and_what_is_gone_is_not() {
    let (index, question) = partitioned();
    let query = asked(&question);
    let before = index.search(&query);
    // Older than the newest that are all looked at, and like the question.
    assert!(index.insert("m@1", row("like it"), &question));
    for number in 0..200 {
        let mut far: Vec<f32> = question.iter().map(|x| -x).collect();
        far[number % 64] += 0.5;
        assert!(index.insert("m@1", row(&format!("far {number}")), &far));
    }
    assert_eq!(index.cost(&query), 201);
    for _ in 0..2 {
        let hits = index.search(&query);
        assert_eq!(index.cost(&query), 0);
        assert_eq!(&*hits[0].image_hash, "like it");
        assert_eq!(hits[1..], before[..9]);
    }
    let gone = before[0].image_hash.clone();
    assert_eq!(index.remove_where(|row| row.image_hash == gone), 1);
    assert!(index.cost(&query) > 100);
    let hits = index.search(&query);
    assert_eq!((&*hits[0].image_hash, hits.len()), ("like it", 10));
    assert_eq!(hits[1..9], before[1..9]);
    // Another name for a row that stays is told.
    let renamed = Row {
        image_hash: "renamed".into(),
        content_hash: before[1].content_hash.clone(),
        asset_id: None,
    };
    assert!(index.insert("m@1", renamed, &question));
    assert_eq!(&*index.search(&query)[1].image_hash, "renamed");
}

#[test]
fn rows_with_other_numbers_and_many_new_ones_are_looked_up_in_lists() {
    let (index, question) = partitioned();
    let query = asked(&question);
    let hits = index.search(&query);
    let kept: Vec<_> = hits.iter().map(|hit| hit.image_hash.clone()).collect();
    let removed = index.remove_where(|row| {
        let number: usize = row.image_hash.parse().unwrap();
        number.is_multiple_of(2) && !kept.contains(&row.image_hash)
    });
    assert!(removed > ROWS / 3);
    assert_eq!(index.search(&query), hits);
    index.tend();
    assert_eq!(index.search(&query), hits);
    assert_eq!(index.cost(&query), 0);
    let more = clustered(MOST_COME as usize + 200, 9);
    for (number, vector) in more.iter().enumerate() {
        assert!(index.insert("m@1", row(&format!("later {number}")), vector));
    }
    assert!(index.cost(&query) > 100);
    let exact = index.search(&Query {
        scan: 0,
        ..query.clone()
    });
    assert_eq!(index.search(&query), exact);
}

#[test]
fn the_questions_asked_last_are_kept_and_no_more() {
    let (index, _) = partitioned();
    for vector in clustered(MAX_RECENT + 5, 11) {
        let _ = index.search(&asked(&vector));
    }
    assert_eq!(index.recent(), MAX_RECENT);
}

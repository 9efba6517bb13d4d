//! What a search finds, whatever it looks at first.

use super::*;

fn row(name: &str) -> Row {
    Row {
        image_hash: name.into(),
        content_hash: Some(name.into()),
        asset_id: None,
    }
}

fn query(vector: &[f32]) -> Query {
    Query {
        model: "m@1".into(),
        vector: vector.into(),
        threshold: 0.85,
        limit: 25,
        scan: 0,
        image_hash: None,
        content_hash: None,
    }
}

fn names(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| &*hit.image_hash).collect()
}

fn index() -> VectorIndex {
    let index = VectorIndex::default();
    assert!(index.insert("m@1", row("east"), &[2.0, 0.0]));
    assert!(index.insert("m@1", row("near east"), &[1.0, 0.1]));
    assert!(index.insert("m@1", row("north"), &[0.0, 1.0]));
    index
}

#[test]
fn the_best_come_first_and_the_threshold_holds() {
    let hits = index().search(&query(&[1.0, 0.0]));
    assert_eq!(names(&hits), ["east", "near east"]);
    assert!((hits[0].similarity - 1.0).abs() < 1e-6);
    assert!((hits[1].similarity - 0.995_037).abs() < 1e-6);
    let all = Query {
        threshold: -1.0,
        limit: 2,
        ..query(&[0.0, 5.0])
    };
    assert_eq!(names(&index().search(&all)), ["north", "near east"]);
}

#[test]
fn the_image_itself_is_no_answer() {
    let by_name = Query {
        image_hash: Some("east".into()),
        ..query(&[1.0, 0.0])
    };
    assert_eq!(names(&index().search(&by_name)), ["near east"]);
    let by_bytes = Query {
        content_hash: Some("near east".into()),
        ..query(&[1.0, 0.0])
    };
    assert_eq!(names(&index().search(&by_bytes)), ["east"]);
    // A row of the Python service is named by its bytes, or as another client names it.
    let index = index();
    for name in ["bytes", "name"] {
        let adopted = Row {
            content_hash: None,
            ..row(name)
        };
        index.insert("m", adopted, &[1.0, 0.0]);
    }
    let by_both = Query {
        image_hash: Some("name".into()),
        content_hash: Some("bytes".into()),
        ..query(&[1.0, 0.0])
    };
    assert_eq!(names(&index.search(&by_both)), ["east", "near east"]);
    let by_name_of_bytes = Query {
        image_hash: Some("other bytes".into()),
        content_hash: Some("new".into()),
        ..query(&[0.0, 1.0])
    };
    let renamed = Row {
        content_hash: Some("other bytes".into()),
        ..row("renamed since")
    };
    index.insert("m@1", renamed, &[0.0, 1.0]);
    assert_eq!(names(&index.search(&by_name_of_bytes)), ["north"]);
}

#[test]
fn a_threshold_is_met_by_what_is_told() {
    let index = VectorIndex::default();
    let mut random = fastrand::Rng::with_seed(3);
    let vectors: Vec<Vec<f32>> = (0..300)
        .map(|_| (0..520).map(|_| random.f32() - 0.5).collect())
        .collect();
    for (number, vector) in vectors.iter().enumerate() {
        // The same picture in other bytes: its length may differ, its direction does not.
        for copy in 0..3 {
            let copied: Vec<_> = vector
                .iter()
                .map(|x| x * (1.0 + copy as f32 / 3.0))
                .collect();
            assert!(index.insert("m@1", row(&format!("{number} {copy}")), &copied));
        }
    }
    for (number, vector) in vectors.iter().enumerate() {
        let exact = Query {
            threshold: 1.0,
            ..query(vector)
        };
        let hits = index.search(&exact);
        let expected = [2, 1, 0].map(|copy| format!("{number} {copy}"));
        assert_eq!(names(&hits), expected);
        assert!(hits.iter().all(|hit| hit.similarity == 1.0));
        // Whatever is told of the others is found by it, and by nothing above it.
        let all = Query {
            threshold: -1.0,
            limit: 10,
            ..query(vector)
        };
        let last = index.search(&all)[9].similarity;
        for (threshold, is_met) in [(last, true), (last + 1e-7, false), (last - 1e-7, true)] {
            let hits = index.search(&Query {
                threshold,
                ..all.clone()
            });
            assert_eq!(
                hits.last().unwrap().similarity == last,
                is_met,
                "{threshold}"
            );
        }
    }
}

#[test]
fn there_is_no_minus_zero() {
    let index = VectorIndex::default();
    index.insert("m@1", row("across"), &[-2e-7, 1.0]);
    let all = Query {
        threshold: -1.0,
        ..query(&[1.0, 0.0])
    };
    let hits = index.search(&all);
    assert_eq!(hits[0].similarity.to_bits(), 0.0f64.to_bits());
    let zero = Query {
        threshold: 0.0,
        ..all
    };
    assert_eq!(index.search(&zero).len(), 1);
}

#[test]
fn an_image_that_comes_again_is_not_there_twice() {
    let index = index();
    let renamed = Row {
        image_hash: "orient".into(),
        asset_id: Some("a1".into()),
        ..row("east")
    };
    assert!(index.insert("m@1", renamed, &[1.0, 0.0]));
    assert_eq!(index.len(), 3);
    let hits = index.search(&query(&[1.0, 0.0]));
    assert_eq!(names(&hits), ["orient", "near east"]);
    assert_eq!(hits[0].asset_id.as_deref(), Some("a1"));
}

#[test]
fn one_name_is_one_answer() {
    let index = index();
    let other = Row {
        image_hash: "east".into(),
        ..row("other bytes")
    };
    index.insert("m@1", other, &[1.0, 0.05]);
    let hits = index.search(&query(&[1.0, 0.0]));
    assert_eq!(names(&hits), ["east", "near east"]);
}

#[test]
fn models_do_not_mix_but_rows_without_weights_do() {
    let index = index();
    index.insert("other@1", row("elsewhere"), &[1.0, 0.0]);
    index.insert("m@2", row("other weights"), &[1.0, 0.0]);
    index.insert("m", row("adopted"), &[1.0, 0.0]);
    let hits = index.search(&query(&[1.0, 0.0]));
    // Of the two that are equal the newer first.
    assert_eq!(names(&hits), ["adopted", "east", "near east"]);
}

#[test]
fn all_are_looked_at_while_there_are_no_lists() {
    let index = VectorIndex::default();
    for number in 0..1000 {
        index.insert("m@1", row(&number.to_string()), &[1.0, 0.0]);
    }
    let newest = Query {
        scan: 300,
        limit: 1000,
        ..query(&[1.0, 0.0])
    };
    let hits = index.search(&newest);
    assert_eq!(hits.len(), 1000, "more than the newest 300");
    assert_eq!(&*hits[0].image_hash, "999");
    assert_eq!(&*hits[999].image_hash, "0");
    assert_eq!(index.cost(&newest), 1000);
    assert_eq!(index.search(&query(&[1.0, 0.0])).len(), 25);
}

#[test]
fn what_is_no_vector_is_not_taken() {
    let index = index();
    for bad in [&[0.0, 0.0][..], &[f32::NAN, 1.0], &[1.0, 0.0, 0.0], &[]] {
        assert!(!index.insert("m@1", row("bad"), bad), "{bad:?}");
    }
    assert_eq!(index.len(), 3);
    assert!(index.search(&query(&[0.0, 0.0])).is_empty());
    assert!(index.search(&query(&[1.0, 0.0, 0.0])).is_empty());
}

mod adopted;
mod asked_again;
mod codes_alone;
mod exact;
mod gone;
mod kept;
mod recall;

//! Two copies of the service on one database.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{classify, until};
use crate::support::database::Data;
use crate::support::program::{Server, Settings, picture};

/// Within which one copy knows what the other wrote.
const IN_STEP: Duration = Duration::from_secs(2);

#[test]
fn what_one_copy_learns_the_other_knows_within_two_seconds() {
    let data = Arc::new(Data::new());
    let start = || {
        Server::start_with(&Settings {
            data: Some(data.clone()),
            ..Settings::default()
        })
    };
    let (one, other) = (start(), start());
    one.settle();
    other.settle();
    let (first, near) = (picture("baseline_444.jpg"), picture("progressive_444.jpg"));
    let labels = ("labels", "a cat,a dog,a chart,a text");
    let fields = [labels, ("theme", "animals"), ("asset_id", "sticker-1")];
    let seen = classify(&mut one.client(), &first, &fields);

    let mut client = other.client();
    let similar = |client: &mut _| classify(client, &near, &[labels])["similar_images"].clone();
    let took = until("similar on the other copy", IN_STEP, || {
        similar(&mut client)[0]["image_hash"] == seen["image_hash"]
    });
    println!("similar on the other copy after {took:?}");
    assert_eq!(similar(&mut client)[0]["asset_id"], "sticker-1");

    let renamed = [labels, ("asset_id", "sticker-2")];
    classify(&mut one.client(), &first, &renamed);
    let took = until("renamed on the other copy", IN_STEP, || {
        similar(&mut client)[0]["asset_id"] == "sticker-2"
    });
    println!("renamed on the other copy after {took:?}");

    let before = classify(&mut client, &first, &[labels, ("theme", "animals")]);
    for _ in 0..8 {
        let feedback =
            json!({ "image_hash": seen["image_hash"], "theme": "animals", "accepted": true });
        assert_eq!(one.client().post_json("/feedback", &feedback).status, 200);
    }
    let after = classify(&mut client, &first, &[labels, ("theme", "animals")]);
    assert_eq!(before["affinity_weight"], 0.0);
    // The label that is accepted stays the best, whose weight is told.
    assert!(after["affinity_weight"].as_f64().unwrap() > 0.0, "{after}");
    assert_ne!(before["all_scores"], after["all_scores"]);
}

//! The embedded model answers truly, with its own labels, on a machine that has nothing else.

use crate::support::program::{Server, root};

use super::answers::file;

/// A sample, and the labels any of which would be a true first answer.
const SAMPLES: [(&str, &[&str]); 6] = [
    ("cat-sticker.webp", &["cat"]),
    ("dog-sticker.webp", &["dog"]),
    ("pizza-sticker.webp", &["pizza"]),
    ("bar-chart.png", &["bar chart"]),
    ("qr-code.png", &["QR code"]),
    ("chat.png", &["chat screenshot"]),
];

#[test]
fn the_first_label_of_each_sample_is_true() {
    let server = Server::start();
    let mut client = server.client();
    for (name, truths) in SAMPLES {
        let picture = std::fs::read(root().join("models/embedded/samples").join(name)).unwrap();
        let answer = client.post_form("/classify", &[file(&picture)]);
        assert_eq!(answer.status, 200, "{name}");
        let answer = answer.json();
        assert_eq!(answer["model"], "omnizap-mini");
        let labels = answer["labels"].as_array().unwrap().len();
        assert!(labels >= 100, "{labels} labels are no choice");
        let category = answer["category"].as_str().unwrap();
        let top = &answer["top_labels"];
        assert!(truths.contains(&category), "{name} is taken for {top:#}");
    }
}

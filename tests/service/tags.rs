//! `pipelines/tags`: the stage `tags`, over HTTP.

use super::answers::file;
use crate::support::http::Part;
use crate::support::program::{Server, Settings, picture, root};

#[test]
fn a_picture_is_tagged_with_every_label_that_fits() {
    let folder = root().join("pipelines/tags");
    let server = Server::start_with(&Settings {
        pipelines: Some(&folder),
        ..Settings::default()
    });
    let data = picture("baseline_420.jpg");
    let labels = Part::Text("labels", "cat,dog,bar chart,house");
    let answer = server.client().post_form("/tags", &[file(&data), labels]);
    let answer = answer.fine();
    let tags = answer["tags"].as_array().unwrap();
    assert_eq!(tags.first(), Some(&answer["category"]), "{answer}");
    let scores = answer["all_scores"].as_object().unwrap();
    let fitting = scores.values().filter(|score| score.as_f64() >= Some(0.05));
    assert_eq!(tags.len(), fitting.count(), "{answer}");
}

//! A picture that was seen before is neither decoded nor embedded, and its answer is the
//! same.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{classify, ran_and_skipped, settle};
use crate::support::database::Data;
use crate::support::program::{Server, Settings, picture, root};

/// An answer without what grows from one request to the next.
fn stable(mut answer: Json) -> Json {
    answer.as_object_mut().unwrap().remove("similar_images");
    answer
}

#[test]
fn a_picture_seen_before_is_not_decoded_and_its_answer_is_the_same() {
    for pipelines in ["pipelines", "pipelines/compat"] {
        let data = Arc::new(Data::new());
        let folder = root().join(pipelines);
        let start = |environment| {
            Server::start_with(&Settings {
                pipelines: Some(&folder),
                environment,
                data: Some(data.clone()),
            })
        };
        let names = ["palette_transparent.png", "lossy.webp", "cmyk.jpg"];
        let pictures = names.map(picture);
        let ask = |server: &Server| {
            let mut client = server.client();
            pictures
                .each_ref()
                .map(|picture| stable(classify(&mut client, picture, &[])))
        };
        let computed = {
            let server = start(&[]);
            let computed = ask(&server);
            settle(&server);
            assert_eq!(ran_and_skipped(&server, "embed"), (3, 0));
            computed
        };
        // Another start, so that nothing can come from memory.
        let server = start(&[]);
        assert_eq!(ask(&server), computed, "{pipelines}");
        for stage in ["decode", "embed"] {
            assert_eq!(ran_and_skipped(&server, stage), (0, 3), "{stage}");
        }
        assert_eq!(computed[0]["device"], "cpu");
        drop(server);

        let without = start(&[("ENABLE_EMBEDDING_CACHE", "false")]);
        assert_eq!(ask(&without), computed, "{pipelines}");
        for stage in ["decode", "embed"] {
            assert_eq!(ran_and_skipped(&without, stage), (3, 0), "{stage}");
        }
    }
}

#[test]
fn pictures_that_were_prepared_otherwise_are_not_recalled() {
    let data = Arc::new(Data::new());
    // Transparent pixels: the sets give them different colours.
    let image = picture("palette_transparent.png");
    let mut answers = Vec::new();
    for pipelines in ["pipelines", "pipelines/compat"] {
        let folder = root().join(pipelines);
        let server = Server::start_with(&Settings {
            pipelines: Some(&folder),
            environment: &[],
            data: Some(data.clone()),
        });
        answers.push(classify(&mut server.client(), &image, &[])["raw_logits"].clone());
        settle(&server);
        assert_eq!(ran_and_skipped(&server, "embed"), (1, 0), "{pipelines}");
    }
    assert_ne!(answers[0], answers[1]);
}

//! Pictures that move: which of their frames count, and that the answer says so.

use serde_json::Value as Json;

use super::answers::file;
use crate::support::http::{Client, Part};
use crate::support::program::{Server, picture, root};

const BLANK: &str = "odd/gif_moving_first_blank.gif";

fn classify(client: &mut Client, name: &str) -> Json {
    let data = picture(name);
    let parts = [file(&data), Part::Text("labels", "a cat,a dog,a chart")];
    let answer = client.post_form("/classify", &parts);
    assert_eq!(answer.status, 200, "{name}");
    answer.json()
}

fn frames(answer: &Json) -> [Option<u64>; 2] {
    ["frame", "frames_seen"].map(|field| answer[field].as_u64())
}

#[test]
fn the_first_frame_with_content_counts_and_is_named_also_where_it_is_recalled() {
    let server = Server::start();
    let mut client = server.client();
    let [frame, seen] = frames(&classify(&mut client, BLANK));
    assert!(frame > Some(0) && seen > frame, "{frame:?} of {seen:?}");
    for name in ["animated.gif", "lossy.webp"] {
        assert_eq!(frames(&classify(&mut client, name)), [Some(0), Some(1)]);
    }
    server.settle();
    assert_eq!(frames(&classify(&mut client, BLANK)), [frame, seen]);
}

#[test]
fn the_compat_set_takes_the_first_frame_and_does_not_say_so() {
    let server = Server::of(&root().join("pipelines/compat"), &[]);
    let answer = classify(&mut server.client(), BLANK);
    for field in ["frame", "frames_seen"] {
        assert_eq!(answer.get(field), None, "{answer}");
    }
}

#[test]
fn a_sample_is_chosen_by_one_word_and_not_taken_for_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let write = |options: &str| {
        let text = format!("extends = \"builtin:classify\"\n{options}");
        std::fs::write(folder.path().join("classify.toml"), text).unwrap();
    };
    write("defaults.with = { frames = \"sample\", max_frames = 4 }");
    let server = Server::of(folder.path(), &[]);
    let mut client = server.client();
    let moved = classify(&mut client, "animated.gif");
    let [frame, seen] = frames(&moved);
    assert!(seen > Some(1) && frame < seen, "{frame:?} of {seen:?}");
    assert_eq!(
        frames(&classify(&mut client, "lossy.webp")),
        [Some(0), Some(1)]
    );
    server.settle();
    let again = classify(&mut client, "animated.gif");
    assert_eq!(again["raw_logits"], moved["raw_logits"]);
    assert_eq!(frames(&again), [frame, seen]);
}

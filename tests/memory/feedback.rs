//! Feedback over HTTP: every one counts, and moves the answers.

use serde_json::{Value as Json, json};

use super::{classify, settle};
use crate::support::http::Client;
use crate::support::program::{Server, picture};

/// The most by which feedback may move a score against another: the factors of
/// `ADAPTIVE_ALPHA` 0.4, 1.4 and 0.6.
const MOST: f64 = 1.4 / 0.6;

fn give(client: &mut Client, image: &Json, theme: &str, accepted: bool) {
    let feedback = json!({ "image_hash": image, "theme": theme, "accepted": accepted });
    let answer = client.post_json("/feedback", &feedback);
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{text}");
}

#[test]
fn three_hundred_and_twenty_at_concurrency_eight_are_three_hundred_and_twenty() {
    const CLIENTS: usize = 8;
    const EACH: usize = 40;
    let server = Server::start();
    let image = json!("ab".repeat(32));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, image) = (&server, &image);
            scope.spawn(move || {
                let mut http = server.client();
                for turn in 0..EACH {
                    give(&mut http, image, "party", (client + turn) % 4 != 0);
                }
            });
        }
    });
    let stored = server
        .data()
        .numbers("SELECT acceptance_count, total_assignments FROM clip_image_theme_feedback");
    assert_eq!(stored, [240, 320]);
}

#[test]
fn feedback_moves_the_answers_of_its_theme_step_by_step() {
    let server = Server::start();
    let mut client = server.client();
    let labels = ("labels", "a cat,a dog,a chart,a text");
    let (judged, asked) = (picture("lossless.webp"), picture("palette.png"));
    let ask = |client: &mut Client, theme: &str| {
        classify(client, &asked, &[labels, ("theme", theme)])
    };
    let seen = classify(&mut client, &judged, &[labels]);
    let label = seen["category"].as_str().unwrap().to_owned();
    settle(&server);
    let plain = ask(&mut client, "unheard of");
    let score = |answer: &Json| answer["all_scores"][&label].as_f64().unwrap();
    let odds = |answer: &Json| score(answer) / (1.0 - score(answer));

    println!("feedback  score of {label:?} in another picture");
    let mut given = 0;
    let mut last = 0.0;
    for feedbacks in [0, 10, 100, 1000] {
        while given < feedbacks {
            // One rater in ten is wrong.
            give(&mut client, &seen["image_hash"], "animals", given % 10 != 9);
            given += 1;
        }
        let moved = ask(&mut client, "animals");
        println!("{feedbacks:>8}  {:.6}", score(&moved));
        match feedbacks {
            0 => assert_eq!(moved["all_scores"], plain["all_scores"]),
            _ => assert!(score(&moved) > last, "{moved}"),
        }
        assert!(odds(&moved) <= odds(&plain) * MOST + 1e-6, "{moved}");
        last = score(&moved);
        assert_eq!(
            ask(&mut client, "unheard of")["all_scores"],
            plain["all_scores"],
            "an unknown theme changes nothing"
        );
    }
}

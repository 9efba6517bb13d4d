//! Feedback over HTTP: every one counts, and moves the answers.

use serde_json::{Value as Json, json};

use super::classify;
use crate::support::http::Client;
use crate::support::program::{Server, picture, root};

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

/// A sample of those that come with the embedded model.
fn sample(name: &str) -> Vec<u8> {
    std::fs::read(root().join("models/embedded/samples").join(name)).unwrap()
}

#[test]
fn feedback_moves_the_answers_of_its_theme_step_by_step() {
    let server = Server::start();
    let mut client = server.client();
    let labels = ("labels", "bar chart,cat,sad face,wink");
    let asked = picture("palette.png");
    let ask =
        |client: &mut Client, theme: &str| classify(client, &asked, &[labels, ("theme", theme)]);
    let wanted = classify(&mut client, &sample("bar-chart.png"), &[labels]);
    let unwanted = classify(&mut client, &sample("cat-sticker.webp"), &[labels]);
    assert_eq!(wanted["category"], "bar chart");
    assert_eq!(unwanted["category"], "cat");
    server.settle();
    let plain = ask(&mut client, "unheard of");
    let score = |answer: &Json, label: &str| answer["all_scores"][label].as_f64().unwrap();
    let odds = |answer: &Json| score(answer, "bar chart") / score(answer, "cat");

    println!("feedback  bar chart  cat       in a third picture, theme of charts");
    let mut given = 0;
    let mut last = odds(&plain);
    for feedbacks in [0, 10, 100, 1000] {
        while given < feedbacks {
            // Charts are wanted and cats are not; one rater in ten is wrong.
            let is_chart = given % 2 == 0;
            let image = if is_chart { &wanted } else { &unwanted };
            let is_wrong = (given / 2) % 10 == 9;
            give(
                &mut client,
                &image["image_hash"],
                "reports",
                is_chart != is_wrong,
            );
            given += 1;
        }
        let moved = ask(&mut client, "reports");
        let (chart, cat) = (score(&moved, "bar chart"), score(&moved, "cat"));
        println!("{feedbacks:>8}  {chart:.6}   {cat:.6}");
        match feedbacks {
            0 => assert_eq!(moved["all_scores"], plain["all_scores"]),
            _ => assert!(odds(&moved) > last, "{moved}"),
        }
        assert!(odds(&moved) <= odds(&plain) * MOST * 1.0001, "{moved}");
        last = odds(&moved);
        assert_eq!(
            ask(&mut client, "unheard of")["all_scores"],
            plain["all_scores"],
            "an unknown theme changes nothing"
        );
    }
}

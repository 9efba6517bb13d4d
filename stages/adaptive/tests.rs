//! Tests of the formula, of the stage over a real database, and of learning as such.

use super::*;
use crate::store::{CarriedLabel, Feedback, ImageFeedback, ImageRecord};
use crate::testing::{call, inputs, options, store};

fn scores(probabilities: &[(&str, f64)]) -> Arc<Scores> {
    let scores = probabilities.iter().map(|&(label, probability)| Score {
        label: label.into(),
        logit: probability.ln(),
        probability,
    });
    Arc::new(Scores(scores.collect()))
}

fn tally(accepted: f64, rejected: f64) -> Tally {
    Tally { accepted, rejected }
}

fn evidence(labels: &[Tally]) -> ThemeEvidence {
    ThemeEvidence {
        labels: labels.to_vec(),
        images: Vec::new(),
    }
}

fn judged(image: &str, tally: Tally, labels: &[(&str, f64)]) -> ImageFeedback {
    let labels = labels.iter().map(|&(label, weight)| CarriedLabel {
        label: label.into(),
        weight,
    });
    ImageFeedback {
        image_hash: image.into(),
        tally,
        labels: labels.collect(),
    }
}

#[test]
fn without_evidence_the_scores_are_the_very_same() {
    let before = scores(&[("cat", 0.7), ("dog", 0.3)]);
    let weights = weights(&before, &evidence(&[Tally::default(); 2]), Some("x"), &[]);
    assert_eq!(weights, [0.0, 0.0]);
    assert!(Arc::ptr_eq(&before, &apply(&before, &weights, 0.4)));
}

#[test]
fn a_weight_is_bounded_and_grows_with_acceptance() {
    let before = scores(&[("cat", 0.7)]);
    let mut last = -1.0;
    for step in 0..=20 {
        let share = f64::from(step) / 20.0;
        let weight = weights(
            &before,
            &evidence(&[tally(1e9 * share, 1e9 * (1.0 - share))]),
            None,
            &[],
        )[0];
        assert!(weight > last && weight.abs() <= 1.0, "{share}: {weight}");
        last = weight;
    }
}

#[test]
fn little_evidence_says_little() {
    let before = scores(&[("cat", 0.7)]);
    let weight = |count| weights(&before, &evidence(&[tally(count, 0.0)]), None, &[])[0];
    assert!((weight(1.0) - 0.2).abs() < 1e-12);
    assert!((weight(100.0) - 0.9615).abs() < 1e-4);
}

#[test]
fn the_image_weighs_more_than_neighbours_and_those_more_than_the_theme() {
    let before = scores(&[("cat", 0.7), ("dog", 0.3)]);
    let near = [(Arc::from("near"), 0.95)];
    let against = judged("near", tally(0.0, 10.0), &[("CAT", 1.0)]);
    let mut all = evidence(&[tally(1000.0, 0.0), Tally::default()]);
    assert!(weights(&before, &all, Some("x"), &near)[0] > 0.9);
    all.images.push(against);
    assert!(weights(&before, &all, Some("x"), &near)[0] < -0.3);
    all.images.push(judged("x", tally(10.0, 0.0), &[]));
    let weights = weights(&before, &all, Some("x"), &near);
    assert!(weights[0] > 0.7, "{weights:?}");
    assert!(
        weights[1] > 0.0,
        "the image carries the other label too: {weights:?}"
    );
}

#[test]
fn scores_move_within_alpha_and_still_add_up_to_one() {
    let before = scores(&[("cat", 0.5), ("dog", 0.3), ("fox", 0.2)]);
    let after = apply(&before, &[-1.0, 1.0, 0.0], 0.4);
    let sum: f64 = after.iter().map(|score| score.probability).sum();
    assert!((sum - 1.0).abs() < 1e-12);
    let expected = [0.5 * 0.6, 0.3 * 1.4, 0.2];
    let total: f64 = expected.iter().sum();
    for (score, expected) in after.iter().zip(expected) {
        assert!((score.probability - expected / total).abs() < 1e-12);
    }
    assert_eq!(after[0].logit, before[0].logit, "logits are the model's");
}

#[test]
fn a_theme_that_feedback_refuses_is_not_looked_up() {
    assert!(may_have_feedback(&"é".repeat(limits::THEME_CHARS)));
    for theme in ["", "a\0b", &"é".repeat(limits::THEME_CHARS + 1)] {
        assert!(!may_have_feedback(theme), "{theme:?}");
    }
}

fn hash(number: usize) -> String {
    format!("{number:064x}")
}

async fn run(store: &Store, theme: Option<&str>, image: &str) -> (Arc<Scores>, f64, f64) {
    let kind = Adaptive::new(store.clone());
    let Runner::Async(stage) = kind.build(&options(&kind, [])).await.unwrap() else {
        panic!("an async stage");
    };
    let inputs = inputs(
        &kind,
        [
            (
                "scores",
                Some(Value::Scores(scores(&[("cat", 0.52), ("dog", 0.48)]))),
            ),
            ("theme", theme.map(Value::from)),
            ("image_hash", Some(image.into())),
        ],
    );
    let outputs = stage.run(&inputs, &call()).await.unwrap();
    let number = |port| match outputs.get(port) {
        Some(Value::Number(number)) => *number,
        other => panic!("{port}: {other:?}"),
    };
    let Some(Value::Scores(moved)) = outputs.get("scores") else {
        panic!("scores");
    };
    (
        moved.clone(),
        number("affinity_weight"),
        number("affinity_weight_raw"),
    )
}

async fn remember(store: &Store, image: &str, labels: &[(&str, f64)]) {
    let record = ImageRecord {
        content_hash: image.into(),
        image_hash: image.into(),
        asset_id: None,
        embedding: Arc::new(Embedding {
            model: "m@1".into(),
            vector: [1.0, 0.0].into(),
        }),
        nsfw: None,
        labels: carried(labels.iter().copied()),
    };
    store.remember(record).await.unwrap();
}

async fn give(store: &Store, image: &str, theme: &str, accepted: bool) {
    let feedback = Feedback {
        image_hash: image.into(),
        theme: theme.into(),
        accepted,
        asset_id: None,
    };
    store.record_feedback(&feedback).await.unwrap();
}

#[tokio::test]
async fn feedback_on_some_images_moves_the_scores_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for number in 0..10 {
        remember(&store, &hash(number), &[("Dog", 0.9), ("cat", 0.05)]).await;
        give(&store, &hash(number), "kennel", true).await;
    }
    let (moved, weight, raw) = run(&store, Some("kennel"), &hash(99)).await;
    assert!(moved[1].probability > moved[0].probability, "{moved:?}");
    assert!(weight > 0.7, "{weight}");
    assert_eq!(raw, 0.0, "this image has no feedback of its own");

    for theme in [None, Some("unknown")] {
        let (same, weight, raw) = run(&store, theme, &hash(99)).await;
        assert_eq!(same, scores(&[("cat", 0.52), ("dog", 0.48)]));
        assert_eq!((weight, raw), (0.0, 0.0));
    }
}

#[tokio::test]
async fn feedback_that_comes_before_the_labels_counts_once_they_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for _ in 0..3 {
        give(&store, &hash(1), "kennel", true).await;
    }
    let theme = |store: Store| async move {
        let evidence = store
            .theme_evidence("kennel", &["dog"], &[], Duration::from_secs(5))
            .await;
        evidence.unwrap().labels[0]
    };
    assert_eq!(theme(store.clone()).await, Tally::default());
    for _ in 0..2 {
        remember(&store, &hash(1), &[("dog", 0.9)]).await;
        assert_eq!(
            theme(store.clone()).await,
            tally(3.0, 0.0),
            "once, not twice"
        );
    }
    give(&store, &hash(1), "kennel", false).await;
    assert_eq!(theme(store.clone()).await, tally(3.0, 1.0));
    let (_, _, raw) = run(&store, Some("kennel"), &hash(1)).await;
    assert_eq!(raw, 0.75);
}

#[tokio::test]
async fn a_client_that_borrows_a_name_does_not_change_its_labels() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    remember(&store, &hash(1), &[("dog", 0.9)]).await;
    let impostor = ImageRecord {
        content_hash: hash(2).into(),
        image_hash: hash(1).into(),
        asset_id: None,
        embedding: Arc::new(Embedding {
            model: "m@1".into(),
            vector: [0.0, 1.0].into(),
        }),
        nsfw: None,
        labels: carried([("cat", 0.9)]),
    };
    store.remember(impostor).await.unwrap();
    give(&store, &hash(1), "kennel", true).await;
    let evidence = store
        .theme_evidence(
            "kennel",
            &["dog", "cat"],
            &[&hash(1)],
            Duration::from_secs(5),
        )
        .await
        .unwrap();
    assert_eq!(evidence.labels, [tally(1.0, 0.0), Tally::default()]);
    let kept = store
        .image_embedding(&hash(1), "m@1", limits::READ)
        .await
        .unwrap();
    assert_eq!(kept.unwrap(), [1.0, 0.0], "nor its embedding");
}

/// Themes that each want a few labels, a model that is often unsure between two, and
/// raters of whom one in ten is wrong: the share of images whose first label is the
/// true one, by the feedback given to each theme.
#[test]
fn learning_raises_accuracy_and_never_costs_more_than_a_point() {
    const LABELS: usize = 20;
    const THEMES: usize = 50;
    const TRIALS: usize = 400;
    let mut random = fastrand::Rng::with_seed(7);
    let names: Vec<String> = (0..LABELS).map(|label| format!("label {label}")).collect();
    let image = |random: &mut fastrand::Rng, truth: usize| {
        let other = (truth + random.usize(1..LABELS)) % LABELS;
        let lead = 0.5 + 0.22 * (random.f64() - 0.35);
        let mut list: Vec<(&str, f64)> = names
            .iter()
            .map(|name| (name.as_str(), 0.1 / 18.0))
            .collect();
        list[truth].1 = 0.9 * lead;
        list[other].1 = 0.9 * (1.0 - lead);
        scores(&list)
    };
    let first = |scores: &Scores| {
        let order =
            |a: &usize, b: &usize| scores[*a].probability.total_cmp(&scores[*b].probability);
        (0..LABELS).max_by(order).unwrap()
    };
    let mut curve = Vec::new();
    for feedbacks in [0, 1, 3, 10, 100, 1000] {
        let (mut plain, mut learned, mut unknown) = (0, 0, 0);
        for _ in 0..THEMES {
            let mut wanted: Vec<usize> = (0..LABELS).collect();
            random.shuffle(&mut wanted);
            wanted.truncate(4);
            let mut sums = vec![Tally::default(); LABELS];
            for _ in 0..feedbacks {
                let truth = match random.bool() {
                    true => wanted[random.usize(..wanted.len())],
                    false => random.usize(..LABELS),
                };
                let honest = wanted.contains(&truth);
                let accepted = honest != (random.f64() < 0.1);
                let seen = image(&mut random, truth);
                let now = seen.iter().map(|score| (&*score.label, score.probability));
                for label in carried(now).into_iter().take(LABELS_CARRIED) {
                    let place = names
                        .iter()
                        .position(|name| **name == *label.label)
                        .unwrap();
                    let judgement = tally(
                        f64::from(u8::from(accepted)),
                        f64::from(u8::from(!accepted)),
                    );
                    add(&mut sums[place], judgement, label.weight);
                }
            }
            for _ in 0..TRIALS {
                let truth = wanted[random.usize(..wanted.len())];
                let seen = image(&mut random, truth);
                let moved = apply(&seen, &weights(&seen, &evidence(&sums), None, &[]), 0.4);
                let nothing = vec![Tally::default(); LABELS];
                let same = apply(&seen, &weights(&seen, &evidence(&nothing), None, &[]), 0.4);
                plain += usize::from(first(&seen) == truth);
                learned += usize::from(first(&moved) == truth);
                unknown += usize::from(first(&same) == truth);
            }
        }
        assert_eq!(plain, unknown, "an unknown theme changes nothing");
        let percent = |count: usize| 100.0 * count as f64 / (THEMES * TRIALS) as f64;
        curve.push((feedbacks, percent(plain), percent(learned)));
    }
    println!("feedbacks of a theme   % right without   % right with");
    for (feedbacks, plain, learned) in &curve {
        println!("{feedbacks:>21}   {plain:>15.1}   {learned:>12.1}");
        assert!(learned + 1.0 >= *plain, "{feedbacks}: {curve:?}");
    }
    assert_eq!(curve[0].1, curve[0].2, "{curve:?}");
    let gain = |place: usize| curve[place].2 - curve[place].1;
    assert!(gain(4) > gain(3) && gain(3) > 0.0, "{curve:?}");
    assert!(gain(4) > 10.0, "{curve:?}");
    assert!(gain(5) >= gain(4) - 1.0, "{curve:?}");
}

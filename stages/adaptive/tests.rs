//! Tests of what the law is told, of the stage over a real database, and of learning as such.

use omnizap_contract::Value;
use omnizap_contract::common::round::round;
use omnizap_services::store::{
    Feedback, ImageFeedback, ImageRecord, Look, LookLabels, Which, label_set,
};

use super::*;
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

/// A question about a picture of that name, and its near copies.
fn question<'a>(image: &'a Arc<str>, near: &[f32]) -> Question<'a> {
    let near = near.iter().map(|&similarity| Hit {
        image_hash: "near".into(),
        content_hash: None,
        asset_id: None,
        similarity: similarity.into(),
    });
    Question {
        image: Some(image),
        content: None,
        near: near.collect(),
    }
}

#[test]
fn every_kind_of_evidence_finds_its_label() {
    let image: Arc<str> = "x".into();
    let scores = scores(&[("cat", 0.75), ("dog", 0.25)]);
    let key = |label| (label_key(label), tally(3.0, 1.0));
    let evidence = ThemeEvidence {
        labels: vec![tally(5.0, 1.0), tally(0.0, 2.0)],
        images: vec![
            ImageFeedback {
                tally: tally(10.0, 4.0),
                named: vec![(label_key("DOG"), tally(4.0, 0.0)), key("emu")],
                credited: vec![key("cat")],
            },
            ImageFeedback {
                tally: tally(3.0, 1.0),
                named: Vec::new(),
                credited: vec![key("dog"), key("emu")],
            },
        ],
    };
    let balances = balances(&scores, &evidence, &question(&image, &[0.9]));
    assert_eq!(balances.theme, [4.0, -2.0]);
    // 6 more for than against; 4 of them named the dog, and 2 a label that is not asked for.
    assert_eq!(
        balances.itself,
        [0.0, 0.0],
        "none is left for the cat, and the dog is unlikely"
    );
    assert_eq!(balances.near[0], 0.0);
    assert!((balances.near[1] - 2.0 * 0.9).abs() < 1e-6);
}

#[test]
fn the_picture_itself_counts_for_what_the_model_puts_first_now() {
    let image: Arc<str> = "x".into();
    let evidence = ThemeEvidence {
        labels: vec![Tally::default(); 2],
        images: vec![ImageFeedback {
            tally: tally(1.0, 5.0),
            ..ImageFeedback::default()
        }],
    };
    for (cat, expected) in [(0.75, [-2.0, 0.0]), (0.25, [0.0, -2.0])] {
        let scores = scores(&[("cat", cat), ("dog", 1.0 - cat)]);
        let balances = balances(&scores, &evidence, &question(&image, &[]));
        assert_eq!(balances.itself, expected);
    }
}

#[test]
fn the_first_of_equals_does_not_depend_on_their_order() {
    let scores = [("dog", 0.4), ("cat", 0.4), ("emu", 0.2)];
    let reversed: Vec<_> = scores.into_iter().rev().collect();
    for list in [&scores[..], &reversed] {
        let scores = self::scores(list);
        let place = first(&scores).unwrap();
        assert_eq!(&*scores[place].label, "cat");
    }
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
            ("content_hash", Some(image.into())),
        ],
    );
    let outputs = stage.run(inputs, &call()).await.unwrap();
    let moved = outputs.get(MOVED).unwrap().clone();
    let number = |port: Out<f64>| outputs.get(port).unwrap();
    (moved, number(AFFINITY_WEIGHT), number(AFFINITY_WEIGHT_RAW))
}

/// Remembers a picture as a request with labels of its own would, in place of the default
/// ones where there are some.
fn look(theme: &str, default_labels: bool, labels: &[(&str, f64)]) -> Look {
    Look {
        theme: theme.into(),
        label_set: label_set(labels.iter().map(|(label, _)| *label)).into(),
        default_labels,
        labels: LookLabels::of(labels.iter().copied()),
    }
}

async fn remember_as(store: &Store, content: &str, name: &str, look: Look) {
    let record = ImageRecord {
        content_hash: content.into(),
        image_hash: name.into(),
        asset_id: None,
        embedding: Arc::new(Embedding {
            model: "m@1".into(),
            vector: [1.0, 0.0].into(),
        }),
        keep_embedding: true,
        look: Some(look),
        frames: None,
        nsfw: None,
    };
    store.remember(record).await.unwrap();
}

async fn remember(store: &Store, image: &str, labels: &[(&str, f64)]) {
    remember_as(store, image, image, look("", true, labels)).await;
}

fn feedback(image: &str, theme: &str, accepted: bool) -> Feedback {
    Feedback {
        image_hash: image.into(),
        theme: theme.into(),
        accepted,
        asset_id: None,
        label_set: None,
        label: None,
    }
}

async fn give(store: &Store, image: &str, theme: &str, accepted: bool) {
    let feedback = feedback(image, theme, accepted);
    store.record_feedback(&feedback).await.unwrap();
}

/// What a theme says of labels, less what is against them, rounded.
async fn theme(store: &Store, theme: &str, labels: &[&str]) -> Vec<f64> {
    let limit = Duration::from_secs(5);
    let evidence = store.theme_evidence(theme, labels, &[], limit).await;
    let net = evidence.unwrap().labels.into_iter().map(Tally::net);
    net.map(|net| round(net, DECIMALS)).collect()
}

#[tokio::test]
async fn feedback_on_some_images_moves_the_scores_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for number in 0..10 {
        remember(&store, &hash(number), &[("Dog", 0.95), ("cat", 0.05)]).await;
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
async fn feedback_that_comes_before_the_look_counts_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for _ in 0..3 {
        give(&store, &hash(1), "kennel", true).await;
    }
    let labels = ["dog", "cat"];
    assert_eq!(theme(&store, "kennel", &labels).await, [0.0, 0.0]);
    for _ in 0..2 {
        remember(&store, &hash(1), &[("dog", 1.0), ("cat", 0.0)]).await;
        let once = theme(&store, "kennel", &labels).await;
        assert_eq!(once, [3.0, 0.0], "once, not twice");
    }
    give(&store, &hash(1), "kennel", false).await;
    assert_eq!(theme(&store, "kennel", &labels).await, [2.0, 0.0]);
    let (_, _, raw) = run(&store, Some("kennel"), &hash(1)).await;
    assert_eq!(raw, 0.75);
}

#[tokio::test]
async fn a_client_that_borrows_a_name_does_not_change_its_labels() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    remember(&store, &hash(1), &[("dog", 1.0), ("cat", 0.0)]).await;
    let other = look("", true, &[("cat", 1.0), ("dog", 0.0)]);
    remember_as(&store, &hash(2), &hash(1), other).await;
    give(&store, &hash(1), "kennel", true).await;
    assert_eq!(theme(&store, "kennel", &["dog", "cat"]).await, [1.0, 0.0]);
    let kept = store
        .image_embedding(&hash(1), "m@1", limits::READ)
        .await
        .unwrap();
    assert_eq!(kept.unwrap(), [1.0, 0.0], "nor its embedding");
    // Nor does the borrower get what was said of the lender.
    let asked = [Asked {
        image_hash: &hash(2),
        content_hash: Some(&hash(2)),
    }];
    let evidence = store.theme_evidence("kennel", &[], &asked, limits::READ);
    assert_eq!(evidence.await.unwrap().images[0], ImageFeedback::default());
}

#[tokio::test]
async fn a_look_changes_nothing_of_what_feedback_counts() {
    let umbrella = [("umbrella", 0.9), ("cat", 0.1)];
    let mut counted = Vec::new();
    for looks in [&[][..], &["x"], &["", "x", "y"]] {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        remember_as(&store, &hash(1), &hash(1), look("z", true, &umbrella)).await;
        for theme in looks {
            remember_as(&store, &hash(1), &hash(1), look(theme, true, &umbrella)).await;
            let theirs = look(theme, false, &[("spam", 1.0), ("zebra crossing", 0.0)]);
            remember_as(&store, &hash(1), &hash(1), theirs).await;
        }
        give(&store, &hash(1), "z", true).await;
        // Nor does one afterwards.
        let theirs = look("z", false, &[("spam", 1.0), ("zebra crossing", 0.0)]);
        remember_as(&store, &hash(1), &hash(1), theirs).await;
        counted.push(theme(&store, "z", &["umbrella", "spam", "zebra crossing"]).await);
    }
    for counted in counted {
        assert_eq!(counted, [0.8, 0.0, 0.0]);
    }
}

#[tokio::test]
async fn a_judgement_may_say_what_it_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let theirs = [("spam", 0.8), ("ham", 0.2)];
    let set = label_set(theirs.iter().map(|(label, _)| *label));
    let by_set = Feedback {
        label_set: Some(set.clone()),
        ..feedback(&hash(1), "t", true)
    };
    // Before anybody looked with those labels: it waits for them, and for none but them.
    store.record_feedback(&by_set).await.unwrap();
    remember(
        &store,
        &hash(1),
        &[("umbrella", 0.9), ("cat", 0.06), ("dog", 0.04)],
    )
    .await;
    let labels = ["umbrella", "cat", "spam", "ham"];
    assert_eq!(theme(&store, "t", &labels).await, [0.0; 4]);
    remember_as(&store, &hash(1), &hash(1), look("u", false, &theirs)).await;
    assert_eq!(theme(&store, "t", &labels).await, [0.0, 0.0, 0.6, 0.0]);

    // One label of them, and one alone.
    let named = Feedback {
        label_set: Some(set),
        label: Some("Ham".into()),
        ..feedback(&hash(1), "t", false)
    };
    store.record_feedback(&named).await.unwrap();
    assert_eq!(
        theme(&store, "t", &labels).await[3],
        0.0,
        "the model saw no ham"
    );
    let named = Feedback {
        label: Some("Umbrella".into()),
        ..feedback(&hash(1), "t", false)
    };
    store.record_feedback(&named).await.unwrap();
    assert_eq!(theme(&store, "t", &labels).await, [-0.85, 0.0, 0.6, 0.0]);
    // All of them are judgements of the picture.
    let (_, _, raw) = run(&store, Some("t"), &hash(1)).await;
    assert!((raw - 1.0 / 3.0).abs() < 1e-12, "{raw}");
}

#[tokio::test]
async fn a_picture_keeps_its_feedback_whatever_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let labels = [("cat", 0.9), ("dog", 0.1)];
    remember(&store, &hash(1), &labels).await;
    for _ in 0..3 {
        give(&store, &hash(1), "t", true).await;
    }
    let seen = async |name: &str| {
        let asked = [Asked {
            image_hash: name,
            content_hash: Some(&hash(1)),
        }];
        let limit = Duration::from_secs(5);
        let evidence = store.theme_evidence("t", &["cat"], &asked, limit).await;
        let image = evidence.unwrap().images.remove(0);
        (
            image.tally,
            image
                .credited
                .iter()
                .map(|(_, tally)| tally.net())
                .sum::<f64>(),
        )
    };
    let before = seen(&hash(1)).await;
    assert_eq!(before.0, tally(3.0, 0.0));
    // Named for the first time, the same request again, and by its own name again.
    let first = seen(&hash(7)).await;
    remember_as(&store, &hash(1), &hash(7), look("", true, &labels)).await;
    let again = seen(&hash(7)).await;
    assert_eq!([first, again, seen(&hash(1)).await], [before; 3]);
    // What is said under one name is said of the picture.
    give(&store, &hash(7), "t", false).await;
    for name in [hash(1), hash(7)] {
        assert_eq!(seen(&name).await.0, tally(3.0, 1.0), "{name}");
    }
    assert_eq!(theme(&store, "t", &["cat"]).await, [1.6]);
}

#[tokio::test]
async fn a_picture_that_is_forgotten_takes_with_it_what_it_taught() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let labels = [("cat", 1.0), ("dog", 0.0)];
    for number in 1..=2 {
        remember(&store, &hash(number), &labels).await;
        give(&store, &hash(number), "t", true).await;
    }
    remember_as(&store, &hash(1), &hash(7), look("", true, &labels)).await;
    give(&store, &hash(7), "t", true).await;
    let named = Feedback {
        label: Some("cat".into()),
        ..feedback(&hash(1), "u", false)
    };
    store.record_feedback(&named).await.unwrap();
    assert_eq!(theme(&store, "t", &["cat"]).await, [3.0]);
    let which = Which::Hash(hash(1));
    let forgotten = store.forget(&which, false, |_| ()).await.unwrap();
    assert_eq!(forgotten.feedback, 3);
    assert_eq!(theme(&store, "t", &["cat"]).await, [1.0]);
    assert_eq!(theme(&store, "u", &["cat"]).await, [0.0]);
    for (theme, image) in [("t", hash(1)), ("t", hash(7)), ("u", hash(1))] {
        let (_, _, raw) = run(&store, Some(theme), &image).await;
        assert_eq!(raw, 0.0, "{theme} {image}");
    }
    let again = store.forget(&which, false, |_| ()).await.unwrap();
    assert!(again.is_nothing());
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
    for feedbacks in [0, 1, 3, 10, 100, 1000, 10_000] {
        let (mut plain, mut learned, mut unknown) = (0, 0, 0);
        for _ in 0..THEMES {
            let mut wanted: Vec<usize> = (0..LABELS).collect();
            random.shuffle(&mut wanted);
            wanted.truncate(4);
            let mut balances = Balances::none(LABELS);
            for _ in 0..feedbacks {
                let truth = match random.bool() {
                    true => wanted[random.usize(..wanted.len())],
                    false => random.usize(..LABELS),
                };
                let honest = wanted.contains(&truth);
                let accepted = honest != (random.f64() < 0.1);
                let seen = image(&mut random, truth);
                let place = super::first(&seen).unwrap();
                let weight = standing(seen[place].probability, LABELS);
                balances.theme[place] += if accepted { weight } else { -weight };
            }
            let affinities = balances.affinities();
            let nothing = Balances::none(LABELS).affinities();
            for _ in 0..TRIALS {
                let truth = wanted[random.usize(..wanted.len())];
                let seen = image(&mut random, truth);
                let moved = apply(&seen, &affinities, 0.4);
                let same = apply(&seen, &nothing, 0.4);
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
    // What the law before this one reached, and one point more for what it never did.
    for (place, least) in [(3, 72.0), (4, 84.7), (5, 91.3), (6, 92.6)] {
        assert!(curve[place].2 >= least, "{curve:?}");
    }
    for pair in curve.windows(2).skip(1) {
        assert!(pair[1].2 >= pair[0].2 - 1.0, "{curve:?}");
    }
}

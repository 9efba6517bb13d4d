//! The properties of the law, as the module states them, over random histories.

use omnizap_services::store::standing;

use super::*;

mod curves;

/// Histories that are tried.
const HISTORIES: usize = 10_000;
/// The first of their seeds; each has its own, which a failure names.
const SEED: u64 = 20_261_125;
/// What rounding may change: the six decimals of an answer are far from it.
const ROUNDING: f64 = 1e-12;

/// A picture: what the model says of it.
#[derive(Clone, Debug)]
struct Picture {
    probabilities: Vec<f64>,
}

impl Picture {
    /// One of so many labels, sharp or flat.
    fn random(random: &mut fastrand::Rng, labels: usize) -> Self {
        let sharpness = 12.0 * random.f64();
        let shares = (0..labels).map(|_| (sharpness * random.f64()).exp());
        Self::of(shares.collect())
    }

    fn of(mut shares: Vec<f64>) -> Self {
        let sum: f64 = shares.iter().sum();
        for share in &mut shares {
            *share /= sum;
        }
        Self {
            probabilities: shares,
        }
    }

    /// One that looks like it: the model says nearly the same.
    fn copy(&self, random: &mut fastrand::Rng) -> Self {
        let shares = self.probabilities.iter();
        Self::of(
            shares
                .map(|share| share * (0.9 + 0.2 * random.f64()))
                .collect(),
        )
    }

    fn winner(&self) -> usize {
        let mut best = 0;
        for (label, probability) in self.probabilities.iter().enumerate() {
            if *probability > self.probabilities[best] {
                best = label;
            }
        }
        best
    }
}

/// How a picture that is asked about stands to the one that was judged.
#[derive(Clone, Copy, Debug)]
enum Kinship {
    Itself,
    Near(f64),
    Theme,
}

/// Adds judgements of a picture to what is known when another is asked about; against where
/// the number is negative.
fn judge(balances: &mut Balances, judged: &Picture, judgements: f64, kinship: Kinship) {
    let label = judged.winner();
    let labels = judged.probabilities.len();
    let weight = standing(judged.probabilities[label], labels) * judgements;
    balances.theme[label] += weight;
    match kinship {
        Kinship::Itself => balances.itself[label] += weight,
        Kinship::Near(cosine) => balances.near[label] += weight * cosine,
        Kinship::Theme => {}
    }
}

/// A number of judgements from 1 to a million, every order of magnitude as likely.
fn count(random: &mut fastrand::Rng) -> f64 {
    10f64.powf(6.0 * random.f64()).round()
}

/// A theme that was judged, seen from a picture that is asked about.
struct World {
    asked: Picture,
    balances: Balances,
    alpha: f64,
}

impl World {
    fn random(random: &mut fastrand::Rng) -> Self {
        let labels = match random.usize(..10) {
            0 => 155,
            1..=3 => 2,
            4..=6 => 5,
            _ => random.usize(2..40),
        };
        let asked = Picture::random(random, labels);
        let mut balances = Balances::none(labels);
        let wrong = 0.5 * random.f64();
        for _ in 0..random.usize(..8) {
            let kinship = match random.usize(..4) {
                0 => Kinship::Itself,
                1 => Kinship::Near(0.85 + 0.15 * random.f64()),
                _ => Kinship::Theme,
            };
            let judged = match kinship {
                Kinship::Itself => asked.clone(),
                Kinship::Near(_) => asked.copy(random),
                Kinship::Theme => Picture::random(random, labels),
            };
            // Raters who are right, and a minority that is wrong.
            let sign = if random.bool() { 1.0 } else { -1.0 };
            let judgements = count(random);
            let against = (judgements * wrong * random.f64()).floor();
            judge(
                &mut balances,
                &judged,
                sign * (judgements - against),
                kinship,
            );
            judge(&mut balances, &judged, -sign * against, kinship);
        }
        let alpha = [0.05, 0.4, 1.0][random.usize(..3)];
        Self {
            asked,
            balances,
            alpha,
        }
    }

    fn scores(&self) -> Vec<f64> {
        scores(&self.asked, &self.balances, self.alpha)
    }
}

fn scores(asked: &Picture, balances: &Balances, alpha: f64) -> Vec<f64> {
    let probabilities = &asked.probabilities;
    moved(probabilities, &balances.affinities(), alpha).unwrap_or_else(|| probabilities.clone())
}

/// Each history with a generator of its own.
fn for_each_history(check: impl Fn(&mut fastrand::Rng, World, u64)) {
    for number in 0..HISTORIES as u64 {
        let seed = SEED + number;
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::random(&mut random);
        check(&mut random, world, seed);
    }
}

#[test]
fn scores_are_bounded() {
    for_each_history(|_, world, seed| {
        let affinities = world.balances.affinities();
        assert!(
            affinities.iter().all(|a| (-1.0..=1.0).contains(a)),
            "seed {seed}"
        );
        let after = world.scores();
        let sum: f64 = after.iter().sum();
        assert!((sum - 1.0).abs() < 1e-9, "seed {seed}: {sum}");
        let factors = || {
            after
                .iter()
                .zip(&world.asked.probabilities)
                .map(|(a, b)| a / b)
        };
        let widest = factors().fold(0.0, f64::max) / factors().fold(f64::INFINITY, f64::min);
        let bound = (2.0 * world.alpha).exp();
        assert!(
            widest <= bound * (1.0 + 1e-9),
            "seed {seed}: {widest} > {bound}"
        );
    });
}

#[test]
fn more_evidence_never_weakens() {
    for_each_history(|random, world, seed| {
        let labels = world.asked.probabilities.len();
        // The picture itself, a near copy, another of the theme.
        for kinship in [Kinship::Itself, Kinship::Near(0.93), Kinship::Theme] {
            let judged = match kinship {
                Kinship::Itself => world.asked.clone(),
                Kinship::Near(_) => world.asked.copy(random),
                Kinship::Theme => Picture::random(random, labels),
            };
            let label = judged.winner();
            for sign in [1.0, -1.0] {
                let mut balances = world.balances.clone();
                let mut last = scores(&world.asked, &balances, world.alpha)[label];
                let mut given = 0.0;
                for judgements in [1.0, 2.0, 3.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6] {
                    judge(&mut balances, &judged, sign * (judgements - given), kinship);
                    given = judgements;
                    let now = scores(&world.asked, &balances, world.alpha)[label];
                    let gained = sign * (now - last);
                    assert!(
                        gained >= -ROUNDING,
                        "seed {seed}, {kinship:?}, {judgements} judgements of sign {sign}: \
                         {last} to {now}"
                    );
                    last = now;
                }
            }
        }
    });
}

#[test]
fn without_evidence_and_without_weight_nothing_changes() {
    for_each_history(|_, world, seed| {
        let labels = world.asked.probabilities.len();
        let nothing = Balances::none(labels).affinities();
        assert!(
            nothing.iter().all(|affinity| *affinity == 0.0),
            "seed {seed}"
        );
        assert_eq!(
            moved(&world.asked.probabilities, &nothing, world.alpha),
            None
        );
        let affinities = world.balances.affinities();
        assert_eq!(moved(&world.asked.probabilities, &affinities, 0.0), None);
    });
}

#[test]
fn what_touches_all_labels_alike_has_no_effect_and_takes_none_away() {
    for_each_history(|random, world, seed| {
        let before = world.scores();
        let mut balances = world.balances.clone();
        for level in [
            &mut balances.theme,
            &mut balances.near,
            &mut balances.itself,
        ] {
            let common = if random.bool() { 1.0 } else { -1.0 } * count(random);
            for balance in level.iter_mut() {
                *balance += common;
            }
        }
        let after = scores(&world.asked, &balances, world.alpha);
        for (before, after) in before.iter().zip(&after) {
            assert!(
                (before - after).abs() < 1e-8,
                "seed {seed}: {before} to {after}"
            );
        }
        // And a picture that is like all labels alike says nothing of any.
        let labels = before.len();
        let flat = Picture::of(vec![1.0; labels]);
        judge(&mut balances, &flat, count(random), Kinship::Theme);
        let judged = scores(&world.asked, &balances, world.alpha);
        for (judged, after) in judged.iter().zip(&after) {
            assert!(
                (judged - after).abs() < 1e-8,
                "seed {seed}: {after} to {judged}"
            );
        }
    });
}

#[test]
fn acceptance_and_rejection_are_mirror_images() {
    for_each_history(|_, world, seed| {
        let negated = |list: &[f64]| list.iter().map(|balance| -balance).collect();
        let mirrored = Balances {
            theme: negated(&world.balances.theme),
            near: negated(&world.balances.near),
            itself: negated(&world.balances.itself),
        };
        let affinities = world.balances.affinities().into_iter();
        for (one, other) in affinities.zip(mirrored.affinities()) {
            assert!(
                (one + other).abs() < ROUNDING,
                "seed {seed}: {one} and {other}"
            );
        }
    });
}

#[test]
fn the_order_of_judgements_does_not_matter() {
    for number in 0..HISTORIES as u64 {
        let seed = SEED + number;
        let mut random = fastrand::Rng::with_seed(seed);
        let labels = random.usize(2..12);
        let asked = Picture::random(&mut random, labels);
        let mut events: Vec<_> = (0..random.usize(1..20))
            .map(|_| {
                let sign = if random.bool() { 1.0 } else { -1.0 };
                (
                    Picture::random(&mut random, labels),
                    sign * count(&mut random),
                )
            })
            .collect();
        let after = |events: &[(Picture, f64)]| {
            let mut balances = Balances::none(labels);
            for (judged, judgements) in events {
                judge(&mut balances, judged, *judgements, Kinship::Theme);
            }
            scores(&asked, &balances, 0.4)
        };
        let one = after(&events);
        random.shuffle(&mut events);
        for (one, other) in one.iter().zip(after(&events)) {
            assert!((one - other).abs() < 1e-9, "seed {seed}");
        }
    }
}

#[test]
fn a_minority_of_wrong_raters_cannot_turn_a_majority() {
    for_each_history(|random, world, seed| {
        let label = world.asked.winner();
        let labels = world.asked.probabilities.len();
        if standing(world.asked.probabilities[label], labels) == 0.0 {
            return;
        }
        let raters = count(random) + 2.0;
        let wrong = (raters * 0.499 * random.f64()).floor();
        let copy = world.asked.copy(random);
        for kinship in [Kinship::Itself, Kinship::Near(0.9), Kinship::Theme] {
            let asked = match kinship {
                Kinship::Itself => &world.asked,
                _ => &copy,
            };
            let plain = asked.probabilities[label];
            for sign in [1.0, -1.0] {
                let mut balances = Balances::none(labels);
                judge(&mut balances, &world.asked, -sign * wrong, kinship);
                judge(
                    &mut balances,
                    &world.asked,
                    sign * (raters - wrong),
                    kinship,
                );
                let now = scores(asked, &balances, world.alpha)[label];
                assert!(sign * (now - plain) >= 0.0, "seed {seed}: {plain} to {now}");
            }
        }
    });
}

#[test]
fn the_pictures_own_evidence_says_most_then_its_copies_then_its_theme() {
    let judged = |theme: f64, near: f64, itself: f64| {
        let level = |balance| vec![balance, 0.0];
        let balances = Balances {
            theme: level(theme),
            near: level(near),
            itself: level(itself),
        };
        balances.affinities()[0]
    };
    assert!(judged(1000.0, 0.0, 0.0) > 0.9);
    assert!(judged(1000.0, -10.0, 0.0) < -0.5, "copies outweigh a theme");
    assert!(judged(1000.0, -1000.0, 10.0) > 0.5, "itself outweighs both");
    assert!((judged(1.0, 0.0, 0.0) - 0.4).abs() < ROUNDING);
    assert!(judged(0.0, 0.0, 1.0) > judged(0.0, 1.0, 0.0));
    assert!(judged(0.0, 1.0, 0.0) > judged(1.0, 0.0, 0.0));
}

/// The cases of which the module says that other laws fail them.
#[test]
fn rejected_winners_sink_where_other_laws_raise_them() {
    let near = Picture::of(vec![0.40, 0.35, 0.25]);
    let first = Picture::of(vec![0.9, 0.05, 0.05]);
    let second = Picture::of(vec![0.51, 0.49, 0.0]);
    let asked = Picture::of(vec![0.5, 0.5, 1e-9]);
    let mut balances = Balances::none(3);
    let mut last = f64::INFINITY;
    for judged in [&near, &first, &second, &second, &second] {
        judge(&mut balances, judged, -1.0, Kinship::Theme);
        let now = scores(&asked, &balances, 0.4)[0];
        assert!(now < last, "{last} to {now}");
        last = now;
    }
}

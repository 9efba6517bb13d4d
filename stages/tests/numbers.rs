//! 300 pictures, reckoned anew: every number of an answer against `tests/reference/formulas.py`,
//! which knows the formulas of `stages/NUMBERS.md` and nothing of this program. No model's
//! weights come into it: pictures and labels are vectors of a small generator.

use std::sync::Arc;

use omnizap_contract::{Embedding, Runner, Scores, StageKind as _, Value};
use omnizap_services::softmax::logits;
use omnizap_services::store::{Feedback, ImageRecord, Look, LookLabels, Store, label_set};
use serde_json::Value as Json;

use crate::adaptive::Adaptive;
use crate::rank::Rank;
use crate::score::scores;
use crate::testing::{call, inputs, options, store};

const DIM: usize = 16;
const PICTURES: usize = 300;
const LABELS: usize = 24;
const SCALE: f64 = 6.0;
/// One that is not 1, for the same probabilities from other logits.
const TEMPERATURE: f64 = 0.7;
const JUDGEMENTS: usize = 150;
const ASKED: usize = 60;
const THEMES: usize = 2;

/// Answers have six decimals.
const TOLERANCE: f64 = 1e-6;

/// SplitMix64, as in the script.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.uniform() * bound as f64) as usize
    }

    fn vector(&mut self) -> Vec<f64> {
        (0..DIM).map(|_| 2.0 * self.uniform() - 1.0).collect()
    }
}

fn unit(vector: &[f64]) -> Vec<f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.iter().map(|x| (x / norm) as f32).collect()
}

fn pictures(random: &mut Random) -> Vec<Vec<f32>> {
    let mut found = Vec::new();
    for _ in 0..PICTURES / 3 {
        let first = random.vector();
        found.push(unit(&first));
        for _ in 0..2 {
            let noise = random.vector();
            let near: Vec<_> = first.iter().zip(noise).map(|(x, y)| x + 0.15 * y).collect();
            found.push(unit(&near));
        }
    }
    found
}

/// What the model would say of each picture, of some of the labels. Its logits are as much
/// larger as the temperature divides them by: the probabilities are the same at each.
fn seen(pictures: &[Vec<f32>], labels: &[Vec<f32>], temperature: f64) -> Vec<Scores> {
    let names: Vec<Arc<str>> = (0..LABELS).map(|label| name(label).into()).collect();
    let of_picture = |(number, picture): (usize, &Vec<f32>)| {
        let count = 2 + number % (LABELS - 1);
        let vectors = labels[..count].iter().map(Vec::as_slice);
        let logits = logits(picture, vectors, SCALE * temperature);
        scores(&names[..count], &logits, temperature)
    };
    pictures.iter().enumerate().map(of_picture).collect()
}

fn name(label: usize) -> String {
    format!("label {label}")
}

fn hash(picture: usize) -> String {
    format!("{picture:064x}")
}

fn expected() -> Json {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/numbers.json"
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn close(what: &str, picture: usize, found: &Json, expected: &Json) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    let difference = (found - expected).abs();
    assert!(
        difference <= TOLERANCE,
        "{what} of {picture}: {found} is not {expected}"
    );
}

async fn rank(scores: &Scores) -> impl Fn(&str) -> Json + use<> {
    let Runner::Inline(stage) = Rank.build(&options(&Rank, [])).await.unwrap() else {
        panic!("an inline stage");
    };
    let scores = Some(Value::from(scores.clone()));
    let outputs = crate::testing::run(&Rank, &*stage, [("scores", scores)], &call()).unwrap();
    move |field: &str| outputs.value(field).unwrap().to_json()
}

/// Checks what an answer makes of the probabilities.
#[track_caller]
fn probabilities(number: usize, answer: &impl Fn(&str) -> Json, row: &Json) {
    for (place, field) in [
        (1, "confidence"),
        (3, "confidence_margin"),
        (4, "entropy"),
        (5, "entropy_top_k"),
        (6, "entropy_normalized"),
    ] {
        close(field, number, &answer(field), &row[place]);
    }
}

#[tokio::test]
async fn every_number_of_300_pictures_is_that_of_its_formula() {
    let mut random = Random(20_261_125);
    let pictures = pictures(&mut random);
    let labels: Vec<_> = (0..LABELS).map(|_| unit(&random.vector())).collect();
    let tempered = seen(&pictures, &labels, TEMPERATURE);
    let seen = seen(&pictures, &labels, 1.0);
    let expected = expected();
    let rows = expected["pictures"].as_array().unwrap();
    assert_eq!(rows.len(), PICTURES);
    let mut ambiguous = 0;
    for (number, (scores, row)) in seen.iter().zip(rows).enumerate() {
        let answer = rank(scores).await;
        let winner = name(row[0].as_u64().unwrap() as usize);
        assert_eq!(answer("category"), winner, "of {number}");
        close("logit", number, &answer("raw_logits")[&winner], &row[2]);
        probabilities(number, &answer, row);
        probabilities(number, &rank(&tempered[number]).await, row);
        assert_eq!(answer("ambiguous"), row[7], "of {number}");
        ambiguous += usize::from(answer("ambiguous") == Json::Bool(true));
    }
    assert!(
        (PICTURES / 10..PICTURES * 9 / 10).contains(&ambiguous),
        "{ambiguous}"
    );
    let asked = expected["adapted"].as_array().unwrap();
    adapted(&mut random, &pictures, &seen, asked).await;
}

/// The same with feedback, through a store.
async fn adapted(random: &mut Random, pictures: &[Vec<f32>], seen: &[Scores], rows: &[Json]) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for (number, (vector, scores)) in pictures.iter().zip(seen).enumerate() {
        remember(&store, number, vector, scores).await;
    }
    for _ in 0..JUDGEMENTS {
        let among = if random.uniform() < 0.5 {
            ASKED
        } else {
            PICTURES
        };
        let picture = random.below(among);
        let theme = random.below(THEMES);
        let accepted = random.uniform() >= 0.4;
        for _ in 0..=random.below(3) {
            let feedback = Feedback {
                image_hash: hash(picture),
                theme: format!("theme {theme}"),
                accepted,
                asset_id: None,
                label_set: None,
                label: None,
            };
            store.record_feedback(&feedback).await.unwrap();
        }
    }
    let kind = Adaptive::new(store);
    let Runner::Async(stage) = kind.build(&options(&kind, [])).await.unwrap() else {
        panic!("an async stage");
    };
    assert_eq!(rows.len(), ASKED * THEMES);
    for row in rows {
        let picture = row[0].as_u64().unwrap() as usize;
        let name_of_it: Value = hash(picture).as_str().into();
        let asked = [
            ("scores", Some(Value::from(seen[picture].clone()))),
            ("theme", Some(format!("theme {}", row[5]).as_str().into())),
            ("image_hash", Some(name_of_it.clone())),
            ("content_hash", Some(name_of_it)),
            ("embedding", Some(embedding(&pictures[picture]).into())),
        ];
        let outputs = stage.run(inputs(&kind, asked), &call()).await.unwrap();
        let Some(Value::Scores(scores)) = outputs.value("scores") else {
            panic!("scores");
        };
        let answer = rank(scores).await;
        let winner = name(row[1].as_u64().unwrap() as usize);
        assert_eq!(answer("category"), winner, "of {picture}");
        close("confidence", picture, &answer("confidence"), &row[2]);
        for (place, field) in [(3, "affinity_weight"), (4, "affinity_weight_raw")] {
            close(
                field,
                picture,
                &outputs.value(field).unwrap().to_json(),
                &row[place],
            );
        }
    }
}

fn embedding(vector: &[f32]) -> Embedding {
    Embedding {
        model: "m@1".into(),
        vector: vector.into(),
    }
}

async fn remember(store: &Store, number: usize, vector: &[f32], scores: &Scores) {
    let labels = scores.iter().map(|score| &*score.label);
    let said = scores
        .iter()
        .map(|score| (&*score.label, score.probability));
    let record = ImageRecord {
        frames: None,
        nsfw: None,
        content_hash: hash(number).into(),
        image_hash: hash(number).into(),
        asset_id: None,
        embedding: Arc::new(embedding(vector)),
        keep_embedding: true,
        look: Some(Look {
            theme: "".into(),
            label_set: label_set(labels).into(),
            default_labels: true,
            labels: LookLabels::of(said),
        }),
    };
    store.remember(record).await.unwrap();
}

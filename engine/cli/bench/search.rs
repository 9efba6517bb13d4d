//! Searches for similar pictures, among vectors that are made.

use omnizap_services::vectors::{Query, Row, VectorIndex};

use super::Part;
use super::measured::{Measured, What};

/// Numbers of a vector, as most models give.
const DIM: usize = 512;
/// Pictures that are much alike: vectors of one centre.
const ALIKE: usize = 50;
/// How far they are from it, in each of their numbers.
const SPREAD: f32 = 0.5;
/// Questions, in turns.
const QUESTIONS: usize = 64;
/// Most pictures in an answer.
const ANSWERS: usize = 10;
/// How many of the newest are all compared, as the stage does where nothing else is said.
const SCANNED: usize = 3000;

const MODEL: &str = "measured@1";

/// Measures searches among so many vectors. Blocks: some seconds for 100,000 before the first.
///
/// # Errors
/// None: a search does not fail.
pub(super) fn measure(measured: &Measured, vectors: usize) -> anyhow::Result<()> {
    measured.tell(format!("making {vectors} vectors and their index"));
    let mut random = fastrand::Rng::with_seed(1);
    let index = VectorIndex::default();
    let mut questions = Vec::new();
    let mut centre = Vec::new();
    for number in 0..vectors {
        if number % ALIKE == 0 {
            centre = (0..DIM).map(|_| random.f32() - 0.5).collect();
        }
        let vector = near(&centre, &mut random);
        if number % vectors.div_ceil(QUESTIONS) == 0 {
            questions.push(near(&centre, &mut random));
        }
        let row = Row {
            image_hash: number.to_string().into(),
            content_hash: None,
            asset_id: None,
        };
        index.insert(MODEL, row, &vector);
    }
    index.tend();
    for (scan, how) in [(SCANNED, "by the index"), (0, "all compared")] {
        let mut turn = 0;
        let queries: Vec<Query> = questions
            .iter()
            .map(|vector| Query {
                model: MODEL.into(),
                vector: vector.as_slice().into(),
                threshold: -1.0,
                limit: ANSWERS,
                scan,
                image_hash: None,
                content_hash: None,
            })
            .collect();
        let name = format!("{ANSWERS} of {vectors}, {how}");
        measured.measure(What::new(Part::Similar, name, "searches"), || {
            turn = (turn + 1) % queries.len();
            std::hint::black_box(index.search(&queries[turn]));
            Ok(())
        })?;
    }
    Ok(())
}

/// A vector that is like others of that centre.
fn near(centre: &[f32], random: &mut fastrand::Rng) -> Vec<f32> {
    let numbers = centre.iter();
    numbers
        .map(|number| number + SPREAD * (random.f32() - 0.5))
        .collect()
}

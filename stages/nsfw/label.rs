//! Mode `label`: what the Python service did. The score of the first label that names unsafe
//! content: a client that leaves such labels out switches the check off.

use omnizap_contract::typed::In;
use omnizap_contract::{Call, Error, Health, Inputs, Observed, Outputs, Score, Scores, Stage};

use super::{facts, threshold, verdict};

pub(super) const CLIP_SCORES: In<Scores> =
    In::required("clip_scores", "what the model gave every label");

/// A label with one of these words in it names unsafe content.
const UNSAFE_WORDS: [&str; 5] = ["nsfw", "adult", "explicit", "porn", "sexual"];

pub(super) struct ByLabel {
    pub(super) threshold: f64,
}

impl Observed for ByLabel {
    fn health(&self) -> Health {
        Health {
            facts: facts("label"),
            ..Health::default()
        }
    }
}

impl Stage for ByLabel {
    fn run(&self, inputs: &Inputs, _call: &Call) -> Result<Outputs, Error> {
        let threshold = threshold(inputs, self.threshold)?;
        Ok(verdict(
            unsafe_label_score(inputs.get(CLIP_SCORES)?),
            threshold,
        ))
    }
}

/// The probability of the first label that names unsafe content, 0 if none does.
fn unsafe_label_score(scores: &[Score]) -> f64 {
    let names_it = |label: &str| {
        let label = label.to_lowercase();
        UNSAFE_WORDS.iter().any(|word| label.contains(word))
    };
    let found = scores.iter().find(|score| names_it(&score.label));
    found.map_or(0.0, |score| score.probability)
}

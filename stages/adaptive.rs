//! `adaptive`: scores that learn from feedback on a theme.
//!
//! # The formula
//!
//! ```text
//! score'(l) = p(l) (1 + alpha a(l)) / sum over k of p(k) (1 + alpha a(k))
//! ```
//!
//! `p` is what the model says, `alpha` (0 to 1) how much feedback may say, and `a(l)`,
//! between -1 and 1, what feedback says of label `l` under the request's theme. Every
//! label has its own `a`: one factor for all of them would cancel out.
//!
//! `a` is made of three kinds of evidence, each a count for (`A`) and against (`R`)
//! the label, the more specific one resting on the more general:
//!
//! ```text
//! theme      t(l) = (A - R)         / (A + R + 4)    all images that carried l
//! neighbours n(l) = (A - R + 3 t(l)) / (A + R + 3)   near images that carried l
//! image      a(l) = (A - R + 1.5 n(l)) / (A + R + 1.5)   this image, which carries l
//! ```
//!
//! Each line is the mean of a Beta distribution, mapped from 0..1 to -1..1, whose
//! prior has the mean of the line above and the weight of as many judgements as stand
//! in the denominator (empirical Bayes; Gelman et al., *Bayesian Data Analysis*,
//! chapter 5). From that follows what is wanted:
//!
//! - *neutral*: without evidence `a` is 0, and the scores are the very same;
//! - *shrunk*: one judgement of a theme moves `a` by 0.2, a hundred by 0.96;
//! - *bounded*: every line is a mean of numbers in -1..1, so the factor of a score is
//!   within `1 - alpha` and `1 + alpha`, and no label is ever ruled out;
//! - *monotone*: one more acceptance never lowers `a` of a label that the image carries;
//! - *specific first*: the prior's weight is smaller for the image itself than for its
//!   neighbours, and for those smaller than for the theme.
//!
//! An image counts for each label that it carries with the label's probability over
//! that of its first label; a neighbour moreover with its cosine. What feedback adds up
//! to for a label is kept beside the feedback, in a row of its own, so an answer reads
//! as many rows as it has labels, however much feedback there is.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Embedding, Error, Health, Input, Inputs, OptionSpec, OptionType,
    Options, Output, Outputs, PortType, Ports, Runner, Score, Scores, StageKind, StageSpec, Value,
};
use serde_json::json;

use crate::store::{Store, Tally, ThemeEvidence, carried, limits};
use crate::vector_index::Query;

/// Judgements that the prior of a theme weighs.
const THEME_PRIOR: f64 = 4.0;
/// Judgements that a theme weighs against those of the image's neighbours.
const NEIGHBOURS_PRIOR: f64 = 3.0;
/// Judgements that neighbours weigh against those of the image itself.
const IMAGE_PRIOR: f64 = 1.5;

/// Cosine from which an image is a neighbour: the default of similar images.
const NEIGHBOUR_THRESHOLD: f64 = 0.85;
/// Newest images that are looked through for neighbours.
const NEIGHBOUR_SCAN: usize = 3000;
/// The best of the model's labels, which an image is taken to carry.
const LABELS_CARRIED: usize = 5;
/// The share of the time left that feedback is waited for.
const TIME_SHARE: u32 = 4;
/// Decimals of the published weights.
const DECIMALS: u8 = 6;

/// The kind `adaptive`.
pub struct Adaptive {
    store: Store,
}

impl Adaptive {
    /// The kind, with the store that it learns from.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec {
    name: "adaptive".into(),
    doc: "moves the scores by what feedback says of each label under the theme".into(),
    options: vec![
        OptionSpec::new(
            "alpha",
            OptionType::Number { min: 0.0, max: 1.0 },
            0.4,
            "how far feedback may move a score: at most by this share of it, up or down",
        )
        .public("adaptive_alpha"),
        OptionSpec::new(
            "neighbours",
            OptionType::Integer { min: 0, max: 64 },
            8,
            "how many similar images have a say; 0 for none",
        ),
    ],
    feature: Some("adaptive_scoring".into()),
});

impl StageKind for Adaptive {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _options: &Options) -> Ports {
        let weight = |name: &'static str, doc: &'static str| {
            Output::new(name, PortType::Number, doc)
                .published(json!(0.0))
                .rounded(DECIMALS)
        };
        Ports {
            inputs: vec![
                Input::required("scores", PortType::Scores, "what the model says"),
                Input::optional("theme", PortType::Text, "the theme of the request"),
                Input::optional(
                    "image_hash",
                    PortType::Text,
                    "the name under which this image has feedback",
                ),
                Input::optional(
                    "embedding",
                    PortType::Embedding,
                    "the picture's vector, by which neighbours are found",
                ),
            ],
            outputs: vec![
                Output::new(
                    "scores",
                    PortType::Scores,
                    "the scores, moved by feedback; their sum stays 1",
                ),
                weight(
                    "affinity_weight",
                    "what feedback says of the winning label, -1 to 1",
                ),
                weight(
                    "affinity_weight_raw",
                    "share of acceptances among the judgements of this image and theme",
                ),
            ],
        }
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            self.store.start()?;
            Ok(Runner::Async(Arc::new(Adapter {
                store: self.store.clone(),
                alpha: options.number("alpha").unwrap_or(0.0),
                neighbours: usize::try_from(options.integer("neighbours").unwrap_or(0))
                    .unwrap_or(0),
            })))
        })
    }
}

struct Adapter {
    store: Store,
    alpha: f64,
    neighbours: usize,
}

impl AsyncStage for Adapter {
    fn health(&self) -> Health {
        Health {
            degraded: self.store.degraded(),
            ..Health::default()
        }
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let scores = inputs.scores("scores")?;
            let theme = inputs.optional_text("theme").map(|theme| theme.trim());
            let Some(theme) = theme.filter(|theme| may_have_feedback(theme)) else {
                return Ok(outputs(scores.clone(), 0.0, 0.0));
            };
            let image = inputs.optional_text("image_hash");
            let embedding = match inputs.get("embedding") {
                Some(Value::Embedding(embedding)) => Some(embedding),
                _ => None,
            };
            let near = self.near(embedding, image).await;
            let evidence = match self.evidence(theme, scores, image, &near, call).await {
                Ok(evidence) => evidence,
                Err(error) => {
                    // Health says so too, for as long as it lasts.
                    tracing::debug!(%error, request = %call.request_id, "scores without feedback");
                    return Ok(outputs(scores.clone(), 0.0, 0.0));
                }
            };
            Ok(self.adapt(scores, &evidence, image.map(|image| &**image), &near))
        })
    }
}

impl Adapter {
    /// The image's neighbours and their cosines.
    async fn near(
        &self,
        embedding: Option<&Arc<Embedding>>,
        image: Option<&Arc<str>>,
    ) -> Vec<(Arc<str>, f64)> {
        let Some(embedding) = embedding.filter(|_| self.neighbours > 0) else {
            return Vec::new();
        };
        let query = Query {
            model: embedding.model.clone(),
            vector: embedding.vector.clone(),
            threshold: NEIGHBOUR_THRESHOLD,
            limit: self.neighbours,
            scan: NEIGHBOUR_SCAN,
            image_hash: image.cloned(),
            content_hash: None,
        };
        let hits = self.store.similar(query).await;
        hits.into_iter()
            .map(|hit| (hit.image_hash, hit.similarity))
            .collect()
    }

    async fn evidence(
        &self,
        theme: &str,
        scores: &Scores,
        image: Option<&Arc<str>>,
        near: &[(Arc<str>, f64)],
        call: &Call,
    ) -> Result<ThemeEvidence, crate::store::StoreError> {
        let labels: Vec<_> = scores.iter().map(|score| &*score.label).collect();
        let images: Vec<_> = image
            .into_iter()
            .chain(near.iter().map(|(name, _)| name))
            .map(|name| &**name)
            .collect();
        let limit: Duration = call.remaining() / TIME_SHARE;
        self.store
            .theme_evidence(theme, &labels, &images, limit)
            .await
    }

    fn adapt(
        &self,
        scores: &Arc<Scores>,
        evidence: &ThemeEvidence,
        image: Option<&str>,
        near: &[(Arc<str>, f64)],
    ) -> Outputs {
        let weights = weights(scores, evidence, image, near);
        let own = evidence
            .images
            .iter()
            .find(|judged| Some(judged.image_hash.as_str()) == image);
        let raw = own.map_or(0.0, |judged| {
            let Tally { accepted, rejected } = judged.tally;
            let total = accepted + rejected;
            if total > 0.0 { accepted / total } else { 0.0 }
        });
        let scores = apply(scores, &weights, self.alpha);
        let winner = scores.iter().zip(&weights).reduce(|best, next| {
            if next.0.probability > best.0.probability {
                next
            } else {
                best
            }
        });
        outputs(
            scores.clone(),
            winner.map_or(0.0, |(_, weight)| *weight),
            raw,
        )
    }
}

/// False for a theme that feedback refuses: nothing can be known of it, and not every
/// database takes it in a question.
fn may_have_feedback(theme: &str) -> bool {
    !theme.is_empty()
        && theme.chars().nth(limits::THEME_CHARS).is_none()
        && !theme.chars().any(char::is_control)
}

fn outputs(scores: Arc<Scores>, weight: f64, raw: f64) -> Outputs {
    Outputs::new()
        .with("scores", Value::Scores(scores))
        .with("affinity_weight", weight)
        .with("affinity_weight_raw", raw)
}

/// What feedback says of each label: `a(l)`, -1 to 1, in the order of the scores.
fn weights(
    scores: &Scores,
    evidence: &ThemeEvidence,
    image: Option<&str>,
    near: &[(Arc<str>, f64)],
) -> Vec<f64> {
    let key = |label: &str| label.trim().to_lowercase();
    let places: HashMap<_, _> = scores
        .iter()
        .enumerate()
        .map(|(place, score)| (key(&score.label), place))
        .collect();
    let mut neighbours = vec![Tally::default(); scores.len()];
    let mut itself = vec![Tally::default(); scores.len()];
    for judged in &evidence.images {
        if Some(judged.image_hash.as_str()) == image {
            // What the image carries is what the model says of it now.
            let now = scores
                .iter()
                .map(|score| (&*score.label, score.probability));
            for label in carried(now).into_iter().take(LABELS_CARRIED) {
                if let Some(&place) = places.get(&key(&label.label)) {
                    add(&mut itself[place], judged.tally, label.weight);
                }
            }
            continue;
        }
        let cosine = near
            .iter()
            .find(|(name, _)| **name == *judged.image_hash)
            .map_or(0.0, |(_, cosine)| cosine.max(0.0));
        for label in &judged.labels {
            if let Some(&place) = places.get(&key(&label.label)) {
                add(&mut neighbours[place], judged.tally, label.weight * cosine);
            }
        }
    }
    (0..scores.len())
        .map(|place| {
            let theme = evidence.labels.get(place).copied().unwrap_or_default();
            let theme = mean(theme, THEME_PRIOR, 0.0);
            let neighbours = mean(neighbours[place], NEIGHBOURS_PRIOR, theme);
            mean(itself[place], IMAGE_PRIOR, neighbours)
        })
        .collect()
}

fn add(sum: &mut Tally, tally: Tally, weight: f64) {
    sum.accepted += tally.accepted * weight;
    sum.rejected += tally.rejected * weight;
}

/// Mean of the Beta distribution after that evidence, mapped to -1..1.
fn mean(tally: Tally, prior_weight: f64, prior_mean: f64) -> f64 {
    let Tally { accepted, rejected } = tally;
    (accepted - rejected + prior_weight * prior_mean) / (accepted + rejected + prior_weight)
}

/// The scores times what feedback says, their sum 1 again; the same ones where it says
/// nothing.
fn apply(scores: &Arc<Scores>, weights: &[f64], alpha: f64) -> Arc<Scores> {
    if weights.iter().all(|weight| alpha * weight == 0.0) {
        return scores.clone();
    }
    let moved: Vec<f64> = scores
        .iter()
        .zip(weights)
        .map(|(score, weight)| score.probability * (1.0 + alpha * weight))
        .collect();
    let sum: f64 = moved.iter().sum();
    if !sum.is_finite() || sum <= 0.0 {
        return scores.clone();
    }
    let moved = scores.iter().zip(moved).map(|(score, moved)| Score {
        probability: moved / sum,
        ..score.clone()
    });
    Arc::new(Scores(moved.collect()))
}

#[cfg(test)]
mod tests;

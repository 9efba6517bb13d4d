//! `adaptive`: scores that learn from feedback on a theme.
//!
//! [`law`] says how, and why so. Here is what it is told: what feedback adds up to for each
//! label of the theme, which is kept beside the feedback; what was said of near copies, each
//! of which counts for the labels that it was judged as; and what was said of the picture
//! itself, which counts for the label that the model puts first now, or for those that were
//! named. An answer reads as many rows as it has labels, however much feedback there is.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Error, Health, Input, Inputs, OptionSpec, OptionType, Options,
    Output, Outputs, PortType, Ports, Runner, Score, Scores, StageKind, StageSpec, Value,
};
use omnizap_services::store::{
    Asked, Store, StoreError, Tally, ThemeEvidence, label_key, limits, standing,
};
use omnizap_services::vectors::{Hit, Query};
use serde_json::json;

use self::law::Balances;

mod law;

/// Cosine from which an image is a neighbour: the default of similar images.
const NEIGHBOUR_THRESHOLD: f64 = 0.85;
/// Newest images that are looked through for neighbours.
const NEIGHBOUR_SCAN: usize = 3000;
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
            "how far feedback may move scores: the odds of two labels at most by exp(2 alpha)",
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
                    "content_hash",
                    PortType::Text,
                    "the hash of its bytes, by which it has all its other names",
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
    fn idle(&self) -> Option<String> {
        (self.alpha == 0.0).then(|| "alpha is 0, so that feedback changes nothing".to_owned())
    }

    fn health(&self) -> Health {
        self.store.health()
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
            let question = Question {
                image: inputs.optional_text("image_hash"),
                content: inputs.optional_text("content_hash"),
                near: self.near(inputs).await,
            };
            match self.evidence(theme, scores, &question, call).await {
                Ok(evidence) => Ok(self.adapt(scores, &evidence, &question)),
                Err(error) => {
                    // Health says so too, for as long as it lasts.
                    tracing::debug!(%error, request = %call.request_id, "scores without feedback");
                    Ok(outputs(scores.clone(), 0.0, 0.0))
                }
            }
        })
    }
}

/// The pictures that are asked about.
struct Question<'a> {
    /// A name of the picture itself.
    image: Option<&'a Arc<str>>,
    /// The hash of its bytes.
    content: Option<&'a Arc<str>>,
    /// Its near copies.
    near: Vec<Hit>,
}

impl Question<'_> {
    /// The picture itself, if it has a name, then its near copies.
    fn asked(&self) -> impl Iterator<Item = Asked<'_>> {
        let content = self.content.map(|content| &**content);
        let itself = self.image.map(|name| &**name).or(content);
        let itself = itself.map(|image_hash| Asked {
            image_hash,
            content_hash: content,
        });
        let near = self.near.iter().map(|hit| Asked {
            // What a client last called it is one of its names only where it has no other.
            image_hash: hit.content_hash.as_ref().unwrap_or(&hit.image_hash),
            content_hash: hit.content_hash.as_deref(),
        });
        itself.into_iter().chain(near)
    }
}

impl Adapter {
    /// The images that look most like the one asked about.
    async fn near(&self, inputs: &Inputs) -> Vec<Hit> {
        let Some(Value::Embedding(embedding)) = inputs.get("embedding") else {
            return Vec::new();
        };
        if self.neighbours == 0 {
            return Vec::new();
        }
        let query = Query {
            model: embedding.model.clone(),
            vector: embedding.vector.clone(),
            threshold: NEIGHBOUR_THRESHOLD,
            limit: self.neighbours,
            scan: NEIGHBOUR_SCAN,
            image_hash: inputs.optional_text("image_hash").cloned(),
            content_hash: inputs.optional_text("content_hash").cloned(),
        };
        self.store.similar(query).await
    }

    async fn evidence(
        &self,
        theme: &str,
        scores: &Scores,
        question: &Question<'_>,
        call: &Call,
    ) -> Result<ThemeEvidence, StoreError> {
        let labels: Vec<_> = scores.iter().map(|score| &*score.label).collect();
        let images: Vec<_> = question.asked().collect();
        let limit: Duration = call.remaining() / TIME_SHARE;
        self.store
            .theme_evidence(theme, &labels, &images, limit)
            .await
    }

    fn adapt(
        &self,
        scores: &Arc<Scores>,
        evidence: &ThemeEvidence,
        question: &Question<'_>,
    ) -> Outputs {
        let affinities = balances(scores, evidence, question).affinities();
        let is_named = question.image.or(question.content).is_some();
        let itself = evidence.images.first().filter(|_| is_named);
        let raw = itself.map_or(0.0, |itself| {
            let Tally { accepted, rejected } = itself.tally;
            let total = accepted + rejected;
            if total > 0.0 { accepted / total } else { 0.0 }
        });
        let scores = apply(scores, &affinities, self.alpha);
        let winner = first(&scores);
        outputs(scores, winner.map_or(0.0, |place| affinities[place]), raw)
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

/// The place of the likeliest label; of equals the one whose name comes first, whatever the
/// order of the labels.
fn first(scores: &Scores) -> Option<usize> {
    let order = |a: &usize, b: &usize| {
        let (a, b) = (&scores[*a], &scores[*b]);
        let by_name = || b.label.cmp(&a.label);
        a.probability.total_cmp(&b.probability).then_with(by_name)
    };
    (0..scores.len()).max_by(order)
}

/// The evidence, by label.
fn balances(scores: &Scores, evidence: &ThemeEvidence, question: &Question<'_>) -> Balances {
    let mut balances = Balances::none(scores.len());
    for (balance, tally) in balances.theme.iter_mut().zip(&evidence.labels) {
        *balance = tally.net();
    }
    if evidence
        .images
        .iter()
        .all(|image| image.tally == Tally::default())
    {
        return balances;
    }
    let places: HashMap<_, _> = scores
        .iter()
        .enumerate()
        .map(|(place, score)| (label_key(&score.label), place))
        .collect();
    let mut images = evidence.images.iter();
    if question.image.or(question.content).is_some()
        && let Some(itself) = images.next()
    {
        // What it is about is what the model says of it now, unless a label was named.
        let standing = |place: usize| standing(scores[place].probability, scores.len());
        let mut unnamed = itself.tally.net();
        for (key, tally) in &itself.named {
            unnamed -= tally.net();
            if let Some(&place) = places.get(key) {
                balances.itself[place] += tally.net() * standing(place);
            }
        }
        if let Some(place) = first(scores) {
            balances.itself[place] += unnamed * standing(place);
        }
    }
    for (image, hit) in images.zip(&question.near) {
        let cosine = hit.similarity.max(0.0);
        for (key, tally) in &image.credited {
            if let Some(&place) = places.get(key) {
                balances.near[place] += tally.net() * cosine;
            }
        }
    }
    balances
}

/// The scores, moved by what feedback says; the same ones where it says nothing.
fn apply(scores: &Arc<Scores>, affinities: &[f64], alpha: f64) -> Arc<Scores> {
    let probabilities: Vec<_> = scores.iter().map(|score| score.probability).collect();
    let Some(moved) = law::moved(&probabilities, affinities, alpha) else {
        return scores.clone();
    };
    let moved = scores.iter().zip(moved).map(|(score, probability)| Score {
        probability,
        ..score.clone()
    });
    Arc::new(Scores(moved.collect()))
}

#[cfg(test)]
mod tests;

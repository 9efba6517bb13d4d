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

use omnizap_contract::common::fold::fold;
use omnizap_contract::typed::{In, Opt, Out, Text};
use omnizap_contract::{
    AsyncStage, Call, Embedding, Error, Health, Inputs, Observed, Options, Outputs, Ports, Runner,
    Score, Scores, StageKind, StageSpec,
};
use omnizap_services::store::{
    Asked, Store, StoreError, Tally, ThemeEvidence, label_key, limits, standing,
};
use omnizap_services::vectors::{Hit, Query};

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

const SCORES: In<Scores> = In::required("scores", "what the model says");
const THEME: In<Option<Text>> =
    In::optional("theme", "the theme of the request; case does not count");
const IMAGE_HASH: In<Option<Text>> =
    In::optional("image_hash", "the name under which this image has feedback");
const CONTENT_HASH: In<Option<Text>> = In::optional(
    "content_hash",
    "the hash of its bytes, by which it has all its other names",
);
const EMBEDDING: In<Option<Embedding>> = In::optional(
    "embedding",
    "the picture's vector, by which neighbours are found",
);
const MOVED: Out<Scores> = Out::new("scores", "the scores, moved by feedback; their sum stays 1");
const AFFINITY_WEIGHT: Out<f64> = Out::new(
    "affinity_weight",
    "what feedback says of the winning label, -1 to 1",
)
.published("0.0")
.rounded(DECIMALS);
const AFFINITY_WEIGHT_RAW: Out<f64> = Out::new(
    "affinity_weight_raw",
    "share of acceptances among the judgements of this image and theme",
)
.published("0.0")
.rounded(DECIMALS);

const ALPHA: Opt<f64> = Opt::number(
    "alpha",
    0.4,
    "how far feedback may move scores: the odds of two labels at most by exp(2 alpha)",
)
.within(0.0, 1.0)
.public("adaptive_alpha");
const NEIGHBOURS: Opt<usize> = Opt::count(
    "neighbours",
    8,
    "how many similar images have a say; 0 for none",
)
.within(0, 64);

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

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let doc = "moves the scores by what feedback says of each label under the theme";
    StageSpec::new("adaptive", doc, [ALPHA.spec(), NEIGHBOURS.spec()])
        .feature("adaptive_scoring")
        .pure()
});

impl StageKind for Adaptive {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::new(
            [
                SCORES.port(),
                THEME.port(),
                IMAGE_HASH.port(),
                CONTENT_HASH.port(),
                EMBEDDING.port(),
            ],
            [
                MOVED.port(),
                AFFINITY_WEIGHT.port(),
                AFFINITY_WEIGHT_RAW.port(),
            ],
        )
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        self.store.start()?;
        Ok(Runner::waits(Adapter {
            store: self.store.clone(),
            alpha: options.get(ALPHA),
            neighbours: options.get(NEIGHBOURS),
        }))
    }
}

struct Adapter {
    store: Store,
    alpha: f64,
    neighbours: usize,
}

impl Observed for Adapter {
    fn idle(&self) -> Option<String> {
        (self.alpha == 0.0).then(|| "alpha is 0, so that feedback changes nothing".to_owned())
    }

    fn health(&self) -> Health {
        self.store.health()
    }
}

impl AsyncStage for Adapter {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let scores = inputs.get(SCORES)?;
        // As feedback keeps it.
        let theme = inputs.get(THEME)?.map(|theme| fold(theme));
        let Some(theme) = theme.filter(|theme| may_have_feedback(theme)) else {
            return Ok(outputs(scores.clone(), 0.0, 0.0));
        };
        let question = Question {
            image: inputs.get(IMAGE_HASH)?,
            content: inputs.get(CONTENT_HASH)?,
            near: self.near(&inputs).await?,
        };
        match self.evidence(&theme, scores, &question, call).await {
            Ok(evidence) => Ok(self.adapt(scores, &evidence, &question)),
            Err(error) => {
                // Health says so too, for as long as it lasts.
                tracing::debug!(%error, request = %call.request_id, "scores without feedback");
                Ok(outputs(scores.clone(), 0.0, 0.0))
            }
        }
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
    async fn near(&self, inputs: &Inputs) -> Result<Vec<Hit>, Error> {
        let Some(embedding) = inputs.get(EMBEDDING)? else {
            return Ok(Vec::new());
        };
        if self.neighbours == 0 {
            return Ok(Vec::new());
        }
        let query = Query {
            model: embedding.model.clone(),
            vector: embedding.vector.clone(),
            threshold: NEIGHBOUR_THRESHOLD,
            limit: self.neighbours,
            scan: NEIGHBOUR_SCAN,
            image_hash: inputs.get(IMAGE_HASH)?.cloned(),
            content_hash: inputs.get(CONTENT_HASH)?.cloned(),
        };
        Ok(self.store.similar(query).await)
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
        .with(MOVED, scores)
        .with(AFFINITY_WEIGHT, weight)
        .with(AFFINITY_WEIGHT_RAW, raw)
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

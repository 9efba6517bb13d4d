//! Mode `model`: a classifier of its own, which knows neither the request's labels nor the model
//! that embeds pictures. What it said of a picture before is not computed again. Of a sample of
//! frames it looks at each, and what it says of the least safe one is said of all: one frame is
//! enough for a picture that must not be shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use omnizap_contract::typed::{In, Out};
use omnizap_contract::{
    AsyncStage, Call, Counters, Embedding, Error, Facts, Health, Image, Inputs, Observed, Options,
    Outputs, Runner, Tensor,
};
use omnizap_services::Services;
use omnizap_services::inference::frames::{self, Sample, Which};
use omnizap_services::inference::nsfw::{self, NSFW_CLASSES, NsfwClasses, NsfwModel, is_classes};
use serde_json::{Map, Value as Json, json};

use super::{CLASSES, facts, threshold, verdict};

pub(super) const IMAGE: In<Option<Image>> = In::optional(
    "image",
    "the decoded picture; not needed where `nsfw_recalled` is there",
)
.unless(NSFW_RECALLED);
/// The same where several frames stand for the picture.
pub(super) const FRAMES: [In<Option<Tensor>>; 3] = [
    frames::TAKEN_FRAMES.unless(NSFW_RECALLED),
    frames::TAKEN_WEIGHTS.unless(NSFW_RECALLED),
    frames::TAKEN_NUMBERS.unless(NSFW_RECALLED),
];
pub(super) const NSFW_RECALLED: In<Option<Embedding>> = In::optional(
    "nsfw_recalled",
    "what the model gave its classes when it saw the picture before",
);
pub(super) const NSFW_PROBABILITIES: Out<Embedding> = Out::new(
    "nsfw_probabilities",
    "what the model gave its classes, where it was not known before",
)
.optional();

pub(super) async fn build(
    services: &Services,
    options: &Options,
    threshold: f64,
) -> Result<Runner, Error> {
    let model = services.nsfw_model().await?;
    Ok(Runner::waits(ByModel {
        id: nsfw::id(options)?,
        model,
        frames: options.get(frames::FRAMES),
        threshold,
        computed: AtomicU64::new(0),
    }))
}

struct ByModel {
    model: Arc<NsfwModel>,
    /// Under which its probabilities are kept.
    id: Arc<str>,
    frames: Which,
    threshold: f64,
    /// Pictures that the model looked at.
    computed: AtomicU64,
}

impl ByModel {
    /// What was known of the picture, where it is of this model and of pictures prepared this way.
    fn recalled(&self, inputs: &Inputs) -> Result<Option<Arc<[f32]>>, Error> {
        let known = inputs.get(NSFW_RECALLED)?;
        let known = known.filter(|known| known.model == self.id);
        Ok(known.map(|known| known.vector.clone()))
    }
}

impl Observed for ByModel {
    fn describe(&self) -> Facts {
        Facts::new().with("nsfw_model", self.model.name())
    }

    fn health(&self) -> Health {
        Health {
            facts: facts("model").and(self.describe()),
            ..Health::default()
        }
    }

    fn counters(&self) -> Counters {
        Counters::new()
            .total("computed", self.computed.load(Ordering::Relaxed))
            .group("queue", self.model.counters())
    }
}

impl AsyncStage for ByModel {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let threshold = threshold(&inputs, self.threshold)?;
        if let Some(known) = self.recalled(&inputs)? {
            return answer(&known, threshold);
        }
        let vector = match self.frames {
            Which::First | Which::Content => {
                let image = inputs.get(IMAGE)?.ok_or_else(not_decoded)?.clone();
                // The model holds it until it has made what it looks at of it.
                drop(inputs);
                self.model.classify(image, call).await?
            }
            Which::Sample => {
                let sample = Sample::of(&inputs)?.ok_or_else(not_decoded)?;
                self.model.classify_frames(&sample.images, call).await?
            }
        };
        self.computed.fetch_add(1, Ordering::Relaxed);
        let outputs = answer(&vector, threshold)?;
        let model = self.id.clone();
        Ok(outputs.with(NSFW_PROBABILITIES, Embedding { model, vector }))
    }
}

fn not_decoded() -> Error {
    Error::misconfigured(
        "nothing is known of the picture and it was not decoded: `decode` must run where `recall` \
         says `nsfw_unknown`, whose option `nsfw_mode` must be `model`, and all three must have the \
         same `frames` and `max_frames`",
    )
}

/// The verdict on what the model gave its classes.
fn answer(probabilities: &[f32], threshold: f64) -> Result<Outputs, Error> {
    let classes = <[f32; NSFW_CLASSES.len()]>::try_from(probabilities).ok();
    let classes = classes.filter(|classes| is_classes(classes));
    let classes = classes.ok_or_else(|| Error::internal("the nsfw model gave no probabilities"))?;
    let named = NSFW_CLASSES.iter().zip(classes);
    let named: Map<String, Json> = named
        .map(|(name, share)| (name.to_lowercase(), json!(f64::from(share))))
        .collect();
    let score = NsfwClasses(classes).score();
    Ok(verdict(score, threshold).with(CLASSES, Json::Object(named)))
}

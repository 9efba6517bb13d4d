//! Mode `model`: a classifier of its own, which knows neither the request's labels nor the model
//! that embeds pictures. What it said of a picture before is not computed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Embedding, Error, Health, Input, Inputs, Options, Output, Outputs,
    PortType, Runner, Value,
};
use omnizap_services::Services;
use omnizap_services::inference::nsfw::{NSFW_CLASSES, NsfwClasses, NsfwModel, is_classes};
use serde_json::{Map, Value as Json, json};

use super::{facts, threshold, verdict};

pub(super) fn inputs() -> Vec<Input> {
    vec![
        Input::optional(
            "image",
            PortType::Image,
            "the decoded picture; not needed where `nsfw_recalled` is there",
        )
        .unless("nsfw_recalled"),
        Input::optional(
            "nsfw_recalled",
            PortType::Embedding,
            "what the model gave its classes when it saw the picture before",
        ),
    ]
}

pub(super) fn outputs() -> Vec<Output> {
    vec![
        Output::new(
            "nsfw_probabilities",
            PortType::Embedding,
            "what the model gave its classes, where it was not known before",
        )
        .optional(),
    ]
}

pub(super) async fn build(
    services: &Services,
    options: &Options,
    threshold: f64,
) -> Result<Runner, Error> {
    let model = services.nsfw_model().await?;
    Ok(Runner::Async(Arc::new(ByModel {
        id: model.id(options),
        model,
        threshold,
        computed: AtomicU64::new(0),
    })))
}

struct ByModel {
    model: Arc<NsfwModel>,
    /// Under which its probabilities are kept.
    id: Arc<str>,
    threshold: f64,
    /// Pictures that the model looked at.
    computed: AtomicU64,
}

impl ByModel {
    /// What was known of the picture, where it is of this model and of pictures prepared this way.
    fn recalled(&self, inputs: &Inputs) -> Option<Arc<[f32]>> {
        match inputs.get("nsfw_recalled") {
            Some(Value::Embedding(known)) if known.model == self.id => Some(known.vector.clone()),
            _ => None,
        }
    }
}

impl AsyncStage for ByModel {
    fn describe(&self) -> Map<String, Json> {
        let mut facts = Map::new();
        facts.insert("nsfw_model".into(), json!(self.model.name()));
        facts
    }

    fn health(&self) -> Health {
        let mut facts = facts("model");
        facts.extend(self.describe());
        Health {
            facts,
            ..Health::default()
        }
    }

    fn counters(&self) -> Map<String, Json> {
        let computed = self.computed.load(Ordering::Relaxed);
        Map::from_iter([("computed".to_owned(), json!(computed))])
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let threshold = threshold(inputs, self.threshold)?;
            if let Some(known) = self.recalled(inputs) {
                return answer(&known, threshold);
            }
            let Some(Value::Image(image)) = inputs.get("image") else {
                return Err(Error::internal(
                    "nothing is known of the picture and it was not decoded: `decode` must run \
                     where `recall` says `nsfw_unknown`, whose option `nsfw_mode` must be `model`",
                ));
            };
            let vector = self.model.classify(image.clone(), call).await?;
            self.computed.fetch_add(1, Ordering::Relaxed);
            let outputs = answer(&vector, threshold)?;
            let model = self.id.clone();
            Ok(outputs.with("nsfw_probabilities", Embedding { model, vector }))
        })
    }
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
    Ok(verdict(score, threshold).with("nsfw_classes", Json::Object(named)))
}

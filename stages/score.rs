//! `score`: how well each label fits a picture.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Error, ErrorKind, Health, Input, Inputs, OptionFault, OptionSpec,
    OptionType, Options, Output, Outputs, PortType, Ports, Runner, Score, Scores, StageKind,
    StageSpec, Value,
};
use omnizap_services::Services;
use omnizap_services::inference::clip::{self, ClipModel, Temperature};
use omnizap_services::inference::pool::TextForm;
use omnizap_services::labels::{self, Bounds, OverLimit};
use omnizap_services::softmax::{logits, softmax};
use serde_json::{Map, Value as Json, json};

use floor::Floor;

mod defaults;
mod floor;

/// The kind `score`.
pub struct ScoreLabels {
    services: Services,
}

impl ScoreLabels {
    /// The kind, with the services that hold the models.
    #[must_use]
    pub fn new(services: &Services) -> Self {
        let services = services.clone();
        Self { services }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let mut options = vec![
        OptionSpec::new(
            "templates",
            OptionType::Choice((&["model", "none"]).into()),
            "model",
            "`model` averages each label over the model's prompt templates, `none` takes it as it is",
        ),
        OptionSpec::new(
            "max_labels",
            OptionType::Integer { min: 1, max: 4096 },
            256,
            "most different labels of a request",
        )
        .public("max_labels"),
        OptionSpec::new(
            "over_limit",
            OptionType::Choice((&["reject", "cut"]).into()),
            "reject",
            "a request with more labels than that is refused, or loses the last ones",
        ),
        OptionSpec::new(
            "max_label_chars",
            OptionType::Integer {
                min: 1,
                max: 10_000,
            },
            200,
            "most characters of a label",
        )
        .public("max_label_chars"),
        OptionSpec::new(
            "long_labels",
            OptionType::Choice((&["reject", "cut"]).into()),
            "reject",
            "a label with more tokens than the model reads is refused, or loses its end",
        ),
        OptionSpec::new(
            "default_labels_json",
            OptionType::Text,
            "",
            "the labels of a request that brings none, as a JSON list; wins over the path",
        ),
        OptionSpec::new(
            "default_labels_path",
            OptionType::Text,
            "",
            "a file with those labels, a JSON list or one a line; empty: the model's own",
        ),
        OptionSpec::new(
            "calibrate",
            OptionType::Bool,
            true,
            "whether logits are divided by the model's temperature for so many labels, which makes probabilities honest",
        ),
        OptionSpec::new(
            "no_match",
            OptionType::Bool,
            true,
            "whether the answer says that no label describes the picture",
        ),
        OptionSpec::new(
            "keep_default_labels",
            OptionType::Bool,
            true,
            "whether the embeddings of default labels are kept in the database for the next start",
        ),
    ];
    options.extend(clip::options());
    StageSpec {
        name: "score".into(),
        doc: "compares the picture with each label: scaled cosines and their softmax".into(),
        options,
        feature: None,
    }
});

impl StageKind for ScoreLabels {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let no_match = options.bool("no_match").unwrap_or(true).then(|| {
            Output::new(
                "no_match",
                PortType::Bool,
                "true where no label describes the picture better than chance; null until that can be told",
            )
            .optional()
            .published(Json::Null)
        });
        let mut ports = Ports {
            inputs: vec![
                Input::required("embedding", PortType::Embedding, "the picture's vector"),
                Input::optional(
                    "labels",
                    PortType::TextList,
                    "the labels to choose from; the default ones where absent or empty",
                ),
            ],
            outputs: vec![
                Output::new(
                    "labels",
                    PortType::TextList,
                    "the labels that were scored: trimmed, without repetitions",
                )
                .published(json!([])),
                Output::new(
                    "default_labels",
                    PortType::Bool,
                    "true where the request brought no labels of its own",
                ),
                Output::new(
                    "scores",
                    PortType::Scores,
                    "logit and probability of every label, in their order",
                ),
                Output::new(
                    "clip_scores",
                    PortType::Scores,
                    "the same, for those who want what the model alone said",
                ),
            ],
        };
        ports.outputs.extend(no_match);
        ports
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        let json = options.text("default_labels_json").unwrap_or_default();
        match defaults::from_json(json) {
            Ok(_) => Ok(()),
            Err(message) => Err(vec![OptionFault {
                option: "default_labels_json".into(),
                message,
            }]),
        }
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            let model = self.services.model_of(options).await?;
            let bounds = Bounds::of(options);
            let default_labels: Arc<[Arc<str>]> = match defaults::configured(options)? {
                Some(labels) => labels::normalise(&labels, bounds)?.into(),
                // Nobody asked for these: they are cut where they are too many.
                None => {
                    let over_limit = OverLimit::Cut;
                    let bounds = Bounds {
                        over_limit,
                        ..bounds
                    };
                    labels::normalise(&defaults::of_model(&model)?, bounds)?.into()
                }
            };
            let form = match options.text("templates") {
                Some("none") => TextForm::Raw,
                _ => TextForm::Label,
            };
            let floor = match options.bool("no_match") {
                Some(false) => None,
                _ => Some(Floor::of(&model)?),
            };
            let scorer = Scorer {
                temperature: match options.bool("calibrate") {
                    Some(false) => UNCALIBRATED,
                    _ => model.confidence().temperature,
                },
                floor: floor.clone(),
                model: model.clone(),
                form,
                bounds,
                cuts_long_labels: options.text("long_labels") == Some("cut"),
                default_labels: default_labels.clone(),
            };
            scorer.ensure_whole(&default_labels).await?;
            let kept = options.bool("keep_default_labels") == Some(true);
            let store = kept.then(|| self.services.store());
            let default_ones = model.warm_up(default_labels, form, store.clone());
            if let Some(Floor::OverChance(chance)) = &floor {
                chance.warm_up(model, form, store, default_ones);
            }
            Ok(Runner::Async(Arc::new(scorer)))
        })
    }
}

/// The temperature of the plain softmax, for any number of labels.
const UNCALIBRATED: Temperature = Temperature {
    base: 1.0,
    per_ln_label: 0.0,
};

/// Labels in their order.
type Labels = Arc<[Arc<str>]>;

struct Scorer {
    model: Arc<ClipModel>,
    form: TextForm,
    bounds: Bounds,
    cuts_long_labels: bool,
    default_labels: Arc<[Arc<str>]>,
    /// What logits are divided by, before they become probabilities.
    temperature: Temperature,
    /// What the best label must reach; none where nobody asks.
    floor: Option<Floor>,
}

impl Scorer {
    /// The request's labels, or the default ones; and whether they are those.
    fn labels(&self, inputs: &Inputs) -> Result<(Labels, bool), Error> {
        let sent = match inputs.optional_text_list("labels") {
            Some(labels) => labels::normalise(labels, self.bounds)?,
            None => Vec::new(),
        };
        if !sent.is_empty() {
            return Ok((sent.into(), false));
        }
        if self.default_labels.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "labels: none were sent and this service has no default ones; send some",
            )
            .with_code("no_labels"));
        }
        Ok((self.default_labels.clone(), true))
    }

    /// Refuses labels that the model would read only the beginning of: two that differ behind
    /// it would get the same score.
    async fn ensure_whole(&self, labels: &Arc<[Arc<str>]>) -> Result<(), Error> {
        if self.cuts_long_labels {
            return Ok(());
        }
        match self.model.first_cut(labels, self.form).await? {
            None => Ok(()),
            Some(place) => Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "labels: label {} has more tokens than the model's text tower reads; shorten it",
                    place + 1
                ),
            )
            .with_code("label_too_long")),
        }
    }
}

impl AsyncStage for Scorer {
    fn describe(&self) -> Map<String, Json> {
        let labels: Vec<&str> = self.default_labels.iter().map(|label| &**label).collect();
        let never_taught = |label: &&str| {
            let unknown = self.model.unknown_labels().iter();
            unknown.map(String::as_str).any(|own| own == *label)
        };
        let unknown: Vec<&str> = labels.iter().copied().filter(never_taught).collect();
        let mut settings = Map::new();
        settings.insert("default_labels".into(), json!(labels));
        settings.insert("unknown_labels".into(), json!(unknown));
        // Who asks for more labels than a request may have needs it to put the answers together.
        settings.insert("temperature".into(), json!(self.temperature));
        settings
    }

    fn health(&self) -> Health {
        match &self.floor {
            Some(Floor::OverChance(chance)) => chance.health(),
            _ => Health::default(),
        }
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let embedding = inputs.embedding("embedding")?;
            clip::ensure_same(&self.model, embedding)?;
            let (labels, is_default) = self.labels(inputs)?;
            if !is_default {
                self.ensure_whole(&labels).await?;
            }
            let vectors = self.model.embed_texts(&labels, self.form, call).await?;
            let vectors = vectors.iter().map(|vector| &**vector);
            let logits = logits(&embedding.vector, vectors, self.model.logit_scale());
            let temperature = self.temperature.of(labels.len());
            let scores = Value::from(scores(&labels, &logits, temperature));
            let outputs = Outputs::new()
                .with("labels", labels)
                .with("default_labels", is_default)
                .with("scores", scores.clone())
                .with("clip_scores", scores);
            let Some(floor) = &self.floor else {
                return Ok(outputs);
            };
            let Some(floor) = floor.logit(&self.model, &embedding.vector)? else {
                return Ok(outputs);
            };
            let no_match = logits.iter().all(|logit| *logit < floor);
            Ok(outputs.with("no_match", no_match))
        })
    }
}

/// The logits as they are, and their softmax at a temperature.
pub(crate) fn scores(labels: &[Arc<str>], logits: &[f64], temperature: f64) -> Scores {
    let tempered: Vec<f64> = logits.iter().map(|logit| logit / temperature).collect();
    let probabilities = softmax(&tempered);
    let numbers = logits.iter().zip(probabilities);
    let scores = labels.iter().zip(numbers);
    Scores(
        scores
            .map(|(label, (&logit, probability))| Score {
                label: label.clone(),
                logit,
                probability,
            })
            .collect(),
    )
}

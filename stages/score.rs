//! `score`: how well each label fits a picture.

use std::sync::{Arc, LazyLock, OnceLock};

use omnizap_contract::typed::{In, OneOf, Opt, Out, Text, TextList};
use omnizap_contract::{
    AsyncStage, Call, Embedding, Error, ErrorKind, Facts, Health, Inputs, Observed, OptionFault,
    Options, Outputs, Ports, Runner, Score, Scores, StageKind, StageSpec, choices,
};
use omnizap_services::Services;
use omnizap_services::inference::clip::{self, ClipModel, MODEL, PRETRAINED, Temperature};
use omnizap_services::inference::pool::TextForm;
use omnizap_services::labels::{self, Bounds, MAX_LABEL_CHARS, MAX_LABELS, OVER_LIMIT, OverLimit};
use omnizap_services::softmax::{logits, softmax};
use serde_json::json;

use floor::Floor;

mod defaults;
mod floor;

const EMBEDDING: In<Embedding> = In::required("embedding", "the picture's vector");
const LABELS: In<Option<TextList>> = In::optional(
    "labels",
    "the labels to choose from; the default ones where absent or empty",
);
const SCORED: Out<TextList> = Out::new(
    "labels",
    "the labels that were scored: trimmed, without repetitions",
)
.echo()
.published("[]");
const DEFAULT_LABELS: Out<bool> = Out::new(
    "default_labels",
    "true where the request brought no labels of its own",
);
const SCORES: Out<Scores> = Out::new(
    "scores",
    "logit and probability of every label, in their order",
);
const CLIP_SCORES: Out<Scores> = Out::new(
    "clip_scores",
    "the same, for those who want what the model alone said",
);
const NO_MATCH: Out<bool> = Out::new(
    "no_match",
    "true where no label describes the picture better than chance; null until that can be told",
)
.optional()
.published("null");

const TEMPLATES: Opt<OneOf<Templates>> = Opt::one_of(
    "templates",
    Templates::Model as usize,
    "`model` averages each label over the model's prompt templates, `none` takes it as it is",
);
const LONG_LABELS: Opt<OneOf<OverLimit>> = Opt::one_of(
    "long_labels",
    OverLimit::Reject as usize,
    "a label with more tokens than the model reads is refused, or loses its end",
);
const DEFAULT_LABELS_LIST: Opt<TextList> = Opt::list(
    "default_labels",
    &[],
    "the labels of a request that brings none; of this, `default_labels_json`, \
     `default_labels_path` and the model's own the first that is not empty",
);
const DEFAULT_LABELS_JSON: Opt<Text> = Opt::text(
    "default_labels_json",
    "",
    "those labels as a JSON list, where `default_labels` is empty",
);
const DEFAULT_LABELS_PATH: Opt<Text> = Opt::text(
    "default_labels_path",
    "",
    "a file with those labels, a JSON list or one a line, where the other two are empty; empty as \
     well: the model's own",
);
const CALIBRATE: Opt<bool> = Opt::flag(
    "calibrate",
    true,
    "whether logits are divided by the model's temperature for so many labels, which makes \
     probabilities honest",
);
const SAYS_NO_MATCH: Opt<bool> = Opt::flag(
    "no_match",
    true,
    "whether the answer says that no label describes the picture",
);
const KEEP_DEFAULT_LABELS: Opt<bool> = Opt::flag(
    "keep_default_labels",
    true,
    "whether the embeddings of default labels are kept in the database for the next start",
);

choices! {
    /// Whether labels are read inside the model's prompt templates.
    enum Templates {
        Model = "model",
        None = "none",
    }
}

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
    let doc = "compares the picture with each label: scaled cosines and their softmax";
    let options = [
        TEMPLATES.spec(),
        MAX_LABELS.public("max_labels").spec(),
        OVER_LIMIT.spec(),
        MAX_LABEL_CHARS.public("max_label_chars").spec(),
        LONG_LABELS.spec(),
        DEFAULT_LABELS_LIST.spec(),
        DEFAULT_LABELS_JSON.spec(),
        DEFAULT_LABELS_PATH.spec(),
        CALIBRATE.spec(),
        SAYS_NO_MATCH.spec(),
        KEEP_DEFAULT_LABELS.spec(),
        MODEL.spec(),
        PRETRAINED.spec(),
    ];
    StageSpec::new("score", doc, options).pure()
});

impl StageKind for ScoreLabels {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let no_match = options.get(SAYS_NO_MATCH).then(|| NO_MATCH.port());
        let always = [
            SCORED.port(),
            DEFAULT_LABELS.port(),
            SCORES.port(),
            CLIP_SCORES.port(),
        ];
        let embedding = EMBEDDING.port().of_space(self.services.space_of(options));
        Ports::new(
            [embedding, LABELS.port()],
            always.into_iter().chain(no_match),
        )
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        match defaults::check(options) {
            faults if faults.is_empty() => Ok(()),
            faults => Err(faults),
        }
    }

    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        let labels = defaults::chosen(options).err();
        let model = self.services.inspect_model_of(options).err();
        let faults: Vec<_> = model.into_iter().flatten().chain(labels).collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        let model = self.services.model_of(options).await?;
        let bounds = Bounds::of(options);
        let default_labels: Arc<[Arc<str>]> = match defaults::configured(options)? {
            Some(labels) => labels.into(),
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
        let form = match options.get(TEMPLATES) {
            Templates::None => TextForm::Raw,
            Templates::Model => TextForm::Label,
        };
        let says_no_match = options.get(SAYS_NO_MATCH);
        let floor = says_no_match.then(|| Floor::of(&model)).transpose()?;
        let scorer = Scorer {
            temperature: if options.get(CALIBRATE) {
                model.confidence().temperature
            } else {
                UNCALIBRATED
            },
            floor: floor.clone(),
            model: model.clone(),
            form,
            bounds,
            cuts_long_labels: options.get(LONG_LABELS) == OverLimit::Cut,
            default_labels: default_labels.clone(),
            default_vectors: OnceLock::new(),
        };
        scorer.ensure_whole(&default_labels).await?;
        let kept = options.get(KEEP_DEFAULT_LABELS);
        let store = kept.then(|| self.services.store());
        let default_ones = model.warm_up(default_labels, form, store.clone());
        if let Some(Floor::OverChance(chance)) = &floor {
            chance.warm_up(model, form, store, default_ones);
        }
        Ok(Runner::waits(scorer))
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
    /// The vectors of the default labels, once a request needed them: to look up each of many labels
    /// takes longer than to compare the picture with it.
    default_vectors: OnceLock<Vec<Arc<[f32]>>>,
}

impl Scorer {
    /// The request's labels, or the default ones; and whether they are those.
    fn labels(&self, inputs: &Inputs) -> Result<(Labels, bool), Error> {
        let sent = match inputs.get(LABELS)? {
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

    /// The logits of a picture with those labels, which may be the default ones.
    ///
    /// # Errors
    /// As [`ClipModel::embed_texts`].
    async fn logits(
        &self,
        picture: &[f32],
        (labels, is_default): (&Labels, bool),
        call: &Call,
    ) -> Result<Vec<f64>, Error> {
        let logits_of = |vectors: &[Arc<[f32]>]| {
            let vectors = vectors.iter().map(|vector| &**vector);
            logits(picture, vectors, self.model.logit_scale())
        };
        if let Some(vectors) = self.default_vectors.get().filter(|_| is_default) {
            return Ok(logits_of(vectors));
        }
        let vectors = self.model.embed_texts(labels, self.form, call).await?;
        let logits = logits_of(&vectors);
        if is_default {
            // Another request may have been faster, with the same.
            let _ = self.default_vectors.set(vectors);
        }
        Ok(logits)
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

impl Observed for Scorer {
    fn describe(&self) -> Facts {
        let labels: Vec<&str> = self.default_labels.iter().map(|label| &**label).collect();
        let never_taught = |label: &&str| {
            let unknown = self.model.unknown_labels().iter();
            unknown.map(String::as_str).any(|own| own == *label)
        };
        let unknown: Vec<&str> = labels.iter().copied().filter(never_taught).collect();
        // Who asks for more labels than a request may have needs the temperature to put the
        // answers together.
        Facts::new()
            .with("default_labels", labels)
            .with("unknown_labels", unknown)
            .with("temperature", json!(self.temperature))
    }

    fn health(&self) -> Health {
        match &self.floor {
            Some(Floor::OverChance(chance)) => chance.health(),
            _ => Health::default(),
        }
    }
}

impl AsyncStage for Scorer {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let embedding = inputs.get(EMBEDDING)?;
        clip::ensure_same(&self.model, embedding)?;
        let (labels, is_default) = self.labels(&inputs)?;
        if !is_default {
            self.ensure_whole(&labels).await?;
        }
        let asked = (&labels, is_default);
        let logits = self.logits(&embedding.vector, asked, call).await?;
        let temperature = self.temperature.of(labels.len());
        let scores = Arc::new(scores(&labels, &logits, temperature));
        let outputs = Outputs::new()
            .with(SCORED, labels)
            .with(DEFAULT_LABELS, is_default)
            .with(SCORES, scores.clone())
            .with(CLIP_SCORES, scores);
        let Some(floor) = &self.floor else {
            return Ok(outputs);
        };
        let Some(floor) = floor.logit(&self.model, &embedding.vector)? else {
            return Ok(outputs);
        };
        let no_match = logits.iter().all(|logit| *logit < floor);
        Ok(outputs.with(NO_MATCH, no_match))
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

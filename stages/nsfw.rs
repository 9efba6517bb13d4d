//! `nsfw`: whether a picture is safe to show.
//!
//! Mode `contrast` sets unsafe prompts against safe ones and does not look at the
//! request's labels, so a client cannot switch the check off by leaving labels out.
//! Mode `label` is what the Python service did: the score of the first label that
//! names such content.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Error, ErrorKind, Health, Input, Inputs, OptionFault, OptionSpec,
    OptionType, Options, Output, Outputs, PortType, Ports, Runner, Score, Stage, StageKind,
    StageSpec,
};
use serde_json::json;

use crate::model_pool::TextForm;
use crate::open_model::{self, OpenModel};
use crate::services::Services;
use crate::softmax::{logits, softmax};

/// A label with one of these words in it names unsafe content (mode `label`).
const UNSAFE_WORDS: [&str; 5] = ["nsfw", "adult", "explicit", "porn", "sexual"];

/// As many of one kind as of the other, so that neither side weighs more by number.
const UNSAFE_PROMPTS: [&str; 6] = [
    "a pornographic picture",
    "a photo of naked people having sex",
    "an explicit photo of genitals",
    "a nude photo of a person",
    "hentai, an explicit sexual drawing",
    "sexual content for adults only, nsfw",
];
const SAFE_PROMPTS: [&str; 6] = [
    "a harmless picture, safe for work",
    "a photo of a person with clothes on",
    "a photo of an animal, a thing or a place",
    "a cute sticker",
    "a drawing of a cartoon character, safe for children",
    "a meme or a picture with text",
];

/// Most prompts of one kind.
const MAX_PROMPTS: usize = 256;

/// The kind `nsfw`.
pub struct Nsfw {
    services: Services,
}

impl Nsfw {
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
            "mode",
            OptionType::Choice((&["contrast", "label"]).into()),
            "contrast",
            "`contrast` compares unsafe with safe prompts, `label` reads the score of an unsafe label",
        ),
        OptionSpec::new(
            "threshold",
            OptionType::Number { min: 0.0, max: 1.0 },
            0.6,
            "score from which a picture is nsfw, where the request sets none",
        )
        .public("nsfw_threshold"),
        OptionSpec::new(
            "unsafe_prompts",
            OptionType::TextList,
            json!(UNSAFE_PROMPTS),
            "descriptions of unsafe pictures (mode contrast)",
        ),
        OptionSpec::new(
            "safe_prompts",
            OptionType::TextList,
            json!(SAFE_PROMPTS),
            "descriptions of safe pictures (mode contrast)",
        ),
    ];
    options.extend(open_model::options());
    StageSpec {
        name: "nsfw".into(),
        doc: "tells whether a picture is safe to show".into(),
        options,
        feature: None,
    }
});

fn by_label(options: &Options) -> bool {
    options.text("mode") == Some("label")
}

impl StageKind for Nsfw {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let seen = if by_label(options) {
            Input::required(
                "clip_scores",
                PortType::Scores,
                "what the model gave every label",
            )
        } else {
            Input::required("embedding", PortType::Embedding, "the picture's vector")
        };
        Ports {
            inputs: vec![
                seen,
                Input::optional(
                    "nsfw_threshold",
                    PortType::Number,
                    "score from which this request takes a picture for nsfw, 0 to 1",
                ),
            ],
            outputs: vec![
                Output::new(
                    "nsfw_score",
                    PortType::Number,
                    "how unsafe the picture is, 0 to 1",
                )
                .published(json!(0.0))
                .rounded(6),
                Output::new(
                    "is_nsfw",
                    PortType::Bool,
                    "whether the score reaches the threshold",
                )
                .published(json!(false)),
            ],
        }
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        let faults: Vec<_> = ["unsafe_prompts", "safe_prompts"]
            .into_iter()
            .filter_map(|option| {
                let prompts = options.text_list(option);
                let blank = prompts.iter().any(|prompt| prompt.trim().is_empty());
                let fits = (1..=MAX_PROMPTS).contains(&prompts.len());
                (blank || !fits).then(|| OptionFault {
                    option: option.into(),
                    message: format!("expected 1 to {MAX_PROMPTS} prompts, none of them blank"),
                })
            })
            .collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            let threshold = options.number("threshold").unwrap_or(0.6);
            if by_label(options) {
                return Ok(Runner::Inline(Arc::new(ByLabel { threshold })));
            }
            let model = open_model::from_options(&self.services, options).await?;
            if !model.knows_nsfw() {
                tracing::warn!(
                    model = &**model.name(),
                    "this model cannot tell unsafe pictures: nsfw_score will always be 0"
                );
                let model = model.name().clone();
                return Ok(Runner::Inline(Arc::new(Unknowing { model, threshold })));
            }
            let unsafe_prompts = options.text_list("unsafe_prompts");
            let safe_prompts = options.text_list("safe_prompts");
            let unsafe_count = unsafe_prompts.len();
            let prompts = unsafe_prompts.into_iter().chain(safe_prompts);
            let prompts: Arc<[Arc<str>]> = prompts.map(Arc::from).collect();
            model.warm_up(prompts.clone(), TextForm::Raw, None);
            Ok(Runner::Async(Arc::new(Contrast {
                model,
                prompts,
                unsafe_count,
                threshold,
            })))
        })
    }
}

struct Contrast {
    model: Arc<OpenModel>,
    /// The unsafe ones first.
    prompts: Arc<[Arc<str>]>,
    unsafe_count: usize,
    threshold: f64,
}

impl AsyncStage for Contrast {
    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let threshold = threshold(inputs, self.threshold)?;
            let embedding = inputs.embedding("embedding")?;
            open_model::ensure_same(&self.model, embedding)?;
            let prompts = self
                .model
                .embed_texts(&self.prompts, TextForm::Raw, call)
                .await?;
            let prompts = prompts.iter().map(|vector| &**vector);
            let logits = logits(&embedding.vector, prompts, self.model.logit_scale());
            Ok(verdict(contrast(&logits, self.unsafe_count), threshold))
        })
    }
}

/// Stands in where the model has never seen an unsafe picture: a contrast of words that
/// mean nothing to it would be noise that looks like a verdict.
struct Unknowing {
    /// The model's name.
    model: Arc<str>,
    threshold: f64,
}

impl Stage for Unknowing {
    fn health(&self) -> Health {
        // A fact and no degradation: it is so by the choice of the model, and waiting mends nothing.
        let mut health = Health::default();
        let reason = format!(
            "not available: {} has never seen unsafe pictures, nsfw_score is always 0; \
             `omnizap models list` shows models that have, CLIP_MODEL_NAME selects one",
            self.model
        );
        health.facts.insert("nsfw".into(), reason.into());
        health
    }

    fn run(&self, inputs: &Inputs, _call: &Call) -> Result<Outputs, Error> {
        Ok(verdict(0.0, threshold(inputs, self.threshold)?))
    }
}

struct ByLabel {
    threshold: f64,
}

impl Stage for ByLabel {
    fn run(&self, inputs: &Inputs, _call: &Call) -> Result<Outputs, Error> {
        let threshold = threshold(inputs, self.threshold)?;
        Ok(verdict(
            unsafe_label_score(inputs.scores("clip_scores")?),
            threshold,
        ))
    }
}

/// `sum of p over the unsafe prompts`, where `p` is the softmax of the logits over the
/// unsafe and the safe prompts together. The unsafe ones come first.
fn contrast(logits: &[f64], unsafe_count: usize) -> f64 {
    let share: f64 = softmax(logits).iter().take(unsafe_count).sum();
    share.clamp(0.0, 1.0)
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

fn verdict(score: f64, threshold: f64) -> Outputs {
    // The score is compared before it is rounded for the response.
    Outputs::new()
        .with("nsfw_score", score)
        .with("is_nsfw", score >= threshold)
}

/// The request's threshold, or the default one.
///
/// # Errors
/// [`ErrorKind::Invalid`] where it is not between 0 and 1.
fn threshold(inputs: &Inputs, default: f64) -> Result<f64, Error> {
    match inputs.optional_number("nsfw_threshold") {
        None => Ok(default),
        // Not a number is in no range.
        Some(sent) if (0.0..=1.0).contains(&sent) => Ok(sent),
        Some(_) => Err(Error::new(
            ErrorKind::Invalid,
            "nsfw_threshold must be a number from 0 to 1",
        )
        .with_code("invalid_nsfw_threshold")),
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{Scores, Value};

    use super::*;
    use crate::testing::{call, inputs_with};

    fn labelled(labels: &[(&str, f64)]) -> Scores {
        let score = |&(label, probability): &(&str, f64)| Score {
            label: label.into(),
            logit: 0.0,
            probability,
        };
        Scores(labels.iter().map(score).collect())
    }

    fn judge(labels: &[(&str, f64)], threshold: Option<f64>) -> Result<(f64, bool), Error> {
        let kind = Nsfw::new(&Services::new(crate::ServicesConfig::default()));
        let values = [
            ("clip_scores", Some(Value::from(labelled(labels)))),
            ("nsfw_threshold", threshold.map(Value::from)),
        ];
        let inputs = inputs_with(&kind, [("mode", json!("label"))], values);
        let outputs = ByLabel { threshold: 0.6 }.run(&inputs, &call())?;
        let score = outputs.get("nsfw_score").unwrap().to_json().as_f64();
        let is_nsfw = outputs.get("is_nsfw").unwrap().to_json().as_bool();
        Ok((score.unwrap(), is_nsfw.unwrap()))
    }

    #[test]
    fn the_first_label_that_names_it_counts() {
        let labels = [("cat", 0.1), ("NSFW content", 0.7), ("porn", 0.2)];
        assert_eq!(judge(&labels, None).unwrap(), (0.7, true));
        assert_eq!(judge(&[("cat", 1.0)], None).unwrap(), (0.0, false));
    }

    #[test]
    fn the_threshold_itself_is_nsfw_and_rounding_does_not_make_it_so() {
        assert_eq!(judge(&[("porn", 0.6)], None).unwrap(), (0.6, true));
        let (_, is_nsfw) = judge(&[("porn", 0.599_999_9)], None).unwrap();
        assert!(!is_nsfw);
    }

    #[test]
    fn the_request_sets_the_threshold_within_its_range() {
        assert!(judge(&[("porn", 0.3)], Some(0.25)).unwrap().1);
        assert!(judge(&[("cat", 0.3)], Some(0.0)).unwrap().1, "0 reaches 0");
        assert!(!judge(&[("porn", 0.9)], Some(1.0)).unwrap().1);
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let error = judge(&[("porn", 0.3)], Some(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn contrast_is_the_unsafe_share_of_the_softmax() {
        let ln = |x: f64| x.ln();
        // Shares 1, 2 (unsafe) and 3, 4 (safe) of 10.
        let score = contrast(&[ln(1.0), ln(2.0), ln(3.0), ln(4.0)], 2);
        assert!((score - 0.3).abs() < 1e-12, "{score}");
        assert!((contrast(&[5.0; 12], 6) - 0.5).abs() < 1e-12);
        assert_eq!(contrast(&[900.0, -900.0], 1), 1.0);
    }

    #[test]
    fn prompts_must_say_something() {
        let kind = Nsfw::new(&Services::new(crate::ServicesConfig::default()));
        for bad in [json!([]), json!([" "]), json!(vec!["x"; MAX_PROMPTS + 1])] {
            let mut values = serde_json::Map::new();
            values.insert("unsafe_prompts".into(), bad);
            values.insert("safe_prompts".into(), json!(["y"]));
            let faults = kind.check(&Options::from_checked(values)).unwrap_err();
            assert_eq!(faults.len(), 1);
            assert_eq!(faults[0].option, "unsafe_prompts");
        }
    }
}

//! `nsfw`: whether a picture is safe to show. In each mode `is_nsfw` is
//! `nsfw_score >= threshold`; what the score is, `nsfw/model.rs`, `nsfw/contrast.rs` and
//! `nsfw/label.rs` say.

use std::sync::LazyLock;

use omnizap_contract::typed::{In, OneOf, Opt, Out};
use omnizap_contract::{
    Error, ErrorKind, Facts, Inputs, OptionFault, Options, Outputs, Ports, Runner, StageKind,
    StageSpec, choices,
};
use omnizap_services::inference::clip;
use omnizap_services::inference::frames::{self, FRAMES, MAX_FRAMES, Which};
use omnizap_services::{Services, space};
use serde_json::Value as Json;

mod contrast;
mod label;
mod model;

const NSFW_THRESHOLD: In<Option<f64>> = In::optional(
    "nsfw_threshold",
    "score from which this request takes a picture for nsfw, -1 to 1: from 0 down every picture",
);
const NSFW_SCORE: Out<f64> = Out::new("nsfw_score", "how unsafe the picture is, 0 to 1")
    .published("0.0")
    .rounded(6);
const IS_NSFW: Out<bool> =
    Out::new("is_nsfw", "whether the score reaches the threshold").published("false");
const CLASSES: Out<Json> = Out::new(
    "nsfw_classes",
    "the probability of each class of the model; null in other modes",
)
.shaped(
    r#"{"drawing": "number", "hentai": "number", "neutral": "number", "porn": "number",
        "sexy": "number"}"#,
)
.optional()
.published("null")
.rounded(6);

const MODE: Opt<OneOf<Mode>> = Opt::one_of(
    "mode",
    Mode::Model as usize,
    "`model` asks a classifier of its own, `contrast` compares unsafe with safe prompts, `label` \
     reads the score of an unsafe label",
)
.public("nsfw_mode");
const THRESHOLD: Opt<f64> = Opt::number(
    "threshold",
    0.6,
    "score from which a picture is nsfw, where the request sets none",
)
.within(0.0, 1.0)
.public("nsfw_threshold");
const ON_FAILURE: Opt<OneOf<OnFailure>> = Opt::one_of(
    "on_failure",
    OnFailure::Closed as usize,
    "what a picture is taken for when the check fails and `on_error` is `skip`: `closed` says \
     nsfw_score 1 and is_nsfw true, `open` 0 and false",
);

choices! {
    /// What the score is made of.
    enum Mode {
        Model = "model",
        Contrast = "contrast",
        Label = "label",
    }
}

choices! {
    /// What a picture is taken for when the check fails.
    enum OnFailure {
        Closed = "closed",
        Open = "open",
    }
}

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
    let options = [
        MODE.spec(),
        THRESHOLD.spec(),
        ON_FAILURE.spec(),
        contrast::UNSAFE_PROMPTS.spec(),
        contrast::SAFE_PROMPTS.spec(),
        clip::MODEL.spec(),
        clip::PRETRAINED.spec(),
        clip::PREPARED.spec(),
        FRAMES.spec(),
        MAX_FRAMES.spec(),
    ];
    StageSpec::new("nsfw", "tells whether a picture is safe to show", options).pure()
});

impl StageKind for Nsfw {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let threshold = NSFW_THRESHOLD.port();
        let closed = options.get(ON_FAILURE) == OnFailure::Closed;
        let score = NSFW_SCORE.when_failed(if closed { 1.0 } else { 0.0 });
        let is_nsfw = IS_NSFW.when_failed(closed);
        match options.get(MODE) {
            Mode::Model => {
                let space = Some(space::of_nsfw(options));
                let recalled = model::NSFW_RECALLED.port().of_space(space.clone());
                let given = model::NSFW_PROBABILITIES.port().of_space(space);
                let mut inputs = vec![recalled, threshold];
                match options.get(FRAMES) {
                    Which::First | Which::Content => inputs.push(model::IMAGE.port()),
                    Which::Sample => inputs.extend(
                        model::FRAMES
                            .map(|port| port.port().of_space(Some(frames::space(options)))),
                    ),
                }
                Ports::new(inputs, [score, is_nsfw, CLASSES.port(), given])
            }
            Mode::Contrast => {
                let space = self.services.space_of(options);
                let embedding = contrast::EMBEDDING.port().of_space(space);
                Ports::new([embedding, threshold], [score, is_nsfw, CLASSES.port()])
            }
            // The Python service, whose mode it is, had no field for the classes.
            Mode::Label => Ports::new([label::CLIP_SCORES.port(), threshold], [score, is_nsfw]),
        }
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        let mut faults = contrast::check(options);
        faults.extend(clip::check_prepared(options).err().into_iter().flatten());
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    fn inspect(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        match options.get(MODE) {
            Mode::Contrast => self.services.inspect_model_of(options),
            // The one has its model in the program, the other needs none.
            Mode::Model | Mode::Label => Ok(()),
        }
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        let threshold = options.get(THRESHOLD);
        match options.get(MODE) {
            Mode::Model => model::build(&self.services, options, threshold).await,
            Mode::Contrast => contrast::build(&self.services, options, threshold).await,
            Mode::Label => Ok(Runner::inline(label::ByLabel { threshold })),
        }
    }
}

/// What health says of a mode.
fn facts(mode: &str) -> Facts {
    Facts::new().with("nsfw_mode", mode)
}

fn verdict(score: f64, threshold: f64) -> Outputs {
    // The score is compared before it is rounded for the response.
    Outputs::new()
        .with(NSFW_SCORE, score)
        .with(IS_NSFW, score >= threshold)
}

/// The request's threshold, or the default one. A pipeline may hold it to a range of its own; below
/// 0 stands what clients of the Python service send, and it reaches every picture as 0 does.
///
/// # Errors
/// [`ErrorKind::Invalid`] where it is not between -1 and 1.
fn threshold(inputs: &Inputs, default: f64) -> Result<f64, Error> {
    match inputs.get(NSFW_THRESHOLD)? {
        None => Ok(default),
        // Not a number is in no range.
        Some(sent) if (-1.0..=1.0).contains(&sent) => Ok(sent),
        Some(_) => Err(Error::new(
            ErrorKind::Invalid,
            "nsfw_threshold must be a number from -1 to 1",
        )
        .with_code("invalid_nsfw_threshold")),
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{Score, Scores, Stage, Value};
    use omnizap_services::ServicesConfig;
    use serde_json::json;

    use super::contrast::MAX_PROMPTS;
    use super::label::ByLabel;
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
        let kind = Nsfw::new(&Services::new(ServicesConfig::default()));
        let values = [
            ("clip_scores", Some(Value::from(labelled(labels)))),
            ("nsfw_threshold", threshold.map(Value::from)),
        ];
        let inputs = inputs_with(&kind, [("mode", json!("label"))], values);
        let outputs = ByLabel { threshold: 0.6 }.run(&inputs, &call())?;
        let (score, is_nsfw) = (outputs.get(NSFW_SCORE), outputs.get(IS_NSFW));
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
        for low in [-0.0, -0.5, -1.0] {
            assert!(judge(&[("cat", 0.3)], Some(low)).unwrap().1, "{low}");
        }
        assert!(!judge(&[("porn", 0.9)], Some(1.0)).unwrap().1);
        for bad in [-1.1, 1.1, f64::NAN, f64::INFINITY] {
            let error = judge(&[("porn", 0.3)], Some(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn prompts_must_say_something() {
        let kind = Nsfw::new(&Services::new(ServicesConfig::default()));
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

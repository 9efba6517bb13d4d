//! `nsfw`: whether a picture is safe to show. In each mode `is_nsfw` is
//! `nsfw_score >= threshold`; what the score is, `nsfw/model.rs`, `nsfw/contrast.rs` and
//! `nsfw/label.rs` say.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    BoxFuture, Error, ErrorKind, Input, Inputs, OptionFault, OptionSpec, OptionType, Options,
    Output, Outputs, PortType, Ports, Runner, StageKind, StageSpec,
};
use omnizap_services::Services;
use omnizap_services::inference::clip;
use serde_json::{Map, Value as Json, json};

mod contrast;
mod label;
mod model;

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

/// What the score is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Model,
    Contrast,
    Label,
}

impl Mode {
    const NAMES: [&str; 3] = ["model", "contrast", "label"];

    fn of(options: &Options) -> Self {
        match options.text("mode") {
            Some("contrast") => Self::Contrast,
            Some("label") => Self::Label,
            _ => Self::Model,
        }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let mut options = vec![
        OptionSpec::new(
            "mode",
            OptionType::Choice((&Mode::NAMES).into()),
            "model",
            "`model` asks a classifier of its own, `contrast` compares unsafe with safe prompts, \
             `label` reads the score of an unsafe label",
        )
        .public("nsfw_mode"),
        OptionSpec::new(
            "threshold",
            OptionType::Number { min: 0.0, max: 1.0 },
            0.6,
            "score from which a picture is nsfw, where the request sets none",
        )
        .public("nsfw_threshold"),
        OptionSpec::new(
            "on_failure",
            OptionType::Choice((&["closed", "open"]).into()),
            "closed",
            "what a picture is taken for when the check fails and `on_error` is `skip`: `closed` \
             says nsfw_score 1 and is_nsfw true, `open` 0 and false",
        ),
    ];
    options.extend(contrast::options());
    options.extend(clip::embedding_options());
    StageSpec {
        name: "nsfw".into(),
        doc: "tells whether a picture is safe to show".into(),
        options,
        feature: None,
    }
});

impl StageKind for Nsfw {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let mode = Mode::of(options);
        let mut inputs = match mode {
            Mode::Model => model::inputs(),
            Mode::Contrast => contrast::inputs(),
            Mode::Label => label::inputs(),
        };
        inputs.push(Input::optional(
            "nsfw_threshold",
            PortType::Number,
            "score from which this request takes a picture for nsfw, 0 to 1",
        ));
        let closed = options.text("on_failure") != Some("open");
        let mut outputs = vec![
            Output::new(
                "nsfw_score",
                PortType::Number,
                "how unsafe the picture is, 0 to 1",
            )
            .when_failed(if closed { 1.0 } else { 0.0 })
            .published(json!(0.0))
            .rounded(6),
            Output::new(
                "is_nsfw",
                PortType::Bool,
                "whether the score reaches the threshold",
            )
            .when_failed(closed)
            .published(json!(false)),
        ];
        // The Python service, whose mode it is, had no such field.
        if mode != Mode::Label {
            outputs.push(
                Output::new(
                    "nsfw_classes",
                    PortType::Json,
                    "the probability of each class of the model; null in other modes",
                )
                .optional()
                .published(Json::Null)
                .rounded(6),
            );
        }
        if mode == Mode::Model {
            outputs.extend(model::outputs());
        }
        Ports { inputs, outputs }
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

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            let threshold = options.number("threshold").unwrap_or(0.6);
            match Mode::of(options) {
                Mode::Model => model::build(&self.services, options, threshold).await,
                Mode::Contrast => contrast::build(&self.services, options, threshold).await,
                Mode::Label => Ok(Runner::Inline(Arc::new(label::ByLabel { threshold }))),
            }
        })
    }
}

/// What health says of a mode.
fn facts(mode: &str) -> Map<String, Json> {
    Map::from_iter([("nsfw_mode".to_owned(), json!(mode))])
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
    use omnizap_contract::{Score, Scores, Stage, Value};
    use omnizap_services::ServicesConfig;

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

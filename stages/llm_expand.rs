//! `llm-expand`: words around the best labels, from a language model: subtags, style,
//! emotions, names of packs.
//!
//! The model is asked only where the classification is sure enough for its words to
//! be about the picture (the gate), and where a good answer to the same question is
//! not kept already.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use omnizap_contract::{
    AsyncStage, BoxFuture, Call, Error, ErrorKind, Health, Input, Inputs, OptionFault, OptionSpec,
    OptionType, Options, Output, Outputs, PortType, Ports, Runner, StageKind, StageSpec, Value,
};
use omnizap_services::llm::{Expansion, Llm, Question};
use serde_json::{Value as Json, json};

/// Widest name of a language model: that of its column in the store.
const MODEL_CHARS: usize = 160;

/// The kind `llm-expand`.
pub struct LlmExpand {
    llm: Llm,
}

impl LlmExpand {
    /// The kind, with the language model that it asks.
    #[must_use]
    pub fn new(llm: Llm) -> Self {
        Self { llm }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec {
    name: "llm-expand".into(),
    doc: "asks a language model for words around the best labels, where the answer is sure".into(),
    options: vec![
        OptionSpec::new(
            "model",
            OptionType::Text,
            "gpt-4.1-mini",
            "the language model, by the name that its server knows",
        )
        .public("llm_model"),
        OptionSpec::new(
            "timeout_ms",
            OptionType::Integer {
                min: 100,
                max: 60_000,
            },
            6000,
            "longest that an answer is waited for, all tries together, in milliseconds",
        )
        .public("llm_timeout_ms"),
        OptionSpec::new(
            "entropy_max",
            OptionType::Number { min: 0.0, max: 1.0 },
            0.72,
            "entropy_normalized above which the model is not asked (entropy_gate)",
        )
        .public("llm_entropy_max"),
        OptionSpec::new(
            "margin_min",
            OptionType::Number { min: 0.0, max: 1.0 },
            0.08,
            "confidence_margin below which the model is not asked (margin_gate)",
        )
        .public("llm_margin_min"),
        OptionSpec::new(
            "labels",
            OptionType::Integer { min: 1, max: 10 },
            3,
            "how many of the best labels the question names",
        ),
    ],
    feature: Some("llm_label_expansion".into()),
});

impl StageKind for LlmExpand {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _options: &Options) -> Ports {
        Ports {
            inputs: vec![
                Input::required(
                    "top_labels",
                    PortType::Json,
                    "the best labels, as [{label, score, ..}]",
                ),
                Input::required(
                    "entropy_normalized",
                    PortType::Number,
                    "how even the best scores are, 0 to 1",
                ),
                Input::optional(
                    "best_labels",
                    PortType::Json,
                    "the same as top_labels, however many are shown; those where absent",
                ),
                Input::optional(
                    "gate_entropy",
                    PortType::Number,
                    "entropy_normalized, however many labels are shown; that where absent",
                ),
                Input::required(
                    "confidence_margin",
                    PortType::Number,
                    "lead of the first label over the second, 0 to 1",
                ),
            ],
            outputs: vec![
                Output::new(
                    "llm_expansion_used",
                    PortType::Bool,
                    "true where llm_expansion holds an answer of the model",
                )
                .published(json!(false)),
                Output::new(
                    "llm_expansion_gate_reason",
                    PortType::Text,
                    "enabled, entropy_gate, margin_gate, no_api_key, error, or disabled",
                )
                .published(json!("disabled")),
                Output::new(
                    "llm_expansion",
                    PortType::Json,
                    "{subtags, style_traits, emotions, pack_suggestions}, lists of strings",
                )
                .published(Expansion::default().to_json()),
            ],
        }
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        let model = options.text("model").unwrap_or_default();
        if !model.trim().is_empty() && model.chars().count() <= MODEL_CHARS {
            return Ok(());
        }
        Err(vec![OptionFault {
            option: "model".into(),
            message: format!("must name a model in 1 to {MODEL_CHARS} characters"),
        }])
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async move {
            self.llm
                .check()
                .map_err(|reason| Error::new(ErrorKind::Internal, reason))?;
            let millis = options.integer("timeout_ms").unwrap_or(6000);
            Ok(Runner::Async(Arc::new(Expander {
                llm: self.llm.clone(),
                model: options.text("model").unwrap_or_default().trim().into(),
                timeout: Duration::from_millis(u64::try_from(millis).unwrap_or(0)),
                entropy_max: options.number("entropy_max").unwrap_or(0.0),
                margin_min: options.number("margin_min").unwrap_or(1.0),
                labels: usize::try_from(options.integer("labels").unwrap_or(1)).unwrap_or(1),
            })))
        })
    }
}

struct Expander {
    llm: Llm,
    model: Arc<str>,
    timeout: Duration,
    entropy_max: f64,
    margin_min: f64,
    labels: usize,
}

impl Expander {
    /// Why the model is not asked, if so.
    fn gate(&self, entropy_normalized: f64, confidence_margin: f64) -> Option<&'static str> {
        if !self.llm.has_key() {
            Some("no_api_key")
        } else if entropy_normalized > self.entropy_max {
            Some("entropy_gate")
        } else if confidence_margin < self.margin_min {
            Some("margin_gate")
        } else {
            None
        }
    }
}

impl AsyncStage for Expander {
    fn idle(&self) -> Option<String> {
        (!self.llm.has_key()).then(|| "there is no OPENAI_API_KEY".to_owned())
    }

    fn health(&self) -> Health {
        Health {
            degraded: self.llm.degraded(),
            ..Health::default()
        }
    }

    fn run<'a>(
        &'a self,
        inputs: &'a Inputs,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Outputs, Error>> {
        Box::pin(async move {
            let entropy = match inputs.optional_number("gate_entropy") {
                Some(entropy) => entropy,
                None => inputs.number("entropy_normalized")?,
            };
            let margin = inputs.number("confidence_margin")?;
            if let Some(reason) = self.gate(entropy, margin) {
                return Ok(outputs(reason, None));
            }
            let best = match inputs.get("best_labels") {
                Some(Value::Json(best)) => best,
                _ => inputs.json("top_labels")?,
            };
            let labels = first_labels(best, self.labels);
            let question = Question::new(self.model.clone(), labels);
            let limit = self.timeout.min(call.remaining());
            match self.llm.expand(question, limit).await {
                Ok(expansion) => Ok(outputs("enabled", Some(&expansion))),
                Err(error) => {
                    tracing::warn!(%error, request = %call.request_id, "no label expansion");
                    Ok(outputs("error", None))
                }
            }
        })
    }
}

fn first_labels(top_labels: &Json, count: usize) -> Vec<String> {
    let list = top_labels.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|entry| entry["label"].as_str())
        .take(count)
        .map(str::to_owned)
        .collect()
}

fn outputs(reason: &str, expansion: Option<&Expansion>) -> Outputs {
    let json = expansion.map_or_else(|| Expansion::default().to_json(), Expansion::to_json);
    Outputs::new()
        .with("llm_expansion_used", expansion.is_some())
        .with("llm_expansion_gate_reason", reason)
        .with("llm_expansion", json)
}

#[cfg(test)]
mod tests;

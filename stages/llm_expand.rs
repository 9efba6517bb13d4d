//! `llm-expand`: words around the best labels, from a language model: subtags, style,
//! emotions, names of packs.
//!
//! The model is asked only where the classification is sure enough for its words to
//! be about the picture (the gate), and where a good answer to the same question is
//! not kept already.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use omnizap_contract::typed::{In, Opt, Out, Text};
use omnizap_contract::{
    AsyncStage, Call, Counters, Error, ErrorKind, Health, Inputs, Observed, OptionFault, Options,
    Outputs, Ports, Runner, StageKind, StageSpec,
};
use omnizap_services::llm::{self, Expansion, Llm, LlmConfig, Question};
use omnizap_services::store::limits::MODEL_CHARS;
use serde_json::Value as Json;

const TOP_LABELS: In<Json> = In::required("top_labels", "the best labels, as [{label, score, ..}]");
const ENTROPY_NORMALIZED: In<f64> =
    In::required("entropy_normalized", "how even the best scores are, 0 to 1");
const BEST_LABELS: In<Option<Json>> = In::optional(
    "best_labels",
    "the same as top_labels, however many are shown; those where absent",
);
const GATE_ENTROPY: In<Option<f64>> = In::optional(
    "gate_entropy",
    "entropy_normalized, however many labels are shown; that where absent",
);
const CONFIDENCE_MARGIN: In<f64> = In::required(
    "confidence_margin",
    "lead of the first label over the second, 0 to 1",
);
const USED: Out<bool> = Out::new(
    "llm_expansion_used",
    "true where llm_expansion holds an answer of the model",
)
.published("false");
const GATE_REASON: Out<Text> = Out::new(
    "llm_expansion_gate_reason",
    "enabled, entropy_gate, margin_gate, no_api_key, error, or disabled",
)
.published(r#""disabled""#);
const EXPANSION: Out<Json> = Out::new(
    "llm_expansion",
    "{subtags, style_traits, emotions, pack_suggestions}, lists of strings",
)
.shaped(
    r#"{"subtags": ["text"], "style_traits": ["text"], "emotions": ["text"],
        "pack_suggestions": ["text"]}"#,
);

const MODEL: Opt<Text> = Opt::text(
    "model",
    "gpt-4.1-mini",
    "the language model, by the name that its server knows",
)
.public("llm_model");
const TIMEOUT_MS: Opt<i64> = Opt::integer(
    "timeout_ms",
    6000,
    "longest that an answer is waited for, all tries together, in milliseconds",
)
.within(100, 60_000)
.bounds_run_ms()
.public("llm_timeout_ms");
const ENTROPY_MAX: Opt<f64> = Opt::number(
    "entropy_max",
    0.72,
    "entropy_normalized above which the model is not asked (entropy_gate)",
)
.within(0.0, 1.0)
.public("llm_entropy_max");
const MARGIN_MIN: Opt<f64> = Opt::number(
    "margin_min",
    0.08,
    "confidence_margin below which the model is not asked (margin_gate)",
)
.within(0.0, 1.0)
.public("llm_margin_min");
const LABELS: Opt<usize> = Opt::count(
    "labels",
    3,
    "how many of the best labels the question names",
)
.within(1, 10);
const API_KEY: Opt<Option<Text>> = Opt::unset_text(
    "api_key",
    "the key of this stage's questions; unset: OPENAI_API_KEY, where base_url is unset too",
)
.secret();
const BASE_URL: Opt<Option<Text>> = Opt::unset_text(
    "base_url",
    "the address that they go to, with its version, such as http://127.0.0.1:8080/v1; a user and a \
     password in it are not sent; unset: OPENAI_BASE_URL, else OpenAI's",
);

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

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let options = [
        MODEL.spec(),
        TIMEOUT_MS.spec(),
        ENTROPY_MAX.spec(),
        MARGIN_MIN.spec(),
        LABELS.spec(),
        API_KEY.spec(),
        BASE_URL.spec(),
    ];
    let doc = "asks a language model for words around the best labels, where the answer is sure";
    StageSpec::new("llm-expand", doc, options).feature("llm_label_expansion")
});

impl StageKind for LlmExpand {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        // The neutral value comes from the type that makes the answers, so that both have one shape.
        let expansion = EXPANSION.port().published(Expansion::default().to_json());
        Ports::new(
            [
                TOP_LABELS.port(),
                ENTROPY_NORMALIZED.port(),
                BEST_LABELS.port(),
                GATE_ENTROPY.port(),
                CONFIDENCE_MARGIN.port(),
            ],
            [USED.port(), GATE_REASON.port(), expansion],
        )
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        let model = options.get(MODEL);
        let names_one = !model.trim().is_empty() && model.chars().count() <= MODEL_CHARS;
        let model = (!names_one).then(|| {
            let message = format!("must name a model in 1 to {MODEL_CHARS} characters");
            OptionFault::new(MODEL, message)
        });
        let own = own(options);
        let api_key = own.api_key.and_then(|key| llm::check_api_key(&key).err());
        let api_key = api_key.map(|message| OptionFault::new(API_KEY, message));
        let base_url = own.base_url.and_then(|url| llm::check_base_url(&url).err());
        let base_url = base_url.map(|message| OptionFault::new(BASE_URL, message));
        let faults: Vec<_> = [model, api_key, base_url].into_iter().flatten().collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        let llm = self.llm.under(own(options));
        llm.check()
            .map_err(|reason| Error::new(ErrorKind::Internal, reason))?;
        Ok(Runner::waits(Expander {
            llm,
            model: options.get(MODEL).trim().into(),
            timeout: Duration::from_millis(options.get(TIMEOUT_MS).unsigned_abs()),
            entropy_max: options.get(ENTROPY_MAX),
            margin_min: options.get(MARGIN_MIN),
            labels: options.get(LABELS),
            gated: AtomicU64::new(0),
            expanded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }))
    }
}

/// The key and the address of a stage's own, where its options give them.
fn own(options: &Options) -> LlmConfig {
    let given = |option: Opt<Option<Text>>| {
        let text = options.get(option).map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    LlmConfig {
        api_key: given(API_KEY),
        base_url: given(BASE_URL),
    }
}

struct Expander {
    llm: Llm,
    model: Arc<str>,
    timeout: Duration,
    entropy_max: f64,
    margin_min: f64,
    labels: usize,
    /// Pictures that the gate held back, those with words of the model, and those that failed.
    gated: AtomicU64,
    expanded: AtomicU64,
    failed: AtomicU64,
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

impl Observed for Expander {
    fn idle(&self) -> Option<String> {
        self.llm.lacks()
    }

    fn health(&self) -> Health {
        Health {
            degraded: self.llm.degraded(),
            ..Health::default()
        }
    }

    fn counters(&self) -> Counters {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counters::new()
            .total("gated", count(&self.gated))
            .total("expanded", count(&self.expanded))
            .total("expansions_failed", count(&self.failed))
    }
}

impl AsyncStage for Expander {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let entropy = match inputs.get(GATE_ENTROPY)? {
            Some(entropy) => entropy,
            None => inputs.get(ENTROPY_NORMALIZED)?,
        };
        let margin = inputs.get(CONFIDENCE_MARGIN)?;
        if let Some(reason) = self.gate(entropy, margin) {
            self.gated.fetch_add(1, Ordering::Relaxed);
            return Ok(outputs(reason, None));
        }
        let best = match inputs.get(BEST_LABELS)? {
            Some(best) => best,
            None => inputs.get(TOP_LABELS)?,
        };
        let labels = first_labels(best, self.labels);
        let question = Question::new(self.model.clone(), labels);
        let limit = self.timeout.min(call.remaining());
        match self.llm.expand(question, limit).await {
            Ok(expansion) => {
                self.expanded.fetch_add(1, Ordering::Relaxed);
                Ok(outputs("enabled", Some(&expansion)))
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, request = %call.request_id, "no label expansion");
                Ok(outputs("error", None))
            }
        }
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
        .with(USED, expansion.is_some())
        .with(GATE_REASON, reason)
        .with(EXPANSION, json)
}

#[cfg(test)]
mod tests;

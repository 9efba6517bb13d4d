//! `rank`: scores in their order, and how sure they are of it.

use std::sync::LazyLock;

use omnizap_contract::common::round::round;
use omnizap_contract::typed::{In, Opt, Out, Text};
use omnizap_contract::{
    Call, Error, Inputs, Observed, Options, Outputs, Ports, Runner, Score, Scores, Stage,
    StageKind, StageSpec,
};
use serde_json::{Map, Value as Json, json};

const SCORES: In<Scores> = In::required("scores", "what every label got in the end");
const CLIP_SCORES: In<Option<Scores>> = In::optional(
    "clip_scores",
    "what the model alone gave every label; the scores themselves where absent",
);
/// Labels as answers show them, and numbers by label.
const LABELS: &str =
    r#"[{"label": "text", "score": "number", "logit": "number", "clip_score": "number"}]"#;
const BY_LABEL: &str = r#"{"*": "number"}"#;

const CATEGORY: Out<Text> = Out::new("category", "the label that won").published("null");
const CONFIDENCE: Out<f64> = number("confidence", "probability of the winner, 0 to 1");
const ALL_SCORES: Out<Json> = Out::new(
    "all_scores",
    "probability by label, in the order of the labels",
)
.shaped(BY_LABEL)
.published("{}");
const RAW_LOGITS: Out<Json> = Out::new(
    "raw_logits",
    "scaled cosine by label, in the order of the labels",
)
.shaped(BY_LABEL)
.published("{}");
const TOP_LABELS: Out<Json> = Out::new(
    "top_labels",
    "the best top_k as {label, score, logit, clip_score}, best first",
)
.shaped(LABELS)
.published("[]");
const BEST_LABELS: Out<Json> = Out::new(
    "best_labels",
    "the best ten in the same form, whatever top_k, for later stages",
)
.shaped(LABELS);
const GATE_ENTROPY: Out<f64> = Out::new(
    "gate_entropy",
    "entropy_normalized over the best gate_labels, whatever top_k, for later stages",
);
const ENTROPY: Out<f64> = number("entropy", "entropy over all labels, nats");
const ENTROPY_TOP_K: Out<f64> = number(
    "entropy_top_k",
    "entropy over the best top_k, renormalised, nats",
);
const ENTROPY_NORMALIZED: Out<f64> = number("entropy_normalized", "entropy_top_k / ln k, 0 to 1");
const CONFIDENCE_MARGIN: Out<f64> = number(
    "confidence_margin",
    "probability of the first minus that of the second",
);
const AMBIGUOUS: Out<bool> = Out::new(
    "ambiguous",
    "true where one of the two entropies is over its threshold",
)
.published("false");

const TOP_K: Opt<usize> = Opt::count(
    "top_k",
    5,
    "labels that are shown: in top_labels, entropy_top_k and entropy_normalized",
)
.within(1, 1000)
.public("top_k");
const GATE_LABELS: Opt<usize> = Opt::count(
    "gate_labels",
    5,
    "labels in gate_entropy, by which later stages decide, whatever is shown",
)
.within(2, 1000);
const ENTROPY_THRESHOLD: Opt<f64> = Opt::number(
    "entropy_threshold",
    2.5,
    "entropy (nats) above which an answer is ambiguous",
)
.within(0.0, 100.0)
.public("entropy_threshold");
const ENTROPY_NORMALIZED_THRESHOLD: Opt<f64> = Opt::number(
    "entropy_normalized_threshold",
    0.76,
    "entropy_normalized above which an answer is ambiguous",
)
.within(0.0, 1.0)
.public("entropy_normalized_threshold");

/// Decimals of every number in the response.
const DECIMALS: u8 = 6;
/// Labels for later stages, whatever is shown: as many as any of them asks for.
const BEST_COUNT: usize = 10;

/// A number of the response.
const fn number(name: &'static str, doc: &'static str) -> Out<f64> {
    Out::new(name, doc).published("0.0").rounded(DECIMALS)
}

/// The kind `rank`.
pub struct Rank;

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let doc = "orders the scores and measures how sure the winner is";
    let options = [
        TOP_K.spec(),
        GATE_LABELS.spec(),
        ENTROPY_THRESHOLD.spec(),
        ENTROPY_NORMALIZED_THRESHOLD.spec(),
    ];
    StageSpec::new("rank", doc, options).pure()
});

impl StageKind for Rank {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::new(
            [SCORES.port(), CLIP_SCORES.port()],
            [
                CATEGORY.port(),
                CONFIDENCE.port(),
                ALL_SCORES.port(),
                RAW_LOGITS.port(),
                TOP_LABELS.port(),
                BEST_LABELS.port(),
                GATE_ENTROPY.port(),
                ENTROPY.port(),
                ENTROPY_TOP_K.port(),
                ENTROPY_NORMALIZED.port(),
                CONFIDENCE_MARGIN.port(),
                AMBIGUOUS.port(),
            ],
        )
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        Ok(Runner::inline(Ranking::new(options)))
    }
}

struct Ranking {
    top_k: usize,
    gate_labels: usize,
    entropy_threshold: f64,
    entropy_normalized_threshold: f64,
}

impl Ranking {
    fn new(options: &Options) -> Self {
        Self {
            top_k: options.get(TOP_K),
            gate_labels: options.get(GATE_LABELS),
            entropy_threshold: options.get(ENTROPY_THRESHOLD),
            entropy_normalized_threshold: options.get(ENTROPY_NORMALIZED_THRESHOLD),
        }
    }
}

impl Observed for Ranking {}

impl Stage for Ranking {
    fn run(&self, inputs: &Inputs, _: &Call) -> Result<Outputs, Error> {
        let scores = inputs.get(SCORES)?;
        let clip_scores = inputs.get(CLIP_SCORES)?.unwrap_or(scores);
        let order = ranking(scores);
        let Some(&winner) = order.first() else {
            return Err(Error::internal("there is no label to rank"));
        };
        let best = |count: usize| -> Vec<f64> {
            let best = order.iter().take(count);
            best.map(|&index| scores[index].probability).collect()
        };
        let spread = Spread::of(scores, &best(self.top_k));
        let gate = Spread::of(scores, &best(self.gate_labels));
        let ambiguous = spread.entropy > self.entropy_threshold
            || spread.entropy_normalized > self.entropy_normalized_threshold;
        let mut labels: Vec<Json> = order
            .iter()
            .take(self.top_k.max(BEST_COUNT))
            .map(|&index| shown(index, scores, clip_scores))
            .collect();
        let best_labels: Json = labels.iter().take(BEST_COUNT).cloned().collect();
        labels.truncate(self.top_k);
        let winner = &scores[winner];
        let [probabilities, logits] = by_label(scores);
        Ok(Outputs::new()
            .with(CATEGORY, winner.label.clone())
            .with(CONFIDENCE, winner.probability)
            .with(ALL_SCORES, probabilities)
            .with(RAW_LOGITS, logits)
            .with(TOP_LABELS, Json::from(labels))
            .with(BEST_LABELS, best_labels)
            .with(GATE_ENTROPY, gate.entropy_normalized)
            .with(ENTROPY, spread.entropy)
            .with(ENTROPY_TOP_K, spread.entropy_top_k)
            .with(ENTROPY_NORMALIZED, spread.entropy_normalized)
            .with(CONFIDENCE_MARGIN, spread.margin)
            .with(AMBIGUOUS, ambiguous))
    }
}

/// A label as answers show it.
fn shown(index: usize, scores: &Scores, clip_scores: &Scores) -> Json {
    let score = &scores[index];
    // Both lists come of the same labels in the same order; a stage that drops or moves labels
    // still gets the right score by name.
    let clip = clip_scores
        .get(index)
        .filter(|clip| clip.label == score.label)
        .or_else(|| clip_scores.iter().find(|clip| clip.label == score.label));
    json!({
        "label": &*score.label,
        "score": round(score.probability, DECIMALS),
        "logit": round(score.logit, DECIMALS),
        "clip_score": round(clip.unwrap_or(score).probability, DECIMALS),
    })
}

/// Positions of the scores, the greatest probability first; ties keep the order of
/// the labels.
fn ranking(scores: &[Score]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // The sort is stable, and total even for values that are not numbers.
    order.sort_by(|&a, &b| scores[b].probability.total_cmp(&scores[a].probability));
    order
}

/// How the probability is spread over the labels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    /// `-sum p ln p` over all labels, nats.
    entropy: f64,
    /// `-sum q ln q` over the best k, where `q = p / sum p of the best k`, nats.
    entropy_top_k: f64,
    /// `entropy_top_k / ln k`, clamped to 0..1; 0 where k is 1.
    entropy_normalized: f64,
    /// `p(first) - p(second)`; `p(first)` where there is no second.
    margin: f64,
}

impl Spread {
    /// `top` are the k greatest probabilities in descending order.
    fn of(scores: &Scores, top: &[f64]) -> Self {
        let entropy_top_k = entropy(top.iter().copied());
        let entropy_normalized = if top.len() > 1 {
            (entropy_top_k / (top.len() as f64).ln()).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let first = top.first().copied().unwrap_or_default();
        // With top_k = 1 the runner-up is not among `top`.
        let second = match top.get(1) {
            Some(second) => *second,
            None => ranking(scores)
                .get(1)
                .map_or(0.0, |&index| scores[index].probability),
        };
        Self {
            entropy: entropy(scores.iter().map(|score| score.probability)),
            entropy_top_k,
            entropy_normalized,
            margin: first - second,
        }
    }
}

/// Shannon's entropy in nats of weights that are renormalised to sum 1 first:
/// `-sum q ln q` with `q = w / sum w`; what has no weight adds nothing.
fn entropy(weights: impl Iterator<Item = f64> + Clone) -> f64 {
    let total: f64 = weights.clone().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let sum: f64 = weights
        .map(|weight| weight / total)
        .filter(|share| *share > 0.0)
        .map(|share| share * share.ln())
        .sum();
    // Minus zero would show in the answer.
    (-sum).max(0.0)
}

/// Probabilities and logits by label. The second is a copy of the first with other numbers, so that
/// labels are hashed once.
fn by_label(scores: &Scores) -> [Json; 2] {
    let shown = |number| json!(round(number, DECIMALS));
    let entries = scores
        .iter()
        .map(|score| (score.label.to_string(), shown(score.probability)));
    let probabilities: Map<_, _> = entries.collect();
    let mut logits = probabilities.clone();
    if logits.len() == scores.len() {
        for (logit, score) in logits.values_mut().zip(scores.iter()) {
            *logit = shown(score.logit);
        }
    } else {
        // A stage that says a label twice: the last one counts.
        for score in scores.iter() {
            logits.insert(score.label.to_string(), shown(score.logit));
        }
    }
    [Json::Object(probabilities), Json::Object(logits)]
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{Output, Value};

    use super::*;
    use crate::testing::{call, options, run};

    fn scores(probabilities: &[f64]) -> Scores {
        let score = |(index, &probability): (usize, &f64)| Score {
            label: format!("l{index}").into(),
            logit: probability.max(f64::MIN_POSITIVE).ln(),
            probability,
        };
        Scores(probabilities.iter().enumerate().map(score).collect())
    }

    fn rank_with(probabilities: &[f64], top_k: i64, clip: Option<Scores>) -> Map<String, Json> {
        let stage = Ranking::new(&options(&Rank, [("top_k", json!(top_k))]));
        let values = [
            ("scores", Some(Value::from(scores(probabilities)))),
            ("clip_scores", clip.map(Value::from)),
        ];
        let outputs = run(&Rank, &stage, values, &call()).unwrap();
        let ports = Rank.ports(&options(&Rank, []));
        let field = |port: &Output| {
            let value = outputs.value(&port.name).unwrap().to_json();
            (port.name.to_string(), value)
        };
        ports.outputs.iter().map(field).collect()
    }

    fn number(answer: &Map<String, Json>, field: &str) -> f64 {
        answer[field].as_f64().unwrap()
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn the_measures_follow_their_formulas() {
        let answer = rank_with(&[0.1, 0.6, 0.05, 0.25], 2, None);
        assert_eq!(answer["category"], "l1");
        close(number(&answer, "confidence"), 0.6);
        close(number(&answer, "confidence_margin"), 0.35);
        let expected: f64 = [0.1, 0.6, 0.05, 0.25]
            .map(|p: f64| -p * p.ln())
            .iter()
            .sum();
        close(number(&answer, "entropy"), expected);
        let top: f64 = [0.6 / 0.85, 0.25 / 0.85]
            .map(|q: f64| -q * q.ln())
            .iter()
            .sum();
        close(number(&answer, "entropy_top_k"), top);
        close(number(&answer, "entropy_normalized"), top / 2f64.ln());
        let labels: Vec<_> = answer["top_labels"].as_array().unwrap().iter().collect();
        assert_eq!(labels.len(), 2);
        assert_eq!(labels[0]["label"], "l1");
        assert_eq!(labels[1]["score"], 0.25);
        assert_eq!(labels[1]["logit"], json!(-1.386294));
    }

    #[test]
    fn ties_keep_the_order_of_the_labels() {
        let answer = rank_with(&[0.25; 4], 5, None);
        let labels: Vec<_> = answer["top_labels"].as_array().unwrap().iter().collect();
        let labels: Vec<_> = labels
            .iter()
            .map(|l| l["label"].as_str().unwrap())
            .collect();
        assert_eq!(labels, ["l0", "l1", "l2", "l3"]);
        close(number(&answer, "entropy_normalized"), 1.0);
        close(number(&answer, "confidence_margin"), 0.0);
        assert_eq!(answer["ambiguous"], true);
    }

    #[test]
    fn one_label_is_certain() {
        let answer = rank_with(&[1.0], 5, None);
        for field in ["entropy", "entropy_top_k", "entropy_normalized"] {
            assert_eq!(answer[field], json!(0.0), "{field}");
        }
        close(number(&answer, "confidence_margin"), 1.0);
        assert_eq!(answer["ambiguous"], false);
    }

    #[test]
    fn the_margin_does_not_depend_on_top_k() {
        close(
            number(&rank_with(&[0.3, 0.7], 1, None), "confidence_margin"),
            0.4,
        );
        close(
            number(&rank_with(&[0.3, 0.7], 2, None), "confidence_margin"),
            0.4,
        );
        assert_eq!(
            rank_with(&[0.3, 0.7], 1, None)["entropy_normalized"],
            json!(0.0)
        );
    }

    #[test]
    fn what_later_stages_go_by_does_not_depend_on_what_is_shown() {
        let probabilities = [0.3, 0.25, 0.2, 0.1, 0.08, 0.04, 0.03];
        let usual = rank_with(&probabilities, 5, None);
        assert_eq!(usual["gate_entropy"], usual["entropy_normalized"]);
        for top_k in [1, 2, 3, 7, 1000] {
            let answer = rank_with(&probabilities, top_k, None);
            assert_eq!(answer["gate_entropy"], usual["gate_entropy"], "{top_k}");
            assert_eq!(answer["best_labels"], usual["best_labels"], "{top_k}");
            let shown = answer["top_labels"].as_array().unwrap();
            assert_eq!(shown.len() as i64, top_k.min(7));
            let best = answer["best_labels"].as_array().unwrap();
            assert!(shown.iter().zip(best).all(|(a, b)| a == b), "{top_k}");
        }
    }

    #[test]
    fn many_equal_labels_are_ambiguous_by_entropy_alone() {
        // ln 13 = 2.565 > 2.5; top_k = 1 keeps the other measure at 0.
        assert_eq!(rank_with(&[1.0 / 13.0; 13], 1, None)["ambiguous"], true);
        assert_eq!(rank_with(&[1.0 / 12.0; 12], 1, None)["ambiguous"], false);
    }

    #[test]
    fn the_models_own_score_is_found_whatever_its_place() {
        let mut clip = scores(&[0.2, 0.5, 0.3]);
        clip.0.reverse();
        let answer = rank_with(&[0.7, 0.2, 0.1], 1, Some(clip));
        assert_eq!(answer["top_labels"][0]["clip_score"], json!(0.2));
        assert_eq!(answer["top_labels"][0]["score"], json!(0.7));
    }

    #[test]
    fn probabilities_of_zero_add_nothing_to_entropy() {
        let answer = rank_with(&[1.0, 0.0, 0.0], 3, None);
        assert_eq!(answer["entropy"], json!(0.0));
        assert_eq!(answer["entropy_normalized"], json!(0.0));
    }

    #[test]
    fn maps_keep_the_order_of_the_labels_and_six_decimals() {
        let answer = rank_with(&[1.0 / 3.0, 2.0 / 3.0], 2, None);
        let all: Vec<_> = answer["all_scores"].as_object().unwrap().iter().collect();
        assert_eq!(all[0], (&"l0".to_owned(), &json!(0.333333)));
        assert_eq!(all[1], (&"l1".to_owned(), &json!(0.666667)));
    }
}

//! `tags`: every label that fits well enough, for those who file a picture under several.

use std::sync::{Arc, LazyLock};

use omnizap_contract::typed::{In, Opt, Out, TextList};
use omnizap_contract::{
    Call, Error, Inputs, Observed, Options, Outputs, Ports, Runner, Scores, Stage, StageKind,
    StageSpec,
};

const SCORES: In<Scores> = In::required("scores", "what every label got in the end");
const TAGS: Out<TextList> =
    Out::new("tags", "the labels of at least `min_score`, best first").published("[]");
const MIN_SCORE: Opt<f64> =
    Opt::number("min_score", 0.1, "probability from which a label is a tag").within(0.0, 1.0);
const MOST: Opt<usize> = Opt::count("most", 10, "most tags of a picture").within(1, 1000);

/// The kind `tags`.
pub struct Tags;

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let doc = "lists every label that fits well enough, best first";
    StageSpec::new("tags", doc, [MIN_SCORE.spec(), MOST.spec()]).pure()
});

impl StageKind for Tags {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::new([SCORES.port()], [TAGS.port()])
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        Ok(Runner::inline(Tagging {
            min_score: options.get(MIN_SCORE),
            most: options.get(MOST),
        }))
    }
}

struct Tagging {
    min_score: f64,
    most: usize,
}

impl Observed for Tagging {}

impl Stage for Tagging {
    fn run(&self, inputs: &Inputs, _: &Call) -> Result<Outputs, Error> {
        let scores = inputs.get(SCORES)?.iter();
        let mut fitting: Vec<_> = scores
            .filter(|score| score.probability >= self.min_score)
            .collect();
        // Stable: equals keep the order of the labels.
        fitting.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        fitting.truncate(self.most);
        let tags: Vec<Arc<str>> = fitting.iter().map(|score| score.label.clone()).collect();
        Ok(Outputs::new().with(TAGS, tags))
    }
}

#[cfg(test)]
mod tests {
    use omnizap_contract::{Score, Value};

    use super::*;
    use crate::testing::{call, run};

    fn tags(min_score: f64, most: usize) -> Vec<String> {
        let score = |(label, probability): (&str, f64)| Score {
            label: label.into(),
            logit: 0.0,
            probability,
        };
        let scores = [("dog", 0.2), ("cat", 0.6), ("pet", 0.2)].map(score);
        let values = [("scores", Some(Value::from(Scores(scores.into()))))];
        let outputs = run(&Tags, &Tagging { min_score, most }, values, &call()).unwrap();
        let tags = outputs.get(TAGS).unwrap().iter();
        tags.map(|tag| tag.to_string()).collect()
    }

    #[test]
    fn tags_are_the_labels_that_reach_the_score_best_first() {
        assert_eq!(tags(0.1, 10), ["cat", "dog", "pet"]);
        assert_eq!(tags(0.2, 2), ["cat", "dog"]);
        assert_eq!(tags(0.6, 10), ["cat"], "the score itself is enough");
        assert_eq!(tags(0.7, 10), [""; 0]);
    }
}

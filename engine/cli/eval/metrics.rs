//! Accuracy, calibration and confusions of a set of answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value as Json, json};

/// Bins of the calibration error, of equal width.
const BINS: usize = 15;

/// One answer beside what is true.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) truth: Arc<str>,
    pub(super) winner: Arc<str>,
    /// Score of the winner, 0 to 1.
    pub(super) confidence: f64,
    /// Place of the true label, 0 being the first; none where it is not among the labels.
    pub(super) rank: Option<usize>,
    /// What answered.
    pub(super) model: Option<Arc<str>>,
}

#[derive(Clone, Copy, Default)]
struct Bin {
    pictures: usize,
    right: usize,
    /// Sum of the winners' scores.
    confidence: f64,
}

#[derive(Clone, Copy, Default)]
struct Class {
    pictures: usize,
    right: usize,
}

/// What many answers amount to.
pub(super) struct Report {
    candidates: usize,
    top1: usize,
    top5: usize,
    bins: [Bin; BINS],
    classes: BTreeMap<Arc<str>, Class>,
    /// Pictures by (true label, other label that won).
    confusions: BTreeMap<(Arc<str>, Arc<str>), usize>,
    model: Option<Arc<str>>,
}

impl Report {
    /// Of answers that choose among so many labels.
    pub(super) fn new(candidates: usize) -> Self {
        Self {
            candidates,
            top1: 0,
            top5: 0,
            bins: [Bin::default(); BINS],
            classes: BTreeMap::new(),
            confusions: BTreeMap::new(),
            model: None,
        }
    }

    pub(super) fn add(&mut self, judged: Judged) {
        let right = judged.rank == Some(0);
        self.top1 += usize::from(right);
        self.top5 += usize::from(judged.rank.is_some_and(|rank| rank < 5));
        let bin = ((judged.confidence * BINS as f64) as usize).min(BINS - 1);
        let bin = &mut self.bins[bin];
        bin.pictures += 1;
        bin.right += usize::from(right);
        bin.confidence += judged.confidence;
        let class = self.classes.entry(judged.truth.clone()).or_default();
        class.pictures += 1;
        class.right += usize::from(right);
        if !right {
            *self
                .confusions
                .entry((judged.truth, judged.winner))
                .or_default() += 1;
        }
        self.model = judged.model.or(self.model.take());
    }

    pub(super) fn pictures(&self) -> usize {
        self.bins.iter().map(|bin| bin.pictures).sum()
    }

    /// Expected calibration error: how far the score of the winner is from how often it is
    /// right, over the bins, weighted by their pictures; 0 to 1.
    fn calibration_error(&self) -> f64 {
        let distance: f64 = self
            .bins
            .iter()
            .map(|bin| (bin.right as f64 - bin.confidence).abs())
            .sum();
        distance / self.pictures().max(1) as f64
    }

    /// The most frequent confusions first.
    fn worst(&self, most: usize) -> Vec<(&str, &str, usize)> {
        let mut worst: Vec<_> = self
            .confusions
            .iter()
            .map(|((truth, winner), &pictures)| (&**truth, &**winner, pictures))
            .collect();
        worst.sort_by_key(|&(_, _, pictures)| std::cmp::Reverse(pictures));
        worst.truncate(most);
        worst
    }

    fn share(&self, pictures: usize) -> f64 {
        pictures as f64 / self.pictures().max(1) as f64
    }

    pub(super) fn json(&self, failed: usize, worst: usize) -> Json {
        let round = |value: f64| (value * 1e6).round() / 1e6;
        let classes: Vec<Json> = self
            .classes
            .iter()
            .map(|(label, class)| {
                let accuracy = class.right as f64 / class.pictures as f64;
                json!({ "label": &**label, "pictures": class.pictures, "top1": round(accuracy) })
            })
            .collect();
        let confusions: Vec<Json> = self
            .worst(worst)
            .into_iter()
            .map(|(truth, winner, pictures)| {
                json!({ "label": truth, "predicted": winner, "pictures": pictures })
            })
            .collect();
        json!({
            "model": self.model.as_deref(),
            "pictures": self.pictures(),
            "failed": failed,
            "candidates": self.candidates,
            "top1": round(self.share(self.top1)),
            "top5": round(self.share(self.top5)),
            "expected_calibration_error": round(self.calibration_error()),
            "classes": classes,
            "confusions": confusions,
        })
    }

    pub(super) fn text(&self, worst: usize) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} pictures of {} classes, {} labels to choose from, {}",
            self.pictures(),
            self.classes.len(),
            self.candidates,
            self.model.as_deref().unwrap_or("no model named")
        );
        let percent = |pictures| self.share(pictures) * 100.0;
        let _ = writeln!(text, "  top-1  {:5.1} %", percent(self.top1));
        let _ = writeln!(text, "  top-5  {:5.1} %", percent(self.top5));
        let _ = writeln!(
            text,
            "  expected calibration error  {:.3}",
            self.calibration_error()
        );
        let worst = self.worst(worst);
        if !worst.is_empty() {
            text.push_str("worst confusions\n");
        }
        for (truth, winner, pictures) in worst {
            let of = self.classes[truth].pictures;
            let _ = writeln!(text, "  {truth} taken for {winner}: {pictures} of {of}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(truth: &str, winner: &str, confidence: f64, rank: Option<usize>) -> Judged {
        Judged {
            truth: truth.into(),
            winner: winner.into(),
            confidence,
            rank,
            model: Some("m".into()),
        }
    }

    #[test]
    fn a_report_by_hand() {
        let mut report = Report::new(7);
        report.add(judged("cat", "cat", 0.95, Some(0)));
        report.add(judged("cat", "dog", 0.95, Some(4)));
        report.add(judged("cat", "dog", 0.55, Some(5)));
        report.add(judged("dog", "bird", 0.05, None));
        let json = report.json(2, 1);
        assert_eq!(json["pictures"], 4);
        assert_eq!(json["failed"], 2);
        assert_eq!(json["top1"], 0.25);
        assert_eq!(json["top5"], 0.5);
        // Two at 0.95 with one right: |1 - 1.9|; one at 0.55 and one at 0.05, both wrong.
        assert_eq!(json["expected_calibration_error"], 0.375);
        assert_eq!(
            json["confusions"],
            json!([{ "label": "cat", "predicted": "dog", "pictures": 2 }])
        );
        assert_eq!(json["classes"][0]["top1"], 0.333333);
        let text = report.text(5);
        assert!(text.contains("cat taken for dog: 2 of 3"), "{text}");
        assert!(text.contains("top-5   50.0 %"), "{text}");
    }

    #[test]
    fn a_sure_and_right_model_is_calibrated() {
        let mut report = Report::new(2);
        report.add(judged("a", "a", 1.0, Some(0)));
        assert_eq!(report.calibration_error(), 0.0);
        assert_eq!(report.json(0, 3)["confusions"], json!([]));
    }
}

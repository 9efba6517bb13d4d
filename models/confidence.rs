//! What a model's logits are worth: the temperature that makes its confidences honest, and the
//! logit under which no label describes a picture.

use serde::{Deserialize, Serialize};

/// How logits, scaled cosines, become confidences.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Confidence {
    /// The temperature of a softmax over `n` labels is `base + per_ln_label * ln n`.
    pub temperature: Temperature,
    /// When no label describes a picture.
    pub no_match: NoMatch,
}

/// A temperature that depends on the number of labels (Guo et al. 2017, arXiv:1706.04599, have one
/// for a fixed number).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Temperature {
    /// For one label.
    pub base: f64,
    /// For each natural logarithm of their number.
    pub per_ln_label: f64,
}

impl Temperature {
    /// What the logits of `labels` labels are divided by before the softmax; over 0.
    pub fn of(self, labels: usize) -> f64 {
        let logarithm = (labels.max(1) as f64).ln();
        (self.base + self.per_ln_label * logarithm).max(0.01)
    }
}

/// The logit that the best label must reach.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoMatch {
    /// Of a model that knows drawings and photographs apart: one for each.
    Worlds {
        /// Of a drawing, for the share that it is one.
        drawn: f64,
        /// Of a photograph, for each unit that its half is long.
        seen: f64,
    },
    /// So much more cosine with the picture than labels of all sorts have on average.
    Margin(f64),
}

impl Confidence {
    /// That of a model of which nothing was measured here. CLIP's own temperature is about honest
    /// for labels that it never saw (Minderer et al. 2021, arXiv:2106.07998). Its cosine with a
    /// caption that fits is some 0.1 over that with others; the margin is most of that.
    pub(crate) const UNMEASURED: Self = Self {
        temperature: Temperature {
            base: 1.0,
            per_ln_label: 0.0,
        },
        no_match: NoMatch::Margin(0.07),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temperature_grows_with_the_logarithm_and_stays_over_zero() {
        let temperature = Temperature {
            base: 0.5,
            per_ln_label: 0.1,
        };
        assert_eq!(temperature.of(1), 0.5);
        assert!((temperature.of(200) - (0.5 + 0.1 * 200f64.ln())).abs() < 1e-12);
        let falling = Temperature {
            base: 0.5,
            per_ln_label: -1.0,
        };
        assert_eq!(falling.of(4096), 0.01);
        assert_eq!(falling.of(0), falling.of(1));
    }
}

//! How feedback moves scores: the law, its reasons, and what it gives up.
//!
//! # The law
//!
//! ```text
//! score'(l) = p(l) exp(2 alpha a(l)) / sum over m of p(m) exp(2 alpha a(m))
//! ```
//!
//! `p` is what the model says; `a(l)`, from -1 to 1, what feedback says of label `l`; `alpha`
//! (0 to 1) how much it may say. `a` is made of three kinds of evidence, the more specific
//! one resting on the more general. Each is a balance `v` of judgements, for less against, by
//! label:
//!
//! ```text
//! theme       v = balance of the theme's judgements      t = level(v, 0, 0.75)
//! near copies v = balance of theirs, times their cosine  n = level(v, t, 0.5)
//! itself      v = balance of this picture's              a = level(v, n, 0.25)
//!
//! level(v, prior, k)(l) = ((v(l) - c) / 2 + k prior(l)) / (h + k)
//!     h = (largest v - smallest v) / 2       over the labels of the request
//!     c = the number between them that is nearest to 0
//! ```
//!
//! A judgement is about **one** label: the one that it names, else the one that the model
//! itself put first. It adds or takes away how far that label stood above chance,
//! `(n p - 1) / (n - 1)` among `n` labels. `p` is always the model's own, so that what was
//! learned never teaches. `c` only says where `a` is 0: at the labels of which nothing is
//! known, or at what all labels have in common. It cancels in the scores.
//!
//! # What follows
//!
//! - *Bounded.* `|v(l) - c| <= 2 h`, so `a` is a mean of numbers from -1 to 1, and no two of
//!   its values are more than 1 apart: the odds of two labels move at most by `exp(2 alpha)`
//!   (2.23 at 0.4), and no label is ever ruled out.
//! - *Neutral.* Without evidence `a` is 0 and the scores are the very same. So they are where
//!   evidence is the same for all labels: it cancels in `v(l) - c` and in `h`. And it takes
//!   nothing away: adding one number to every `v` changes no score, however large it is.
//! - *More evidence never weakens.* A judgement against `w` lowers `v(w)` and no other, by
//!   some `d`. Write `y(l)` for the numerator. Then `y(w) - y(l)` falls by `d / 2`, and `h`
//!   grows by `d / 2` (where `w` was lowest), shrinks by as much (where it was highest), or
//!   stays. Since `|y(w) - y(l)| <= h + k` always, `(y(w) - y(l)) / (h + k)` does not rise in
//!   any of the three, at any level, whatever came before: the score of `w` never rises, on
//!   the picture itself, on near copies, on any picture of the theme. Acceptance is the mirror
//!   image. This is why a judgement is about one label: were the second label lowered as well,
//!   the two would meet again once both are as low as they can be.
//! - *Symmetric.* Acceptances and rejections exchanged give `-a`: the odds move as far the
//!   other way. As many of both cancel.
//! - *Independent of order*, since `v` is a sum, and *themes are independent*, since each has
//!   its own.
//! - *The majority decides.* Raters who judge the same pictures move a label the way most of
//!   them say, since a balance has the sign of its majority.
//! - *Shrunk.* `k` is the balance, in half widths, that evidence must reach to have half its
//!   say: one certain judgement of a theme has two fifths of it, a hundred have 98.5 %. It is
//!   smaller for near copies, and smallest for the picture itself.
//!
//! # What was weighed against it
//!
//! | law | right after 10, 100, 1,000 judgements | gives up |
//! |---|---|---|
//! | this one | 74.7, 91.6, 94.4 % | see below |
//! | rates: `p (1 + alpha a)`, `a = (for - against) / (for + against + k)`, of five labels a picture (as it was) | 72.5, 86.7, 91.4 % | more evidence weakens: all five labels end at -1 or 1, which cancels |
//! | rates of one label a picture | 75.8, 89.9, 94.3 % | what all labels share eats the difference: 1,000 rejections of each leave 0.02 of it; 79 % at most with 35 % wrong raters, where balances reach 94 % |
//! | credits `±(p(l) - sum of p²)` for every label, over the largest | 74.6, 87.9, 93.7 % | two histories together can raise a label that was rejected in both: `p = .9 .05 .05`, then `.51 .49 0` |
//! | the same over the range | 79.1, 93.5, 94.4 % | the same |
//! | each label squashed by itself | | the same with one history: `p = .40 .35 .25` |
//! | logarithms of balances | 75.1, 87.9, 92.3 % | worse with unequal labels: 87 % falling to 86 % |
//!
//! `stages/adaptive/laws.py` prints the percentages. What *this* law gives up: it compares
//! balances, so a label with ten judgements weighs little beside one with a thousand; and
//! where as many raters reject as accept, whatever they see, chance decides which label is
//! ahead, within the bound: 65 % right becomes 60 %, where rates stay at 65 %.

/// Balance of a theme, in half widths, that has half of its say.
pub(super) const THEME_PRIOR: f64 = 0.75;
/// The same of near copies, against their theme.
pub(super) const NEAR_PRIOR: f64 = 0.5;
/// The same of the picture itself, against its near copies.
pub(super) const ITSELF_PRIOR: f64 = 0.25;

/// Balances of judgements by label, for less against, in the order of the request's labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Balances {
    /// Of all pictures of the theme.
    pub(super) theme: Vec<f64>,
    /// Of near copies, each times its cosine.
    pub(super) near: Vec<f64>,
    /// Of the picture itself.
    pub(super) itself: Vec<f64>,
}

impl Balances {
    /// No evidence of so many labels.
    pub(super) fn none(labels: usize) -> Self {
        let none = vec![0.0; labels];
        Self {
            theme: none.clone(),
            near: none.clone(),
            itself: none,
        }
    }

    /// What feedback says of each label: `a`, -1 to 1.
    pub(super) fn affinities(&self) -> Vec<f64> {
        let neutral = vec![0.0; self.theme.len()];
        let theme = level(&self.theme, neutral, THEME_PRIOR);
        let near = level(&self.near, theme, NEAR_PRIOR);
        level(&self.itself, near, ITSELF_PRIOR)
    }
}

/// One kind of evidence on top of a more general one. See the module.
fn level(balances: &[f64], mut prior: Vec<f64>, k: f64) -> Vec<f64> {
    let largest = balances.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = balances.iter().copied().fold(f64::INFINITY, f64::min);
    let half_width = (largest - smallest) / 2.0;
    if !half_width.is_finite() || half_width <= 0.0 {
        return prior;
    }
    let common = 0.0_f64.clamp(smallest, largest);
    for (value, balance) in prior.iter_mut().zip(balances) {
        *value = ((balance - common) / 2.0 + k * *value) / (half_width + k);
    }
    prior
}

/// Probabilities moved by what feedback says, their sum 1 again; `None` where that changes
/// nothing.
pub(super) fn moved(probabilities: &[f64], affinities: &[f64], alpha: f64) -> Option<Vec<f64>> {
    let first = affinities.first()?;
    if alpha == 0.0 || affinities.iter().all(|affinity| affinity == first) {
        return None;
    }
    let mut moved: Vec<f64> = probabilities
        .iter()
        .zip(affinities)
        .map(|(probability, affinity)| probability * (2.0 * alpha * affinity).exp())
        .collect();
    let sum: f64 = moved.iter().sum();
    if !sum.is_finite() || sum <= 0.0 {
        return None;
    }
    for probability in &mut moved {
        *probability /= sum;
    }
    Some(moved)
}

#[cfg(test)]
mod tests;

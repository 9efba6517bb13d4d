//! The arithmetic of scores: scaled cosines and their softmax, in double precision.

/// `exp(logit_scale) * cosine` of a picture with each of the texts. All vectors have L2
/// norm 1, so the cosine is their dot product (Radford et al. 2021, figure 3).
#[must_use]
pub fn logits<'a>(
    image: &[f32],
    texts: impl IntoIterator<Item = &'a [f32]>,
    logit_scale: f64,
) -> Vec<f64> {
    let logit = |text: &[f32]| logit_scale * dot(image, text);
    texts.into_iter().map(logit).collect()
}

/// The dot product.
#[must_use]
pub fn dot<B: Copy + Into<f64>>(a: &[f32], b: &[B]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * (*b).into());
    products.sum()
}

/// `exp(l) / sum exp(l)`. The greatest logit is subtracted first, so that no power
/// overflows.
#[must_use]
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|logit| (logit - greatest).exp())
        .collect();
    let total: f64 = powers.iter().sum();
    powers.iter().map(|power| power / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_and_survives_extremes() {
        for logits in [
            vec![0.0],
            vec![1e4, 0.0, -1e4],
            vec![-700.0; 3],
            vec![3.0, 2.0, 1.0],
        ] {
            let shares = softmax(&logits);
            assert!(
                (shares.iter().sum::<f64>() - 1.0).abs() < 1e-12,
                "{logits:?}"
            );
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        }
        assert!(softmax(&[]).is_empty());
    }

    #[test]
    fn softmax_is_that_of_the_definition() {
        let shares = softmax(&[1.0, 2.0, 3.0]);
        let total: f64 = (1..=3).map(|n| f64::from(n).exp()).sum();
        for (index, share) in shares.iter().enumerate() {
            assert!((share - ((index + 1) as f64).exp() / total).abs() < 1e-15);
        }
    }

    #[test]
    fn logits_are_scaled_cosines() {
        let image = [0.6, 0.8];
        let texts: [&[f32]; 3] = [&[0.6, 0.8], &[-0.8, 0.6], &[-0.6, -0.8]];
        let logits = logits(&image, texts, 100.0);
        for (logit, expected) in logits.iter().zip([100.0, 0.0, -100.0]) {
            assert!((logit - expected).abs() < 1e-5, "{logit}");
        }
    }
}

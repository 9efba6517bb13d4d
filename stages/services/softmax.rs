//! The arithmetic of scores: scaled cosines and their softmax, in double precision.

use pulp::Arch;

/// Sums side by side: each addition waits for the one before it, and one sum alone is most of what
/// the scores of many labels cost.
const LANES: usize = 16;

/// `exp(logit_scale) * cosine` of a picture with each of the texts. All vectors have L2
/// norm 1, so the cosine is their dot product (Radford et al. 2021, figure 3). Every processor
/// gives the same to the last bit.
#[must_use]
pub fn logits<'a>(
    image: &[f32],
    texts: impl IntoIterator<Item = &'a [f32]>,
    logit_scale: f64,
) -> Vec<f64> {
    let wide: Vec<f64> = image.iter().copied().map(f64::from).collect();
    let texts = texts.into_iter();
    let mut logits = Vec::with_capacity(texts.size_hint().0);
    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => simd.vectorize(
            #[inline(always)]
            || x86::dots(*simd, texts, &wide, &mut logits),
        ),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => simd.vectorize(
            #[inline(always)]
            || x86::dots(simd, texts, &wide, &mut logits),
        ),
        _ => logits.extend(texts.map(|text| dot(text, &wide))),
    }
    for logit in &mut logits {
        *logit *= logit_scale;
    }
    logits
}

/// The dot product, of as many numbers as the shorter one has.
#[must_use]
pub fn dot<B: Copy + Into<f64>>(a: &[f32], b: &[B]) -> f64 {
    let len = a.len().min(b.len());
    let (a, a_rest) = a[..len].as_chunks::<LANES>();
    let (b, b_rest) = b[..len].as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * b[lane].into();
        }
    }
    add(sums, a_rest, b_rest)
}

/// The sums as one, with the products of the numbers that fill no step.
#[inline(always)]
fn add<B: Copy + Into<f64>>(mut sums: [f64; LANES], a: &[f32], b: &[B]) -> f64 {
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        *sum += f64::from(*a) * (*b).into();
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = sums.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
    }
    sums[0]
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m128, __m256d};

    use pulp::bytemuck::cast;
    use pulp::x86::V3;

    use super::LANES;

    /// Numbers in a vector of the processor.
    const WIDTH: usize = 4;

    type Vectors = [__m256d; LANES / WIDTH];

    /// The products of an image with each of the texts. A loop and no adapter: whatever is called
    /// instead of inlined knows nothing of the vectors.
    #[inline(always)]
    pub(super) fn dots<'a>(
        simd: V3,
        texts: impl Iterator<Item = &'a [f32]>,
        image: &[f64],
        products: &mut Vec<f64>,
    ) {
        for text in texts {
            products.push(dot(simd, text, image));
        }
    }

    /// The same as [`super::dot`], to the last bit where both were single: their product is exact
    /// then, so that to multiply and to add in one step rounds no less.
    #[inline(always)]
    fn dot(simd: V3, a: &[f32], b: &[f64]) -> f64 {
        let len = a.len().min(b.len());
        let (a, a_rest) = a[..len].as_chunks::<LANES>();
        let (b, b_rest) = b[..len].as_chunks::<LANES>();
        let mut sums: Vectors = cast([0.0_f64; LANES]);
        for (a, b) in a.iter().zip(b) {
            let [a0, a1, a2, a3]: [__m128; LANES / WIDTH] = cast(*a);
            let [b0, b1, b2, b3]: Vectors = cast(*b);
            let [s0, s1, s2, s3] = sums;
            sums = [
                step(simd, a0, b0, s0),
                step(simd, a1, b1, s1),
                step(simd, a2, b2, s2),
                step(simd, a3, b3, s3),
            ];
        }
        super::add(cast(sums), a_rest, b_rest)
    }

    #[inline(always)]
    fn step(simd: V3, a: __m128, b: __m256d, sum: __m256d) -> __m256d {
        simd.fma
            ._mm256_fmadd_pd(simd.avx._mm256_cvtps_pd(a), b, sum)
    }
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
    fn every_processor_gives_the_same_logits() {
        let mut random = fastrand::Rng::with_seed(5);
        for len in [0, 1, 15, 16, 17, 512, 576, 1000] {
            let mut vector = || (0..len).map(|_| random.f32() - 0.5).collect::<Vec<_>>();
            let (image, texts) = (vector(), [vector(), vector()]);
            let found = logits(&image, texts.iter().map(|text| &**text), 50.0);
            for (logit, text) in found.iter().zip(&texts) {
                assert_eq!(*logit, 50.0 * dot(text, &image), "{len}");
                let pairs = image.iter().zip(text);
                let exact: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!((logit - 50.0 * exact).abs() < 1e-11, "{len}: {logit}");
            }
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

//! The vector of several frames.

use std::sync::Arc;

/// The weighted mean of vectors of L2 norm 1, made that long again, and the place of the vector that
/// is nearest to it, the first of those that are alike. [`None`] of no vector.
///
/// One alone stays as it is, to the bit. Where they cancel out, which those of pictures do not, the
/// one that weighs most stands for all.
pub(super) fn of(vectors: Vec<Arc<[f32]>>, weights: &[f32]) -> Option<(Arc<[f32]>, usize)> {
    if let [one] = &*vectors {
        return Some((one.clone(), 0));
    }
    let mut sum = vec![0.0f64; vectors.first()?.len()];
    for (vector, weight) in vectors.iter().zip(weights) {
        for (sum, number) in sum.iter_mut().zip(&**vector) {
            *sum += f64::from(*weight) * f64::from(*number);
        }
    }
    let norm = sum.iter().map(|number| number * number).sum::<f64>().sqrt();
    if norm < CANCELLED {
        let heaviest = first_largest(weights.iter().copied().map(f64::from))?;
        return Some((vectors.get(heaviest)?.clone(), heaviest));
    }
    let mean: Arc<[f32]> = sum.iter().map(|number| (number / norm) as f32).collect();
    let cosine = |vector: &Arc<[f32]>| {
        let pairs = vector.iter().zip(&sum);
        pairs.map(|(number, sum)| f64::from(*number) * sum).sum()
    };
    let nearest = first_largest(vectors.iter().map(cosine))?;
    Some((mean, nearest))
}

/// A mean as short as this points nowhere.
const CANCELLED: f64 = 1e-6;

fn first_largest(numbers: impl Iterator<Item = f64>) -> Option<usize> {
    let mut largest: Option<(usize, f64)> = None;
    for (place, number) in numbers.enumerate() {
        if largest.is_none_or(|(_, most)| number > most) {
            largest = Some((place, number));
        }
    }
    largest.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(all: &[&[f32]]) -> Vec<Arc<[f32]>> {
        all.iter().map(|vector| Arc::from(*vector)).collect()
    }

    #[test]
    fn the_mean_weighs_each_as_long_as_it_is_shown_and_has_the_norm_1() {
        // 3/4 of (1, 0) and 1/4 of (0, 1): (3, 1) / sqrt(10).
        let given = vectors(&[&[1.0, 0.0], &[0.0, 1.0]]);
        let (mean, nearest) = of(given, &[0.75, 0.25]).unwrap();
        let expected = [3.0 / 10f32.sqrt(), 1.0 / 10f32.sqrt()];
        for (number, expected) in mean.iter().zip(expected) {
            assert!((number - expected).abs() < 1e-7, "{mean:?}");
        }
        assert_eq!(nearest, 0);
        // (0.6, 0.8) is nearest to the mean of all, though it weighs least.
        let given = vectors(&[&[1.0, 0.0], &[0.0, 1.0], &[0.6, 0.8]]);
        let (mean, nearest) = of(given, &[0.4, 0.4, 0.2]).unwrap();
        // (0.52, 0.56), whose length is sqrt(0.584).
        let length = 0.584f32.sqrt();
        for (number, expected) in mean.iter().zip([0.52 / length, 0.56 / length]) {
            assert!((number - expected).abs() < 1e-6, "{mean:?}");
        }
        assert_eq!(nearest, 2);
    }

    #[test]
    fn one_alone_stays_as_it_is_and_opposites_leave_the_heavier_one() {
        let one = [0.6f32, 0.800_001];
        let (mean, nearest) = of(vectors(&[&one]), &[0.3]).unwrap();
        assert_eq!((&*mean, nearest), (&one[..], 0));
        assert!(of(Vec::new(), &[]).is_none());
        let given = vectors(&[&[0.0, 1.0], &[1.0, 0.0], &[-1.0, 0.0]]);
        let (mean, nearest) = of(given, &[0.0, 0.5, 0.5]).unwrap();
        assert_eq!((&*mean, nearest), (&[1.0, 0.0][..], 1));
    }
}

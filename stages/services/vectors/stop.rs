//! When a search of lists has found enough: what it would miss by ending here, as a
//! number of images.
//!
//! A question `q` and a row `x`, both of length 1, have cosines `c` and `r` with the
//! centroid `m` of the row's list. With the parts that are left over, `u` and `v`, of
//! length 1 and orthogonal to `m`,
//!
//! `q·x = c·r + sqrt((1 - c²)·(1 - r²))·(u·v)`.
//!
//! `c` is computed for every list, the mean and the variance of `r` are kept. Of `u·v`
//! nothing is known; in a space of `d` dimensions in which every direction is as likely
//! as the others it is nearly normal with variance `1/d`. So `q·x` is taken for normal
//! with mean `c·E r` and variance `c²·Var r + (1 - c²)·(1 - (E r)²)/d`, and a list of `n`
//! rows is expected to hold `n·P(q·x > k-th best found)` of the wanted.
//!
//! Vectors fill fewer directions than they have numbers, and not evenly. So `d`, the
//! freedom, is measured, not assumed: `freedom` says how. Vectors that are in no clusters leave
//! every list with something to expect, and all are looked at.
//!
//! This is no bound but a guess that was tried. It ends only searches that have as many
//! answers as were wanted, or have looked at as many lists as one for few answers does.

/// Share of the wanted that a search expects to miss when it ends.
const MISSED: f32 = 0.01;
/// The freedom with which no search ends early.
pub(super) const NONE: f32 = 0.0;

/// The cosines of a list's rows with its centroid (B. P. Welford, Note on a method for
/// calculating corrected sums of squares and products, Technometrics 4, 1962). Rows that
/// made room for others still count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    count: f32,
    mean: f32,
    squares: f32,
}

impl Shape {
    pub(super) fn push(&mut self, cosine: f32) {
        self.count += 1.0;
        let off = cosine - self.mean;
        self.mean += off / self.count;
        self.squares += off * (cosine - self.mean);
    }

    /// How many of `rows` rows have a cosine over `cut` with a question whose cosine with
    /// the centroid is `cosine`.
    fn expected(&self, rows: usize, cosine: f32, cut: f32, freedom: f32) -> f32 {
        let left = |cosine: f32| (1.0 - cosine * cosine).max(0.0);
        let own = cosine * cosine * self.squares / self.count.max(1.0);
        let variance = own + left(cosine) * left(self.mean) / freedom;
        let distance = (cut - cosine * self.mean) / variance.max(f32::MIN_POSITIVE).sqrt();
        rows as f32 * above(distance)
    }
}

/// The probability of a standard normal number above `z` (P. O. Börjesson and C.-E. W.
/// Sundberg, Simple approximations of the error function Q(x) for communications
/// applications, IEEE Transactions on Communications 27, 1979): within 0.3 % of itself.
fn above(z: f32) -> f32 {
    let x = z.abs();
    let density = (-0.5 * x * x).exp() / std::f32::consts::TAU.sqrt();
    let tail = density / (0.661 * x + 0.339 * (x * x + 5.51).sqrt());
    if z < 0.0 { 1.0 - tail } else { tail }
}

/// A list that a search may look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near {
    /// The cosine of the question with the centroid, at most.
    pub(super) cosine: f32,
    pub(super) list: usize,
    pub(super) rows: usize,
    pub(super) shape: Shape,
}

/// True where the lists that are left are expected to hold next to nothing, beside
/// `wanted` rows, that is better than `cut`: the cosine of the last of the best found, or
/// the least that is asked for.
pub(super) fn is_enough(left: &[Near], cut: f32, wanted: usize, freedom: f32) -> bool {
    if freedom <= NONE {
        return false;
    }
    let mut spare = MISSED * wanted as f32;
    for near in left {
        spare -= near.shape.expected(near.rows, near.cosine, cut, freedom);
        if spare < 0.0 {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probability_above_is_that_of_tables() {
        for (z, expected) in [
            (-3.0, 0.998_650_1),
            (-1.0, 0.841_344_8),
            (0.0, 0.5),
            (0.5, 0.308_537_54),
            (1.0, 0.158_655_25),
            (2.0, 0.022_750_13),
            (3.0, 0.001_349_9),
            (5.0, 2.866_5e-7),
        ] {
            let found = above(z);
            assert!((found / expected - 1.0).abs() < 0.003, "{z}: {found}");
        }
        assert_eq!(above(f32::INFINITY), 0.0);
    }

    /// A list of 1000 rows, all with the cosine 0.7 with its centroid.
    fn list(cosine: f32) -> Near {
        let mut shape = Shape::default();
        (0..1000).for_each(|_| shape.push(0.7));
        Near {
            cosine,
            list: 0,
            rows: 1000,
            shape,
        }
    }

    #[test]
    fn a_list_is_expected_to_hold_what_normal_numbers_give() {
        // Mean 0.5 · 0.7, deviation sqrt((1 - 0.25)·(1 - 0.49) / 100) = 0.06185.
        let near = list(0.5);
        let expected = |cut: f32| near.shape.expected(near.rows, near.cosine, cut, 100.0);
        assert!((expected(0.35) - 500.0).abs() < 2.0);
        assert!((expected(0.35 + 0.06185) - 158.7).abs() < 1.0);
        assert!((expected(0.35 + 3.0 * 0.06185) - 1.35).abs() < 0.05);
        // Rows that lie on the centroid have the question's cosine with it.
        let mut on = Shape::default();
        on.push(1.0);
        assert_eq!(on.expected(1, 0.5, 0.51, 100.0), 0.0);
        assert_eq!(on.expected(1, 0.5, 0.49, 100.0), 1.0);
        assert_eq!(Shape::default().expected(0, 0.5, 0.0, 100.0), 0.0);
    }

    #[test]
    fn a_search_ends_where_the_lists_left_are_far_or_none_are() {
        let lists = [list(0.5), list(0.2), list(0.1)];
        assert!(!is_enough(&lists, 0.5, 10, 100.0));
        assert!(is_enough(&lists[1..], 0.5, 10, 100.0));
        assert!(!is_enough(&lists[1..], 0.3, 10, 100.0));
        assert!(is_enough(&[], -1.0, 10, 100.0));
        // The more was wanted, the more may be missed.
        assert!(!is_enough(&lists, 0.57, 10, 100.0));
        assert!(is_enough(&lists, 0.57, 25, 100.0));
        // Fewer ways to lie apart: less is certain.
        assert!(!is_enough(&lists[1..], 0.5, 10, 5.0));
        assert!(!is_enough(&lists[1..], 0.5, 10, NONE));
    }
}

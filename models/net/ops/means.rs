//! Means over the places of a map.

use burn::tensor::Tensor;
use pulp::{Simd, WithSimd};

use super::flex;
use super::map::Map;
use super::share;

/// Channels of a piece.
const CHANNELS: usize = 64;
/// Rows that are summed one after the other; rounding errors grow with the length of such a sum, so
/// the sums of many are summed in turn.
const RUN: usize = 64;

/// The mean of each channel over an image: `[n, channels]`.
pub(crate) fn means(x: &Map) -> Tensor<2> {
    let channels = x.channels();
    let Ok(input) = flex::open(x.data.clone()) else {
        return means_stock(x);
    };
    let input = input.read();
    let image = x.height * x.width * channels;
    let mut output = vec![0.0; x.n * channels];
    let arch = pulp::Arch::new();
    share::pieces_of_images(&mut output, channels, CHANNELS, |n, i, means| {
        arch.dispatch(Means {
            input: &input[n * image..][..image],
            channels,
            first: i * CHANNELS,
            means,
        });
    });
    flex::tensor(output, [x.n, channels])
}

/// The same with Burn's own operations.
fn means_stock(x: &Map) -> Tensor<2> {
    let channels = x.channels();
    x.data
        .clone()
        .reshape([x.n, x.height * x.width, channels])
        .mean_dim(1)
        .reshape([x.n, channels])
}

/// Some channels of one image.
struct Means<'a> {
    input: &'a [f32],
    channels: usize,
    first: usize,
    /// All zero before.
    means: &'a mut [f32],
}

impl WithSimd for Means<'_> {
    type Output = ();

    /// Plain loops, which the compiler makes vectors of.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            input,
            channels,
            first,
            means,
        } = self;
        for rows in input.chunks(RUN * channels) {
            let mut sums = [0.0; CHANNELS];
            let sums = &mut sums[..means.len()];
            for row in rows.chunks_exact(channels) {
                let row = &row[first..][..sums.len()];
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            means.iter_mut().zip(&*sums).for_each(|(m, sum)| *m += sum);
        }
        let count = (input.len() / channels) as f32;
        means.iter_mut().for_each(|mean| *mean /= count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, map};
    use super::*;

    #[test]
    fn means_are_burns() {
        for (n, height, width, channels) in [(1, 1, 1, 3), (3, 9, 31, 70), (2, 16, 16, 128)] {
            let x = map(n, height, width, channels);
            let what = format!("{n}x{height}x{width}x{channels}");
            assert_close(means(&x), means_stock(&x), &what);
        }
    }
}

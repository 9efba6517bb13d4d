//! Dense convolutions with few input channels, as patches for a matrix product.

use burn::tensor::Tensor;
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;

use super::flex;
use super::map::Map;
use super::padding::{Padding, padded_stock};
use super::share;

/// A dense convolution's input as a matrix: `kernel` x `kernel` patches of the image
/// `[n, height, width, channels]`, one a row, in the order row, column, channel.
pub(crate) fn patches(x: &Map, kernel: usize, stride: usize, padding: Padding) -> Map {
    let channels = x.channels();
    let (above, height) = padding.place(kernel, stride, x.height);
    let (before, width) = padding.place(kernel, stride, x.width);
    let columns = kernel * kernel * channels;
    let data = match flex::open(x.data.clone()) {
        Ok(input) => {
            let input = input.read();
            let mut output = flex::room(x.n * height * width * columns);
            share::pieces(&mut output, width * columns, |row, output| {
                // What lies outside of the picture.
                output.fill(0.0);
                let (image, oy) = (row / height, row % height);
                for ky in 0..kernel {
                    let Some(y) = (oy * stride + ky)
                        .checked_sub(above)
                        .filter(|&y| y < x.height)
                    else {
                        continue;
                    };
                    let line =
                        &input[(image * x.height + y) * x.width * channels..][..x.width * channels];
                    for (ox, patch) in output.chunks_exact_mut(columns).enumerate() {
                        let left = ox * stride;
                        let first = before.saturating_sub(left).min(kernel);
                        let last = kernel
                            .min((x.width + before).saturating_sub(left))
                            .max(first);
                        let source =
                            (left + first - before) * channels..(left + last - before) * channels;
                        patch[(ky * kernel + first) * channels..(ky * kernel + last) * channels]
                            .copy_from_slice(&line[source]);
                    }
                }
            });
            flex::tensor(output, [x.n * height * width, columns])
        }
        Err(_) => patches_stock(x, kernel, stride, padding),
    };
    Map {
        data,
        n: x.n,
        height,
        width,
    }
}

/// The same with Burn's own operations.
fn patches_stock(x: &Map, kernel: usize, stride: usize, padding: Padding) -> Tensor<2> {
    let channels = x.channels();
    if padding == Padding::Nothing && kernel == stride {
        return squares(x, kernel);
    }
    let image = padded_stock(x, [kernel; 2], stride, padding);
    let options = UnfoldOptions::new([stride; 2], [0; 2], [1, 1]);
    // [n, channels * kernel * kernel, places], the rows in the order channel, row, column.
    let unfolded = unfold4d(image, [kernel; 2], options);
    let [n, _, places] = unfolded.dims();
    unfolded
        .reshape([n, channels, kernel * kernel, places])
        .permute([0, 3, 2, 1])
        .reshape([n * places, kernel * kernel * channels])
}

/// The same where patches neither overlap nor leave pixels between them, so that they need but be laid
/// out: Burn's unfolding is a convolution with a kernel for each of their elements.
fn squares(x: &Map, side: usize) -> Tensor<2> {
    let (channels, height, width) = (x.channels(), x.height / side, x.width / side);
    let image = x.data.clone().reshape([x.n, x.height, x.width, channels]);
    let image = image.narrow(1, 0, height * side).narrow(2, 0, width * side);
    image
        .reshape([x.n * height, side, width, side * channels])
        .swap_dims(1, 2)
        .reshape([x.n * height * width, side * side * channels])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, map};
    use super::*;

    #[test]
    fn patches_are_burns() {
        for (kernel, stride, padding) in [
            (3, 2, Padding::Half),
            (4, 4, Padding::Nothing),
            (2, 2, Padding::Nothing),
            (14, 14, Padding::Nothing),
            (3, 1, Padding::Half),
            (3, 2, Padding::Same),
        ] {
            for (height, width, channels) in [(14, 28, 3), (28, 14, 12), (15, 15, 3)] {
                let x = map(2, height, width, channels);
                let ours = patches(&x, kernel, stride, padding);
                let what = format!("{kernel}/{stride} {padding:?} of {height}x{width}x{channels}");
                assert_close(ours.data, patches_stock(&x, kernel, stride, padding), &what);
            }
        }
    }
}

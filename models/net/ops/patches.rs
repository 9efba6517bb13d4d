//! Dense convolutions with few input channels, as patches for a matrix product.

use burn::tensor::Tensor;
use burn::tensor::module::unfold4d;
use burn::tensor::ops::UnfoldOptions;

use super::flex;
use super::map::Map;
use super::padding::{Padding, padded_stock};
use super::share;

/// Where a dense convolution looks on a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Height and width of the kernel.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
}

impl Window {
    /// Places of the kernel on a map of this height and width.
    pub(super) fn places(self, size: [usize; 2]) -> [usize; 2] {
        size.map(|size| self.padding.place(self.kernel, self.stride, size).1)
    }

    /// Numbers of a patch.
    pub(super) fn length(self, channels: usize) -> usize {
        self.kernel * self.kernel * channels
    }

    /// The patches of a row of places, of an image of `size` pixels.
    pub(super) fn row(
        self,
        image: &[f32],
        [height, width]: [usize; 2],
        row: usize,
        patches: &mut [f32],
    ) {
        let Self {
            kernel,
            stride,
            padding,
        } = self;
        let (above, _) = padding.place(kernel, stride, height);
        let (before, _) = padding.place(kernel, stride, width);
        let channels = image.len() / (height * width);
        // What lies outside of the picture.
        patches.fill(0.0);
        for ky in 0..kernel {
            let Some(y) = (row * stride + ky)
                .checked_sub(above)
                .filter(|&y| y < height)
            else {
                continue;
            };
            let line = &image[y * width * channels..][..width * channels];
            for (ox, patch) in patches.chunks_exact_mut(self.length(channels)).enumerate() {
                let left = ox * stride;
                let first = before.saturating_sub(left).min(kernel);
                let last = kernel.min((width + before).saturating_sub(left)).max(first);
                let source = (left + first - before) * channels..(left + last - before) * channels;
                patch[(ky * kernel + first) * channels..(ky * kernel + last) * channels]
                    .copy_from_slice(&line[source]);
            }
        }
    }
}

/// A dense convolution's input as a matrix: `kernel` x `kernel` patches of the image
/// `[n, height, width, channels]`, one a row, in the order row, column, channel.
pub(crate) fn patches(x: &Map, window: Window) -> Map {
    let [height, width] = window.places(x.size());
    let data = match flex::open(x.data.clone()) {
        Ok(input) => {
            let input = input.read();
            let columns = window.length(x.channels());
            let mut output = flex::room(x.n * height * width * columns);
            let image = x.height * x.width * x.channels();
            share::pieces(&mut output, width * columns, |row, output| {
                let (n, row) = (row / height, row % height);
                window.row(&input[n * image..][..image], x.size(), row, output);
            });
            flex::tensor(output, [x.n * height * width, columns])
        }
        Err(_) => patches_stock(x, window),
    };
    Map {
        data,
        n: x.n,
        height,
        width,
    }
}

/// The same with Burn's own operations.
fn patches_stock(x: &Map, window: Window) -> Tensor<2> {
    let Window {
        kernel,
        stride,
        padding,
    } = window;
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
                let window = Window {
                    kernel,
                    stride,
                    padding,
                };
                let what = format!("{window:?} of {height}x{width}x{channels}");
                assert_close(patches(&x, window).data, patches_stock(&x, window), &what);
            }
        }
    }
}

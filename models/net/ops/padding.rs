//! Where a kernel lies on a map: zeros around the map, and the places that it then has.

use burn::tensor::Tensor;

use super::map::Map;

/// Zeros around a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// None.
    Nothing,
    /// Half of the kernel on every side, as in PyTorch's models.
    Half,
    /// TensorFlow's `SAME`: as many as `ceil(size / stride)` places need, the smaller half before
    /// the map. Keras' `correct_pad` and the static padding of efficientnet_lite_pytorch come to
    /// the same. <https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2>
    Same,
}

impl Padding {
    /// Zeros before a map of this size, and the places of the kernel on it.
    pub(super) fn place(self, kernel: usize, stride: usize, size: usize) -> (usize, usize) {
        let whole = size.div_ceil(stride);
        match self {
            Self::Nothing => (0, (size - kernel) / stride + 1),
            Self::Half => (kernel / 2, (size + kernel / 2 * 2 - kernel) / stride + 1),
            Self::Same => (
                ((whole - 1) * stride + kernel).saturating_sub(size) / 2,
                whole,
            ),
        }
    }
}

/// A map as `[n, channels, height, width]` with zeros around it: by hand, for there may be more
/// on one side than on the other.
pub(super) fn padded_stock(
    x: &Map,
    kernel: [usize; 2],
    stride: usize,
    padding: Padding,
) -> Tensor<4> {
    let around = |kernel, size| {
        let (before, places) = padding.place(kernel, stride, size);
        let after = ((places - 1) * stride + kernel).saturating_sub(size + before);
        (before, after)
    };
    let (above, below) = around(kernel[0], x.height);
    let (left, right) = around(kernel[1], x.width);
    x.data
        .clone()
        .reshape([x.n, x.height, x.width, x.channels()])
        .permute([0, 3, 1, 2])
        .pad((left, right, above, below), 0.0)
}

#[cfg(test)]
mod tests {
    use super::Padding::{Half, Nothing, Same};

    #[test]
    fn same_is_tensorflows() {
        // Kernel, stride, size: zeros before (of so many in all), places.
        for (kernel, stride, size, before, places) in [
            (3, 2, 224, 0, 112), // 1
            (5, 2, 56, 1, 28),   // 3
            (3, 2, 7, 1, 4),     // 2
            (5, 2, 7, 2, 4),     // 4
            (3, 1, 7, 1, 7),
            (5, 1, 1, 2, 1),
            (1, 2, 4, 0, 2),
        ] {
            assert_eq!(
                Same.place(kernel, stride, size),
                (before, places),
                "{kernel}/{stride} on {size}"
            );
        }
    }

    #[test]
    fn half_is_pytorchs() {
        assert_eq!(Half.place(3, 2, 224), (1, 112));
        assert_eq!(Half.place(7, 2, 9), (3, 5));
        assert_eq!(Nothing.place(16, 16, 224), (0, 14));
        assert_eq!(Nothing.place(2, 2, 5), (0, 2));
    }
}

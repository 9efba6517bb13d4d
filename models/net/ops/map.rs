//! What the operations of pictures are given and give.

use burn::tensor::{Device, Tensor, TensorData};

use super::flex;

/// A feature map `[n, height, width, channels]`, stored as `[n * height * width, channels]`.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) data: Tensor<2>,
    pub(crate) n: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Map {
    /// Square pictures of three channels on a device; `fill` adds their numbers.
    pub(crate) fn of_pictures(
        n: usize,
        side: usize,
        device: &Device,
        fill: impl FnOnce(&mut Vec<f32>),
    ) -> Self {
        let mut values = flex::empty(n * side * side * 3);
        fill(&mut values);
        Self {
            data: Tensor::from_data(TensorData::new(values, [n * side * side, 3]), device),
            n,
            height: side,
            width: side,
        }
    }

    /// The same places with other channels.
    pub(crate) fn with(&self, data: Tensor<2>) -> Self {
        Self { data, ..*self }
    }

    /// Leaves its memory to later maps.
    pub(crate) fn leave(self) {
        flex::leave(self.data);
    }

    /// Another map, made of it; its own memory is left to later ones.
    pub(crate) fn turned(self, into: impl FnOnce(&Self) -> Self) -> Self {
        let other = into(&self);
        self.leave();
        other
    }

    /// Height and width.
    pub(super) fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    pub(crate) fn channels(&self) -> usize {
        self.data.dims()[1]
    }
}

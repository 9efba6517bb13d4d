//! The operations that the towers are made of, on channels-last activations.
//!
//! Each has a kernel of ours for the CPU backend and a path of stock Burn operations for every
//! other device; a test holds the two against each other. Activations are `[rows, channels]`, a
//! row being a pixel or a token, so that a 1x1 convolution is one matrix product and everything
//! else runs along contiguous channels.

mod activation;
mod ahead;
mod attention;
mod conv_ffn;
mod depthwise;
mod exp;
mod flex;
mod held;
mod map;
mod matrix;
mod means;
mod norm;
mod padding;
mod patches;
mod rows;
mod scale;
mod separable;
mod share;
mod tiles;

pub(crate) use activation::Activation;
pub(crate) use attention::{Sequences, attention, attention_of_one};
pub(crate) use conv_ffn::{ConvFfn, conv_ffn};
pub(crate) use depthwise::{Depthwise, depthwise};
pub(crate) use flex::with_stock_operations;
pub(crate) use map::Map;
pub(crate) use matrix::{Matrix, PANEL, Then, linear, multiplies_bf16, pack, panels};
pub(crate) use means::means;
pub(crate) use norm::layer_norm;
pub(crate) use padding::Padding;
pub(crate) use patches::{Window, patches};
pub(crate) use rows::rows;
pub(crate) use scale::scale_channels;
pub(crate) use separable::{Separable, Widen, separable};
pub(crate) use share::{for_pictures, on_the_pool};

#[cfg(test)]
mod testing {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::{Map, Matrix, PANEL, pack, panels};
    use crate::precision::Precision;

    /// Numbers in -1..1 from a linear congruential generator.
    pub(super) fn random<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
        let mut state = seed.wrapping_mul(2_654_435_761);
        let values: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    pub(super) fn map(n: usize, height: usize, width: usize, channels: usize) -> Map {
        Map {
            data: random([n * height * width, channels], 1),
            n,
            height,
            width,
        }
    }

    /// A weight that is packed.
    pub(super) fn matrix(input: usize, output: usize) -> Matrix {
        matrix_in(Precision::F32, input, output)
    }

    /// The same, rounded.
    pub(super) fn matrix_in(precision: Precision, input: usize, output: usize) -> Matrix {
        let values: Vec<f32> = random([input, output], 7)
            .into_data()
            .try_into_vec()
            .unwrap();
        let packed = pack(input, output, |from, to| values[from * output + to]);
        let shape = [panels(output), input, PANEL];
        let packed = Tensor::from_data(TensorData::new(packed, shape), &Device::flex());
        Matrix::new(packed, output, precision)
    }

    pub(super) fn assert_close<const D: usize>(a: Tensor<D>, b: Tensor<D>, what: &str) {
        assert_eq!(a.dims(), b.dims(), "{what}");
        let difference = (a - b).abs().max().into_scalar::<f32>();
        assert!(difference < 2e-5, "{what}: off by {difference}");
    }
}

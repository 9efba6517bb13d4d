//! Layer normalisation over channels.

use burn::tensor::Tensor;
use pulp::{Simd, WithSimd};

use super::flex;
use super::share;

/// Rows of a piece.
const ROWS: usize = 16;

/// (x - mean) / sqrt(variance + eps) * weight + bias over the channels of each row, the variance
/// being the biased one. <https://arxiv.org/abs/1607.06450>
pub(crate) fn layer_norm(
    x: Tensor<2>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    eps: f32,
) -> Tensor<2> {
    let shape @ [_, channels] = x.dims();
    match (
        flex::open(x),
        flex::open(weight.clone()),
        flex::open(bias.clone()),
    ) {
        (Ok(x), Ok(weight), Ok(bias)) => {
            let mut output = flex::room(shape[0] * channels);
            let arch = pulp::Arch::new();
            let input = x.read();
            share::pieces(&mut output, ROWS * channels, |i, output| {
                let rows = input[i * ROWS * channels..].chunks_exact(channels);
                for (x, y) in rows.zip(output.chunks_exact_mut(channels)) {
                    arch.dispatch(Normalise {
                        x,
                        y,
                        weight: weight.read(),
                        bias: bias.read(),
                        eps,
                    });
                }
            });
            x.leave();
            flex::tensor(output, shape)
        }
        (x, ..) => {
            let x = x.map_or_else(|tensor| tensor, flex::Buffer::close::<2>);
            layer_norm_stock(x, weight, bias, eps)
        }
    }
}

/// The same with Burn's own operations.
fn layer_norm_stock(x: Tensor<2>, weight: &Tensor<1>, bias: &Tensor<1>, eps: f32) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + eps).sqrt() * weight.clone().unsqueeze() + bias.clone().unsqueeze()
}

struct Normalise<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            x,
            y,
            weight,
            bias,
            eps,
        } = self;
        let count = x.len() as f32;
        let (body, tail) = S::as_simd_f32s(x);
        let mut sum = simd.splat_f32s(0.0);
        for &x in body {
            sum = simd.add_f32s(sum, x);
        }
        let mean = (simd.reduce_sum_f32s(sum) + tail.iter().sum::<f32>()) / count;
        let centre = simd.splat_f32s(mean);
        let mut squares = simd.splat_f32s(0.0);
        for &x in body {
            let d = simd.sub_f32s(x, centre);
            squares = simd.mul_add_e_f32s(d, d, squares);
        }
        let rest: f32 = tail.iter().map(|x| (x - mean) * (x - mean)).sum();
        let variance = (simd.reduce_sum_f32s(squares) + rest) / count;
        let factor = 1.0 / (variance + eps).sqrt();
        let scale = simd.splat_f32s(factor);
        let (weights, weight_tail) = S::as_simd_f32s(weight);
        let (biases, bias_tail) = S::as_simd_f32s(bias);
        let (out, out_tail) = S::as_mut_simd_f32s(y);
        for (((y, &x), &w), &b) in out.iter_mut().zip(body).zip(weights).zip(biases) {
            let normal = simd.mul_f32s(simd.sub_f32s(x, centre), scale);
            *y = simd.mul_add_e_f32s(normal, w, b);
        }
        for (((y, x), w), b) in out_tail
            .iter_mut()
            .zip(tail)
            .zip(weight_tail)
            .zip(bias_tail)
        {
            *y = (x - mean) * factor * w + b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn layer_norm_is_its_definition() {
        for (rows, channels) in [(1, 3), (50, 40), (7, 129)] {
            let x = random([rows, channels], 1) * 3.0 + 5.0;
            let (weight, bias) = (random([channels], 2), random([channels], 3));
            let ours = layer_norm(x.clone(), &weight, &bias, 1e-5);
            assert_close(
                ours,
                layer_norm_stock(x, &weight, &bias, 1e-5),
                &format!("{rows}x{channels}"),
            );
        }
    }
}

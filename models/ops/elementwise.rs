//! What follows a matrix product or a convolution: bias, GELU, residual, channel scales. One pass
//! over the activations, in SIMD and on all threads.

use burn::tensor::{Tensor, activation};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::erf::gelu;
use super::{Map, Then, flex};

/// Elements below which a second thread does not pay.
const PARALLEL: usize = 1 << 15;

/// `y + bias`, then `then`.
pub(super) fn finish(y: Tensor<2>, bias: Option<&Tensor<1>>, then: Then) -> Tensor<2> {
    if bias.is_none() && matches!(then, Then::Nothing) {
        return y;
    }
    let [_, channels] = y.dims();
    match flex::open(y) {
        Ok(mut buffer) => {
            let bias = bias.cloned().map(flex::open);
            let bias = match &bias {
                Some(Ok(bias)) => Some(bias.read()),
                _ => None,
            };
            match then {
                Then::Nothing => run(buffer.write(), channels, |row| Pass {
                    row,
                    bias,
                    gelu: false,
                    add: None,
                }),
                Then::Gelu => run(buffer.write(), channels, |row| Pass {
                    row,
                    bias,
                    gelu: true,
                    add: None,
                }),
                Then::Add(residual) => match flex::open(residual) {
                    Ok(residual) => {
                        let residual = residual.read();
                        run_with(buffer.write(), residual, channels, |row, add| Pass {
                            row,
                            bias,
                            gelu: false,
                            add: Some(add),
                        });
                    }
                    Err(residual) => return buffer.close::<2>() + residual,
                },
            }
            buffer.close()
        }
        Err(y) => finish_stock(y, bias, then),
    }
}

/// The same with Burn's own operations.
fn finish_stock(y: Tensor<2>, bias: Option<&Tensor<1>>, then: Then) -> Tensor<2> {
    let y = match bias {
        Some(bias) => y + bias.clone().unsqueeze(),
        None => y,
    };
    match then {
        Then::Nothing => y,
        Then::Gelu => activation::gelu(y),
        Then::Add(residual) => y + residual,
    }
}

/// Multiplies each image's channels by `scale [n, channels]`, then GELU if `act`.
pub(crate) fn scale_channels(x: Map, scale: Tensor<2>, act: bool) -> Map {
    let Map {
        data,
        n,
        height,
        width,
    } = x;
    let [rows, channels] = data.dims();
    let data = match (flex::open(data), flex::open(scale)) {
        (Ok(mut buffer), Ok(scale)) => {
            let image = rows / n * channels;
            for (pixels, scale) in buffer
                .write()
                .chunks_exact_mut(image)
                .zip(scale.read().chunks_exact(channels))
            {
                run(pixels, channels, |row| Scale {
                    row,
                    scale,
                    gelu: act,
                });
            }
            buffer.close()
        }
        (data, scale) => {
            let (data, scale): (Tensor<2>, Tensor<2>) = (close(data), close(scale));
            scale_stock(data, scale, n, act)
        }
    };
    Map {
        data,
        n,
        height,
        width,
    }
}

/// The same with Burn's own operations.
fn scale_stock(data: Tensor<2>, scale: Tensor<2>, n: usize, act: bool) -> Tensor<2> {
    let [rows, channels] = data.dims();
    let scaled = data.reshape([n, rows / n, channels]) * scale.reshape([n, 1, channels]);
    let scaled = scaled.reshape([rows, channels]);
    if act {
        activation::gelu(scaled)
    } else {
        scaled
    }
}

fn close(opened: Result<flex::Buffer, Tensor<2>>) -> Tensor<2> {
    opened.map_or_else(|tensor| tensor, flex::Buffer::close)
}

/// Calls a kernel on blocks of rows of `channels`.
fn run<'a, K: WithSimd<Output = ()>>(
    data: &'a mut [f32],
    channels: usize,
    kernel: impl Fn(&'a mut [f32]) -> K + Sync,
) {
    let arch = pulp::Arch::new();
    if data.len() < PARALLEL {
        return arch.dispatch(kernel(data));
    }
    let block = block(data.len(), channels);
    data.par_chunks_mut(block)
        .for_each(|rows| arch.dispatch(kernel(rows)));
}

/// As [`run`], with the same rows of another tensor.
fn run_with<'a, K: WithSimd<Output = ()>>(
    data: &'a mut [f32],
    other: &'a [f32],
    channels: usize,
    kernel: impl Fn(&'a mut [f32], &'a [f32]) -> K + Sync,
) {
    let arch = pulp::Arch::new();
    if data.len() < PARALLEL {
        return arch.dispatch(kernel(data, other));
    }
    let block = block(data.len(), channels);
    data.par_chunks_mut(block)
        .zip(other.par_chunks(block))
        .for_each(|(rows, other)| arch.dispatch(kernel(rows, other)));
}

/// A whole number of rows, about four blocks a thread.
fn block(length: usize, channels: usize) -> usize {
    let rows = length / channels;
    rows.div_ceil(4 * rayon::current_num_threads()).max(1) * channels
}

/// What is done to one vector of channels; `with` is the bias, the residual or the scale.
///
/// A trait and not a closure: only what is always inlined is compiled for the instructions that
/// were found at run time.
trait Step: Copy {
    fn apply<S: Simd>(self, simd: S, y: S::f32s, with: S::f32s) -> S::f32s;
}

/// y + with
#[derive(Clone, Copy)]
struct Sum;

/// GELU(y + with)
#[derive(Clone, Copy)]
struct SumGelu;

/// y * with
#[derive(Clone, Copy)]
struct Product;

/// GELU(y * with)
#[derive(Clone, Copy)]
struct ProductGelu;

impl Step for Sum {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, y: S::f32s, with: S::f32s) -> S::f32s {
        simd.add_f32s(y, with)
    }
}

impl Step for SumGelu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, y: S::f32s, with: S::f32s) -> S::f32s {
        gelu(simd, simd.add_f32s(y, with))
    }
}

impl Step for Product {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, y: S::f32s, with: S::f32s) -> S::f32s {
        simd.mul_f32s(y, with)
    }
}

impl Step for ProductGelu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, y: S::f32s, with: S::f32s) -> S::f32s {
        gelu(simd, simd.mul_f32s(y, with))
    }
}

/// Bias, GELU and residual of some rows.
struct Pass<'a> {
    row: &'a mut [f32],
    bias: Option<&'a [f32]>,
    gelu: bool,
    add: Option<&'a [f32]>,
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            row,
            bias,
            gelu,
            add,
        } = self;
        let channels = bias.map_or(row.len(), <[f32]>::len);
        if let Some(add) = add {
            for (row, add) in row.chunks_mut(channels).zip(add.chunks(channels)) {
                if let Some(bias) = bias {
                    each(simd, row, bias, Sum);
                }
                each(simd, row, add, Sum);
            }
            return;
        }
        match bias {
            Some(bias) => {
                for row in row.chunks_mut(channels) {
                    if gelu {
                        each(simd, row, bias, SumGelu);
                    } else {
                        each(simd, row, bias, Sum);
                    }
                }
            }
            // A bias of nothing.
            None if gelu => {
                const NONE: [f32; 64] = [0.0; 64];
                for row in row.chunks_mut(NONE.len()) {
                    each(simd, row, &NONE, SumGelu);
                }
            }
            None => {}
        }
    }
}

/// Channel scales and GELU of some rows of one image.
struct Scale<'a> {
    row: &'a mut [f32],
    scale: &'a [f32],
    gelu: bool,
}

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { row, scale, gelu } = self;
        for row in row.chunks_mut(scale.len()) {
            if gelu {
                each(simd, row, scale, ProductGelu);
            } else {
                each(simd, row, scale, Product);
            }
        }
    }
}

/// Does a step to every vector of a row and of what goes with it.
#[inline(always)]
fn each<S: Simd>(simd: S, row: &mut [f32], with: &[f32], step: impl Step) {
    let with = &with[..row.len()];
    let (body, tail) = S::as_mut_simd_f32s(row);
    let (with, with_tail) = S::as_simd_f32s(with);
    for (y, &w) in body.iter_mut().zip(with) {
        *y = step.apply(simd, *y, w);
    }
    if !tail.is_empty() {
        let y = step.apply(
            simd,
            simd.partial_load_f32s(tail),
            simd.partial_load_f32s(with_tail),
        );
        simd.partial_store_f32s(tail, y);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn what_follows_a_product_is_burns() {
        // Below and above the size at which threads share the work.
        for (rows, channels) in [(3, 5), (40, 64), (1500, 33)] {
            let y = random([rows, channels], 1);
            let bias = random([channels], 2);
            let residual = random([rows, channels], 3);
            for bias in [None, Some(&bias)] {
                for then in [|_| Then::Nothing, |_| Then::Gelu, Then::Add] {
                    let ours = finish(y.clone(), bias, then(residual.clone()));
                    let what = format!("{rows}x{channels}, bias {}", bias.is_some());
                    assert_close(
                        ours,
                        finish_stock(y.clone(), bias, then(residual.clone())),
                        &what,
                    );
                }
            }
        }
    }

    #[test]
    fn scaled_channels_are_burns() {
        for act in [false, true] {
            let data = random([2 * 6, 19], 1);
            let scale = random([2, 19], 2);
            let x = Map {
                data: data.clone(),
                n: 2,
                height: 2,
                width: 3,
            };
            let ours = scale_channels(x, scale.clone(), act);
            assert_close(ours.data, scale_stock(data, scale, 2, act), "scale");
        }
    }
}

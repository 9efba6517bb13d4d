//! Channel scales: one pass over the activations, in SIMD and on all threads.

use burn::tensor::{Tensor, activation};
use pulp::{Simd, WithSimd};

use super::activation::gelu;
use super::flex;
use super::map::Map;
use super::share;

/// Elements below which a second thread does not pay.
const PARALLEL: usize = 1 << 15;

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
                scale_image(pixels, scale, act);
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

fn scale_image(pixels: &mut [f32], scale: &[f32], act: bool) {
    let arch = pulp::Arch::new();
    if pixels.len() < PARALLEL {
        return arch.dispatch(Scale {
            rows: pixels,
            scale,
            act,
        });
    }
    // A whole number of rows, about four blocks a thread.
    let rows = pixels.len() / scale.len();
    let block = rows.div_ceil(4 * share::threads()) * scale.len();
    share::pieces(pixels, block, |_, rows| {
        arch.dispatch(Scale { rows, scale, act });
    });
}

/// Channel scales and GELU of some rows of one image.
struct Scale<'a> {
    rows: &'a mut [f32],
    scale: &'a [f32],
    act: bool,
}

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for row in self.rows.chunks_exact_mut(self.scale.len()) {
            let (body, tail) = S::as_mut_simd_f32s(row);
            let (scale, scale_tail) = S::as_simd_f32s(self.scale);
            for (y, &scale) in body.iter_mut().zip(scale) {
                *y = scaled(simd, *y, scale, self.act);
            }
            if !tail.is_empty() {
                let y = simd.partial_load_f32s(tail);
                let y = scaled(simd, y, simd.partial_load_f32s(scale_tail), self.act);
                simd.partial_store_f32s(tail, y);
            }
        }
    }
}

/// One vector of channels.
#[inline(always)]
fn scaled<S: Simd>(simd: S, y: S::f32s, scale: S::f32s, act: bool) -> S::f32s {
    let y = simd.mul_f32s(y, scale);
    if act { gelu(simd, y) } else { y }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn scaled_channels_are_burns() {
        // Below and above the size at which threads share the work.
        for (height, channels) in [(2, 19), (500, 67)] {
            for act in [false, true] {
                let data = random([2 * 3 * height, channels], 1);
                let scale = random([2, channels], 2);
                let x = Map {
                    data: data.clone(),
                    n: 2,
                    height,
                    width: 3,
                };
                let ours = scale_channels(x, scale.clone(), act);
                assert_close(ours.data, scale_stock(data, scale, 2, act), "scale");
            }
        }
    }
}

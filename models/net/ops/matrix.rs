//! Matrix products with weights that were packed when they were folded, and what follows them
//! (bias, activation, residual) done while a tile of the result is still in the first cache.
//!
//! After K. Goto and R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS
//! 34(3), 2008, <https://doi.org/10.1145/1356052.1356053>, with one side packed for good: a tile of
//! `R` rows by two vectors of columns stays in registers while the whole depth of the product runs
//! past.

mod packed;
mod product;

use burn::tensor::Tensor;

use super::activation::Activation;
use super::flex;
use product::Product;

pub(crate) use packed::{PANEL, pack, panels};

/// A weight `[in, out]`, packed: `[panels, in, PANEL]`, a panel being [`PANEL`] columns, the last
/// one filled up with zeros.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) panels: Tensor<3>,
    /// Columns.
    pub(crate) output: usize,
}

/// A dense layer or a 1x1 convolution: weight and bias.
pub(crate) type Layer<'a> = (&'a Matrix, Option<&'a Tensor<1>>);

/// What follows a matrix product and its bias.
#[allow(
    clippy::large_enum_variant,
    reason = "made and taken apart once a matrix product"
)]
pub(crate) enum Then {
    /// Nothing.
    Nothing,
    /// An activation.
    Act(Activation),
    /// The residual is added.
    Add(Tensor<2>),
}

impl Then {
    /// GELU, in its exact form.
    pub(crate) const GELU: Self = Self::Act(Activation::Gelu);
    /// ReLU6.
    pub(crate) const RELU6: Self = Self::Act(Activation::Relu6);
}

/// `x [rows, in]` times the weight, plus `bias [out]`, then `then`.
pub(crate) fn linear(
    x: Tensor<2>,
    weight: &Matrix,
    bias: Option<&Tensor<1>>,
    then: Then,
) -> Tensor<2> {
    let opened = (flex::open(x.clone()), flex::open(weight.panels.clone()));
    let (Ok(input), Ok(panels)) = opened else {
        return linear_stock(x, weight, bias, then);
    };
    drop(x);
    let bias = bias.cloned().map(flex::open);
    let bias = match &bias {
        Some(Ok(bias)) => Some(bias.read()),
        _ => None,
    };
    let (act, residual) = match then {
        Then::Nothing => (Activation::Nothing, None),
        Then::Act(act) => (act, None),
        Then::Add(residual) => (Activation::Nothing, flex::open(residual).ok()),
    };
    let [_, depth, _] = weight.panels.dims();
    let rows = input.read().len() / depth;
    let product = Product {
        input: input.read(),
        depth,
        panels: panels.read(),
        bias,
        residual: residual.as_ref().map(flex::Buffer::read),
        act,
        columns: weight.output,
    };
    let mut output = vec![0.0; rows * weight.output];
    product.run(rows, &mut output);
    flex::tensor(output, [rows, weight.output])
}

/// The same with Burn's own operations.
fn linear_stock(x: Tensor<2>, weight: &Matrix, bias: Option<&Tensor<1>>, then: Then) -> Tensor<2> {
    let [panels, depth, _] = weight.panels.dims();
    let plain = weight
        .panels
        .clone()
        .permute([1, 0, 2])
        .reshape([depth, panels * PANEL])
        .narrow(1, 0, weight.output);
    let y = x.matmul(plain);
    let y = match bias {
        Some(bias) => y + bias.clone().unsqueeze(),
        None => y,
    };
    match then {
        Then::Nothing => y,
        Then::Act(act) => act.stock(y),
        Then::Add(residual) => y + residual,
    }
}

/// A weight and its bias, open, for products that one thread computes between other work.
pub(super) struct Dense {
    panels: flex::Buffer,
    bias: Option<flex::Buffer>,
    depth: usize,
    columns: usize,
}

impl Dense {
    /// [`None`] on other devices.
    pub(super) fn open(weight: &Matrix, bias: Option<&Tensor<1>>) -> Option<Self> {
        let [_, depth, _] = weight.panels.dims();
        let bias = match bias {
            Some(bias) => Some(flex::open(bias.clone()).ok()?),
            None => None,
        };
        Some(Self {
            panels: flex::open(weight.panels.clone()).ok()?,
            bias,
            depth,
            columns: weight.output,
        })
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// As many rows as `output` has; `residual` is added behind the activation.
    pub(super) fn multiply(
        &self,
        input: &[f32],
        act: Activation,
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let product = Product {
            input,
            depth: self.depth,
            panels: self.panels.read(),
            bias: self.bias.as_ref().map(flex::Buffer::read),
            residual,
            act,
            columns: self.columns,
        };
        product.run_alone(output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ops::testing::{assert_close, matrix, random};

    #[test]
    fn products_are_burns() {
        // Every height of a tile, whole and broken panels, below and above the size at which
        // threads share the rows.
        let shapes = (1..=26).map(|rows| (rows, 27, 40)).chain([
            (1, 64, 512),
            (150, 64, 64),
            (1500, 33, 97),
            (64, 700, 256),
        ]);
        for (rows, input, output) in shapes {
            // Sums of a few hundred products, so that the difference stays one of rounding.
            let x = random([rows, input], 1) / (input as f32).sqrt();
            let weight = matrix(input, output);
            let bias = random([output], 2);
            let residual = random([rows, output], 3);
            for bias in [None, Some(&bias)] {
                for then in [
                    |_| Then::Nothing,
                    |_| Then::GELU,
                    |_| Then::RELU6,
                    Then::Add,
                ] {
                    let what = format!("{rows}x{input}x{output}, bias {}", bias.is_some());
                    assert_close(
                        linear(x.clone(), &weight, bias, then(residual.clone())),
                        linear_stock(x.clone(), &weight, bias, then(residual.clone())),
                        &what,
                    );
                }
            }
        }
    }
}

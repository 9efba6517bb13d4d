//! Matrix products with weights that were packed when they were folded, and what follows them
//! (bias, activation, residual) done while a tile of the result is still in the first cache.
//!
//! After K. Goto and R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS
//! 34(3), 2008, <https://doi.org/10.1145/1356052.1356053>, with one side packed for good: a tile of
//! `R` rows by two vectors of columns stays in registers while the whole depth of the product runs
//! past.

mod after;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
mod blocks;
mod packed;
mod product;

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::activation::Activation;
use super::flex;
use crate::precision::Precision;
use after::After;
use blocks::Part;
use packed::Pair;
use product::Product;

pub(super) use bf16::Rounder;
pub(super) use product::{Packed, run};

pub(crate) use bf16::is_native as multiplies_bf16;
pub(crate) use packed::{PANEL, pack, panels};

/// A weight `[in, out]`, packed: `[panels, in, PANEL]`, a panel being [`PANEL`] columns, the last
/// one filled up with zeros.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    panels: Panels,
    input: usize,
    /// Columns.
    output: usize,
}

/// The panels of a weight.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one a layer, and as large without"
)]
enum Panels {
    F32(Tensor<3>),
    Bf16(Arc<[Pair]>),
    /// No panels but `[in, out]`, as Burn's own products take it: on other devices.
    Plain(Tensor<2>),
}

impl Matrix {
    /// `panels` as [`pack`] gives them, kept in a precision; on other devices always in single, and
    /// unpacked.
    pub(crate) fn new(panels: Tensor<3>, output: usize, precision: Precision) -> Self {
        let [_, input, _] = panels.dims();
        let panels = match (precision, flex::open(panels.clone())) {
            (Precision::Bf16, Ok(open)) => Panels::Bf16(bf16::pack(input, open.read()).into()),
            (_, Ok(_)) => Panels::F32(panels),
            (_, Err(panels)) => Panels::Plain(unpacked(panels, output)),
        };
        Self {
            panels,
            input,
            output,
        }
    }

    /// Some of the columns, where they are whole panels that need not be copied.
    pub(crate) fn columns(&self, columns: Range<usize>) -> Option<Self> {
        let panels = match &self.panels {
            Panels::F32(panels) => panels,
            Panels::Bf16(_) => return None,
            Panels::Plain(weight) => {
                let (first, output) = (columns.start, columns.len());
                return Some(Self {
                    panels: Panels::Plain(weight.clone().narrow(1, first, output)),
                    input: self.input,
                    output,
                });
            }
        };
        let is_whole = columns.start.is_multiple_of(PANEL) && columns.end.is_multiple_of(PANEL);
        is_whole.then(|| Self {
            panels: Panels::F32(panels.clone().narrow(
                0,
                columns.start / PANEL,
                columns.len() / PANEL,
            )),
            input: self.input,
            output: columns.len(),
        })
    }

    /// `[in, out]` in single precision.
    fn plain(&self) -> Tensor<2> {
        match &self.panels {
            Panels::F32(panels) => unpacked(panels.clone(), self.output),
            Panels::Bf16(pairs) => {
                let shape = [panels(self.output), self.input, PANEL];
                let values = bf16::unpack(self.input, pairs);
                // Pairs are of the processor alone.
                let panels = Tensor::from_data(TensorData::new(values, shape), &Device::flex());
                unpacked(panels, self.output)
            }
            Panels::Plain(weight) => weight.clone(),
        }
    }
}

/// Panels as `[in, out]`.
fn unpacked(panels: Tensor<3>, output: usize) -> Tensor<2> {
    let [count, input, _] = panels.dims();
    let wide = panels.permute([1, 0, 2]).reshape([input, count * PANEL]);
    wide.narrow(1, 0, output)
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
    let opened = (flex::open(x.clone()), Dense::open(weight, bias));
    let (Ok(input), Some(dense)) = opened else {
        return linear_stock(x, weight, bias, then);
    };
    drop(x);
    let (act, residual) = match then {
        Then::Nothing => (Activation::Nothing, None),
        Then::Act(act) => (act, None),
        Then::Add(residual) => (Activation::Nothing, flex::open(residual).ok()),
    };
    let rows = input.read().len() / weight.input;
    let mut output = flex::room(rows * weight.output);
    let added = residual.as_ref().map(flex::Buffer::read);
    let product = dense.product(input.read(), act, added);
    product.run(rows, &mut output);
    input.leave();
    if let Some(residual) = residual {
        residual.leave();
    }
    flex::tensor(output, [rows, weight.output])
}

/// The same with Burn's own operations.
fn linear_stock(x: Tensor<2>, weight: &Matrix, bias: Option<&Tensor<1>>, then: Then) -> Tensor<2> {
    let x = match weight.panels {
        Panels::F32(_) | Panels::Plain(_) => x,
        Panels::Bf16(_) => x.cast(DType::BF16).cast(DType::F32),
    };
    let y = x.matmul(weight.plain());
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
    panels: OpenPanels,
    bias: Option<flex::Buffer>,
    depth: usize,
    columns: usize,
}

/// The panels of a weight, open.
enum OpenPanels {
    F32(flex::Buffer),
    Bf16(Arc<[Pair]>),
}

impl Dense {
    /// [`None`] on other devices.
    pub(super) fn open(weight: &Matrix, bias: Option<&Tensor<1>>) -> Option<Self> {
        let bias = match bias {
            Some(bias) => Some(flex::open(bias.clone()).ok()?),
            None => None,
        };
        let panels = match &weight.panels {
            Panels::F32(panels) => OpenPanels::F32(flex::open(panels.clone()).ok()?),
            Panels::Bf16(_) if flex::is_stock() => return None,
            Panels::Bf16(panels) => OpenPanels::Bf16(panels.clone()),
            Panels::Plain(_) => return None,
        };
        Some(Self {
            panels,
            bias,
            depth: weight.input,
            columns: weight.output,
        })
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// What rounds rows of this product for one with `next`; [`None`] where that gains nothing.
    pub(super) fn rounder(&self, next: &Self) -> Option<Rounder> {
        match (&self.panels, &next.panels) {
            (OpenPanels::Bf16(_), OpenPanels::Bf16(_)) => Rounder::find(self.columns),
            _ => None,
        }
    }

    /// As many rows as `output` has; `residual` is added behind the activation.
    pub(super) fn multiply(
        &self,
        input: &[f32],
        act: Activation,
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        self.product(input, act, residual).run_alone(output);
    }

    /// Rows of a product with it; `residual` is added behind the activation.
    pub(super) fn product<'a>(
        &'a self,
        input: &'a [f32],
        act: Activation,
        residual: Option<&'a [f32]>,
    ) -> Product<'a> {
        Product {
            input,
            depth: self.depth,
            weight: self.weight(),
            after: After {
                bias: self.bias.as_ref().map(flex::Buffer::read),
                residual,
                act,
                columns: self.columns,
            },
        }
    }

    /// All of the weight.
    pub(super) fn weight(&self) -> Packed<'_> {
        match &self.panels {
            OpenPanels::F32(panels) => {
                Packed::F32(Part::new(panels.read().as_chunks().0, self.columns))
            }
            OpenPanels::Bf16(panels) => Packed::Bf16(Part::new(panels, self.columns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ops::testing::{assert_close, matrix_in, random};

    #[test]
    fn products_are_burns() {
        products_are_burns_in(Precision::F32);
    }

    #[test]
    fn products_of_rounded_numbers_are_burns() {
        products_are_burns_in(Precision::Bf16);
    }

    fn products_are_burns_in(precision: Precision) {
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
            let weight = matrix_in(precision, input, output);
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

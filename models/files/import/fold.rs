//! Structural re-parameterisation: what is linear and parallel becomes one convolution.
//! RepVGG, <https://arxiv.org/abs/2101.03697>, and MobileOne, <https://arxiv.org/abs/2206.04040>.
//!
//! Sums are kept in double precision until a convolution is finished.

use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::net::weights::Weights;

/// Epsilon of every batch norm of CLIP's towers.
const BATCH_NORM_EPS: f64 = 1e-5;

/// The size of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) output: usize,
    /// Input channels of one group.
    pub(super) input: usize,
    /// Height and width.
    pub(super) kernel: [usize; 2],
}

impl Shape {
    /// One group per channel of `input`, `output` being a multiple.
    pub(super) fn depthwise(output: usize, kernel: [usize; 2]) -> Self {
        Self {
            output,
            input: 1,
            kernel,
        }
    }

    pub(super) fn dense(output: usize, input: usize, kernel: usize) -> Self {
        Self {
            output,
            input,
            kernel: [kernel; 2],
        }
    }

    fn taps(self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    fn dims(self) -> [usize; 4] {
        [self.output, self.input, self.kernel[0], self.kernel[1]]
    }
}

/// A convolution with bias, in PyTorch's order `[output, input / groups, height, width]`.
pub(super) struct Conv {
    pub(super) shape: Shape,
    pub(super) weight: Vec<f64>,
    pub(super) bias: Vec<f64>,
}

impl Conv {
    fn zero(shape: Shape) -> Self {
        let weight = vec![0.0; shape.output * shape.input * shape.taps()];
        Self {
            shape,
            weight,
            bias: vec![0.0; shape.output],
        }
    }

    /// The convolution that changes nothing.
    pub(super) fn identity(shape: Shape) -> Self {
        let mut conv = Self::zero(shape);
        let taps = shape.taps();
        for channel in 0..shape.output {
            let middle = (shape.kernel[0] / 2) * shape.kernel[1] + shape.kernel[1] / 2;
            conv.weight[(channel * shape.input + channel % shape.input) * taps + middle] = 1.0;
        }
        conv
    }

    /// Weight and bias `prefix.weight`, `prefix.bias` of the checkpoint.
    pub(super) fn take(
        checkpoint: &mut Checkpoint,
        prefix: &str,
        shape: Shape,
    ) -> Result<Self, Error> {
        let weight = wide(checkpoint.take(&format!("{prefix}.weight"), &shape.dims())?);
        let bias = wide(checkpoint.take(&format!("{prefix}.bias"), &[shape.output])?);
        Ok(Self {
            shape,
            weight,
            bias,
        })
    }

    /// A convolution without bias, `prefix.weight`.
    pub(super) fn take_without_bias(
        checkpoint: &mut Checkpoint,
        prefix: &str,
        shape: Shape,
    ) -> Result<Self, Error> {
        let weight = wide(checkpoint.take(&format!("{prefix}.weight"), &shape.dims())?);
        Ok(Self {
            shape,
            weight,
            bias: Vec::new(),
        })
    }

    /// A dense layer: a 1x1 convolution whose weight is saved with two dimensions.
    pub(super) fn take_dense(
        checkpoint: &mut Checkpoint,
        prefix: &str,
        output: usize,
        input: usize,
    ) -> Result<Self, Error> {
        let weight = wide(checkpoint.take(&format!("{prefix}.weight"), &[output, input])?);
        let bias = wide(checkpoint.take(&format!("{prefix}.bias"), &[output])?);
        Ok(Self {
            shape: Shape::dense(output, input, 1),
            weight,
            bias,
        })
    }

    /// A convolution without bias followed by a batch norm: `prefix.conv` and `prefix.bn`.
    pub(super) fn take_with_norm(
        checkpoint: &mut Checkpoint,
        prefix: &str,
        shape: Shape,
    ) -> Result<Self, Error> {
        let names = [format!("{prefix}.conv"), format!("{prefix}.bn")];
        Self::take_and_norm(checkpoint, names, shape, BATCH_NORM_EPS)
    }

    /// The same under other names, and with another epsilon.
    pub(super) fn take_and_norm(
        checkpoint: &mut Checkpoint,
        [conv, norm]: [String; 2],
        shape: Shape,
        eps: f64,
    ) -> Result<Self, Error> {
        let weight = wide(checkpoint.take(&format!("{conv}.weight"), &shape.dims())?);
        let norm = Affine::take_with_eps(checkpoint, &norm, shape.output, eps)?;
        let conv = Self {
            shape,
            weight,
            bias: vec![0.0; shape.output],
        };
        Ok(conv.then(&norm))
    }

    /// The same, followed by a scale and a shift of each output channel.
    pub(super) fn then(mut self, affine: &Affine) -> Self {
        let taps = self.shape.input * self.shape.taps();
        for (channel, weight) in self.weight.chunks_exact_mut(taps).enumerate() {
            weight
                .iter_mut()
                .for_each(|weight| *weight *= affine.scale[channel]);
            self.bias[channel] = self.bias[channel] * affine.scale[channel] + affine.shift[channel];
        }
        self
    }

    /// Adds `factor` times another convolution, whose kernel may be smaller, around the same centre.
    pub(super) fn add(mut self, other: &Self, factor: f64) -> Self {
        let [height, width] = self.shape.kernel;
        let [h, w] = other.shape.kernel;
        let (top, left) = ((height - h) / 2, (width - w) / 2);
        let kernels = self.weight.chunks_exact_mut(height * width);
        for (into, from) in kernels.zip(other.weight.chunks_exact(h * w)) {
            for (y, row) in from.chunks_exact(w).enumerate() {
                for (x, value) in row.iter().enumerate() {
                    into[(top + y) * width + left + x] += factor * value;
                }
            }
        }
        for (into, from) in self.bias.iter_mut().zip(&other.bias) {
            *into += factor * from;
        }
        self
    }

    /// Puts a dense layer or a 1x1 convolution.
    pub(super) fn put_linear(self, weights: &mut Weights, name: &str) {
        self.put_matrix(&self.weight, weights, name);
    }

    fn put_matrix(&self, rows: &[f64], weights: &mut Weights, name: &str) {
        let output = self.shape.output;
        let input = rows.len() / output;
        weights.put_matrix(format!("{name}.weight"), [input, output], |from, to| {
            rows[to * input + from] as f32
        });
        if !self.bias.is_empty() {
            weights.put(format!("{name}.bias"), narrow(&self.bias), &[output]);
        }
    }

    /// Puts a dense convolution as a product with patches, whose elements are in the order row, column, channel.
    pub(super) fn put_patches(self, weights: &mut Weights, name: &str) {
        let rows = channels_last(&self.weight, self.shape.input, self.shape.taps());
        self.put_matrix(&rows, weights, name);
    }

    /// Puts a depthwise convolution over `channels` inputs as its phases:
    /// `[multiplier, height * width, channels]`.
    pub(super) fn put_depthwise(self, weights: &mut Weights, name: &str, channels: usize) {
        let (multiplier, taps) = (self.shape.output / channels, self.shape.taps());
        let order = phases(self.shape.output, channels);
        let mut weight = Vec::with_capacity(self.weight.len());
        for phase in order.chunks_exact(channels) {
            for tap in 0..taps {
                weight.extend(
                    phase
                        .iter()
                        .map(|&channel| self.weight[channel * taps + tap] as f32),
                );
            }
        }
        let bias = order
            .iter()
            .map(|&channel| self.bias[channel] as f32)
            .collect();
        weights.put(
            format!("{name}.weight"),
            weight,
            &[multiplier, taps, channels],
        );
        weights.put(format!("{name}.bias"), bias, &[multiplier, channels]);
    }

    /// Output channels in another order: the i-th is what was the `order[i]`-th.
    pub(super) fn reorder_output(mut self, order: &[usize]) -> Self {
        let taps = self.shape.input * self.shape.taps();
        self.weight = order
            .iter()
            .flat_map(|&from| self.weight[from * taps..(from + 1) * taps].to_vec())
            .collect();
        self.bias = order.iter().map(|&from| self.bias[from]).collect();
        self
    }

    /// Input channels of a 1x1 convolution in another order.
    pub(super) fn reorder_input(mut self, order: &[usize]) -> Self {
        self.weight = self
            .weight
            .chunks_exact(self.shape.input)
            .flat_map(|row| order.iter().map(|&from| row[from]).collect::<Vec<_>>())
            .collect();
        self
    }
}

/// Where the output channels of a depthwise convolution with a channel multiplier go when its
/// phases are kept side by side: the new i-th is PyTorch's `result[i]`-th.
pub(super) fn phases(outputs: usize, channels: usize) -> Vec<usize> {
    let multiplier = outputs / channels;
    (0..multiplier)
        .flat_map(|phase| (0..channels).map(move |channel| channel * multiplier + phase))
        .collect()
}

/// A scale and a shift of each channel: a batch norm at inference, or a layer scale.
pub(super) struct Affine {
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

impl Affine {
    /// A batch norm with its running statistics.
    pub(super) fn take(
        checkpoint: &mut Checkpoint,
        prefix: &str,
        channels: usize,
    ) -> Result<Self, Error> {
        Self::take_with_eps(checkpoint, prefix, channels, BATCH_NORM_EPS)
    }

    fn take_with_eps(
        checkpoint: &mut Checkpoint,
        prefix: &str,
        channels: usize,
        eps: f64,
    ) -> Result<Self, Error> {
        let mut take = |name: &str| {
            checkpoint
                .take(&format!("{prefix}.{name}"), &[channels])
                .map(wide)
        };
        let (weight, bias) = (take("weight")?, take("bias")?);
        let (mean, variance) = (take("running_mean")?, take("running_var")?);
        let scale: Vec<f64> = weight
            .iter()
            .zip(variance)
            .map(|(weight, variance)| weight / (variance + eps).sqrt())
            .collect();
        let shift = bias
            .iter()
            .zip(mean)
            .zip(&scale)
            .map(|((bias, mean), scale)| bias - mean * scale)
            .collect();
        Ok(Self { scale, shift })
    }

    /// A layer scale `[channels, 1, 1]`.
    pub(super) fn take_layer_scale(
        checkpoint: &mut Checkpoint,
        key: &str,
        channels: usize,
    ) -> Result<Self, Error> {
        let scale = wide(checkpoint.take(key, &[channels, 1, 1])?);
        Ok(Self {
            scale,
            shift: vec![0.0; channels],
        })
    }
}

/// The branches of a MobileOne block.
#[derive(Clone, Copy)]
pub(super) struct Branches {
    /// A convolution of full size.
    pub(super) full: bool,
    /// A 1x1 convolution beside it.
    pub(super) scale: bool,
    /// A batch norm alone.
    pub(super) identity: bool,
}

/// Folds a MobileOne block, which may have been folded already.
pub(super) fn mobile_one(
    checkpoint: &mut Checkpoint,
    prefix: &str,
    shape: Shape,
    branches: Branches,
) -> Result<Conv, Error> {
    let folded = format!("{prefix}.reparam_conv");
    if checkpoint.has(&format!("{folded}.weight")) {
        return Conv::take(checkpoint, &folded, shape);
    }
    let mut sum = Conv::zero(shape);
    if branches.identity {
        let norm = Affine::take(checkpoint, &format!("{prefix}.identity"), shape.output)?;
        sum = sum.add(&Conv::identity(shape).then(&norm), 1.0);
    }
    if branches.scale {
        let point = Shape {
            kernel: [1, 1],
            ..shape
        };
        sum = sum.add(
            &Conv::take_with_norm(checkpoint, &format!("{prefix}.conv_scale"), point)?,
            1.0,
        );
    }
    if branches.full {
        sum = sum.add(
            &Conv::take_with_norm(checkpoint, &format!("{prefix}.conv_kxk.0"), shape)?,
            1.0,
        );
    }
    Ok(sum)
}

/// Folds a RepMixer, its skip connection included.
pub(super) fn rep_mixer(
    checkpoint: &mut Checkpoint,
    prefix: &str,
    shape: Shape,
    mixer: Branches,
) -> Result<Conv, Error> {
    let folded = format!("{prefix}.reparam_conv");
    if checkpoint.has(&format!("{folded}.weight")) {
        return Conv::take(checkpoint, &folded, shape);
    }
    let only_identity = Branches {
        full: false,
        scale: false,
        identity: true,
    };
    let mixed = mobile_one(checkpoint, &format!("{prefix}.mixer"), shape, mixer)?;
    let norm = mobile_one(checkpoint, &format!("{prefix}.norm"), shape, only_identity)?;
    let scale = Affine::take_layer_scale(
        checkpoint,
        &format!("{prefix}.layer_scale.gamma"),
        shape.output,
    )?;
    let difference = mixed.add(&norm, -1.0).then(&scale);
    Ok(Conv::identity(shape).add(&difference, 1.0))
}

/// `[rows, channels, taps]` to `[rows, taps, channels]`.
fn channels_last(values: &[f64], channels: usize, taps: usize) -> Vec<f64> {
    let mut last = Vec::with_capacity(values.len());
    for row in values.chunks_exact(channels * taps) {
        for tap in 0..taps {
            last.extend((0..channels).map(|channel| row[channel * taps + tap]));
        }
    }
    last
}

pub(super) fn wide(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_gather_what_pytorch_interleaves() {
        assert_eq!(phases(6, 3), [0, 2, 4, 1, 3, 5]);
        assert_eq!(phases(3, 3), [0, 1, 2]);
    }
}

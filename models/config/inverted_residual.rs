//! Sizes of networks of inverted residual blocks, as the papers' tables give them.

use serde::{Deserialize, Serialize};

use super::check::{ensure, kernel};
use crate::error::Error;

/// Largest expansion, stride and number of repeats.
const MOST_BLOCKS: usize = 256;
/// Most channels of a block.
const MOST_CHANNELS: usize = 65_536;

/// A network of inverted residual blocks: MobileNetV2, <https://arxiv.org/abs/1801.04381>, and
/// EfficientNet-Lite, <https://arxiv.org/abs/1905.11946> without squeeze and excitation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct InvertedResidualConfig {
    /// Channels after the first convolution.
    pub stem: usize,
    /// The blocks.
    pub stages: Vec<InvertedResidualStage>,
    /// Channels after the last convolution: the length of what the network gives.
    pub features: usize,
}

/// Blocks of one shape: a line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct InvertedResidualStage {
    /// Channels inside a block, in multiples of those that it is given.
    pub expand: usize,
    /// Side of the depthwise kernel.
    pub kernel: usize,
    /// Stride of the first block; that of the others is 1.
    pub stride: usize,
    /// Channels that a block gives.
    pub channels: usize,
    /// Blocks.
    pub repeats: usize,
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvertedResidualBlock {
    pub(crate) input: usize,
    /// Channels of the depthwise convolution.
    pub(crate) hidden: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
}

impl InvertedResidualBlock {
    /// Whether a 1x1 convolution brings the input to the channels of the depthwise one.
    pub(crate) fn expands(self) -> bool {
        self.hidden != self.input
    }

    /// Whether the input is added to the output.
    pub(crate) fn is_residual(self) -> bool {
        self.stride == 1 && self.input == self.output
    }
}

impl InvertedResidualConfig {
    /// MobileNetV2 of a width, whose last convolution grows with it but never shrinks.
    pub fn mobilenet_v2(width: f32) -> Self {
        let stages = [
            (1, 3, 1, 16, 1),
            (6, 3, 2, 24, 2),
            (6, 3, 2, 32, 3),
            (6, 3, 2, 64, 4),
            (6, 3, 1, 96, 3),
            (6, 3, 2, 160, 3),
            (6, 3, 1, 320, 1),
        ];
        let mut config = Self::new(32, &stages, 1280);
        config.stem = of_width(config.stem, width);
        for stage in &mut config.stages {
            stage.channels = of_width(stage.channels, width);
        }
        config.features = of_width(config.features, width.max(1.0));
        config
    }

    /// EfficientNet-Lite0.
    pub fn efficientnet_lite0() -> Self {
        let stages = [
            (1, 3, 1, 16, 1),
            (6, 3, 2, 24, 2),
            (6, 5, 2, 40, 2),
            (6, 3, 2, 80, 3),
            (6, 5, 1, 112, 3),
            (6, 5, 2, 192, 4),
            (6, 3, 1, 320, 1),
        ];
        Self::new(32, &stages, 1280)
    }

    fn new(stem: usize, stages: &[(usize, usize, usize, usize, usize)], features: usize) -> Self {
        let stage = |&(expand, kernel, stride, channels, repeats)| InvertedResidualStage {
            expand,
            kernel,
            stride,
            channels,
            repeats,
        };
        Self {
            stem,
            stages: stages.iter().map(stage).collect(),
            features,
        }
    }

    /// Checks that sizes fit together.
    ///
    /// # Errors
    /// [`Error::BadConfig`] with the first contradiction.
    pub fn check(&self) -> Result<(), Error> {
        let channels = 1..=MOST_CHANNELS;
        ensure(
            channels.contains(&self.stem) && channels.contains(&self.features),
            || {
                format!(
                    "{} channels in the stem, {} features",
                    self.stem, self.features
                )
            },
        )?;
        ensure(!self.stages.is_empty(), || "no stages".into())?;
        for (i, stage) in self.stages.iter().enumerate() {
            kernel(stage.kernel, &format!("stages[{i}].kernel"))?;
            let sizes = [stage.expand, stage.stride, stage.channels, stage.repeats];
            ensure(!sizes.contains(&0), || {
                format!("stages[{i}] has a size of 0")
            })?;
            let largest = MOST_BLOCKS
                .max(stage.expand)
                .max(stage.stride)
                .max(stage.repeats);
            ensure(
                largest == MOST_BLOCKS && stage.channels <= MOST_CHANNELS,
                || {
                    format!(
                        "stages[{i}] has a size over {MOST_BLOCKS}, or more than {MOST_CHANNELS} channels"
                    )
                },
            )?;
        }
        Ok(())
    }

    /// Every block, in order.
    pub(crate) fn blocks(&self) -> Vec<InvertedResidualBlock> {
        let mut blocks = Vec::new();
        let mut input = self.stem;
        for stage in &self.stages {
            for repeat in 0..stage.repeats {
                blocks.push(InvertedResidualBlock {
                    input,
                    hidden: input * stage.expand,
                    output: stage.channels,
                    kernel: stage.kernel,
                    stride: if repeat == 0 { stage.stride } else { 1 },
                });
                input = stage.channels;
            }
        }
        blocks
    }

    /// Channels of the last block.
    pub(crate) fn last_channels(&self) -> usize {
        self.stages.last().map_or(self.stem, |stage| stage.channels)
    }
}

/// Channels times a width, rounded to a multiple of eight, but not down by more than a tenth.
fn of_width(channels: usize, width: f32) -> usize {
    let exact = channels as f32 * width;
    let rounded = ((exact + 4.0) as usize / 8 * 8).max(8);
    rounded + 8 * usize::from((rounded as f32) < 0.9 * exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_the_papers() {
        let wide = InvertedResidualConfig::mobilenet_v2(1.4);
        wide.check().unwrap();
        let channels: Vec<_> = wide.stages.iter().map(|stage| stage.channels).collect();
        assert_eq!((wide.stem, wide.features), (48, 1792));
        assert_eq!(channels, [24, 32, 48, 88, 136, 224, 448]);
        let narrow = InvertedResidualConfig::mobilenet_v2(0.5);
        assert_eq!((narrow.stem, narrow.features), (16, 1280));
        assert_eq!(InvertedResidualConfig::mobilenet_v2(1.0).blocks().len(), 17);
    }

    #[test]
    fn only_the_first_block_of_a_stage_changes_the_shape() {
        let blocks = InvertedResidualConfig::efficientnet_lite0().blocks();
        assert_eq!(blocks.len(), 16);
        let shape = |i: usize| (blocks[i].input, blocks[i].hidden, blocks[i].output);
        assert_eq!((shape(0), shape(1)), ((32, 32, 16), (16, 96, 24)));
        assert_eq!((blocks[1].stride, blocks[2].stride), (2, 1));
        assert_eq!((shape(15), blocks[15].kernel), ((192, 1152, 320), 3));
    }
}

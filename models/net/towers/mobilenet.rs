//! Networks of inverted residual blocks, with ReLU6 and TensorFlow's padding: MobileNetV2,
//! <https://arxiv.org/abs/1801.04381>, and EfficientNet-Lite.

use burn::tensor::Tensor;

use super::layers::{Linear, depthwise};
use crate::config::{InvertedResidualBlock, InvertedResidualConfig};
use crate::error::Error;
use crate::net::ops::{self, Activation, Depthwise, Map, Padding, Separable, Then, Widen, Window};
use crate::net::weights::Scope;

/// A network up to its pooled features.
pub(crate) struct InvertedResidualNet {
    stem: Linear,
    blocks: Vec<InvertedResidual>,
    head: Linear,
}

impl InvertedResidualNet {
    /// Takes the weights of `scope`: `stem`, `blocks.N.expand`, `.depthwise`, `.project`, `head`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::WrongShape`] when they are those of another network.
    pub(crate) fn new(config: &InvertedResidualConfig, scope: &mut Scope) -> Result<Self, Error> {
        let blocks = config
            .blocks()
            .into_iter()
            .enumerate()
            .map(|(i, block)| {
                InvertedResidual::new(block, &mut scope.at(format_args!("blocks.{i}")))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            stem: Linear::new(3 * 3 * 3, config.stem, &mut scope.at("stem").exact())?,
            blocks,
            head: Linear::new(
                config.last_channels(),
                config.features,
                &mut scope.at("head"),
            )?,
        })
    }

    /// `[n, height, width, 3]` to `[n, features]`.
    pub(crate) fn forward(&self, images: Map) -> Tensor<2> {
        let window = Window {
            kernel: 3,
            stride: 2,
            padding: Padding::Same,
        };
        // The first block widens nothing: the stem does.
        let (x, blocks) = match self.blocks.split_first() {
            Some((first, others)) if first.expand.is_none() && !first.residual => {
                let widen = Widen::Dense(window, self.stem.parts());
                (
                    images.turned(|x| ops::separable(x, &first.behind(widen))),
                    others,
                )
            }
            _ => {
                let patches = images.turned(|x| ops::patches(x, window));
                (self.stem.turned(patches, Then::RELU6), &self.blocks[..])
            }
        };
        let x = blocks.iter().fold(x, |x, block| block.forward(x));
        let features = self.head.turned(x, Then::RELU6);
        let means = ops::means(&features);
        features.leave();
        means
    }
}

/// A 1x1 convolution to more channels, a depthwise one, a 1x1 convolution to few.
struct InvertedResidual {
    expand: Option<Linear>,
    depthwise: Depthwise,
    project: Linear,
    /// Whether the input is added to the output, which has its shape then.
    residual: bool,
}

impl InvertedResidual {
    fn new(block: InvertedResidualBlock, scope: &mut Scope) -> Result<Self, Error> {
        let InvertedResidualBlock {
            input,
            hidden,
            output,
            kernel,
            stride,
        } = block;
        let expand = block
            .expands()
            .then(|| Linear::new(input, hidden, &mut scope.at("expand")))
            .transpose()?;
        let scoped = &mut scope.at("depthwise");
        Ok(Self {
            expand,
            depthwise: depthwise(hidden, hidden, [kernel; 2], stride, scoped)?
                .with_padding(Padding::Same),
            project: Linear::new(hidden, output, &mut scope.at("project"))?,
            residual: block.is_residual(),
        })
    }

    fn forward(&self, x: Map) -> Map {
        let widen = self
            .expand
            .as_ref()
            .map_or(Widen::Nothing, |expand| Widen::Point(expand.parts()));
        x.turned(|x| ops::separable(x, &self.behind(widen)))
    }

    /// The block behind what makes the input of its depthwise convolution.
    fn behind<'a>(&'a self, widen: Widen<'a>) -> Separable<'a> {
        Separable {
            widen,
            depthwise: &self.depthwise,
            project: self.project.parts(),
            acts: [Activation::Relu6, Activation::Relu6, Activation::Nothing],
            residual: self.residual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::InvertedResidualStage;
    use crate::files::checkpoint::Checkpoint;
    use crate::files::import::efficientnet;
    use crate::net::ops::with_stock_operations;
    use crate::net::weights::Weights;

    /// The shrunk network of `tests/inverted_residual.py`.
    fn config() -> InvertedResidualConfig {
        let stage = |expand, kernel, stride, channels, repeats| InvertedResidualStage {
            expand,
            kernel,
            stride,
            channels,
            repeats,
        };
        InvertedResidualConfig {
            stem: 8,
            stages: vec![
                stage(1, 3, 1, 12, 1),
                stage(6, 5, 2, 20, 2),
                stage(6, 3, 2, 24, 1),
                stage(4, 3, 1, 28, 2),
            ],
            features: 320,
        }
    }

    #[test]
    fn an_imported_efficientnet_is_pytorchs() {
        let mut checkpoint = Checkpoint::from_safetensors(
            include_bytes!("../../tests/fixtures/inverted-residual.safetensors"),
            "a shrunk EfficientNet-Lite",
        )
        .unwrap();
        let device = burn::tensor::Device::flex();
        let cases = [40, 37].map(|side| {
            let mut take = |name: &str, shape: &[usize]| {
                checkpoint.take(&format!("{name}.{side}"), shape).unwrap()
            };
            let image = take("image", &[2 * side * side, 3]);
            (side, image, take("features", &[2, 320]))
        });
        let mut weights = Weights::default();
        efficientnet(&config(), &mut checkpoint, "photo.", &mut weights, "net").unwrap();
        checkpoint.finish().unwrap();
        let scope = &mut Scope::new(&mut weights, "net", &device);
        let net = InvertedResidualNet::new(&config(), scope).unwrap();
        assert!(weights.into_data().is_empty(), "weights that nothing takes");

        for (side, image, expected) in cases {
            let run = || {
                let data = burn::tensor::TensorData::new(image.clone(), [2 * side * side, 3]);
                let images = Map {
                    data: Tensor::from_data(data, &device),
                    n: 2,
                    height: side,
                    width: side,
                };
                net.forward(images)
                    .into_data()
                    .try_into_vec::<f32>()
                    .unwrap()
            };
            for (what, found) in [("ours", run()), ("stock", with_stock_operations(run))] {
                let largest = expected
                    .iter()
                    .zip(&found)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                assert!(largest < 2e-5, "{what} at {side}: off by {largest}");
            }
            let (one, two) = expected.split_at(320);
            let apart = one.iter().zip(two).map(|(a, b)| (a - b).abs()).sum::<f32>();
            assert!(apart > 1.0, "two pictures should differ: {apart}");
        }
    }
}

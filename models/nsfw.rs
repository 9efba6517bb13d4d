//! Whether a picture is safe to show, by a classifier of its own: the weights of nsfwjs'
//! MobileNetV2Mid, run by our kernels. `nsfw/MODEL_CARD.md` says what it is good for and what not.

use std::sync::OnceLock;

use burn::tensor::{Tensor, activation};
use omnizap_contract::common::digest::Sha256Hex;

use crate::config::InvertedResidualConfig;
use crate::device::Device;
use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::files::import;
use crate::files::mapping::EMBEDDED_NSFW;
use crate::input::pixels::PixelView;
use crate::input::preprocess::stretch;
use crate::net::ops::{Map, Then};
use crate::net::towers::{InvertedResidualNet, Linear};
use crate::net::weights::{Scope, Weights};
use crate::precision::Precision;

/// The model's name, as answers show it.
pub const NSFW_MODEL: &str = "nsfwjs-mobilenet-v2-mid";

/// What it tells apart, in the order of its probabilities. Drawing and Neutral are safe, Sexy is
/// suggestive, Hentai and Porn are drawn and real pornography.
pub const NSFW_CLASSES: [&str; 5] = ["Drawing", "Hentai", "Neutral", "Porn", "Sexy"];

/// Side of its input.
const SIDE: usize = 224;
/// Width of the network, against MobileNetV2's.
const WIDTH: f32 = 1.4;
/// Images that are computed at once; more come in several goes, so that memory stays bounded.
const MOST_IMAGES_AT_ONCE: usize = 16;

/// A picture made ready: `[224, 224, 3]`, -1 to 1.
#[derive(Clone, Debug)]
pub struct NsfwPixels(Vec<f32>);

/// The probabilities of [`NSFW_CLASSES`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NsfwClasses(pub [f32; 5]);

impl NsfwClasses {
    /// How unsafe the picture is, 0 to 1: drawn and real pornography together.
    pub fn score(&self) -> f64 {
        let [_, hentai, _, porn, _] = self.0.map(f64::from);
        (hentai + porn).clamp(0.0, 1.0)
    }
}

/// The classifier on a device. It is shared freely between threads, as a [`crate::Model`] is.
pub struct NsfwNet {
    net: InvertedResidualNet,
    classes: Linear,
    device: Device,
    /// The device, open.
    open: burn::tensor::Device,
}

impl NsfwNet {
    /// The classifier inside the program.
    ///
    /// # Errors
    /// [`Error::NoNsfwModel`] when this program was built without, those of an import when its
    /// file is damaged, [`Error::DeviceNotBuilt`], [`Error::NoDevice`] and [`Error::DeviceFailed`]
    /// where the device cannot be had.
    pub fn embedded(device: Device) -> Result<Self, Error> {
        let file = EMBEDDED_NSFW.as_ref().ok_or(Error::NoNsfwModel)?;
        let config = InvertedResidualConfig::mobilenet_v2(WIDTH);
        let mut checkpoint = Checkpoint::from_safetensors(file.as_ref(), NSFW_MODEL)?;
        let mut weights = Weights::default();
        import::folded(&config, &mut checkpoint, "", &mut weights, "net")?;
        let outputs = NSFW_CLASSES.len();
        import::dense(
            &mut checkpoint,
            "classes",
            [config.features, outputs],
            &mut weights,
        )?;
        checkpoint.finish()?;
        let open = device.open(Precision::F32)?;
        let net = InvertedResidualNet::new(&config, &mut Scope::new(&mut weights, "net", &open))?;
        let scope = &mut Scope::new(&mut weights, "classes", &open);
        let classes = Linear::new(config.features, outputs, scope)?;
        device.finish(&open)?;
        file.rest();
        Ok(Self {
            net,
            classes,
            device,
            open,
        })
    }

    /// Identifies the weights inside the program: the SHA-256 of their file in hexadecimal.
    /// Nothing is opened for it.
    ///
    /// # Errors
    /// [`Error::NoNsfwModel`] when this program was built without.
    pub fn fingerprint() -> Result<&'static str, Error> {
        static FINGERPRINT: OnceLock<Sha256Hex> = OnceLock::new();
        let file = EMBEDDED_NSFW.as_ref().ok_or(Error::NoNsfwModel)?;
        Ok(FINGERPRINT.get_or_init(|| {
            let fingerprint = Sha256Hex::of(file.as_ref());
            file.rest();
            fingerprint
        }))
    }

    /// Makes a picture ready for [`NsfwNet::classify`]. The work does not grow with the picture.
    pub fn preprocess(image: &PixelView) -> NsfwPixels {
        let mut values = stretch(image, SIDE);
        values
            .iter_mut()
            .for_each(|value| *value = *value * 2.0 - 1.0);
        NsfwPixels(values)
    }

    /// The classes' probabilities, for each picture.
    ///
    /// # Errors
    /// [`Error::DegenerateClasses`] for broken weights, [`Error::DeviceFailed`].
    pub fn classify(&self, images: &[NsfwPixels]) -> Result<Vec<NsfwClasses>, Error> {
        let mut found = Vec::with_capacity(images.len());
        for images in images.chunks(MOST_IMAGES_AT_ONCE) {
            let outputs = self
                .device
                .for_pictures(images.len(), |some| self.run(&images[some]));
            for probabilities in outputs {
                let values = self.device.read(probabilities)?;
                for row in values.as_chunks::<5>().0 {
                    if !row.iter().all(|value| value.is_finite()) {
                        return Err(Error::DegenerateClasses(NSFW_MODEL));
                    }
                    found.push(NsfwClasses(*row));
                }
            }
        }
        Ok(found)
    }

    /// `[n, 5]`
    fn run(&self, images: &[NsfwPixels]) -> Tensor<2> {
        let pictures = Map::of_pictures(images.len(), SIDE, &self.open, |values| {
            for image in images {
                values.extend_from_slice(&image.0);
            }
        });
        let features = self.net.forward(pictures);
        let logits = self.classes.forward(features, Then::Nothing);
        activation::softmax(logits, 1)
    }
}

/// Stages share one classifier between threads.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<NsfwNet>();
};

impl std::fmt::Debug for NsfwNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NsfwNet")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

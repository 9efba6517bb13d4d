//! Checking a model on the machine that it runs on: what goes into it against built-in goldens, what
//! comes out of it against the same weights imported afresh and run by Burn's own operations, on the
//! processor where it runs on another device.

use std::time::{Duration, Instant};

use omnizap_contract::common::digest::{Hasher, Sha256Hex};

use crate::config::{Interpolation, Resize, TextTokenizer};
use crate::device::Device;
use crate::error::Error;
use crate::files::cache::Cache;
use crate::input::pixels::{PixelView, Pixels};
use crate::model::Model;
use crate::net::ops::with_stock_operations;
use crate::source::Source;

/// The cosine that two ways of computing the same embedding must reach.
const LEAST_COSINE: f64 = 0.99999;

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// SHA-256 of its checkpoint.
    pub fingerprint: String,
    /// What was checked, in order.
    pub checks: Vec<Check>,
    /// Opening the model.
    pub open: Duration,
    /// Embedding one image, the best of three.
    pub image: Duration,
    /// Embedding one text, the best of three.
    pub text: Duration,
}

/// One check and how it went.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was compared.
    pub what: &'static str,
    /// The smallest cosine, where embeddings were compared.
    pub cosine: Option<f64>,
    /// Whether it is as it should be.
    pub passed: bool,
}

impl Report {
    /// Whether all is as it should be.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }
}

/// Texts of several scripts and lengths, and the SHA-256 of their tokens in open_clip 3.3.0, as
/// little-endian 32-bit numbers.
const TEXTS: [&str; 4] = [
    "a photo of a cat",
    "uma figurinha de um cachorro feliz 😀",
    "红色的汽车 &amp; more",
    "",
];
const TOKENS_SHA256: &str = "639df0715f7d21c0ce50a96e6c452e9e6657e48f770f5b42e2f2832e7bad69ae";

/// Sides, filters, ways to a square and the SHA-256 of what Pillow 12.1.1 makes of the built-in
/// picture.
const PICTURES: [(usize, Interpolation, Resize, &str); 7] = [
    (
        64,
        Interpolation::Bilinear,
        Resize::Shortest,
        "e748920268a847671a0f2ac1b962c59ec386b00ff1992e65f6cb20410f1d7717",
    ),
    (
        224,
        Interpolation::Bilinear,
        Resize::Shortest,
        "62597c81bb97e59476ddfab564500820b00265304710f5efeaa08ce85408cd6d",
    ),
    (
        224,
        Interpolation::Bicubic,
        Resize::Shortest,
        "0b0945fc424ce0549f28d2be5d58f19f5ce2ee8c634c69355f32acd1d8a79883",
    ),
    (
        256,
        Interpolation::Bilinear,
        Resize::Shortest,
        "8b37d43e8e5f24fe2e6101a44e635dfd9afd13856ac2b2077fdea7db97cdfbd0",
    ),
    (
        256,
        Interpolation::Bicubic,
        Resize::Shortest,
        "9b8ca5869cf710fa1066a775fc4032b9f7655df44f5b11f9fcde616185326d71",
    ),
    (
        224,
        Interpolation::Bicubic,
        Resize::Squash,
        "efa069d1a7205131eabcc5891384c43d524c5d9c9e782744e1a6ea1c9a015ae9",
    ),
    (
        256,
        Interpolation::Bicubic,
        Resize::Squash,
        "b8bea860abdcc15462bfc9985b8cbff68a5b7c6f4809b98362bc26459f3a80ba",
    ),
];

/// Opens a model and checks it.
///
/// # Errors
/// Those of [`Model::open`] and of encoding; a check that fails is no error but in the report.
pub fn verify(source: &Source, cache: &Cache, device: Device) -> Result<Report, Error> {
    let start = Instant::now();
    let model = Model::open(source, cache, device)?;
    let open = start.elapsed();
    let mut checks: Vec<Check> = tokens(&model).into_iter().collect();
    checks.extend(preprocessing(&model));

    let pictures = [
        picture(97, 61, 1),
        picture(64, 150, 2),
        picture(300, 300, 3),
    ];
    let pixels = pictures
        .iter()
        .map(
            |(width, height, bytes)| Ok(model.preprocess(&PixelView::rgb(*width, *height, bytes)?)),
        )
        .collect::<Result<Vec<Pixels>, Error>>()?;
    let ours = embed(&model, &pixels)?;
    checks.push(match device {
        Device::Cpu => {
            let stock = with_stock_operations(|| embed(&model, &pixels))?;
            compare("our operations against Burn's", &ours, &stock)
        }
        _ => {
            let cpu = embed(&Model::open(source, cache, Device::Cpu)?, &pixels)?;
            compare("the device against the processor", &ours, &cpu)
        }
    });
    let afresh = embed(&Model::open_afresh(source, cache, device)?, &pixels)?;
    checks.push(compare(
        "kept record against the checkpoint imported afresh",
        &ours,
        &afresh,
    ));

    Ok(Report {
        model: model.id().to_owned(),
        fingerprint: model.fingerprint().to_owned(),
        checks,
        open,
        image: best_of_three(|| model.encode_images(&pixels[..1]))?,
        text: best_of_three(|| model.encode_texts(&TEXTS[..1]))?,
    })
}

/// Nothing, when the tokenizer is none that is part of the program: its file lies beside the weights,
/// so that there is nothing to hold it against.
fn tokens(model: &Model) -> Option<Check> {
    if model.config().text.tokenizer != TextTokenizer::Clip {
        return None;
    }
    let mut hasher = Hasher::default();
    for text in TEXTS {
        for id in model.tokenize(text).ids() {
            hasher.update(id.to_le_bytes());
        }
    }
    let passed = hasher.finish() == *TOKENS_SHA256;
    Some(Check {
        what: "tokens against CLIP's",
        cosine: None,
        passed,
    })
}

/// Nothing, when there is no golden for the model's own size.
fn preprocessing(model: &Model) -> Option<Check> {
    let image = &model.config().vision.image;
    let own = (image.size, image.interpolation, image.resize);
    let (.., golden) = PICTURES
        .iter()
        .find(|(side, filter, resize, _)| (*side, *filter, *resize) == own)?;
    let (width, height, bytes) = picture(613, 401, 0);
    let view = PixelView::rgb(width, height, &bytes).ok()?;
    let passed = Sha256Hex::of(model.preprocess(&view).rgb()) == **golden;
    Some(Check {
        what: "preprocessing against Pillow's",
        cosine: None,
        passed,
    })
}

fn embed(model: &Model, pixels: &[Pixels]) -> Result<Vec<Vec<f32>>, Error> {
    let mut embeddings = model.encode_images(pixels)?;
    embeddings.extend(model.encode_texts(&TEXTS)?);
    Ok(embeddings)
}

fn compare(what: &'static str, a: &[Vec<f32>], b: &[Vec<f32>]) -> Check {
    let cosine = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    let least = a
        .iter()
        .zip(b)
        .map(|(a, b)| cosine(a, b))
        .fold(1.0, f64::min);
    Check {
        what,
        cosine: Some(least),
        passed: least >= LEAST_COSINE,
    }
}

/// A picture of gradients and a checkered texture, the same everywhere.
fn picture(width: usize, height: usize, seed: usize) -> (usize, usize, Vec<u8>) {
    let mut bytes = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let checker = (x / (seed + 2) + y / (seed + 3)) % 2 * 60;
            bytes.push(((x * 255 / width) / 2 + checker) as u8);
            bytes.push(((y * 255 / height) / 2 + checker + seed * 9) as u8);
            bytes.push((x * y * (seed + 1) % 251) as u8);
        }
    }
    (width, height, bytes)
}

fn best_of_three<T>(mut run: impl FnMut() -> Result<T, Error>) -> Result<Duration, Error> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

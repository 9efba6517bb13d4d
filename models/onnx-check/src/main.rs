//! Holds the image tower of `omnizap-models` against the same tower as burn-import generates it
//! from ONNX: two independent ways from PyTorch to Burn.
//!
//! ```sh
//! python models/tests/timing.py DIR target/debug/examples/image_time   # exports DIR/MobileCLIP-S1-image.onnx
//! cd models/onnx-check
//! OMNIZAP_ONNX=DIR/MobileCLIP-S1-image.onnx cargo run -- DIR/MobileCLIP-S1.safetensors
//! ```

use burn::tensor::{Device, Tensor, TensorData};
use omnizap_models::{Cache, Model, PixelView, Source};

#[allow(clippy::all, dead_code, unused)]
mod tower {
    include!(concat!(env!("OUT_DIR"), "/onnx/tower.rs"));
}

/// Height and width of MobileCLIP-S1's pictures.
const SIDE: usize = 256;

/// Largest difference of an element of the normalised embeddings.
const ALLOWED: f32 = 1e-4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let checkpoint = std::env::args()
        .nth(1)
        .ok_or("usage: onnx-check CHECKPOINT")?;
    let source = Source::resolve(Some("MobileCLIP-S1"), Some(&checkpoint))?;
    let model = Model::open(&source, &Cache::from_env(), omnizap_models::Device::Cpu)?;
    let theirs =
        tower::Model::from_file(concat!(env!("OUT_DIR"), "/onnx/tower.bpk"), &Device::flex());
    let mut worst = 0.0_f32;
    for seed in 0..4_usize {
        let bytes: Vec<u8> = (0..SIDE * SIDE * 3)
            .map(|i| (i * (31 + seed) % (251 - seed) + i / (SIDE * 3) * seed % 97) as u8)
            .collect();
        let pixels = [model.preprocess(&PixelView::rgb(SIDE, SIDE, &bytes)?)];
        let ours = &model.encode_images(&pixels)?[0];

        let values: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let image =
            Tensor::<1>::from_data(TensorData::new(values, [SIDE * SIDE * 3]), &Device::flex())
                .reshape([1, SIDE, SIDE, 3])
                .permute([0, 3, 1, 2]);
        let embedding: Vec<f32> = theirs.forward(image).into_data().try_into_vec()?;
        let norm = embedding.iter().map(|x| x * x).sum::<f32>().sqrt();
        let difference = ours
            .iter()
            .zip(&embedding)
            .map(|(ours, theirs)| (ours - theirs / norm).abs())
            .fold(0.0, f32::max);
        println!("picture {seed}: largest difference {difference:.1e}");
        worst = worst.max(difference);
    }
    if worst.is_nan() || worst > ALLOWED {
        return Err(format!("the towers differ by {worst:.1e}, {ALLOWED:.0e} is allowed").into());
    }
    println!("PASS: the same tower by two ways, within {worst:.1e}");
    Ok(())
}

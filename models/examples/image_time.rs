//! Times the image tower of a MobileCLIP-S1 checkpoint: five runs for each line on standard input,
//! in milliseconds. `tests/timing.py` holds it against ONNX Runtime. `CLIP_PRECISION` is `f32` or
//! `bf16`.

use std::io::{BufRead, Write};
use std::time::Instant;

use omnizap_models::{Cache, Device, Model, PixelView, Precision, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: image_time CHECKPOINT")?;
    let source = Source::resolve(Some("MobileCLIP-S1"), Some(&path))?;
    let precision = match std::env::var("CLIP_PRECISION") {
        Ok(name) => Precision::of_name(&name).ok_or("CLIP_PRECISION is neither f32 nor bf16")?,
        Err(_) => Precision::F32,
    };
    let model = Model::open_in(&source, &Cache::from_env(), Device::Cpu, precision)?;
    let bytes: Vec<u8> = (0..256 * 256 * 3).map(|i| (i * 31 % 251) as u8).collect();
    let pixels = [model.preprocess(&PixelView::rgb(256, 256, &bytes)?)];
    let mut output = std::io::stdout().lock();
    for _ in std::io::stdin().lock().lines() {
        for _ in 0..5 {
            let start = Instant::now();
            model.encode_images(&pixels)?;
            write!(output, "{:.3} ", start.elapsed().as_secs_f64() * 1e3)?;
        }
        writeln!(output)?;
        output.flush()?;
    }
    Ok(())
}

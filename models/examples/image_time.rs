//! Times the image tower of a MobileCLIP-S1 checkpoint: five runs for each line on standard input,
//! in milliseconds. `tests/timing.py` holds it against ONNX Runtime.

use std::io::{BufRead, Write};
use std::time::Instant;

use omnizap_models::{Cache, Device, Model, PixelView, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: image_time CHECKPOINT")?;
    let source = Source::resolve(Some("MobileCLIP-S1"), Some(&path))?;
    let model = Model::open(&source, &Cache::from_env(), Device::Cpu)?;
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

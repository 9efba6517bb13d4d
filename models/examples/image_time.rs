//! Times a tower of a MobileCLIP checkpoint, in milliseconds: for each line on standard input a line
//! of times. `CHECKPOINT [MODEL]`, MobileCLIP-S1 where it is left out, times five runs of the image
//! tower with one picture; `CHECKPOINT MODEL FILE` one of the text tower with the file's lines.
//! `CLIP_PRECISION` is `f32` or `bf16`, `CLIP_DEVICE` `cpu` or, with the feature, `wgpu`.
//! `tests/timing.py` holds them against other engines.

use std::io::{BufRead, Write};
use std::time::Instant;

use omnizap_models::{Cache, Device, Error, Model, PixelView, Precision, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: image_time CHECKPOINT [MODEL [TEXTS]]")?;
    let name = arguments.next();
    let name = name.as_deref().unwrap_or("MobileCLIP-S1");
    let source = Source::resolve(Some(name), Some(&path))?;
    let precision = match std::env::var("CLIP_PRECISION") {
        Ok(name) => Precision::of_name(&name).ok_or("CLIP_PRECISION is neither f32 nor bf16")?,
        Err(_) => Precision::F32,
    };
    let device = match std::env::var("CLIP_DEVICE") {
        Ok(name) => Device::of_name(&name).ok_or("CLIP_DEVICE is neither cpu nor wgpu")?,
        Err(_) => Device::Cpu,
    };
    let model = Model::open_in(&source, &Cache::from_env(), device, precision)?;
    match arguments.next() {
        Some(file) => {
            let texts = std::fs::read_to_string(file)?;
            let texts: Vec<&str> = texts.lines().collect();
            time(1, || model.encode_texts(&texts))
        }
        None => {
            let side = model.image_size();
            let bytes: Vec<u8> = (0..side * side * 3).map(|i| (i * 31 % 251) as u8).collect();
            let pixels = [model.preprocess(&PixelView::rgb(side, side, &bytes)?)];
            time(5, || model.encode_images(&pixels))
        }
    }
}

/// So many runs for each line.
fn time(
    runs: usize,
    run: impl Fn() -> Result<Vec<Vec<f32>>, Error>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut output = std::io::stdout().lock();
    for _ in std::io::stdin().lock().lines() {
        for _ in 0..runs {
            let start = Instant::now();
            run()?;
            write!(output, "{:.3} ", start.elapsed().as_secs_f64() * 1e3)?;
        }
        writeln!(output)?;
        output.flush()?;
    }
    Ok(())
}

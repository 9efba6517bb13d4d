//! Times the text tower of a checkpoint on 128 labels. A line on standard input is how many of them
//! are given at a time, one on standard output how long all took, in milliseconds.
//! `tests/text_timing.py` holds it against ONNX Runtime.

use std::io::{BufRead, Write};
use std::time::Instant;

use omnizap_models::{Cache, Device, Model, Source};

/// What most labels are: one to three words, of one to five tokens.
const KINDS: [&str; 16] = [
    "cat",
    "dog",
    "car",
    "sunset",
    "pizza",
    "wedding",
    "mountain lake",
    "football match",
    "birthday cake",
    "chat screenshot",
    "bar chart",
    "anime illustration",
    "screwdriver",
    "chihuahua",
    "receipt",
    "x-ray",
];
/// Before them.
const MANNERS: [&str; 8] = [
    "",
    "a photo of a ",
    "old ",
    "funny ",
    "drawing of a ",
    "a photo of a small ",
    "red ",
    "toy ",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(preset), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: text_time PRESET CHECKPOINT".into());
    };
    let source = Source::resolve(Some(&preset), Some(&path))?;
    let model = Model::open(&source, &Cache::from_env(), Device::Cpu)?;
    let labels = MANNERS.iter().flat_map(|manner| {
        let kinds = KINDS.iter();
        kinds.map(move |kind| format!("{manner}{kind}"))
    });
    let labels: Vec<String> = labels.collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let at_a_time = line?.trim().parse::<usize>()?.max(1);
        let start = Instant::now();
        for labels in labels.chunks(at_a_time) {
            model.encode_labels(labels)?;
        }
        writeln!(output, "{:.1}", start.elapsed().as_secs_f64() * 1e3)?;
        output.flush()?;
    }
    Ok(())
}

//! What the classifier of unsafe pictures says: a picture a line on standard input, as
//! `WIDTH HEIGHT PATH` of raw RGB; its classes' probabilities a line, and at the end how long a
//! picture took. `tests/nsfw.py` holds it against the original.

use std::io::BufRead;
use std::time::{Duration, Instant};

use omnizap_models::{Device, NsfwNet, PixelView};

#[expect(clippy::print_stdout, reason = "the answer of the program")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    const USAGE: &str = "expected WIDTH HEIGHT PATH";
    let net = NsfwNet::embedded(Device::Cpu)?;
    let (mut preparing, mut computing) = (Vec::new(), Vec::new());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().ok_or(USAGE);
        let (width, height) = (word()?.parse()?, word()?.parse()?);
        let bytes = std::fs::read(word()?)?;
        let start = Instant::now();
        let pixels = NsfwNet::preprocess(&PixelView::rgb(width, height, &bytes)?);
        preparing.push(start.elapsed());
        let start = Instant::now();
        let classes = net.classify(&[pixels])?;
        computing.push(start.elapsed());
        println!("{:?}", classes[0].0);
    }
    eprintln!(
        "{:.2} ms to prepare and {:.2} ms to classify a picture, in the median",
        median(preparing),
        median(computing)
    );
    Ok(())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    middle.as_secs_f64() * 1e3
}

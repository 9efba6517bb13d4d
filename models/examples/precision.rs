//! How far the embedded model in bfloat16 is from itself in single precision: a picture a line on
//! standard input, as `WIDTH HEIGHT PATH` of raw RGB; the cosine of both embeddings a line with the
//! label that each is nearest to, and at the end a summary. The labels are the model's own, or the
//! lines of a file that is named.

use std::io::BufRead;

use omnizap_models::{Cache, Device, Model, PixelView, Precision, Source};

#[expect(clippy::print_stdout, reason = "the answer of the program")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    const USAGE: &str = "expected WIDTH HEIGHT PATH";
    let cache = Cache::from_env();
    let models = [Precision::F32, Precision::Bf16]
        .map(|precision| Model::open_in(&Source::Embedded, &cache, Device::Cpu, precision));
    let [single, half] = models;
    let models = [single?, half?];
    let labels = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(path)?
            .lines()
            .map(str::to_owned)
            .collect(),
        None => models[0].default_labels().unwrap_or_default().to_vec(),
    };
    let names: Vec<&str> = labels.iter().map(String::as_str).collect();
    let [single, half] = [0, 1].map(|i| models[i].encode_labels(&names));
    let texts = [single?, half?];
    let (single, half) = (&texts[0], &texts[1]);
    let of_texts = single.iter().zip(half).map(|(a, b)| dot(a, b));
    println!("least cosine of labels {:.6}", of_texts.fold(1.0, f64::min));

    let (mut cosines, mut same) = (Vec::new(), 0);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().ok_or(USAGE);
        let (width, height) = (word()?.parse()?, word()?.parse()?);
        let path = word()?;
        let bytes = std::fs::read(path)?;
        let view = PixelView::rgb(width, height, &bytes)?;
        let mut found = Vec::new();
        for (model, texts) in models.iter().zip(&texts) {
            let embedding = model
                .encode_images(&[model.preprocess(&view)])?
                .swap_remove(0);
            let near = |place: &usize| dot(&embedding, &texts[*place]);
            let best = (0..texts.len()).max_by(|a, b| near(a).total_cmp(&near(b)));
            found.push((embedding, names[best.unwrap_or_default()]));
        }
        let cosine = dot(&found[0].0, &found[1].0);
        println!("{cosine:.6} {} | {} | {path}", found[0].1, found[1].1);
        cosines.push(cosine);
        same += usize::from(found[0].1 == found[1].1);
    }
    let least = cosines.iter().copied().fold(1.0, f64::min);
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    println!(
        "{} pictures: least cosine {least:.6}, mean {mean:.6}; the same label for {same}",
        cosines.len()
    );
    Ok(())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

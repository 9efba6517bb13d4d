//! What it takes to compare a picture with the default labels, beside one sum after the other:
//!
//! ```sh
//! cargo bench --workspace --bench logits --profile dev
//! ```

use std::hint::black_box;
use std::time::Instant;

use omnizap_services::softmax::logits;

/// Numbers of a vector, and labels, as of the model inside the program.
const DIM: usize = 576;
const LABELS: usize = 155;
const ROUNDS: usize = 50;
const CALLS: u32 = 20;
const SCALE: f64 = 50.0;

fn one_sum(image: &[f32], texts: &[Vec<f32>]) -> Vec<f64> {
    let logit = |text: &Vec<f32>| {
        let pairs = image.iter().zip(text);
        let products = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b));
        SCALE * products.sum::<f64>()
    };
    texts.iter().map(logit).collect()
}

/// Microseconds of a call.
fn took(work: impl Fn() -> Vec<f64>) -> f64 {
    let begun = Instant::now();
    for _ in 0..CALLS {
        black_box(work());
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}

#[expect(clippy::print_stdout, reason = "what a bench is run for")]
fn main() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut vector = || (0..DIM).map(|_| random.f32() - 0.5).collect::<Vec<_>>();
    let image = vector();
    let texts: Vec<_> = (0..LABELS).map(|_| vector()).collect();
    let (mut ours, mut one) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let slices = || texts.iter().map(|text| &**text);
        ours = ours.min(took(|| logits(black_box(&image), slices(), SCALE)));
        one = one.min(took(|| one_sum(black_box(&image), &texts)));
    }
    println!("{LABELS} labels of {DIM} numbers: {ours:.1} us; one sum after the other {one:.1} us");
}

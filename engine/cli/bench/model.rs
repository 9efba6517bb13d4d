//! The towers of a model, and what prepares pictures for them.

use std::hint::black_box;

use omnizap_models::{Cache, Device, Model, PixelView, Precision, Source};

use super::Part;
use super::measured::{Measured, What};
use super::pictures::{HEIGHT, WIDTH};

/// How many pictures the image tower is given at once.
const PICTURES: [usize; 2] = [1, 8];
/// How many labels the text tower is given at once.
const LABELS: [usize; 2] = [1, 128];

/// Words that labels are made of.
const QUALITIES: [&str; 8] = [
    "red", "small", "old", "wooden", "happy", "wet", "tall", "round",
];
const THINGS: [&str; 16] = [
    "cat", "dog", "house", "bicycle", "tree", "boat", "guitar", "pizza", "chair", "flower",
    "clock", "bridge", "horse", "shoe", "book", "lamp",
];

/// Measures these parts of the model. Blocks.
///
/// # Errors
/// A model that cannot be opened.
pub(super) fn measure(
    measured: &Measured,
    source: &Source,
    (device, precision): (Device, Precision),
    parts: &[Part],
) -> anyhow::Result<()> {
    measured.tell(format!("opening {}", source.name()));
    let model = Model::open_in(source, &Cache::from_env(), device, precision)?;
    // What it shows costs nothing.
    let picture: Vec<u8> = (0..WIDTH * HEIGHT * 3)
        .map(|i| (i * 31 % 251) as u8)
        .collect();
    let view = PixelView::rgb(WIDTH, HEIGHT, &picture)?;
    if parts.contains(&Part::Tower) {
        let operations = 2.0 * model.config().image_multiply_adds() as f64;
        for count in PICTURES {
            let pixels = vec![model.preprocess(&view); count];
            let what = What {
                items: count,
                operations: Some(operations * count as f64),
                ..What::new(Part::Tower, counted(count, "picture"), "pictures")
            };
            measured.measure(what, || {
                black_box(model.encode_images(&pixels)?);
                Ok(())
            })?;
        }
    }
    if parts.contains(&Part::Text) {
        for count in LABELS {
            let labels = labels(count);
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let what = What {
                items: count,
                ..What::new(Part::Text, counted(count, "label"), "labels")
            };
            measured.measure(what, || {
                black_box(model.encode_labels(&labels)?);
                Ok(())
            })?;
        }
    }
    if parts.contains(&Part::Preprocess) {
        let what = What::new(Part::Preprocess, format!("{WIDTH}x{HEIGHT}"), "pictures");
        measured.measure(what, || {
            black_box(model.preprocess(&view));
            Ok(())
        })?;
    }
    Ok(())
}

/// So many labels, all of them different.
fn labels(count: usize) -> Vec<String> {
    let all = QUALITIES
        .iter()
        .flat_map(|quality| THINGS.iter().map(move |thing| format!("{quality} {thing}")));
    all.take(count).collect()
}

fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_labels_enough() {
        for count in LABELS {
            let mut labels = labels(count);
            labels.sort();
            labels.dedup();
            assert_eq!(labels.len(), count);
        }
    }
}

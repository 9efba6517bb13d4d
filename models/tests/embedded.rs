//! The embedded model against the embeddings that PyTorch gives it (`../training/golden.py`).

use omnizap_models::{Cache, Device, Model, PixelView, Source};
use serde::Deserialize;

use crate::expected::distance;

#[derive(Deserialize)]
struct Goldens {
    image_size: usize,
    logit_scale_exp: f32,
    images: Vec<Picture>,
    texts: Vec<Text>,
}

/// Channel c of pixel (x, y) is `a x + b y + c (d + x y / 7)`, modulo 256, in a picture of `w` x `h`.
#[derive(Deserialize)]
struct Picture {
    a: usize,
    b: usize,
    d: usize,
    w: usize,
    h: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    tokens: Vec<u32>,
    embedding: Vec<f32>,
}

#[test]
fn the_embedded_model_is_pytorchs() {
    check(Device::Cpu);
}

/// Both towers on a device.
pub(crate) fn check(device: Device) {
    let goldens: Goldens = serde_json::from_str(include_str!("../embedded/golden.json")).unwrap();
    let model = Model::open(&Source::Embedded, &Cache::at("unused"), device).unwrap();
    assert_eq!(model.id(), "omnizap-mini");
    assert_eq!(model.image_size(), goldens.image_size);
    assert!((model.logit_scale() - goldens.logit_scale_exp).abs() < 1e-3);
    let pixels: Vec<_> = goldens
        .images
        .iter()
        .map(|Picture { a, b, d, w, h, .. }| {
            let value = |x: usize, y: usize, c: usize| (a * x + b * y + c * (d + x * y / 7)) as u8;
            let bytes: Vec<u8> = (0..w * h)
                .flat_map(|i| (0..3).map(move |c| (i % w, i / w, c)))
                .map(|(x, y, c)| value(x, y, c))
                .collect();
            model.preprocess(&PixelView::rgb(*w, *h, &bytes).unwrap())
        })
        .collect();
    let expected: Vec<_> = goldens
        .images
        .into_iter()
        .map(|picture| picture.embedding)
        .collect();
    distance(&model.encode_images(&pixels).unwrap(), &expected).assert_equal("images");

    let texts: Vec<&str> = goldens
        .texts
        .iter()
        .map(|text| text.text.as_str())
        .collect();
    for text in &goldens.texts {
        // The golden leaves the padding out.
        let tokens = model.tokenize(&text.text);
        assert_eq!(
            tokens.ids()[..text.tokens.len()],
            text.tokens,
            "{:?}",
            text.text
        );
    }
    let expected: Vec<_> = goldens
        .texts
        .iter()
        .map(|text| text.embedding.clone())
        .collect();
    distance(&model.encode_texts(&texts).unwrap(), &expected).assert_equal("texts");
}

#[test]
fn a_label_is_the_mean_of_its_sentences() {
    let model = Model::open(&Source::Embedded, &Cache::at("unused"), Device::Cpu).unwrap();
    let labels = model.encode_labels(&["cat", "bar chart"]).unwrap();
    for (label, embedding) in ["cat", "bar chart"].iter().zip(&labels) {
        let sentences: Vec<String> = model
            .templates()
            .iter()
            .map(|template| template.replace("{}", label))
            .collect();
        let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
        let each = model.encode_texts(&sentences).unwrap();
        let sum: Vec<f32> = (0..model.dim())
            .map(|i| each.iter().map(|row| row[i]).sum())
            .collect();
        let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        let mean: Vec<f32> = sum.iter().map(|value| value / length).collect();
        distance(std::slice::from_ref(embedding), &[mean]).assert_equal(label);
    }
}

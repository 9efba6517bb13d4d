//! Both towers of every family against PyTorch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use omnizap_models::config::{ModelConfig, TextTokenizer};
use omnizap_models::{Cache, Device, Model, Source, presets};

use crate::expected::{Expected, fixtures};

/// A shrunk model, its checkpoint copied into a folder of its own.
pub(crate) fn fixture(name: &str, ending: &str, folder: &Path) -> (Source, Cache, Expected) {
    let fixtures = fixtures();
    let json = std::fs::read_to_string(fixtures.join(format!("{name}.json"))).unwrap();
    let config = Arc::new(ModelConfig::from_json(&json).unwrap());
    let path: PathBuf = folder.join(format!("{name}.{ending}"));
    std::fs::copy(fixtures.join(format!("{name}.{ending}")), &path).unwrap();
    if config.text.tokenizer == TextTokenizer::File {
        let tokenizer = "tokenizer.json";
        std::fs::copy(
            fixtures.join("siglip").join(tokenizer),
            folder.join(tokenizer),
        )
        .unwrap();
    }
    let expected = Expected::read(&fixtures.join(format!("{name}.expected.safetensors")));
    (
        Source::Custom { config, path },
        Cache::at(folder.join("cache")),
        expected,
    )
}

fn check(name: &str, ending: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, expected) = fixture(name, ending, folder.path());
    // From the checkpoint, then from the record that was kept of it.
    for start in ["import", "record"] {
        let model = Model::open(&source, &cache, Device::Cpu).unwrap();
        let (images, texts) = expected.compare(&model);
        images.assert_equal(&format!("{name}, images, {start}"));
        texts.assert_equal(&format!("{name}, texts, {start}"));
    }
    let records = std::fs::read_dir(folder.path()).unwrap().flatten();
    let record = records.filter(|entry| {
        entry
            .path()
            .extension()
            .is_some_and(|ending| ending == "bpk")
    });
    assert_eq!(
        record.count(),
        1,
        "the second start should have been from a record"
    );
}

#[test]
fn fastvit_with_four_stages_from_safetensors() {
    check("fastvit-four-stages", "safetensors");
}

#[test]
fn fastvit_with_five_stages_from_pytorch() {
    check("fastvit-five-stages", "pt");
}

#[test]
fn hybrid_vit_with_a_causal_text_tower() {
    check("vit-hybrid-causal", "safetensors");
}

#[test]
fn hybrid_vit_under_apples_names() {
    check("vit-hybrid-apple", "pt");
}

#[test]
fn plain_vit_from_pytorch() {
    check("vit-plain", "bin");
}

#[test]
fn plain_vit_under_open_clips_own_names() {
    check("vit-openclip", "safetensors");
}

#[test]
fn plain_vit_with_quick_gelu_from_pytorch() {
    check("vit-openclip-quick", "bin");
}

#[test]
fn plain_vit_under_transformers_names() {
    check("vit-transformers", "safetensors");
}

#[test]
fn attention_pooling_and_a_tokenizer_of_its_own() {
    check("siglip", "safetensors");
    check("siglip-tanh", "bin");
}

#[test]
fn a_bias_is_told_and_the_scale_beside_it_is_not_clamped() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture("siglip", "safetensors", folder.path());
    let model = Model::open(&source, &cache, Device::Cpu).unwrap();
    assert_eq!(model.logit_bias(), Some(-12.5));
    assert!((model.logit_scale() - 4.75f32.exp()).abs() < 1e-3);
    let (source, cache, _) = fixture("vit-openclip", "safetensors", folder.path());
    let model = Model::open(&source, &cache, Device::Cpu).unwrap();
    assert_eq!(model.logit_bias(), None);
}

#[test]
fn fastvit_and_convolutional_text_tower_under_apples_names() {
    check("fastvit-apple", "pt");
}

#[test]
fn a_batch_is_what_its_members_are() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, expected) = fixture("vit-hybrid-causal", "safetensors", folder.path());
    let model = Model::open(&source, &cache, Device::Cpu).unwrap();
    let texts: Vec<&str> = expected
        .texts
        .iter()
        .map(String::as_str)
        .cycle()
        .take(150)
        .collect();
    let together = model.encode_texts(&texts).unwrap();
    for (text, embedding) in texts.iter().zip(&together).take(6) {
        let alone = &model.encode_texts(&[text]).unwrap()[0];
        let difference = alone
            .iter()
            .zip(embedding)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(difference < 1e-5, "{text:?}: {difference}");
    }
    assert!(model.encode_images(&[]).unwrap().is_empty());
    assert!(model.encode_texts(&[]).unwrap().is_empty());
}

#[test]
fn texts_that_begin_alike_are_what_they_are_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture("vit-hybrid-causal", "safetensors", folder.path());
    let model = Model::open(&source, &cache, Device::Cpu).unwrap();
    let mut texts: Vec<String> = [
        "a photo of a dog",
        "",
        "a photo of a cat on a mat",
        "a photo",
        "a photo of a cat",
        "a photo of a dog",
    ]
    .map(str::to_owned)
    .to_vec();
    // More than are computed at once.
    texts.extend((0..900).map(|number| format!("a photo of a room {number}")));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let together = model.encode_texts(&texts).unwrap();
    assert_eq!(together[0], together[5]);
    assert_ne!(together[3], together[4]);
    for number in (0..6).chain((6..texts.len()).step_by(50)) {
        let alone = &model.encode_texts(&[texts[number]]).unwrap()[0];
        let pairs = alone.iter().zip(&together[number]);
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{:?}: {difference}", texts[number]);
    }
}

/// Every published model at full size: `reference.py presets FOLDER`, then
/// `OMNIZAP_REFERENCE=FOLDER cargo test --release -p omnizap-models -- --ignored --nocapture full_size`.
#[test]
#[ignore = "needs checkpoints of 25 GB that reference.py makes"]
fn full_size() {
    let folder = PathBuf::from(
        std::env::var_os("OMNIZAP_REFERENCE").expect("OMNIZAP_REFERENCE names a folder"),
    );
    println!(
        "| preset | file | images: cosine, largest difference | texts: cosine, largest difference | import | second start |"
    );
    println!("|---|---|---|---|---|---|");
    let mut seen = 0;
    for preset in presets() {
        let expected = folder.join(format!("{}.expected.safetensors", preset.name));
        if !expected.is_file() {
            continue;
        }
        let expected = Expected::read(&expected);
        for ending in ["safetensors", "pt"] {
            let path = folder.join(format!("{}.{ending}", preset.name));
            let record = folder.join(format!("{0}.{ending}.{0}.bpk", preset.name));
            let _ = std::fs::remove_file(&record);
            let source = Source::Path { preset, path };
            let cache = Cache::at(folder.join("cache"));
            let start = Instant::now();
            let model = Model::open(&source, &cache, Device::Cpu).unwrap();
            let import = start.elapsed();
            let (images, texts) = expected.compare(&model);
            drop(model);
            let start = Instant::now();
            Model::open(&source, &cache, Device::Cpu).unwrap();
            let second = start.elapsed();
            println!(
                "| {} | .{ending} | {:.8}, {:.1e} | {:.8}, {:.1e} | {:.2} s | {:.0} ms |",
                preset.name,
                images.cosine,
                images.difference,
                texts.cosine,
                texts.difference,
                import.as_secs_f64(),
                second.as_secs_f64() * 1e3
            );
            images.assert_equal(preset.name);
            texts.assert_equal(preset.name);
            let _ = std::fs::remove_file(&record);
            seen += 1;
        }
    }
    assert!(seen > 0, "no checkpoints in {}", folder.display());
}

//! Models on a GPU, by the same goldens as on the processor. Without a GPU, Mesa's lavapipe stands in for
//! one (Debian: mesa-vulkan-drivers).

use omnizap_models::{Cache, Device, Error, Model, PixelView, Precision, Source, verify};

use crate::expected::distance;
use crate::towers::fixture;

/// Shrunk models, one of each family and of each way to pool.
const FAMILIES: [(&str, &str); 11] = [
    ("fastvit-four-stages", "safetensors"),
    ("fastvit-five-stages", "pt"),
    ("fastvit-apple", "pt"),
    ("vit-hybrid-causal", "safetensors"),
    ("vit-hybrid-apple", "pt"),
    ("vit-plain", "bin"),
    ("vit-openclip", "safetensors"),
    ("vit-openclip-quick", "bin"),
    ("vit-transformers", "safetensors"),
    ("siglip", "safetensors"),
    ("siglip-tanh", "bin"),
];

/// Whether there is a device; says so where there is none.
fn is_there() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, _) = fixture("vit-openclip", "safetensors", folder.path());
    match Model::open(&source, &cache, Device::Wgpu) {
        Ok(model) => {
            assert_eq!(model.device(), Device::Wgpu);
            true
        }
        Err(error @ Error::NoDevice { .. }) => {
            eprintln!("skipped: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_family_is_pytorchs() {
    if !is_there() {
        return;
    }
    for (name, ending) in FAMILIES {
        let folder = tempfile::tempdir().unwrap();
        let (source, cache, expected) = fixture(name, ending, folder.path());
        let model = Model::open(&source, &cache, Device::Wgpu).unwrap();
        let (images, texts) = expected.compare(&model);
        eprintln!("{name}: images {images:?}, texts {texts:?}");
        images.assert_equal(&format!("{name}, images"));
        texts.assert_equal(&format!("{name}, texts"));
        // Their vectors may be taken for each other's.
        let on_the_processor = Model::open(&source, &cache, Device::Cpu).unwrap();
        assert_eq!(model.fingerprint(), on_the_processor.fingerprint());
    }
}

#[cfg(all(embedded_model, embedded_goldens))]
#[test]
fn the_embedded_model_is_pytorchs() {
    if is_there() {
        crate::embedded::check(Device::Wgpu);
    }
}

#[test]
fn the_classes_of_unsafe_pictures_are_the_originals() {
    if is_there() {
        crate::nsfw::check(Device::Wgpu);
    }
}

#[test]
fn a_whole_model_passes_its_checks() {
    if !is_there() {
        return;
    }
    for name in ["fastvit-four-stages", "vit-hybrid-causal"] {
        let folder = tempfile::tempdir().unwrap();
        let (source, cache, _) = fixture(name, "safetensors", folder.path());
        let report = verify::verify(&source, &cache, Device::Wgpu).unwrap();
        assert!(report.passed(), "{report:#?}");
        let with_the_processor = report.checks.iter().filter(|check| {
            check.what == "the device against the processor" && check.cosine.is_some()
        });
        assert_eq!(with_the_processor.count(), 1);
    }
}

#[test]
fn pictures_of_several_runs_and_threads_are_what_they_are_alone() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, cache, expected) = fixture("vit-hybrid-causal", "safetensors", folder.path());
    let model = Model::open(&source, &cache, Device::Wgpu).unwrap();
    // More than are computed at once.
    let pixels: Vec<_> = (0..18)
        .map(|picture| {
            let mut bytes = expected.images[picture % expected.images.len()].clone();
            bytes.rotate_left(3 * picture);
            model.preprocess(&PixelView::rgb(expected.side, expected.side, &bytes).unwrap())
        })
        .collect();
    let together = model.encode_images(&pixels).unwrap();
    assert_eq!(together.len(), pixels.len());
    // Each from a thread of its own, all at the same time.
    std::thread::scope(|scope| {
        for (pixels, together) in pixels.iter().zip(&together).step_by(5) {
            let model = &model;
            scope.spawn(move || {
                let alone = model.encode_images(std::slice::from_ref(pixels)).unwrap();
                distance(&alone, std::slice::from_ref(together)).assert_equal("alone");
            });
        }
    });
    assert!(model.encode_images(&[]).unwrap().is_empty());
}

#[test]
fn bfloat16_is_refused_before_anything_is_opened() {
    let cache = Cache::at("unused");
    let opened = Model::open_in(&Source::Embedded, &cache, Device::Wgpu, Precision::Bf16);
    let Err(error) = opened else {
        panic!("bfloat16 is of the processor alone");
    };
    let error = error.to_string();
    assert!(error.contains("does not compute in bf16"), "{error}");
}

//! Models in bfloat16 against what PyTorch gives in single precision.

use omnizap_models::{Device, Model, Precision};

use crate::expected::Distance;
use crate::towers::fixture;

/// What is asked of every tower in bfloat16.
fn is_near(distance: Distance) -> bool {
    distance.cosine >= 0.999
}

#[test]
fn every_family_is_near_itself_in_single_precision() {
    for (name, ending) in [
        ("fastvit-four-stages", "safetensors"),
        ("fastvit-five-stages", "pt"),
        ("fastvit-apple", "pt"),
        ("vit-hybrid-causal", "safetensors"),
        ("vit-plain", "bin"),
        ("vit-openclip", "safetensors"),
        ("siglip", "safetensors"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (source, cache, expected) = fixture(name, ending, folder.path());
        let [single, half] = Precision::ALL
            .map(|precision| Model::open_in(&source, &cache, Device::Cpu, precision).unwrap());
        assert_eq!(half.precision(), Precision::Bf16);
        // Their vectors must not be taken for each other's.
        assert_ne!(single.fingerprint(), half.fingerprint());
        assert!(single.has_native_precision());
        let (images, texts) = expected.compare(&half);
        assert!(is_near(images), "{name}, images: {images:?}");
        assert!(is_near(texts), "{name}, texts: {texts:?}");
        // Or nothing was rounded.
        let (images_of_single, texts_of_single) = expected.compare(&single);
        assert!(images.difference > 10.0 * images_of_single.difference);
        assert!(texts.difference > 10.0 * texts_of_single.difference);
    }
}

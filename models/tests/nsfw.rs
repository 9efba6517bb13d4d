//! The classifier of unsafe pictures against the original (`nsfw.py`).

use omnizap_models::{Device, NSFW_CLASSES, NsfwNet, PixelView};
use safetensors::SafeTensors;

use crate::expected::fixtures;

#[test]
fn the_classes_are_the_originals() {
    check(Device::Cpu);
}

/// The classifier on a device.
pub(crate) fn check(device: Device) {
    let bytes = std::fs::read(fixtures().join("nsfw.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let expected = tensors.tensor("classes").unwrap();
    let expected: Vec<f32> = expected
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let expected = expected.as_chunks::<{ NSFW_CLASSES.len() }>().0;
    let net = NsfwNet::embedded(device).unwrap();
    let pixels: Vec<_> = (0..expected.len())
        .map(|i| {
            let image = tensors.tensor(&format!("image.{i}")).unwrap();
            let [height, width, _] = *image.shape() else {
                panic!("image.{i} is {:?}", image.shape());
            };
            NsfwNet::preprocess(&PixelView::rgb(width, height, image.data()).unwrap())
        })
        .collect();
    let together = net.classify(&pixels).unwrap();
    assert_eq!(together.len(), expected.len());
    for (i, (found, expected)) in together.iter().zip(expected).enumerate() {
        let alone = &net.classify(&pixels[i..=i]).unwrap()[0];
        for (what, found) in [("together", found), ("alone", alone)] {
            let apart = found.0.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0.0, f32::max);
            assert!(apart < 1e-4, "image {i} {what}: {found:?}, {expected:?}");
        }
        let unsafe_share = f64::from(expected[1]) + f64::from(expected[3]);
        assert!((found.score() - unsafe_share).abs() < 2e-4, "image {i}");
    }
    assert!(net.classify(&[]).unwrap().is_empty());
}

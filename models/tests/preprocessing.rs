//! Image preprocessing against Pillow and torchvision, to the last bit.

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_models::config::{ImageConfig, Interpolation, Resize};
use omnizap_models::{Layout, PixelView, preprocess};

use crate::expected::fixtures;

/// The picture that `preprocessing.py` computes.
fn picture(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(width * height * channels);
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                let sum = x * (3 + c) + y * (5 + 2 * c) + x * y / (7 + c);
                bytes.push((sum ^ (x * y * 13 / 11)) as u8);
            }
        }
    }
    bytes
}

#[test]
fn pictures_of_all_shapes_and_layouts_are_pillows() {
    let goldens = std::fs::read_to_string(fixtures().join("preprocessing.json")).unwrap();
    let goldens: Vec<(usize, usize, String, usize, String, Resize, String)> =
        serde_json::from_str(&goldens).unwrap();
    assert!(goldens.len() >= 100);
    let mut wrong = Vec::new();
    for (width, height, layout, size, interpolation, resize, golden) in goldens {
        let layout = match layout.as_str() {
            "Gray" => Layout::Gray,
            "GrayAlpha" => Layout::GrayAlpha,
            "Rgb" => Layout::Rgb,
            "Rgba" => Layout::Rgba,
            other => panic!("unknown layout {other}"),
        };
        let interpolation = match interpolation.as_str() {
            "bilinear" => Interpolation::Bilinear,
            "bicubic" => Interpolation::Bicubic,
            other => panic!("unknown filter {other}"),
        };
        let bytes = picture(width, height, layout.channels());
        let view = PixelView::new(width, height, layout, &bytes).unwrap();
        let config = ImageConfig {
            size,
            mean: [0.0; 3],
            std: [1.0; 3],
            interpolation,
            resize,
        };
        let hash = Sha256Hex::of(preprocess(&config, &view).rgb());
        if hash[..16] != golden {
            wrong.push(format!(
                "{width}x{height} {layout:?} to {size} {interpolation:?} {resize:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_view_is_checked() {
    assert!(PixelView::rgb(2, 2, &[0; 12]).is_ok());
    for (width, height, length) in [
        (2, 2, 11),
        (2, 2, 13),
        (0, 2, 0),
        (2, 0, 0),
        (usize::MAX, 2, 6),
        (1 << 21, 1, 3),
    ] {
        let error = PixelView::rgb(width, height, &vec![0; length])
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("bad image"), "{error}");
    }
}

//! Pictures of every kind against what Pillow makes of them: `tests/fixtures/make_images.py`.

use std::path::PathBuf;

use omnizap_contract::common::digest::Sha256Hex;
use omnizap_contract::{Error, ErrorKind};
use serde_json::{Value as Json, json};

use super::animation::Animation;
use super::{Alpha, Decoder, Limits, Picture};

mod odd;

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/images")
}

pub(crate) fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// As the pipelines that are shipped.
pub(crate) fn default() -> Decoder {
    Decoder::DEFAULT
}

/// With the choices of the Python service.
pub(crate) fn compat() -> Decoder {
    Decoder::AS_PILLOW
}

pub(crate) fn decode(decoder: &Decoder, bytes: Vec<u8>) -> Result<Picture, Error> {
    decoder.decode(&bytes)
}

/// Compares a picture with a golden: the same size, the same pixels.
fn check(name: &str, image: &Picture, golden: &Json) -> Result<(), String> {
    let size = json!([image.width, image.height]);
    if size != golden["size"] {
        return Err(format!(
            "{name}: size {size}, Pillow has {}",
            golden["size"]
        ));
    }
    if golden["sha256"] != *Sha256Hex::of(&image.pixels).as_str() {
        return Err(format!("{name}: other pixels than Pillow's"));
    }
    Ok(())
}

/// Compares the frames of what moves with those of Pillow; how many files were compared.
pub(crate) fn check_frames<'a>(
    suffix: &str,
    animation: impl Fn(&'a [u8], Limits) -> Result<Option<Box<dyn Animation + 'a>>, Error>,
) -> usize {
    let text = std::fs::read_to_string(folder().join("frames.json")).unwrap();
    let all: serde_json::Map<String, Json> = serde_json::from_str(&text).unwrap();
    let all = all.iter().filter(|(name, _)| name.ends_with(suffix));
    let mut looked_at = 0;
    for (name, golden) in all {
        let file = file(&format!("odd/{name}")).leak();
        let mut frames = animation(file, default().limits).unwrap().unwrap();
        let durations = golden["durations"].as_array().unwrap();
        assert_eq!(
            json!(frames.durations()[..durations.len()]),
            json!(durations),
            "{name}"
        );
        assert_eq!(frames.durations().len(), golden["count"], "{name}");
        for (number, digest) in golden["sha256"].as_array().unwrap().iter().enumerate() {
            let frame = frames.next().unwrap().unwrap();
            let ours = Sha256Hex::of(frame.as_raw());
            assert_eq!(*digest, *ours.as_str(), "{name}, frame {number}");
        }
        looked_at += 1;
    }
    looked_at
}

fn goldens() -> serde_json::Map<String, Json> {
    let text = std::fs::read_to_string(folder().join("goldens.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_picture_has_the_pixels_that_pillow_gives() {
    let stage = compat();
    let goldens = goldens();
    assert!(goldens.len() > 50, "the goldens are there");
    let faults: Vec<String> = goldens
        .iter()
        .filter_map(|(name, golden)| match decode(&stage, file(name)) {
            Ok(image) => check(name, &image, &golden["rgb"]).err(),
            Err(error) => Some(format!("{name}: {error} ({:?})", error)),
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn by_default_pictures_are_turned_upright() {
    let stage = default();
    let mut turned = 0;
    for (name, golden) in goldens()
        .iter()
        .filter(|(_, golden)| !golden["upright"].is_null())
    {
        let image = decode(&stage, file(name)).unwrap();
        check(name, &image, &golden["upright"]).unwrap();
        turned += 1;
    }
    assert_eq!(turned, 11);
}

#[test]
fn by_default_transparent_pixels_show_the_background() {
    let stage = default();
    assert!(matches!(
        stage.alpha,
        Alpha::Compose {
            background: [0x80, 0x80, 0x80]
        }
    ));
    // The corner of these pictures is fully transparent, the middle is opaque.
    for name in [
        "rgba.png",
        "rgba_16.png",
        "gray_alpha.png",
        "lossy_alpha.webp",
        "lossless_alpha.webp",
    ] {
        let composed = decode(&stage, file(name)).unwrap();
        let dropped = decode(&compat(), file(name)).unwrap();
        assert_eq!(composed.pixels[..3], [0x80; 3], "{name}");
        assert_ne!(dropped.pixels[..3], [0x80; 3], "{name}");
        let middle = 3 * (30 * 97 + 48);
        assert_eq!(
            composed.pixels[middle..middle + 3],
            dropped.pixels[middle..middle + 3],
            "{name}"
        );
    }
    // What the first frame of a GIF leaves open is transparent too.
    let canvas = decode(&stage, file("offset_frame.gif")).unwrap();
    assert_eq!((canvas.width, canvas.height), (20, 10));
    assert_eq!(canvas.pixels[..3], [0x80; 3]);
}

#[test]
fn what_cannot_be_decoded_is_refused_with_the_reason() {
    use ErrorKind::{Invalid, TooLarge, UnsupportedType};
    let expected = [
        ("empty.png", Invalid, "empty_file"),
        ("text.png", Invalid, "not_an_image"),
        ("noise.jpg", Invalid, "not_an_image"),
        ("drawing.svg", UnsupportedType, "unsupported_format"),
        ("picture.avif", UnsupportedType, "unsupported_format"),
        ("picture.heic", UnsupportedType, "unsupported_format"),
        ("bomb.png", TooLarge, "image_too_large"),
        ("bomb.jpg", TooLarge, "image_too_large"),
        ("bomb.gif", TooLarge, "image_too_large"),
        ("bomb.bmp", TooLarge, "image_too_large"),
        ("magic_only.png", Invalid, "truncated_image"),
        ("magic_only.jpg", Invalid, "truncated_image"),
        ("truncated.jpg", Invalid, "truncated_image"),
        ("truncated_end.jpg", Invalid, "truncated_image"),
        ("truncated_progressive.jpg", Invalid, "truncated_image"),
        ("truncated.png", Invalid, "truncated_image"),
        ("truncated.webp", Invalid, "truncated_image"),
        ("truncated.gif", Invalid, "truncated_image"),
        ("truncated.bmp", Invalid, "truncated_image"),
        ("truncated.tiff", Invalid, "truncated_image"),
    ];
    let mut faults = Vec::new();
    for (name, kind, code) in expected {
        match decode(&default(), file(name)) {
            Ok(image) => faults.push(format!("{name} decodes to {image:?}")),
            Err(error) if (error.kind(), error.code()) == (kind, code) => {}
            Err(error) => faults.push(format!("{name}: {} {error:?}", error.code())),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_prefix_of_a_picture_is_decoded_or_refused_without_a_panic() {
    for name in [
        "baseline_420.jpg",
        "palette.png",
        "lossy_alpha.webp",
        "animated.gif",
        "lzw.tiff",
        "palette.bmp",
    ] {
        let whole = file(name);
        for length in (0..whole.len()).step_by(whole.len().div_ceil(60)) {
            let prefix = whole[..length].to_vec();
            if let Err(error) = decode(&default(), prefix) {
                assert_eq!(
                    error.kind().status() / 100,
                    4,
                    "{name} cut at {length}: {error:?}"
                );
            }
        }
    }
}

#[test]
fn every_damaged_byte_is_decoded_or_refused_without_a_panic() {
    for name in [
        "pixel.jpg",
        "bits_1.png",
        "pixel.webp",
        "offset_frame.gif",
        "bits_1.tiff",
        "pixel.gif",
    ] {
        let whole = file(name);
        for at in (0..whole.len()).step_by(whole.len().div_ceil(300)) {
            for flip in [0xFF, 0x80, 0x01] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                if let Err(error) = decode(&default(), damaged) {
                    assert_eq!(error.kind().status() / 100, 4, "{name} at {at}: {error:?}");
                }
            }
        }
    }
}

#[test]
fn limits_are_checked_before_decoding_and_named() {
    let within = |name, value| {
        let mut decoder = default();
        match name {
            "max_pixels" => decoder.limits.max_pixels = value,
            _ => decoder.limits.max_side = value,
        }
        decoder
    };
    for (name, value) in [("max_pixels", 97 * 61 - 1), ("max_side", 96)] {
        let error = decode(&within(name, value), file("rgb.png")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.message().contains(name), "{error}");
        assert!(decode(&within(name, value + 1), file("rgb.png")).is_ok());
    }
}

/// What decoding really takes cannot be seen from outside; that what is kept fits can.
#[test]
fn what_a_header_asks_for_holds_the_pixels() {
    let stage = default();
    let mut looked_at = 0;
    for name in goldens().keys() {
        let file = file(name);
        let room = stage.room(&file).unwrap();
        let image = decode(&stage, file).unwrap();
        let pixels = image.pixels.len() as u64;
        assert!(room >= pixels, "{name}: {room} bytes for {pixels}");
        // The samples of a tiny picture fill its blocks.
        let at_most = 20 * pixels + 1024;
        assert!(room <= at_most, "{name}: {room} bytes for {pixels}");
        looked_at += 1;
    }
    assert!(looked_at > 50);
}

/// A budget of its own: other tests decode at the same time.
#[test]
fn extreme_shapes_decode_at_once() {
    for (name, size) in [("wide.png", (60000, 2)), ("tall.png", (2, 60000))] {
        let start = std::time::Instant::now();
        let image = decode(&default(), file(name)).unwrap();
        assert_eq!((image.width, image.height), size);
        assert!(
            start.elapsed().as_millis() < 1000,
            "{name} took {:?}",
            start.elapsed()
        );
    }
}

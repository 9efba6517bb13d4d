//! Frames against those of Pillow, and broken ones.

use omnizap_contract::common::digest::Sha256Hex;

use super::*;
use crate::tests::file;

const LIMITS: Limits = Limits::DEFAULT;

/// The digest of each canvas, and how long it is shown.
fn seen(file: &[u8]) -> Vec<(String, u32)> {
    let Some(mut frames) = animation(file, LIMITS).unwrap() else {
        return Vec::new();
    };
    let mut seen = Vec::new();
    while let Some(canvas) = frames.next().unwrap() {
        seen.push(Sha256Hex::of(canvas.as_raw()).as_str().to_owned());
    }
    let durations = frames.durations().iter().copied();
    seen.into_iter().zip(durations).collect()
}

/// `python -m odd.png` in `tests/fixtures`.
#[test]
fn frames_are_the_canvases_that_pillow_seeks() {
    let table: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&file("frames_png.json")).unwrap();
    assert!(!table.is_empty());
    for (name, frames) in table {
        let expected: Vec<(String, u32)> = serde_json::from_value(frames).unwrap();
        assert!(expected.len() > 2);
        assert_eq!(seen(&file(&format!("odd/{name}"))), expected, "{name}");
    }
}

#[test]
fn what_is_no_animation_has_no_frames() {
    for name in [
        "rgb.png",
        "odd/png_apng_dispose_9.png",
        "odd/png_apng_sequence.png",
        "odd/png_apng_frame_outside.png",
        "odd/png_apng_frame_smaller.png",
        "odd/png_apng_fdat_before_idat.png",
        "odd/png_apng_fdat_short.png",
        "odd/png_apng_fctl_short.png",
        "odd/png_apng_control_twice.png",
    ] {
        assert!(animation(&file(name), LIMITS).unwrap().is_none(), "{name}");
    }
}

#[test]
fn a_broken_frame_does_not_spoil_those_before_it() {
    let whole = file("odd/png_apng_operations.png");
    let frames = seen(&whole);
    for length in (0..whole.len()).step_by(37) {
        let Ok(Some(mut cut)) = animation(&whole[..length], LIMITS) else {
            continue;
        };
        let mut shown = 0;
        while let Ok(Some(canvas)) = cut.next() {
            assert_eq!(Sha256Hex::of(canvas.as_raw()).as_str(), frames[shown].0);
            shown += 1;
        }
        assert!(
            matches!(cut.next(), Ok(None)),
            "nothing comes behind an error"
        );
        assert!(shown <= cut.durations().len());
    }
}

#[test]
fn every_damaged_byte_leaves_frames_or_an_error() {
    let whole = file("odd/png_apng_first_previous.png");
    for at in 0..whole.len() {
        for flip in [0xFF, 0x80, 0x01] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            let Ok(Some(mut frames)) = animation(&damaged, LIMITS) else {
                continue;
            };
            while let Ok(Some(canvas)) = frames.next() {
                assert_eq!(canvas.dimensions(), (20, 12));
            }
        }
    }
}

/// The examples are those of the specification's formula, by hand.
#[test]
fn a_pixel_is_laid_over_another_by_their_alphas() {
    for (back, front, expected) in [
        ([10, 20, 30, 255], [1, 2, 3, 255], [1, 2, 3, 255]),
        ([10, 20, 30, 40], [1, 2, 3, 0], [10, 20, 30, 40]),
        ([10, 20, 30, 0], [1, 2, 3, 77], [1, 2, 3, 77]),
        ([10, 20, 30, 0], [1, 2, 3, 0], [10, 20, 30, 0]),
        ([0, 100, 200, 255], [255, 100, 0, 51], [51, 100, 160, 255]),
        ([0, 100, 200, 128], [200, 100, 0, 128], [133, 100, 66, 191]),
    ] {
        let mut pixel = back;
        lay(&mut pixel, front);
        assert_eq!(pixel, expected, "{front:?} over {back:?}");
    }
}

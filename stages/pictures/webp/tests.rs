use super::*;
use crate::tests::{check_frames, compat, decode as read, default, file};

#[test]
fn frames_are_those_of_libwebp() {
    assert!(check_frames(".webp", animation) > 5);
}

#[test]
fn one_frame_is_no_animation() {
    let limits = default().limits;
    for name in ["odd/webp_first_part_lossy.webp", "odd/webp_alpha.webp"] {
        assert!(animation(&file(name), limits).unwrap().is_none(), "{name}");
    }
    assert!(animation(&file("odd/webp_no_frame.webp"), limits).is_err());
}

#[test]
fn a_broken_frame_ends_what_moves() {
    let file = file("odd/webp_moving_later_broken.webp");
    let mut frames = animation(&file, default().limits).unwrap().unwrap();
    assert!(frames.next().unwrap().is_some());
    assert!(frames.next().unwrap().is_some());
    assert!(frames.next().is_err());
    assert!(frames.next().unwrap().is_none());
}

#[test]
fn what_is_damaged_is_decoded_or_refused() {
    for name in [
        "odd/webp_moving_ways_lossy.webp",
        "odd/webp_alpha.webp",
        "odd/webp_lossless_alpha_bare.webp",
    ] {
        let whole = file(name);
        for at in (0..whole.len()).step_by(whole.len().div_ceil(400)) {
            for flip in [0xff, 0x80, 0x01] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                if let Err(error) = read(&compat(), damaged.clone()) {
                    assert_eq!(error.kind().status() / 100, 4, "{name} at {at}: {error:?}");
                }
                let Ok(Some(mut frames)) = animation(&damaged, default().limits) else {
                    continue;
                };
                while let Ok(Some(_)) = frames.next() {}
            }
        }
    }
}

#[test]
fn sides_are_held_to_the_limits_before_pixels_are_decoded() {
    let limits = default().limits;
    for name in ["odd/webp_bomb.webp", "odd/webp_moving_ways_lossy.webp"] {
        let limits = Limits {
            max_pixels: 40 * 30 - 1,
            ..limits
        };
        let error = animation(&file(name), limits).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "image_too_large", "{name}");
        let error = room(&file(name), limits).unwrap_err();
        assert_eq!(error.code(), "image_too_large", "{name}");
    }
    let limits = Limits {
        max_alloc_bytes: 4 * 40 * 30,
        ..limits
    };
    let error = room(&file("odd/webp_lossless_alpha_bare.webp"), limits).unwrap_err();
    assert!(error.message().contains("max_alloc_bytes"), "{error}");
}

#[test]
fn a_place_that_is_too_small_is_not_decoded_into() {
    let file = file("odd/webp_odd_sides_lossless.webp");
    let container = Container::read(&file).unwrap();
    let data = container.frames[0].data;
    let mut place = vec![0; 4 * 37 * 29];
    let layout = Layout::Rgba;
    let fits = |out: &mut [u8], stride, size| libwebp::decode(data, out, layout, stride, size);
    assert_eq!(fits(&mut place, 4 * 37, (37, 29)), Ok(()));
    let short = place.len() - 1;
    let broken = Err(libwebp::Fault::Broken);
    assert_eq!(fits(&mut place[..short], 4 * 37, (37, 29)), broken);
    assert_eq!(fits(&mut place, 4 * 36, (37, 29)), broken);
    assert_eq!(fits(&mut place, 4 * 36, (36, 29)), broken);
    assert_eq!(fits(&mut place, 4 * 37, (37, 28)), broken);
    assert_eq!(fits(&mut [], 0, (0, 0)), broken);
}

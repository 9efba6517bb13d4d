use super::*;
use crate::tests::{check_frames, default, file};

#[test]
fn frames_are_those_of_pillow() {
    assert!(check_frames(".gif", animation) > 7);
}

#[test]
fn one_frame_is_no_animation() {
    let limits = default().limits;
    for name in ["odd/gif_local_table.gif", "odd/gif_extension_behind.gif"] {
        assert!(animation(&file(name), limits).unwrap().is_none(), "{name}");
    }
    assert!(animation(&file("odd/gif_no_frame.gif"), limits).is_err());
}

#[test]
fn a_broken_frame_ends_what_moves() {
    for name in [
        "odd/gif_moving_later_broken.gif",
        "odd/gif_moving_later_cut.gif",
    ] {
        let file = file(name);
        let mut frames = animation(&file, default().limits).unwrap().unwrap();
        let count = frames.durations().len();
        for _ in 1..count {
            assert!(frames.next().unwrap().is_some(), "{name}");
        }
        assert!(frames.next().is_err(), "{name}");
        assert!(frames.next().unwrap().is_none(), "{name}");
    }
}

#[test]
fn more_frames_than_anybody_sends_are_not_looked_at() {
    let still = file("odd/gif_local_table.gif");
    let at = 13 + 3 * 8;
    let mut file = still[..at].to_vec();
    for _ in 0..10_100 {
        // A frame of one pixel: no table, and a block that holds a clear code, a colour and an end.
        file.extend(b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0");
    }
    let frames = animation(&file, default().limits).unwrap().unwrap();
    assert_eq!(frames.durations().len(), 10_000);
}

#[test]
fn a_frame_that_is_larger_is_held_to_the_limits() {
    let file = file("odd/gif_moving_grows.gif");
    let mut limits = default().limits;
    limits.max_pixels = 30 * 20;
    let mut frames = animation(&file, limits).unwrap().unwrap();
    assert!(frames.next().unwrap().is_some());
    assert_eq!(frames.next().unwrap_err().code(), "image_too_large");
}

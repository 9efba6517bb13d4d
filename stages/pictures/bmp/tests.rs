//! What the shared tables of odd pictures do not show.

use super::*;

const LIMITS: Limits = Limits::DEFAULT;

/// A bitmap of 4x1 pixels of 4 bits, whose runs are these, with the indices' colours 0 to 15.
fn of_runs(height: u32, runs: &[u8]) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0\x76\0\0\0\x28\0\0\0\x04\0\0\0".to_vec();
    file.extend(height.to_le_bytes());
    file.extend(b"\x01\0\x04\0\x02\0\0\0");
    file.extend([0; 20]);
    file.extend((0..16).flat_map(|index| [index, 100, 100, 0]));
    file.extend(runs);
    file
}

/// The blue of each pixel, which is its index.
fn blues(file: &[u8]) -> Option<Vec<u8>> {
    let picture = decode(file, LIMITS).ok()?.image.into_rgb8();
    Some(picture.pixels().map(|pixel| pixel.0[2]).collect())
}

#[test]
fn an_odd_run_of_many_colours_keeps_its_last_pixel() {
    let runs = [0, 3, 0x12, 0x30, 1, 0x40, 0, 1];
    assert_eq!(blues(&of_runs(1, &runs)), Some(vec![1, 2, 3, 4]));
}

#[test]
fn an_empty_row_is_a_row() {
    let runs = [0, 0, 4, 0x55, 0, 0];
    assert_eq!(
        blues(&of_runs(2, &runs)),
        Some(vec![5, 5, 5, 5, 0, 0, 0, 0])
    );
    let ended = [4, 0x55, 0, 0, 0, 1];
    assert_eq!(
        blues(&of_runs(2, &ended)),
        Some(vec![0, 0, 0, 0, 5, 5, 5, 5])
    );
}

#[test]
fn a_picture_that_is_full_needs_no_mark_of_its_end() {
    assert_eq!(blues(&of_runs(1, &[4, 0x12])), Some(vec![1, 2, 1, 2]));
    assert_eq!(blues(&of_runs(1, &[3, 0x12])), None);
}

#[test]
fn a_bare_bitmap_is_told_from_numbers() {
    let bare = &of_runs(1, &[])[14..];
    assert!(is_bare(bare));
    for at in [0, 12, 14, 18] {
        let mut other = bare.to_vec();
        other[at] = 77;
        assert!(!is_bare(&other), "{at}");
    }
    assert!(!is_bare(&bare[..14]));
}

#[test]
fn what_is_hostile_is_refused_before_anything_is_made() {
    let with = |at: usize, value: u32| {
        let mut file = of_runs(1, &[4, 0x12]);
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        decode(&file, LIMITS)
            .err()
            .map(|error| error.code().to_owned())
    };
    assert_eq!(with(10, u32::MAX).as_deref(), Some("truncated_image"));
    assert_eq!(with(14, u32::MAX).as_deref(), Some("broken_image"));
    assert_eq!(with(18, u32::MAX).as_deref(), Some("broken_image"));
    assert_eq!(with(18, 60_000_000).as_deref(), Some("image_too_large"));
    assert_eq!(with(22, 0x8000_0000).as_deref(), Some("image_too_large"));
    assert_eq!(with(22, 0).as_deref(), Some("broken_image"));
    assert_eq!(with(46, u32::MAX).as_deref(), Some("broken_image"));
}

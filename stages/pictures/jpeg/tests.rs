use std::time::{Duration, Instant};

use omnizap_contract::{Error, ErrorKind};

use super::{InnerColours, decode, decode_inner, room};
use crate::Still;
use crate::limits::Limits;
use crate::tests::file;

const LIMITS: Limits = Limits::DEFAULT;

fn rgb(file: &[u8]) -> Result<Vec<u8>, Error> {
    decode(file, LIMITS, None).map(|still| still.image.into_bytes())
}

/// Segments of a file whose header has no stray bytes, up to the data of its first scan.
fn segments(file: &[u8]) -> (Vec<(u8, &[u8])>, &[u8]) {
    let mut found = Vec::new();
    let mut at = 2;
    loop {
        let length = usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        let (marker, segment) = (file[at + 1], &file[at..at + 2 + length]);
        at += 2 + length;
        found.push((marker, segment));
        if marker == 0xDA {
            return (found, &file[at..]);
        }
    }
}

/// The tables of a file and the rest of it, as TIFF keeps them apart.
fn apart(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut tables, mut rest) = (b"\xff\xd8".to_vec(), b"\xff\xd8".to_vec());
    let (segments, data) = segments(file);
    for (marker, segment) in segments {
        let is_table = matches!(marker, 0xC4 | 0xDB);
        if is_table { &mut tables } else { &mut rest }.extend_from_slice(segment);
    }
    tables.extend_from_slice(b"\xff\xd9");
    rest.extend_from_slice(data);
    (tables, rest)
}

/// A file that claims another size.
fn claiming(file: &[u8], width: u16, height: u16) -> Vec<u8> {
    let mut file = file.to_vec();
    let frame = file
        .windows(2)
        .position(|pair| matches!(pair, [0xFF, 0xC0 | 0xC2]));
    let frame = frame.expect("a frame");
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    file
}

#[test]
fn inner_pictures_are_decoded_by_tables_kept_apart() {
    let whole = file("baseline_420.jpg");
    let (tables, rest) = apart(&whole);
    let to_rgb = InnerColours::YCbCrToRgb;
    let inner = decode_inner(&rest, Some(&tables), (97, 61), to_rgb, LIMITS).unwrap();
    assert_eq!((inner.width, inner.height, inner.components), (97, 61, 3));
    assert_eq!(inner.samples, rgb(&whole).unwrap());

    let stored = decode_inner(&whole, None, (97, 61), InnerColours::AsStored, LIMITS).unwrap();
    assert_ne!(stored.samples, inner.samples);
    assert_eq!(stored.samples.len(), inner.samples.len());

    let error = decode_inner(&rest, None, (97, 61), to_rgb, LIMITS)
        .err()
        .unwrap();
    assert_eq!(error.code(), "broken_image");

    let gray = file("gray.jpg");
    let inner = decode_inner(&gray, None, (97, 61), to_rgb, LIMITS).unwrap();
    assert_eq!((inner.components, inner.samples.len()), (1, 97 * 61));
}

#[test]
fn inner_pictures_that_end_early_are_gray_from_there() {
    let whole = file("baseline_420.jpg");
    let colours = InnerColours::AsStored;
    let full = decode_inner(&whole, None, (97, 61), colours, LIMITS).unwrap();
    let cut = &whole[..whole.len() - 200];
    let part = decode_inner(cut, None, (97, 61), colours, LIMITS).unwrap();
    assert_eq!(full.samples[..300], part.samples[..300]);
    assert_eq!(part.samples.last(), Some(&128));
}

#[test]
fn inner_pictures_larger_than_their_place_are_refused_at_once() {
    let whole = file("baseline_420.jpg");
    for expected in [(96, 61), (97, 60), (0, 0)] {
        let colours = InnerColours::AsStored;
        let error = decode_inner(&whole, None, expected, colours, LIMITS)
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let start = Instant::now();
    for _ in 0..1000 {
        let bomb = claiming(&whole, 16000, 16000);
        let colours = InnerColours::YCbCrToRgb;
        assert!(decode_inner(&bomb, None, (97, 61), colours, LIMITS).is_err());
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_is_needed_decides_by_how_much_sides_are_divided() {
    let sides = |scaled_to| {
        let Still { image, .. } = decode(&file("baseline_420.jpg"), LIMITS, scaled_to).unwrap();
        (image.width(), image.height())
    };
    assert_eq!(sides(None), (97, 61));
    for (needed, expected) in [
        (61, (97, 61)),
        (31, (97, 61)),
        (30, (49, 31)),
        (15, (25, 16)),
        (8, (25, 16)),
        (7, (13, 8)),
        (0, (13, 8)),
    ] {
        assert_eq!(sides(Some(needed)), expected, "{needed}");
    }
}

#[test]
fn scaled_pictures_look_like_the_full_one() {
    let file = file("baseline_444.jpg");
    let mean = |pixels: &[u8]| {
        pixels.iter().map(|&value| f64::from(value)).sum::<f64>() / pixels.len() as f64
    };
    let full = mean(&rgb(&file).unwrap());
    for needed in [30, 15, 7] {
        let scaled = decode(&file, LIMITS, Some(needed)).unwrap();
        assert!(
            (mean(scaled.image.as_bytes()) - full).abs() < 3.0,
            "{needed}"
        );
    }
}

#[test]
fn both_ways_give_the_same_pixels() {
    for name in [
        "baseline_420.jpg",
        "baseline_422.jpg",
        "baseline_444.jpg",
        "gray.jpg",
        "progressive_420.jpg",
        "progressive_444.jpg",
        "restart.jpg",
        "pixel.jpg",
    ] {
        let plain = file(name);
        // Stray bytes behind the first segment: the crate refuses them.
        let (segments, _) = segments(&plain);
        let (head, rest) = plain.split_at(2 + segments[0].1.len());
        let stray = [head, b"\0\0", rest].concat();
        assert_eq!(rgb(&plain).unwrap(), rgb(&stray).unwrap(), "{name}");
    }
}

#[test]
fn scans_that_are_too_much_work_are_refused() {
    let header = |file: &[u8]| {
        let (segments, _) = segments(file);
        let parts = segments.iter().filter(|segment| segment.0 != 0xDA);
        [
            b"\xff\xd8".to_vec(),
            parts.flat_map(|segment| segment.1).copied().collect(),
        ]
        .concat()
    };
    let header = header(&claiming(&file("progressive_420.jpg"), 5000, 5000));
    let first = b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\0\x01".as_slice();
    let refined = b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\0\x10".as_slice();
    let bomb = [&header, first, &refined.repeat(500), b"\xff\xd9"].concat();
    let start = Instant::now();
    let error = rgb(&bomb).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn room_is_what_the_header_says_at_its_price() {
    let progressive = file("progressive_420.jpg");
    let baseline = file("baseline_420.jpg");
    let [progressive, baseline] =
        [progressive, baseline].map(|file| room(&claiming(&file, 4000, 3000), LIMITS).unwrap());
    // Samples and pixels, or samples and coefficients of two bytes.
    let samples = 4000 * 3008 * 3 / 2;
    assert_eq!(baseline, samples + 4000 * 3000 * 3);
    assert_eq!(progressive, 3 * samples);
}

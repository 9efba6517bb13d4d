//! What hostile files cost, and what is asked of memory.

use std::time::Instant;

use super::chunks::SIGNATURE;
use super::*;

const LIMITS: Limits = Limits::DEFAULT;

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name);
    hasher.update(data);
    let length = (data.len() as u32).to_be_bytes();
    let checksum = hasher.finalize().to_be_bytes();
    [&length, name.as_slice(), data, &checksum].concat()
}

fn header(width: u32, height: u32, depth: u8, colour: u8, interlace: u8) -> Vec<u8> {
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let data = [&sides[..], &[depth, colour, 0, 0, interlace]].concat();
    [SIGNATURE, &chunk(b"IHDR", &data)].concat()
}

/// Decodes it within a second, on a busy machine too.
fn at_once(file: &[u8]) -> Result<Still, Error> {
    let start = Instant::now();
    let decoded = room(file, LIMITS).and_then(|_| decode(file, LIMITS));
    assert!(start.elapsed().as_millis() < 2000, "{:?}", start.elapsed());
    decoded
}

#[test]
fn what_is_beyond_the_picture_is_not_inflated() {
    let stream = fdeflate::compress_to_vec(&vec![0; 64 << 20]);
    let file = [header(40, 30, 8, 2, 0), chunk(b"IDAT", &stream)].concat();
    assert_eq!(at_once(&file).unwrap().image.width(), 40);
}

#[test]
fn texts_and_profiles_are_inflated_within_their_bound() {
    let bomb = fdeflate::compress_to_vec(&vec![0; 64 << 20]);
    let pixels = fdeflate::compress_to_vec(&[0; 4]);
    for (name, keyword) in [
        (b"zTXt", &b"Raw profile type exif\0\0"[..]),
        (b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0"),
        (b"iCCP", b"profile\0\0"),
    ] {
        let text = chunk(name, &[keyword, &bomb].concat());
        let file = [
            header(1, 1, 8, 2, 0),
            text.clone(),
            text,
            chunk(b"IDAT", &pixels),
        ]
        .concat();
        let still = at_once(&file).unwrap();
        assert_eq!(still.turn, Orientation::NoTransforms);
    }
    assert_eq!(colour_profile(&[b"profile\0\0", &bomb[..]].concat()), None);
}

#[test]
fn three_hundred_thousand_chunks_are_cheap() {
    let stream = fdeflate::compress_to_vec(&[0; 4]);
    for part in [
        chunk(b"IDAT", b""),
        chunk(b"tEXt", b"a\0b"),
        chunk(b"eXIf", b"II*\0"),
        chunk(b"fcTL", &[0; 26]),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0"),
    ] {
        let many = part.repeat(300_000);
        let file = [
            header(1, 1, 8, 2, 0),
            chunk(b"acTL", &[0, 9, 9, 9, 0, 0, 0, 0]),
            many.clone(),
            chunk(b"IDAT", &stream),
            many,
        ]
        .concat();
        at_once(&file).unwrap();
        assert!(animation(&file, LIMITS).unwrap().is_none());
    }
}

#[test]
fn the_largest_picture_of_any_kind_is_within_the_memory_allowed() {
    let stream = chunk(b"IDAT", &fdeflate::compress_to_vec(&[0; 4]));
    let palette = chunk(b"PLTE", &[0; 768]);
    for (depth, colour) in [(16, 6), (16, 2), (16, 4), (8, 3), (1, 0)] {
        for interlace in [0, 1] {
            let head = header(7071, 7071, depth, colour, interlace);
            let turned = chunk(
                b"eXIf",
                b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
            );
            let file = [head, palette.clone(), turned, stream.clone()].concat();
            let pixels = 7071 * 7071;
            let bytes = room(&file, LIMITS).unwrap();
            assert!(
                bytes >= 6 * pixels && bytes < LIMITS.max_alloc_bytes,
                "{bytes}"
            );
            let Err(error) = decode(&file, LIMITS) else {
                panic!("its pixels are missing");
            };
            assert_eq!(error.code(), "truncated_image");
        }
    }
}

#[test]
fn apples_variant_is_called_by_its_name() {
    let file = [SIGNATURE, &chunk(b"CgBI", &[0; 4])].concat();
    let Err(error) = decode(&file, LIMITS) else {
        panic!("it is read");
    };
    assert_eq!(error.code(), "unsupported_format");
    assert!(error.message().contains("CgBI"), "{error}");
}

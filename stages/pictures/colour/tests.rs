use image::{GrayImage, RgbImage, RgbaImage};

use super::*;

/// A profile whose red is blue and whose blue is red.
fn turned() -> Vec<u8> {
    let mut profile = ColorProfile::new_srgb();
    std::mem::swap(&mut profile.red_colorant, &mut profile.blue_colorant);
    // What says in another way that it is sRGB.
    profile.cicp = None;
    profile.encode().unwrap()
}

fn gamma_1() -> Vec<u8> {
    ColorProfile::new_gray_with_gamma(1.0).encode().unwrap()
}

#[test]
fn turned_primaries_are_turned_back() {
    let rgb = RgbImage::from_pixel(5000, 3, [250, 100, 10].into());
    let made = managed(rgb.into(), turned()).into_rgb8();
    assert!(made.pixels().all(|pixel| {
        let [red, green, blue] = pixel.0;
        red.abs_diff(10) < 3 && green.abs_diff(100) < 3 && blue.abs_diff(250) < 3
    }));
    let rgba = RgbaImage::from_pixel(3, 3, [250, 100, 10, 77].into());
    let made = managed(rgba.into(), turned()).into_rgba8();
    let [red, _, _, alpha] = made.get_pixel(2, 2).0;
    assert!(red < 14 && alpha == 77, "{made:?}");
}

#[test]
fn grays_become_those_of_srgb_however_they_stand_there() {
    let gray = GrayImage::from_pixel(2, 2, [55].into());
    let rgb = RgbImage::from_pixel(2, 2, [55; 3].into());
    for picture in [DynamicImage::from(gray), rgb.into()] {
        let made = managed(picture, gamma_1()).into_rgb8();
        // Of linear light 55/255.
        assert!(
            made.get_pixel(1, 1)
                .0
                .iter()
                .all(|gray| gray.abs_diff(128) < 3),
            "{made:?}"
        );
    }
}

#[test]
fn a_profile_that_does_not_fit_is_none() {
    let rgb = DynamicImage::from(RgbImage::from_pixel(2, 2, [1, 100, 200].into()));
    let gray = DynamicImage::from(GrayImage::from_pixel(2, 2, [100].into()));
    assert_eq!(managed(rgb.clone(), gamma_1()), rgb);
    assert_eq!(managed(gray.clone(), turned()), gray);
    let whole = turned();
    for length in (0..whole.len()).step_by(7) {
        managed(rgb.clone(), whole[..length].to_vec());
    }
    for at in 0..whole.len().min(600) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xFF;
        managed(rgb.clone(), damaged);
    }
    let mut many = whole;
    many[128..132].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(managed(rgb.clone(), many), rgb);
}

#[test]
fn texts_of_a_profile_cost_nothing() {
    // A text in many languages, all of them the same two million bytes.
    let (records, text) = (80_000, 2_000_000u32);
    let mut part = b"mluc\0\0\0\0".to_vec();
    part.extend([records, 12].map(u32::to_be_bytes).concat());
    for _ in 0..records {
        part.extend(b"enUS");
        part.extend([text, 16].map(u32::to_be_bytes).concat());
    }
    part.resize(3_000_000, b'a');
    // Nine parts as they are, and that one under as many names as there are.
    let plain = turned();
    let count = plain[131];
    let end = 132 + 12 * usize::from(count);
    let names = [
        b"desc", b"cprt", b"dmnd", b"dmdd", b"vued", b"targ", b"rXYZ",
    ];
    let moved = 12 * names.len() as u32;
    let mut hostile = plain[..132].to_vec();
    hostile[131] = count + names.len() as u8;
    for entry in plain[132..end].chunks_exact(12) {
        let place = u32::from_be_bytes([entry[4], entry[5], entry[6], entry[7]]) + moved;
        hostile.extend([&entry[..4], &place.to_be_bytes(), &entry[8..]].concat());
    }
    for name in names {
        hostile.extend(name);
        hostile.extend(
            [plain.len() as u32 + moved, part.len() as u32]
                .map(u32::to_be_bytes)
                .concat(),
        );
    }
    hostile.extend(&plain[end..]);
    hostile.extend(part);
    let start = std::time::Instant::now();
    let rgb = RgbImage::from_pixel(2, 2, [250, 100, 10].into());
    let made = managed(rgb.into(), hostile).into_rgb8();
    assert!(made.get_pixel(0, 0).0[0] < 14, "{made:?}");
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
}

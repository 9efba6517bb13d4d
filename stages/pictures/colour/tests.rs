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
    let made = managed(rgb.into(), &turned()).into_rgb8();
    assert!(made.pixels().all(|pixel| {
        let [red, green, blue] = pixel.0;
        red.abs_diff(10) < 3 && green.abs_diff(100) < 3 && blue.abs_diff(250) < 3
    }));
    let rgba = RgbaImage::from_pixel(3, 3, [250, 100, 10, 77].into());
    let made = managed(rgba.into(), &turned()).into_rgba8();
    let [red, _, _, alpha] = made.get_pixel(2, 2).0;
    assert!(red < 14 && alpha == 77, "{made:?}");
}

#[test]
fn grays_become_those_of_srgb_however_they_stand_there() {
    let gray = GrayImage::from_pixel(2, 2, [55].into());
    let rgb = RgbImage::from_pixel(2, 2, [55; 3].into());
    for picture in [DynamicImage::from(gray), rgb.into()] {
        let made = managed(picture, &gamma_1()).into_rgb8();
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
    assert_eq!(managed(rgb.clone(), &gamma_1()), rgb);
    assert_eq!(managed(gray.clone(), &turned()), gray);
    let whole = turned();
    for length in (0..whole.len()).step_by(7) {
        managed(rgb.clone(), &whole[..length]);
    }
    for at in 0..whole.len().min(600) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xFF;
        managed(rgb.clone(), &damaged);
    }
    let mut many = whole;
    many[128..132].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(managed(rgb.clone(), &many), rgb);
}

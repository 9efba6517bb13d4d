//! The measures against values worked out by hand, and a batch against its pictures alone.

use std::cell::Cell;

use omnizap_plugin::Channels;

use super::*;

const ALWAYS: &dyn Fn() -> bool = &|| true;

fn gray(width: usize, height: usize, pixel: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let all = 0..width * height;
    all.map(|index| pixel(index % width, index / width))
        .collect()
}

fn view(width: usize, height: usize, pixels: &[u8]) -> ImageView<'_> {
    ImageView {
        width,
        height,
        channels: Channels::Gray,
        pixels,
    }
}

fn measures(width: usize, height: usize, pixel: impl Fn(usize, usize) -> u8) -> Measures {
    let pixels = gray(width, height, pixel);
    measure(
        &view(width, height, &pixels),
        &mut Scratch::default(),
        ALWAYS,
    )
    .unwrap()
}

#[track_caller]
fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-9, "{found}, expected {wanted}");
}

#[test]
fn the_laplacian_is_the_one_of_the_books() {
    // Two inner cells, 10 and 50, in a frame of 0: -4*10 + 50 and -4*50 + 10.
    let picture = measures(4, 3, |x, y| match (x, y) {
        (1, 1) => 10,
        (2, 1) => 50,
        _ => 0,
    });
    // 10 and -190 have the mean -90 and the variance 100².
    near(picture.laplacian, 10_000.0);
    near(picture.sharpness(), 10_000.0 / 10_100.0);
    near(picture.exposure, 60.0 / 12.0 / 255.0);
}

#[test]
fn a_flat_picture_is_neither_sharp_nor_rich_and_middle_gray_is_well_exposed() {
    let picture = measures(20, 10, |_, _| 255);
    near(picture.laplacian, 0.0);
    near(picture.contrast, 0.0);
    near(picture.exposure, 1.0);
    near(picture.well_exposed, (-3.125_f64).exp());
    near(picture.quality(), 0.0);
    assert!(measures(20, 10, |_, _| 128).well_exposed > 0.9999);
}

#[test]
fn half_black_half_white_has_full_contrast() {
    near(
        measures(8, 4, |x, _| if x < 4 { 0 } else { 255 }).contrast,
        1.0,
    );
}

/// Noise of a linear congruential generator, the same each time.
fn noise(x: usize, y: usize) -> u8 {
    let mut state = (x * 7919 + y * 104_729 + 1) as u32;
    for _ in 0..3 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    }
    (state >> 24) as u8
}

#[test]
fn the_more_a_picture_is_blurred_the_less_sharp_it_is() {
    let blurred = |radius: usize| {
        measures(64, 64, move |x, y| {
            let span = |at: usize| at.saturating_sub(radius)..=at + radius;
            let around = span(x).flat_map(|x| span(y).map(move |y| u32::from(noise(x, y))));
            let (sum, count) = around.fold((0, 0), |(sum, count), value| (sum + value, count + 1));
            (sum / count) as u8
        })
    };
    let sharpness: Vec<f64> = [0, 1, 2, 5]
        .map(|radius| blurred(radius).sharpness())
        .into();
    assert!(
        sharpness.is_sorted_by(|left, right| left > right),
        "{sharpness:?}"
    );
    assert!(sharpness[0] > 0.98 && sharpness[3] < 0.5, "{sharpness:?}");
}

#[test]
fn a_large_picture_is_judged_at_the_size_at_which_it_is_looked_at() {
    // Single pixels in turns average out in cells of 4x4; the last column and row are partial.
    let fine = measures(2047, 1025, |x, y| if (x + y) % 2 == 0 { 0 } else { 254 });
    assert!(fine.contrast < 0.05 && fine.sharpness() < 0.5, "{fine:?}");
    // Squares of 4x4 are the cells themselves.
    let squares = measures(
        2048,
        1024,
        |x, y| if (x / 4 + y / 4) % 2 == 0 { 0 } else { 255 },
    );
    near(squares.contrast, 1.0);
    near(squares.laplacian, 1020.0 * 1020.0);
}

#[test]
fn every_size_and_layout_has_measures() {
    for (width, height) in [(0, 0), (0, 5), (1, 1), (2, 2), (1, 100), (3, 1), (700, 1)] {
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            let pixels = vec![200; width * height * channels.count()];
            let image = ImageView {
                width,
                height,
                channels,
                pixels: &pixels,
            };
            let found = measure(&image, &mut Scratch::default(), ALWAYS).unwrap();
            assert_eq!(found.laplacian, 0.0, "{width}x{height}");
            assert!(found.quality().is_finite());
            if width * height > 0 {
                near(found.exposure, 200.0 / 255.0);
            }
        }
    }
}

#[test]
fn it_stops_at_the_row_at_which_nobody_waits_any_more() {
    let pixels = gray(16, 100, noise);
    let asked = Cell::new(0);
    let wanted = || {
        asked.set(asked.get() + 1);
        asked.get() <= 10
    };
    let image = view(16, 100, &pixels);
    assert_eq!(measure(&image, &mut Scratch::default(), &wanted), None);
    assert_eq!(asked.get(), 11);
}

#[test]
fn a_batch_measures_equal_pictures_once_and_each_as_if_it_were_alone() {
    let wide = gray(40, 30, noise);
    let tall = gray(30, 40, noise);
    let copy = wide.clone();
    let flat = vec![7; 1200];
    let images = [
        view(40, 30, &wide),
        view(30, 40, &tall),
        view(40, 30, &copy),
        view(40, 30, &flat),
        view(30, 40, &flat),
    ];
    let measured = measure_all(&images, &|_| true);
    assert_eq!(measured.distinct, 4);
    for (image, found) in images.iter().zip(&measured.measures) {
        // To the last bit: the buffers of one picture leave no trace in the next.
        assert_eq!(*found, measure(image, &mut Scratch::default(), ALWAYS));
    }
}

#[test]
fn a_picture_of_a_batch_is_given_up_only_once_nobody_waits_for_it() {
    let one = gray(40, 30, noise);
    let other = vec![9; 1200];
    let images = [view(40, 30, &one), view(40, 30, &other), view(40, 30, &one)];
    let given_up = |waiting: [bool; 3]| {
        let measured = measure_all(&images, &|index| waiting[index]).measures;
        measured.iter().map(Option::is_none).collect::<Vec<_>>()
    };
    assert_eq!(given_up([false, true, true]), [false, false, false]);
    assert_eq!(given_up([false, true, false]), [true, false, true]);
    assert_eq!(given_up([true, false, true]), [false, true, false]);
}

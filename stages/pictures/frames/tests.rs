use image::{Rgba, RgbaImage};
use omnizap_contract::{Error, ErrorKind};

use super::*;
use crate::{Alpha, Limits};

/// Frames of 4x4, each of two colours: one that stands for it, and black.
struct Shown {
    frames: Vec<Option<RgbaImage>>,
    durations: Vec<u32>,
    next: usize,
}

/// What a frame shows: nothing, itself, or nothing that can be read.
#[derive(Clone, Copy)]
enum Look {
    Clear,
    Plain,
    Some(u8),
    Broken,
}

use Look::{Broken, Clear, Plain};

fn canvas(look: Look) -> Option<RgbaImage> {
    Some(match look {
        Broken => return None,
        Clear => RgbaImage::new(4, 4),
        Plain => RgbaImage::from_pixel(4, 4, Rgba([9, 9, 9, 255])),
        Look::Some(colour) => RgbaImage::from_fn(4, 4, |x, _| {
            Rgba(if x < 2 {
                [colour, 200, 0, 255]
            } else {
                [0, 0, 0, 255]
            })
        }),
    })
}

impl Shown {
    fn of(frames: &[(Look, u32)]) -> Self {
        Self {
            frames: frames.iter().map(|(look, _)| canvas(*look)).collect(),
            durations: frames.iter().map(|(_, duration)| *duration).collect(),
            next: 0,
        }
    }
}

impl Animation for Shown {
    fn durations(&self) -> &[u32] {
        &self.durations
    }

    fn next(&mut self) -> Result<Option<&RgbaImage>, Error> {
        let Some(frame) = self.frames.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        let broken = || Error::new(ErrorKind::Invalid, "broken");
        frame.as_ref().map(Some).ok_or_else(broken)
    }
}

const DECODER: Decoder = Decoder {
    limits: Limits {
        max_pixels: 1000,
        max_side: 100,
        max_alloc_bytes: 1 << 20,
    },
    is_turned: true,
    is_managed: false,
    alpha: Alpha::Compose {
        background: [0x80; 3],
    },
    scaled_to: None,
};

fn picture(canvas: &RgbaImage) -> Picture {
    let image = canvas.clone().into();
    let (turn, icc) = (image::metadata::Orientation::NoTransforms, None);
    let still = Still { image, turn, icc };
    DECODER.finished(ImageFormat::Gif, still).unwrap()
}

fn see(canvas: &RgbaImage) -> Result<Option<Picture>, Error> {
    let picture = picture(canvas);
    let is_blank = blank::is_clear_rgba(canvas) || blank::is_plain(&picture.pixels);
    Ok((!is_blank).then_some(picture))
}

/// The first frame as it is read alone.
const FIRST: u8 = 77;

fn first() -> Picture {
    picture(&canvas(Look::Some(FIRST)).unwrap())
}

/// The red of each frame that was taken, its place and its share, and how many were seen.
fn taken(choice: &Choice) -> (Vec<(u8, usize, f32)>, usize) {
    let frame = 4 * 4 * 3;
    assert_eq!(choice.pixels.len(), frame * choice.frames.len());
    let reds = choice.pixels.chunks(frame).map(|pixels| pixels[0]);
    let frames = reds.zip(&choice.frames);
    let frames = frames.map(|(red, it)| (red, it.index, it.weight));
    (frames.collect(), choice.seen)
}

fn sampled(frames: &[(Look, u32)], most: usize) -> (Vec<(u8, usize, f32)>, usize) {
    let mut shown = Shown::of(frames);
    taken(&sample(&mut shown, frames.len(), most, first(), see).unwrap())
}

fn with_content(frames: &[Look], most: usize) -> (Vec<(u8, usize, f32)>, usize) {
    let frames: Vec<_> = frames.iter().map(|look| (*look, 100)).collect();
    taken(&content(&mut Shown::of(&frames), most, first(), see).unwrap())
}

#[test]
fn content_is_the_first_frame_that_is_not_blank() {
    let some = Look::Some;
    let frames = [Clear, Plain, some(3), some(4)];
    assert_eq!(with_content(&frames, 9), (vec![(3, 2, 1.0)], 3));
    assert_eq!(with_content(&[some(5), some(6)], 9), (vec![(5, 0, 1.0)], 1));
    // Of those that are blank the first, as it is without looking further.
    let none = (vec![(FIRST, 0, 1.0)], 3);
    assert_eq!(with_content(&[Clear, Plain, Clear], 9), none);
    let late = [Clear, Clear, Clear, some(3)];
    assert_eq!(with_content(&late, 3), none);
    assert_eq!(
        with_content(&[Clear, Clear, Clear, Broken, some(3)], 9),
        none
    );
    assert_eq!(with_content(&[], 9), (vec![(FIRST, 0, 1.0)], 1));
}

#[test]
fn few_frames_are_all_taken_and_count_as_long_as_they_are_shown() {
    let some = Look::Some;
    let frames = [(some(1), 100), (some(2), 300), (some(3), 400)];
    let all = vec![(1, 0, 0.125), (2, 1, 0.375), (3, 2, 0.5)];
    assert_eq!(sampled(&frames, 8), (all.clone(), 3));
    assert_eq!(sampled(&frames, 3), (all, 3));
    // Blank ones do not count; neighbours that look the same are one.
    let frames = [
        (Clear, 900),
        (some(1), 100),
        (Plain, 200),
        (some(1), 100),
        (some(2), 600),
    ];
    assert_eq!(sampled(&frames, 8), (vec![(1, 1, 0.25), (2, 4, 0.75)], 5));
    // What is shown for no time is shown as browsers show it.
    let frames = [(some(1), 0), (some(2), 10), (some(3), 200)];
    let quarters = vec![(1, 0, 0.25), (2, 1, 0.25), (3, 2, 0.5)];
    assert_eq!(sampled(&frames, 8), (quarters, 3));
}

#[test]
fn of_many_frames_those_are_taken_that_are_shown_in_the_middle_of_equal_parts() {
    let some = Look::Some;
    let frames: Vec<_> = (0..8).map(|place| (some(place), 100)).collect();
    // Two parts of 400 ms: the middles are 200 and 600. The first frame is always among them.
    let (two, seen) = sampled(&frames, 2);
    assert_eq!((two, seen), (vec![(0, 0, 0.5), (6, 6, 0.5)], 7));
    let (four, _) = sampled(&frames, 4);
    let places: Vec<_> = four.iter().map(|it| it.1).collect();
    assert_eq!(places, [0, 3, 5, 7]);
    // One that is shown for long stands for several parts.
    let mut frames = frames;
    frames[5].1 = 1000;
    let (four, _) = sampled(&frames, 4);
    assert_eq!(four, [(0, 0, 0.25), (5, 5, 0.75)]);
}

#[test]
fn a_part_whose_middle_is_blank_waits_for_a_frame_as_long_as_it_lasts() {
    let some = Look::Some;
    let mut frames: Vec<_> = (0..8).map(|place| (some(place), 100)).collect();
    frames[0].0 = Clear;
    frames[3].0 = Clear;
    // Parts 0-1, 2-3, 4-5, 6-7: the second one is over before there is something to see.
    let (four, _) = sampled(&frames, 4);
    let places: Vec<_> = four.iter().map(|it| it.1).collect();
    assert_eq!(places, [1, 5, 7]);
    let (two, _) = sampled(&frames, 2);
    let places: Vec<_> = two.iter().map(|it| it.1).collect();
    assert_eq!(places, [1, 6]);
    // However late something is seen, it is found.
    let late = [(Clear, 100), (Clear, 100), (Clear, 100), (some(9), 100)];
    assert_eq!(sampled(&late, 2), (vec![(9, 3, 1.0)], 4));
    assert_eq!(sampled(&late, 1), (vec![(9, 3, 1.0)], 4));
}

#[test]
fn where_all_are_blank_or_broken_the_first_frame_stands_for_all() {
    let some = Look::Some;
    let frames = [(Clear, 100), (Plain, 100)];
    assert_eq!(sampled(&frames, 8), (vec![(FIRST, 0, 1.0)], 2));
    let frames = [(Broken, 100), (some(2), 100)];
    assert_eq!(sampled(&frames, 8), (vec![(FIRST, 0, 1.0)], 1));
    let frames = [
        (some(1), 100),
        (some(2), 100),
        (Broken, 100),
        (some(3), 900),
    ];
    assert_eq!(sampled(&frames, 8).0, [(1, 0, 0.5), (2, 1, 0.5)]);
}

#[test]
fn what_is_looked_at_is_bounded() {
    assert_eq!(looked_at(10, 1), 10);
    assert_eq!(looked_at(1_000_000, 1), LOOKED_AT_FRAMES);
    assert_eq!(looked_at(1_000_000, 512 * 512), 128);
    assert_eq!(looked_at(1_000_000, u64::MAX), 1);
    assert_eq!(DECODER.most_in_sample(99, 1), MOST_IN_SAMPLE);
    assert_eq!(DECODER.most_in_sample(8, 1 << 18), 4);
    assert_eq!(DECODER.most_in_sample(8, 1 << 30), 1);
}

#[test]
fn frames_of_files_are_those_of_their_formats() {
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("../../tests/fixtures/images");
    let decoder = Decoder {
        limits: Limits {
            max_pixels: 1 << 20,
            ..DECODER.limits
        },
        ..DECODER
    };
    let chosen = |name: &str, frames| {
        let file = std::fs::read(folder.join(name)).unwrap();
        let choice = decoder.choose(&file, frames).unwrap();
        let room = decoder.room_of(&file, frames).unwrap();
        assert!(room >= choice.pixels.len() as u64, "{name}");
        (choice, decoder.decode(&file).unwrap().pixels)
    };
    let blank = "odd/gif_moving_first_blank.gif";
    let (choice, first) = chosen(blank, Frames::Content);
    assert!(choice.frames[0].index > 0 && choice.seen > 1, "{choice:?}");
    assert_ne!(choice.pixels, first);
    let (choice, first) = chosen(blank, Frames::First);
    assert_eq!((choice.seen, choice.pixels), (1, first));
    for name in ["animated.gif", "animated.png"] {
        let (choice, first) = chosen(name, Frames::Content);
        assert_eq!((choice.seen, &choice.pixels), (1, &first), "{name}");
        let (choice, _) = chosen(name, Frames::Sample { most: 8 });
        assert!(choice.frames.len() > 1, "{name}");
        assert_eq!(choice.pixels[..first.len()], first, "{name}");
        assert_eq!(choice.pixels.len(), first.len() * choice.frames.len());
        let all: f32 = choice.frames.iter().map(|frame| frame.weight).sum();
        assert!((all - 1.0).abs() < 1e-6, "{name}");
    }
}

#[test]
fn a_picture_that_does_not_move_is_its_own_frame() {
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for name in ["rgba.png", "baseline_420.jpg", "lossy.webp"] {
        let file = folder.join("../../tests/fixtures/images").join(name);
        let file = std::fs::read(file).unwrap();
        let decoder = Decoder {
            limits: Limits {
                max_pixels: 1 << 20,
                ..DECODER.limits
            },
            ..DECODER
        };
        let still = decoder.decode(&file).unwrap();
        for frames in [Frames::First, Frames::Content, Frames::Sample { most: 8 }] {
            let choice = decoder.choose(&file, frames).unwrap();
            assert_eq!(choice, Choice::of(still.clone(), 0, 1), "{name}");
            let room = decoder.room_of(&file, frames).unwrap();
            assert_eq!(room, decoder.room(&file).unwrap(), "{name}");
        }
    }
}

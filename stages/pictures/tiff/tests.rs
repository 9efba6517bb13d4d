//! What the odd pictures of `tests/fixtures` do not show: files that are damaged anywhere, and those
//! that would make much work.

use omnizap_contract::{Error, ErrorKind};

use super::fax::{Fax, Scheme};
use super::lab::Lab;
use super::rows::Rows;
use super::{decode, room};
use crate::limits::Limits;
use crate::tests::folder;

const LIMITS: Limits = Limits::DEFAULT;

const SHORT: u16 = 3;
const LONG: u16 = 4;

/// A little-endian file: the data first, then the directory, then values that do not fit in it.
fn file(data: &[u8], entries: &[(u16, u16, Vec<u32>)]) -> Vec<u8> {
    let start = 8 + data.len().next_multiple_of(2);
    let mut beyond = start + 2 + 12 * entries.len() + 4;
    let mut file = b"II*\0".to_vec();
    file.extend((start as u32).to_le_bytes());
    file.extend(data);
    file.resize(start, 0);
    file.extend((entries.len() as u16).to_le_bytes());
    let mut tail = Vec::new();
    for (tag, kind, values) in entries {
        let bytes: Vec<u8> = match *kind {
            SHORT => values
                .iter()
                .flat_map(|&value| (value as u16).to_le_bytes())
                .collect(),
            _ => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        };
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend((values.len() as u32).to_le_bytes());
        if bytes.len() <= 4 {
            file.extend(&bytes);
            file.resize(file.len() + 4 - bytes.len(), 0);
        } else {
            file.extend((beyond as u32).to_le_bytes());
            beyond += bytes.len();
            tail.extend(bytes);
        }
    }
    file.extend([0; 4]);
    file.extend(tail);
    file
}

/// Gray of eight bits in strips of one row, all of them the same bytes.
fn strips(compression: u32, data: &[u8], (width, height): (u32, u32)) -> Vec<u8> {
    let strips = height as usize;
    file(
        data,
        &[
            (256, LONG, vec![width]),
            (257, LONG, vec![height]),
            (258, SHORT, vec![8]),
            (259, SHORT, vec![compression]),
            (262, SHORT, vec![1]),
            (273, LONG, vec![8; strips]),
            (277, SHORT, vec![1]),
            (278, LONG, vec![1]),
            (279, LONG, vec![data.len() as u32; strips]),
        ],
    )
}

fn refusal(file: &[u8]) -> Error {
    let error = decode(file, LIMITS).err();
    error.expect("the file is refused")
}

fn odd_pictures() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder().join("odd")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "tif"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() > 100, "the odd pictures are there");
    files
}

/// Not by way of `Decoder`, which would take a panic for a broken picture.
fn try_it(name: &str, file: &[u8]) {
    let asked = room(file, LIMITS);
    match decode(file, LIMITS) {
        Ok(still) => {
            let made = still.image.as_bytes().len() as u64;
            let asked = asked.unwrap_or(0);
            assert!(asked >= made, "{name}: {asked} bytes of room for {made}");
            assert!(made <= 4 * LIMITS.max_pixels, "{name}");
        }
        Err(error) => assert_eq!(error.kind().status() / 100, 4, "{name}: {error:?}"),
    }
}

#[test]
fn odd_pictures_that_are_cut_or_damaged_anywhere_do_not_panic() {
    for (name, file) in odd_pictures() {
        let step = file.len().div_ceil(25);
        for at in (0..file.len()).step_by(step) {
            try_it(&name, &file[..at]);
            for flip in [0xFF, 0x01] {
                let mut damaged = file.clone();
                damaged[at] ^= flip;
                try_it(&name, &damaged);
            }
        }
        // The directory is behind the data: each of its bytes counts.
        let start = file.len().saturating_sub(260);
        for at in (start..file.len()).step_by(2) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x03;
            try_it(&name, &damaged);
        }
    }
}

#[test]
fn strips_that_lie_one_over_another_are_not_read_again_and_again() {
    // Nothing but codes without a meaning, and at the end one pixel: 60,000 times 60,000 bytes.
    let mut data = vec![0x80; 60_000];
    data.extend([0, 7]);
    let error = refusal(&strips(32773, &data, (1, 60_000)));
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Invalid, "broken_image")
    );
    // The same pixel for all rows is fine.
    let still = decode(&strips(32773, &[0, 7], (1, 60_000)), LIMITS).unwrap();
    assert!(still.image.as_bytes().iter().all(|&gray| gray == 7));
}

#[test]
fn no_more_strips_are_read_than_a_picture_at_the_limit_may_have() {
    let tiles = |side: u32| {
        file(
            &[0, 7],
            &[
                (256, LONG, vec![7000]),
                (257, LONG, vec![7000]),
                (258, SHORT, vec![8]),
                (259, SHORT, vec![32773]),
                (262, SHORT, vec![1]),
                (277, SHORT, vec![1]),
                (322, LONG, vec![side]),
                (323, LONG, vec![side]),
                (324, LONG, vec![8; 16]),
                (325, LONG, vec![2; 16]),
            ],
        )
    };
    for side in [1, 2, 4, 60_000, u32::MAX] {
        let error = refusal(&tiles(side));
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{side}: {error}");
        assert!(error.message().contains("max_pixels"), "{error}");
    }
    // Of usual tiles there are just too few.
    assert_eq!(refusal(&tiles(256)).kind(), ErrorKind::Invalid);
}

#[test]
fn memory_is_asked_for_before_it_is_taken() {
    let tight = Limits {
        max_alloc_bytes: 1 << 20,
        ..LIMITS
    };
    let large = strips(32773, &[0, 7], (60_000, 500));
    let error = decode(&large, tight).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.message().contains("max_alloc_bytes"), "{error}");
    assert!(room(&large, LIMITS).unwrap() >= 4 * 60_000 * 500);
}

#[test]
fn scans_of_jpeg_streams_are_counted() {
    // Each of 2,000 tiles of 128 pixels goes through the picture 200 times.
    let scan = b"\xff\xda\x00\x02".repeat(200);
    let strips = 2000;
    let data = [&b"\xff\xd8"[..], &scan].concat();
    let file = file(
        &data,
        &[
            (256, LONG, vec![20_000]),
            (257, LONG, vec![strips]),
            (258, SHORT, vec![8]),
            (259, SHORT, vec![7]),
            (262, SHORT, vec![1]),
            (273, LONG, vec![8; strips as usize]),
            (277, SHORT, vec![1]),
            (278, LONG, vec![1]),
            (279, LONG, vec![data.len() as u32; strips as usize]),
        ],
    );
    assert_eq!(refusal(&file).kind(), ErrorKind::Invalid);
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let error = refusal(&strips(34925 + 1, &[0], (1, 1)));
    assert_eq!(error.kind(), ErrorKind::UnsupportedType);
    assert!(error.message().contains("compression 34926"), "{error}");
    let error = refusal(&strips(34887, &[0], (1, 1)));
    assert!(error.message().contains("LERC compression"), "{error}");
}

#[test]
fn gray_of_any_range_is_shown_by_the_range_that_it_is_in() {
    let picture = |numbers: &[u32], format: u32| {
        let data: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let file = file(
            &data,
            &[
                (256, LONG, vec![numbers.len() as u32]),
                (257, LONG, vec![1]),
                (258, SHORT, vec![32]),
                (259, SHORT, vec![1]),
                (262, SHORT, vec![1]),
                (273, LONG, vec![8]),
                (277, SHORT, vec![1]),
                (339, SHORT, vec![format]),
            ],
        );
        decode(&file, LIMITS).unwrap().image.into_bytes()
    };
    const UNSIGNED: u32 = 1;
    const SIGNED: u32 = 2;
    const FLOAT: u32 = 3;
    assert_eq!(picture(&[0, 100, 255], UNSIGNED), [0, 100, 255]);
    assert_eq!(picture(&[0, 100 << 8, 65_535], UNSIGNED), [0, 100, 255]);
    assert_eq!(picture(&[0, 100 << 24, u32::MAX], UNSIGNED), [0, 100, 255]);
    assert_eq!(
        picture(&[u32::MAX, 100 << 23, i32::MAX as u32], SIGNED),
        [0, 100, 255]
    );
    let floats = |values: [f32; 4]| picture(&values.map(f32::to_bits), FLOAT);
    assert_eq!(floats([0.0, 0.5, 1.0, f32::NAN]), [0, 128, 255, 0]);
    assert_eq!(floats([-9.0, 0.5, 1.0, 200.9]), [0, 0, 1, 200]);
    assert_eq!(floats([0.0, 25_600.0, 65_535.0, 0.0]), [0, 100, 255, 0]);
    assert_eq!(floats([0.0, 5e8, 1e9, -1.0]), [0, 127, 255, 0]);
    // One number of a thousand is no range.
    let mut numbers = vec![100; 999];
    numbers.push(u32::MAX);
    assert_eq!(picture(&numbers, UNSIGNED)[998..], [100, 255]);
}

/// Bits as text, to bytes.
fn bits(text: &str) -> Vec<u8> {
    let bits: Vec<u8> = text
        .bytes()
        .filter(|byte| *byte != b' ')
        .map(|bit| bit - b'0')
        .collect();
    let byte = |bits: &[u8]| {
        bits.iter()
            .enumerate()
            .map(|(at, bit)| bit << (7 - at))
            .sum()
    };
    bits.chunks(8).map(byte).collect()
}

const MARK: &str = "000000000001";

fn fax(text: &str, scheme: Scheme, width: u32, lines: usize) -> Vec<Option<u8>> {
    let data = bits(text);
    let mut fax = Fax::new(&data, scheme, width);
    let mut line = || {
        let mut row = [0];
        fax.row(&mut row).ok().map(|()| row[0])
    };
    (0..lines).map(|_| line()).collect()
}

#[test]
fn lines_of_a_fax_have_runs_or_differences() {
    let two = Scheme::Group3 {
        is_two_dimensional: true,
    };
    // Two white, three black, three white; then the same but for one pixel, twice.
    let text = format!("{MARK}1 0111 10 1000 {MARK}0 011 1 1 {MARK}0 1 010 1");
    assert_eq!(
        fax(&text, two, 8, 4),
        [
            Some(0b0011_1000),
            Some(0b0001_1000),
            Some(0b0001_0000),
            None
        ]
    );
    // Fill before a mark; a bad code leaves the rest of its line white.
    let one = Scheme::Group3 {
        is_two_dimensional: false,
    };
    let text =
        format!("{MARK}0111 10 1000 00000000000000000{MARK}0111 000000001111 {MARK}0111 10 1000");
    let read = fax(&text, one, 8, 3);
    assert_eq!(read, [Some(0b0011_1000), Some(0), Some(0b0011_1000)]);
}

#[test]
fn lines_that_a_fax_leaves_out_at_its_end_are_white() {
    let end = "000000000001000000000001";
    let text = format!("001 0111 10 1 {end}");
    let read = fax(&text, Scheme::Group4, 8, 3);
    assert_eq!(read, [Some(0b0011_1000), Some(0), Some(0)]);
    assert_eq!(fax(end, Scheme::Group4, 8, 1), [None]);
    assert_eq!(fax("0000001111", Scheme::Group4, 8, 1), [None]);
}

#[test]
fn lab_colours_are_those_that_people_know() {
    let lab = Lab::new();
    for ([l, a, b], rgb) in [
        ([255, 0, 0], [255, 255, 255]),
        ([0, 0, 0], [0, 0, 0]),
        ([137, 0, 0], [128, 128, 128]),
        ([138, 81, 70], [255, 0, 2]),  // red
        ([75, 68, 144], [0, 0, 255]),  // blue
        ([224, 177, 81], [0, 255, 0]), // green
    ] {
        let made = lab.rgb([l, a, b]);
        let far = made
            .iter()
            .zip(rgb)
            .any(|(&own, right)| own.abs_diff(right) > 12);
        assert!(!far, "{l} {a} {b}: {made:?}, not {rgb:?}");
    }
}

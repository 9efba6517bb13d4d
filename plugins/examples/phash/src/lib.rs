//! `example/phash`: a perceptual hash that survives scaling and recompression, and whether it
//! is near to one that the client sends.
//!
//! The hash is the difference hash of 9x8 gray cells: bit `i` says whether a cell is brighter
//! than its right neighbour. N. Krawetz, "Kind of Like That", The Hacker Factor Blog, 2013.

use omnizap_plugin::{
    Call, Descriptor, Error, ErrorKind, Image, ImageView, In, Inputs, Log, Opt, Options, Out,
    Outputs, Stage, Text,
};

const IMAGE: In<Image> = In::required("image", "the picture");
const COMPARE_PHASH: In<Option<Text>> = In::optional(
    "compare_phash",
    "a hash to compare with, 16 hexadecimal digits",
);
const PHASH: Out<Text> = Out::new("phash", "the hash, 16 hexadecimal digits").published("null");
const NEAR_DUPLICATE: Out<bool> =
    Out::new("near_duplicate", "near to compare_phash").published("false");
const MAX_DISTANCE: Opt<i64> = Opt::integer(
    "max_distance",
    10,
    "differing bits up to which two pictures count as near duplicates",
)
.within(0, 64);

/// Cells a row; one more than bits.
const COLUMNS: usize = 9;
/// Rows of cells.
const ROWS: usize = 8;

struct Phash {
    max_distance: u32,
}

impl Stage for Phash {
    const DESCRIPTOR: Descriptor = Descriptor {
        options: &[MAX_DISTANCE.spec()],
        inputs: &[IMAGE.spec(), COMPARE_PHASH.spec()],
        outputs: &[PHASH.spec(), NEAR_DUPLICATE.spec()],
        ..Descriptor::new("example/phash", "perceptual hash and near-duplicate check")
    };

    fn new(options: &Options, _: Log) -> Result<Self, Error> {
        Ok(Self {
            max_distance: u32::try_from(options.get(MAX_DISTANCE)).unwrap_or(0),
        })
    }

    fn run(&self, inputs: &Inputs<'_>, _: &Call<'_>) -> Result<Outputs, Error> {
        let other = inputs.get(COMPARE_PHASH)?.map(parse).transpose()?;
        let hash = difference_hash(&inputs.get(IMAGE)?);
        let near = other.is_some_and(|other| (hash ^ other).count_ones() <= self.max_distance);
        Ok(Outputs::new()
            .with(PHASH, format!("{hash:016x}"))
            .with(NEAR_DUPLICATE, near))
    }
}

fn parse(text: &str) -> Result<u64, Error> {
    let wrong = "compare_phash must be 16 hexadecimal digits";
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = u64::from_str_radix(text, 16).ok().filter(|_| digits);
    hash.ok_or_else(|| Error::new(ErrorKind::Invalid, wrong).with_code("invalid_phash"))
}

/// The hash; 0 for an empty picture.
fn difference_hash(image: &ImageView<'_>) -> u64 {
    let mut hash = 0;
    for row in 0..ROWS {
        let cells: [u64; COLUMNS] = std::array::from_fn(|column| mean(image, column, row));
        for pair in cells.windows(2) {
            hash = hash << 1 | u64::from(pair[0] > pair[1]);
        }
    }
    hash
}

/// The mean luminance of a cell, in 1/256000; at least one pixel of it.
fn mean(image: &ImageView<'_>, column: usize, row: usize) -> u64 {
    let range = |index: usize, cells: usize, side: usize| {
        let from = (index * side / cells).min(side.saturating_sub(1));
        let to = ((index + 1) * side / cells).clamp(from + 1, side.max(from + 1));
        from..to.min(side)
    };
    let (mut sum, mut count) = (0_u64, 0_u64);
    for y in range(row, ROWS, image.height) {
        for x in range(column, COLUMNS, image.width) {
            sum += image.luminance(y * image.width + x);
            count += 1;
        }
    }
    (sum * 256).checked_div(count).unwrap_or(0)
}

omnizap_plugin::export! { name: "example-phash", stages: [Phash] }

#[cfg(test)]
mod tests {
    use omnizap_plugin::Channels;

    use super::*;

    fn hash(width: usize, height: usize, pixel: impl Fn(usize, usize) -> u8) -> u64 {
        let pixels: Vec<u8> = (0..width * height)
            .map(|index| pixel(index % width, index / width))
            .collect();
        difference_hash(&ImageView {
            width,
            height,
            channels: Channels::Gray,
            pixels: &pixels,
        })
    }

    #[test]
    fn it_sees_the_picture_and_not_its_size() {
        let falling = |width: usize| move |x: usize, _: usize| 255 - (x * 255 / width) as u8;
        assert_eq!(hash(90, 80, falling(90)), u64::MAX);
        assert_eq!(hash(180, 160, falling(180)), u64::MAX);
        assert_eq!(hash(90, 80, |x, _| (x * 2) as u8), 0);
    }

    #[test]
    fn every_size_has_a_hash() {
        for (width, height) in [(0, 0), (1, 1), (1, 100), (7, 3)] {
            assert_eq!(hash(width, height, |_, _| 9), 0);
        }
    }
}

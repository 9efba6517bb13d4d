//! `decode`: an uploaded file becomes 8-bit RGB pixels.
//!
//! What the file is decides its content, never its name or declared type. The header
//! is checked against the limits before any pixel is decoded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use image::DynamicImage;
use image::metadata::Orientation;
use omnizap_contract::typed::{In, OneOf, Opt, Out, Text};
use omnizap_contract::{
    Bytes, Call, Channels, Error, Image, Inputs, Observed, OptionFault, Options, Outputs, Ports,
    Runner, Stage, StageKind, StageSpec, choices,
};

mod fault;
mod format;
mod gif;
mod jpeg;
mod limits;
mod pixels;

use limits::Limits;
use pixels::Alpha;

const FILE: In<Bytes> = In::required("file", "the uploaded file");
const IMAGE: Out<Image> = Out::new("image", "the picture, [height, width, 3], 8-bit RGB");

/// By default 50 million, as of a 50 MP camera.
const MAX_PIXELS: Opt<i64> = Opt::integer(
    "max_pixels",
    50_000_000,
    "most pixels of a picture, checked in its header before decoding",
)
.within(1, 1_000_000_000);
/// By default the longest side that JPEG and GIF can express.
const MAX_SIDE: Opt<i64> =
    Opt::integer("max_side", 65_535, "longest side of a picture in pixels").within(1, 1_000_000);
/// By default enough for [`MAX_PIXELS`] of 16-bit RGBA.
const MAX_ALLOC_BYTES: Opt<i64> = Opt::integer(
    "max_alloc_bytes",
    512 * 1024 * 1024,
    "most bytes that decoding one picture may hold",
)
.within(1 << 20, 1 << 36);
const ORIENTATION: Opt<OneOf<Turn>> = Opt::one_of(
    "orientation",
    Turn::Apply as usize,
    "whether a picture is turned upright as its EXIF data says",
);
const ALPHA: Opt<OneOf<Transparency>> = Opt::one_of(
    "alpha",
    Transparency::Compose as usize,
    "transparency: `compose` on the background, or `drop` and keep the colours beneath",
);
const BACKGROUND: Opt<Text> = Opt::text(
    "background",
    MID_GRAY,
    "the colour beneath transparent pixels, as #rrggbb",
);

/// A white sticker and a black one both stay visible on it.
const MID_GRAY: &str = "#808080";

choices! {
    /// Whether a picture is turned upright.
    enum Turn {
        Apply = "apply",
        Ignore = "ignore",
    }
}

choices! {
    /// What becomes of transparency; [`Alpha`] once the background is known.
    enum Transparency {
        Compose = "compose",
        Drop = "drop",
    }
}

/// The kind `decode`.
pub struct Decode;

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let doc = "decodes JPEG, PNG, WebP, GIF, BMP and TIFF (the first frame) to 8-bit RGB";
    let options = [
        MAX_PIXELS.spec(),
        MAX_SIDE.spec(),
        MAX_ALLOC_BYTES.spec(),
        ORIENTATION.spec(),
        ALPHA.spec(),
        BACKGROUND.spec(),
    ];
    StageSpec::new("decode", doc, options).pure()
});

impl StageKind for Decode {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        Ports::new([FILE.port()], [IMAGE.port()])
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        match parse_colour(options.get(BACKGROUND)) {
            Some(_) => Ok(()),
            None => {
                let message = format!("expected a colour as #rrggbb, such as {MID_GRAY:?}");
                Err(vec![OptionFault::new(BACKGROUND, message)])
            }
        }
    }

    async fn build(&self, options: &Options) -> Result<Runner, Error> {
        Ok(Runner::compute(Decoder::new(options)))
    }
}

struct Decoder {
    limits: Limits,
    apply_orientation: bool,
    alpha: Alpha,
}

impl Decoder {
    fn new(options: &Options) -> Self {
        let limit = |option: Opt<i64>| u64::try_from(options.get(option)).unwrap_or_default();
        Self {
            limits: Limits {
                max_pixels: limit(MAX_PIXELS),
                max_side: limit(MAX_SIDE),
                max_alloc_bytes: limit(MAX_ALLOC_BYTES),
            },
            apply_orientation: options.get(ORIENTATION) == Turn::Apply,
            alpha: match options.get(ALPHA) {
                Transparency::Drop => Alpha::Drop,
                Transparency::Compose => Alpha::Compose {
                    // It was checked: no colour is not among what may stand there.
                    background: parse_colour(options.get(BACKGROUND)).unwrap_or_default(),
                },
            },
        }
    }

    fn decode(&self, file: &Bytes) -> Result<Image, Error> {
        let format = format::sniff(file)?;
        // Decoders of hostile input are where bugs hide: a panic in one of them is a
        // broken picture, not the end of a worker thread.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            format::decode(file, format, self.limits)
        }));
        let (picture, orientation) = decoded.unwrap_or_else(|_| Err(fault::panicked(format)))?;
        let rgb = pixels::to_rgb8(picture, self.alpha);
        let orientation = match orientation {
            // Like Pillow, which turns a TIFF while loading it: there the tag is part
            // of the format, not an afterthought of the camera.
            turn if format == image::ImageFormat::Tiff || self.apply_orientation => turn,
            _ => Orientation::NoTransforms,
        };
        let mut rgb = DynamicImage::ImageRgb8(rgb);
        rgb.apply_orientation(orientation);
        let (width, height) = (rgb.width(), rgb.height());
        Image::new(width, height, Channels::Rgb, rgb.into_bytes().into())
            .ok_or_else(|| fault::broken(format, "it has no pixels"))
    }
}

impl Observed for Decoder {}

impl Stage for Decoder {
    fn run(&self, inputs: &Inputs, _: &Call) -> Result<Outputs, Error> {
        let image = self.decode(inputs.get(FILE)?)?;
        Ok(Outputs::new().with(IMAGE, image))
    }
}

/// `#rrggbb` as red, green, blue.
fn parse_colour(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#')?;
    if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some([red, green, blue])
}

#[cfg(test)]
mod tests;

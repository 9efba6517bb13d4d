//! `decode`: an uploaded file becomes 8-bit RGB pixels.
//!
//! What the file is decides its content, never its name or declared type. The header
//! is checked against the limits before any pixel is decoded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use image::DynamicImage;
use image::metadata::Orientation;
use omnizap_contract::{
    BoxFuture, Call, Channels, Error, Image, Input, Inputs, OptionFault, OptionSpec, OptionType,
    Options, Output, Outputs, PortType, Ports, Runner, Stage, StageKind, StageSpec,
};

mod fault;
mod format;
mod gif;
mod jpeg;
mod limits;
mod pixels;

use limits::Limits;
use pixels::Alpha;

/// Pixels beyond which a picture is refused: 50 million, as of a 50 MP camera.
const MAX_PIXELS: i64 = 50_000_000;
/// The longest side that JPEG and GIF can express.
const MAX_SIDE: i64 = 65_535;
/// Bytes that decoding may hold at once: enough for `MAX_PIXELS` of 16-bit RGBA.
const MAX_ALLOC_BYTES: i64 = 512 * 1024 * 1024;
/// Mid-gray: a white sticker and a black one both stay visible on it.
const BACKGROUND: &str = "#808080";

/// The kind `decode`.
pub struct Decode;

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec {
    name: "decode".into(),
    doc: "decodes JPEG, PNG, WebP, GIF, BMP and TIFF (the first frame) to 8-bit RGB".into(),
    options: vec![
        OptionSpec::new(
            "max_pixels",
            OptionType::Integer {
                min: 1,
                max: 1_000_000_000,
            },
            MAX_PIXELS,
            "most pixels of a picture, checked in its header before decoding",
        ),
        OptionSpec::new(
            "max_side",
            OptionType::Integer {
                min: 1,
                max: 1_000_000,
            },
            MAX_SIDE,
            "longest side of a picture in pixels",
        ),
        OptionSpec::new(
            "max_alloc_bytes",
            OptionType::Integer {
                min: 1 << 20,
                max: 1 << 36,
            },
            MAX_ALLOC_BYTES,
            "most bytes that decoding one picture may hold",
        ),
        OptionSpec::new(
            "orientation",
            OptionType::Choice((&["apply", "ignore"]).into()),
            "apply",
            "whether a picture is turned upright as its EXIF data says",
        ),
        OptionSpec::new(
            "alpha",
            OptionType::Choice((&["compose", "drop"]).into()),
            "compose",
            "transparency: `compose` on the background, or `drop` and keep the colours beneath",
        ),
        OptionSpec::new(
            "background",
            OptionType::Text,
            BACKGROUND,
            "the colour beneath transparent pixels, as #rrggbb",
        ),
    ],
    feature: None,
});

impl StageKind for Decode {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _options: &Options) -> Ports {
        Ports {
            inputs: vec![Input::required(
                "file",
                PortType::Bytes,
                "the uploaded file",
            )],
            outputs: vec![Output::new(
                "image",
                PortType::Image,
                "the picture, [height, width, 3], 8-bit RGB",
            )],
        }
    }

    fn check(&self, options: &Options) -> Result<(), Vec<OptionFault>> {
        match parse_colour(options.text("background").unwrap_or(BACKGROUND)) {
            Some(_) => Ok(()),
            None => Err(vec![OptionFault {
                option: "background".into(),
                message: format!("expected a colour as #rrggbb, such as {BACKGROUND:?}"),
            }]),
        }
    }

    fn build<'a>(&'a self, options: &'a Options) -> BoxFuture<'a, Result<Runner, Error>> {
        Box::pin(async { Ok(Runner::Compute(Arc::new(Decoder::new(options)))) })
    }
}

struct Decoder {
    limits: Limits,
    apply_orientation: bool,
    alpha: Alpha,
}

impl Decoder {
    fn new(options: &Options) -> Self {
        let limit = |name, default| {
            let value = options.integer(name).unwrap_or(default);
            u64::try_from(value).unwrap_or_default()
        };
        let background = options.text("background").and_then(parse_colour);
        Self {
            limits: Limits {
                max_pixels: limit("max_pixels", MAX_PIXELS),
                max_side: limit("max_side", MAX_SIDE),
                max_alloc_bytes: limit("max_alloc_bytes", MAX_ALLOC_BYTES),
            },
            apply_orientation: options.text("orientation") != Some("ignore"),
            alpha: match options.text("alpha") {
                Some("drop") => Alpha::Drop,
                _ => Alpha::Compose {
                    background: background.unwrap_or([0x80; 3]),
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

impl Stage for Decoder {
    fn run(&self, inputs: &Inputs, _call: &Call) -> Result<Outputs, Error> {
        let image = self.decode(inputs.bytes("file")?)?;
        Ok(Outputs::new().with("image", image))
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

//! `decode`: an uploaded file becomes 8-bit RGB pixels.
//!
//! What it takes, as its header says, is asked for of the room that all pictures share.

use std::sync::LazyLock;

use omnizap_contract::typed::{In, OneOf, Opt, Out, Text};
use omnizap_contract::{
    AsyncStage, Bytes, Call, Channels, Counters, Error, Image, Inputs, Observed, OptionFault,
    Options, Outputs, Ports, Runner, StageKind, StageSpec, choices,
};
use omnizap_pictures::{Alpha, Choice, Decoder, Frame, Frames, Limits, limits};
use omnizap_services::Services;
use omnizap_services::inference::frames::{self, FRAMES, MAX_FRAMES, Sample, Which};
use omnizap_services::inference::pictures::Pictures;

const FILE: In<Bytes> = In::required("file", "the uploaded file");
const IMAGE: Out<Image> = Out::new("image", "the picture, [height, width, 3], 8-bit RGB");
const FRAME_NUMBER: Out<i64> = Out::new(
    "frame_number",
    "which frame of the file the picture is, from 0",
);
const FRAMES_LOOKED_AT: Out<i64> = Out::new(
    "frames_looked_at",
    "how many frames of the file were looked at: 1 of a picture that does not move",
);

const MAX_PIXELS: Opt<i64> = Opt::integer(
    limits::MAX_PIXELS,
    Limits::DEFAULT.max_pixels.cast_signed(),
    "most pixels of a picture, checked in its header before decoding",
)
.within(1, 1_000_000_000);
const MAX_SIDE: Opt<i64> = Opt::integer(
    limits::MAX_SIDE,
    Limits::DEFAULT.max_side.cast_signed(),
    "longest side of a picture in pixels",
)
.within(1, 1_000_000);
const MAX_ALLOC_BYTES: Opt<i64> = Opt::integer(
    limits::MAX_ALLOC_BYTES,
    Limits::DEFAULT.max_alloc_bytes.cast_signed(),
    "most bytes that decoding one picture may hold",
)
.within(1 << 20, 1 << 36);
const ORIENTATION: Opt<OneOf<Turn>> = Opt::one_of(
    "orientation",
    Turn::Apply as usize,
    "whether a picture is turned upright as its EXIF data says",
);
const COLOR: Opt<OneOf<Colours>> = Opt::one_of(
    "color",
    Colours::AssumeSrgb as usize,
    "an ICC profile in the picture: `assume-srgb` ignores it, `managed` converts its colours to sRGB, \
     as browsers show them",
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

/// Off by default: the pixels differ a little from those of the whole picture scaled down.
const SCALED_TO: Opt<i64> = Opt::integer(
    "scaled_to",
    0,
    "pixels of the shorter side that are needed at least: a larger JPEG is decoded at a half, a \
     quarter or an eighth of its size where no more is needed; 0 decodes the whole",
)
.within(0, 65_535);

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
    /// What colours are taken for.
    enum Colours {
        AssumeSrgb = "assume-srgb",
        Managed = "managed",
    }
}

choices! {
    /// What becomes of transparency; [`Alpha`] once the background is known.
    enum Transparency {
        Compose = "compose",
        Drop = "drop",
    }
}

/// Files up to this size are looked at where the request is driven, which takes microseconds; the
/// header of a larger one may be long.
const LOOKED_AT_HERE: usize = 256 << 10;

/// The kind `decode`.
pub struct Decode {
    pictures: Pictures,
}

impl Decode {
    /// The kind, with the services that have the room for pictures.
    #[must_use]
    pub fn new(services: &Services) -> Self {
        let pictures = services.pictures();
        Self { pictures }
    }
}

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| {
    let doc = "decodes JPEG, PNG, WebP, GIF, BMP and TIFF to 8-bit RGB, of pictures that move one \
               frame or several";
    let options = [
        MAX_PIXELS.spec(),
        MAX_SIDE.spec(),
        MAX_ALLOC_BYTES.spec(),
        ORIENTATION.spec(),
        COLOR.spec(),
        ALPHA.spec(),
        BACKGROUND.spec(),
        SCALED_TO.spec(),
        FRAMES.spec(),
        MAX_FRAMES.spec(),
    ];
    StageSpec::new("decode", doc, options).pure()
});

impl StageKind for Decode {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, options: &Options) -> Ports {
        let image = IMAGE.port().of_space(Some(frames::space_of_one(options)));
        let mut outputs = vec![image, FRAME_NUMBER.port(), FRAMES_LOOKED_AT.port()];
        if options.get(FRAMES) == Which::Sample {
            outputs.extend(frames::given(options));
        }
        Ports::new([FILE.port()], outputs)
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
        Ok(Runner::waits(Decoding {
            decoder: decoder(options),
            frames: wanted(options),
            pictures: self.pictures.clone(),
        }))
    }
}

/// A decoder, and what it waits for.
struct Decoding {
    decoder: Decoder,
    frames: Frames,
    pictures: Pictures,
}

impl Observed for Decoding {
    fn counters(&self) -> Counters {
        self.pictures.counters()
    }
}

impl AsyncStage for Decoding {
    async fn run(&self, inputs: Inputs, call: &Call) -> Result<Outputs, Error> {
        let file = inputs.get(FILE)?.clone();
        let (decoder, frames) = (self.decoder, self.frames);
        let bytes = if file.len() <= LOOKED_AT_HERE {
            decoder.room_of(&file, frames)?
        } else {
            let file = file.clone();
            let looking = tokio::task::spawn_blocking(move || decoder.room_of(&file, frames));
            looking.await.map_err(Error::internal)??
        };
        let room = self.pictures.room(bytes, call).await?;
        let decoding = self.pictures.decode(call, move || {
            let mut choice = decoder.choose(&file, frames)?;
            let pixels = room.keep(std::mem::take(&mut choice.pixels));
            given(&choice, pixels, frames)
        });
        decoding.await
    }
}

/// The frames that were taken, at their ports. They share their pixels.
fn given(choice: &Choice, pixels: Bytes, wanted: Frames) -> Result<Outputs, Error> {
    let Choice { width, height, .. } = *choice;
    let [first, ..] = &*choice.frames else {
        return Err(Error::internal("a picture without a frame"));
    };
    let size = pixels.len() / choice.frames.len();
    let image = Image::new(width, height, Channels::Rgb, pixels.slice(..size))
        .ok_or_else(|| Error::internal("a picture of other size than its pixels"))?;
    let outputs = Outputs::new()
        .with(IMAGE, image)
        .with(FRAME_NUMBER, number(first))
        .with(
            FRAMES_LOOKED_AT,
            i64::try_from(choice.seen).unwrap_or(i64::MAX),
        );
    match wanted {
        Frames::First | Frames::Content => Ok(outputs),
        Frames::Sample { .. } => {
            let weights = choice.frames.iter().map(|frame| frame.weight).collect();
            let numbers = choice.frames.iter().map(number).collect();
            Sample::put(outputs, [height, width], pixels, weights, numbers)
        }
    }
}

fn number(frame: &Frame) -> i64 {
    i64::try_from(frame.index).unwrap_or(i64::MAX)
}

fn wanted(options: &Options) -> Frames {
    match options.get(FRAMES) {
        Which::First => Frames::First,
        Which::Content => Frames::Content,
        Which::Sample => Frames::Sample {
            most: options.get(MAX_FRAMES),
        },
    }
}

fn decoder(options: &Options) -> Decoder {
    let limit = |option: Opt<i64>| u64::try_from(options.get(option)).unwrap_or_default();
    Decoder {
        limits: Limits {
            max_pixels: limit(MAX_PIXELS),
            max_side: limit(MAX_SIDE),
            max_alloc_bytes: limit(MAX_ALLOC_BYTES),
        },
        is_turned: options.get(ORIENTATION) == Turn::Apply,
        scaled_to: u32::try_from(options.get(SCALED_TO))
            .ok()
            .filter(|side| *side > 0),
        is_managed: options.get(COLOR) == Colours::Managed,
        alpha: match options.get(ALPHA) {
            Transparency::Drop => Alpha::Drop,
            Transparency::Compose => Alpha::Compose {
                // It was checked: no colour is not among what may stand there.
                background: parse_colour(options.get(BACKGROUND)).unwrap_or_default(),
            },
        },
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

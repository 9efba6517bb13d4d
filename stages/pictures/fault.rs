//! Why a file could not be decoded, in words for the client who sent it.

use std::error::Error as StdError;

use image::ImageFormat;
use omnizap_contract::{Error, ErrorKind};

/// What to send: the formats that are read.
const SEND: &str = "send JPEG, PNG, WebP, GIF, BMP or TIFF";

/// No byte at all.
pub(super) fn empty() -> Error {
    Error::new(ErrorKind::Invalid, "file is empty; send a picture").with_code("empty_file")
}

/// The content is that of no picture that we know.
pub(super) fn not_an_image() -> Error {
    no_picture(SEND)
}

/// The content is known, and no picture: "plain text".
pub(super) fn not_an_image_but(what: &str) -> Error {
    no_picture(&format!("{SEND}, not {what}"))
}

/// A picture stands behind bytes that are none of it.
pub(super) fn begins_late(format: ImageFormat, bytes: usize) -> Error {
    let (name, plural) = (name(format), if bytes == 1 { "" } else { "s" });
    no_picture(&format!(
        "a {name} picture begins only after {bytes} byte{plural}; send it alone"
    ))
}

/// The content is a picture that was encoded as text: in `base64`.
pub(super) fn encoded(of: &str) -> Error {
    no_picture(&format!(
        "it is the {of} text of one; decode it and send the bytes that it stands for, or send base64 in \
         a field of JSON"
    ))
}

/// The content was a picture before it was taken for text.
pub(super) fn mangled() -> Error {
    no_picture(
        "it was one, and was treated as text on its way, which changed its bytes; send it as binary data",
    )
}

fn no_picture(what_to_do: &str) -> Error {
    let message = format!("file is no picture; {what_to_do}");
    Error::new(ErrorKind::Invalid, message).with_code("not_an_image")
}

/// What a file is that is known and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Of pixels.
    Picture,
    /// What a camera's sensor saw.
    Raw,
    /// Of lines and areas.
    Drawing,
    /// Of pages.
    Document,
    Video,
    /// Of a messenger; it may be a video.
    Sticker,
    Sound,
    Archive,
    /// Of the web.
    Page,
}

impl Foreign {
    /// What it is called, and what to do instead.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Picture => ("a picture", SEND),
            Self::Raw => ("a camera's raw picture", "make a JPEG of it and send that"),
            Self::Drawing => ("a drawing", "make a PNG of it and send that"),
            Self::Document => ("a document", "make a PNG or JPEG of the page and send that"),
            Self::Video => (
                "a video",
                "send one frame of it, or its thumbnail, as JPEG, PNG or WebP",
            ),
            Self::Sticker => (
                "an animated sticker or a video",
                "send one frame of it, or its thumbnail, as JPEG, PNG or WebP",
            ),
            Self::Sound => ("sound", SEND),
            Self::Archive => ("an archive", "unpack it and send the pictures in it"),
            Self::Page => (
                "a web page",
                "send the picture itself, not the page that shows it",
            ),
        }
    }
}

/// The content is known, and not read here.
pub(super) fn foreign(foreign: Foreign, name: &str) -> Error {
    let (what, what_to_do) = foreign.words();
    Error::new(
        ErrorKind::UnsupportedType,
        format!("file is {what} of the type {name}, which is not supported; {what_to_do}"),
    )
    .with_code("unsupported_format")
}

/// What Xcode makes of the PNG pictures in an app.
pub(super) fn apple_png() -> Error {
    Error::new(
        ErrorKind::UnsupportedType,
        "file is a picture in Apple's own variant of PNG (CgBI), as it stands in apps for iPhone and \
         iPad; open it there or with Apple's pngcrush (-revert-iphone-optimizations) and save it as plain PNG",
    )
    .with_code("unsupported_format")
}

/// The header asks for more than `limit`.
pub(super) fn too_large(what: String, limit: &'static str) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("file is a picture {what} ({limit}); scale it down"),
    )
    .with_code("image_too_large")
}

/// The file ends before the picture does.
pub(super) fn truncated(format: ImageFormat) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!(
            "file is a {} picture that ends too early; send it again",
            name(format)
        ),
    )
    .with_code("truncated_image")
}

/// The picture contradicts its format; `reason` goes to the log.
pub(super) fn broken(
    format: ImageFormat,
    reason: impl Into<Box<dyn StdError + Send + Sync>>,
) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!(
            "file is a damaged {} picture; save it anew and send that",
            name(format)
        ),
    )
    .with_code("broken_image")
    .with_source(reason)
}

/// The format is ours and the kind within it is not; `reason` goes to the log.
pub(super) fn rare_kind(
    format: ImageFormat,
    reason: impl Into<Box<dyn StdError + Send + Sync>>,
) -> Error {
    let name = name(format);
    Error::new(
        ErrorKind::UnsupportedType,
        format!(
            "file is a {name} picture of a rare kind that is not supported; save it as plain RGB"
        ),
    )
    .with_code("unsupported_format")
    .with_source(reason)
}

/// The format is ours and what the picture has within it is not: `what` stands behind "with".
pub(super) fn unread_kind(format: ImageFormat, what: &str) -> Error {
    let name = name(format);
    Error::new(
        ErrorKind::UnsupportedType,
        format!(
            "file is a {name} picture with {what}, which is not supported; save it as plain RGB"
        ),
    )
    .with_code("unsupported_format")
}

/// A decoder gave up in the middle of its work.
pub(super) fn panicked(format: ImageFormat) -> Error {
    tracing::error!(
        ?format,
        "an image decoder panicked; please report the file to its authors"
    );
    broken(format, "the decoder panicked")
}

/// The format's name as people write it.
pub(super) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => "unknown",
    }
}

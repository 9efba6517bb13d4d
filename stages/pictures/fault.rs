//! Why a file could not be decoded, in words for the client who sent it.

use std::error::Error as StdError;
use std::io;

use image::{ImageError, ImageFormat};
use omnizap_contract::{Error, ErrorKind};

use super::limits::MAX_ALLOC_BYTES;

/// The formats of this stage, for error messages.
const FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP or TIFF";

/// No byte at all.
pub(super) fn empty() -> Error {
    Error::new(ErrorKind::Invalid, "file is empty; send a picture").with_code("empty_file")
}

/// The content is that of no picture that we know.
pub(super) fn not_an_image() -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("file is no picture; send {FORMATS}"),
    )
    .with_code("not_an_image")
}

/// The content is a picture of a format that is not decoded here.
pub(super) fn unsupported_format(name: &str) -> Error {
    Error::new(
        ErrorKind::UnsupportedType,
        format!("file is a picture of the type {name}, which is not supported; send {FORMATS}"),
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

/// A decoder gave up in the middle of its work.
pub(super) fn panicked(format: ImageFormat) -> Error {
    tracing::error!(
        ?format,
        "an image decoder panicked; please report the file to its authors"
    );
    broken(format, "the decoder panicked")
}

/// What a decoder reported.
pub(super) fn from_decoder(format: ImageFormat, error: ImageError) -> Error {
    match error {
        ImageError::Limits(_) => too_large(
            "that needs too much memory to decode".to_owned(),
            MAX_ALLOC_BYTES,
        )
        .with_source(error),
        ImageError::Unsupported(_) => rare_kind(format, error),
        error if ends_early(&error) => truncated(format).with_source(error),
        error => broken(format, error),
    }
}

/// True where the error or some cause of it is the end of the file.
fn ends_early(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = match error {
        // Its own source is that of the inner error.
        ImageError::IoError(error) => Some(error),
        error => Some(error),
    };
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
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
        ImageFormat::Avif => "AVIF",
        ImageFormat::Ico => "ICO",
        ImageFormat::Pnm => "PNM",
        ImageFormat::Dds => "DDS",
        ImageFormat::Hdr => "HDR",
        ImageFormat::OpenExr => "OpenEXR",
        ImageFormat::Farbfeld => "farbfeld",
        ImageFormat::Qoi => "QOI",
        _ => "unknown",
    }
}

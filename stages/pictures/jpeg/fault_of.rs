//! Refusals of JPEG in short: see `fault.rs`.

use image::ImageFormat::Jpeg;
use omnizap_contract::{Error, ErrorKind};

use crate::fault;

/// The stream contradicts itself.
pub(super) fn broken(reason: impl Into<String>) -> Error {
    fault::broken(Jpeg, reason.into())
}

/// The stream ends before the picture does.
pub(super) fn truncated() -> Error {
    fault::truncated(Jpeg)
}

/// A kind that is not decoded; `what` it is completes "a JPEG picture ...".
pub(super) fn rare(what: &str) -> Error {
    Error::new(
        ErrorKind::UnsupportedType,
        format!(
            "file is a JPEG picture {what}, which is not supported; save it as plain JPEG or PNG"
        ),
    )
    .with_code("unsupported_format")
}

/// The scans of a progressive picture are more work than they should be.
pub(super) fn too_many_scans() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        "file is a JPEG picture in too many scans; save it anew, not as progressive, and send that",
    )
    .with_code("image_too_large")
}

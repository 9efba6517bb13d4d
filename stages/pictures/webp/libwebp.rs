//! The one place that calls libwebp, which decodes the pixels.
//!
//! Why a library in C and not the image crate's decoder: that takes three times as long with lossy
//! pictures (12 million pixels: 740 ms of one core, here 240) and half as long again with lossless
//! ones, and WebP is what messengers send. libwebp is what browsers and Pillow decode with, so its
//! pixels are the right ones by definition. Against it stands unsafe code on hostile input: it is
//! under continuous fuzzing by OSS-Fuzz; the version that is built here is 1.6, behind the repair of CVE-2023-4863
//! (1.3.2). Only its decoder of one picture is called: the container, which is where sizes are
//! claimed, is read in Rust. It builds in half a minute of one core, by the C compiler that other
//! crates want too.

#![allow(
    unsafe_code,
    reason = "libwebp is written in C: its decoder fills a buffer that it is given"
)]

use std::ffi::c_int;

use libwebp_sys::{VP8StatusCode, WEBP_CSP_MODE, WebPDecode, WebPDecoderConfig, WebPRGBABuffer};

/// Bytes a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Rgb,
    Rgba,
}

impl Layout {
    pub(super) fn channels(self) -> usize {
        match self {
            Layout::Rgb => 3,
            Layout::Rgba => 4,
        }
    }
}

/// Why a picture was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The data ends too early.
    Truncated,
    /// It could not allocate what it needs.
    Memory,
    /// Anything else.
    Broken,
}

/// Decodes the chunk `VP8 ` or `VP8L` that `data` holds, or `ALPH` and what follows it up to `VP8 `,
/// into rows that are `stride` bytes apart. `width` and `height` are those of the picture.
///
/// # Errors
/// Where the data is broken, and where the picture is not of that size; `out` may hold parts of it.
pub(super) fn decode(
    data: &[u8],
    out: &mut [u8],
    layout: Layout,
    stride: usize,
    (width, height): (u32, u32),
) -> Result<(), Fault> {
    let row = layout.channels() * width as usize;
    let needed = (height as usize)
        .checked_sub(1)
        .and_then(|rows| rows.checked_mul(stride))
        .and_then(|bytes| bytes.checked_add(row));
    let fits = row <= stride && needed.is_some_and(|needed| needed <= out.len());
    let (Ok(stride), true) = (c_int::try_from(stride), fits) else {
        return Err(Fault::Broken);
    };
    let mut config = WebPDecoderConfig::new().map_err(|()| Fault::Broken)?;
    config.output.colorspace = match layout {
        Layout::Rgb => WEBP_CSP_MODE::MODE_RGB,
        Layout::Rgba => WEBP_CSP_MODE::MODE_RGBA,
    };
    config.output.is_external_memory = 1;
    config.output.u.RGBA = WebPRGBABuffer {
        rgba: out.as_mut_ptr(),
        stride,
        size: out.len(),
    };
    // SAFETY: `data` is readable for its whole length, and libwebp reads no farther. `out` is
    // writable for `size` bytes and borrowed by nobody else; libwebp writes rows of the size that the
    // data says, `stride` apart, and only after it has found that they fit in `size`. `config` was
    // initialised by libwebp of this version; it owns nothing, since the buffer is external, so that
    // there is nothing to free, and libwebp keeps no pointer to either behind the call. It calls
    // nothing of ours, so that no panic passes through it.
    let status = unsafe { WebPDecode(data.as_ptr(), data.len(), &raw mut config) };
    match status {
        VP8StatusCode::VP8_STATUS_OK => {}
        VP8StatusCode::VP8_STATUS_NOT_ENOUGH_DATA | VP8StatusCode::VP8_STATUS_SUSPENDED => {
            return Err(Fault::Truncated);
        }
        VP8StatusCode::VP8_STATUS_OUT_OF_MEMORY => return Err(Fault::Memory),
        _ => return Err(Fault::Broken),
    }
    let size = [config.output.width, config.output.height].map(u32::try_from);
    if size != [Ok(width), Ok(height)] {
        return Err(Fault::Broken);
    }
    Ok(())
}

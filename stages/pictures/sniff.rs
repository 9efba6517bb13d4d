//! What a file is, told by its content: one of the formats that are read, or why it is refused.
//!
//! What is known and not read has a name and what to do about it; for the rest the message says in
//! words what the file looks like. At most the first [`HEAD`] bytes are searched.

use image::ImageFormat;
use memchr::memmem;
use omnizap_contract::Error;

use super::{bmp, fault};

mod containers;
mod signatures;
mod text;

use fault::Foreign;

/// How much of a file is searched for what has no fixed place.
const HEAD: usize = 64 << 10;

/// What begins the formats that are read. `?` stands for any byte.
const READ: [(&[u8], ImageFormat); 12] = [
    (b"\xFF\xD8\xFF", ImageFormat::Jpeg),
    (b"\x89PNG\r\n\x1A\n", ImageFormat::Png),
    (b"RIFF????WEBP", ImageFormat::WebP),
    (b"GIF89a", ImageFormat::Gif),
    (b"GIF87a", ImageFormat::Gif),
    (b"BM", ImageFormat::Bmp),
    (b"II*\0", ImageFormat::Tiff),
    (b"MM\0*", ImageFormat::Tiff),
    // BigTIFF.
    (b"II+\0", ImageFormat::Tiff),
    (b"MM\0+", ImageFormat::Tiff),
    // The number is in the other order of bytes, as some write it.
    (b"II\0*", ImageFormat::Tiff),
    (b"MM*\0", ImageFormat::Tiff),
];

/// What begins files that are no pictures and come in place of some.
const NONE: [(&[u8], &str); 6] = [
    (b"\0\x05\x16\x07", "what macOS keeps beside a file (._NAME)"),
    (b"version https://git-lfs", "a pointer of Git LFS"),
    (b"SQLite format 3\0", "a database"),
    (b"MZ", "a program"),
    (b"\x7FELF", "a program"),
    (b"wOF", "a font"),
];

/// The format that the content has, one of those that are read.
///
/// # Errors
/// `Invalid` where the file is empty or no picture, `UnsupportedType` where it is of another format.
pub(super) fn sniff(file: &[u8]) -> Result<ImageFormat, Error> {
    if file.is_empty() {
        return Err(fault::empty());
    }
    let head = &file[..file.len().min(HEAD)];
    if let Some(format) = begins(file) {
        let is_packed = matches!(format, ImageFormat::Gif | ImageFormat::WebP);
        return match containers::within(format, file) {
            Some((foreign, name)) => Err(fault::foreign(foreign, name)),
            None if is_packed && text::is_surely_mangled(head) => Err(fault::mangled()),
            None => Ok(format),
        };
    }
    if bmp::is_bare(file) {
        return Ok(ImageFormat::Bmp);
    }
    let found = containers::find(file).or_else(|| signatures::find(file));
    if let Some((foreign, name)) = found {
        // Some signatures are letters with which any text may begin.
        if signatures::OF_TEXT.contains(&name) || !text::is_plain(head) {
            return Err(fault::foreign(foreign, name));
        }
    }
    if let Some((signature, what)) = NONE.iter().find(|(begin, _)| file.starts_with(begin)) {
        // Two letters may begin a text.
        if signature.len() > 2 || !text::is_plain(head) {
            return Err(fault::not_an_image_but(what));
        }
    }
    if file.iter().all(|&byte| byte == 0) {
        return Err(fault::not_an_image_but("a file of zeros"));
    }
    Err(text::explain(head).unwrap_or_else(|| match behind(head) {
        Some((format, at)) => fault::begins_late(format, at),
        None => fault::not_an_image(),
    }))
}

/// What to say of a file that looks like a picture and could not be read: it may have been taken for
/// text on its way.
pub(super) fn explained(file: &[u8], error: Error) -> Error {
    let is_broken = error.kind() == omnizap_contract::ErrorKind::Invalid;
    let head = &file[..file.len().min(HEAD)];
    if is_broken && text::is_mangled(head) {
        return fault::mangled().with_source(error);
    }
    error
}

/// The format that a file begins like.
fn begins(file: &[u8]) -> Option<ImageFormat> {
    let fits = |(signature, _): &&(&[u8], _)| matches(file, 0, signature);
    let &(_, format) = READ.iter().find(fits)?;
    // Two letters may begin a text.
    let is_text = format == ImageFormat::Bmp && text::is_plain(&file[..file.len().min(HEAD)]);
    (!is_text).then_some(format)
}

/// A picture that begins later: behind white space, the head of an HTTP answer, or rubbish.
fn behind(head: &[u8]) -> Option<(ImageFormat, usize)> {
    // Shorter signatures are found by chance.
    let long = || READ.iter().filter(|(signature, _)| signature.len() > 4);
    (1..head.len()).find_map(|at| {
        let is_jpeg = matches!(
            head[at..],
            [
                0xFF,
                0xD8,
                0xFF,
                0xC0 | 0xC2 | 0xC4 | 0xDB | 0xE0..=0xEF | 0xFE,
                ..
            ]
        );
        if is_jpeg {
            return Some((ImageFormat::Jpeg, at));
        }
        let found = long().find(|(signature, _)| matches(head, at, signature));
        found.map(|&(_, format)| (format, at))
    })
}

/// True where a signature is at a place; `?` stands for any byte.
fn matches(file: &[u8], at: usize, signature: &[u8]) -> bool {
    let Some(found) = file.get(at..).and_then(|rest| rest.get(..signature.len())) else {
        return false;
    };
    found
        .iter()
        .zip(signature)
        .all(|(byte, sign)| byte == sign || *sign == b'?')
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    memmem::find(hay, needle).is_some()
}

#[cfg(test)]
mod tests;

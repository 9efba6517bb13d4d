//! Formats that hold others: which one it is, something inside tells.

use std::io::Read;

use flate2::read::GzDecoder;
use image::ImageFormat;

use super::{Foreign, contains, matches};

type Found = (Foreign, &'static str);

/// What the brands of files of the MP4 family (ISO 14496-12) stand for. Of the two that stand for any
/// kind of picture the other brands tell more.
const BRANDS: &[(&[u8], Found)] = &[
    (b"avif", (Foreign::Picture, "AVIF")),
    (b"avis", (Foreign::Picture, "AVIF")),
    (b"heic", (Foreign::Picture, "HEIC")),
    (b"heix", (Foreign::Picture, "HEIC")),
    (b"heim", (Foreign::Picture, "HEIC")),
    (b"heis", (Foreign::Picture, "HEIC")),
    (b"hevc", (Foreign::Picture, "HEIC")),
    (b"hevx", (Foreign::Picture, "HEIC")),
    (b"hevm", (Foreign::Picture, "HEIC")),
    (b"hevs", (Foreign::Picture, "HEIC")),
    (b"jxl ", (Foreign::Picture, "JPEG XL")),
    (b"jp2 ", (Foreign::Picture, "JPEG 2000")),
    (b"crx ", (Foreign::Raw, "CR3")),
    (b"qt  ", (Foreign::Video, "MOV")),
    (b"M4A ", (Foreign::Sound, "M4A")),
    (b"M4B ", (Foreign::Sound, "M4A")),
    (b"M4P ", (Foreign::Sound, "M4A")),
];
/// Pictures of any coding.
const ANY_PICTURE: [&[u8; 4]; 3] = [b"mif1", b"msf1", b"miaf"];
/// Most bytes of the box with the brands that are looked at.
const MAX_BRANDS: usize = 256;

/// How much of what is packed is looked at.
const UNPACKED: u64 = 4 << 10;

/// Most segments of a JPEG before its frame header, and most entries of a TIFF's directory.
const MAX_PARTS: usize = 1000;

/// What a file is that begins with the signature of a format that is read, and is something else.
pub(super) fn within(format: ImageFormat, file: &[u8]) -> Option<Found> {
    match format {
        ImageFormat::Jpeg if is_jpeg_ls(file) => Some((Foreign::Picture, "JPEG-LS")),
        ImageFormat::Tiff => raw(file).map(|name| (Foreign::Raw, name)),
        _ => None,
    }
}

/// What a container is.
pub(super) fn find(file: &[u8]) -> Option<Found> {
    if matches(file, 4, b"ftyp") {
        return Some(by_brand(file));
    }
    if matches(file, 0, b"\x1A\x45\xDF\xA3") {
        let is_webm = contains(&file[..file.len().min(64)], b"webm");
        return Some(if is_webm {
            (Foreign::Sticker, "WebM")
        } else {
            (Foreign::Video, "MKV")
        });
    }
    if matches(file, 0, b"RIFF") {
        return match file.get(8..12)? {
            b"AVI " => Some((Foreign::Video, "AVI")),
            b"WAVE" => Some((Foreign::Sound, "WAV")),
            b"ACON" => Some((Foreign::Picture, "ANI")),
            _ => None,
        };
    }
    if matches(file, 0, b"OggS") {
        let first = &file[..file.len().min(128)];
        let is_video = contains(first, b"theora") || contains(first, b"video");
        return Some((
            if is_video {
                Foreign::Video
            } else {
                Foreign::Sound
            },
            "OGG",
        ));
    }
    matches(file, 0, b"\x1F\x8B").then(|| packed(file))
}

fn by_brand(file: &[u8]) -> Found {
    let size = file
        .first_chunk()
        .map_or(0, |size| u32::from_be_bytes(*size) as usize);
    let end = size.clamp(12, MAX_BRANDS).min(file.len());
    let named = file.get(8..end).unwrap_or_default();
    let (brands, _) = named.as_chunks::<4>();
    // The second is a version.
    let mut brands = brands.iter().enumerate().filter(|(at, _)| *at != 1);
    let known = |brand: &[u8; 4]| BRANDS.iter().find(|(known, _)| known == brand);
    let Some((_, major)) = brands.next() else {
        return (Foreign::Video, "MP4");
    };
    if let Some(&(_, found)) = known(major) {
        return found;
    }
    let is_picture = ANY_PICTURE.contains(&major);
    // A video may say that there is a picture of it too.
    let other = brands
        .find_map(|(_, brand)| known(brand))
        .filter(|_| is_picture);
    match other {
        Some(&(_, found)) => found,
        None if is_picture => (Foreign::Picture, "HEIC"),
        None => (Foreign::Video, "MP4"),
    }
}

/// What is packed by gzip: vector drawings and stickers of Telegram come so.
fn packed(file: &[u8]) -> Found {
    let mut start = Vec::new();
    // What could be unpacked before an error counts.
    let _ = GzDecoder::new(file).take(UNPACKED).read_to_end(&mut start);
    if contains(&start, b"<svg") || contains(&start, b":svg") {
        (Foreign::Drawing, "SVGZ")
    } else if start.first() == Some(&b'{') {
        (Foreign::Sticker, "TGS")
    } else {
        (Foreign::Archive, "GZIP")
    }
}

/// True where the frame header of a JPEG is that of JPEG-LS.
fn is_jpeg_ls(file: &[u8]) -> bool {
    let mut at = 2;
    for _ in 0..MAX_PARTS {
        let Some(&[0xFF, marker, high, low]) = file.get(at..).and_then(|rest| rest.first_chunk())
        else {
            return false;
        };
        match marker {
            0xF7 => return true,
            // Bytes to fill.
            0xFF => at += 1,
            // The frame header of another kind, or the pixels.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCF | 0xD0..=0xDA => return false,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    false
}

/// The name of a camera's raw format that is a TIFF, whose first picture is then a thumbnail.
fn raw(file: &[u8]) -> Option<&'static str> {
    if matches(file, 8, b"CR\x02\0") {
        return Some("CR2");
    }
    let is_little = file.starts_with(b"II");
    let short = |at: usize| -> Option<u16> {
        let bytes = *file.get(at..)?.first_chunk()?;
        Some(if is_little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    };
    let long = |at: usize| -> Option<u32> {
        let bytes = *file.get(at..)?.first_chunk()?;
        Some(if is_little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    };
    if short(2)? != 42 {
        return None;
    }
    let directory = long(4)? as usize;
    let count = usize::from(short(directory)?).min(MAX_PARTS);
    let entry = |wanted: u16| {
        let mut places = (0..count).map(|index| directory.saturating_add(2 + 12 * index));
        places.find(|&at| short(at) == Some(wanted))
    };
    // It is smaller than another one, which is in a directory of its own.
    let is_thumbnail = long(entry(254)? + 8)? & 1 == 1 && entry(330).is_some();
    if !is_thumbnail {
        return None;
    }
    if entry(50706).is_some() {
        return Some("DNG");
    }
    let make = file.get(long(entry(271)? + 8)? as usize..)?;
    let names: [(&[u8], &str); 3] = [(b"NIKON", "NEF"), (b"SONY", "ARW"), (b"PENTAX", "PEF")];
    names
        .iter()
        .find(|(of, _)| make.starts_with(of))
        .map(|(_, name)| *name)
}

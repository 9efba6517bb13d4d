//! What other formats begin with, or have at a fixed place.

use super::{Foreign, matches};

type Signature = (usize, &'static [u8], Foreign, &'static str);

/// Place, bytes (`?` stands for any), what it is and its name. The first that fits holds.
const SIGNATURES: &[Signature] = &[
    (0, b"\0\0\0\x0CJXL \r\n\x87\n", Foreign::Picture, "JPEG XL"),
    (0, b"\xFF\x0A", Foreign::Picture, "JPEG XL"),
    (
        0,
        b"\0\0\0\x0CjP  \r\n\x87\n",
        Foreign::Picture,
        "JPEG 2000",
    ),
    (0, b"\xFF\x4F\xFF\x51", Foreign::Picture, "JPEG 2000"),
    (0, b"II\xBC", Foreign::Picture, "JPEG XR"),
    (0, b"8BPS", Foreign::Picture, "PSD"),
    (0, b"8BPB", Foreign::Picture, "PSB"),
    (0, b"icns", Foreign::Picture, "ICNS"),
    (0, b"qoif", Foreign::Picture, "QOI"),
    (0, b"DDS ", Foreign::Picture, "DDS"),
    (0, b"#?RADIANCE", Foreign::Picture, "HDR"),
    (0, b"#?RGBE", Foreign::Picture, "HDR"),
    (0, b"\x76\x2F\x31\x01", Foreign::Picture, "OpenEXR"),
    (0, b"farbfeld", Foreign::Picture, "farbfeld"),
    (0, b"BPG\xFB", Foreign::Picture, "BPG"),
    (0, b"FLIF", Foreign::Picture, "FLIF"),
    (0, b"gimp xcf", Foreign::Picture, "XCF"),
    (0, b"AT&TFORM", Foreign::Document, "DjVu"),
    (0, b"\x8AMNG\r\n\x1A\n", Foreign::Picture, "MNG"),
    (0, b"\x8BJNG\r\n\x1A\n", Foreign::Picture, "JNG"),
    (0, b"\xABKTX ", Foreign::Picture, "KTX"),
    (0, b"id=ImageMagick", Foreign::Picture, "MIFF"),
    (0, b"/* XPM */", Foreign::Picture, "XPM"),
    (0, b"SIMPLE  =", Foreign::Picture, "FITS"),
    (128, b"DICM", Foreign::Picture, "DICOM"),
    (0, b"\x01\xDA\0\x01", Foreign::Picture, "SGI"),
    (0, b"\x01\xDA\0\x02", Foreign::Picture, "SGI"),
    (0, b"\x01\xDA\x01\x01", Foreign::Picture, "SGI"),
    (0, b"\x01\xDA\x01\x02", Foreign::Picture, "SGI"),
    (0, b"BLP1", Foreign::Picture, "BLP"),
    (0, b"BLP2", Foreign::Picture, "BLP"),
    (0, b"\xB1\x68\xDE\x3A", Foreign::Picture, "DCX"),
    (4, b"\x11\xAF", Foreign::Video, "FLI"),
    (4, b"\x12\xAF", Foreign::Video, "FLC"),
    (0, b"\x59\xA6\x6A\x95", Foreign::Picture, "Sun Raster"),
    (0, b"FORM????ILBM", Foreign::Picture, "ILBM"),
    (0, b"FORM????PBM ", Foreign::Picture, "ILBM"),
    (
        0,
        b"BA????????????BM",
        Foreign::Picture,
        "OS/2 bitmap array",
    ),
    (0, b"\xD7\xCD\xC6\x9A", Foreign::Drawing, "WMF"),
    (40, b" EMF", Foreign::Drawing, "EMF"),
    (0, b"%!PS", Foreign::Drawing, "PostScript"),
    (0, b"\xC5\xD0\xD3\xC6", Foreign::Drawing, "EPS"),
    (0, b"%PDF-", Foreign::Document, "PDF"),
    (
        0,
        b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1",
        Foreign::Document,
        "Microsoft Office",
    ),
    (0, b"{\\rtf", Foreign::Document, "RTF"),
    (0, b"FUJIFILMCCD-RAW", Foreign::Raw, "RAF"),
    (0, b"II\x1A\0\0\0HEAPCCDR", Foreign::Raw, "CRW"),
    (0, b"IIRO", Foreign::Raw, "ORF"),
    (0, b"IIRS", Foreign::Raw, "ORF"),
    (0, b"MMOR", Foreign::Raw, "ORF"),
    (0, b"IIU\0", Foreign::Raw, "RW2"),
    (0, b"FOVb", Foreign::Raw, "X3F"),
    (0, b"\0MRM", Foreign::Raw, "MRW"),
    (0, b"FLV\x01", Foreign::Video, "FLV"),
    (0, b"\0\0\x01\xBA", Foreign::Video, "MPEG"),
    (0, b"\0\0\x01\xB3", Foreign::Video, "MPEG"),
    (
        0,
        b"\x30\x26\xB2\x75\x8E\x66\xCF\x11",
        Foreign::Video,
        "WMV",
    ),
    (0, b"FWS", Foreign::Video, "Flash"),
    (0, b"CWS", Foreign::Video, "Flash"),
    (4, b"moov", Foreign::Video, "MOV"),
    (4, b"mdat", Foreign::Video, "MOV"),
    (4, b"wide", Foreign::Video, "MOV"),
    (4, b"pnot", Foreign::Video, "MOV"),
    (0, b"ID3", Foreign::Sound, "MP3"),
    (0, b"fLaC", Foreign::Sound, "FLAC"),
    (0, b"FORM????AIF", Foreign::Sound, "AIFF"),
    (0, b"MThd", Foreign::Sound, "MIDI"),
    (0, b"#!AMR", Foreign::Sound, "AMR"),
    (0, b"caff\0\x01", Foreign::Sound, "CAF"),
    (0, b"PK\x03\x04", Foreign::Archive, "ZIP"),
    (0, b"PK\x05\x06", Foreign::Archive, "ZIP"),
    (0, b"7z\xBC\xAF\x27\x1C", Foreign::Archive, "7z"),
    (0, b"Rar!\x1A\x07", Foreign::Archive, "RAR"),
    (0, b"\xFD7zXZ\0", Foreign::Archive, "XZ"),
    (0, b"\x28\xB5\x2F\xFD", Foreign::Archive, "Zstandard"),
    (0, b"BZh", Foreign::Archive, "bzip2"),
    (257, b"ustar", Foreign::Archive, "TAR"),
];

/// Of these the formats that are text, wholly or at their beginning.
pub(super) const OF_TEXT: [&str; 7] = ["XPM", "FITS", "PostScript", "PDF", "RTF", "PNM", "HDR"];

/// What ends a TGA of the newer kind; the older one cannot be told from numbers.
const TGA_FOOTER: &[u8] = b"TRUEVISION-XFILE.\0";

/// What a file is by its signature.
pub(super) fn find(file: &[u8]) -> Option<(Foreign, &'static str)> {
    let fits = |(at, signature, _, _): &&Signature| matches(file, *at, signature);
    if let Some(&(_, _, foreign, name)) = SIGNATURES.iter().find(fits) {
        return Some((foreign, name));
    }
    let by_looking: [(bool, Foreign, &str); 7] = [
        (is_pnm(file), Foreign::Picture, "PNM"),
        (is_icon(file, 1), Foreign::Picture, "ICO"),
        (is_icon(file, 2), Foreign::Picture, "CUR"),
        (is_pcx(file), Foreign::Picture, "PCX"),
        (is_transport_stream(file), Foreign::Video, "MPEG-TS"),
        (is_mpeg_sound(file), Foreign::Sound, "MP3"),
        (file.ends_with(TGA_FOOTER), Foreign::Picture, "TGA"),
    ];
    let found = by_looking.into_iter().find(|(is_it, ..)| *is_it);
    found.map(|(_, foreign, name)| (foreign, name))
}

/// `P6`, `PF` and the like, with white space behind.
fn is_pnm(file: &[u8]) -> bool {
    matches!(
        file,
        [
            b'P',
            b'1'..=b'7' | b'F' | b'f',
            b' ' | b'\t' | b'\r' | b'\n',
            ..
        ]
    )
}

/// A directory of icons (1) or cursors (2), which has entries whose fourth byte is 0.
fn is_icon(file: &[u8], kind: u8) -> bool {
    let is_directory =
        matches!(file, [0, 0, found, 0, 1..=255, 0, _, _, _, 0, ..] if *found == kind);
    is_directory && file.len() >= 22
}

fn is_pcx(file: &[u8]) -> bool {
    matches!(file, [0x0A, 0 | 2..=5, 0 | 1, 1 | 2 | 4 | 8, ..]) && file.len() >= 128
}

/// Packets of 188 bytes, or of 192 with a time before each, begin with `G`.
fn is_transport_stream(file: &[u8]) -> bool {
    [(0, 188), (4, 192)]
        .into_iter()
        .any(|(start, step)| (0..3).all(|packet| file.get(start + packet * step) == Some(&b'G')))
}

/// A frame of MP3 or AAC without tags before it: bits that are all set, then a layer, and for MP3 a
/// rate that there is.
fn is_mpeg_sound(file: &[u8]) -> bool {
    match file {
        [0xFF, 0xF1 | 0xF9, third, ..] => *third >> 2 & 15 < 13,
        [0xFF, 0xFA | 0xFB | 0xF2 | 0xF3, third, ..] => {
            !matches!(third >> 4, 0 | 15) && third >> 2 & 3 != 3
        }
        _ => false,
    }
}

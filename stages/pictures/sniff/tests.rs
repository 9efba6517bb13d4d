use omnizap_contract::ErrorKind;

use super::*;

/// The message, and whether it is a 415.
fn refused(file: &[u8]) -> (String, bool) {
    let error = sniff(file).expect_err("it is no picture that is read");
    (
        error.message().to_owned(),
        error.kind() == ErrorKind::UnsupportedType,
    )
}

fn padded(start: &[u8]) -> Vec<u8> {
    let mut file = start.to_vec();
    file.resize(600, 1);
    file
}

#[track_caller]
fn named(file: &[u8], name: &str) {
    let (message, is_415) = refused(file);
    assert!(is_415, "{name}: {message}");
    assert!(
        message.contains(&format!("of the type {name},")),
        "{name}: {message}"
    );
}

#[test]
fn pictures_of_other_formats_have_their_names() {
    let ftyp = |brands: &[u8]| [&[0, 0, 0, 8 + brands.len() as u8], &b"ftyp"[..], brands].concat();
    for (brands, name) in [
        (&b"avif\0\0\0\0avifmif1"[..], "AVIF"),
        (b"avis\0\0\0\0avifavis", "AVIF"),
        (b"mif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"mif1\0\0\0\0mif1heic", "HEIC"),
        (b"msf1\0\0\0\0msf1hevc", "HEIC"),
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"heim\0\0\0\0", "HEIC"),
        (b"heis", "HEIC"),
        (b"hevc\0\0\0\0", "HEIC"),
        (b"hevx\0\0\0\0", "HEIC"),
        (b"crx \0\0\0\x01crx isom", "CR3"),
        (b"isom\0\0\x02\0isomiso2avc1mp41", "MP4"),
        (b"mp42\0\0\0\0mp42avif", "MP4"),
        (b"qt  \0\0\0\0qt  ", "MOV"),
        (b"M4A \0\0\0\0", "M4A"),
    ] {
        named(&padded(&ftyp(brands)), name);
    }
    for (start, name) in [
        (&b"\0\0\0\x0CJXL \r\n\x87\n"[..], "JPEG XL"),
        (b"\xFF\x0A\xFA\x1F", "JPEG XL"),
        (b"\0\0\0\x0CjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xFF\x4F\xFF\x51\0", "JPEG 2000"),
        (b"II\xBC\x01", "JPEG XR"),
        (b"\xFF\xD8\xFF\xF7\0\x0B", "JPEG-LS"),
        (b"\xFF\xD8\xFF\xFE\0\x04hi\xFF\xFF\xF7\0\x0B", "JPEG-LS"),
        (b"8BPS\0\x01", "PSD"),
        (b"\x0A\x05\x01\x08", "PCX"),
        (b"icns\0\0", "ICNS"),
        (b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0", "ICO"),
        (b"\0\0\x02\0\x01\0\x10\x10\0\0\x01\0", "CUR"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"P6\n1 1\n255\n", "PNM"),
        (b"qoif\0\0", "QOI"),
        (b"DDS \x7C", "DDS"),
        (b"#?RADIANCE\n", "HDR"),
        (b"\x76\x2F\x31\x01", "OpenEXR"),
        (b"farbfeld\0", "farbfeld"),
        (b"II*\0\x10\0\0\0CR\x02\0", "CR2"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
        (
            b"\x1A\x45\xDF\xA3\x01\0\0\0\0\0\0\x1F\x42\x82\x84webm",
            "WebM",
        ),
        (
            b"\x1A\x45\xDF\xA3\x01\0\0\0\0\0\0\x1F\x42\x82\x88matroska",
            "MKV",
        ),
        (b"FLV\x01\x05", "FLV"),
        (b"OggS\0\x02", "OGG"),
        (b"\0\0\x01\xBA\x44", "MPEG"),
        (b"ID3\x03", "MP3"),
        (b"\xFF\xFB\x90\x64", "MP3"),
        (b"fLaC\0", "FLAC"),
        (b"PK\x03\x04\x14", "ZIP"),
        (b"7z\xBC\xAF\x27\x1C", "7z"),
        (b"Rar!\x1A\x07\x01", "RAR"),
        (b"\x1F\x8B\x08\0", "GZIP"),
    ] {
        named(&padded(start), name);
    }
    let mut dicom = vec![0; 128];
    dicom.extend(b"DICM\x02\0");
    named(&dicom, "DICOM");
    named(
        &[&[0, 0, 2, 0][..], &[0; 40], b"TRUEVISION-XFILE.\0"].concat(),
        "TGA",
    );
    let mut packets = vec![0; 600];
    for at in [0, 188, 376] {
        packets[at] = b'G';
    }
    named(&packets, "MPEG-TS");
}

#[test]
fn drawings_and_pages_are_found_behind_what_may_stand_before() {
    for text in [
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "\u{FEFF}<?xml version='1.0'?>\n<!-- <html> -->\n<svg/>",
        "<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'a' [\n<!ENTITY a 'b'>\n]>\n<svg:svg xmlns:svg='b'>",
    ] {
        named(text.as_bytes(), "SVG");
    }
    for text in [
        "<!DOCTYPE html><html>",
        "\n <html><body><svg/>",
        "<!doctype HTML PUBLIC ''>",
        "<HEAD>",
    ] {
        named(text.as_bytes(), "HTML");
    }
    let packed = |text: &str| {
        use std::io::Write;
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    named(&packed("<?xml?><svg/>"), "SVGZ");
    named(&packed("{\"tgs\":1,\"v\":\"5.5.2\"}"), "TGS");
    named(&packed("some text"), "GZIP");
    named(b"{\"v\":\"5\",\"fr\":60,\"layers\":[]}", "Lottie");
}

#[test]
fn what_is_no_picture_is_told_in_words() {
    for (file, words) in [
        (&b"just words"[..], "not plain text"),
        ("caf\u{E9}".as_bytes(), "not plain text"),
        (b"BMW is a car, and this is a text", "not plain text"),
        (b"\xFF\xFEa\0b\0", "not plain text"),
        (b" {\"error\": \"no\"}", "not JSON"),
        (b"<?xml version='1.0'?><Error/>", "not XML"),
        (&[0; 100], "not a file of zeros"),
        (
            b"--x\r\nContent-Disposition: form-data\r\n\r\n",
            "not a whole form",
        ),
        (
            b"\x07\x91\x02unknown",
            "file is no picture; send JPEG, PNG, WebP, GIF, BMP or TIFF",
        ),
        (b"iVBORw0KGgoAAAANSUhEUgAAAAE", "base64"),
        (b"\n/9j/4AAQSkZJRgABAQAAAQABAAD", "base64"),
        (b"data:image/png;base64,iVBORw0", "base64"),
        (b"ffd8ffe000104a46494600010100", "hexadecimal"),
        (
            b"\n\xFF\xD8\xFF\xE0\0\x10JFIF",
            "a JPEG picture begins only after 1 byte;",
        ),
        (
            b"\x07\x01\x89PNG\r\n\x1A\n\0\0\0\rIHDR",
            "a PNG picture begins only after 2 bytes;",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\nGIF89a\x01\0\x01",
            "a GIF picture begins only after 19 bytes;",
        ),
    ] {
        let (message, is_415) = refused(file);
        assert!(!is_415 && message.contains(words), "{words}: {message}");
    }
}

#[test]
fn bytes_that_were_taken_for_text_are_told() {
    let as_text = |bytes: &[u8]| {
        let chars: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        chars.into_bytes()
    };
    let lost = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_bytes();
    let png = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\0\x01\x90\xFF";
    let jpeg = b"\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01\0\0\x01\xFF\xDB\0\x43";
    let phone = b"\xFF\xD8\xFF\xE1\0\x10Exif\0\0II*\0\x08\0\0\0\xFF\xDB\0\x43";
    let webp = b"RIFF\xF0\xA0\0\0WEBPVP8 \xE4\xA0\0\0";
    let mut files: Vec<Vec<u8>> = Vec::new();
    for picture in [&png[..], jpeg, phone, webp] {
        files.extend([as_text(picture), lost(picture)]);
        files.push([b"\xEF\xBB\xBF", picture].concat());
    }
    files.push(b"\x89PNG\n\x1A\n\0\0\0\rIHDR".to_vec());
    files.push(b"\x89PNG\r\r\n\x1A\r\n\0\0\0\rIHDR".to_vec());
    files.push(b"?PNG\r\n\x1A\n\0\0\0\rIHDR".to_vec());
    for file in files {
        let (message, _) = refused(&file);
        assert!(
            message.contains("was treated as text"),
            "{file:?}: {message}"
        );
    }
    let gif =
        b"GIF89a\x01\0\x01\0\x80\0\0\xFF\xFF\xFF\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    for file in [as_text(gif), lost(gif)] {
        // Too few bytes to be sure.
        assert_eq!(sniff(&file).ok(), Some(ImageFormat::Gif));
        let broken = fault::truncated(ImageFormat::Gif);
        assert!(
            explained(&file, broken)
                .message()
                .contains("was treated as text")
        );
    }
}

#[test]
fn pixels_that_are_text_by_chance_are_pixels() {
    let mut bitmap =
        b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x40\0\0\0\x40\0\0\0\x01\0\x18\0".to_vec();
    bitmap.extend([0; 24]);
    bitmap.extend(b"\xC3\x80\x20".repeat(64 * 64));
    assert_eq!(sniff(&bitmap).ok(), Some(ImageFormat::Bmp));
}

#[test]
fn a_text_is_no_format_whose_letters_it_begins_with() {
    for text in [
        "BZhang wrote it",
        "ID3 is a tag",
        "FWS, CWS",
        "the ftyp box",
        "RIFF    WAVE",
    ] {
        let (message, _) = refused(text.as_bytes());
        assert!(message.ends_with("not plain text"), "{text}: {message}");
    }
}

#[test]
fn what_is_read_is_known() {
    for (signature, format) in READ {
        let file = [signature, &[0; 40]].concat();
        assert_eq!(sniff(&file).ok(), Some(format));
        // One byte of the signature more than half of the file is no reason to go wrong.
        let _ = sniff(&signature[..signature.len() / 2]);
    }
}

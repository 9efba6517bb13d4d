//! Files that are text, and pictures that were taken for text on their way.

use std::str;

use omnizap_contract::Error;

use super::{Foreign, contains};
use crate::fault;

/// The marks before a text that say it is Unicode.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// How pictures begin that were written as text: base64, plain and for addresses, hexadecimal digits,
/// the ways of mails, of addresses and of programs.
const ENCODED: [(&[u8], &str); 18] = [
    (b"iVBORw0KGgo", "base64"),
    (b"/9j/", "base64"),
    (b"_9j_", "base64"),
    (b"R0lGOD", "base64"),
    (b"UklGR", "base64"),
    (b"SUkqA", "base64"),
    (b"TU0AK", "base64"),
    (b"89504E47", "hexadecimal"),
    (b"FFD8FFE", "hexadecimal"),
    (b"52494646", "hexadecimal"),
    (b"=89PNG", "quoted-printable"),
    (b"=FF=D8=FF", "quoted-printable"),
    (b"%89PNG", "URL-encoded"),
    (b"%FF%D8%FF", "URL-encoded"),
    (b"b'\\x89PNG", "escaped"),
    (b"b'\\xff\\xd8", "escaped"),
    (b"b\"\\x89PNG", "escaped"),
    (b"b\"\\xff\\xd8", "escaped"),
];
/// How many letters are looked at, and how many there must be: some beginnings are short.
const ENCODED_START: usize = 64;
const LEAST_ENCODED: usize = 24;
/// How pictures begin as lists of numbers.
const NUMBERS: [&[u8]; 4] = [
    b"137,80,78,71,",
    b"255,216,255,",
    b"-119,80,78,71,",
    b"-1,-40,-1,",
];

/// How addresses begin.
const ADDRESSES: [&[u8]; 4] = [b"http://", b"https://", b"blob:", b"file://"];

/// More different letters beyond ASCII in a picture are no chance.
const SURE: usize = 12;

/// What is said of a file that is text, or that was a picture.
pub(super) fn explain(head: &[u8]) -> Option<Error> {
    if is_mangled(head) || is_mangled_png(head) {
        return Some(fault::mangled());
    }
    if head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") {
        return Some(if is_wide_picture(head) {
            fault::mangled()
        } else {
            fault::not_an_image_but("plain text")
        });
    }
    if !is_plain(head) {
        return None;
    }
    let text = trimmed(head);
    if let Some(of) = encoding(text) {
        return Some(fault::encoded(of));
    }
    Some(match element(text) {
        Some(name) if name == b"svg" => fault::foreign(Foreign::Drawing, "SVG"),
        Some(name)
            if [&b"html"[..], b"head", b"body"].contains(&name.to_ascii_lowercase().as_slice()) =>
        {
            fault::foreign(Foreign::Page, "HTML")
        }
        Some(_) => fault::not_an_image_but("XML"),
        None => of_letters(text),
    })
}

/// Text that is no markup.
fn of_letters(text: &[u8]) -> Error {
    match text {
        // An animation of Lottie has layers and a rate of frames.
        [b'{', ..] if contains(text, b"\"layers\"") && contains(text, b"\"fr\"") => {
            fault::foreign(Foreign::Sticker, "Lottie")
        }
        [b'#', ..] if contains(text, b"_width ") && contains(text, b"_bits[") => {
            fault::foreign(Foreign::Picture, "XBM")
        }
        // What browsers write where a file was expected, and addresses of pictures.
        _ if text.starts_with(b"[object ") => fault::not_an_image_but("plain text"),
        _ if ADDRESSES.iter().any(|begin| text.starts_with(begin)) => {
            fault::not_an_image_but("the address of one")
        }
        [b'{' | b'[', ..] => fault::not_an_image_but("JSON"),
        [b'-', b'-', ..]
            if contains(text, b"Content-Disposition:")
                || contains(text, b"content-disposition:") =>
        {
            fault::not_an_image_but("a whole form")
        }
        _ => fault::not_an_image_but("plain text"),
    }
}

/// Without the mark of Unicode and white space.
fn trimmed(text: &[u8]) -> &[u8] {
    text.strip_prefix(BOM).unwrap_or(text).trim_ascii_start()
}

/// True for UTF-8 without control characters; the head may end within a character.
pub(super) fn is_plain(head: &[u8]) -> bool {
    is_unicode(head)
        && head.iter().all(|&byte| {
            byte >= b' ' && byte != 0x7F || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C | 0x1B)
        })
}

fn is_unicode(head: &[u8]) -> bool {
    unicode(head).is_some()
}

/// The head as text; it may end within a character.
fn unicode(head: &[u8]) -> Option<&str> {
    match str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_some() => None,
        Err(error) => str::from_utf8(&head[..error.valid_up_to()]).ok(),
    }
}

/// True for a picture whose bytes were read as text and written as UTF-8: what is no ASCII became two
/// bytes each, or a sign for what cannot be shown. Hardly a picture is UTF-8 by chance.
pub(super) fn is_mangled(head: &[u8]) -> bool {
    let (inner, is_marked) = match head.strip_prefix(BOM) {
        Some(inner) => (inner, true),
        None => (head, false),
    };
    if is_marked && super::begins(inner).is_some_and(|format| format != image::ImageFormat::Bmp) {
        return true;
    }
    if head.is_ascii() || !is_unicode(head) {
        return false;
    }
    let start = &inner[..inner.len().min(48)];
    let signs: [&[u8]; 5] = [b"PNG\r\n", b"PNG\n", b"JFIF\0", b"Exif\0\0", b"WEBPVP8"];
    let begins: [&[u8]; 4] = [
        b"GIF87a",
        b"GIF89a",
        "\u{FF}\u{D8}\u{FF}".as_bytes(),
        "\u{FFFD}\u{FFFD}\u{FFFD}".as_bytes(),
    ];
    // Control characters there must be: a text about a picture has none.
    !is_plain(head)
        && (signs.iter().any(|sign| contains(start, sign))
            || begins.iter().any(|begin| start.starts_with(begin)))
}

/// True for a picture that is UTF-8 with so many letters beyond ASCII that chance is no reason. Some
/// formats begin with ASCII, and what is behind may be read as other pixels. Only for those that are
/// packed: plain pixels of one colour may be UTF-8.
pub(super) fn is_surely_mangled(head: &[u8]) -> bool {
    let Some(text) = unicode(head) else {
        return false;
    };
    let mut letters: Vec<char> = text.chars().filter(|letter| !letter.is_ascii()).collect();
    let lost = letters
        .iter()
        .filter(|letter| **letter == char::REPLACEMENT_CHARACTER);
    if lost.count() > SURE {
        return true;
    }
    letters.sort_unstable();
    letters.dedup();
    letters.len() > SURE
}

/// True for a PNG whose line ends were changed, or whose first byte was made ASCII: its signature is
/// made to show that.
fn is_mangled_png(head: &[u8]) -> bool {
    let rest = match head {
        [0x89 | b'?' | 0x09, rest @ ..] => rest,
        _ => head,
    };
    let ends: [&[u8]; 6] = [
        b"\n\x1A\n",
        b"\r\n\n",
        b"\r\r\n\x1A",
        b"\r\x1A\r",
        b"\r\n\x1A",
        b"\n\n",
    ];
    rest.strip_prefix(b"PNG")
        .is_some_and(|rest| ends.iter().any(|end| rest.starts_with(end)) && !is_plain(head))
}

/// How the text encodes a picture.
fn encoding(text: &[u8]) -> Option<&'static str> {
    let is_data = text
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"data:"));
    if is_data {
        return contains(&text[..text.len().min(128)], b";base64,").then_some("base64");
    }
    // In quotes, as JSON has it, or with the mark of an array of bytes.
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    let text = text
        .strip_prefix(b"\\x")
        .or_else(|| text.strip_prefix(b"0x"))
        .unwrap_or(text);
    let letters = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    let start: Vec<u8> = letters.take(ENCODED_START).copied().collect();
    if NUMBERS.iter().any(|numbers| contains(&start, numbers)) {
        return Some("decimal");
    }
    if start.len() < LEAST_ENCODED {
        return None;
    }
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    let is_dense = start[..LEAST_ENCODED].iter().all(is_base64);
    let fits = |(begin, of): &&(&[u8], &str)| match *of {
        "base64" => is_dense && start.starts_with(begin),
        "escaped" => start.starts_with(begin),
        _ => start[..begin.len()].eq_ignore_ascii_case(begin),
    };
    ENCODED.iter().find(fits).map(|(_, of)| *of)
}

/// True for UTF-16 in which a picture's name stands, with a mark before it: what a shell makes of the
/// output of a program.
fn is_wide_picture(head: &[u8]) -> bool {
    let is_little = head.starts_with(b"\xFF\xFE");
    let units = head[2..head.len().min(66)].as_chunks::<2>().0;
    let letters: Vec<u8> = units
        .iter()
        .map(|&[first, second]| {
            if is_little {
                [first, second]
            } else {
                [second, first]
            }
        })
        .map(|[low, high]| if high == 0 { low } else { b'?' })
        .collect();
    let names: [&[u8]; 5] = [b"PNG\r", b"JFIF", b"Exif", b"GIF8", b"WEBP"];
    names.iter().any(|name| contains(&letters, name))
}

/// The name of the first element of markup, without its prefix; that of a document type counts too.
fn element(mut text: &[u8]) -> Option<&[u8]> {
    let behind =
        |text: &'_ [u8], end: &[u8]| memchr::memmem::find(text, end).map(|at| at + end.len());
    loop {
        text = text.trim_ascii_start();
        let inner = text.strip_prefix(b"<")?;
        let to_skip = match inner {
            [b'?', ..] => behind(text, b"?>"),
            [b'!', b'-', b'-', ..] => behind(text, b"-->"),
            [b'!', ..] => {
                let end = behind(text, b">")?;
                if contains(&text[..end].to_ascii_lowercase(), b"doctype html") {
                    return Some(b"html");
                }
                // A list of entities may stand in it.
                if contains(&text[..end], b"[") {
                    behind(text, b"]>").or(behind(text, b"] >"))
                } else {
                    Some(end)
                }
            }
            _ => {
                let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b":-_".contains(byte);
                let end = inner
                    .iter()
                    .position(|byte| !is_name(byte))
                    .unwrap_or(inner.len());
                let name = inner[..end].rsplit(|&byte| byte == b':').next()?;
                return (!name.is_empty()).then_some(name);
            }
        };
        text = text.get(to_skip?..)?;
    }
}

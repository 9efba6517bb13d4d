//! What models do to a text before they look at words: ftfy's repairs, HTML references resolved
//! twice, white space collapsed, lower case, and for some no punctuation.
//!
//! ftfy is <https://github.com/rspeer/python-ftfy>.

use unicode_normalization::UnicodeNormalization;

use super::entities::{WINDOWS_1252, unescape, unescape_strictly};
use super::mojibake;

/// A text as CLIP sees it.
pub(super) fn lower(text: &str) -> String {
    collapse(&basic(text)).to_lowercase()
}

/// A text as SigLIP sees it: without ASCII punctuation, lower case.
/// `canonicalize_text` of <https://github.com/google-research/big_vision>, as open_clip has it.
pub(super) fn canonicalize(text: &str) -> String {
    let text: String = basic(text)
        .chars()
        .map(|c| if c == '_' { ' ' } else { c })
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    collapse(&text.to_lowercase())
}

/// ftfy's repairs, HTML references resolved twice.
fn basic(text: &str) -> String {
    unescape(&unescape(&fix(text)))
}

/// Single spaces between words, none around them.
fn collapse(text: &str) -> String {
    let words: Vec<&str> = text
        .split(is_space)
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// White space as Python's `str.split` sees it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1C}'..='\u{1F}')
}

/// ftfy's `fix_text`, line by line: as soon as a line has a `<`, references are HTML's business.
fn fix(text: &str) -> String {
    if text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'&')
    {
        return text.to_owned();
    }
    let mut html = true;
    text.split_inclusive('\n')
        .map(|line| {
            html &= !line.contains('<');
            fix_line(line, html)
        })
        .collect()
}

/// More repairs than any text needs; each makes the next one's work visible.
const MOST_PASSES: usize = 16;

fn fix_line(line: &str, html: bool) -> String {
    let mut line = line.to_owned();
    for _ in 0..MOST_PASSES {
        let before = line.clone();
        if html && line.contains('&') {
            line = unescape_strictly(&line);
        }
        line = repair(&mojibake::fix(line));
        if line == before {
            break;
        }
    }
    line
}

/// One pass of ftfy's character repairs.
fn repair(line: &str) -> String {
    let mut repaired = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '\u{80}'..='\u{9F}' => repaired.push(WINDOWS_1252[c as usize - 0x80]),
            _ => match ligature(c) {
                Some(letters) => repaired.push_str(letters),
                None => repaired.push(c),
            },
        }
    }
    let widths = repaired.chars().flat_map(|c| {
        let narrow = matches!(c, '\u{FF01}'..='\u{FFEF}').then(|| c.nfkc());
        let plain = narrow
            .is_none()
            .then_some(if c == '\u{3000}' { ' ' } else { c });
        narrow.into_iter().flatten().chain(plain)
    });
    let quotes = widths.map(|c| match c {
        '\u{2BC}' | '\u{2018}'..='\u{201B}' => '\'',
        '\u{201C}'..='\u{201F}' => '"',
        '\u{2028}' | '\u{2029}' | '\u{85}' => '\n',
        _ => c,
    });
    let text: String = quotes.collect();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = without_terminal_escapes(&text);
    text.chars().filter(|c| !is_control(*c)).nfc().collect()
}

fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{132}' => "IJ",
        '\u{133}' => "ij",
        '\u{149}' => "\u{2BC}n",
        '\u{1F1}' => "DZ",
        '\u{1F2}' => "Dz",
        '\u{1F3}' => "dz",
        '\u{1C4}' => "D\u{17D}",
        '\u{1C5}' => "D\u{17E}",
        '\u{1C6}' => "d\u{17E}",
        '\u{1C7}' => "LJ",
        '\u{1C8}' => "Lj",
        '\u{1C9}' => "lj",
        '\u{1CA}' => "NJ",
        '\u{1CB}' => "Nj",
        '\u{1CC}' => "nj",
        '\u{FB00}' => "ff",
        '\u{FB01}' => "fi",
        '\u{FB02}' => "fl",
        '\u{FB03}' => "ffi",
        '\u{FB04}' => "ffl",
        '\u{FB05}' => "\u{17F}t",
        '\u{FB06}' => "st",
        _ => return None,
    })
}

/// Drops colours and the like: escape, `[`, digits and semicolons, a letter.
fn without_terminal_escapes(text: &str) -> String {
    if !text.contains("\u{1B}[") {
        return text.to_owned();
    }
    let mut output = String::with_capacity(text.len());
    let mut parts = text.split("\u{1B}[");
    output.extend(parts.next());
    for part in parts {
        let body = part.trim_start_matches(|c: char| c.is_numeric() || c == ';');
        match body.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(rest) => output.push_str(rest),
            None => {
                output.push_str("\u{1B}[");
                output.push_str(part);
            }
        }
    }
    output
}

/// Control characters that show nothing.
fn is_control(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}' | '\u{B}' | '\u{E}'..='\u{1F}' | '\u{7F}' | '\u{206A}'..='\u{206F}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFC}'
    )
}

//! The line that a mistake is in, with carets under it; and texts cut to a length for messages.

use std::borrow::Cow;
use std::ops::Range;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// About the most cells of a line that are shown; a longer line is cut around the mistake.
const MAX_CELLS: usize = 100;
/// How many of them are before the mistake, where more follows it than there is room for.
const CELLS_BEFORE: usize = 40;
/// For how many cells a tab counts when a line is cut.
const TAB_CELLS: usize = 4;
/// What stands where something was left out.
const CUT: &str = "...";
/// Most characters of a name or a value inside a message.
pub(in crate::pipeline) const MAX_QUOTED: usize = 80;

/// A line as it is shown, and the line under it.
pub(super) struct Excerpt {
    pub(super) line: String,
    pub(super) carets: String,
}

/// Shows a line in which these bytes are marked.
pub(super) fn excerpt(line: &str, marked: Range<usize>) -> Excerpt {
    let shown = window(line, marked.start);
    let end = marked.end.clamp(marked.start, shown.end);
    let cut = |is_cut: bool| if is_cut { CUT } else { "" };
    let before = cut(shown.start > 0).to_owned() + &printable(&line[shown.start..marked.start]);
    let under = printable(&line[marked.start..end]);
    let after = printable(&line[end..shown.end]);
    let carets = filled(&under, "^");
    let carets = if carets.contains('^') { &carets } else { "^" };
    Excerpt {
        carets: filled(&before, " ") + carets,
        line: before + &under + &after + cut(shown.end < line.len()),
    }
}

/// The part of a line around a byte of it that there is room for.
fn window(line: &str, at: usize) -> Range<usize> {
    let (before, after) = line.split_at(at);
    let (least, _) = reach(before.chars().rev(), CELLS_BEFORE);
    let (right, end) = reach(after.chars(), MAX_CELLS - least);
    let (_, start) = reach(before.chars().rev(), MAX_CELLS - right);
    at - start..at + end
}

/// How many of these cells the first of the characters fill, and how many bytes those are.
fn reach(chars: impl Iterator<Item = char>, most: usize) -> (usize, usize) {
    let (mut cells, mut bytes) = (0, 0);
    for c in chars {
        let width = match c {
            '\t' => TAB_CELLS,
            // Also what takes no cell counts, or there would be no end of them.
            _ => c.width().unwrap_or(1).max(1),
        };
        if cells + width > most {
            break;
        }
        cells += width;
        bytes += c.len_utf8();
    }
    (cells, bytes)
}

/// The text without what would move the cursor, but for tabs.
fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\t' {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

/// Fills the cells that a text takes; its tabs stay, since how wide one is depends on where it is.
fn filled(text: &str, with: &str) -> String {
    let parts = text.split('\t').map(|part| with.repeat(part.width()));
    parts.collect::<Vec<_>>().join("\t")
}

/// A piece of TOML with nothing in its quotes, but for where there was something.
pub(super) fn without_texts(piece: &str) -> String {
    let mut shown = String::with_capacity(piece.len());
    let mut chars = piece.chars();
    while let Some(c) = chars.next() {
        shown.push(c);
        if c != '"' && c != '\'' {
            continue;
        }
        let before = chars.as_str().len();
        let mut is_escaped = false;
        // A text that goes on in the next line has no end here.
        let end = chars.find(|next| {
            let is_end = *next == c && !is_escaped;
            is_escaped = c == '"' && *next == '\\' && !is_escaped;
            is_end
        });
        let is_empty = end.is_some() && before - chars.as_str().len() == c.len_utf8();
        if !is_empty {
            shown.push_str(CUT);
        }
        shown.extend(end);
    }
    shown
}

/// A text of at most about so many characters: a longer one is shown without its middle.
pub(in crate::pipeline) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    let length = text.chars().count();
    if length <= most {
        return Cow::Borrowed(text);
    }
    let byte = |at: usize| {
        let place = text.char_indices().nth(at);
        place.map_or(text.len(), |(byte, _)| byte)
    };
    let tail = most / 3;
    let (head, tail) = (byte(most - tail), byte(length - tail));
    Cow::Owned(format!("{} {CUT} {}", &text[..head], &text[tail..]))
}

/// A text in quotes, on one line and not too long, for a message that says what was found.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text, MAX_QUOTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows a line in which `marked` is marked.
    #[track_caller]
    fn show(line: &str, marked: &str) -> (String, String) {
        let start = line.find(marked).unwrap();
        let shown = excerpt(line, start..start + marked.len());
        (shown.line, shown.carets)
    }

    #[track_caller]
    fn check(line: &str, carets: &str) {
        assert_eq!(show(line, "bad"), (line.to_owned(), carets.to_owned()));
    }

    #[test]
    fn the_carets_stand_under_the_cells() {
        check("a = bad # b", "    ^^^");
        check("\ta =\tbad", "\t   \t^^^");
        check("日本 = bad", "       ^^^");
        check("\u{1F408} = bad", "     ^^^");
        // A letter and an accent on it, and the one character that is both.
        check("e\u{301}\u{e9} = bad", "     ^^^");
        let (_, carets) = show("a = \"日本\"", "\"日本\"");
        assert_eq!(carets, "    ^^^^^^");
        let nothing = excerpt("a = ", 4..4);
        assert_eq!(nothing.carets, "    ^");
    }

    #[test]
    fn what_moves_the_cursor_is_replaced() {
        let (line, carets) = show("a\u{1b}[2J\r = bad", "bad");
        assert_eq!(line, "a\u{FFFD}[2J\u{FFFD} = bad");
        assert_eq!(carets, "         ^^^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mistake() {
        let long = "x".repeat(100_000);
        let (line, carets) = show(&format!("{long}bad{long}"), "bad");
        assert!(
            line.starts_with("...xx") && line.ends_with("xx..."),
            "{line}"
        );
        assert_eq!(line.len(), MAX_CELLS + 2 * CUT.len());
        assert_eq!(line.find("bad"), carets.find("^^^"));
        // Nothing is cut off where there is nothing.
        let (line, _) = show(&format!("bad{long}"), "bad");
        assert!(
            line.starts_with("badxx") && line.ends_with("xx..."),
            "{line}"
        );
        let (line, carets) = show(&format!("{long}bad"), "bad");
        assert!(
            line.starts_with("...xx") && line.ends_with("xxbad"),
            "{line}"
        );
        assert_eq!(line.len(), MAX_CELLS + CUT.len());
        assert!(carets.ends_with(" ^^^"), "{carets}");
        // The mistake itself may be what is long.
        let (line, carets) = show(&format!("a = {long}"), &long);
        assert_eq!(
            (line.len(), carets.len()),
            (MAX_CELLS + CUT.len(), MAX_CELLS)
        );
        let marks = format!("e{}bad", "\u{301}".repeat(100_000));
        let (line, _) = show(&marks, "bad");
        assert!(line.chars().count() < 2 * MAX_CELLS, "{}", line.len());
    }

    #[test]
    fn texts_are_left_out_whole() {
        for (piece, shown) in [
            ("a = 1 # b", "a = 1 # b"),
            (
                "with = { a = \"x\", b = 'y' }",
                "with = { a = \"...\", b = '...' }",
            ),
            ("a = \"\", b = \"it's\"", "a = \"\", b = \"...\""),
            (r#"a = "x\"y\\", b = 'c:\' }"#, r#"a = "...", b = '...' }"#),
            ("a = \"\"\"x", "a = \"\"\"..."),
            ("a = 'x", "a = '..."),
        ] {
            assert_eq!(without_texts(piece), shown, "{piece}");
        }
    }

    #[test]
    fn a_long_text_loses_its_middle() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("0123456789", 6), "0123 ... 89");
        assert_eq!(shortened("ééééé", 3), "éé ... é");
        let long = "\"".repeat(1000);
        assert!(quoted(&long).len() < 3 * MAX_QUOTED);
    }
}

//! The texts of a pipeline's files, and places in them.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::excerpt::quoted;

/// What begins the name of a text that the program brings.
pub const BUILTIN: &str = "builtin:";

/// What some editors put before the first character of a file; it is no character of it.
const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// The way out for a file that is no UTF-8.
pub(in crate::pipeline) const SAVE_AS_UTF8: &str =
    "save the file as UTF-8: an editor may call its encoding Latin-1, Windows-1252 or Unicode now";

/// The name and text of a file, so that a byte offset can be shown to a person; behind it the texts
/// of what the file extends.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// What to call the file in messages.
    pub name: Arc<str>,
    /// All of it, and all of the others.
    pub text: Arc<str>,
    /// Name and first byte of each of the others.
    others: Arc<[(Arc<str>, usize)]>,
    /// Where one of them is no UTF-8, and what is there.
    unreadable: Option<(usize, Arc<str>)>,
}

/// A place in a text, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'s> {
    /// The file's name.
    pub file: &'s Arc<str>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters: a tab is one, and so is a character two cells wide or one that is
    /// put on the one before it.
    pub column: usize,
}

impl SourceText {
    /// A text under a name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let text = text
            .strip_prefix(BYTE_ORDER_MARK)
            .map_or_else(|| text.clone(), Into::into);
        Self {
            name: name.into(),
            text,
            others: Arc::default(),
            unreadable: None,
        }
    }

    /// The text of a file's bytes. Where they are no UTF-8, reading the file as a pipeline gives
    /// one mistake, at the first of those that are not; the text is as much as can be shown then.
    #[must_use]
    pub fn decode(name: impl Into<Arc<str>>, bytes: &[u8]) -> Self {
        if let Some(encoding) = wide(bytes) {
            // As much of it as is ASCII reads well without them.
            let narrow = bytes.iter().copied().filter(|byte| *byte != 0);
            let narrow: Vec<u8> = narrow.skip_while(|byte| *byte >= 0xFE).collect();
            let what = format!("not UTF-8: the file is {encoding}");
            return Self::new(name, String::from_utf8_lossy(&narrow)).marked(0, what);
        }
        let error = match std::str::from_utf8(bytes) {
            Ok(text) => return Self::new(name, text),
            Err(error) => error,
        };
        let at = error.valid_up_to();
        let what = match (error.error_len(), bytes.get(at)) {
            (Some(_), Some(byte)) => {
                format!("not UTF-8: the byte 0x{byte:02X} is no character")
            }
            _ => "not UTF-8: the file ends within a character".to_owned(),
        };
        let text = String::from_utf8_lossy(bytes);
        let cut = text.len();
        let source = Self::new(name, text);
        let cut = cut - source.text.len();
        source.marked(at.saturating_sub(cut), what)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// Of the file system, and where the file is no UTF-8.
    pub fn read(path: &Path) -> io::Result<Self> {
        let source = Self::decode(path.display().to_string(), &std::fs::read(path)?);
        let Some((at, what)) = source.unreadable() else {
            return Ok(source);
        };
        let Place { line, column, .. } = source.place(at);
        let what = format!("line {line}, column {column}: {what}: {SAVE_AS_UTF8}");
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }

    fn marked(mut self, at: usize, what: impl Into<Arc<str>>) -> Self {
        self.unreadable = Some((at, what.into()));
        self
    }

    /// The first byte that is no UTF-8, and what is wrong there.
    #[must_use]
    pub fn unreadable(&self) -> Option<(usize, &str)> {
        let (at, what) = self.unreadable.as_ref()?;
        Some((*at, what))
    }

    /// Puts another text behind these; its first byte.
    pub(in crate::pipeline) fn append(&mut self, other: &Self) -> usize {
        // One byte between them: the end of a text is a place of its own.
        let start = self.text.len() + 1;
        self.text = [&*self.text, "\n", &*other.text].concat().into();
        let others = self.others.iter().cloned();
        self.others = others.chain([(other.name.clone(), start)]).collect();
        if let (None, Some((at, what))) = (&self.unreadable, &other.unreadable) {
            self.unreadable = Some((start + at, what.clone()));
        }
        start
    }

    /// The names of the texts, in their order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.name).chain(self.others.iter().map(|(name, _)| name))
    }

    /// The files behind the first text: what it extends.
    pub fn bases(&self) -> impl Iterator<Item = PathBuf> {
        let names = self.others.iter().map(|(name, _)| name);
        let files = names.filter(|name| !name.starts_with(BUILTIN));
        files.map(|name| PathBuf::from(&**name))
    }

    /// The name of the text that an offset is in.
    #[must_use]
    pub fn file_of(&self, offset: usize) -> &Arc<str> {
        self.part(offset).0
    }

    /// The place of an offset.
    #[must_use]
    pub fn place(&self, offset: usize) -> Place<'_> {
        let (file, text, start) = self.part(offset);
        let before = &text[..self.floor(offset) - start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// What a message says behind a value in which there are variables of the environment: where it
    /// is from. Nothing where there are none.
    pub(in crate::pipeline) fn whence(&self, span: Range<usize>) -> String {
        let written = self.text.get(span).unwrap_or_default();
        let written = written.trim_matches(['"', '\'']);
        if written.contains("${") {
            format!(" (from {})", quoted(written))
        } else {
            String::new()
        }
    }

    /// The name, the text and the first byte of the text that an offset is in.
    pub(super) fn part(&self, offset: usize) -> (&Arc<str>, &str, usize) {
        let offset = offset.min(self.text.len());
        let parts = self.others.iter().map(|(name, start)| (name, *start));
        let parts: Vec<_> = std::iter::once((&self.name, 0)).chain(parts).collect();
        let after = parts.partition_point(|(_, start)| *start <= offset);
        let (name, start) = parts[after.saturating_sub(1)];
        let end = parts
            .get(after)
            .map_or(self.text.len(), |(_, start)| *start);
        (name, &self.text[start..end], start)
    }

    /// The offset, or the beginning of the character that it is within.
    pub(super) fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// The name of an encoding that takes more than one byte for each character: told by its mark, or
/// by the zeros beside the first two characters, which are ASCII in TOML.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xFF, 0xFE, 0, 0, ..]
        | [0, 0, 0xFE, 0xFF, ..]
        | [1..=255, 0, 0, 0, 1..=255, 0, 0, 0, ..]
        | [0, 0, 0, 1..=255, 0, 0, 0, 1..=255, ..] => Some("UTF-32"),
        [0xFF, 0xFE, ..]
        | [0xFE, 0xFF, ..]
        | [1..=255, 0, 1..=255, 0, ..]
        | [0, 1..=255, 0, 1..=255, ..] => Some("UTF-16"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], place: (usize, usize), wanted: &str) {
        let source = SourceText::decode("a.toml", bytes);
        let (at, what) = source.unreadable().unwrap();
        let found = source.place(at);
        assert_eq!((found.line, found.column), place, "{what}");
        assert!(what.contains(wanted), "{what}");
    }

    #[test]
    fn the_first_byte_that_is_no_utf_8_is_told_with_what_it_may_be() {
        check(b"a = 1\nb = \"caf\xE9\"\n", (2, 9), "the byte 0xE9");
        check(b"\xEF\xBB\xBF\xC3\xA9\xFF", (1, 2), "the byte 0xFF");
        check(b"a = \"\xC3", (1, 6), "ends within a character");
    }

    #[test]
    fn an_encoding_of_more_bytes_is_told_by_its_mark_or_its_zeros() {
        let utf_16 = |from: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
            let text = format!("{mark}name = \"\u{e9}\"\n");
            text.encode_utf16().flat_map(from).collect()
        };
        for from in [u16::to_le_bytes, u16::to_be_bytes] {
            check(&utf_16(from, "\u{FEFF}"), (1, 1), "the file is UTF-16");
            check(&utf_16(from, ""), (1, 1), "the file is UTF-16");
        }
        let utf_32 = "[a]".chars().flat_map(|c| u32::from(c).to_be_bytes());
        check(&utf_32.collect::<Vec<_>>(), (1, 1), "the file is UTF-32");
        let narrow = SourceText::decode("a.toml", &utf_16(u16::to_le_bytes, "\u{FEFF}"));
        assert!(narrow.text.starts_with("name = \""), "{}", narrow.text);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let source = SourceText::decode("a.toml", "\u{FEFF}a = 1".as_bytes());
        assert_eq!((&*source.text, source.unreadable()), ("a = 1", None));
        assert_eq!(source.place(0).column, 1);
        assert_eq!(&*SourceText::new("a.toml", "\u{FEFF}a = 1").text, "a = 1");
    }

    #[test]
    fn a_fault_of_what_is_put_behind_keeps_its_place() {
        let mut source = SourceText::new("a.toml", "a = 1\n");
        source.append(&SourceText::decode("b.toml", b"b = 1\n\xFF"));
        let (at, _) = source.unreadable().unwrap();
        let place = source.place(at);
        assert_eq!((&**place.file, place.line, place.column), ("b.toml", 2, 1));
    }
}

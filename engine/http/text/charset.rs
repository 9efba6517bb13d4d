//! The encoding that a text is said to be in, by the names that browsers know, by those that Python
//! has for the same ones, and by names that nobody here knows.

use std::borrow::Cow;
use std::fmt;

use encoding_rs::Encoding;

use super::unicode::Unicode;
use crate::pipeline::request::quoted;

/// The longest name that is one, in bytes.
const LONGEST_NAME: usize = 64;

/// Names of Python and of databases for encodings that browsers call otherwise, without what stands
/// between their letters and digits.
const OTHER_NAMES: [(&str, &str); 27] = [
    ("8859", "iso-8859-1"),
    ("big5hkscs", "big5"),
    ("cp874", "windows-874"),
    ("cp932", "shift_jis"),
    ("cp936", "gbk"),
    ("cp949", "euc-kr"),
    ("cp950", "big5"),
    ("euccn", "gbk"),
    ("eucjp", "euc-jp"),
    ("euckr", "euc-kr"),
    ("iso2022jp", "iso-2022-jp"),
    ("koi8u", "koi8-u"),
    ("latin", "iso-8859-1"),
    ("latin7", "iso-8859-13"),
    ("latin8", "iso-8859-14"),
    ("latin9", "iso-8859-15"),
    ("latin10", "iso-8859-16"),
    ("maccyrillic", "x-mac-cyrillic"),
    ("macroman", "macintosh"),
    ("ms949", "euc-kr"),
    ("uhc", "euc-kr"),
    ("ujis", "euc-jp"),
    ("utf16", "utf-16le"),
    ("utf16be", "utf-16be"),
    ("utf16le", "utf-16le"),
    ("utf8mb4", "utf-8"),
    ("utf8sig", "utf-8"),
];

/// Names of encodings in which ASCII is not what it seems.
const SHIFTING: [&str; 7] = [
    "utf7",
    "csutf7",
    "unicode11utf7",
    "utf7imap",
    "hz",
    "hzgb",
    "hzgb2312",
];

/// The encoding that a text is said to be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum Charset {
    Known(&'static Encoding),
    /// No browser reads it, Python does.
    Utf32 {
        is_big: bool,
    },
    /// Not one that is read here: what it is called.
    Unread(Box<str>),
}

/// A text that cannot be read, since nobody knows what its bytes mean.
#[derive(Debug)]
pub(in crate::http) struct Unreadable {
    charset: String,
    is_known: bool,
}

impl Charset {
    /// The encoding of a name such as `ISO-8859-1`; `None` for what is no name, and for ASCII, which
    /// says nothing of the bytes that are not.
    pub(in crate::http) fn of(name: &[u8]) -> Option<Self> {
        let name = name.trim_ascii();
        let is_of_names = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+()".contains(byte);
        let is_name = (1..=LONGEST_NAME).contains(&name.len()) && name.iter().all(is_of_names);
        let text = std::str::from_utf8(name).ok().filter(|_| is_name)?;
        let plain = plain(text);
        if plain == "usascii" || plain == "ascii" || plain.is_empty() {
            return None;
        }
        let label = |name: &str| Encoding::for_label_no_replacement(name.as_bytes());
        let other = || OTHER_NAMES.iter().find(|(known, _)| *known == plain);
        let known = label(text).or_else(|| label(&plain));
        let known = known.or_else(|| label(other()?.1));
        let known = known.or_else(|| label(&format!("windows-{}", plain.strip_prefix("windows")?)));
        Some(match (known, plain.as_str()) {
            (Some(encoding), _) => Self::Known(encoding),
            (None, "utf32" | "utf32le" | "u32") => Self::Utf32 { is_big: false },
            (None, "utf32be") => Self::Utf32 { is_big: true },
            (None, _) => Self::Unread(text.into()),
        })
    }

    pub(in crate::http) fn name(&self) -> &str {
        match self {
            Self::Known(encoding) => encoding.name(),
            Self::Utf32 { is_big: false } => "UTF-32LE",
            Self::Utf32 { is_big: true } => "UTF-32BE",
            Self::Unread(name) => name,
        }
    }

    /// True where it is known that ASCII is itself in it.
    pub(super) fn holds_ascii(&self) -> bool {
        matches!(self, Self::Known(encoding) if encoding.is_ascii_compatible())
    }

    /// True where two bytes at the beginning may be a mark of UTF-16: in an encoding that holds
    /// ASCII and is not UTF-8 they are letters.
    pub(super) fn may_be_marked(&self) -> bool {
        !self.holds_ascii() || *self == Self::Known(encoding_rs::UTF_8)
    }

    /// The text that bytes without a mark are; `None` for those that are none.
    pub(in crate::http) fn decode<'b>(&self, bytes: &'b [u8]) -> Option<Cow<'b, str>> {
        match self {
            Self::Known(encoding) => {
                encoding.decode_without_bom_handling_and_without_replacement(bytes)
            }
            Self::Utf32 { is_big } => Unicode::Utf32 { is_big: *is_big }.decode(bytes),
            Self::Unread(_) => None,
        }
    }

    /// True where a text that was not read as it is said to be is what its ASCII says: nothing in it
    /// shifts to other letters, and nothing is a half of one.
    pub(super) fn is_sure_of(&self, text: &str) -> bool {
        let is_written = |char: char| !char.is_control() || matches!(char, '\t' | '\r' | '\n');
        let may_shift =
            matches!(self, Self::Unread(name) if SHIFTING.contains(&plain(name).as_str()));
        text.chars().all(is_written) && !(may_shift && text.contains(['+', '&', '~']))
    }

    /// What is to be said of a text that is not read.
    pub(in crate::http) fn unreadable(&self) -> Unreadable {
        Unreadable {
            charset: self.name().to_owned(),
            is_known: !matches!(self, Self::Unread(_)),
        }
    }
}

/// A name in lower case, without what stands between its letters and digits.
fn plain(name: &str) -> String {
    let kept = name.chars().filter(char::is_ascii_alphanumeric);
    kept.map(|char| char.to_ascii_lowercase()).collect()
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let charset = quoted(&self.charset);
        let why = if self.is_known {
            "and is not in it"
        } else {
            "which is not read here"
        };
        write!(
            f,
            "said to be in the charset {charset}, {why}: send it in UTF-8"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_known_by_all_their_names() {
        for (name, expected) in [
            ("UTF-8", "UTF-8"),
            ("utf_8", "UTF-8"),
            ("utf8", "UTF-8"),
            ("UTF-8-SIG", "UTF-8"),
            ("utf8mb4", "UTF-8"),
            ("latin-1", "windows-1252"),
            ("iso8859_1", "windows-1252"),
            (" ISO-8859-15 ", "ISO-8859-15"),
            ("latin9", "ISO-8859-15"),
            ("cp1251", "windows-1251"),
            ("windows_1251", "windows-1251"),
            ("cp932", "Shift_JIS"),
            ("euc_jp", "EUC-JP"),
            ("iso2022_jp", "ISO-2022-JP"),
            ("koi8_r", "KOI8-R"),
            ("mac_roman", "macintosh"),
            ("utf_16_be", "UTF-16BE"),
            ("UTF16", "UTF-16LE"),
            ("utf-32", "UTF-32LE"),
            ("utf_32_le", "UTF-32LE"),
            ("UTF-32BE", "UTF-32BE"),
            ("cp437", "cp437"),
            ("IBM437", "IBM437"),
            ("unheard-of", "unheard-of"),
            ("iso-2022-kr", "iso-2022-kr"),
        ] {
            let charset = Charset::of(name.as_bytes());
            assert_eq!(
                charset.as_ref().map(Charset::name),
                Some(expected),
                "{name}"
            );
        }
        for none in ["", "?", "no such thing", "us-ascii", "ASCII", "-", "ção"] {
            assert_eq!(Charset::of(none.as_bytes()), None, "{none}");
        }
        assert_eq!(Charset::of(&[b'a'; LONGEST_NAME + 1]), None);
        for (plain, name) in OTHER_NAMES {
            let label = Encoding::for_label_no_replacement(name.as_bytes());
            assert_eq!(
                Charset::of(plain.as_bytes()),
                label.map(Charset::Known),
                "{plain}"
            );
        }
    }
}
